//! The messages of the circuits channel and the first words of the two ends.
//!
//! ```text
//! message  := kind u8 | label varint | body
//! 1 OPEN    window varint, index u8, count u8, (short id 8)*     route from source to target, index of the receiver
//! 2 OK      window varint                                        backwards, once the target has agreed
//! 3 DATA    bytes                                                at most the credit
//! 4 CREDIT  bytes varint
//! 5 CLOSE   code varint, at u8                                   at: index in the route of who says so
//! datagram := label varint | counter u64 LE | bytes
//! greeting := len u16 LE | version u8 | flags u8 (1 resume) | stream id 16 | purpose u8 | window varint
//!             | frames varint | proof (0 | 1 mac 32)
//! ```
//!
//! A label names a circuit on one session, in both directions. Who opens it there chooses it: odd if its key is the
//! smaller one, else even, always larger than the last. So two opens never collide, and a message that crosses a CLOSE
//! is never taken for one of a later circuit.

use ditto_types::wire::{Reader, WireError, put_varint};

use crate::peer_key::ShortId;

/// Most hops of a route.
pub(crate) const MAX_HOPS: usize = 8;

/// Most bytes of one DATA message.
pub(crate) const MAX_DATA: usize = 16 << 10;

/// Longest greeting behind its length.
const MAX_GREETING: usize = 128;

const GREETING_VERSION: u8 = 1;

/// Why a circuit, or one hop of it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// An end has nothing more to say.
    Done,
    /// The next hop is not a neighbour of the one before it.
    NoRoute,
    /// The hop does not relay.
    Refused,
    /// Too many circuits.
    Capacity,
    /// A session on the route has ended.
    Lost,
    /// An answer took too long.
    Timeout,
    /// The target does not have the stream that should go on.
    UnknownStream,
    /// An end did not prove its key or broke the rules inside the circuit.
    Untrusted,
    /// A number that this release does not know.
    Other(u64),
}

impl Code {
    const KNOWN: [Code; 8] = [
        Code::Done,
        Code::NoRoute,
        Code::Refused,
        Code::Capacity,
        Code::Lost,
        Code::Timeout,
        Code::UnknownStream,
        Code::Untrusted,
    ];

    fn number(self) -> u64 {
        match self {
            Code::Other(n) => n,
            known => Self::KNOWN.iter().position(|c| *c == known).unwrap_or_default() as u64,
        }
    }

    fn from_number(n: u64) -> Self {
        usize::try_from(n).ok().and_then(|n| Self::KNOWN.get(n).copied()).unwrap_or(Code::Other(n))
    }
}

/// A message of the circuits channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Open { label: u32, window: usize, index: usize, route: Vec<ShortId> },
    Ok { label: u32, window: usize },
    Data { label: u32, bytes: &'a [u8] },
    Credit { label: u32, bytes: usize },
    Close { label: u32, code: Code, at: u8 },
}

impl<'a> Message<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::new();
        let mut head = |kind: u8, label: u32| {
            b.push(kind);
            put_varint(&mut b, label.into());
        };
        match self {
            Message::Open { label, window, index, route } => {
                head(1, *label);
                put_varint(&mut b, *window as u64);
                b.extend_from_slice(&[*index as u8, route.len() as u8]);
                b.extend(route.iter().flatten());
            }
            Message::Ok { label, window } => {
                head(2, *label);
                put_varint(&mut b, *window as u64);
            }
            Message::Data { label, bytes } => {
                head(3, *label);
                b.extend_from_slice(bytes);
            }
            Message::Credit { label, bytes } => {
                head(4, *label);
                put_varint(&mut b, *bytes as u64);
            }
            Message::Close { label, code, at } => {
                head(5, *label);
                put_varint(&mut b, code.number());
                b.push(*at);
            }
        }
        b
    }

    /// Reads a message and checks what can be checked without state: sizes, and that no id stands twice in a route.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let kind = r.u8()?;
        let label = label(&mut r)?;
        let message = match kind {
            1 => {
                let window = amount(&mut r)?;
                let (index, count) = (usize::from(r.u8()?), usize::from(r.u8()?));
                if !(2..=MAX_HOPS + 1).contains(&count) || index == 0 || index >= count {
                    return Err(r.invalid("route"));
                }
                let mut route: Vec<ShortId> = Vec::with_capacity(count);
                for _ in 0..count {
                    let id = r.array()?;
                    if route.contains(&id) {
                        return Err(r.invalid("route: an id stands twice"));
                    }
                    route.push(id);
                }
                Message::Open { label, window, index, route }
            }
            2 => Message::Ok { label, window: amount(&mut r)? },
            3 => {
                let n = r.remaining();
                if n == 0 || n > MAX_DATA {
                    return Err(r.invalid("length of data"));
                }
                Message::Data { label, bytes: r.take(n)? }
            }
            4 => Message::Credit { label, bytes: amount(&mut r)? },
            5 => Message::Close { label, code: Code::from_number(r.varint()?), at: r.u8()? },
            _ => return Err(r.invalid("circuit message")),
        };
        r.finish()?;
        Ok(message)
    }
}

fn label(r: &mut Reader<'_>) -> Result<u32, WireError> {
    let n = r.varint()?;
    u32::try_from(n).ok().filter(|l| *l > 0).ok_or_else(|| r.invalid("label"))
}

/// A window or grant; the limit keeps sums of them small.
fn amount(r: &mut Reader<'_>) -> Result<usize, WireError> {
    r.len(1 << 20)
}

/// Appends what stands before the bytes of a DATA message.
pub(crate) fn data_head(label: u32, out: &mut Vec<u8>) {
    out.push(3);
    put_varint(out, label.into());
}

