//! What a condition says about single fields: the form in which access paths are looked for.
//!
//! It is made once when a statement is prepared. It may say less than the condition, never more: what it excludes, the
//! condition excludes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_types::{DocId, Path, SmolStr, Value};

use super::set::Set;
use crate::ast::{CompareOp, IsTest};
use crate::error::DqlError;
use crate::eval::{Cx, single_char};
use crate::order::{Number, int_value};
use crate::scalar::Scalar;

/// A condition as far as it is about fields of one term.
#[derive(Clone, Debug, Default)]
pub(crate) enum Cond {
    /// Nothing that an access path could use.
    #[default]
    Open,
    Field(Arc<FieldCond>),
    /// At least two parts, none of them open, each field once.
    All(Vec<Cond>),
    /// At least two parts, none of them open.
    Any(Vec<Cond>),
}

/// The values that one field may have.
#[derive(Clone, Debug)]
pub(crate) struct FieldCond {
    pub(crate) path: Path,
    pub(crate) test: Test,
    pub(crate) grade: Grade,
    /// Whether it can hold for a document without the field.
    pub(crate) missing: bool,
}

/// How few documents a test can be expected to keep, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// Nearly all: `IS NOT NULL`.
    Weak,
    /// All but a few values: `!=`.
    Unequal,
    Range,
    /// Several values.
    Points,
    /// One value.
    Single,
}

/// A test of a field against values that are known before its row is read.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Compare(CompareOp, Scalar),
    In(Box<[Scalar]>),
    NotIn(Box<[Scalar]>),
    InArray(Scalar),
    NotInArray(Scalar),
    Like(Scalar, Option<Scalar>),
    Is(IsTest, bool),
}

/// Reads a condition on the rows of `term`; the terms before it are known.
pub(crate) fn condition(filter: &Scalar, term: usize) -> Cond {
    Reader { term }.read(filter, true)
}

/// The part of several conditions of which all must hold.
pub(crate) fn conditions<'s>(filters: impl IntoIterator<Item = &'s Scalar>, term: usize) -> Cond {
    all(filters.into_iter().map(|f| condition(f, term)))
}

struct Reader {
    term: usize,
}

impl Reader {
    /// The documents for which `s` is exactly true, or exactly false.
    fn read(&self, s: &Scalar, truth: bool) -> Cond {
        match s {
            Scalar::Not(e) => self.read(e, !truth),
            Scalar::And(items) | Scalar::Or(items) => {
                let parts = items.iter().map(|e| self.read(e, truth));
                if matches!(s, Scalar::And(_)) == truth { all(parts) } else { any(parts) }
            }
            Scalar::Compare(op, pair) => self.compare(*op, &pair[0], &pair[1], truth),
            Scalar::Between(parts) => {
                let [value, low, high] = &**parts;
                let both = [
                    self.compare(CompareOp::Ge, value, low, truth),
                    self.compare(CompareOp::Le, value, high, truth),
                ];
                if truth { all(both) } else { any(both) }
            }
            Scalar::InList(item, list, _) => match self.field(item) {
                Some(path) if list.iter().all(|e| self.knows(e)) => {
                    let list = list.clone();
                    field(path, if truth { Test::In(list) } else { Test::NotIn(list) })
                }
                _ => Cond::Open,
            },
            Scalar::InValue(pair, _) => match self.field(&pair[0]) {
                Some(path) if self.knows(&pair[1]) => {
                    let array = pair[1].clone();
                    field(path, if truth { Test::InArray(array) } else { Test::NotInArray(array) })
                }
                _ => Cond::Open,
            },
            Scalar::Like(like) if truth && !like.fold_case => match self.field(&like.value) {
                Some(path) if self.knows(&like.pattern) && has_prefix(&like.pattern) => match &like.escape {
                    Some(e) if !self.knows(e) => Cond::Open,
                    escape => field(path, Test::Like(like.pattern.clone(), escape.clone())),
                },
                _ => Cond::Open,
            },
            Scalar::Is(test, e) => {
                self.field(e).map_or(Cond::Open, |path| field(path, Test::Is(*test, truth)))
            }
            Scalar::Field(..) => {
                let test = if truth { IsTest::True } else { IsTest::False };
                self.field(s).map_or(Cond::Open, |path| field(path, Test::Is(test, true)))
            }
            _ => Cond::Open,
        }
    }

