//! Messages of the blobs service, on the lane of a session and inside circuits alike.
//!
//! ```text
//! message := kind u8 | body                       integers are shortest-form varints
//! 1 ASK    name                                   tell me what you have, now and when it changes
//! 2 DROP   name                                   I want nothing of it any more
//! 3 HAVE   name, 0 | 1 | 2 count (gap, length)*   nothing | all | runs of chunks
//! 4 GET    name, chunk
//! 5 CANCEL name, chunk
//! 6 DATA   name, chunk, count (value 32)*, bytes to the end
//! 7 FIND   question 8, origin 34, name, hops u8   between neighbours only
//! 8 FOUND  question 8, origin 34, holder 34, whole u8, hops u8
//! name     := id 32, length
//! ```

use ditto_types::wire::{Reader, WireError, put_varint};
use ditto_types::{BlobId, MAX_BLOB_BYTES, blob_chunk_len, blob_chunks};

use super::api::BlobName;
use super::chunks::{Held, Runs};
use super::limits::{MAX_BLOB_MESSAGE, MAX_HOPS, MAX_PROOF, MAX_RUNS};
use super::store::BlobChunk;
use crate::peer::PeerId;

/// A message between two peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Ask(BlobName),
    Drop(BlobName),
    Have(BlobName, Held),
    Get(BlobName, u64),
    Cancel(BlobName, u64),
    Data(BlobName, u64, BlobChunk),
    Find(Find),
    Found(Found),
}

/// Who has it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Find {
    pub(crate) question: u64,
    pub(crate) origin: PeerId,
    pub(crate) name: BlobName,
    /// Hops that it may still make, this one included.
    pub(crate) hops: u8,
}

/// Somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) question: u64,
    pub(crate) origin: PeerId,
    pub(crate) holder: PeerId,
    pub(crate) whole: bool,
    /// Hops from the holder.
    pub(crate) hops: u8,
}

impl Message {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Message::Ask(_) => "ASK",
            Message::Drop(_) => "DROP",
            Message::Have(..) => "HAVE",
            Message::Get(..) => "GET",
            Message::Cancel(..) => "CANCEL",
            Message::Data(..) => "DATA",
            Message::Find(_) => "FIND",
            Message::Found(_) => "FOUND",
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let size = if let Message::Data(_, _, c) = self { c.bytes.len() + 32 * c.proof.len() } else { 0 };
        let mut o = Vec::with_capacity(size + 96);
        match self {
            Message::Ask(name) => put(&mut o, 1, name),
            Message::Drop(name) => put(&mut o, 2, name),
            Message::Have(name, held) => {
                put(&mut o, 3, name);
                put_held(&mut o, held);
            }
            Message::Get(name, index) => {
                put(&mut o, 4, name);
                put_varint(&mut o, *index);
            }
            Message::Cancel(name, index) => {
                put(&mut o, 5, name);
                put_varint(&mut o, *index);
            }
            Message::Data(name, index, chunk) => {
                put(&mut o, 6, name);
                put_varint(&mut o, *index);
                put_varint(&mut o, chunk.proof.len() as u64);
                chunk.proof.iter().for_each(|value| o.extend_from_slice(value));
                o.extend_from_slice(&chunk.bytes);
            }
            Message::Find(f) => {
                o.push(7);
                o.extend_from_slice(&f.question.to_le_bytes());
                o.extend_from_slice(&f.origin.0);
                put_name(&mut o, &f.name);
                o.push(f.hops);
            }
            Message::Found(f) => {
                o.push(8);
                o.extend_from_slice(&f.question.to_le_bytes());
                o.extend_from_slice(&f.origin.0);
                o.extend_from_slice(&f.holder.0);
                o.push(u8::from(f.whole));
                o.push(f.hops);
            }
        }
        o
    }

    /// Reads a message. Takes the bytes, so that those of a chunk are not copied.
    pub(crate) fn decode(mut bytes: Vec<u8>) -> Result<Self, WireError> {
        if bytes.len() > MAX_BLOB_MESSAGE {
            let (len, limit) = (bytes.len() as u64, MAX_BLOB_MESSAGE as u64);
            return Err(WireError::TooLong { at: 0, len, limit });
        }
        let mut r = Reader::new(&bytes);
        let message = match r.u8()? {
            1 => Message::Ask(name(&mut r)?),
            2 => Message::Drop(name(&mut r)?),
            3 => {
                let name = name(&mut r)?;
                Message::Have(name, held(&mut r, blob_chunks(name.len))?)
            }
            4 => {
                let name = name(&mut r)?;
                Message::Get(name, chunk(&mut r, &name)?)
            }
            5 => {
                let name = name(&mut r)?;
                Message::Cancel(name, chunk(&mut r, &name)?)
            }
            6 => {
                let name = name(&mut r)?;
                let index = chunk(&mut r, &name)?;
                let count = limited(&mut r, MAX_PROOF as u64)?;
                let proof = (0..count).map(|_| r.array()).collect::<Result<Vec<_>, _>>()?;
                if Some(r.remaining()) != blob_chunk_len(name.len, index) {
                    return Err(WireError::Invalid { at: r.offset(), what: "length of a chunk" });
                }
                let head = r.offset();
                bytes.drain(..head);
                return Ok(Message::Data(name, index, BlobChunk { proof, bytes }));
            }
            7 => Message::Find(Find {
                question: r.u64_le()?,
                origin: PeerId(r.array()?),
                name: name(&mut r)?,
                hops: hops(&mut r)?,
            }),
            8 => Message::Found(Found {
                question: r.u64_le()?,
                origin: PeerId(r.array()?),
                holder: PeerId(r.array()?),
                whole: match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(WireError::Invalid { at: r.offset() - 1, what: "flag" }),
                },
                hops: hops(&mut r)?,
            }),
            _ => return Err(WireError::Invalid { at: 0, what: "kind of message" }),
        };
        r.finish()?;
        Ok(message)
    }
}

