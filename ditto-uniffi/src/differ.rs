//! What changed between two results.

use std::sync::Arc;

use crate::error::DittoError;
use crate::json;
use crate::result::QueryResult;

/// Computes the difference between the rows it is given and the rows of the call before. The first call reports every row
/// as an insertion. It keeps 32 bytes a row.
#[derive(Default, uniffi::Object)]
pub struct Differ {
    inner: ditto::Differ,
}

/// A difference. Insertions, updates and the ends of moves count in the new list, deletions and the starts of moves in the
/// old one. Indexes ascend.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Diff {
    /// Rows that are new.
    pub insertions: Vec<u64>,
    /// Rows that are gone.
    pub deletions: Vec<u64>,
    /// Rows whose content changed.
    pub updates: Vec<u64>,
    /// Rows that are elsewhere among those that stayed. A row that moved and changed is an update as well.
    pub moves: Vec<DiffMove>,
}

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct DiffMove {
    /// Index in the old list.
    pub from: u64,
    /// Index in the new list.
    pub to: u64,
}

#[uniffi::export]
impl Differ {
    /// Begins with an empty list.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Compares the rows of a result with those of the last call, and remembers them in their place.
    pub fn diff_result(&self, result: Arc<QueryResult>) -> Diff {
        self.inner.diff_result(&result.inner).into()
    }

    /// The same for rows that are at hand: the text of a JSON array.
    pub fn diff_json(&self, rows: String) -> Result<Diff, DittoError> {
        Ok(self.inner.diff_values(&json::rows(&rows)?).into())
    }
}

impl From<ditto::Diff> for Diff {
    fn from(d: ditto::Diff) -> Self {
        let sorted = |set: &std::collections::HashSet<usize>| {
            let mut all: Vec<u64> = set.iter().map(|i| *i as u64).collect();
            all.sort_unstable();
            all
        };
        let mut moves: Vec<DiffMove> =
            d.moves.iter().map(|m| DiffMove { from: m.from as u64, to: m.to as u64 }).collect();
        moves.sort_unstable_by_key(|m| (m.to, m.from));
        Self {
            insertions: sorted(&d.insertions),
            deletions: sorted(&d.deletions),
            updates: sorted(&d.updates),
            moves,
        }
    }
}
