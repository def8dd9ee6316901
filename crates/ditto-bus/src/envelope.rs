//! The bytes of Bus messages.
//!
//! ```text
//! message  := version u8 = 1 | kind u8 = 1 | data                       single: on the Bus lane, or a circuit of singles
//! fragment := version u8 = 1 | kind u8 = 2 | id varint, total varint, count varint, index varint | data    datagram
//!
//! on the circuit of a stream, with the kind at the end, so that data is neither copied nor moved:
//! OPEN     := version u8 = 2 | flags u8 (1 meet) | label: length varint, UTF-8 | 1    of the opener, first
//! ACCEPT   := 2                                                         of the other end, first
//! DATA     := data | 3                                                  reliable streams
//! BATCH    := (length varint, data)* | 4                                two messages or more, at most 8,129 bytes
//! ```
//!
//! Kinds that this release does not know are skipped.

use ditto_types::wire::{Reader, WireError, put_str, put_varint};

use crate::batch::Batch;

/// Largest reliable message.
pub const MAX_RELIABLE: usize = 1_048_576;

/// Largest unreliable message.
pub const MAX_UNRELIABLE: usize = 131_072;

/// Payload of a fragment, so that a datagram fits a frame of any link.
pub(crate) const FRAGMENT: usize = 1_200;

/// Most fragments of a message, also from senders that cut smaller ones.
pub(crate) const MAX_FRAGMENTS: usize = 1_024;

/// Largest label of a stream.
pub const MAX_LABEL: usize = 128;

/// Purposes of circuits. The Bus has 1 to 15.
pub(crate) const PURPOSE_SINGLES: u8 = 1;
pub(crate) const PURPOSE_RELIABLE: u8 = 2;
pub(crate) const PURPOSE_UNRELIABLE: u8 = 3;

/// Whether a circuit of this purpose is for the Bus, in this release or a later one: 1 to 15.
pub fn is_bus_purpose(purpose: u8) -> bool {
    (1..16).contains(&purpose)
}

/// Codes with which circuits of the Bus are closed.
pub(crate) const CODE_CLOSED: u32 = 0;
/// Said by whoever has no Bus.
pub(crate) const CODE_NO_SERVICE: u32 = 1;
pub(crate) const CODE_REFUSED: u32 = 2;
pub(crate) const CODE_ABORTED: u32 = 3;
pub(crate) const CODE_VIOLATION: u32 = 4;
pub(crate) const CODE_TIMEOUT: u32 = 5;
pub(crate) const CODE_BUSY: u32 = 6;

const VERSION: u8 = 1;
/// Of the words of a stream. The first had no BATCH, and would skip it.
const STREAM_VERSION: u8 = 2;
const OPEN: u8 = 1;
const ACCEPT: u8 = 2;
const DATA: u8 = 3;
const BATCH: u8 = 4;
const MESSAGE: u8 = 1;
const PART: u8 = 2;

/// A piece of an unreliable message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    /// Grows with each message of a sender.
    pub(crate) id: u64,
    /// Bytes of the whole message.
    pub(crate) total: usize,
    pub(crate) count: usize,
    pub(crate) index: usize,
    pub(crate) data: &'a [u8],
}

pub(crate) fn encode_message(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 2);
    out.extend_from_slice(&[VERSION, MESSAGE]);
    out.extend_from_slice(data);
    out
}

/// The data of a message; `Ok(None)` for one of another kind.
pub(crate) fn decode_message(bytes: Vec<u8>) -> Result<Option<Vec<u8>>, WireError> {
    let mut r = Reader::new(&bytes);
    let (version, kind) = (r.u8()?, r.u8()?);
    if version != VERSION {
        return Err(WireError::Invalid { at: 0, what: "version of the Bus envelope" });
    }
    if kind != MESSAGE {
        return Ok(None);
    }
    if r.remaining() > MAX_RELIABLE {
        let len = r.remaining() as u64;
        return Err(WireError::TooLong { at: 2, len, limit: MAX_RELIABLE as u64 });
    }
    let mut bytes = bytes;
    bytes.drain(..2);
    Ok(Some(bytes))
}

/// A message on the circuit of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `meet`: for whoever asks for the same there, and not for those that take streams.
    Open {
        label: String,
        meet: bool,
    },
    Accept,
    Data(Batch),
}

impl Word {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Word::Open { label, meet } => {
                let mut out = vec![STREAM_VERSION, u8::from(meet)];
                put_str(&mut out, &label);
                out.push(OPEN);
                out
            }
            Word::Accept => vec![ACCEPT],
            Word::Data(batch) => {
                let (mut bytes, many) = batch.into_wire();
                bytes.reserve_exact(1);
                bytes.push(if many { BATCH } else { DATA });
                bytes
            }
        }
    }

    /// `Ok(None)` for one of another kind.
    pub(crate) fn decode(mut bytes: Vec<u8>) -> Result<Option<Self>, WireError> {
        let kind = bytes.pop();
        let mut r = Reader::new(&bytes);
        match kind {
            None => Err(WireError::Invalid { at: 0, what: "empty word of a stream" }),
            Some(OPEN) => {
                if r.u8()? != STREAM_VERSION {
                    return Err(WireError::Invalid { at: 0, what: "version of the stream" });
                }
                let meet = match r.u8()? {
                    flags @ 0..=1 => flags == 1,
                    _ => return Err(r.invalid("flags of the stream")),
                };
                let label = r.str(MAX_LABEL)?.to_owned();
                r.finish()?;
                Ok(Some(Word::Open { label, meet }))
            }
            Some(ACCEPT) => r.finish().map(|()| Some(Word::Accept)),
            Some(DATA) if bytes.len() > MAX_RELIABLE => {
                Err(WireError::TooLong { at: 0, len: bytes.len() as u64, limit: MAX_RELIABLE as u64 })
            }
            Some(DATA) => Ok(Some(Word::Data(bytes.into()))),
            Some(BATCH) => Batch::read_many(bytes).map(|b| Some(Word::Data(b))),
            Some(_) => Ok(None),
        }
    }
}