fn put(o: &mut Vec<u8>, kind: u8, name: &BlobName) {
    o.push(kind);
    put_name(o, name);
}

fn put_name(o: &mut Vec<u8>, name: &BlobName) {
    o.extend_from_slice(&name.id.0);
    put_varint(o, name.len);
}

fn put_held(o: &mut Vec<u8>, held: &Held) {
    match held {
        Held::Nothing => o.push(0),
        Held::Whole => o.push(1),
        Held::Runs(runs) => {
            o.push(2);
            put_varint(o, runs.0.len() as u64);
            let mut at = 0;
            for (start, end) in &runs.0 {
                put_varint(o, start - at);
                put_varint(o, end - start);
                at = *end;
            }
        }
    }
}

fn limited(r: &mut Reader<'_>, limit: u64) -> Result<u64, WireError> {
    let at = r.offset();
    let len = r.varint()?;
    if len > limit { Err(WireError::TooLong { at, len, limit }) } else { Ok(len) }
}

fn name(r: &mut Reader<'_>) -> Result<BlobName, WireError> {
    Ok(BlobName { id: BlobId(r.array()?), len: limited(r, MAX_BLOB_BYTES)? })
}

fn chunk(r: &mut Reader<'_>, name: &BlobName) -> Result<u64, WireError> {
    limited(r, blob_chunks(name.len) - 1)
}

fn hops(r: &mut Reader<'_>) -> Result<u8, WireError> {
    let hops = r.u8()?;
    if (1..=MAX_HOPS).contains(&hops) {
        Ok(hops)
    } else {
        Err(WireError::Invalid { at: r.offset() - 1, what: "number of hops" })
    }
}

fn held(r: &mut Reader<'_>, chunks: u64) -> Result<Held, WireError> {
    match r.u8()? {
        0 => Ok(Held::Nothing),
        1 => Ok(Held::Whole),
        2 => {
            let count = limited(r, MAX_RUNS as u64)?;
            let (mut runs, mut end) = (Vec::new(), 0);
            for i in 0..count {
                let at = r.offset();
                let (gap, len) = (limited(r, chunks)?, limited(r, chunks)?);
                let start = end + gap;
                end = start + len;
                if len == 0 || end > chunks || (gap == 0 && i > 0) {
                    return Err(WireError::Invalid { at, what: "run of chunks" });
                }
                runs.push((start, end));
            }
            Ok(Held::Runs(Runs(runs)))
        }
        _ => Err(WireError::Invalid { at: r.offset() - 1, what: "kind of holding" }),
    }
}

