//! Expressions after name resolution: what the evaluator runs.

use ditto_types::{SmolStr, Value};

use crate::ast::{ArithOp, CompareOp, IsTest, Quantifier};
use crate::functions::{CastType, Function};

/// A resolved expression. Equality is what GROUP BY uses to find its keys in other clauses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Const(Value),
    Missing,
    /// Index into the arguments of the statement.
    Param(usize),
    /// A field of the document of a term of FROM; the path is never empty.
    Field(usize, Box<[SmolStr]>),
    /// The whole document of a term of FROM.
    Document(usize),
    /// A variable of a quantifier or transform around this: an element, or its index or key.
    Local {
        level: u16,
        key: bool,
    },
    /// A part that is the same for all rows, evaluated when it is needed first.
    Once(Box<Scalar>, Memo),
    /// A field of a computed object.
    Get(Box<Scalar>, Box<[SmolStr]>),
    /// A group key or, behind the keys, an aggregate of the current group.
    Slot(usize),
    /// An aggregate before grouping is resolved; becomes a slot.
    Aggregate(usize),
    Not(Box<Scalar>),
    And(Box<[Scalar]>),
    Or(Box<[Scalar]>),
    Xor(Box<[Scalar]>),
    Compare(CompareOp, Box<[Scalar; 2]>),
    Arith(ArithOp, Box<[Scalar; 2]>),
    Negate(Box<Scalar>),
    Plus(Box<Scalar>),
    Concat(Box<[Scalar]>, At),
    /// The memo is for a list that is the same for all rows.
    InList(Box<Scalar>, Box<[Scalar]>, Option<Memo>),
    /// Item and array; the memo is for an array that is the same for all rows.
    InValue(Box<[Scalar; 2]>, Option<Memo>),
    /// Value, low, high.
    Between(Box<[Scalar; 3]>),
    Is(IsTest, Box<Scalar>),
    Like(Box<Like>),
    /// SIMILAR TO and `regexp_like`.
    Regexp(Box<Regexp>),
    Case(Box<Case>),
    Array(Box<[Scalar]>, At),
    Object(Box<[(Scalar, Scalar)]>, At),
    Call(&'static Function, Box<[Scalar]>, At),
    Cast(Box<Scalar>, CastType, At),
    Quantified(Box<Quantified>),
    Transform(Box<Transform>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Like {
    pub(crate) value: Scalar,
    pub(crate) pattern: Scalar,
    pub(crate) escape: Option<Scalar>,
    pub(crate) fold_case: bool,
    pub(crate) at: At,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Regexp {
    pub(crate) value: Scalar,
    pub(crate) pattern: Scalar,
    /// The escape character of SIMILAR TO, the flags of `regexp_like`.
    pub(crate) option: Option<Scalar>,
    pub(crate) similar: bool,
    /// For a pattern that is the same for all rows.
    pub(crate) memo: Option<Memo>,
    pub(crate) at: At,
}

/// The elements that the variables of a quantifier or transform stand for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Each {
    pub(crate) source: Scalar,
    /// With the elements of elements.
    pub(crate) within: bool,
    /// Number of quantifiers and transforms around this one; [`Scalar::Local`] names it.
    pub(crate) level: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantified {
    pub(crate) quantifier: Quantifier,
    pub(crate) each: Each,
    pub(crate) condition: Scalar,
    pub(crate) at: At,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transform {
    pub(crate) each: Each,
    /// `Some` for OBJECT.
    pub(crate) key: Option<Scalar>,
    pub(crate) value: Scalar,
    pub(crate) filter: Option<Scalar>,
    pub(crate) at: At,
}

/// Index of what a bound statement remembers of a part that is the same for all rows. Two expressions are the same
/// whatever remembers them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memo(pub(crate) usize);

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) operand: Option<Scalar>,
    pub(crate) branches: Vec<(Scalar, Scalar)>,
    pub(crate) otherwise: Option<Scalar>,
}

/// Byte offset in the statement, for messages. Two expressions are the same wherever they stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At(pub(crate) usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Calls `$f` on the direct parts of an expression: shared with `iter`, exclusive with `iter_mut, mut`.
macro_rules! each_part {
    ($e:expr, $f:ident, $iter:ident $(, $mut:tt)?) => {
        match $e {
            Scalar::Const(_)
            | Scalar::Missing
            | Scalar::Param(_)
            | Scalar::Field(..)
            | Scalar::Document(_)
            | Scalar::Local { .. }
            | Scalar::Slot(_)
            | Scalar::Aggregate(_) => {}
            Scalar::Once(e, _)
            | Scalar::Get(e, _)
            | Scalar::Not(e)
            | Scalar::Negate(e)
            | Scalar::Plus(e)
            | Scalar::Is(_, e)
            | Scalar::Cast(e, ..) => $f(e),
            Scalar::Compare(_, pair) | Scalar::Arith(_, pair) | Scalar::InValue(pair, _) => {
                pair.$iter().for_each($f);
            }
            Scalar::Between(parts) => parts.$iter().for_each($f),
            Scalar::And(items)
            | Scalar::Or(items)
            | Scalar::Xor(items)
            | Scalar::Concat(items, _)
            | Scalar::Array(items, _)
            | Scalar::Call(_, items, _) => items.$iter().for_each($f),
            Scalar::InList(e, items, _) => {
                $f(e);
                items.$iter().for_each($f);
            }
            Scalar::Like(like) => {
                $f(&$($mut)? like.value);
                $f(&$($mut)? like.pattern);
                like.escape.$iter().for_each($f);
            }
            Scalar::Regexp(r) => {
                $f(&$($mut)? r.value);
                $f(&$($mut)? r.pattern);
                r.option.$iter().for_each($f);
            }
            Scalar::Case(case) => {
                case.operand.$iter().for_each(&mut *$f);
                for (when, then) in case.branches.$iter() {
                    $f(when);
                    $f(then);
                }
                case.otherwise.$iter().for_each($f);
            }
            Scalar::Object(fields, _) => {
                for (key, value) in fields.$iter() {
                    $f(key);
                    $f(value);
                }
            }
            Scalar::Quantified(q) => {
                $f(&$($mut)? q.each.source);
                $f(&$($mut)? q.condition);
            }
            Scalar::Transform(t) => {
                $f(&$($mut)? t.each.source);
                t.key.$iter().for_each(&mut *$f);
                $f(&$($mut)? t.value);
                t.filter.$iter().for_each($f);
            }
        }
    };
}

impl Scalar {
    /// Calls `f` on the direct parts of this expression.
    pub(crate) fn parts<'s>(&'s self, f: &mut dyn FnMut(&'s Scalar)) {
        each_part!(self, f, iter);
    }

    /// Calls `f` on the direct parts of this expression, to change them.
    pub(crate) fn parts_mut(&mut self, f: &mut dyn FnMut(&mut Scalar)) {
        each_part!(self, f, iter_mut, mut);
    }

    /// Replaces the direct parts of this expression by what `f` makes of them.
    pub(crate) fn try_map<E>(mut self, f: &mut impl FnMut(Scalar) -> Result<Scalar, E>) -> Result<Scalar, E> {
        let mut failed = None;
        self.parts_mut(&mut |part| {
            if failed.is_none() {
                match f(std::mem::replace(part, Scalar::Missing)) {
                    Ok(new) => *part = new,
                    Err(e) => failed = Some(e),
                }
            }
        });
        failed.map_or(Ok(self), Err)
    }

    /// Whether the value is the same for all rows.
    pub(crate) fn is_constant(&self) -> bool {
        self.is_constant_above(u16::MAX)
    }

    /// The same, with the variables of `level` and further in known.
    fn is_constant_above(&self, level: u16) -> bool {
        let level = match self {
            Scalar::Field(..) | Scalar::Document(_) | Scalar::Slot(_) | Scalar::Aggregate(_) => return false,
            Scalar::Local { level: own, .. } => return *own >= level,
            Scalar::Quantified(q) => level.min(q.each.level),
            Scalar::Transform(t) => level.min(t.each.level),
            _ => level,
        };
        let mut constant = true;
        self.parts(&mut |part| constant = constant && part.is_constant_above(level));
        constant
    }
}