    fn compare(&self, op: CompareOp, a: &Scalar, b: &Scalar, truth: bool) -> Cond {
        let op = if truth { op } else { op.negated() };
        if let Some(path) = self.field(a).filter(|_| self.knows(b)) {
            return field(path, Test::Compare(op, b.clone()));
        }
        match self.field(b).filter(|_| self.knows(a)) {
            Some(path) => field(path, Test::Compare(op.flipped(), a.clone())),
            None => Cond::Open,
        }
    }

    fn field<'s>(&self, s: &'s Scalar) -> Option<&'s [SmolStr]> {
        match s {
            Scalar::Field(term, path) if *term == self.term => Some(path),
            _ => None,
        }
    }

    fn knows(&self, s: &Scalar) -> bool {
        known_before(s, self.term, u16::MAX)
    }
}

/// Whether a value is known when the rows of the terms before `term` are; variables of `level` and further in belong
/// to the expression itself.
fn known_before(s: &Scalar, term: usize, level: u16) -> bool {
    let level = match s {
        Scalar::Field(t, _) | Scalar::Document(t) => return *t < term,
        Scalar::Slot(_) | Scalar::Aggregate(_) => return false,
        Scalar::Local { level: own, .. } => return *own >= level,
        Scalar::Quantified(q) => level.min(q.each.level),
        Scalar::Transform(t) => level.min(t.each.level),
        _ => level,
    };
    let mut known = true;
    s.parts(&mut |part| known = known && known_before(part, term, level));
    known
}

/// Whether LIKE with this pattern can be a range: not when a literal begins with a wildcard.
fn has_prefix(pattern: &Scalar) -> bool {
    match pattern {
        Scalar::Const(Value::Str(p)) => !p.starts_with(['%', '_']),
        Scalar::Once(e, _) => has_prefix(e),
        _ => true,
    }
}

fn field(path: &[SmolStr], test: Test) -> Cond {
    let (grade, missing) = (test.grade(), test.keeps_missing());
    Cond::Field(Arc::new(FieldCond { path: Path::new(path.iter().cloned()), test, grade, missing }))
}

fn all(parts: impl IntoIterator<Item = Cond>) -> Cond {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Cond::Open => {}
            Cond::All(items) => flat.extend(items),
            other => flat.push(other),
        }
    }
    merge(flat, Test::All, Cond::All)
}

fn any(parts: impl IntoIterator<Item = Cond>) -> Cond {
    let mut flat = Vec::new();
    for part in parts {
        match part {
            Cond::Open => return Cond::Open,
            Cond::Any(items) => flat.extend(items),
            other => flat.push(other),
        }
    }
    merge(flat, Test::Any, Cond::Any)
}

/// Puts the tests of each field together.
fn merge(parts: Vec<Cond>, together: fn(Vec<Test>) -> Test, group: fn(Vec<Cond>) -> Cond) -> Cond {
    let mut fields: BTreeMap<Path, Vec<Arc<FieldCond>>> = BTreeMap::new();
    let mut out = Vec::new();
    let mut order = Vec::new();
    for part in parts {
        match part {
            Cond::Field(f) => {
                let same = fields.entry(f.path.clone()).or_default();
                if same.is_empty() {
                    order.push(f.path.clone());
                }
                same.push(f);
            }
            other => out.push(other),
        }
    }
    let merged = order.into_iter().filter_map(|path| {
        let mut same = fields.remove(&path)?;
        if same.len() == 1 {
            return same.pop().map(Cond::Field);
        }
        let tests = same.into_iter().map(|f| Arc::unwrap_or_clone(f).test).collect();
        Some(field(path.names(), together(tests)))
    });
    let mut all: Vec<Cond> = merged.collect();
    all.append(&mut out);
    match all.len() {
        0 => Cond::Open,
        1 => all.pop().unwrap_or_default(),
        _ => group(all),
    }
}

