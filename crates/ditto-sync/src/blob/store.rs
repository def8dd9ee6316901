//! What the exchange needs of the store of blobs.

use std::fmt;

use super::api::BlobName;
use super::chunks::ChunkSet;

/// A chunk with the proof that it belongs to its blob.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobChunk {
    /// Values of the blob's hash tree, from the bottom.
    pub proof: Vec<[u8; 32]>,
    /// The content.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for BlobChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobChunk({} bytes, {} values)", self.bytes.len(), self.proof.len())
    }
}

/// What is here of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobHolding {
    /// Nothing.
    Nothing,
    /// All of it.
    Whole,
    /// Some chunks, which may be none.
    Some(ChunkSet),
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobPut {
    /// It is kept, or was here before.
    Kept,
    /// It was the last one.
    Complete,
    /// It is no chunk of the blob.
    Refused,
}

/// A store of blobs. Everything in it was verified, and [`BlobStore::put`] verifies.
pub trait BlobStore {
    /// Why it failed.
    type Error: Clone + fmt::Display;

    /// What is here of a blob, for others.
    fn holding(&mut self, name: BlobName) -> Result<BlobHolding, Self::Error>;

    /// Whether all of a blob is here.
    fn is_whole(&mut self, name: BlobName) -> bool;

    /// A chunk of a blob, if it is here.
    fn chunk(&mut self, name: BlobName, index: u64) -> Result<Option<BlobChunk>, Self::Error>;

    /// Keeps a chunk of a blob that was loaded, if it belongs to it.
    fn put(&mut self, name: BlobName, index: u64, chunk: BlobChunk) -> Result<BlobPut, Self::Error>;
}
