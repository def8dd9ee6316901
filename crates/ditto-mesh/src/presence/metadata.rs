//! Peer metadata: what an app may set, and how that of others is read.

use ditto_types::{Value, json};

use super::graph::empty;
use super::record::MAX_METADATA;

/// Why metadata is not taken (API-139, API-140).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Metadata must be an object.
    #[error("peer metadata must be an object, not {0}")]
    NotAnObject(&'static str),
    /// The JSON form is too long.
    #[error("peer metadata has {0} bytes of JSON, the limit is {MAX_METADATA}")]
    TooLarge(usize),
    /// Nested deeper than [`ditto_types::MAX_DEPTH`].
    #[error("peer metadata is nested too deeply")]
    TooDeep,
}

/// Checks metadata and returns its JSON form.
pub fn check_metadata(value: &Value) -> Result<String, MetadataError> {
    if value.as_object().is_none() {
        return Err(MetadataError::NotAnObject(value.type_name()));
    }
    if value.depth() > ditto_types::MAX_DEPTH {
        return Err(MetadataError::TooDeep);
    }
    let text = json::to_string(value);
    if text.len() > MAX_METADATA { Err(MetadataError::TooLarge(text.len())) } else { Ok(text) }
}

/// Metadata of another peer: its JSON object, or nothing if its app has sent something else.
pub(crate) fn read_metadata(text: &[u8]) -> Value {
    let value = std::str::from_utf8(text).ok().and_then(|t| json::from_str(t).ok());
    value.filter(|v| v.as_object().is_some()).unwrap_or_else(empty)
}
