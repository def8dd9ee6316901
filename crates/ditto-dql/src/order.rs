//! The order of values across types (ascending): `false`, `true`, numbers, binary, strings, arrays, objects,
//! `null`, missing.

use std::cmp::Ordering;

use ditto_types::Value;

/// Compares two values in the sort order of the language; `None` is MISSING and comes last.
///
/// This is a total order whose equivalence is deep equality with numbers compared by value: `1` equals `1.0`.
/// NaN equals itself and comes after all other numbers. Arrays compare item by item, objects field by field
/// in the order of their names.
pub fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_values(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Place of a value's type in the sort order.
pub(crate) fn rank(v: &Value) -> u8 {
    match v {
        Value::Bool(_) => 0,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => 1,
        Value::Bytes(_) => 2,
        Value::Str(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
        Value::Null => 6,
    }
}

pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Array(a), Value::Array(b)) => {
            for (a, b) in a.iter().zip(b) {
                let o = compare_values(a, b);
                if o.is_ne() {
                    return o;
                }
            }
            a.len().cmp(&b.len())
        }
        (Value::Object(a), Value::Object(b)) => {
            for ((ka, va), (kb, vb)) in a.iter().zip(b) {
                let o = ka.as_bytes().cmp(kb.as_bytes()).then_with(|| compare_values(va, vb));
                if o.is_ne() {
                    return o;
                }
            }
            a.len().cmp(&b.len())
        }
        _ => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => rank(a).cmp(&rank(b)),
        },
    }
}

/// A numeric value, exactly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// Within `i64::MIN..=u64::MAX`.
    Int(i128),
    Float(f64),
}

impl Number {
    pub(crate) fn of(v: &Value) -> Option<Self> {
        match v {
            Value::Int(i) => Some(Number::Int((*i).into())),
            Value::UInt(u) => Some(Number::Int((*u).into())),
            Value::Float(f) => Some(Number::Float(*f)),
            _ => None,
        }
    }

    /// The nearest float.
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }

    pub(crate) fn compare(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(&b),
            (Number::Int(a), Number::Float(b)) => int_with_float(a, b),
            (Number::Float(a), Number::Int(b)) => int_with_float(b, a).reverse(),
            (Number::Float(a), Number::Float(b)) => {
                a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            }
        }
    }
}

/// Compares without rounding the integer: above 2^53 a conversion to float would make neighbours equal.
fn int_with_float(i: i128, f: f64) -> Ordering {
    // 2^65 is exact as a float and beyond every integer value.
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if f.is_nan() || f >= BEYOND {
        return Ordering::Less;
    }
    if f <= -BEYOND {
        return Ordering::Greater;
    }
    let whole = f.trunc();
    i.cmp(&(whole as i128)).then_with(|| 0.0f64.partial_cmp(&(f - whole)).unwrap_or(Ordering::Equal))
}

/// The integer as a value, if it is within the range of integer values.
pub(crate) fn int_value(i: i128) -> Option<Value> {
    match i64::try_from(i) {
        Ok(i) => Some(Value::Int(i)),
        Err(_) => u64::try_from(i).ok().map(Value::UInt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_types::json;

    #[test]
    fn the_sort_order_of_the_language() {
        let texts = [
            "false",
            "true",
            "-1e300",
            "-9223372036854775808",
            "-1.5",
            "-1",
            "0",
            "0.5",
            "1",
            "9007199254740992",
            "9007199254740993",
            "9223372036854775807",
            "18446744073709551615",
            "1e300",
            r#""""#,
            r#""A""#,
            r#""a""#,
            r#""aa""#,
            r#""é""#,
            "[]",
            "[1]",
            "[1,2]",
            "[2]",
            "[null]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1,"b":0}"#,
            r#"{"a":2}"#,
            r#"{"b":0}"#,
            "null",
        ];
        let mut values: Vec<Option<Value>> =
            texts.iter().map(|t| Some(json::from_str(t).expect("JSON"))).collect();
        values.insert(14, Some(Value::Float(f64::NAN)));
        values.insert(15, Some(Value::Bytes(vec![])));
        values.insert(16, Some(Value::Bytes(vec![255])));
        values.push(None);
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(compare(a.as_ref(), b.as_ref()), i.cmp(&j), "{a:?} with {b:?}");
            }
        }
    }

    #[test]
    fn numbers_compare_exactly_across_kinds() {
        let eq = |a: Value, b: Value| compare_values(&a, &b).is_eq();
        assert!(eq(Value::Int(1), Value::Float(1.0)));
        assert!(eq(Value::Float(-0.0), Value::Int(0)));
        assert!(eq(Value::Int(1 << 53), Value::Float(9_007_199_254_740_992.0)));
        assert!(!eq(Value::Int((1 << 53) + 1), Value::Float(9_007_199_254_740_992.0)));
        assert!(!eq(Value::Int(i64::MAX), Value::Float(9_223_372_036_854_775_808.0)));
        assert!(eq(Value::UInt(1 << 63), Value::Float(9_223_372_036_854_775_808.0)));
        assert!(eq(Value::Int(i64::MIN), Value::Float(-9_223_372_036_854_775_808.0)));
        assert!(!eq(Value::UInt(u64::MAX), Value::Float(18_446_744_073_709_551_616.0)));
        assert_eq!(compare_values(&Value::Int(-1), &Value::Float(-1.5)), Ordering::Greater);
        assert_eq!(compare_values(&Value::Int(1), &Value::Float(1.5)), Ordering::Less);
        assert_eq!(compare_values(&Value::Int(0), &Value::Float(f64::NEG_INFINITY)), Ordering::Greater);
        assert_eq!(compare_values(&Value::Int(0), &Value::Float(f64::INFINITY)), Ordering::Less);
    }
}
