//! Names of blobs, and the pieces in which they are verified and sent.

use std::fmt;
use std::str::FromStr;

/// Size of a chunk in bytes: what is verified, stored and sent as one. The last chunk of a blob may be shorter.
///
/// A power of two of BLAKE3's own 1,024-byte chunks, so that each is a subtree of the blob's hash.
pub const BLOB_CHUNK_BYTES: usize = 256 * 1024;

/// Largest blob in bytes: 1 TiB.
pub const MAX_BLOB_BYTES: u64 = 1 << 40;

/// Name of an immutable blob: the BLAKE3 hash of its bytes. Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob id has 64 lower-case hexadecimal digits")]
pub struct BlobIdError;

impl FromStr for BlobId {
    type Err = BlobIdError;

    fn from_str(text: &str) -> Result<Self, BlobIdError> {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Ok(c - b'0'),
            b'a'..=b'f' => Ok(c - b'a' + 10),
            _ => Err(BlobIdError),
        };
        if text.len() != 64 {
            return Err(BlobIdError);
        }
        let mut id = [0; 32];
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Ok(Self(id))
    }
}

/// How many chunks a blob of `len` bytes has. An empty one has one, which is empty.
pub fn blob_chunks(len: u64) -> u64 {
    len.div_ceil(BLOB_CHUNK_BYTES as u64).max(1)
}

/// Length of chunk `index` of a blob of `len` bytes; `None` when it has no such chunk.
pub fn blob_chunk_len(len: u64, index: u64) -> Option<usize> {
    let start = index.checked_mul(BLOB_CHUNK_BYTES as u64).filter(|_| index < blob_chunks(len))?;
    Some(usize::try_from(len.saturating_sub(start)).map_or(BLOB_CHUNK_BYTES, |n| n.min(BLOB_CHUNK_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_nothing_else_is() {
        let id = BlobId(std::array::from_fn(|i| (i * 9) as u8));
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "00", &"0".repeat(63), &"0".repeat(65), &"A".repeat(64), &"ä".repeat(32)] {
            assert_eq!(wrong.parse::<BlobId>(), Err(BlobIdError), "{wrong}");
        }
    }

    #[test]
    fn chunks_cover_a_blob() {
        let c = BLOB_CHUNK_BYTES as u64;
        for len in [0, 1, c - 1, c, c + 1, 5 * c, MAX_BLOB_BYTES] {
            let n = blob_chunks(len);
            assert_eq!(blob_chunk_len(len, n), None);
            assert_eq!(blob_chunk_len(len, u64::MAX), None);
            let last = blob_chunk_len(len, n - 1).unwrap() as u64;
            assert_eq!((n - 1) * c + last, len);
            assert!(n == 1 || blob_chunk_len(len, 0) == Some(BLOB_CHUNK_BYTES));
        }
    }
}
