//! Arithmetic, comparison, logic and patterns on values; `None` is MISSING (dql.md 4.2 to 4.7).

use std::cmp::Ordering;

use ditto_types::Value;

use crate::reference::expr::Binary;
use crate::reference::order::{Number, number, order};

/// Keeps a row: exactly `true`.
pub fn is_true(v: Option<&Value>) -> bool {
    matches!(v, Some(Value::Bool(true)))
}

/// The same value of the same type, numbers by their value: what `=` finds true.
pub fn equal(a: &Value, b: &Value) -> bool {
    order(Some(a), Some(b)) == Ordering::Equal
}

pub(crate) fn binary(op: Binary, a: Option<Value>, b: Option<Value>) -> Option<Value> {
    match op {
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
            arithmetic(op, a, b)
        }
        Binary::Concat => concat(&[a, b]),
        Binary::Equal => compare(a, b, |o| o == Ordering::Equal),
        Binary::NotEqual => compare(a, b, |o| o != Ordering::Equal),
        Binary::Less => compare(a, b, |o| o == Ordering::Less),
        Binary::LessEqual => compare(a, b, |o| o != Ordering::Greater),
        Binary::Greater => compare(a, b, |o| o == Ordering::Greater),
        Binary::GreaterEqual => compare(a, b, |o| o != Ordering::Less),
        Binary::And => and(&[a, b]),
        Binary::Or => or(&[a, b]),
        Binary::Xor => xor(&a, &b),
    }
}

/// What an operator on some type of operands finds in one of them.
enum Operand<T> {
    Missing,
    Null,
    Fits(T),
}

fn operand<T>(v: Option<Value>, fits: impl FnOnce(&Value) -> Option<T>) -> Operand<T> {
    match v {
        Some(Value::Null) => Operand::Null,
        Some(v) => fits(&v).map_or(Operand::Missing, Operand::Fits),
        None => Operand::Missing,
    }
}

/// A wrong type is MISSING, and MISSING wins over NULL (docs/dql.md).
fn both<T>(a: Operand<T>, b: Operand<T>, f: impl FnOnce(T, T) -> Option<Value>) -> Option<Value> {
    match (a, b) {
        (Operand::Missing, _) | (_, Operand::Missing) => None,
        (Operand::Null, _) | (_, Operand::Null) => Some(Value::Null),
        (Operand::Fits(a), Operand::Fits(b)) => f(a, b),
    }
}

fn arithmetic(op: Binary, a: Option<Value>, b: Option<Value>) -> Option<Value> {
    both(operand(a, number), operand(b, number), |a, b| {
        Some(match (a, b) {
            (Number::Whole(a), Number::Whole(b)) => whole_arithmetic(op, a, b),
            (a, b) => {
                let (a, b) = (float(a), float(b));
                match op {
                    Binary::Add => from_float(a + b),
                    Binary::Subtract => from_float(a - b),
                    Binary::Multiply => from_float(a * b),
                    Binary::Divide if b == 0.0 => Value::Null,
                    Binary::Divide => from_float(a / b),
                    _ if b == 0.0 => Value::Null,
                    _ => from_float(a % b),
                }
            }
        })
    })
}

fn whole_arithmetic(op: Binary, a: i128, b: i128) -> Value {
    match op {
        Binary::Add => from_whole(a + b),
        Binary::Subtract => from_whole(a - b),
        // 64 by 64 bits always fit, signs included.
        Binary::Multiply => a.checked_mul(b).map_or(Value::Null, from_whole),
        _ if b == 0 => Value::Null,
        Binary::Divide => from_whole(a / b),
        _ => from_whole(a % b),
    }
}

pub(crate) fn float(n: Number) -> f64 {
    match n {
        Number::Whole(i) => i as f64,
        Number::Float(f) => f,
    }
}

/// NULL beyond 64 bits.
pub(crate) fn from_whole(i: i128) -> Value {
    if let Ok(i) = i64::try_from(i) {
        Value::Int(i)
    } else if let Ok(u) = u64::try_from(i) {
        Value::UInt(u)
    } else {
        Value::Null
    }
}

/// NULL when it is no finite number.
pub(crate) fn from_float(f: f64) -> Value {
    if f.is_finite() { Value::Float(f) } else { Value::Null }
}

pub(crate) fn negate(v: Option<Value>) -> Option<Value> {
    match v? {
        Value::Null => Some(Value::Null),
        v => match number(&v)? {
            Number::Whole(i) => Some(from_whole(-i)),
            Number::Float(f) => Some(from_float(-f)),
        },
    }
}

