//! Messages of the presence channel. What comes in is read in place: most records that arrive are known already, and are
//! told by their first bytes.
//!
//! ```text
//! message := 1 count (short id 8, seq u64 LE)*                                    digest
//!          | 2 count (age_s varint, record bytes, 0 | 1 metadata bytes)*          records
//! ```
//!
//! `age_s` is how long ago the sender got the record.

use ditto_types::wire::{Reader, WireError, put_bytes, put_varint};

use super::record::{MAX_METADATA, MAX_RECORD, SignedRecord};
use crate::peer_key::{PeerKey, ShortId};

/// Entries of one digest.
pub(crate) const MAX_DIGEST: usize = 8192;

/// Records of one message, so that the work of reading one is bounded.
pub(crate) const MAX_ITEMS: usize = 512;

/// Bytes of records in one message.
const BATCH: usize = 48 << 10;

const DIGEST: u8 = 1;
const RECORDS: u8 = 2;

/// What a neighbour has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Digest(Vec<(ShortId, u64)>),
    Records(Vec<Packed<'a>>),
}

/// A record, not yet read, with what travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    pub(crate) age_s: u64,
    pub(crate) record: &'a [u8],
    pub(crate) metadata: Option<&'a [u8]>,
}

impl Packed<'_> {
    /// Whose record it says it is, and its number. Neither is verified.
    pub(crate) fn head(&self) -> Result<([u8; PeerKey::LEN], u64), WireError> {
        let mut r = Reader::new(self.record);
        Ok((r.array()?, r.u64_le()?))
    }
}

impl<'a> Message<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let out = match r.u8()? {
            DIGEST => {
                let n = r.len(MAX_DIGEST)?;
                let mut entries = Vec::new();
                for _ in 0..n {
                    entries.push((r.array()?, r.u64_le()?));
                }
                Message::Digest(entries)
            }
            RECORDS => {
                let mut items = Vec::new();
                for _ in 0..r.len(MAX_ITEMS)? {
                    items.push(Packed {
                        age_s: r.varint()?,
                        record: r.bytes(MAX_RECORD)?,
                        metadata: match r.u8()? {
                            0 => None,
                            1 => Some(r.bytes(MAX_METADATA)?),
                            _ => return Err(r.invalid("metadata flag")),
                        },
                    });
                }
                Message::Records(items)
            }
            _ => return Err(r.invalid("kind of presence message")),
        };
        r.finish()?;
        Ok(out)
    }
}

/// A digest: what we have.
pub(crate) fn digest(entries: impl ExactSizeIterator<Item = (ShortId, u64)>) -> Vec<u8> {
    let n = entries.len().min(MAX_DIGEST);
    let mut b = Vec::with_capacity(4 + 16 * n);
    b.push(DIGEST);
    put_varint(&mut b, n as u64);
    for (id, seq) in entries.take(n) {
        b.extend_from_slice(&id);
        b.extend_from_slice(&seq.to_le_bytes());
    }
    b
}

/// A message with records, while it is written.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    items: usize,
}

impl Batch {
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < BATCH && self.items < MAX_ITEMS
    }

    pub(crate) fn push(&mut self, age_s: u64, record: &SignedRecord, metadata: Option<&[u8]>) {
        self.items += 1;
        put_varint(&mut self.bytes, age_s);
        put_bytes(&mut self.bytes, &record.bytes);
        self.bytes.push(u8::from(metadata.is_some()));
        if let Some(m) = metadata {
            put_bytes(&mut self.bytes, m);
        }
    }

    /// The message; `None` if there is nothing in it.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        if self.items == 0 {
            return None;
        }
        let mut b = Vec::with_capacity(4 + self.bytes.len());
        b.push(RECORDS);
        put_varint(&mut b, self.items as u64);
        b.extend_from_slice(&self.bytes);
        Some(b)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::signed;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_round_trip() {
        let entries = vec![([1; 8], u64::MAX), ([2; 8], 0)];
        assert_eq!(Message::decode(&digest(entries.clone().into_iter())), Ok(Message::Digest(entries)));
        let (a, b) = (signed(1, 0).1, signed(2, super::super::record::MAX_EDGES).1);
        let mut batch = Batch::default();
        batch.push(3, &a, Some(b"{\"a\":1}"));
        batch.push(0, &b, None);
        let items = vec![
            Packed { age_s: 3, record: &a.bytes, metadata: Some(b"{\"a\":1}") },
            Packed { age_s: 0, record: &b.bytes, metadata: None },
        ];
        let bytes = batch.finish().unwrap();
        assert_eq!(Message::decode(&bytes), Ok(Message::Records(items)));
        assert_eq!(Batch::default().finish(), None);
        let packed = Packed { age_s: 0, record: &a.bytes, metadata: None };
        assert_eq!(packed.head(), Ok((*a.record.key.as_bytes(), a.record.seq)));
        assert!(Packed { record: &a.bytes[..41], ..packed }.head().is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..3) {
            let mut m = bytes;
            m.insert(0, kind);
            let _ = Message::decode(&m);
        }

        #[test]
        fn changed_messages_never_panic(at in 0usize..400, with: u8) {
            let mut batch = Batch::default();
            batch.push(3, &signed(1, 3).1, None);
            let mut m = batch.finish().unwrap();
            let n = m.len();
            m[at % n] = with;
            if let Ok(Message::Records(items)) = Message::decode(&m) {
                for packed in items {
                    let _ = (packed.head(), SignedRecord::parse(packed.record));
                }
            }
        }
    }
}
