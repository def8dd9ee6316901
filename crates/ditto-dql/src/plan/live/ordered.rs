//! Rows in order, in parts of bounded size: a change touches one part, and the others are shared with results that
//! were handed out before.

use std::cmp::Ordering;
use std::sync::Arc;

use ditto_types::Value;

use crate::eval::memory;
use crate::item::Item;
use crate::sort::order;

/// Rows of a part at most.
const PART: usize = 128;

/// Rows beyond the kept ones that are collected before they are sorted.
const SLACK: usize = 256;

pub(super) struct Entry {
    keys: Box<[Option<Value>]>,
    position: i64,
    item: Item,
    /// Memory that it takes.
    weight: usize,
}

impl Entry {
    pub(super) fn new(keys: Vec<Option<Value>>, position: i64, item: Item) -> Self {
        let weight = size_of::<Self>() + item.weight() + keys.iter().flatten().map(memory).sum::<usize>();
        Self { keys: keys.into(), position, item, weight }
    }
}

/// Where a row is: its part, and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(usize, usize);

#[derive(Default)]
pub(super) struct Ordered {
    descending: Vec<bool>,
    /// None of them empty.
    parts: Vec<Part>,
    len: usize,
    weight: usize,
}

struct Part {
    entries: Vec<Entry>,
    /// The rows of the entries, once somebody has asked.
    items: Option<Arc<[Item]>>,
}

impl Part {
    fn new(entries: Vec<Entry>) -> Self {
        Self { entries, items: None }
    }
}

impl Ordered {
    /// From entries that are in order.
    fn new(descending: Vec<bool>, entries: Vec<Entry>) -> Self {
        let (len, weight) = (entries.len(), entries.iter().map(|e| e.weight).sum());
        let mut parts = Vec::with_capacity(len.div_ceil(PART / 2));
        let mut entries = entries.into_iter();
        loop {
            let part: Vec<Entry> = entries.by_ref().take(PART / 2).collect();
            if part.is_empty() {
                return Self { descending, parts, len, weight };
            }
            parts.push(Part::new(part));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory that the rows take.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Where the row is, or where it would be.
    pub(super) fn find(&self, keys: &[Option<Value>], position: i64) -> Result<At, At> {
        let before = |e: &Entry| compare(&self.descending, (&e.keys, e.position), (keys, position));
        let part = self.parts.partition_point(|p| p.entries.last().is_some_and(|e| before(e).is_lt()));
        let Some(found) = self.parts.get(part) else {
            // Behind all rows: at the end of the last part.
            let part = part.saturating_sub(1);
            return Err(At(part, self.parts.get(part).map_or(0, |p| p.entries.len())));
        };
        found.entries.binary_search_by(before).map(|i| At(part, i)).map_err(|i| At(part, i))
    }

    /// Whether `at`, a place for a new row, is behind all others.
    pub(super) fn is_end(&self, at: At) -> bool {
        at.0 + 1 >= self.parts.len() && self.parts.get(at.0).is_none_or(|p| at.1 == p.entries.len())
    }

    pub(super) fn remove(&mut self, at: At) {
        let Some(part) = self.parts.get_mut(at.0).filter(|p| at.1 < p.entries.len()) else { return };
        let removed = part.entries.remove(at.1);
        self.weight -= removed.weight;
        part.items = None;
        self.len -= 1;
        if part.entries.is_empty() {
            self.parts.remove(at.0);
        }
    }

    pub(super) fn insert(&mut self, at: At, entry: Entry) {
        if self.parts.is_empty() {
            self.parts.push(Part::new(Vec::new()));
        }
        let last = self.parts.len() - 1;
        let index = at.0.min(last);
        let part = &mut self.parts[index];
        self.weight += entry.weight;
        part.entries.insert(at.1.min(part.entries.len()), entry);
        part.items = None;
        self.len += 1;
        if part.entries.len() > PART {
            // Rows that come in order leave full parts behind.
            let cut = if index == last && at.1 + 1 == part.entries.len() { PART } else { PART / 2 };
            let behind = part.entries.split_off(cut);
            self.parts.insert(index + 1, Part::new(behind));
        }
    }

    /// Drops all rows but the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.len > len {
            let Some(part) = self.parts.last_mut() else { return };
            let excess = self.len - len;
            if part.entries.len() <= excess {
                self.len -= part.entries.len();
                self.weight -= part.entries.iter().map(|e| e.weight).sum::<usize>();
                self.parts.pop();
            } else {
                let gone = part.entries.split_off(part.entries.len() - excess);
                self.weight -= gone.iter().map(|e| e.weight).sum::<usize>();
                part.items = None;
                self.len = len;
            }
        }
    }

