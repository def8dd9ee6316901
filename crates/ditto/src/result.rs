//! Results of statements.

use std::sync::Arc;

use ditto_types::{ErrorKind, Object, Value, cbor, json};
use serde::de::DeserializeOwned;

use crate::DittoError;

/// The immutable result of one statement (API-054). It owns its rows; nothing needs to be closed.
#[derive(Clone, Debug)]
pub struct QueryResult {
    inner: Arc<ditto_store::QueryResult>,
}

impl QueryResult {
    pub(crate) fn new(inner: ditto_store::QueryResult) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Number of rows.
    pub fn item_count(&self) -> usize {
        self.inner.items().len()
    }

    /// Row `index`, or `None` when there are fewer (API-057).
    pub fn get_item(&self, index: usize) -> Option<QueryResultItem> {
        (index < self.item_count()).then(|| QueryResultItem { result: self.inner.clone(), index })
    }

    /// All rows in order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = QueryResultItem> + '_ {
        (0..self.item_count()).map(|index| QueryResultItem { result: self.inner.clone(), index })
    }

    /// All rows as values, in order (API-061).
    pub fn values(&self) -> &[Value] {
        self.inner.items()
    }

    /// Ids of the documents that this statement changed locally; empty for SELECT (API-060).
    pub fn mutated_document_ids(&self) -> Vec<Value> {
        self.inner.mutated_document_ids().iter().map(|id| id.to_value()).collect()
    }

    /// Names the local store state after a mutating statement; grows with every commit of this device.
    ///
    /// `None` for SELECT, and inside a transaction until it is committed (API-056).
    pub fn commit_id(&self) -> Option<u64> {
        self.inner.commit_id()
    }
}

/// One row of a result (API-062). It may outlive the result.
#[derive(Clone, Debug)]
pub struct QueryResultItem {
    result: Arc<ditto_store::QueryResult>,
    index: usize,
}

impl QueryResultItem {
    /// The row as a value: an object of column names.
    pub fn value(&self) -> &Value {
        &self.result.items()[self.index]
    }

    /// The row's fields.
    pub fn fields(&self) -> Option<&Object> {
        self.value().as_object()
    }

    /// The row as compact JSON text. Bytes appear as `{"$bytes":"<base64>"}`.
    pub fn json_string(&self) -> String {
        json::to_string(self.value())
    }

    /// The row as CBOR.
    pub fn cbor_data(&self) -> Vec<u8> {
        cbor::to_vec(self.value())
    }

    /// Decodes the row into a type of the app (API-070).
    ///
    /// Fails with [`ErrorKind::InvalidCbor`] when the shapes do not fit.
    pub fn deserialize_value<T: DeserializeOwned>(&self) -> Result<T, DittoError> {
        ciborium::from_reader(self.cbor_data().as_slice())
            .map_err(|e| DittoError::new(ErrorKind::InvalidCbor, e.to_string()))
    }
}
