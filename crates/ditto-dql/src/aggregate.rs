//! Aggregates over the rows of a group.

use std::collections::BTreeSet;

use ditto_types::Value;

use crate::order::{Number, compare_values, int_value};
use crate::scalar::Scalar;
use crate::sort::Keys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateFn {
    Count,
    Sum,
    Avg,
    Min,
    Max,
}

impl AggregateFn {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "count" => AggregateFn::Count,
            "sum" => AggregateFn::Sum,
            "avg" => AggregateFn::Avg,
            "min" => AggregateFn::Min,
            "max" => AggregateFn::Max,
            _ => return None,
        })
    }

    /// Whether the language has the aggregate although this engine does not.
    pub(crate) fn is_known_elsewhere(name: &str) -> bool {
        ["median", "mid"].iter().any(|n| name.eq_ignore_ascii_case(n))
    }
}

/// A call of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) function: AggregateFn,
    /// `None` for `COUNT(*)`.
    pub(crate) arg: Option<Scalar>,
    pub(crate) distinct: bool,
}

/// An aggregate under way for one group.
#[derive(Debug)]
pub(crate) struct Accumulator {
    function: AggregateFn,
    seen: Option<BTreeSet<Keys>>,
    count: u64,
    ints: i128,
    floats: Option<FloatSum>,
    extreme: Option<Value>,
}

impl Accumulator {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        Self {
            function: aggregate.function,
            seen: aggregate.distinct.then(BTreeSet::new),
            count: 0,
            ints: 0,
            floats: None,
            extreme: None,
        }
    }

    /// Counts a row, for `COUNT(*)`.
    pub(crate) fn push_row(&mut self) {
        self.count += 1;
    }

    /// Takes the value of the argument for a row. COUNT skips NULL, MISSING and false; SUM and AVG take numbers only;
    /// MIN and MAX skip NULL and MISSING.
    pub(crate) fn push(&mut self, value: Option<&Value>) {
        let Some(value) = value.filter(|v| **v != Value::Null) else { return };
        let number = Number::of(value);
        match self.function {
            AggregateFn::Count if *value == Value::Bool(false) => return,
            AggregateFn::Sum | AggregateFn::Avg if number.is_none() => return,
            _ => {}
        }
        if let Some(seen) = &mut self.seen
            && !seen.insert(Keys(vec![Some(value.clone())]))
        {
            return;
        }
        match self.function {
            AggregateFn::Count => self.count += 1,
            AggregateFn::Sum | AggregateFn::Avg => {
                self.count += 1;
                match number {
                    // 2^63 rows of 64-bit numbers do not leave 128 bits.
                    Some(Number::Int(i)) => self.ints = self.ints.saturating_add(i),
                    Some(Number::Float(f)) => self.floats.get_or_insert_default().add(f),
                    None => {}
                }
            }
            AggregateFn::Min | AggregateFn::Max => {
                let wanted = if self.function == AggregateFn::Min {
                    std::cmp::Ordering::Less
                } else {
                    std::cmp::Ordering::Greater
                };
                if self.extreme.as_ref().is_none_or(|e| compare_values(value, e) == wanted) {
                    self.extreme = Some(value.clone());
                }
            }
        }
    }

    /// The result; MISSING if there was no value to aggregate, except for COUNT.
    pub(crate) fn finish(self) -> Option<Value> {
        let float = |f: f64| if f.is_finite() { Value::Float(f) } else { Value::Null };
        match self.function {
            AggregateFn::Count => Some(Value::from(self.count)),
            AggregateFn::Min | AggregateFn::Max => self.extreme,
            AggregateFn::Sum | AggregateFn::Avg if self.count == 0 => None,
            AggregateFn::Sum => Some(match self.floats {
                None => int_value(self.ints).unwrap_or(Value::Null),
                Some(sum) => float(sum.total() + self.ints as f64),
            }),
            AggregateFn::Avg => {
                let floats = self.floats.map_or(0.0, |s| s.total());
                Some(float((floats + self.ints as f64) / self.count as f64))
            }
        }
    }
}

/// A sum with its rounding error (Neumaier), so that the result hardly depends on the order of the rows.
#[derive(Debug, Default)]
struct FloatSum {
    sum: f64,
    error: f64,
}

impl FloatSum {
    fn add(&mut self, f: f64) {
        let t = self.sum + f;
        self.error += if self.sum.abs() >= f.abs() { (self.sum - t) + f } else { (f - t) + self.sum };
        self.sum = t;
    }

    fn total(&self) -> f64 {
        if self.error.is_finite() { self.sum + self.error } else { self.sum }
    }
}
