//! Results of statements, decoded on the other side when somebody looks at them.

use std::sync::Arc;

use crate::error::DittoError;
use crate::json;

/// The immutable result of one statement. It holds its rows undecoded until it is freed.
#[derive(Debug, uniffi::Object)]
pub struct QueryResult {
    pub(crate) inner: ditto::QueryResult,
}

impl QueryResult {
    pub(crate) fn new(inner: ditto::QueryResult) -> Arc<Self> {
        Arc::new(Self { inner })
    }
}

#[uniffi::export]
impl QueryResult {
    /// Number of rows; nothing is decoded for it.
    pub fn item_count(&self) -> u64 {
        self.inner.item_count() as u64
    }

    /// The row at the index; nothing if there are fewer.
    pub fn item(&self, index: u64) -> Option<Arc<QueryResultItem>> {
        let item = self.inner.get_item(usize::try_from(index).ok()?)?;
        Some(Arc::new(QueryResultItem { inner: item }))
    }

    /// All rows in order with one call: the text of a JSON array. Bytes appear as an object with the one field $bytes,
    /// which holds base64.
    pub fn items_json(&self) -> String {
        self.inner.json_string()
    }

    /// At most that many rows from the index on: the text of a JSON array.
    pub fn page_json(&self, first: u64, count: u64) -> String {
        let (first, count) =
            (usize::try_from(first).unwrap_or(usize::MAX), usize::try_from(count).unwrap_or(usize::MAX));
        self.inner.page_json_string(first, count)
    }

    /// Ids of the documents that the statement changed: the text of a JSON array, absent when there are none.
    pub fn mutated_document_ids_json(&self) -> Result<Option<String>, DittoError> {
        let ids = self.inner.mutated_document_ids();
        (!ids.is_empty()).then(|| json::array(&ids)).transpose()
    }

    /// Names the local store state after the statement; grows with every commit of this device. Absent inside a
    /// transaction that writes until that is committed, and for the results of observers.
    pub fn commit_id(&self) -> Option<u64> {
        self.inner.commit_id()
    }

    /// Whether it is the result of a mutating statement.
    pub fn is_mutation(&self) -> bool {
        self.inner.is_mutation()
    }
}

/// One row of a result; it may outlive the result.
#[derive(Debug, uniffi::Object)]
pub struct QueryResultItem {
    pub(crate) inner: ditto::QueryResultItem,
}

#[uniffi::export]
impl QueryResultItem {
    /// The row as compact JSON text.
    pub fn json_string(&self) -> String {
        self.inner.json_string()
    }

    /// The row as CBOR.
    pub fn cbor_data(&self) -> Vec<u8> {
        self.inner.cbor_data()
    }
}
