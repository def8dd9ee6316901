//! The cover of a condition: tests of single fields, at least one of which holds whenever the condition does.
//!
//! It gives what the disjunctive normal form with one test for each conjunction would give, without writing that form
//! down: of the operands of AND the one with the best cover stands for all, the covers of the operands of OR are put
//! together. Its size is that of the condition at most.

use ditto_types::{SmolStr, Value};

use crate::ast::{CompareOp, IsTest};
use crate::env::Bound;
use crate::eval::Cx;
use crate::order::{compare_values, rank};
use crate::scalar::{Like, Scalar};

/// Tests of a cover at most. A condition that needs more, like IN with a longer list, is tested itself.
pub(super) const MAX_TESTS: usize = 4096;

/// A test of one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Atom {
    pub(super) path: Box<[SmolStr]>,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Missing,
    Equal(Value),
    /// Between two values, both included, of the type with this place in the sort order; `None` has no end.
    Range {
        class: u8,
        low: Option<Value>,
        high: Option<Value>,
    },
}

/// Tests with a guess at how many documents pass one of them.
struct Cover {
    atoms: Vec<Atom>,
    cost: u64,
}

/// The cover of a condition over the fields of term 0; `None` if it has none.
pub(super) fn cover(condition: &Scalar, bound: &Bound) -> Option<Vec<Atom>> {
    let cover = Finder { bound }.find(condition, true)?;
    (cover.atoms.len() <= MAX_TESTS).then_some(cover.atoms)
}

struct Finder<'a> {
    bound: &'a Bound,
}

impl Finder<'_> {
    /// What holds whenever `s` is exactly `outcome`, true or false.
    fn find(&self, s: &Scalar, outcome: bool) -> Option<Cover> {
        match (s, outcome) {
            (Scalar::Not(e), _) => self.find(e, !outcome),
            (Scalar::And(items), true) | (Scalar::Or(items), false) => self.best_of(items, outcome),
            (Scalar::Or(items), true) | (Scalar::And(items), false) => self.all_of(items, outcome),
            (Scalar::Field(0, path), _) => Some(equal(path, [Value::Bool(outcome)])),
            (Scalar::Compare(op, pair), _) => self.compare(*op, pair, outcome),
            (Scalar::Between(parts), true) => {
                let [v, low, high] = &**parts;
                let (low, high) = (self.constant(low)?, self.constant(high)?);
                let (Some(low), Some(high)) = (low, high) else { return Some(never()) };
                let path = field(v)?;
                (rank(&low) == rank(&high)).then(|| range(path, rank(&low), Some(low), Some(high)))
            }
            (Scalar::InList(item, list, _), true) => {
                let path = field(item)?;
                let values = list.iter().map(|e| self.constant(e)).collect::<Option<Vec<_>>>()?;
                Some(equal(path, values.into_iter().flatten()))
            }
            (Scalar::InValue(pair, _), true) => {
                let [item, array] = &**pair;
                let path = field(item)?;
                match self.constant(array)? {
                    Some(Value::Array(values)) => Some(equal(path, values)),
                    _ => Some(never()),
                }
            }
            (Scalar::Is(IsTest::Missing, e), true) => {
                let atom = Atom { path: field(e)?.into(), test: Test::Missing };
                Some(Cover { atoms: vec![atom], cost: UNSELECTIVE })
            }
            (Scalar::Is(IsTest::Null, e), true) => {
                let atom = Atom { path: field(e)?.into(), test: Test::Equal(Value::Null) };
                Some(Cover { atoms: vec![atom], cost: UNSELECTIVE })
            }
            (Scalar::Is(test @ (IsTest::True | IsTest::False), e), true) => {
                Some(equal(field(e)?, [Value::Bool(*test == IsTest::True)]))
            }
            (Scalar::Like(like), true) => self.like(like),
            (Scalar::Const(Value::Bool(b)), _) if *b != outcome => Some(never()),
            _ => None,
        }
    }

    /// All operands have the outcome, so the best cover of one will do. Ranges of one field are put together first.
    fn best_of(&self, items: &[Scalar], outcome: bool) -> Option<Cover> {
        let mut best: Option<Cover> = None;
        let mut ranges: Vec<Atom> = Vec::new();
        for item in items {
            let Some(cover) = self.find(item, outcome) else { continue };
            if let [atom @ Atom { test: Test::Range { .. }, .. }] = cover.atoms.as_slice() {
                meet(&mut ranges, atom.clone());
            } else if best.as_ref().is_none_or(|b| cover.cost < b.cost) {
                best = Some(cover);
            }
        }
        for Atom { path, test } in ranges {
            let Test::Range { class, low, high } = test else { continue };
            let cover = range(&path, class, low, high);
            if best.as_ref().is_none_or(|b| cover.cost < b.cost) {
                best = Some(cover);
            }
        }
        best
    }

    /// One operand has the outcome, so the covers of all are needed.
    fn all_of(&self, items: &[Scalar], outcome: bool) -> Option<Cover> {
        let mut all = never();
        for item in items {
            let cover = self.find(item, outcome)?;
            all.cost = all.cost.saturating_add(cover.cost);
            all.atoms.extend(cover.atoms);
            if all.atoms.len() > MAX_TESTS {
                return None;
            }
        }
        Some(all)
    }

    fn compare(&self, op: CompareOp, pair: &[Scalar; 2], outcome: bool) -> Option<Cover> {
        let (path, op, value) = match (field(&pair[0]), field(&pair[1])) {
            (Some(path), None) => (path, op, self.constant(&pair[1])?),
            (None, Some(path)) => (path, op.flipped(), self.constant(&pair[0])?),
            _ => return None,
        };
        // A comparison with MISSING or NULL is neither true nor false.
        let Some(value) = value.filter(|v| *v != Value::Null) else { return Some(never()) };
        let class = rank(&value);
        let op = if outcome { op } else { op.negated() };
        match op {
            CompareOp::Eq => Some(equal(path, [value])),
            CompareOp::Ne => None,
            CompareOp::Lt | CompareOp::Le => Some(range(path, class, None, Some(value))),
            CompareOp::Gt | CompareOp::Ge => Some(range(path, class, Some(value), None)),
        }
    }

    fn like(&self, like: &Like) -> Option<Cover> {
        if like.fold_case {
            return None;
        }
        let path = field(&like.value)?;
        let escape = match &like.escape {
            None => Some('\\'),
            Some(e) => self.constant(e)?.as_ref().and_then(Value::as_str).and_then(|e| e.chars().next()),
        };
        let pattern = self.constant(&like.pattern)?;
        let Some(pattern) = pattern.as_ref().and_then(Value::as_str) else { return Some(never()) };
        let prefix: String =
            pattern.chars().take_while(|c| *c != '%' && *c != '_' && Some(*c) != escape).collect();
        let low = Value::from(prefix.as_str());
        (!prefix.is_empty()).then(|| range(path, rank(&low), Some(low), after(&prefix)))
    }

    /// The value of an expression that needs no row; the outer `None` means that it does, or may.
    fn constant(&self, s: &Scalar) -> Option<Option<Value>> {
        if !s.is_constant() {
            return None;
        }
        let value = s.eval(&Cx::constant(self.bound)).ok()?;
        Some(value.map(|v| v.into_owned()))
    }
}

