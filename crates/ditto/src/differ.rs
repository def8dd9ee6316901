//! What changed between two successive results, row by row, for lists on a screen.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use ditto_types::Value;
use serde::{Deserialize, Serialize};

use crate::result::{QueryResult, QueryResultItem};

mod align;
mod fingerprint;
mod increasing;

use fingerprint::{Fingerprint, Fingerprints};

/// Computes the difference between the rows it is given and the rows of the call before (API-085).
///
/// Two rows are the same row when their `_id` is equal. A row of `SELECT *` over a join has no `_id` of its own; it is
/// known by the `_id` of each of its documents. Any other row without `_id` is known by all that is in it, so that a
/// change shows as a deletion and an insertion. Rows that share their identity are told apart by content first, then
/// paired in the order of the lists.
///
/// It keeps 32 bytes a row, never the rows. It can be shared between threads; calls take turns.
///
/// ```
/// # use ditto::Differ;
/// # async fn example(ditto: ditto::Ditto) -> Result<(), ditto::DittoError> {
/// let differ = Differ::new();
/// ditto.store().register_observer("SELECT * FROM cars ORDER BY name", move |result| {
///     let diff = differ.diff_result(&result);
///     for at in &diff.insertions {
///         tracing::info!("row {at} is new");
///     }
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Differ {
    fingerprints: Fingerprints,
    previous: Mutex<Vec<Fingerprint>>,
}

impl Differ {
    /// Begins with an empty list: the first call reports every row as an insertion (API-086).
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares these rows with those of the last call and remembers them in their place (API-088).
    ///
    /// Items that are not decoded stay so. Takes `O((n + m) log n)` steps for `n` rows now and `m` before.
    pub fn diff<'a>(&self, items: impl IntoIterator<Item = &'a QueryResultItem>) -> Diff {
        self.advance(items.into_iter().map(|item| item.with_value(|row| self.fingerprints.of(row))).collect())
    }

    /// As [`Differ::diff`], for all rows of a result (API-089).
    pub fn diff_result(&self, result: &QueryResult) -> Diff {
        self.advance(result.items().map(|item| item.with_value(|row| self.fingerprints.of(row))).collect())
    }

    /// As [`Differ::diff`], for rows that are at hand as values.
    pub fn diff_values<'a>(&self, rows: impl IntoIterator<Item = &'a Value>) -> Diff {
        self.advance(rows.into_iter().map(|row| self.fingerprints.of(row)).collect())
    }

    fn advance(&self, rows: Vec<Fingerprint>) -> Diff {
        let mut previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner);
        let diff = align::align(&previous, &rows);
        *previous = rows;
        diff
    }
}

impl fmt::Debug for Differ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.previous.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Differ").field("rows", &rows).finish_non_exhaustive()
    }
}

/// The difference between an old and a new list of rows. Indexes count from 0.
///
/// To get from the old list to the new one: take out the rows at `deletions` and at the `from` of each move, put the
/// moved rows and new ones at the `to` of each move and at `insertions` in ascending order, then replace the rows at
/// `updates`.
///
/// As JSON or CBOR it is an object of the four names below: ascending lists of indexes, and moves as
/// `{"from": 3, "to": 0}` (API-096).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Diff {
    /// Indexes in the new list of rows that were not in the old one (API-090).
    #[serde(serialize_with = "ascending")]
    pub insertions: HashSet<usize>,
    /// Indexes in the old list of rows that are not in the new one (API-091).
    #[serde(serialize_with = "ascending")]
    pub deletions: HashSet<usize>,
    /// Indexes in the new list of rows that were in the old one with other content (API-092).
    #[serde(serialize_with = "ascending")]
    pub updates: HashSet<usize>,
    /// Rows that are in both lists and have changed their order, as few as possible, ascending by `to` (API-093). Rows
    /// that only shift because of insertions or deletions before them have not moved. A row that moved and changed is
    /// here and in `updates`.
    pub moves: Vec<DiffMove>,
}

impl Diff {
    /// Whether the lists are equal.
    pub fn is_empty(&self) -> bool {
        self.insertions.is_empty()
            && self.deletions.is_empty()
            && self.updates.is_empty()
            && self.moves.is_empty()
    }

    fn moves_as_set(&self) -> HashSet<DiffMove> {
        self.moves.iter().copied().collect()
    }
}

/// The order of the moves does not count (API-094).
impl PartialEq for Diff {
    fn eq(&self, other: &Self) -> bool {
        self.insertions == other.insertions
            && self.deletions == other.deletions
            && self.updates == other.updates
            && self.moves_as_set() == other.moves_as_set()
    }
}

impl Eq for Diff {}

/// For example `insertions: [0, 4], deletions: [], updates: [2], moves: [3 -> 0]` (API-095).
impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "insertions: {:?}, deletions: {:?}, updates: {:?}, moves: [",
            sorted(&self.insertions),
            sorted(&self.deletions),
            sorted(&self.updates)
        )?;
        for (i, m) in self.moves.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{m}")?;
        }
        f.write_str("]")
    }
}

/// A row that changed its place among the rows that are in both lists (API-097).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiffMove {
    /// Index in the old list (API-098).
    pub from: usize,
    /// Index in the new list (API-099).
    pub to: usize,
}

/// For example `3 -> 0` (API-100).
impl fmt::Display for DiffMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

fn sorted(indexes: &HashSet<usize>) -> Vec<usize> {
    let mut all: Vec<usize> = indexes.iter().copied().collect();
    all.sort_unstable();
    all
}

fn ascending<S: serde::Serializer>(indexes: &HashSet<usize>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(sorted(indexes))
}

#[cfg(test)]
mod tests;
