//! Documents whose fields have mixed types, so that conditions find something, nothing, NULL and MISSING.
//!
//! | field | holds, besides nothing and null |
//! |---|---|
//! | `a` | small numbers of both kinds, now and then a text or boolean |
//! | `b` | short texts, some with a common start |
//! | `n` | small integers and quarters: their sums are exact in any order |
//! | `e` | numbers at the edges of 64 bits and of floats |
//! | `o` | an object with `x` and `y.z`, now and then something else |
//! | `l` | an array |
//! | `t` | booleans |
//! | `r` | the id of some document |

use ditto_types::{Object, Value};

use crate::reference::generate::Tape;

pub(crate) const FIELDS: [&str; 8] = ["a", "b", "n", "e", "o", "l", "t", "r"];

const TEXTS: [&str; 14] =
    ["", "a", "ab", "abc", "abd", "b", "B", "é", "%", "_a", "a_", "\\", "it's", "zz\u{10ffff}"];

/// A document with its `_id`.
pub fn document(tape: &mut Tape) -> Value {
    let mut fields = Object::from([("_id".into(), id(tape))]);
    for name in FIELDS {
        if let Some(value) = field(tape, name) {
            fields.insert(name.into(), value);
        }
    }
    Value::Object(fields)
}

/// One of few ids.
pub(crate) fn id(tape: &mut Tape) -> Value {
    match tape.below(12) {
        10 => Value::from(tape.below(3)),
        11 => {
            Value::Object(Object::from([("k".into(), Value::from(tape.below(3))), ("s".into(), "x".into())]))
        }
        _ => format!("k{:02}", tape.below(20)).into(),
    }
}

/// What a field of this name may hold; `None` leaves it out.
pub(crate) fn field(tape: &mut Tape, name: &str) -> Option<Value> {
    match tape.below(10) {
        8 => return None,
        9 => return Some(Value::Null),
        _ => {}
    }
    Some(match name {
        "a" => match tape.below(8) {
            0..=4 => Value::from(tape.below(5)),
            5 => Value::Float(tape.below(5) as f64),
            6 => text(tape),
            _ => Value::Bool(tape.chance(1, 2)),
        },
        "b" => text(tape),
        "n" => number(tape),
        "e" => edge(tape),
        "o" => match tape.below(8) {
            6 => number(tape),
            7 => Value::Array(vec![number(tape)]),
            _ => object(tape),
        },
        "l" => {
            let count = tape.below(4);
            Value::Array((0..count).map(|_| element(tape)).collect())
        }
        "t" => Value::Bool(tape.chance(1, 2)),
        _ => id(tape),
    })
}

pub(crate) fn text(tape: &mut Tape) -> Value {
    (*tape.pick(&TEXTS)).into()
}

/// An integer or a number of quarters, small.
pub(crate) fn number(tape: &mut Tape) -> Value {
    match tape.below(4) {
        3 => Value::Float(tape.below(40) as f64 / 4.0 - 5.0),
        _ => Value::Int(tape.below(12) as i64 - 4),
    }
}

pub(crate) fn edge(tape: &mut Tape) -> Value {
    let edges = [
        Value::Int(0),
        Value::Float(0.5),
        Value::Int(i64::MAX),
        Value::Int(i64::MIN),
        Value::UInt(u64::MAX),
        Value::UInt(1 << 63),
        Value::Float(9_223_372_036_854_775_808.0),
        Value::Int((1 << 53) + 1),
        Value::Int(1 << 53),
        Value::Float(9_007_199_254_740_992.0),
        Value::Float(-0.0),
        Value::Float(1e300),
        Value::Float(-1e300),
        Value::Float(5e-324),
        Value::Bytes(vec![]),
        Value::Bytes(vec![0, 255]),
        Value::Float(f64::INFINITY),
        Value::Float(f64::NAN),
    ];
    tape.pick(&edges).clone()
}

fn object(tape: &mut Tape) -> Value {
    let mut fields = Object::new();
    if let Some(x) = field(tape, "a") {
        fields.insert("x".into(), x);
    }
    if tape.chance(1, 2) {
        fields.insert("y".into(), Object::from([("z".into(), number(tape))]).into());
    }
    Value::Object(fields)
}

fn element(tape: &mut Tape) -> Value {
    match tape.below(8) {
        0..=2 => number(tape),
        3 | 4 => text(tape),
        5 => Value::Null,
        6 => Value::Object(Object::from([("x".into(), number(tape))])),
        _ => Value::Array(vec![number(tape), text(tape)]),
    }
}
