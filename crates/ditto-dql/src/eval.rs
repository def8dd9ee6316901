//! Running a resolved expression on a row.

mod budget;
mod each;
mod once;

use std::borrow::Cow;

use ditto_types::{ErrorKind, Object, SmolStr, Value};

pub(crate) use budget::{ALLOCATION, Budget, Exceeded, memory, weight};
pub use budget::{MAX_EVALUATION_BYTES, MAX_EVALUATION_STEPS};
use each::Frame;

use crate::arith::{self, Membership, compare_op, compare_ref};
use crate::ast::{CompareOp, IsTest};
use crate::env::{Bound, Env};
use crate::error::DqlError;
use crate::functions::{self, Body, Function};
use crate::pattern::{self, Pattern};
use crate::scalar::{At, Case, Like, Regexp, Scalar};
use crate::source::Row;
use crate::truth::{self, Chain, Truth};
use crate::value_ref::ValueRef;

/// The value of an expression; `None` is MISSING.
pub(crate) type Datum<'a> = Option<Cow<'a, Value>>;

/// What an expression is evaluated on.
pub(crate) struct Cx<'a> {
    bound: &'a Bound,
    rows: Rows<'a>,
    slots: &'a [Option<Value>],
    /// Variables of the quantifiers and transforms around.
    locals: Option<&'a Frame<'a>>,
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

impl<'a> Cx<'a> {
    fn new(bound: &'a Bound, rows: Rows<'a>, slots: &'a [Option<Value>]) -> Self {
        Self { bound, rows, slots, locals: None, budget: Budget::new() }
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

    /// Takes steps for a value that is read or compared for each element again: what costs little for a row costs much
    /// for ten million of them.
    fn repeated(&self, v: Option<&Value>) -> Result<(), DqlError> {
        match (self.locals, v) {
            (Some(frame), Some(v)) => self.charged(self.budget.step(weight(v) / BYTES_PER_STEP), frame.at),
            _ => Ok(()),
        }
    }

    /// [`Cx::repeated`] for a value where it lies.
    fn repeated_ref(&self, v: Option<ValueRef<'_>>) -> Result<(), DqlError> {
        match (self.locals, v) {
            (None, _) => Ok(()),
            (Some(frame), Some(ValueRef::Str(s))) => {
                self.charged(self.budget.step(s.len() / BYTES_PER_STEP), frame.at)
            }
            (Some(_), Some(ValueRef::Value(v))) => self.repeated(Some(v)),
            _ => Ok(()),
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The surroundings of the execution.
    pub(crate) fn env(&self) -> &'a Env {
        &self.bound.env
    }

    /// Turns a used up budget into the error of the statement.
    pub(crate) fn charged<T>(&self, result: Result<T, Exceeded>, at: At) -> Result<T, DqlError> {
        result.or_else(|e| self.fail(ErrorKind::SizeLimitExceeded, e.message(), at))
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
            Scalar::Field(term, path) => {
                let v = cx.rows.get(*term).and_then(|r| r.field(path));
                cx.repeated(v.as_ref())?;
                Ok(own(v))
            }
            Scalar::Document(term) => {
                let v = cx.document(*term);
                cx.repeated(v.as_ref())?;
                Ok(own(v))
            }
            Scalar::Local { level, key } => Ok(Frame::local(cx.locals, *level, *key)),
            Scalar::Once(e, memo) => once::value(e, *memo, cx),
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
            Scalar::Transform(t) => each::transform(t, cx),
            Scalar::Not(_)
            | Scalar::And(_)
            | Scalar::Or(_)
            | Scalar::Xor(_)
            | Scalar::Compare(..)
            | Scalar::InList(..)
            | Scalar::InValue(..)
            | Scalar::Between(_)
            | Scalar::Is(..)
            | Scalar::Like(_)
            | Scalar::Regexp(_)
            | Scalar::Quantified(_) => Ok(own(self.test(cx)?.value())),
        }
    }

    /// Shows the value to `f`: that of a field where it lies.
    pub(crate) fn look<'a, T>(
        &'a self,
        cx: &Cx<'a>,
        f: &mut dyn FnMut(Option<ValueRef<'_>>) -> Result<T, DqlError>,
    ) -> Result<T, DqlError> {
        if let Scalar::Field(term, path) = self
            && let Some(row) = cx.rows.get(*term)
        {
            let mut result = None;
            row.look(path, &mut |v| {
                let v = v.map(ValueRef::normal);
                result = Some(cx.repeated_ref(v).and_then(|()| f(v)));
            });
            if let Some(result) = result {
                return result;
            }
        }
        let v = self.eval(cx)?;
        let v = v.as_deref().map(ValueRef::of);
        cx.repeated_ref(v)?;
        f(v)
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
                // A field is compared where it lies. Of two, the first is.
                let (op, seen, value) = match &**pair {
                    [a, b @ Scalar::Field(..)] if !matches!(a, Scalar::Field(..)) => (op.flipped(), b, a),
                    [a, b] => (*op, a, b),
                };
                let value = value.eval(cx)?;
                cx.repeated(value.as_deref())?;
                seen.look(cx, &mut |seen| Ok(compare_ref(op, seen, value.as_deref())))
            }
            Scalar::InList(item, list, memo) => match memo {
                Some(memo) => {
                    let members = once::members_of_list(list, *memo, cx)?;
                    item.look(cx, &mut |item| Ok(members.test(item)))
                }
                None => in_list(item, list, cx),
            },
            Scalar::InValue(pair, memo) => match memo {
                Some(memo) => {
                    let members = once::members_of_array(&pair[1], *memo, cx)?;
                    pair[0].look(cx, &mut |item| Ok(members.test(item)))
                }
                None => {
                    let (item, array) = (pair[0].eval(cx)?, pair[1].eval(cx)?);
                    cx.repeated(array.as_deref())?;
                    Ok(arith::in_value(item.as_deref(), array.as_deref()))
                }
            },
            Scalar::Between(parts) => between(parts, cx),
            Scalar::Is(test, e) => e.look(cx, &mut |v| Ok(Truth::from(is_test(*test, v)))),
            Scalar::Like(like) => eval_like(like, cx),
            Scalar::Regexp(regexp) => eval_regexp(regexp, cx),
            Scalar::Quantified(q) => each::quantified(q, cx),
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
        cx.repeated(Some(&*item))?;
        if m.push(&item, e.eval(cx)?.as_deref()) {
            return Ok(Truth::True);
        }
    }
    Ok(m.not_found())
}

