//! Results of statements.

use std::sync::{Arc, OnceLock};

use ditto_types::{DocId, Value};

/// The immutable result of one statement (API-054).
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    items: Arc<Vec<Value>>,
    mutated: Arc<Vec<DocId>>,
    /// Set once the commit that the statement belongs to has succeeded; never for SELECT.
    commit: Option<CommitSlot>,
}

/// Where a commit leaves its number for the results that belong to it.
pub(crate) type CommitSlot = Arc<OnceLock<u64>>;

impl QueryResult {
    pub(crate) fn rows(items: Vec<Value>) -> Self {
        Self { items: Arc::new(items), ..Self::default() }
    }

    pub(crate) fn mutation(mutated: Vec<DocId>, returned: Vec<Value>, commit: CommitSlot) -> Self {
        Self { items: Arc::new(returned), mutated: Arc::new(mutated), commit: Some(commit) }
    }

    /// Rows of a SELECT or of RETURNING, as objects.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// The rows, without copying them when this is the only handle of the result.
    pub fn into_items(self) -> Vec<Value> {
        Arc::try_unwrap(self.items).unwrap_or_else(|shared| shared.as_ref().clone())
    }

    /// Number of rows.
    pub fn item_count(&self) -> usize {
        self.items.len()
    }

    /// Ids of the documents that a mutating statement wrote or removed, in its order; empty for SELECT (API-060).
    pub fn mutated_document_ids(&self) -> &[DocId] {
        &self.mutated
    }

    /// Number of the commit that a mutating statement belongs to, also when it changed nothing (API-056).
    ///
    /// `None` for SELECT, and inside a transaction until that has committed.
    pub fn commit_id(&self) -> Option<u64> {
        self.commit.as_ref()?.get().copied()
    }

    /// Whether `other` has the same rows. Floats are the same when their bits are, so that a NaN equals itself.
    pub(crate) fn same_rows(&self, other: &QueryResult) -> bool {
        Arc::ptr_eq(&self.items, &other.items) || all_same(&self.items, &other.items)
    }
}

fn all_same(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => all_same(a, b),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_compare_by_bits() {
        let r = |v: Vec<Value>| QueryResult::rows(v);
        let nan = r(vec![Value::from(vec![Value::Float(f64::NAN)])]);
        assert!(nan.same_rows(&nan.clone()));
        assert!(nan.same_rows(&r(vec![Value::from(vec![Value::Float(f64::NAN)])])));
        assert!(!r(vec![Value::Float(0.0)]).same_rows(&r(vec![Value::Float(-0.0)])));
        assert!(!r(vec![Value::Int(1)]).same_rows(&r(vec![Value::Float(1.0)])));
        assert!(!r(vec![Value::Int(1)]).same_rows(&r(vec![])));
    }

    #[test]
    fn items_are_moved_out_of_the_last_handle() {
        let r = QueryResult::rows(vec![Value::Int(1)]);
        let other = r.clone();
        assert_eq!(r.into_items(), other.clone().into_items());
        assert_eq!(other.into_items(), vec![Value::Int(1)]);
    }
}
