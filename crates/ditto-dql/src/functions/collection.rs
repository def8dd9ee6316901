//! Arrays and objects.

use std::borrow::Cow;

use ditto_types::{Object, SmolStr, Value, codec};

use super::{count, propagate, some};
use crate::arith;
use crate::eval::{Budget, Datum, Exceeded};

/// `array_contains(array, item)`, which is `item IN array`.
pub(super) fn array_contains<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    let truth = arith::in_value(args[1].as_deref(), args[0].as_deref());
    Ok(truth.value().map(Cow::Owned))
}

pub(super) fn array_contains_null<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match args[0].as_deref() {
        Some(Value::Array(a)) => some(a.contains(&Value::Null)),
        _ => Ok(None),
    }
}

pub(super) fn array_length<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match args[0].as_deref() {
        Some(Value::Array(a)) => count(a.len()),
        _ => Ok(None),
    }
}

fn object<'a>(d: &'a Datum<'_>) -> Option<&'a Object> {
    d.as_deref().and_then(Value::as_object)
}

pub(super) fn object_length<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    object(&args[0]).map_or(Ok(None), |o| count(o.len()))
}

pub(super) fn object_keys<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let Some(o) = object(&args[0]) else { return Ok(None) };
    budget.charge(o.keys().map(|k| size_of::<Value>() + k.len()).sum())?;
    some(o.keys().map(|k| Value::Str(k.clone())).collect::<Vec<_>>())
}

pub(super) fn object_values<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let Some(o) = object(&args[0]) else { return Ok(None) };
    o.values().try_for_each(|v| budget.charge_value(v))?;
    some(o.values().cloned().collect::<Vec<_>>())
}

/// The object of the first argument to change, after it has been paid for.
fn take_object(d: &mut Datum<'_>, budget: &Budget) -> Result<Option<Object>, Exceeded> {
    let Some(v) = d.take() else { return Ok(None) };
    if v.as_object().is_some() {
        budget.charge_value(&v)?;
    }
    Ok(match v.into_owned() {
        Value::Object(o) => Some(o),
        _ => None,
    })
}

fn key(d: &Datum<'_>) -> Option<SmolStr> {
    match d.as_deref() {
        Some(Value::Str(s)) => Some(s.clone()),
        _ => None,
    }
}

/// The flag at argument `i`, false when it is not given.
fn flag(args: &[Datum<'_>], i: usize) -> Option<bool> {
    match args.get(i) {
        None => Some(false),
        Some(d) => d.as_deref()?.as_bool(),
    }
}

/// `object_set(o, k, v[, replace])`: an existing key without `replace` gives MISSING.
pub(super) fn object_set<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    if args.iter().any(Option::is_none) {
        return Ok(None);
    }
    propagate!(&args[..2]);
    let (Some(replace), Some(key)) = (flag(args, 3), key(&args[1])) else { return Ok(None) };
    let Some(value) = args[2].take() else { return Ok(None) };
    let Some(mut o) = take_object(&mut args[0], budget)? else { return Ok(None) };
    if o.contains_key(&key) && !replace {
        return Ok(None);
    }
    budget.charge_value(&value)?;
    o.insert(key, value.into_owned());
    some(o)
}

/// `object_unset(o, k[, ignoreMissing])`: an absent key without the flag gives MISSING.
pub(super) fn object_unset<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(ignore), Some(key)) = (flag(args, 2), key(&args[1])) else { return Ok(None) };
    let Some(mut o) = take_object(&mut args[0], budget)? else { return Ok(None) };
    if o.remove(&key).is_none() && !ignore {
        return Ok(None);
    }
    some(o)
}

/// `object_rename(o, old, new)`: MISSING when `old` is absent or `new` exists.
pub(super) fn object_rename<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(old), Some(new)) = (key(&args[1]), key(&args[2])) else { return Ok(None) };
    let Some(mut o) = take_object(&mut args[0], budget)? else { return Ok(None) };
    let Some(value) = o.remove(&old) else { return Ok(None) };
    if o.contains_key(&new) {
        return Ok(None);
    }
    o.insert(new, value);
    some(o)
}

/// The fields of all objects; of a field that several have, the last.
pub(super) fn object_concat<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let mut out = Object::new();
    for arg in args {
        let Some(o) = take_object(arg, budget)? else { return Ok(None) };
        out.extend(o);
    }
    some(out)
}

/// Approximate size of an object in bytes: that of its binary form.
pub(super) fn object_size<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match args[0].as_deref() {
        Some(v @ Value::Object(_)) => {
            budget.charge_value(v)?;
            count(codec::to_vec(v).len())
        }
        _ => Ok(None),
    }
}
