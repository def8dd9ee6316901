//! The order of all values (dql.md 4.9): false < true < numbers < binary < strings < arrays < objects < null < missing.

use std::cmp::Ordering;

use ditto_types::Value;

/// Compares two values; `None` is MISSING.
pub fn order(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let (ra, rb) = (rank(a), rank(b));
    if ra != rb {
        return ra.cmp(&rb);
    }
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::Bytes(a)), Some(Value::Bytes(b))) => a.cmp(b),
        (Some(Value::Str(a)), Some(Value::Str(b))) => a.as_bytes().cmp(b.as_bytes()),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for (a, b) in a.iter().zip(b) {
                let found = order(Some(a), Some(b));
                if found != Ordering::Equal {
                    return found;
                }
            }
            a.len().cmp(&b.len())
        }
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            // Field by field in the order of their names (docs/dql.md).
            for ((an, av), (bn, bv)) in a.iter().zip(b) {
                let names = an.as_bytes().cmp(bn.as_bytes());
                if names != Ordering::Equal {
                    return names;
                }
                let values = order(Some(av), Some(bv));
                if values != Ordering::Equal {
                    return values;
                }
            }
            a.len().cmp(&b.len())
        }
        (Some(a), Some(b)) => match (number(a), number(b)) {
            (Some(a), Some(b)) => numbers(a, b),
            _ => Ordering::Equal,
        },
        _ => Ordering::Equal,
    }
}

/// The place of the type in the order.
fn rank(v: Option<&Value>) -> u8 {
    match v {
        Some(Value::Bool(_)) => 0,
        Some(Value::Int(_) | Value::UInt(_) | Value::Float(_)) => 1,
        Some(Value::Bytes(_)) => 2,
        Some(Value::Str(_)) => 3,
        Some(Value::Array(_)) => 4,
        Some(Value::Object(_)) => 5,
        Some(Value::Null) => 6,
        None => 7,
    }
}

/// A number of any kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Whole(i128),
    Float(f64),
}

/// The number that a value is.
pub(crate) fn number(v: &Value) -> Option<Number> {
    match v {
        Value::Int(i) => Some(Number::Whole((*i).into())),
        Value::UInt(u) => Some(Number::Whole((*u).into())),
        Value::Float(f) => Some(Number::Float(*f)),
        _ => None,
    }
}

/// Compares by the exact values; NaN comes after all numbers and equals itself (docs/dql.md).
pub(crate) fn numbers(a: Number, b: Number) -> Ordering {
    match (a, b) {
        (Number::Whole(a), Number::Whole(b)) => a.cmp(&b),
        (Number::Float(a), Number::Float(b)) => match (a.is_nan(), b.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if a < b => Ordering::Less,
            (false, false) if a > b => Ordering::Greater,
            (false, false) => Ordering::Equal,
        },
        (Number::Whole(a), Number::Float(b)) => whole_and_float(a, b),
        (Number::Float(a), Number::Whole(b)) => whole_and_float(b, a).reverse(),
    }
}

fn whole_and_float(whole: i128, float: f64) -> Ordering {
    // Far outside of every 64-bit integer.
    if float.is_nan() || float > 1e30 {
        return Ordering::Less;
    }
    if float < -1e30 {
        return Ordering::Greater;
    }
    let cut = float.trunc();
    match whole.cmp(&(cut as i128)) {
        Ordering::Equal if float > cut => Ordering::Less,
        Ordering::Equal if float < cut => Ordering::Greater,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ditto_types::Object;

    use super::*;

    #[test]
    fn the_list_of_the_reference_is_ascending() {
        let list = [
            Some(Value::Bool(false)),
            Some(Value::Bool(true)),
            Some(Value::Float(f64::NEG_INFINITY)),
            Some(Value::Int(i64::MIN)),
            Some(Value::Float(-1.5)),
            Some(Value::Int(-1)),
            Some(Value::Float(0.25)),
            Some(Value::Int(9_007_199_254_740_992)),
            Some(Value::Int(9_007_199_254_740_993)),
            Some(Value::Float(9_007_199_254_740_994.0)),
            Some(Value::UInt(u64::MAX)),
            Some(Value::Float(18_446_744_073_709_551_616.0)),
            Some(Value::Float(f64::NAN)),
            Some(Value::Bytes(vec![])),
            Some(Value::Bytes(vec![255])),
            Some(Value::from("")),
            Some(Value::from("B")),
            Some(Value::from("a")),
            Some(Value::from("é")),
            Some(Value::Array(vec![])),
            Some(Value::Array(vec![Value::Int(1), Value::Int(2)])),
            Some(Value::Array(vec![Value::Int(2)])),
            Some(Value::Object(Object::new())),
            Some(Value::Object(Object::from([("a".into(), Value::Int(2))]))),
            Some(Value::Object(Object::from([("b".into(), Value::Int(1))]))),
            Some(Value::Null),
            None,
        ];
        for (i, a) in list.iter().enumerate() {
            for (j, b) in list.iter().enumerate() {
                assert_eq!(order(a.as_ref(), b.as_ref()), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        assert_eq!(order(Some(&Value::Int(1)), Some(&Value::Float(1.0))), Ordering::Equal);
        assert_eq!(order(Some(&Value::Float(-0.0)), Some(&Value::Int(0))), Ordering::Equal);
    }
}