const UNSELECTIVE: u64 = 1_000;

/// No document passes.
fn never() -> Cover {
    Cover { atoms: Vec::new(), cost: 0 }
}

fn equal(path: &[SmolStr], values: impl IntoIterator<Item = Value>) -> Cover {
    let is_id = matches!(path, [name] if name == "_id");
    let (mut atoms, mut cost) = (Vec::new(), 0u64);
    // Nothing equals NULL.
    for value in values.into_iter().filter(|v| *v != Value::Null) {
        cost = cost.saturating_add(match value {
            Value::Bool(_) => UNSELECTIVE,
            _ if is_id => 1,
            _ => 2,
        });
        atoms.push(Atom { path: path.into(), test: Test::Equal(value) });
    }
    Cover { atoms, cost }
}

fn range(path: &[SmolStr], class: u8, low: Option<Value>, high: Option<Value>) -> Cover {
    let cost = match (&low, &high) {
        (Some(low), Some(high)) if compare_values(low, high).is_gt() => return never(),
        (Some(_), Some(_)) => 20,
        _ => 100,
    };
    Cover { atoms: vec![Atom { path: path.into(), test: Test::Range { class, low, high } }], cost }
}

/// Adds a range, or narrows the one of the same field and type.
fn meet(ranges: &mut Vec<Atom>, new: Atom) {
    let Test::Range { class, low, high } = &new.test else { return };
    let same = ranges.iter_mut().filter(|r| r.path == new.path).find_map(|r| match &mut r.test {
        Test::Range { class: c, low, high } if c == class => Some((low, high)),
        _ => None,
    });
    let Some((kept_low, kept_high)) = same else { return ranges.push(new) };
    if let Some(low) = low
        && kept_low.as_ref().is_none_or(|k| compare_values(low, k).is_gt())
    {
        *kept_low = Some(low.clone());
    }
    if let Some(high) = high
        && kept_high.as_ref().is_none_or(|k| compare_values(high, k).is_lt())
    {
        *kept_high = Some(high.clone());
    }
}

fn field(s: &Scalar) -> Option<&[SmolStr]> {
    match s {
        Scalar::Field(0, path) => Some(path),
        _ => None,
    }
}

/// The smallest text after all that begin with `prefix`; `None` if there is none.
fn after(prefix: &str) -> Option<Value> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Surrogates are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(Value::from(chars.into_iter().collect::<String>()));
        }
    }
    None
}
