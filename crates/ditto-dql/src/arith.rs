//! Arithmetic and comparison operators on values.
//!
//! A MISSING operand or one of the wrong type gives MISSING; otherwise a NULL operand gives NULL. A result that does
//! not exist is NULL: division by zero, an integer beyond 64 bits, a float that is not finite.

use std::cmp::Ordering;

use ditto_types::Value;

use crate::ast::{ArithOp, CompareOp};
use crate::order::{Number, compare_values, int_value, rank};
use crate::truth::Truth;
use crate::value_ref::ValueRef;

pub(crate) fn compare_op(op: CompareOp, a: Option<&Value>, b: Option<&Value>) -> Truth {
    compare_ref(op, a.map(ValueRef::of), b)
}

/// [`compare_op`] with a value of a row where it lies.
pub(crate) fn compare_ref(op: CompareOp, a: Option<ValueRef<'_>>, b: Option<&Value>) -> Truth {
    let (Some(a), Some(b)) = (a, b) else { return Truth::Missing };
    if a.is_null() || *b == Value::Null {
        return Truth::Null;
    }
    if a.rank() != rank(b) {
        return Truth::Missing;
    }
    let o = a.compare(b);
    Truth::from(match op {
        CompareOp::Eq => o == Ordering::Equal,
        CompareOp::Ne => o != Ordering::Equal,
        CompareOp::Lt => o == Ordering::Less,
        CompareOp::Le => o != Ordering::Greater,
        CompareOp::Gt => o == Ordering::Greater,
        CompareOp::Ge => o != Ordering::Less,
    })
}

/// Membership of `item` in a list. Without a match, a NULL or MISSING element leaves the answer unknown.
#[derive(Default)]
pub(crate) struct Membership {
    unknown: bool,
}

impl Membership {
    /// Takes an element; `true` when it is the item.
    pub(crate) fn push(&mut self, item: &Value, element: Option<&Value>) -> bool {
        match compare_op(CompareOp::Eq, Some(item), element) {
            Truth::True => true,
            Truth::Null => {
                self.unknown = true;
                false
            }
            Truth::Missing if element.is_none() => {
                self.unknown = true;
                false
            }
            _ => false,
        }
    }

    pub(crate) fn not_found(self) -> Truth {
        if self.unknown { Truth::Null } else { Truth::False }
    }
}

/// `item IN array`.
pub(crate) fn in_value(item: Option<&Value>, array: Option<&Value>) -> Truth {
    let (Some(item), Some(array)) = (item, array) else { return Truth::Missing };
    let Value::Array(elements) = array else {
        return if *array == Value::Null { Truth::Null } else { Truth::Missing };
    };
    if *item == Value::Null {
        return Truth::Null;
    }
    let mut m = Membership::default();
    if elements.iter().any(|e| m.push(item, Some(e))) { Truth::True } else { m.not_found() }
}

/// The elements of a list that is the same for all rows, in order, so that membership does not look at each.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// The list is no array.
    Missing,
    Null,
    Values {
        /// Without NULL.
        sorted: Vec<Value>,
        /// Whether there was a NULL or MISSING element.
        unknown: bool,
    },
}

impl Members {
    /// The members of a list of values; `None` is MISSING.
    pub(crate) fn of_list(items: impl IntoIterator<Item = Option<Value>>) -> Self {
        let (mut sorted, mut unknown) = (Vec::new(), false);
        for item in items {
            match item {
                None | Some(Value::Null) => unknown = true,
                Some(v) => sorted.push(v),
            }
        }
        sorted.sort_unstable_by(compare_values);
        sorted.dedup_by(|a, b| compare_values(a, b).is_eq());
        Members::Values { sorted, unknown }
    }

    /// The members of the value on the right of IN.
    pub(crate) fn of_array(array: Option<&Value>) -> Self {
        match array {
            None => Members::Missing,
            Some(Value::Null) => Members::Null,
            Some(Value::Array(items)) => Self::of_list(items.iter().map(|v| Some(v.clone()))),
            Some(_) => Members::Missing,
        }
    }