/// The datagrams of an unreliable message, at least one.
pub(crate) fn encode_fragments(id: u64, data: &[u8]) -> Vec<Vec<u8>> {
    let count = data.len().div_ceil(FRAGMENT).max(1);
    let part = |index: usize| {
        let start = index * FRAGMENT;
        Fragment { id, total: data.len(), count, index, data: &data[start..data.len().min(start + FRAGMENT)] }
            .encode()
    };
    (0..count).map(part).collect()
}

impl<'a> Fragment<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, PART];
        put_varint(&mut out, self.id);
        put_varint(&mut out, self.total as u64);
        put_varint(&mut out, self.count as u64);
        put_varint(&mut out, self.index as u64);
        out.extend_from_slice(self.data);
        out
    }

    /// `Ok(None)` for a datagram of another kind.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Option<Self>, WireError> {
        let mut r = Reader::new(bytes);
        let (version, kind) = (r.u8()?, r.u8()?);
        if version != VERSION {
            return Err(WireError::Invalid { at: 0, what: "version of the Bus envelope" });
        }
        if kind != PART {
            return Ok(None);
        }
        let id = r.varint()?;
        let total = r.len(MAX_UNRELIABLE)?;
        let count = r.len(MAX_FRAGMENTS)?;
        let index = r.len(MAX_FRAGMENTS)?;
        let data = r.take(r.remaining())?;
        let fits = if count == 1 { data.len() == total } else { !data.is_empty() && data.len() < total };
        if index >= count || !fits {
            return Err(r.invalid("fragment"));
        }
        Ok(Some(Self { id, total, count, index, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn largest_fragment_fits_a_datagram() {
        let all = encode_fragments(u64::MAX, &vec![1; MAX_UNRELIABLE]);
        assert_eq!(all.len(), 110);
        assert!(all.iter().all(|f| f.len() <= ditto_mesh::MAX_DATAGRAM));
    }

    #[test]
    fn messages_round_trip_and_other_kinds_are_skipped() {
        for data in [vec![], vec![1; 10], vec![2; MAX_RELIABLE]] {
            assert_eq!(decode_message(encode_message(&data)), Ok(Some(data)));
        }
        assert_eq!(decode_message(vec![1, 9, 9]), Ok(None));
        assert!(decode_message(vec![2, 1, 9]).is_err());
        assert!(decode_message(vec![1]).is_err());
        assert!(decode_message(encode_message(&vec![0; MAX_RELIABLE + 1])).is_err());
        assert_eq!(Fragment::decode(&[1, 7, 0]), Ok(None));
    }

    #[test]
    fn words_round_trip_and_broken_ones_are_refused() {
        let label = |n: usize| Word::Open { label: "é".repeat(n), meet: n == 0 };
        let data = |n: usize| Word::Data(vec![3; n].into());
        let mut many = Batch::from(vec![1]);
        assert_eq!(many.push(vec![2; 200]), Ok(()));
        for word in [label(0), label(64), Word::Accept, data(0), data(MAX_RELIABLE), Word::Data(many)] {
            assert_eq!(Word::decode(word.clone().encode()), Ok(Some(word)));
        }
        assert_eq!(Word::decode(vec![1, 2, 9]), Ok(None), "of a later release");
        for bad in [
            vec![],
            vec![OPEN],
            vec![1, 0, 0, OPEN],
            vec![3, 0, 0, OPEN],
            vec![2, 2, 0, OPEN],
            vec![2, 0, 0, 0, OPEN],
            vec![0, ACCEPT],
            vec![BATCH],
            vec![1, 7, BATCH],
        ] {
            assert!(Word::decode(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(Word::decode(label(65).encode()).is_err());
        assert!(Word::decode(data(MAX_RELIABLE + 1).encode()).is_err());
    }

    proptest! {
        #[test]
        fn hostile_words_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), kind in 0u8..6) {
            crate::fuzz::bus(&[bytes, vec![kind]].concat());
        }

        #[test]
        fn hostile_datagrams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), known: bool) {
            let mut bytes = bytes;
            if known {
                bytes.splice(0..0, [1, 2]);
            }
            if let Ok(Some(f)) = Fragment::decode(&bytes) {
                prop_assert!(f.index < f.count && f.data.len() <= f.total);
            }
            let _ = decode_message(bytes);
        }
    }
}
