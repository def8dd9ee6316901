//! Expressions after name resolution: what the evaluator runs.

use ditto_types::{SmolStr, Value};

use crate::ast::{ArithOp, CompareOp, IsTest};
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
    InList(Box<Scalar>, Box<[Scalar]>),
    InValue(Box<[Scalar; 2]>),
    /// Value, low, high.
    Between(Box<[Scalar; 3]>),
    Is(IsTest, Box<Scalar>),
    Like(Box<Like>),
    Case(Box<Case>),
    Array(Box<[Scalar]>, At),
    Object(Box<[(Scalar, Scalar)]>, At),
    Call(&'static Function, Box<[Scalar]>, At),
    Cast(Box<Scalar>, CastType, At),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Like {
    pub(crate) value: Scalar,
    pub(crate) pattern: Scalar,
    pub(crate) escape: Option<Scalar>,
    pub(crate) fold_case: bool,
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

impl Scalar {
    /// Calls `f` on the direct parts of this expression.
    pub(crate) fn try_map<E>(self, f: &mut impl FnMut(Scalar) -> Result<Scalar, E>) -> Result<Scalar, E> {
        fn list<E>(
            items: Box<[Scalar]>,
            f: &mut impl FnMut(Scalar) -> Result<Scalar, E>,
        ) -> Result<Box<[Scalar]>, E> {
            items.into_vec().into_iter().map(f).collect()
        }
        Ok(match self {
            Scalar::Const(_)
            | Scalar::Missing
            | Scalar::Param(_)
            | Scalar::Field(..)
            | Scalar::Document(_)
            | Scalar::Slot(_)
            | Scalar::Aggregate(_) => self,
            Scalar::Get(e, path) => Scalar::Get(Box::new(f(*e)?), path),
            Scalar::Not(e) => Scalar::Not(Box::new(f(*e)?)),
            Scalar::And(items) => Scalar::And(list(items, f)?),
            Scalar::Or(items) => Scalar::Or(list(items, f)?),
            Scalar::Xor(items) => Scalar::Xor(list(items, f)?),
            Scalar::Compare(op, pair) => {
                let [a, b] = *pair;
                Scalar::Compare(op, Box::new([f(a)?, f(b)?]))
            }
            Scalar::Arith(op, pair) => {
                let [a, b] = *pair;
                Scalar::Arith(op, Box::new([f(a)?, f(b)?]))
            }
            Scalar::Negate(e) => Scalar::Negate(Box::new(f(*e)?)),
            Scalar::Plus(e) => Scalar::Plus(Box::new(f(*e)?)),
            Scalar::Concat(items, at) => Scalar::Concat(list(items, f)?, at),
            Scalar::InList(e, items) => Scalar::InList(Box::new(f(*e)?), list(items, f)?),
            Scalar::InValue(pair) => {
                let [a, b] = *pair;
                Scalar::InValue(Box::new([f(a)?, f(b)?]))
            }
            Scalar::Between(parts) => {
                let [v, low, high] = *parts;
                Scalar::Between(Box::new([f(v)?, f(low)?, f(high)?]))
            }
            Scalar::Is(test, e) => Scalar::Is(test, Box::new(f(*e)?)),
            Scalar::Like(like) => {
                let Like { value, pattern, escape, fold_case } = *like;
                Scalar::Like(Box::new(Like {
                    value: f(value)?,
                    pattern: f(pattern)?,
                    escape: escape.map(&mut *f).transpose()?,
                    fold_case,
                }))
            }
            Scalar::Case(case) => {
                let Case { operand, branches, otherwise } = *case;
                let operand = operand.map(&mut *f).transpose()?;
                let branches =
                    branches.into_iter().map(|(w, t)| Ok((f(w)?, f(t)?))).collect::<Result<Vec<_>, E>>()?;
                Scalar::Case(Box::new(Case {
                    operand,
                    branches,
                    otherwise: otherwise.map(&mut *f).transpose()?,
                }))
            }
            Scalar::Array(items, at) => Scalar::Array(list(items, f)?, at),
            Scalar::Object(fields, at) => Scalar::Object(
                fields.into_vec().into_iter().map(|(k, v)| Ok((f(k)?, f(v)?))).collect::<Result<_, E>>()?,
                at,
            ),
            Scalar::Call(function, args, at) => Scalar::Call(function, list(args, f)?, at),
            Scalar::Cast(e, to, at) => Scalar::Cast(Box::new(f(*e)?), to, at),
        })
    }
}
