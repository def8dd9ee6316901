//! Running a resolved expression on a row.

use std::borrow::Cow;
use std::cell::Cell;

use ditto_types::{ErrorKind, Object, SmolStr, Value};

use crate::arith::{self, Membership, compare_op};
use crate::ast::{CompareOp, IsTest};
use crate::env::Bound;
use crate::error::DqlError;
use crate::functions::{self, Body, Function};
use crate::pattern;
use crate::scalar::{At, Case, Like, Scalar};
use crate::source::Row;
use crate::truth::{self, Chain, Truth};

/// Bytes of new values that the evaluation of one row may build.
///
/// Statements come from peers too; this keeps `repeat` and its like from exhausting the memory.
pub const MAX_EVALUATION_BYTES: usize = 64 << 20;

/// The value of an expression; `None` is MISSING.
pub(crate) type Datum<'a> = Option<Cow<'a, Value>>;

/// What an expression is evaluated on.
pub(crate) struct Cx<'a> {
    bound: &'a Bound,
    rows: Rows<'a>,
    slots: &'a [Option<Value>],
    budget: Budget,
}

/// The rows of the terms of FROM, in the order of their numbers.
#[derive(Clone, Copy)]
enum Rows<'a> {
    None,
    /// The row of a statement over one collection.
    One(&'a dyn Row),
    /// One row for each term so far; a term without a row (the other side of an outer join) is MISSING.
    Joined(&'a [Option<&'a dyn Row>]),
}

impl<'a> Rows<'a> {
    fn get(self, term: usize) -> Option<&'a dyn Row> {
        match self {
            Rows::One(row) if term == 0 => Some(row),
            Rows::Joined(rows) => rows.get(term).copied().flatten(),
            _ => None,
        }
    }
}

/// What is left of [`MAX_EVALUATION_BYTES`].
pub(crate) struct Budget(Cell<usize>);

/// The budget is used up.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Cell::new(MAX_EVALUATION_BYTES))
    }

    /// Takes `bytes` before they are allocated.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), TooLarge> {
        self.0.set(self.0.get().checked_sub(bytes).ok_or(TooLarge)?);
        Ok(())
    }

    /// Takes the size of a value that is about to be copied or kept.
    pub(crate) fn charge_value(&self, v: &Value) -> Result<(), TooLarge> {
        self.charge(weight(v))
    }
}

/// Approximate memory of a value, in bytes.
pub(crate) fn weight(v: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    NODE + match v {
        Value::Bytes(b) => b.len(),
        Value::Str(s) => s.len(),
        Value::Array(a) => a.iter().map(weight).sum(),
        Value::Object(o) => o.iter().map(|(k, v)| size_of::<SmolStr>() + k.len() + weight(v)).sum(),
        _ => 0,
    }
}

impl<'a> Cx<'a> {
    fn new(bound: &'a Bound, rows: Rows<'a>, slots: &'a [Option<Value>]) -> Self {
        Self { bound, rows, slots, budget: Budget::new() }
    }

    /// For expressions over a document, the row of term 0.
    pub(crate) fn row(row: &'a dyn Row, bound: &'a Bound) -> Self {
        Self::new(bound, Rows::One(row), &[])
    }

    /// For expressions over the rows of several terms; a term without a row is MISSING.
    #[allow(dead_code, reason = "joins are the planner's next step")]
    pub(crate) fn joined(rows: &'a [Option<&'a dyn Row>], bound: &'a Bound) -> Self {
        Self::new(bound, Rows::Joined(rows), &[])
    }

    /// For expressions over a group: its keys and aggregates.
    pub(crate) fn group(slots: &'a [Option<Value>], bound: &'a Bound) -> Self {
        Self::new(bound, Rows::None, slots)
    }

    /// For expressions without a document.
    pub(crate) fn constant(bound: &'a Bound) -> Self {
        Self::group(&[], bound)
    }

    pub(crate) fn fail<T>(&self, kind: ErrorKind, message: impl Into<String>, at: At) -> Result<T, DqlError> {
        Err(DqlError::at(kind, message, &self.bound.text, at.0))
    }

    /// The whole document of a term, when there is one.
    pub(crate) fn document(&self, term: usize) -> Option<Value> {
        self.rows.get(term).map(Row::document)
    }

    fn too_large(&self, at: At) -> DqlError {
        DqlError::at(
            ErrorKind::SizeLimitExceeded,
            format!("an expression builds more than {MAX_EVALUATION_BYTES} bytes"),
            &self.bound.text,
            at.0,
        )
    }

    fn charged(&self, result: Result<(), TooLarge>, at: At) -> Result<(), DqlError> {
        result.map_err(|TooLarge| self.too_large(at))
    }
}

fn own<'a>(v: Option<Value>) -> Datum<'a> {
    v.map(Cow::Owned)
}