/// Splits a datagram of the circuits channel into label and rest.
pub(crate) fn split_datagram(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut r = Reader::new(bytes);
    let label = label(&mut r).ok()?;
    Some((label, &bytes[r.offset()..]))
}

/// Puts a label before the rest of a datagram.
pub(crate) fn join_datagram(label: u32, rest: &[u8]) -> Vec<u8> {
    let mut b = Vec::with_capacity(5 + rest.len());
    put_varint(&mut b, label.into());
    b.extend_from_slice(rest);
    b
}

/// What each end says first, inside TLS where there is a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// The opener has heard the target's greeting on an earlier route.
    pub(crate) resume: bool,
    pub(crate) stream: [u8; 16],
    pub(crate) purpose: u8,
    /// Receive window of the stream, end to end.
    pub(crate) window: usize,
    /// Frames of the stream received so far.
    pub(crate) frames: u64,
    /// Proof of the shared key over this TLS channel.
    pub(crate) proof: Option<[u8; 32]>,
}

impl Greeting {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = vec![0, 0, GREETING_VERSION, u8::from(self.resume)];
        b.extend_from_slice(&self.stream);
        b.push(self.purpose);
        put_varint(&mut b, self.window as u64);
        put_varint(&mut b, self.frames);
        match &self.proof {
            None => b.push(0),
            Some(mac) => {
                b.push(1);
                b.extend_from_slice(mac);
            }
        }
        let len = (b.len() - 2) as u16;
        b[..2].copy_from_slice(&len.to_le_bytes());
        b
    }

    /// Takes the greeting at the front of `buf`, if it has arrived.
    pub(crate) fn take(buf: &mut Vec<u8>) -> Result<Option<Self>, WireError> {
        let Some(head) = buf.first_chunk::<2>() else { return Ok(None) };
        let len = usize::from(u16::from_le_bytes(*head));
        if len > MAX_GREETING {
            return Err(WireError::TooLong { at: 0, len: len as u64, limit: MAX_GREETING as u64 });
        }
        let Some(body) = buf.get(2..2 + len) else { return Ok(None) };
        let mut r = Reader::new(body);
        if r.u8()? != GREETING_VERSION {
            return Err(r.invalid("version of the greeting"));
        }
        let resume = match r.u8()? {
            flag @ 0..=1 => flag == 1,
            _ => return Err(r.invalid("flags of the greeting")),
        };
        let (stream, purpose) = (r.array()?, r.u8()?);
        let (window, frames) = (amount(&mut r)?, r.varint()?);
        let proof = match r.u8()? {
            0 => None,
            1 => Some(r.array()?),
            _ => return Err(r.invalid("proof")),
        };
        r.finish()?;
        buf.drain(..2 + len);
        Ok(Some(Self { resume, stream, purpose, window, frames, proof }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_good_ones_are_canonical(
            bytes in proptest::collection::vec(any::<u8>(), 0..160),
            kind in 0u8..7,
        ) {
            let mut bytes = bytes;
            if let Some(b) = bytes.first_mut() {
                *b = kind;
            }
            if let Ok(m) = Message::decode(&bytes) {
                prop_assert_eq!(m.encode(), bytes.clone());
            }
            if let Some((label, rest)) = split_datagram(&bytes) {
                prop_assert_eq!(join_datagram(label, rest), bytes.clone());
            }
            let _ = Greeting::take(&mut bytes);
        }

        #[test]
        fn round_trip(
            label in 1u32.., window in 0usize..=1 << 20, hops in 1usize..=MAX_HOPS, n: u64, at: u8, bytes in proptest::collection::vec(any::<u8>(), 1..50),
        ) {
            let route: Vec<ShortId> = (0..=hops as u8).map(|i| [i; 8]).collect();
            for m in [
                Message::Open { label, window, index: hops, route },
                Message::Ok { label, window },
                Message::Data { label, bytes: &bytes },
                Message::Credit { label, bytes: window },
                Message::Close { label, code: Code::from_number(n % 12), at },
            ] {
                let bytes = m.encode();
                prop_assert_eq!(Message::decode(&bytes), Ok(m));
            }
            for proof in [None, Some([at; 32])] {
                let g = Greeting { resume: n % 2 == 0, stream: [at; 16], purpose: at, window, frames: n, proof };
                let mut b = g.encode();
                b.push(9);
                prop_assert_eq!(Greeting::take(&mut b[..5].to_vec()), Ok(None));
                prop_assert_eq!(Greeting::take(&mut b), Ok(Some(g)));
                prop_assert_eq!(b, [9]);
            }
        }
    }

    #[test]
    fn impossible_routes_are_refused() {
        let open = |index: usize, route: Vec<ShortId>| {
            Message::decode(&Message::Open { label: 1, window: 1, index, route }.encode()).map(drop)
        };
        let ids = |n: u8| (0..n).map(|i| [i; 8]).collect::<Vec<ShortId>>();
        assert_eq!(open(8, ids(9)), Ok(()));
        for (index, route) in [
            (9, ids(10)),
            (1, ids(1)),
            (0, ids(3)),
            (3, ids(3)),
            (1, vec![[1; 8], [2; 8], [1; 8]]),
            (1, vec![[1; 8], [1; 8]]),
        ] {
            assert!(open(index, route.clone()).is_err(), "{index} {route:?}");
        }
        assert!(Message::decode(&[3, 1]).is_err(), "no data");
        assert!(Message::decode(&[4, 0, 1]).is_err(), "label 0");
    }
}
