//! Results of statements.

use std::sync::{Arc, OnceLock};

use ditto_types::{ErrorKind, Object, Value, cbor};
use serde::de::DeserializeOwned;

use crate::DittoError;

/// The immutable result of one statement (API-054). It owns its rows; nothing needs to be closed.
///
/// Rows are decoded when they are looked at, one by one: iterating over [`QueryResult::items`] holds one decoded row at
/// a time.
#[derive(Clone, Debug)]
pub struct QueryResult {
    rows: Arc<ditto_store::QueryResult>,
    state: State,
}

/// Which state of the store a result without a commit of its own was read from.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Not known, or not one that is committed.
    None,
    /// That after this commit, or a newer one that was made at the same moment.
    At(u64),
    /// That of a transaction that writes, known once it is committed.
    Transaction(Arc<OnceLock<u64>>),
}

impl QueryResult {
    pub(crate) fn new(rows: ditto_store::QueryResult, state: State) -> Self {
        Self { rows: Arc::new(rows), state }
    }

    /// Number of rows; nothing is decoded for it (API-058).
    pub fn item_count(&self) -> usize {
        self.rows.item_count()
    }

    /// Row `index`, or `None` when there are fewer (API-057).
    pub fn get_item(&self, index: usize) -> Option<QueryResultItem> {
        (index < self.item_count()).then(|| QueryResultItem::new(&self.rows, index))
    }

    /// All rows in order (API-059). Each may outlive the result.
    pub fn items(&self) -> impl ExactSizeIterator<Item = QueryResultItem> + '_ {
        (0..self.item_count()).map(|index| QueryResultItem::new(&self.rows, index))
    }

    /// All rows as values, in order (API-061). They are decoded by this call, and not kept.
    pub fn values(&self) -> Vec<Value> {
        (0..self.item_count()).map(|index| decode(&self.rows, index)).collect()
    }

    /// All rows as values of a type of the app, in order (API-061).
    ///
    /// Fails with [`ErrorKind::InvalidCbor`] at the first row whose shape does not fit.
    pub fn deserialize_all<T: DeserializeOwned>(&self) -> Result<Vec<T>, DittoError> {
        self.items().map(|item| item.deserialize_value()).collect()
    }

    /// All rows as the compact JSON text of an array: the cheapest way to hand them on as text.
    pub fn json_string(&self) -> String {
        self.page_json_string(0, usize::MAX)
    }

    /// As [`QueryResult::json_string`], for at most `count` rows from row `first` on.
    pub fn page_json_string(&self, first: usize, count: usize) -> String {
        let mut out = String::from("[");
        for index in (first..self.item_count()).take(count) {
            if index > first {
                out.push(',');
            }
            write_json(&self.rows, index, &mut out);
        }
        out.push(']');
        out
    }

    /// Ids of the documents that this statement changed locally; empty for SELECT (API-060). Computed at each call.
    pub fn mutated_document_ids(&self) -> Vec<Value> {
        self.rows.mutated_document_ids().iter().map(|id| id.to_value()).collect()
    }

    /// Names the local store state after the statement; grows with every commit of this device, and compares with
    /// [`PeerSyncStatus::synced_up_to_local_commit_id`](crate::PeerSyncStatus::synced_up_to_local_commit_id) (API-056).
    ///
    /// A mutation has that of its commit. A SELECT has the newest commit of when it began; what it shows may be newer.
    /// The result of an observer has the newest commit that its rows show. `None` inside a transaction that writes until
    /// that is committed.
    pub fn commit_id(&self) -> Option<u64> {
        self.rows.commit_id().or_else(|| match &self.state {
            State::None => None,
            State::At(commit) => Some(*commit),
            State::Transaction(slot) => slot.get().copied(),
        })
    }

    /// Whether it is the result of a mutating statement.
    pub fn is_mutation(&self) -> bool {
        self.rows.is_mutation()
    }
}

impl<'r> IntoIterator for &'r QueryResult {
    type Item = QueryResultItem;
    type IntoIter = Box<dyn ExactSizeIterator<Item = QueryResultItem> + 'r>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.items())
    }
}