impl Scalar {
    /// The value of the expression.
    pub(crate) fn eval<'a>(&'a self, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
        match self {
            Scalar::Const(v) => Ok(Some(Cow::Borrowed(v))),
            Scalar::Missing | Scalar::Aggregate(_) => Ok(None),
            Scalar::Param(i) => Ok(cx.bound.args.get(*i).map(Cow::Borrowed)),
            Scalar::Field(term, path) => Ok(own(cx.rows.get(*term).and_then(|r| r.field(path)))),
            Scalar::Document(term) => Ok(own(cx.document(*term))),
            Scalar::Get(e, path) => Ok(navigate(e.eval(cx)?, path)),
            Scalar::Slot(i) => Ok(cx.slots.get(*i).and_then(|v| v.as_ref()).map(Cow::Borrowed)),
            Scalar::Arith(op, pair) => {
                let (a, b) = (pair[0].eval(cx)?, pair[1].eval(cx)?);
                Ok(own(arith::arith(*op, a.as_deref(), b.as_deref())))
            }
            Scalar::Negate(e) => Ok(own(arith::negate(e.eval(cx)?.as_deref()))),
            Scalar::Plus(e) => {
                let v = e.eval(cx)?;
                Ok(v.filter(|v| {
                    matches!(**v, Value::Null | Value::Int(_) | Value::UInt(_) | Value::Float(_))
                }))
            }
            Scalar::Concat(items, at) => concat(items, *at, cx),
            Scalar::Case(case) => eval_case(case, cx),
            Scalar::Array(items, at) => eval_array(items, *at, cx),
            Scalar::Object(fields, at) => eval_object(fields, *at, cx),
            Scalar::Call(function, args, at) => call(function, args, *at, cx),
            Scalar::Cast(e, to, at) => {
                let v = e.eval(cx)?;
                let Some(v) = v else { return Ok(None) };
                cx.charged(cx.budget.charge_value(&v), *at)?;
                Ok(functions::cast(v, *to))
            }
            Scalar::Not(_)
            | Scalar::And(_)
            | Scalar::Or(_)
            | Scalar::Xor(_)
            | Scalar::Compare(..)
            | Scalar::InList(..)
            | Scalar::InValue(_)
            | Scalar::Between(_)
            | Scalar::Is(..)
            | Scalar::Like(_) => Ok(own(self.test(cx)?.value())),
        }
    }

    /// The outcome of the expression as a condition, without building a value for it.
    pub(crate) fn test<'a>(&'a self, cx: &Cx<'a>) -> Result<Truth, DqlError> {
        match self {
            Scalar::Not(e) => Ok(e.test(cx)?.negate()),
            Scalar::And(items) => chain(Chain::and(), items, cx),
            Scalar::Or(items) => chain(Chain::or(), items, cx),
            Scalar::Xor(items) => {
                let operands = items.iter().map(|e| e.test(cx)).collect::<Result<Vec<_>, _>>()?;
                Ok(truth::xor(operands))
            }
            Scalar::Compare(op, pair) => {
                let (a, b) = (pair[0].eval(cx)?, pair[1].eval(cx)?);
                Ok(compare_op(*op, a.as_deref(), b.as_deref()))
            }
            Scalar::InList(item, list) => in_list(item, list, cx),
            Scalar::InValue(pair) => {
                let (a, b) = (pair[0].eval(cx)?, pair[1].eval(cx)?);
                Ok(arith::in_value(a.as_deref(), b.as_deref()))
            }
            Scalar::Between(parts) => between(parts, cx),
            Scalar::Is(test, e) => Ok(Truth::from(is_test(*test, e.eval(cx)?.as_deref()))),
            Scalar::Like(like) => eval_like(like, cx),
            other => Ok(Truth::of(other.eval(cx)?.as_deref())),
        }
    }
}

/// Follows field names into an object; anything else is MISSING.
pub(crate) fn navigate<'a>(value: Datum<'a>, path: &[SmolStr]) -> Datum<'a> {
    match value? {
        Cow::Borrowed(v) => path.iter().try_fold(v, |v, name| v.get(name)).map(Cow::Borrowed),
        Cow::Owned(v) => path
            .iter()
            .try_fold(v, |v, name| match v {
                Value::Object(mut o) => o.remove(name),
                _ => None,
            })
            .map(Cow::Owned),
    }
}

fn chain<'a>(mut chain: Chain, items: &'a [Scalar], cx: &Cx<'a>) -> Result<Truth, DqlError> {
    for e in items {
        if chain.push(e.test(cx)?) {
            break;
        }
    }
    Ok(chain.result())
}

fn in_list<'a>(item: &'a Scalar, list: &'a [Scalar], cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let Some(item) = item.eval(cx)? else { return Ok(Truth::Missing) };
    if *item == Value::Null {
        return Ok(Truth::Null);
    }
    let mut m = Membership::default();
    for e in list {
        if m.push(&item, e.eval(cx)?.as_deref()) {
            return Ok(Truth::True);
        }
    }
    Ok(m.not_found())
}

