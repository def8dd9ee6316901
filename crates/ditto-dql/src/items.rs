//! The rows of a result as a list whose parts may be shared with other results.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ditto_types::Value;

use crate::item::Item;
use crate::spill::SpilledRows;

/// Rows in order. Cheap to clone, and immutable: what an observer gets next shares with this what has not changed.
#[derive(Clone, Default)]
pub struct Items {
    parts: Arc<[Part]>,
    /// The rows of the parts that belong to the list.
    from: usize,
    to: usize,
}

#[derive(Clone)]
struct Part {
    /// Number of rows up to the end of this part.
    end: usize,
    /// Never empty.
    rows: Rows,
}

#[derive(Clone)]
enum Rows {
    Held(Arc<[Item]>),
    /// In a file, which is read when somebody looks.
    Spilled(Arc<SpilledRows>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Rows::Held(items) => items.len(),
            Rows::Spilled(rows) => rows.len(),
        }
    }

    /// Row `at`, which there is.
    fn get(&self, at: usize) -> Cow<'_, Item> {
        match self {
            Rows::Held(items) => Cow::Borrowed(&items[at]),
            Rows::Spilled(rows) => Cow::Owned(rows.get(at)),
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Rows::Held(a), Rows::Held(b)) => Arc::ptr_eq(a, b),
            (Rows::Spilled(a), Rows::Spilled(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Items {
    /// The rows `from..to` of those that the parts have together.
    pub(crate) fn window(parts: impl IntoIterator<Item = Arc<[Item]>>, from: usize, to: usize) -> Self {
        Self::of(parts.into_iter().map(Rows::Held), from, to)
    }

    /// Rows in a file.
    pub(crate) fn spilled(rows: SpilledRows) -> Self {
        let to = rows.len();
        Self::of([Rows::Spilled(Arc::new(rows))], 0, to)
    }

    fn of(parts: impl IntoIterator<Item = Rows>, from: usize, to: usize) -> Self {
        let mut end = 0;
        let part = |rows: Rows| {
            end += rows.len();
            Part { end, rows }
        };
        let parts: Arc<[Part]> = parts.into_iter().filter(|p| p.len() > 0).map(part).collect();
        let to = to.min(end);
        Self { parts, from: from.min(to), to }
    }

    /// These rows, and one behind them.
    #[must_use]
    pub fn with(&self, item: Item) -> Self {
        let held = self.parts.last().map_or(0, |p| p.end);
        if self.to < held {
            // The last part goes on behind the window.
            let items = self.iter().map(Cow::into_owned).chain([item]);
            return Self::from(items.collect::<Vec<_>>());
        }
        let parts = self.parts.iter().map(|p| p.rows.clone()).chain([Rows::Held([item].into())]);
        Self::of(parts, self.from, self.to + 1)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index`, counting from 0. Rows of a large result come from a file.
    pub fn get(&self, index: usize) -> Option<Cow<'_, Item>> {
        let (part, at) = self.place(index)?;
        Some(part.get(at))
    }

    /// The rows in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { items: self, next: 0, held: [].iter() }
    }

    /// Whether both lists show the same rows. Floats are the same when their bits are, so that a NaN equals itself.
    ///
    /// Rows that the lists share are not looked at.
    pub fn same_rows(&self, other: &Items) -> bool {
        if self.len() != other.len() {
            return false;
        }
        let mut index = 0;
        while let (Some((a, at_a)), Some((b, at_b))) = (self.place(index), other.place(index)) {
            if a.is(b) && at_a == at_b {
                index += a.len() - at_a;
            } else if same_item(&a.get(at_a), &b.get(at_b)) {
                index += 1;
            } else {
                return false;
            }
        }
        true
    }

    /// The part with row `index`, and the row's place there.
    fn place(&self, index: usize) -> Option<(&Rows, usize)> {
        let at = self.from.checked_add(index).filter(|at| *at < self.to)?;
        let part = self.parts.get(self.parts.partition_point(|p| p.end <= at))?;
        Some((&part.rows, at + part.rows.len() - part.end))
    }
}

impl From<Vec<Item>> for Items {
    fn from(items: Vec<Item>) -> Self {
        let to = items.len();
        Self::window([Arc::from(items)], 0, to)
    }
}

impl<'a> IntoIterator for &'a Items {
    type Item = Cow<'a, Item>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// Walks over the rows of a result.
pub struct Iter<'a> {
    items: &'a Items,
    /// The row behind those of `held`.
    next: usize,
    /// Of a part in memory.
    held: std::slice::Iter<'a, Item>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Cow<'a, Item>;

    fn next(&mut self) -> Option<Cow<'a, Item>> {
        if let Some(item) = self.held.next() {
            return Some(Cow::Borrowed(item));
        }
        let (part, at) = self.items.place(self.next)?;
        match part {
            Rows::Spilled(rows) => {
                self.next += 1;
                Some(Cow::Owned(rows.get(at)))
            }
            Rows::Held(part) => {
                let len = (part.len() - at).min(self.items.len() - self.next);
                self.next += len;
                self.held = part.get(at..at + len)?.iter();
                self.held.next().map(Cow::Borrowed)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.held.len() + self.items.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

fn same_item(a: &Item, b: &Item) -> bool {
    match (a, b) {
        (Item::Lazy(a), Item::Lazy(b)) if Arc::ptr_eq(a, b) => true,
        (Item::Value(a), Item::Value(b)) => same(a, b),
        (a, b) => same(&a.value(), &b.value()),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(range: std::ops::Range<i64>) -> Arc<[Item]> {
        range.map(|n| Item::Value(Value::Int(n))).collect()
    }

    fn shown(items: &Items) -> Vec<i64> {
        items.iter().filter_map(|i| i.value().as_i64()).collect()
    }

    #[test]
    fn a_window_over_parts() {
        let parts = [numbers(0..3), numbers(3..3), numbers(3..8)];
        for from in 0..10 {
            for to in from..10 {
                let items = Items::window(parts.clone(), from, to);
                let wanted: Vec<i64> = (from as i64..(to as i64).min(8)).collect();
                assert_eq!(shown(&items), wanted);
                assert_eq!(items.iter().len(), wanted.len());
                let got: Vec<_> = (0..10).map_while(|i| items.get(i)?.value().as_i64()).collect();
                assert_eq!(got, wanted);
                let more = items.with(Item::Value(Value::Int(99)));
                assert_eq!(shown(&more), [wanted.as_slice(), &[99]].concat());
            }
        }
    }

    #[test]
    fn lists_are_compared_however_they_are_parted() {
        let shared = numbers(3..8);
        let list = Items::window([numbers(0..3), shared.clone()], 1, 7);
        assert!(list.same_rows(&Items::window([numbers(1..3), shared.clone()], 0, 6)));
        assert!(list.same_rows(&Items::from(numbers(1..7).to_vec())));
        assert!(!list.same_rows(&Items::window([numbers(1..3), shared.clone()], 0, 5)));
        assert!(!list.same_rows(&Items::window([numbers(0..2), shared], 0, 6)));
        assert!(Items::default().same_rows(&Items::from(vec![])));
    }

    #[test]
    fn rows_compare_by_bits() {
        let list = |v: Value| Items::from(vec![Item::Value(v)]);
        let nan = || list(Value::from(vec![Value::Float(f64::NAN)]));
        assert!(nan().same_rows(&nan()));
        assert!(!list(Value::Float(0.0)).same_rows(&list(Value::Float(-0.0))));
        assert!(!list(Value::Int(1)).same_rows(&list(Value::Float(1.0))));
    }
}
