//! Results of statements.

use std::sync::{Arc, OnceLock};

use ditto_dql::{Item, Items};
use ditto_types::{DocId, Value};

/// The immutable result of one statement (API-054).
///
/// Rows that are whole documents stay in their stored form until somebody looks at them.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    items: Arc<Rows>,
    mutated: Arc<Vec<DocId>>,
    /// Set once the commit that the statement belongs to has succeeded; never for SELECT.
    commit: Option<CommitSlot>,
    /// The newest commit that the rows of an observer show.
    seen: Option<u64>,
}

#[derive(Debug, Default)]
struct Rows {
    lazy: Items,
    /// All of them decoded, once somebody has asked for that.
    values: OnceLock<Vec<Value>>,
}

/// Where a commit leaves its number for the results that belong to it.
pub(crate) type CommitSlot = Arc<OnceLock<u64>>;

impl QueryResult {
    pub(crate) fn rows(items: impl Into<Items>) -> Self {
        Self { items: Arc::new(Rows { lazy: items.into(), values: OnceLock::new() }), ..Self::default() }
    }

    /// As it was after a commit.
    pub(crate) fn at(self, seen: Option<u64>) -> Self {
        Self { seen, ..self }
    }

    pub(crate) fn mutation(mutated: Vec<DocId>, returned: Items, commit: CommitSlot) -> Self {
        Self { mutated: Arc::new(mutated), commit: Some(commit), ..Self::rows(returned) }
    }

    /// With one row more.
    pub(crate) fn with_row(self, row: Item) -> Self {
        let items = self.items.lazy.with(row);
        Self { mutated: self.mutated, commit: self.commit, ..Self::rows(items) }
    }

    /// The rows, undecoded where they are whole documents. Each can be kept beyond the result.
    pub fn lazy_items(&self) -> &Items {
        &self.items.lazy
    }

    /// The rows one after the other, each decoded when it is its turn: never all of them at once.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> + '_ {
        self.items.lazy.iter().map(|row| row.value())
    }

    /// All rows of a SELECT or of RETURNING, as objects. The first call decodes them, and they stay decoded as long as the result
    /// lives; [`QueryResult::iter`] and [`QueryResult::lazy_items`] need less memory.
    pub fn items(&self) -> &[Value] {
        self.items.values.get_or_init(|| self.iter().collect())
    }

    /// The rows, decoded; without copying what only this handle of the result has.
    pub fn into_items(self) -> Vec<Value> {
        match Arc::try_unwrap(self.items) {
            Ok(Rows { lazy, values }) => {
                values.into_inner().unwrap_or_else(|| lazy.iter().map(|row| row.value()).collect())
            }
            Err(shared) => shared.lazy.iter().map(|row| row.value()).collect(),
        }
    }

    /// Number of rows.
    pub fn item_count(&self) -> usize {
        self.items.lazy.len()
    }

    /// Ids of the documents that a mutating statement wrote or removed, in its order; empty for SELECT (API-060).
    pub fn mutated_document_ids(&self) -> &[DocId] {
        &self.mutated
    }

    /// Number of the commit that a mutating statement belongs to, also when it changed nothing (API-056).
    ///
    /// For what an observer receives, the newest commit that its rows show. `None` for any other SELECT, and inside a
    /// transaction until that has committed.
    pub fn commit_id(&self) -> Option<u64> {
        match &self.commit {
            Some(commit) => commit.get().copied(),
            None => self.seen,
        }
    }

    /// Whether it is the result of a mutating statement, also of one that changed nothing.
    pub fn is_mutation(&self) -> bool {
        self.commit.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_moved_out_of_the_last_handle() {
        let r = QueryResult::rows(vec![Item::from(Value::Int(1))]);
        let other = r.clone();
        assert_eq!(r.into_items(), other.clone().into_items());
        assert_eq!(other.items(), [Value::Int(1)]);
        assert_eq!(other.into_items(), [Value::Int(1)]);
    }
}