/// One row of a result (API-062). It may outlive the result.
///
/// It is decoded at the first use of its value and then stays decoded, until [`QueryResultItem::dematerialize`].
/// A clone decodes for itself.
#[derive(Debug)]
pub struct QueryResultItem {
    rows: Arc<ditto_store::QueryResult>,
    index: usize,
    decoded: OnceLock<Value>,
}

impl Clone for QueryResultItem {
    fn clone(&self) -> Self {
        Self::new(&self.rows, self.index)
    }
}

impl QueryResultItem {
    fn new(rows: &Arc<ditto_store::QueryResult>, index: usize) -> Self {
        Self { rows: rows.clone(), index, decoded: OnceLock::new() }
    }

    /// The row: an object of column names (API-071). Decodes at the first call.
    pub fn value(&self) -> &Value {
        self.decoded.get_or_init(|| decode(&self.rows, self.index))
    }

    /// Looks at the row without keeping it decoded.
    pub(crate) fn with_value<T>(&self, f: impl FnOnce(&Value) -> T) -> T {
        match self.decoded.get() {
            Some(value) => f(value),
            None => f(&decode(&self.rows, self.index)),
        }
    }

    /// The row's fields; `None` only for a row that is no object. Decodes as [`QueryResultItem::value`] does.
    pub fn fields(&self) -> Option<&Object> {
        self.value().as_object()
    }

    /// The row's value, without keeping it here.
    pub fn into_value(self) -> Value {
        let Self { rows, index, decoded } = self;
        decoded.into_inner().unwrap_or_else(|| decode(&rows, index))
    }

    /// Decodes the row now and keeps it; nothing happens when that is done (API-069).
    pub fn materialize(&self) {
        self.value();
    }

    /// Forgets the decoded form, to save memory; the next use decodes again (API-065).
    pub fn dematerialize(&mut self) {
        self.decoded.take();
    }

    /// Whether the decoded form is in memory (API-066).
    pub fn is_materialized(&self) -> bool {
        self.decoded.get().is_some()
    }

    /// The row as compact JSON text, not kept (API-068). Bytes appear as `{"$bytes":"<base64>"}`.
    pub fn json_string(&self) -> String {
        let mut out = String::new();
        write_json(&self.rows, self.index, &mut out);
        out
    }

    /// The row as UTF-8 JSON, not kept (API-067).
    pub fn json_data(&self) -> Vec<u8> {
        self.json_string().into_bytes()
    }

    /// The row as CBOR, not kept (API-063).
    pub fn cbor_data(&self) -> Vec<u8> {
        match self.decoded.get() {
            Some(value) => cbor::to_vec(value),
            None => {
                let mut out = Vec::new();
                if let Some(row) = self.rows.lazy_items().get(self.index) {
                    row.write_cbor(&mut out);
                }
                out
            }
        }
    }

    /// Decodes the row into a type of the app (API-070). Integers decode into floats where a float is asked for.
    ///
    /// Fails with [`ErrorKind::InvalidCbor`] when the shapes do not fit.
    pub fn deserialize_value<T: DeserializeOwned>(&self) -> Result<T, DittoError> {
        let strict = match ciborium::from_reader(self.cbor_data().as_slice()) {
            Ok(value) => return Ok(value),
            Err(e) => e,
        };
        // JSON has one kind of number, so that a column of 1 and 2.5 decodes into floats; it has no bytes.
        serde_json::from_str(&self.json_string())
            .map_err(|_| DittoError::with_source(ErrorKind::InvalidCbor, "the row has another shape", strict))
    }
}

fn decode(rows: &ditto_store::QueryResult, index: usize) -> Value {
    rows.lazy_items().get(index).map_or(Value::Null, |row| row.value())
}

fn write_json(rows: &ditto_store::QueryResult, index: usize, out: &mut String) {
    if let Some(row) = rows.lazy_items().get(index) {
        row.write_json(out);
    }
}
