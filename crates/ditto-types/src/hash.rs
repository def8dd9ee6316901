//! Keyed hashes: short names of documents and of their versions, used by indexes and reconciliation.

use std::fmt;

use crate::{DatabaseId, DocId};

/// Bytes that are hashed at once.
const SHORT: usize = 512;

/// 64-bit keyed hash of (collection, id): a document's short name inside one database (`design.md` 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// 16-byte keyed hash of a document's canonical form: equal exactly when two copies are in the same state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The low 8 bytes, which is what reconciliation exchanges.
    pub fn short(&self) -> u64 {
        let mut b = [0; 8];
        b.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(b)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The hash key of one database. Peers of other databases cannot compute or correlate the hashes.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// Derives the key from the database id.
    pub fn new(database: &DatabaseId) -> Self {
        Self(blake3::derive_key("ditto 2026-11 document hashes v1", database.as_bytes()))
    }

    /// Hash of a document's key.
    pub fn key_hash(&self, collection: &str, id: &DocId) -> KeyHash {
        let len = (collection.len() as u64).to_le_bytes();
        let hash = self.hash([&[0], &len, collection.as_bytes(), id.as_bytes()]);
        let mut b = [0; 8];
        b.copy_from_slice(&hash.as_bytes()[..8]);
        KeyHash(u64::from_le_bytes(b))
    }

    /// Hash of a document's canonical, self-contained encoding.
    pub fn digest(&self, canonical: &[u8]) -> Digest {
        let mut b = [0; 16];
        b.copy_from_slice(&self.hash([&[1], canonical]).as_bytes()[..16]);
        Digest(b)
    }

    fn hash<const N: usize>(&self, parts: [&[u8]; N]) -> blake3::Hash {
        // Short input is put together first: hashing in pieces costs more than the copy.
        let (mut buffer, mut len) = ([0; SHORT], 0);
        for part in parts {
            let Some(room) = buffer.get_mut(len..len + part.len()) else {
                let mut hasher = blake3::Hasher::new_keyed(&self.0);
                parts.iter().for_each(|part| {
                    hasher.update(part);
                });
                return hasher.finalize();
            };
            room.copy_from_slice(part);
            len += part.len();
        }
        blake3::keyed_hash(&self.0, &buffer[..len])
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}
