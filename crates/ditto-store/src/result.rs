//! Results of statements.

use std::sync::{Arc, OnceLock};

use ditto_dql::Item;
use ditto_types::{DocId, Value};

/// The immutable result of one statement (API-054).
///
/// Rows that are whole documents stay in their stored form until somebody looks at them.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    items: Arc<Items>,
    mutated: Arc<Vec<DocId>>,
    /// Set once the commit that the statement belongs to has succeeded; never for SELECT.
    commit: Option<CommitSlot>,
}

#[derive(Debug, Default)]
struct Items {
    lazy: Vec<Item>,
    /// All of them decoded, once somebody has asked for that.
    values: OnceLock<Vec<Value>>,
}

/// Where a commit leaves its number for the results that belong to it.
pub(crate) type CommitSlot = Arc<OnceLock<u64>>;

impl QueryResult {
    pub(crate) fn rows(items: Vec<Item>) -> Self {
        Self { items: Arc::new(Items { lazy: items, values: OnceLock::new() }), ..Self::default() }
    }

    pub(crate) fn mutation(mutated: Vec<DocId>, returned: Vec<Item>, commit: CommitSlot) -> Self {
        Self { mutated: Arc::new(mutated), commit: Some(commit), ..Self::rows(returned) }
    }

    /// With one row more.
    pub(crate) fn with_row(self, row: Value) -> Self {
        let mut items = self.items.lazy.clone();
        items.push(row.into());
        Self { items: Arc::new(Items { lazy: items, values: OnceLock::new() }), ..self }
    }

    /// The rows, undecoded where they are whole documents. Each can be kept beyond the result.
    pub fn lazy_items(&self) -> &[Item] {
        &self.items.lazy
    }

    /// The rows one after the other, each decoded when it is its turn: never all of them at once.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> + '_ {
        self.items.lazy.iter().map(Item::value)
    }

    /// All rows of a SELECT or of RETURNING, as objects. The first call decodes them, and they stay decoded as long as the result
    /// lives; [`QueryResult::iter`] and [`QueryResult::lazy_items`] need less memory.
    pub fn items(&self) -> &[Value] {
        self.items.values.get_or_init(|| self.iter().collect())
    }

    /// The rows, decoded; without copying what only this handle of the result has.
    pub fn into_items(self) -> Vec<Value> {
        match Arc::try_unwrap(self.items) {
            Ok(Items { lazy, values }) => {
                values.into_inner().unwrap_or_else(|| lazy.into_iter().map(Item::into_value).collect())
            }
            Err(shared) => shared.lazy.iter().map(Item::value).collect(),
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
    /// `None` for SELECT, and inside a transaction until that has committed.
    pub fn commit_id(&self) -> Option<u64> {
        self.commit.as_ref()?.get().copied()
    }

    /// Whether `other` has the same rows. Floats are the same when their bits are, so that a NaN equals itself.
    pub(crate) fn same_rows(&self, other: &QueryResult) -> bool {
        let (ours, theirs) = (&self.items, &other.items);
        Arc::ptr_eq(ours, theirs)
            || (self.item_count() == other.item_count()
                && self.iter().zip(other.iter()).all(|(a, b)| same(&a, &b)))
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
        let r = |v: Vec<Value>| QueryResult::rows(v.into_iter().map(Item::from).collect());
        let nan = r(vec![Value::from(vec![Value::Float(f64::NAN)])]);
        assert!(nan.same_rows(&nan.clone()));
        assert!(nan.same_rows(&r(vec![Value::from(vec![Value::Float(f64::NAN)])])));
        assert!(!r(vec![Value::Float(0.0)]).same_rows(&r(vec![Value::Float(-0.0)])));
        assert!(!r(vec![Value::Int(1)]).same_rows(&r(vec![Value::Float(1.0)])));
        assert!(!r(vec![Value::Int(1)]).same_rows(&r(vec![])));
    }

    #[test]
    fn items_are_moved_out_of_the_last_handle() {
        let r = QueryResult::rows(vec![Value::Int(1).into()]);
        let other = r.clone();
        assert_eq!(r.into_items(), other.clone().into_items());
        assert_eq!(other.items(), [Value::Int(1)]);
        assert_eq!(other.into_items(), [Value::Int(1)]);
    }
}
