//! A value that is looked at where it lies.

use std::cmp::Ordering;

use ditto_types::Value;

use crate::order::{Number, compare_values, rank};

/// A value of a row, borrowed from its stored form where that needs no decoding.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of the signed 64-bit range.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Anything, decoded: for what has no form of its own here.
    Value(&'a Value),
}

impl<'a> ValueRef<'a> {
    /// A view of a value.
    #[inline]
    pub fn of(v: &'a Value) -> Self {
        match v {
            Value::Null => ValueRef::Null,
            Value::Bool(b) => ValueRef::Bool(*b),
            Value::Int(i) => ValueRef::Int(*i),
            Value::Float(f) => ValueRef::Float(*f),
            Value::Str(s) => ValueRef::Str(s),
            v => ValueRef::Value(v),
        }
    }

    /// The value on its own.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(b) => Value::Bool(b),
            ValueRef::Int(i) => Value::Int(i),
            ValueRef::Float(f) => Value::Float(f),
            ValueRef::Str(s) => Value::from(s),
            ValueRef::Value(v) => v.clone(),
        }
    }

    /// The form of its own, where there is one.
    pub(crate) fn normal(self) -> Self {
        match self {
            ValueRef::Value(v) => ValueRef::of(v),
            other => other,
        }
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self, ValueRef::Null | ValueRef::Value(Value::Null))
    }

    /// Place of the type in the sort order.
    pub(crate) fn rank(self) -> u8 {
        match self {
            ValueRef::Null => rank(&Value::Null),
            ValueRef::Bool(_) => 0,
            ValueRef::Int(_) | ValueRef::Float(_) => 1,
            ValueRef::Str(_) => 3,
            ValueRef::Value(v) => rank(v),
        }
    }

    /// Order as [`compare`](crate::compare()).
    pub(crate) fn compare(self, other: &Value) -> Ordering {
        match (self, other) {
            (ValueRef::Int(a), Value::Int(b)) => a.cmp(b),
            (ValueRef::Str(a), Value::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (ValueRef::Bool(a), Value::Bool(b)) => a.cmp(b),
            (ValueRef::Value(a), b) => compare_values(a, b),
            (ValueRef::Int(a), b) => match Number::of(b) {
                Some(b) => Number::Int(a.into()).compare(b),
                None => self.rank().cmp(&rank(b)),
            },
            (ValueRef::Float(a), b) => match Number::of(b) {
                Some(b) => Number::Float(a).compare(b),
                None => self.rank().cmp(&rank(b)),
            },
            (a, b) => a.rank().cmp(&rank(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_types::json;

    #[test]
    fn compares_as_the_value_does() {
        let texts = [
            "null",
            "true",
            "false",
            "-1",
            "0",
            "1",
            "9223372036854775807",
            "18446744073709551615",
            "-0.0",
            "0.5",
            "1.0",
            "1e300",
            r#""""#,
            r#""a""#,
            r#""ab""#,
            "[]",
            "[1]",
            "{}",
            r#"{"a":1}"#,
            r#"{"$bytes":"AQI="}"#,
        ];
        let values: Vec<Value> = texts.iter().map(|t| json::from_str(t).expect("JSON")).collect();
        for a in values.iter().chain([&Value::Float(f64::NAN)]) {
            for b in values.iter().chain([&Value::Float(f64::NAN)]) {
                assert_eq!(ValueRef::of(a).compare(b), compare_values(a, b), "{a:?} with {b:?}");
            }
            assert_eq!(ValueRef::of(a).rank(), rank(a));
            assert_eq!(ValueRef::of(a).is_null(), *a == Value::Null);
            assert_eq!(compare_values(&ValueRef::of(a).to_value(), a), Ordering::Equal);
        }
    }
}
