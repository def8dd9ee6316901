//! Ordering and cutting results: ORDER BY, LIMIT, OFFSET.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use ditto_types::Value;

use crate::error::DqlError;
use crate::eval::weight;
use crate::exec::check_buffer;
use crate::order::compare;
use crate::value_ref::ValueRef;

/// Values compared one after the other in the order of the language.
#[derive(Clone, Debug)]
pub(crate) struct Keys(pub(crate) Vec<Option<Value>>);

impl Ord for Keys {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs
            .map(|(a, b)| compare(a.as_ref(), b.as_ref()))
            .find(|o| o.is_ne())
            .unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Keys {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Keys {}

/// Which part of the ordered rows is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

/// Collects rows in order. With a limit it holds no more than about twice the rows that can still be wanted.
pub(crate) struct Sorter<T> {
    descending: Vec<bool>,
    window: Window,
    /// Sort keys, the row, and the memory that both take.
    rows: Vec<(Vec<Option<Value>>, T, usize)>,
    /// Memory of all rows, when they are sorted.
    held: usize,
    /// Whether `held` has a bound of its own.
    bounded: bool,
    /// Rows passed over by OFFSET, when nothing is sorted.
    skipped: u64,
    /// Whether rows were cut off, so that the last of the wanted ones is the worst that can be wanted.
    cut: bool,
    bar: Option<Arc<Bar>>,
}

/// The first sort key of the last row that can be in a result, shared with whoever can leave rows out early.
#[derive(Debug)]
pub(crate) struct Bar {
    descending: bool,
    /// `None` until enough rows have come.
    worst: Mutex<Option<Option<Value>>>,
}

impl Bar {
    /// Whether a row with this first sort key can be in the result.
    pub(crate) fn passes(&self, first: Option<ValueRef<'_>>) -> bool {
        let worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        worst.as_ref().is_none_or(|worst| is_not_after(first, worst.as_ref(), self.descending))
    }

    fn fall(&self, worst: Option<Value>) {
        *self.worst.lock().unwrap_or_else(PoisonError::into_inner) = Some(worst);
    }
}

fn is_not_after(key: Option<ValueRef<'_>>, other: Option<&Value>, descending: bool) -> bool {
    let order = match (key, other) {
        (Some(key), Some(other)) => key.compare(other),
        (key, other) => key.is_none().cmp(&other.is_none()),
    };
    if descending { order.is_ge() } else { order.is_le() }
}

/// Rows beyond the wanted ones that are collected before sorting again.
const SLACK: usize = 64;

impl<T> Sorter<T> {
    pub(crate) fn new(descending: Vec<bool>, window: Window) -> Self {
        Self {
            descending,
            window,
            rows: Vec::new(),
            held: 0,
            bounded: true,
            skipped: 0,
            cut: false,
            bar: None,
        }
    }

    /// From now on the caller sees to it that not too much is held.
    pub(crate) fn unbound(&mut self) {
        self.bounded = false;
    }

    /// Memory that the rows take, when they are sorted.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes out all rows that can still be wanted, in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Vec<Option<Value>>, T)> {
        self.sort();
        self.rows.truncate(self.wanted().unwrap_or(usize::MAX));
        self.held = 0;
        self.cut = false;
        std::mem::take(&mut self.rows).into_iter().map(|(keys, row, _)| (keys, row))
    }

    /// Whether rows are sorted; otherwise they need no keys.
    pub(crate) fn sorts(&self) -> bool {
        !self.descending.is_empty()
    }

    /// Whether another row could change the result.
    pub(crate) fn wants_more(&self) -> bool {
        match self.window.limit {
            Some(0) => false,
            Some(limit) if !self.sorts() => (self.rows.len() as u64) < limit,
            _ => true,
        }
    }

    /// Whether a row with these sort keys could be in the result.
    ///
    /// Rows that compare equal keep the order in which they came, so one that equals the worst is too late.
    pub(crate) fn accepts(&self, keys: &[Option<Value>]) -> bool {
        self.wants_more() && self.worst().is_none_or(|worst| order(&self.descending, keys, worst).is_lt())
    }

    /// Whether a row with this first sort key could be in the result, before its other keys are known.
    pub(crate) fn accepts_first(&self, first: Option<ValueRef<'_>>) -> bool {
        match (self.worst(), self.descending.first()) {
            (Some([worst, ..]), Some(descending)) => is_not_after(first, worst.as_ref(), *descending),
            _ => true,
        }
    }

    /// What the first sort key of a row must not exceed. It falls while rows come.
    pub(crate) fn bar(&mut self) -> Option<Arc<Bar>> {
        let (descending, _) = (*self.descending.first()?, self.window.limit?);
        let bar = Arc::new(Bar { descending, worst: Mutex::new(None) });
        self.bar = Some(bar.clone());
        Some(bar)
    }

    /// The sort keys of the last row that can be in the result, once there are as many rows as are wanted.
    fn worst(&self) -> Option<&[Option<Value>]> {
        let last = self.wanted()?.checked_sub(1).filter(|_| self.cut)?;
        self.rows.get(last).map(|(keys, ..)| keys.as_slice())
    }

    /// Adds a row with its sort keys; `weight` is the memory that the row takes.
    ///
    /// # Errors
    ///
    /// More than [`MAX_BUFFER_BYTES`](crate::MAX_BUFFER_BYTES) would have to be held to sort them.
    pub(crate) fn push(&mut self, keys: Vec<Option<Value>>, row: T, weight: usize) -> Result<(), DqlError> {
        if !self.accepts(&keys) {
            return Ok(());
        }
        if !self.sorts() {
            if self.skipped < self.window.offset {
                self.skipped += 1;
            } else {
                self.rows.push((keys, row, 0));
            }
            return Ok(());
        }
        let weight = weight + size_of::<(Vec<Option<Value>>, T, usize)>() + weight_of(&keys);
        self.held = self.held.saturating_add(weight);
        self.rows.push((keys, row, weight));
        if let Some(wanted) = self.wanted()
            && self.rows.len() >= wanted.saturating_mul(2).saturating_add(SLACK)
        {
            self.sort();
            let freed: usize = self.rows.drain(wanted..).map(|(_, _, weight)| weight).sum();
            self.held = self.held.saturating_sub(freed);
            self.cut = true;
            if let (Some(bar), Some([worst, ..])) = (&self.bar, self.worst()) {
                bar.fall(worst.clone());
            }
        }
        if self.bounded { check_buffer(self.held, "ORDER BY") } else { Ok(()) }
    }

    /// How many of the ordered rows can be wanted, counting those before the offset.
    fn wanted(&self) -> Option<usize> {
        let n = self.window.limit?.saturating_add(self.window.offset);
        Some(usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn sort(&mut self) {
        let descending = &self.descending;
        self.rows.sort_by(|(a, ..), (b, ..)| order(descending, a, b));
    }

    /// The rows in order.
    pub(crate) fn finish(mut self) -> Vec<T> {
        let offset = if self.sorts() {
            self.sort();
            usize::try_from(self.window.offset).unwrap_or(usize::MAX)
        } else {
            0
        };
        let limit = self.window.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        self.rows.into_iter().skip(offset).take(limit).map(|(_, row, _)| row).collect()
    }
}

/// Memory of sort keys.
fn weight_of(keys: &[Option<Value>]) -> usize {
    keys.iter().flatten().map(weight).sum()
}

/// Compares sort keys, each ascending or descending.
pub(crate) fn order(descending: &[bool], a: &[Option<Value>], b: &[Option<Value>]) -> Ordering {
    a.iter()
        .zip(b)
        .zip(descending)
        .map(|((a, b), descending)| {
            let o = compare(a.as_ref(), b.as_ref());
            if *descending { o.reverse() } else { o }
        })
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_gives_the_same_as_sorting_everything() {
        // A fixed sequence with many equal keys.
        let keys: Vec<i64> = (0..3000i64).map(|i| (i * 7919) % 101).collect();
        for (limit, offset) in [(0, 0), (1, 0), (10, 0), (10, 25), (100, 2950), (5000, 0), (5, 9999)] {
            for descending in [false, true] {
                let mut s = Sorter::new(vec![descending], Window { limit: Some(limit), offset });
                for (i, k) in keys.iter().enumerate() {
                    s.push(vec![Some(Value::Int(*k))], i, 0).expect("room");
                }
                let mut all: Vec<usize> = (0..keys.len()).collect();
                all.sort_by_key(|i| if descending { -keys[*i] } else { keys[*i] });
                let want: Vec<usize> = all.into_iter().skip(offset as usize).take(limit as usize).collect();
                assert!(s.rows.len() <= 2 * (limit + offset) as usize + SLACK);
                assert_eq!(s.finish(), want);
            }
        }
    }

    #[test]
    fn the_first_key_never_excludes_what_all_keys_accept() {
        let values: Vec<Option<Value>> =
            [Value::Int(1), Value::Float(1.0), Value::Int(2), Value::from("a"), Value::Null]
                .map(Some)
                .into_iter()
                .chain([None])
                .collect();
        for descending in [false, true] {
            for worst in &values {
                let mut s = Sorter::new(vec![descending, false], Window { limit: Some(1), offset: 0 });
                let bar = s.bar().expect("a limit");
                assert!(values.iter().all(|v| bar.passes(v.as_ref().map(ValueRef::of))));
                for i in 0..200 {
                    s.push(vec![worst.clone(), Some(Value::Int(1_000 - i))], (), 0).expect("room");
                }
                assert!(s.cut);
                for first in &values {
                    let accepted = s.accepts(&[first.clone(), Some(Value::Int(0))]);
                    let expected = s.accepts_first(first.as_ref().map(ValueRef::of));
                    assert_eq!(bar.passes(first.as_ref().map(ValueRef::of)), expected);
                    assert_eq!(accepted, expected, "{first:?} with {worst:?}, descending {descending}");
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        const HALF: usize = crate::MAX_BUFFER_BYTES / 2;
        let key = |i| vec![Some(Value::Int(i))];
        let mut s = Sorter::new(vec![false], Window::default());
        s.push(key(1), (), HALF).expect("room");
        let error = s.push(key(2), (), HALF).expect_err("too much");
        assert_eq!(error.kind(), ditto_types::ErrorKind::SizeLimitExceeded);
        // What LIMIT cuts off is not held any more.
        let mut s = Sorter::new(vec![false], Window { limit: Some(1), offset: 0 });
        for i in 0..10_000 {
            s.push(key(10_000 - i), (), HALF / 200).expect("room");
        }
        // Without an order nothing is sorted.
        let mut s = Sorter::new(vec![], Window::default());
        for _ in 0..3 {
            s.push(vec![], (), HALF).expect("room");
        }
    }

    #[test]
    fn without_order_it_stops_early() {
        let mut s = Sorter::new(vec![], Window { limit: Some(2), offset: 3 });
        let mut taken = 0;
        while s.wants_more() {
            s.push(vec![], taken, 0).expect("room");
            taken += 1;
        }
        assert_eq!(taken, 5);
        assert_eq!(s.finish(), [3, 4]);
    }
}
