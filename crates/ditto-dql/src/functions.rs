//! The registry of functions.
//!
//! Arguments of the wrong type give MISSING, never an error. A MISSING argument gives MISSING and a NULL one NULL,
//! unless the function is about just that. Functions are called by name in any case.

mod collection;
mod conditional;
mod convert;
mod date;
mod numeric;
mod string;
mod surroundings;

use std::borrow::Cow;

use ditto_types::Value;

pub(crate) use convert::{CastType, cast};

use crate::error::DqlError;
use crate::eval::{Budget, Cx, Datum, Exceeded};
use crate::scalar::{At, Scalar};

/// A function of the language.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) min: usize,
    /// `usize::MAX` for any number.
    pub(crate) max: usize,
    pub(crate) body: Body,
}

#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// All arguments are evaluated first.
    Eager(for<'v> fn(&mut [Datum<'v>], &Budget) -> Result<Datum<'v>, Exceeded>),
    /// Evaluates the arguments it needs.
    Lazy(for<'a> fn(&'a [Scalar], At, &Cx<'a>) -> Result<Datum<'a>, DqlError>),
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const ANY: usize = usize::MAX;

const fn eager(
    name: &'static str,
    min: usize,
    max: usize,
    f: for<'v> fn(&mut [Datum<'v>], &Budget) -> Result<Datum<'v>, Exceeded>,
) -> Function {
    Function { name, min, max, body: Body::Eager(f) }
}

const fn lazy(
    name: &'static str,
    min: usize,
    max: usize,
    f: for<'a> fn(&'a [Scalar], At, &Cx<'a>) -> Result<Datum<'a>, DqlError>,
) -> Function {
    Function { name, min, max, body: Body::Lazy(f) }
}

/// Sorted by name.
static FUNCTIONS: &[Function] = &[
    eager("abs", 1, 1, numeric::abs),
    eager("array_contains", 2, 2, collection::array_contains),
    eager("array_contains_null", 1, 1, collection::array_contains_null),
    eager("array_length", 1, 1, collection::array_length),
    eager("byte_length", 1, 1, string::byte_length),
    eager("ceil", 1, 1, numeric::ceil),
    eager("char_length", 1, 1, string::char_length),
    eager("character_length", 1, 1, string::char_length),
    lazy("clock", 0, 2, date::clock),
    lazy("coalesce", 1, ANY, conditional::coalesce),
    eager("concat", 1, ANY, string::concat),
    eager("contains", 2, 2, string::contains),
    eager("date_add", 3, 5, date::date_add),
    eager("date_cast", 1, 2, date::date_cast),
    eager("date_diff", 3, 3, date::date_diff),
    eager("date_format", 2, 3, date::date_format),
    eager("date_part", 2, 2, date::date_part),
    eager("date_range", 4, 6, date::date_range),
    eager("date_sub", 3, 5, date::date_sub),
    eager("date_trunc", 2, 2, date::date_trunc),
    lazy("decode", 3, ANY, conditional::decode),
    eager("deserialize_json", 1, 1, convert::deserialize_json),
    eager("duration_cast", 1, 2, date::duration_cast),
    eager("duration_format", 1, 2, date::duration_format),
    eager("ends_with", 2, 2, string::ends_with),
    eager("floor", 1, 1, numeric::floor),
    lazy("ifmissing", 1, ANY, conditional::ifmissing),
    lazy("ifmissingornull", 1, ANY, conditional::coalesce),
    lazy("ifnull", 1, ANY, conditional::ifnull),
    eager("is_boolean", 1, 1, convert::is_boolean),
    eager("is_number", 1, 1, convert::is_number),
    eager("is_string", 1, 1, convert::is_string),
    eager("ismissing", 1, 1, conditional::ismissing),
    eager("ismissingornull", 1, 1, conditional::ismissingornull),
    eager("isnull", 1, 1, conditional::isnull),
    eager("joinstr", 2, ANY, string::joinstr),
    eager("json_type", 1, 1, convert::json_type),
    eager("lower", 1, 1, string::lower),
    eager("lpad", 2, 3, string::lpad),
    eager("ltrim", 1, 2, string::ltrim),
    eager("missingif", 2, 2, conditional::missingif),
    eager("nullif", 2, 2, conditional::nullif),
    lazy("nvl", 2, 3, conditional::nvl),
    eager("object_concat", 1, ANY, collection::object_concat),
    eager("object_keys", 1, 1, collection::object_keys),
    eager("object_length", 1, 1, collection::object_length),
    eager("object_rename", 3, 3, collection::object_rename),
    eager("object_set", 3, 4, collection::object_set),
    eager("object_size", 1, 1, collection::object_size),
    eager("object_unset", 2, 3, collection::object_unset),
    eager("object_values", 1, 1, collection::object_values),
    eager("pos", 2, 2, string::pos),
    eager("repeat", 2, 2, string::repeat),
    lazy("request_info", 0, 0, surroundings::request_info),
    eager("rpad", 2, 3, string::rpad),
    eager("rtrim", 1, 2, string::rtrim),
    eager("serialize_json", 1, 1, convert::serialize_json),
    eager("split", 2, 2, string::split),
    eager("starts_with", 2, 2, string::starts_with),
    eager("substr", 2, 3, string::substr),
    eager("trim", 1, 2, string::trim),
    eager("type", 1, 1, convert::type_of),
    eager("tz_offset", 1, 2, date::tz_offset),
    eager("upper", 1, 1, string::upper),
];

/// Finds a function by its name in any case.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    let name = name.to_ascii_lowercase();
    let i = FUNCTIONS.binary_search_by(|f| f.name.cmp(&name)).ok()?;
    FUNCTIONS.get(i)
}

fn some<'v>(v: impl Into<Value>) -> Result<Datum<'v>, Exceeded> {
    Ok(Some(Cow::Owned(v.into())))
}

fn count<'v>(n: usize) -> Result<Datum<'v>, Exceeded> {
    some(n as u64)
}

fn null<'v>() -> Result<Datum<'v>, Exceeded> {
    Ok(Some(Cow::Owned(Value::Null)))
}

/// What arguments that are no proper values make of a call: MISSING before NULL.
fn absent<'v>(args: &[Datum<'v>]) -> Option<Datum<'v>> {
    if args.iter().any(Option::is_none) {
        return Some(None);
    }
    args.iter().any(|a| a.as_deref() == Some(&Value::Null)).then_some(Some(Cow::Owned(Value::Null)))
}

/// Returns early with MISSING or NULL if an argument is that.
macro_rules! propagate {
    ($args:expr) => {
        if let Some(absent) = $crate::functions::absent($args) {
            return Ok(absent);
        }
    };
}
use propagate;

#[cfg(test)]
mod tests;