    /// `item IN` the list.
    pub(crate) fn test(&self, item: Option<ValueRef<'_>>) -> Truth {
        let Some(item) = item else { return Truth::Missing };
        match self {
            Members::Missing => Truth::Missing,
            Members::Null => Truth::Null,
            Members::Values { .. } if item.is_null() => Truth::Null,
            Members::Values { sorted, unknown } => {
                match sorted.binary_search_by(|v| item.compare(v).reverse()) {
                    Ok(_) => Truth::True,
                    Err(_) if *unknown => Truth::Null,
                    Err(_) => Truth::False,
                }
            }
        }
    }
}

pub(crate) fn arith(op: ArithOp, a: Option<&Value>, b: Option<&Value>) -> Option<Value> {
    let operand = |v: &Value| match v {
        Value::Null => Some(None),
        v => Number::of(v).map(Some),
    };
    let (a, b) = (operand(a?)?, operand(b?)?);
    let shift = matches!(op, ArithOp::Shl | ArithOp::Shr);
    if shift && [a, b].iter().any(|n| matches!(n, Some(Number::Float(_)))) {
        return None;
    }
    let (Some(a), Some(b)) = (a, b) else { return Some(Value::Null) };
    let result = match (a, b) {
        (Number::Int(a), Number::Int(b)) => int_arith(op, a, b),
        (a, b) => float_arith(op, a.to_f64(), b.to_f64()),
    };
    Some(result.unwrap_or(Value::Null))
}

/// Integers within 64 bits, signed or unsigned; anything beyond does not exist.
fn int_arith(op: ArithOp, a: i128, b: i128) -> Option<Value> {
    int_value(match op {
        ArithOp::Add => a.checked_add(b)?,
        ArithOp::Sub => a.checked_sub(b)?,
        ArithOp::Mul => a.checked_mul(b)?,
        ArithOp::Div => a.checked_div(b)?,
        ArithOp::Rem => a.checked_rem(b)?,
        ArithOp::Shl => return shift(a, b, true),
        ArithOp::Shr => return shift(a, b, false),
    })
}

/// Shifts by 0 to 63 bits. Bits shifted out of the 64 are lost; the sign fills from the left.
fn shift(a: i128, by: i128, left: bool) -> Option<Value> {
    let by = u32::try_from(by).ok().filter(|n| *n < 64)?;
    Some(match i64::try_from(a) {
        Ok(a) => Value::Int(if left { a << by } else { a >> by }),
        Err(_) => {
            let a = u64::try_from(a).ok()?;
            Value::from(if left { a << by } else { a >> by })
        }
    })
}

fn float_arith(op: ArithOp, a: f64, b: f64) -> Option<Value> {
    let f = match op {
        ArithOp::Add => a + b,
        ArithOp::Sub => a - b,
        ArithOp::Mul => a * b,
        ArithOp::Div => a / b,
        ArithOp::Rem => a % b,
        ArithOp::Shl | ArithOp::Shr => return None,
    };
    f.is_finite().then_some(Value::Float(f))
}

/// Unary minus.
pub(crate) fn negate(v: Option<&Value>) -> Option<Value> {
    match v? {
        Value::Null => Some(Value::Null),
        // As all arithmetic: what is not finite is NULL.
        Value::Float(f) => Some(if f.is_finite() { Value::Float(-f) } else { Value::Null }),
        v => match Number::of(v)? {
            Number::Int(i) => Some(int_value(-i).unwrap_or(Value::Null)),
            Number::Float(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_that_is_not_finite_is_null_in_all_arithmetic() {
        for f in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let f = Value::Float(f);
            assert_eq!(negate(Some(&f)), Some(Value::Null), "{f:?}");
            for op in [ArithOp::Add, ArithOp::Sub, ArithOp::Mul] {
                assert_eq!(arith(op, Some(&f), Some(&Value::Int(1))), Some(Value::Null), "{op:?} {f:?}");
            }
        }
        assert_eq!(negate(Some(&Value::Float(0.5))), Some(Value::Float(-0.5)));
    }
}