fn between<'a>([value, low, high]: &'a [Scalar; 3], cx: &Cx<'a>) -> Result<Truth, DqlError> {
    value.look(cx, &mut |value| {
        let mut chain = Chain::and();
        if !chain.push(compare_ref(CompareOp::Ge, value, low.eval(cx)?.as_deref())) {
            chain.push(compare_ref(CompareOp::Le, value, high.eval(cx)?.as_deref()));
        }
        Ok(chain.result())
    })
}

fn is_test(test: IsTest, v: Option<ValueRef<'_>>) -> bool {
    match test {
        IsTest::Null => v.is_some_and(ValueRef::is_null),
        IsTest::Missing => v.is_none(),
        IsTest::True => matches!(v, Some(ValueRef::Bool(true) | ValueRef::Value(Value::Bool(true)))),
        IsTest::False => matches!(v, Some(ValueRef::Bool(false) | ValueRef::Value(Value::Bool(false)))),
    }
}

fn eval_like<'a>(like: &'a Like, cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let pattern = like.pattern.eval(cx)?;
    let escape = match &like.escape {
        None => Some('\\'),
        Some(e) => e.eval(cx)?.as_deref().and_then(single_char),
    };
    like.value.look(cx, &mut |value| {
        let (Some(value), Some(pattern)) = (value, &pattern) else { return Ok(Truth::Missing) };
        if value.is_null() || **pattern == Value::Null {
            return Ok(Truth::Null);
        }
        let (ValueRef::Str(value), Value::Str(pattern), Some(escape)) = (value, &**pattern, escape) else {
            return Ok(Truth::Missing);
        };
        let matched = pattern::like_within(value, pattern, escape, like.fold_case, &cx.budget);
        Ok(Truth::from(cx.charged(matched, like.at)?))
    })
}

/// SIMILAR TO and `regexp_like`. Text or pattern that is no string gives MISSING, as a pattern that is none.
fn eval_regexp<'a>(r: &'a Regexp, cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let value = r.value.eval(cx)?;
    let Some(value) = value else { return Ok(Truth::Missing) };
    let pattern = r.pattern.eval(cx)?;
    let option = match &r.option {
        None => None,
        Some(e) => match e.eval(cx)? {
            Some(v) => Some(v),
            None => return Ok(Truth::Missing),
        },
    };
    let Some(pattern) = pattern else { return Ok(Truth::Missing) };
    if [Some(&value), Some(&pattern), option.as_ref()].into_iter().flatten().any(|v| **v == Value::Null) {
        return Ok(Truth::Null);
    }
    let (Value::Str(value), Value::Str(pattern)) = (&*value, &*pattern) else { return Ok(Truth::Missing) };
    let compile = || {
        if r.similar {
            match option.as_deref().map_or(Some('\\'), single_char) {
                Some(escape) => Pattern::similar(pattern, escape, &cx.budget),
                None => Ok(None),
            }
        } else {
            match option.as_deref() {
                Some(Value::Str(flags)) => Pattern::regexp(pattern, Some(flags), &cx.budget),
                Some(_) => Ok(None),
                None => Pattern::regexp(pattern, None, &cx.budget),
            }
        }
    };
    let matched = match r.memo {
        Some(memo) => once::pattern(memo, compile, &mut |p| p.is_in(value, &cx.budget), cx),
        None => compile().and_then(|p| p.map(|p| p.is_in(value, &cx.budget)).transpose()),
    };
    Ok(cx.charged(matched, r.at)?.map_or(Truth::Missing, Truth::from))
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

/// What costs a step where it is done for each element.
const BYTES_PER_STEP: usize = 128;

/// More arguments than this are counted against the budget while they are held together.
const FREE_ARGUMENTS: usize = 8;

fn call<'a>(
    function: &'static Function,
    args: &'a [Scalar],
    at: At,
    cx: &Cx<'a>,
) -> Result<Datum<'a>, DqlError> {
    match function.body {
        Body::Lazy(f) => f(args, at, cx),
        Body::Eager(f) => {
            let mut values = Vec::with_capacity(args.len());
            for e in args {
                let v = e.eval(cx)?;
                cx.repeated(v.as_deref())?;
                if let Some(v) = v.as_deref().filter(|_| args.len() > FREE_ARGUMENTS) {
                    cx.charged(cx.budget.charge_value(v), at)?;
                }
                values.push(v);
            }
            cx.charged(f(&mut values, &cx.budget), at)
        }
    }
}
