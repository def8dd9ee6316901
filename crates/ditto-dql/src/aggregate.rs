//! Aggregates over the rows of a group.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use ditto_types::Value;
use ditto_types::wire::{Reader, put_varint};

use crate::error::DqlError;
use crate::eval::weight;
use crate::order::{Number, compare_values, int_value};
use crate::scalar::Scalar;
use crate::sort::Keys;
use crate::spill::{damaged, get_value, put_value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateFn {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Median,
    Mid,
}

impl AggregateFn {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "count" => AggregateFn::Count,
            "sum" => AggregateFn::Sum,
            "avg" => AggregateFn::Avg,
            "min" => AggregateFn::Min,
            "max" => AggregateFn::Max,
            "median" => AggregateFn::Median,
            "mid" => AggregateFn::Mid,
            _ => return None,
        })
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

impl Aggregate {
    /// Whether it is `COUNT(*)`.
    pub(crate) fn is_count_of_rows(&self) -> bool {
        self.function == AggregateFn::Count && self.arg.is_none()
    }

    /// Whether it has to keep the values that it is given.
    pub(crate) fn keeps_values(&self) -> bool {
        self.distinct || self.function == AggregateFn::Median
    }
}

/// An aggregate under way for one group.
#[derive(Debug)]
pub(crate) struct Accumulator {
    function: AggregateFn,
    seen: Option<BTreeSet<Keys>>,
    count: u64,
    ints: i128,
    floats: Option<FloatSum>,
    /// The least and the greatest value, as far as the function needs them.
    least: Option<Value>,
    greatest: Option<Value>,
    /// All numbers, for MEDIAN.
    numbers: Vec<Value>,
}

impl Accumulator {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        Self { seen: aggregate.distinct.then(BTreeSet::new), ..Self::plain(aggregate) }
    }

    /// One that is given distinct values if it is over such.
    pub(crate) fn plain(aggregate: &Aggregate) -> Self {
        Self {
            function: aggregate.function,
            seen: None,
            count: 0,
            ints: 0,
            floats: None,
            least: None,
            greatest: None,
            numbers: Vec::new(),
        }
    }

    /// Counts a row, for `COUNT(*)`.
    pub(crate) fn push_row(&mut self) {
        self.count += 1;
    }

    /// Takes the value of the argument for a row. COUNT skips NULL, MISSING and false; MIN and MAX skip
    /// NULL and MISSING; the others take numbers only.
    ///
    /// Returns how many bytes more it holds now.
    pub(crate) fn push(&mut self, value: Option<&Value>) -> usize {
        let Some(value) = value.filter(|v| **v != Value::Null) else { return 0 };
        let number = Number::of(value);
        match self.function {
            AggregateFn::Count if *value == Value::Bool(false) => return 0,
            AggregateFn::Count | AggregateFn::Min | AggregateFn::Max => {}
            _ if number.is_none() => return 0,
            _ => {}
        }
        let mut held = 0;
        if let Some(seen) = &mut self.seen {
            if !seen.insert(Keys(vec![Some(value.clone())])) {
                return 0;
            }
            held = weight(value);
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
            AggregateFn::Min => held += extreme(&mut self.least, value, Ordering::Less),
            AggregateFn::Max => held += extreme(&mut self.greatest, value, Ordering::Greater),
            AggregateFn::Mid => {
                held += extreme(&mut self.least, value, Ordering::Less);
                held += extreme(&mut self.greatest, value, Ordering::Greater);
            }
            AggregateFn::Median => {
                self.numbers.push(value.clone());
                held += size_of::<Value>();
            }
        }
        held
    }

    /// The values that it keeps, in order; it is of no use afterwards.
    pub(crate) fn take_kept(&mut self) -> impl Iterator<Item = Value> + use<> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.sort_by(compare_values);
        let (seen, numbers) = match self.seen.take() {
            Some(seen) => (seen, Vec::new()),
            None => (BTreeSet::new(), numbers),
        };
        seen.into_iter().flat_map(|keys| keys.0.into_iter().flatten()).chain(numbers)
    }

    /// Appends what it has come to, if it keeps no values.
    pub(crate) fn put_partial(&self, out: &mut Vec<u8>) {
        put_varint(out, self.count);
        out.extend(self.ints.to_le_bytes());
        out.push(u8::from(self.floats.is_some()));
        if let Some(FloatSum { sum, error }) = &self.floats {
            out.extend(sum.to_bits().to_le_bytes());
            out.extend(error.to_bits().to_le_bytes());
        }
        put_value(self.least.as_ref(), out);
        put_value(self.greatest.as_ref(), out);
    }

    /// Adds what another one had come to, as [`Accumulator::put_partial`] wrote it.
    pub(crate) fn absorb_partial(&mut self, r: &mut Reader<'_>) -> Result<(), DqlError> {
        self.count = self.count.saturating_add(r.varint().map_err(|_| damaged())?);
        self.ints = self.ints.saturating_add(i128::from_le_bytes(r.array().map_err(|_| damaged())?));
        if r.u8().map_err(|_| damaged())? == 1 {
            let floats = self.floats.get_or_insert_default();
            floats.add(f64::from_bits(r.u64_le().map_err(|_| damaged())?));
            // Kept apart, so that it is not rounded away.
            floats.error += f64::from_bits(r.u64_le().map_err(|_| damaged())?);
        }
        if let Some(least) = get_value(r)? {
            extreme(&mut self.least, &least, Ordering::Less);
        }
        if let Some(greatest) = get_value(r)? {
            extreme(&mut self.greatest, &greatest, Ordering::Greater);
        }
        Ok(())
    }

    /// The result; MISSING if there was no value to aggregate, except for COUNT.
    pub(crate) fn finish(self) -> Option<Value> {
        let float = |f: f64| if f.is_finite() { Value::Float(f) } else { Value::Null };
        match self.function {
            AggregateFn::Count => Some(Value::from(self.count)),
            AggregateFn::Min => self.least,
            AggregateFn::Max => self.greatest,
            AggregateFn::Mid => Some(middle(&self.least?, &self.greatest?)),
            AggregateFn::Median => median(self.numbers),
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

/// Keeps the value if it goes before or behind the one kept. Returns how many bytes more that takes.
fn extreme(kept: &mut Option<Value>, value: &Value, wanted: Ordering) -> usize {
    if kept.as_ref().is_some_and(|e| compare_values(value, e) != wanted) {
        return 0;
    }
    let before = kept.as_ref().map_or(0, weight);
    *kept = Some(value.clone());
    weight(value).saturating_sub(before)
}

/// The number halfway between two, as a float.
pub(crate) fn middle(a: &Value, b: &Value) -> Value {
    let f = match (Number::of(a), Number::of(b)) {
        // Exact as long as a float can be.
        (Some(Number::Int(a)), Some(Number::Int(b))) => (a + b) as f64 / 2.0,
        // Halves, for the sum of large floats may not be one.
        (Some(a), Some(b)) => a.to_f64() / 2.0 + b.to_f64() / 2.0,
        _ => f64::NAN,
    };
    if f.is_finite() { Value::Float(f) } else { Value::Null }
}

/// The number in the middle of all in order; of an even count, what is halfway between the two in the middle.
fn median(mut numbers: Vec<Value>) -> Option<Value> {
    let half = numbers.len() / 2;
    if numbers.is_empty() {
        return None;
    }
    let even = numbers.len().is_multiple_of(2);
    let (below, at, _) = numbers.select_nth_unstable_by(half, compare_values);
    if even {
        let below = below.iter().max_by(|a, b| compare_values(a, b))?;
        return Some(middle(below, at));
    }
    Some(at.clone())
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
