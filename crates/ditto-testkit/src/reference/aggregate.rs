//! Aggregates over the rows of a group (dql.md 5.8).

use ditto_types::Value;

use crate::reference::expr::{Expr, Row, Scope};
use crate::reference::operators::{equal, float, from_float, from_whole};
use crate::reference::order::{Number, number, order};

/// `COUNT(*)`, `SUM(DISTINCT a)`, …
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Upper-case name.
    pub name: &'static str,
    /// Equal values count once.
    pub distinct: bool,
    /// `None` for `*`.
    pub of: Option<Expr>,
}

pub(crate) fn value(aggregate: &Aggregate, group: &[Row]) -> Option<Value> {
    let Some(of) = &aggregate.of else { return Some(Value::from(group.len() as u64)) };
    let mut values: Vec<Value> = group.iter().filter_map(|row| of.value(&Scope::of_row(row))).collect();
    values.retain(|v| *v != Value::Null);
    if aggregate.distinct {
        let mut kept: Vec<Value> = Vec::new();
        for v in values {
            if !kept.iter().any(|k| equal(k, &v)) {
                kept.push(v);
            }
        }
        values = kept;
    }
    let numbers: Vec<Number> = values.iter().filter_map(number).collect();
    match aggregate.name {
        "COUNT" => Some(Value::from(values.iter().filter(|v| **v != Value::Bool(false)).count() as u64)),
        "SUM" => sum(&numbers),
        "AVG" => {
            let total = sum_of_floats(&numbers)?;
            Some(from_float(total / numbers.len() as f64))
        }
        "MIN" => values.into_iter().min_by(|a, b| order(Some(a), Some(b))),
        "MAX" => values.into_iter().max_by(|a, b| order(Some(a), Some(b))),
        other => unreachable!("{other} is no aggregate of the reference evaluator"),
    }
}

/// Integers stay integers; one float makes the sum a float.
fn sum(numbers: &[Number]) -> Option<Value> {
    let mut total = 0;
    for n in numbers {
        match n {
            Number::Whole(i) => total += i,
            Number::Float(_) => return sum_of_floats(numbers).map(from_float),
        }
    }
    (!numbers.is_empty()).then(|| from_whole(total))
}

fn sum_of_floats(numbers: &[Number]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().map(|n| float(*n)).sum())
}