#[cfg(test)]
mod tests {
    use ditto_types::BLOB_CHUNK_BYTES;
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 3 * BLOB_CHUNK_BYTES as u64 + 5;

    fn samples() -> Vec<Message> {
        let name = BlobName { id: BlobId([7; 32]), len: LEN };
        let (origin, holder) = (PeerId([2; 34]), PeerId([3; 34]));
        let last = BlobChunk { proof: vec![[1; 32], [2; 32]], bytes: vec![9; 5] };
        vec![
            Message::Ask(name),
            Message::Drop(BlobName { len: 0, ..name }),
            Message::Have(name, Held::Nothing),
            Message::Have(name, Held::Whole),
            Message::Have(name, Held::Runs(Runs::default())),
            Message::Have(name, Held::Runs(Runs(vec![(0, 1), (2, 4)]))),
            Message::Get(name, 3),
            Message::Cancel(name, 0),
            Message::Data(name, 3, last),
            Message::Data(BlobName { len: 0, ..name }, 0, BlobChunk { proof: vec![], bytes: vec![] }),
            Message::Find(Find { question: 9, origin, name, hops: 8 }),
            Message::Found(Found { question: 9, origin, holder, whole: true, hops: 1 }),
        ]
    }

    #[test]
    fn messages_are_read_back_and_nothing_shorter_or_longer() {
        for message in samples() {
            let bytes = message.encode();
            assert_eq!(Message::decode(bytes.clone()), Ok(message.clone()));
            for cut in 0..bytes.len() {
                assert!(Message::decode(bytes[..cut].to_vec()).is_err(), "{message:?} cut at {cut}");
            }
            let more = [&bytes[..], &[0]].concat();
            assert!(Message::decode(more).is_err(), "{message:?}");
        }
    }

    #[test]
    fn the_largest_chunk_fits_and_what_is_larger_does_not() {
        let name = BlobName { id: BlobId([7; 32]), len: MAX_BLOB_BYTES };
        let bytes = vec![1; BLOB_CHUNK_BYTES];
        let index = blob_chunks(MAX_BLOB_BYTES) - 1;
        let chunk = |n| BlobChunk { proof: vec![[1; 32]; n], bytes: bytes.clone() };
        let largest = Message::Data(name, index, chunk(MAX_PROOF)).encode();
        assert!(largest.len() <= MAX_BLOB_MESSAGE, "{}", largest.len());
        assert!(Message::decode(largest).is_ok());
        assert!(Message::decode(Message::Data(name, index, chunk(MAX_PROOF + 1)).encode()).is_err());
        assert!(Message::decode(Message::Get(name, index + 1).encode()).is_err());
        let too_long = BlobName { len: MAX_BLOB_BYTES + 1, ..name };
        assert!(Message::decode(Message::Ask(too_long).encode()).is_err());
    }

    #[test]
    fn odd_runs_and_hops_are_refused() {
        let name = BlobName { id: BlobId([7; 32]), len: LEN };
        for runs in [vec![(0, 0)], vec![(0, 5)], vec![(4, 5)], vec![(0, 1), (1, 2)]] {
            let message = Message::Have(name, Held::Runs(Runs(runs.clone())));
            assert!(Message::decode(message.encode()).is_err(), "{runs:?}");
        }
        for hops in [0, 9] {
            let find = Find { question: 1, origin: PeerId([1; 34]), name, hops };
            assert!(Message::decode(Message::Find(find).encode()).is_err());
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            kind in 0u8..10,
            body in proptest::collection::vec(any::<u8>(), 0..200),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
            sample in any::<proptest::sample::Index>(),
        ) {
            crate::blob::fuzz_message(&[&[kind], &body[..]].concat());
            let mut bytes = sample.get(&samples()).encode();
            for (at, to) in flips {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            crate::blob::fuzz_message(&bytes);
        }
    }
}
