//! Types and conversions.

use std::borrow::Cow;

use ditto_types::{Value, json};

use super::{null, propagate, some};
use crate::eval::{Budget, Datum, Exceeded};
use crate::order::{Number, int_value};

/// Target of a CAST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CastType {
    String,
    Integer,
    Float,
    Boolean,
    Binary,
}

impl CastType {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "string" => CastType::String,
            "integer" => CastType::Integer,
            "float" => CastType::Float,
            "boolean" => CastType::Boolean,
            "binary" => CastType::Binary,
            _ => return None,
        })
    }
}

/// Converts a value; MISSING when that is impossible. NULL stays NULL.
pub(crate) fn cast(v: Cow<'_, Value>, to: CastType) -> Datum<'_> {
    if *v == Value::Null {
        return Some(v);
    }
    let out = match (to, &*v) {
        (CastType::String, Value::Str(_)) | (CastType::Binary, Value::Bytes(_)) => return Some(v),
        (CastType::String, Value::Bool(_) | Value::Int(_) | Value::UInt(_)) => json::to_string(&v).into(),
        (CastType::String, Value::Float(f)) if f.is_finite() => json::to_string(&v).into(),
        (CastType::String, Value::Bytes(b)) => std::str::from_utf8(b).ok()?.into(),
        (CastType::Integer, Value::Int(_) | Value::UInt(_)) => return Some(v),
        (CastType::Integer, Value::Float(f)) => whole(*f)?,
        (CastType::Integer, Value::Bool(b)) => Value::Int((*b).into()),
        (CastType::Integer, Value::Str(s)) => int_value(s.trim().parse().ok()?)?,
        (CastType::Float, Value::Float(_)) => return Some(v),
        (CastType::Float, Value::Int(_) | Value::UInt(_)) => Value::Float(Number::of(&v)?.to_f64()),
        (CastType::Float, Value::Bool(b)) => Value::Float(f64::from(u8::from(*b))),
        (CastType::Float, Value::Str(s)) => {
            Value::Float(s.trim().parse::<f64>().ok().filter(|f| f.is_finite())?)
        }
        (CastType::Boolean, Value::Bool(_)) => return Some(v),
        (CastType::Boolean, Value::Int(_) | Value::UInt(_) | Value::Float(_)) => {
            Value::Bool(Number::of(&v)?.to_f64() != 0.0)
        }
        (CastType::Boolean, Value::Str(s)) => match s.trim().to_ascii_lowercase().as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return None,
        },
        (CastType::Binary, Value::Str(s)) => Value::Bytes(s.as_bytes().to_vec()),
        _ => return None,
    };
    Some(Cow::Owned(out))
}

/// The integer part of a float, if it is within the range of integer values.
fn whole(f: f64) -> Option<Value> {
    // The range of integers is -2^63 up to, not including, 2^64.
    let in_range = (-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(&f.trunc());
    if in_range { int_value(f.trunc() as i128) } else { None }
}

pub(super) fn type_of<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    some(args[0].as_deref().map_or("missing", Value::type_name))
}

pub(super) fn json_type<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    some(match args[0].as_deref() {
        None => "null",
        Some(Value::Int(_) | Value::UInt(_) | Value::Float(_)) => "number",
        Some(v) => v.type_name(),
    })
}

fn is<'v>(args: &[Datum<'v>], f: fn(&Value) -> bool) -> Result<Datum<'v>, Exceeded> {
    match args[0].as_deref() {
        None => Ok(None),
        Some(Value::Null) => null(),
        Some(v) => some(f(v)),
    }
}

pub(super) fn is_boolean<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    is(args, |v| matches!(v, Value::Bool(_)))
}

pub(super) fn is_number<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    is(args, |v| Number::of(v).is_some())
}

pub(super) fn is_string<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    is(args, |v| matches!(v, Value::Str(_)))
}

/// NULL has a JSON text of its own, so only MISSING gives MISSING.
pub(super) fn serialize_json<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    let Some(v) = args[0].as_deref() else { return Ok(None) };
    budget.charge_value(v)?;
    some(json::to_string(v))
}

pub(super) fn deserialize_json<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let Some(text) = args[0].as_deref().and_then(Value::as_str) else { return Ok(None) };
    // A node of a value is larger than the two bytes that can stand for it.
    budget.charge(text.len().saturating_mul(size_of::<Value>() / 2))?;
    Ok(json::from_str(text).ok().map(Cow::Owned))
}