pub(crate) fn concat(parts: &[Option<Value>]) -> Option<Value> {
    let mut text = String::new();
    for part in parts {
        match part {
            Some(Value::Str(s)) => text.push_str(s),
            _ => return None,
        }
    }
    Some(text.into())
}

fn compare(a: Option<Value>, b: Option<Value>, holds: impl FnOnce(Ordering) -> bool) -> Option<Value> {
    let (a, b) = (a?, b?);
    if a == Value::Null || b == Value::Null {
        return Some(Value::Null);
    }
    if kind(&a) != kind(&b) {
        return None;
    }
    Some(Value::Bool(holds(order(Some(&a), Some(&b)))))
}

/// Types that compare with each other.
fn kind(v: &Value) -> &'static str {
    match v {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => "number",
        v => v.type_name(),
    }
}

/// The operand of a logical operator: missing is as null; no boolean at all spoils an undecided result.
enum Truth {
    Is(bool),
    Unknown,
    Wrong,
}

fn truth(v: &Option<Value>) -> Truth {
    match v {
        Some(Value::Bool(b)) => Truth::Is(*b),
        Some(Value::Null) | None => Truth::Unknown,
        Some(_) => Truth::Wrong,
    }
}

fn undecided(operands: &[Option<Value>]) -> Option<Value> {
    if operands.iter().any(|v| matches!(truth(v), Truth::Wrong)) { None } else { Some(Value::Null) }
}

pub(crate) fn and(operands: &[Option<Value>]) -> Option<Value> {
    if operands.iter().any(|v| matches!(truth(v), Truth::Is(false))) {
        return Some(Value::Bool(false));
    }
    if operands.iter().all(|v| matches!(truth(v), Truth::Is(true))) {
        return Some(Value::Bool(true));
    }
    undecided(operands)
}

pub(crate) fn or(operands: &[Option<Value>]) -> Option<Value> {
    if operands.iter().any(|v| matches!(truth(v), Truth::Is(true))) {
        return Some(Value::Bool(true));
    }
    if operands.iter().all(|v| matches!(truth(v), Truth::Is(false))) {
        return Some(Value::Bool(false));
    }
    undecided(operands)
}

fn xor(a: &Option<Value>, b: &Option<Value>) -> Option<Value> {
    match (truth(a), truth(b)) {
        (Truth::Is(a), Truth::Is(b)) => Some(Value::Bool(a != b)),
        _ => undecided(&[a.clone(), b.clone()]),
    }
}

pub(crate) fn not(v: Option<Value>) -> Option<Value> {
    match truth(&v) {
        Truth::Is(b) => Some(Value::Bool(!b)),
        Truth::Unknown => Some(Value::Null),
        Truth::Wrong => None,
    }
}

/// `x IN list`: NULL when nothing matches but the list holds NULL or MISSING (docs/dql.md).
pub(crate) fn is_in(x: Option<Value>, list: &[Option<Value>]) -> Option<Value> {
    let x = x?;
    if x == Value::Null {
        return Some(Value::Null);
    }
    if list.iter().flatten().any(|v| *v != Value::Null && equal(&x, v)) {
        return Some(Value::Bool(true));
    }
    if list.iter().any(|v| matches!(v, None | Some(Value::Null))) {
        return Some(Value::Null);
    }
    Some(Value::Bool(false))
}

/// `s LIKE p`, with backslash as the escape.
pub(crate) fn like(s: Option<Value>, p: Option<Value>, fold: bool) -> Option<Value> {
    let text = |v: &Value| v.as_str().map(|s| if fold { s.to_lowercase() } else { s.to_owned() });
    both(operand(s, text), operand(p, text), |s, p| {
        let (s, p): (Vec<char>, Vec<char>) = (s.chars().collect(), p.chars().collect());
        Some(Value::Bool(matches(&s, &p)))
    })
}

fn matches(s: &[char], p: &[char]) -> bool {
    match p {
        [] => s.is_empty(),
        ['%', rest @ ..] => (0..=s.len()).any(|skip| matches(&s[skip..], rest)),
        ['_', rest @ ..] => !s.is_empty() && matches(&s[1..], rest),
        ['\\', c @ ('%' | '_' | '\\'), rest @ ..] | [c, rest @ ..] => {
            s.first() == Some(c) && matches(&s[1..], rest)
        }
    }
}
