//! Values, identifiers, clocks and codecs shared by every crate of the workspace.
//!
//! This crate is pure: it does no I/O, reads no clock and draws no randomness. Time and random bytes
//! are arguments, so that the simulator can supply them.
//!
//! | module | owns |
//! |---|---|
//! | [`blob`] | [`BlobId`] and the chunks of blobs |
//! | [`value`] | [`Value`], the JSON-like value with integers, floats and bytes kept apart |
//! | [`codec`] | the canonical binary form of a value, and in-place access to it |
//! | [`json`], [`cbor`] | text and CBOR forms at the API boundary |
//! | [`doc_id`] | [`DocId`] and its rules |
//! | [`path`] | [`Path`], a field path inside a document |
//! | [`hlc`], [`stamp`] | hybrid logical clock, site ids and stamps |
//! | [`hash`] | keyed hashes of documents and keys |
//! | [`database_id`] | [`DatabaseId`] |
//! | [`error`] | [`ErrorKind`], the stable error codes |
//! | [`wire`] | bounded reading and writing of bytes |

pub mod attachment;
pub mod blob;
pub mod cbor;
pub mod codec;
pub mod database_id;
pub mod doc_id;
pub mod error;
pub mod hash;
pub mod hlc;
pub mod json;
pub mod kinds;
pub mod path;
pub mod stamp;
pub mod value;
pub mod wire;

pub use blob::{BLOB_CHUNK_BYTES, BlobId, BlobIdError, MAX_BLOB_BYTES, blob_chunk_len, blob_chunks};
pub use database_id::DatabaseId;
pub use doc_id::{DocId, DocIdError};
pub use error::ErrorKind;
pub use hash::{Digest, HashKey, KeyHash};
pub use hlc::{Hlc, HlcClock};
pub use kinds::KindSet;
pub use path::Path;
pub use smol_str::SmolStr;
pub use stamp::{SiteId, Stamp};
pub use value::{Object, Value};

/// Deepest nesting of arrays and objects accepted anywhere: from an app, a peer or a file.
pub const MAX_DEPTH: usize = 64;