fn between<'a>([value, low, high]: &'a [Scalar; 3], cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let value = value.eval(cx)?;
    let mut chain = Chain::and();
    if !chain.push(compare_op(CompareOp::Ge, value.as_deref(), low.eval(cx)?.as_deref())) {
        chain.push(compare_op(CompareOp::Le, value.as_deref(), high.eval(cx)?.as_deref()));
    }
    Ok(chain.result())
}

fn is_test(test: IsTest, v: Option<&Value>) -> bool {
    match test {
        IsTest::Null => matches!(v, Some(Value::Null)),
        IsTest::Missing => v.is_none(),
        IsTest::True => matches!(v, Some(Value::Bool(true))),
        IsTest::False => matches!(v, Some(Value::Bool(false))),
    }
}

fn eval_like<'a>(like: &'a Like, cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let value = like.value.eval(cx)?;
    let pattern = like.pattern.eval(cx)?;
    let (Some(value), Some(pattern)) = (value, pattern) else { return Ok(Truth::Missing) };
    if *value == Value::Null || *pattern == Value::Null {
        return Ok(Truth::Null);
    }
    let escape = match &like.escape {
        None => Some('\\'),
        Some(e) => e.eval(cx)?.as_deref().and_then(single_char),
    };
    let (Value::Str(value), Value::Str(pattern), Some(escape)) = (&*value, &*pattern, escape) else {
        return Ok(Truth::Missing);
    };
    Ok(Truth::from(pattern::like(value, pattern, escape, like.fold_case)))
}

/// The character of a string of one.
pub(crate) fn single_char(v: &Value) -> Option<char> {
    let mut chars = v.as_str()?.chars();
    let c = chars.next()?;
    chars.next().is_none().then_some(c)
}

fn eval_case<'a>(case: &'a Case, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let operand = match &case.operand {
        Some(e) => Some(e.eval(cx)?),
        None => None,
    };
    for (when, then) in &case.branches {
        let hit = match &operand {
            Some(v) => compare_op(CompareOp::Eq, v.as_deref(), when.eval(cx)?.as_deref()),
            None => when.test(cx)?,
        };
        if hit == Truth::True {
            return then.eval(cx);
        }
    }
    match &case.otherwise {
        Some(e) => e.eval(cx),
        None => Ok(own(Some(Value::Null))),
    }
}

/// Strings side by side; anything that is no string makes the whole MISSING.
fn concat<'a>(items: &'a [Scalar], at: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let mut out = String::new();
    for e in items {
        match e.eval(cx)?.as_deref() {
            Some(Value::Str(s)) => {
                cx.charged(cx.budget.charge(s.len()), at)?;
                out.push_str(s);
            }
            _ => return Ok(None),
        }
    }
    Ok(own(Some(out.into())))
}

/// MISSING has no place of its own in an array, so it becomes NULL and the other items keep theirs.
fn eval_array<'a>(items: &'a [Scalar], at: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let mut out = Vec::with_capacity(items.len());
    for e in items {
        let v = e.eval(cx)?.unwrap_or(Cow::Owned(Value::Null));
        cx.charged(cx.budget.charge_value(&v), at)?;
        out.push(v.into_owned());
    }
    Ok(own(Some(Value::Array(out))))
}

/// A field whose value is MISSING, or whose name is no string, is left out.
fn eval_object<'a>(fields: &'a [(Scalar, Scalar)], at: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let mut out = Object::new();
    for (key, value) in fields {
        let Some(Value::Str(key)) = key.eval(cx)?.map(Cow::into_owned) else { continue };
        let Some(value) = value.eval(cx)? else { continue };
        cx.charged(cx.budget.charge_value(&value).and_then(|()| cx.budget.charge(key.len())), at)?;
        out.insert(key, value.into_owned());
    }
    Ok(own(Some(Value::Object(out))))
}

/// More arguments than this are counted against the budget while they are held together.
const FREE_ARGUMENTS: usize = 8;

fn call<'a>(
    function: &'static Function,
    args: &'a [Scalar],
    at: At,
    cx: &Cx<'a>,
) -> Result<Datum<'a>, DqlError> {
    match function.body {
        Body::Lazy(f) => f(args, cx),
        Body::Eager(f) => {
            let mut values = Vec::with_capacity(args.len());
            for e in args {
                let v = e.eval(cx)?;
                if let Some(v) = v.as_deref().filter(|_| args.len() > FREE_ARGUMENTS) {
                    cx.charged(cx.budget.charge_value(v), at)?;
                }
                values.push(v);
            }
            f(&mut values, &cx.budget).map_err(|TooLarge| cx.too_large(at))
        }
    }
}
