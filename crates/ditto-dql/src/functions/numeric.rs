//! Numbers.

use ditto_types::Value;

use super::{propagate, some};
use crate::eval::{Budget, Datum, Exceeded};
use crate::order::{Number, int_value};

pub(super) fn abs<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match args[0].as_deref().and_then(Number::of) {
        Some(Number::Int(i)) => some(int_value(i.abs()).unwrap_or(Value::Null)),
        Some(Number::Float(f)) => some(f.abs()),
        None => Ok(None),
    }
}

pub(super) fn ceil<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    round(args, f64::ceil)
}

pub(super) fn floor<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    round(args, f64::floor)
}

/// The result is a float, also for an integer.
fn round<'v>(args: &[Datum<'v>], f: fn(f64) -> f64) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match args[0].as_deref().and_then(Number::of) {
        Some(n) => some(f(n.to_f64())),
        None => Ok(None),
    }
}
