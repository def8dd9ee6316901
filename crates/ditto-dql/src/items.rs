//! The rows of a result as a list whose parts may be shared with other results.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use ditto_types::Value;

use crate::item::Item;

/// Rows in order. Cheap to clone, and immutable: what an observer gets next shares with this what has not changed.
#[derive(Clone, Default)]
pub struct Items {
    parts: Arc<[Part]>,
    /// The rows of the parts that belong to the list.
    from: usize,
    to: usize,
}

struct Part {
    /// Number of rows up to the end of this part.
    end: usize,
    /// Never empty.
    items: Arc<[Item]>,
}

impl Items {
    /// The rows `from..to` of those that the parts have together.
    pub(crate) fn window(parts: impl IntoIterator<Item = Arc<[Item]>>, from: usize, to: usize) -> Self {
        let mut end = 0;
        let part = |items: Arc<[Item]>| {
            end += items.len();
            Part { end, items }
        };
        let parts: Arc<[Part]> = parts.into_iter().filter(|p| !p.is_empty()).map(part).collect();
        let to = to.min(end);
        Self { parts, from: from.min(to), to }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Row `index`, counting from 0.
    pub fn get(&self, index: usize) -> Option<&Item> {
        let (part, at) = self.place(index)?;
        part.get(at)
    }

    /// The rows in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { items: self, next: 0, part: [].iter() }
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
            if Arc::ptr_eq(a, b) && at_a == at_b {
                index += a.len() - at_a;
            } else if same_item(&a[at_a], &b[at_b]) {
                index += 1;
            } else {
                return false;
            }
        }
        true
    }

    /// The part with row `index`, and the row's place there.
    fn place(&self, index: usize) -> Option<(&Arc<[Item]>, usize)> {
        let at = self.from.checked_add(index).filter(|at| *at < self.to)?;
        let part = self.parts.get(self.parts.partition_point(|p| p.end <= at))?;
        Some((&part.items, at + part.items.len() - part.end))
    }
}

impl From<Vec<Item>> for Items {
    fn from(items: Vec<Item>) -> Self {
        let to = items.len();
        Self::window([Arc::from(items)], 0, to)
    }
}

/// Row `index`. Panics, as a slice does, when there are fewer rows.
impl Index<usize> for Items {
    type Output = Item;

    fn index(&self, index: usize) -> &Item {
        let len = self.len();
        match self.get(index) {
            Some(item) => item,
            None => panic!("row {index} of a result of {len}"),
        }
    }
}

impl<'a> IntoIterator for &'a Items {
    type Item = &'a Item;
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
    /// The row behind those of `part`.
    next: usize,
    part: std::slice::Iter<'a, Item>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Item;

    fn next(&mut self) -> Option<&'a Item> {
        if let Some(item) = self.part.next() {
            return Some(item);
        }
        let (part, at) = self.items.place(self.next)?;
        let len = (part.len() - at).min(self.items.len() - self.next);
        self.next += len;
        self.part = part.get(at..at + len)?.iter();
        self.part.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.part.len() + self.items.len() - self.next;
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
