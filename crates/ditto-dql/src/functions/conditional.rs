//! Choices between values, and tests for NULL and MISSING.

use std::borrow::Cow;

use ditto_types::Value;

use super::{null, some};
use crate::arith::compare_op;
use crate::ast::CompareOp;
use crate::error::DqlError;
use crate::eval::{Budget, Cx, Datum, Exceeded};
use crate::order::compare_values;
use crate::scalar::{At, Scalar};
use crate::truth::Truth;

fn is_null(d: &Datum<'_>) -> bool {
    d.as_deref() == Some(&Value::Null)
}

fn null_datum<'a>() -> Datum<'a> {
    Some(Cow::Owned(Value::Null))
}

/// The first value that is neither NULL nor MISSING.
pub(super) fn coalesce<'a>(args: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    for e in args {
        let v = e.eval(cx)?;
        if v.is_some() && !is_null(&v) {
            return Ok(v);
        }
    }
    Ok(null_datum())
}

/// `nvl(v, r)`: `v` unless it is NULL or MISSING, else `r`. `nvl(v, r1, r2)`: `r1` if `v` has a value, else `r2`.
pub(super) fn nvl<'a>(args: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let v = args[0].eval(cx)?;
    let has_value = v.is_some() && !is_null(&v);
    match (has_value, args) {
        (true, [_, _]) => Ok(v),
        (true, [_, then, ..]) => then.eval(cx),
        (false, [.., otherwise]) => otherwise.eval(cx),
        _ => Ok(None),
    }
}

/// The first value that is not MISSING.
pub(super) fn ifmissing<'a>(args: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    for e in args {
        let v = e.eval(cx)?;
        if v.is_some() {
            return Ok(v);
        }
    }
    Ok(null_datum())
}

/// The first value that is not NULL; MISSING counts as one.
pub(super) fn ifnull<'a>(args: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    for e in args {
        let v = e.eval(cx)?;
        if !is_null(&v) {
            return Ok(v);
        }
    }
    Ok(null_datum())
}

/// `decode(input, c1, r1, … [, default])`: the first `r` whose `c` is the input. Here NULL equals NULL.
pub(super) fn decode<'a>(args: &'a [Scalar], _: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let Some((input, mut rest)) = args.split_first() else { return Ok(None) };
    let input = input.eval(cx)?;
    while let [candidate, result, behind @ ..] = rest {
        let candidate = candidate.eval(cx)?;
        if let (Some(a), Some(b)) = (input.as_deref(), candidate.as_deref())
            && compare_values(a, b).is_eq()
        {
            return result.eval(cx);
        }
        rest = behind;
    }
    match rest.first() {
        Some(default) => default.eval(cx),
        None => Ok(null_datum()),
    }
}

pub(super) fn ismissing<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    some(args[0].is_none())
}

pub(super) fn isnull<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    some(is_null(&args[0]))
}

pub(super) fn ismissingornull<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    some(args[0].is_none() || is_null(&args[0]))
}

fn equal(args: &[Datum<'_>]) -> bool {
    compare_op(CompareOp::Eq, args[0].as_deref(), args[1].as_deref()) == Truth::True
}

/// NULL if the arguments are equal, else the first.
pub(super) fn nullif<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    if equal(args) { null() } else { Ok(args[0].take()) }
}

/// MISSING if the arguments are equal, else the first.
pub(super) fn missingif<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    if equal(args) { Ok(None) } else { Ok(args[0].take()) }
}