    /// The rows of each part, made again only where something has changed.
    pub(super) fn parts(&mut self) -> impl Iterator<Item = Arc<[Item]>> + '_ {
        self.parts.iter_mut().map(|p| {
            p.items.get_or_insert_with(|| p.entries.iter().map(|e| e.item.clone()).collect()).clone()
        })
    }
}

/// In which order rows are offered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// By sort keys and position.
    InOrder,
    /// By sort keys; those that have equal ones in any order.
    ByKeys,
    Any,
}

/// Collects the first rows of those it is offered.
pub(super) struct First {
    descending: Vec<bool>,
    /// How many are wanted; `None` for all.
    kept: Option<usize>,
    arrival: Arrival,
    entries: Vec<Entry>,
    weight: usize,
    /// Whether rows were left out. The wanted ones come first in `entries` then, in order.
    cut: bool,
    /// Whether no later row can be among the first.
    full: bool,
}

impl First {
    pub(super) fn new(descending: Vec<bool>, kept: Option<usize>, arrival: Arrival) -> Self {
        Self { descending, kept, arrival, entries: Vec::new(), weight: 0, cut: false, full: false }
    }

    /// Whether a row can be among the first.
    pub(super) fn accepts(&mut self, keys: &[Option<Value>], position: i64) -> bool {
        let Some(kept) = self.kept else { return true };
        let Some(worst) = self.entries.get(kept.wrapping_sub(1)) else { return true };
        self.full = match self.arrival {
            Arrival::InOrder => true,
            Arrival::ByKeys => order(&self.descending, keys, &worst.keys).is_gt(),
            Arrival::Any => false,
        };
        if self.full {
            self.cut = true;
            return false;
        }
        !self.cut || compare(&self.descending, (keys, position), (&worst.keys, worst.position)).is_lt()
    }

    /// Adds a row that is accepted.
    pub(super) fn push(&mut self, entry: Entry) {
        self.weight += entry.weight;
        self.entries.push(entry);
        if let Some(kept) = self.kept
            && self.entries.len() > kept.saturating_mul(2).saturating_add(SLACK)
        {
            self.cut();
        }
    }

    /// Drops the rows that cannot be among the first.
    pub(super) fn cut(&mut self) {
        if let Some(kept) = self.kept.filter(|kept| *kept < self.entries.len()) {
            self.sort();
            self.weight -= self.entries.drain(kept..).map(|e| e.weight).sum::<usize>();
            self.cut = true;
        }
    }

    /// Whether rows were dropped.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Memory that the rows take.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Whether no later row can be among the first.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The rows in order, and whether they are all there were.
    pub(super) fn finish(mut self) -> (Ordered, bool) {
        self.sort();
        if let Some(kept) = self.kept
            && self.entries.len() > kept
        {
            self.entries.truncate(kept);
            self.cut = true;
        }
        (Ordered::new(self.descending, self.entries), !self.cut)
    }

    fn sort(&mut self) {
        let descending = &self.descending;
        self.entries
            .sort_unstable_by(|a, b| compare(descending, (&a.keys, a.position), (&b.keys, b.position)));
    }
}

type Place<'a> = (&'a [Option<Value>], i64);

fn compare(descending: &[bool], a: Place<'_>, b: Place<'_>) -> Ordering {
    order(descending, a.0, b.0).then(a.1.cmp(&b.1))
}