impl Test {
    fn grade(&self) -> Grade {
        match self {
            Test::All(tests) => tests.iter().map(Test::grade).max().unwrap_or(Grade::Weak),
            Test::Any(tests) => tests.iter().map(Test::grade).min().unwrap_or(Grade::Weak).min(Grade::Points),
            Test::Compare(CompareOp::Eq, _) | Test::Is(_, true) => Grade::Single,
            Test::Compare(CompareOp::Ne, _) | Test::NotIn(_) | Test::NotInArray(_) => Grade::Unequal,
            Test::Compare(..) | Test::Like(..) => Grade::Range,
            Test::In(_) | Test::InArray(_) => Grade::Points,
            Test::Is(_, false) => Grade::Weak,
        }
    }

    fn keeps_missing(&self) -> bool {
        match self {
            Test::All(tests) => tests.iter().all(Test::keeps_missing),
            Test::Any(tests) => tests.iter().any(Test::keeps_missing),
            Test::Is(test, is) => (*test == IsTest::Missing) == *is,
            _ => false,
        }
    }

    /// The values for which the test can hold; `None` when that is not known, or more than `limit` single values.
    pub(crate) fn set<'a>(&'a self, cx: &Cx<'a>, limit: usize) -> Result<Option<Set>, DqlError> {
        Ok(Some(match self {
            Test::All(tests) => {
                let mut out: Option<Set> = None;
                for t in tests {
                    if let Some(set) = t.set(cx, limit)? {
                        out = Some(match out {
                            Some(o) => o.intersect(&set),
                            None => set,
                        });
                    }
                }
                return Ok(out);
            }
            Test::Any(tests) => {
                let mut sets = Vec::with_capacity(tests.len());
                for t in tests {
                    match t.set(cx, limit)? {
                        Some(set) => sets.push(set),
                        None => return Ok(None),
                    }
                }
                Set::union_of(sets)
            }
            Test::Compare(op, e) => match e.eval(cx)?.as_deref() {
                None | Some(Value::Null) => Set::none(),
                Some(v) => match op {
                    CompareOp::Eq => Set::point(Some(v)),
                    CompareOp::Ne => Set::class(v).without(&Set::point(Some(v))),
                    CompareOp::Lt => Set::below(v, false),
                    CompareOp::Le => Set::below(v, true),
                    CompareOp::Gt => Set::above(v, false),
                    CompareOp::Ge => Set::above(v, true),
                },
            },
            Test::In(list) | Test::NotIn(list) => {
                if list.len() > limit {
                    return Ok(None);
                }
                let mut points = Vec::with_capacity(list.len());
                for e in list {
                    points.extend(member(e.eval(cx)?.as_deref()));
                }
                self.members(points)
            }
            Test::InArray(e) | Test::NotInArray(e) => {
                let array = e.eval(cx)?;
                match array.as_deref() {
                    Some(Value::Array(items)) if items.len() > limit => return Ok(None),
                    Some(Value::Array(items)) => {
                        self.members(items.iter().filter_map(|v| member(Some(v))).collect())
                    }
                    // IN something that is no array is never true, and never false.
                    _ => Set::none(),
                }
            }
            Test::Like(pattern, escape) => {
                let escape = match escape {
                    None => Some('\\'),
                    Some(e) => e.eval(cx)?.as_deref().and_then(single_char),
                };
                let pattern = pattern.eval(cx)?;
                match (pattern.as_deref(), escape) {
                    (Some(Value::Str(p)), Some(escape)) => match literal_prefix(p, escape) {
                        (whole, true) => Set::point(Some(&Value::from(whole))),
                        (prefix, false) if prefix.is_empty() => return Ok(None),
                        (prefix, false) => Set::strings_with_prefix(&prefix),
                    },
                    _ => Set::none(),
                }
            }
            Test::Is(test, is) => {
                let set = match test {
                    IsTest::Null => Set::point(Some(&Value::Null)),
                    IsTest::Missing => Set::point(None),
                    IsTest::True => Set::point(Some(&Value::Bool(true))),
                    IsTest::False => Set::point(Some(&Value::Bool(false))),
                };
                if *is { set } else { Set::all().without(&set) }
            }
        }))
    }

    fn members(&self, points: Vec<Set>) -> Set {
        let points = Set::union_of(points);
        match self {
            Test::NotIn(_) | Test::NotInArray(_) => Set::known().without(&points),
            _ => points,
        }
    }

    /// The ids for which the test of `_id` can hold; `None` when they cannot be counted.
    pub(crate) fn ids<'a>(&'a self, cx: &Cx<'a>) -> Result<Option<BTreeSet<DocId>>, DqlError> {
        Ok(Some(match self {
            Test::All(tests) => {
                let mut out: Option<BTreeSet<DocId>> = None;
                for t in tests {
                    if let Some(mut found) = t.ids(cx)? {
                        if let Some(before) = out {
                            found.retain(|id| before.contains(id));
                        }
                        out = Some(found);
                    }
                }
                return Ok(out);
            }
            Test::Any(tests) => {
                let mut out = BTreeSet::new();
                for t in tests {
                    match t.ids(cx)? {
                        Some(found) => out.extend(found),
                        None => return Ok(None),
                    }
                }
                out
            }
            Test::Compare(CompareOp::Eq, e) => e.eval(cx)?.as_deref().and_then(doc_id).into_iter().collect(),
            Test::In(list) => {
                let mut out = BTreeSet::new();
                for e in list {
                    out.extend(e.eval(cx)?.as_deref().and_then(doc_id));
                }
                out
            }
            Test::InArray(e) => {
                let array = e.eval(cx)?;
                array
                    .as_deref()
                    .and_then(Value::as_array)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(doc_id)
                    .collect()
            }
            // Every document has an id, and it is not NULL.
            Test::Is(IsTest::Null | IsTest::Missing, true) => BTreeSet::new(),
            Test::Is(test, true) => DocId::new(&Value::Bool(*test == IsTest::True)).into_iter().collect(),
            _ => return Ok(None),
        }))
    }
}

/// An element of a list that a field can equal.
fn member(v: Option<&Value>) -> Option<Set> {
    match v {
        None | Some(Value::Null) => None,
        v => Some(Set::point(v)),
    }
}

/// The text before the first wildcard, and whether that is the whole pattern.
fn literal_prefix(pattern: &str, escape: char) -> (String, bool) {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        // An escape character before anything else stands for itself.
        match chars.peek() {
            Some(next) if c == escape && (matches!(next, '%' | '_') || *next == escape) => {
                out.push(*next);
                chars.next();
            }
            _ if matches!(c, '%' | '_') => return (out, false),
            _ => out.push(c),
        }
    }
    (out, true)
}

/// The only id that can equal `v`, if there is one.
pub(crate) fn doc_id(v: &Value) -> Option<DocId> {
    DocId::new(&integral(v)?).ok()
}

/// Floats are no ids, but `1.0` equals the id `1`.
fn integral(v: &Value) -> Option<Value> {
    Some(match v {
        Value::Float(f) => {
            let in_range = (-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(f);
            if !in_range || f.fract() != 0.0 {
                return None;
            }
            int_value(*f as i128)?
        }
        Value::Int(_) | Value::UInt(_) => match Number::of(v)? {
            Number::Int(i) => int_value(i)?,
            Number::Float(_) => return None,
        },
        Value::Array(a) => Value::Array(a.iter().map(integral).collect::<Option<_>>()?),
        Value::Object(o) => {
            Value::Object(o.iter().map(|(k, v)| Some((k.clone(), integral(v)?))).collect::<Option<_>>()?)
        }
        v => v.clone(),
    })
}
