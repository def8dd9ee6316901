//! HELLO, the first message of each side on every link, and its refusal.
//!
//! ```text
//! greeting := len u16 little-endian | kind u8 | body           kind 1 HELLO, 2 REFUSED
//! refused  := code varint
//! hello    := proto_min varint, proto_max varint               the rest is read only if the ranges meet
//!             db_id_hash 16, store_id 16, store_epoch 8, wall_ms varint, boot_tag 8, caps varint,
//!             link_kind u8, max_frame varint, window varint,
//!             device_name <=63, os <=32, sdk <=32, sync_group varint, token <=64,
//!             proof (kind u8, bytes <=4096), metadata <=4096, revocation_head <=32,
//!             session 8, frames varint, count (tag varint, bytes <=256)*
//! proof    := 0 nothing | 1 mac 32 | 2 permit
//! ```
//!
//! Extensions after the last field let a later release say more; unknown ones are skipped. Proofs of an unknown kind can be
//! read over too, so that they are refused as what they are. `metadata` is the JSON of the dialer's peer metadata, for the
//! acceptor's app to decide on; the acceptor sends none, and nobody does over WebSocket.

use ditto_types::wire::{Reader, WireError, put_bytes, put_str, put_varint};

use crate::event::Refusal;
use crate::presence::MAX_METADATA;

/// Oldest and newest protocol version of this release.
pub(crate) const PROTOCOL: (u32, u32) = (1, 1);

/// Longest greeting, length field excluded.
pub(crate) const MAX_GREETING: usize = 12 << 10;

const KIND_HELLO: u8 = 1;
const KIND_REFUSED: u8 = 2;
/// Longest proof: a permit.
const MAX_PROOF: usize = 4096;
const MAX_EXTENSIONS: usize = 16;

/// `caps` bit: this instance is a server.
pub(crate) const CAP_SERVER: u64 = 1;

/// How a side proves that it may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It does not. Carries nothing that depends on any secret.
    Open,
    /// A mac over the TLS exporter.
    SharedKey([u8; 32]),
    /// A signed permit, which only servers and their clients check.
    Permit(Vec<u8>),
    /// A kind of proof that this release does not know. Only ever read.
    Unknown(u8),
}

/// What a side says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) proto: (u32, u32),
    pub(crate) db_id_hash: [u8; 16],
    pub(crate) store_id: [u8; 16],
    pub(crate) store_epoch: [u8; 8],
    pub(crate) wall_ms: u64,
    /// Drawn at each start, so that a restart is told from a second link.
    pub(crate) boot_tag: [u8; 8],
    pub(crate) caps: u64,
    pub(crate) link_kind: u8,
    pub(crate) max_frame: u32,
    pub(crate) window: u32,
    pub(crate) device_name: String,
    pub(crate) os: String,
    pub(crate) sdk: String,
    pub(crate) sync_group: u32,
    /// The discovery token of the sender, so that both ends know whom an announcement stands for.
    pub(crate) token: String,
    pub(crate) proof: Proof,
    /// JSON of the sender's peer metadata, or nothing. Not checked.
    pub(crate) metadata: Vec<u8>,
    pub(crate) revocation_head: Vec<u8>,
    /// The session that the sender has with the receiver; zero for none.
    pub(crate) session: [u8; 8],
    /// Frames of that session that the sender has received.
    pub(crate) frames: u64,
}

/// A first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Hello(Box<Hello>),
    Refused(Refusal),
}

impl Hello {
    /// The bytes of the greeting, length included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = vec![KIND_HELLO];
        put_varint(&mut b, self.proto.0.into());
        put_varint(&mut b, self.proto.1.into());
        b.extend_from_slice(&self.db_id_hash);
        b.extend_from_slice(&self.store_id);
        b.extend_from_slice(&self.store_epoch);
        put_varint(&mut b, self.wall_ms);
        b.extend_from_slice(&self.boot_tag);
        put_varint(&mut b, self.caps);
        b.push(self.link_kind);
        put_varint(&mut b, self.max_frame.into());
        put_varint(&mut b, self.window.into());
        put_str(&mut b, &self.device_name);
        put_str(&mut b, &self.os);
        put_str(&mut b, &self.sdk);
        put_varint(&mut b, self.sync_group.into());
        put_str(&mut b, &self.token);
        let (kind, proof): (u8, &[u8]) = match &self.proof {
            Proof::Open => (0, &[]),
            Proof::SharedKey(mac) => (1, mac),
            Proof::Permit(p) => (2, p),
            Proof::Unknown(kind) => (*kind, &[]),
        };
        b.push(kind);
        put_bytes(&mut b, proof);
        put_bytes(&mut b, &self.metadata);
        put_bytes(&mut b, &self.revocation_head);
        b.extend_from_slice(&self.session);
        put_varint(&mut b, self.frames);
        put_varint(&mut b, 0);
        framed(b)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let malformed = |e: WireError| Refusal::Malformed(e.to_string());
        let proto = range(r).map_err(malformed)?;
        if proto.0 > PROTOCOL.1 || proto.1 < PROTOCOL.0 {
            return Err(Refusal::ProtocolVersion { min: proto.0, max: proto.1 });
        }
        Self::decode_v1(proto, r).map_err(malformed)
    }

    fn decode_v1(proto: (u32, u32), r: &mut Reader<'_>) -> Result<Self, WireError> {
        let hello = Self {
            proto,
            db_id_hash: r.array()?,
            store_id: r.array()?,
            store_epoch: r.array()?,
            wall_ms: r.varint()?,
            boot_tag: r.array()?,
            caps: r.varint()?,
            link_kind: r.u8()?,
            max_frame: u32_field(r, "frame size")?,
            window: u32_field(r, "window")?,
            device_name: r.str(63)?.to_owned(),
            os: r.str(32)?.to_owned(),
            sdk: r.str(32)?.to_owned(),
            sync_group: u32_field(r, "sync group")?,
            token: r.str(64)?.to_owned(),
            proof: {
                let kind = r.u8()?;
                let bytes = r.bytes(MAX_PROOF)?;
                match (kind, bytes.len()) {
                    (0, 0) => Proof::Open,
                    (1, 32) => Proof::SharedKey(bytes.try_into().map_err(|_| r.invalid("proof"))?),
                    (2, 1..) => Proof::Permit(bytes.to_vec()),
                    (0..=2, _) => return Err(r.invalid("length of the proof")),
                    (kind, _) => Proof::Unknown(kind),
                }
            },
            metadata: r.bytes(MAX_METADATA)?.to_vec(),
            revocation_head: r.bytes(32)?.to_vec(),
            session: r.array()?,
            frames: r.varint()?,
        };
        if !(crate::frame::MIN_MAX_FRAME as u32..=crate::frame::HARD_MAX_FRAME as u32)
            .contains(&hello.max_frame)
        {
            return Err(r.invalid("frame size"));
        }
        for _ in 0..r.len(MAX_EXTENSIONS)? {
            r.varint()?;
            r.bytes(256)?;
        }
        r.finish()?;
        Ok(hello)
    }
}

impl Greeting {
    /// The greeting that tells the other side why it is refused.
    pub(crate) fn encode_refusal(reason: &Refusal) -> Vec<u8> {
        let mut b = vec![KIND_REFUSED];
        put_varint(&mut b, reason.code());
        framed(b)
    }

    /// Takes a greeting off the front of `buf`; `Ok(None)` while it is incomplete.
    pub(crate) fn take(buf: &mut Vec<u8>) -> Result<Option<Self>, Refusal> {
        let Some(head) = buf.first_chunk::<2>() else { return Ok(None) };
        let len = usize::from(u16::from_le_bytes(*head));
        if len == 0 || len > MAX_GREETING {
            return Err(Refusal::Malformed(format!("greeting of {len} bytes")));
        }
        let Some(body) = buf.get(2..2 + len) else { return Ok(None) };
        let out = Self::decode(body)?;
        buf.drain(..2 + len);
        Ok(Some(out))
    }

    /// Reads a greeting without its length.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |e: WireError| Refusal::Malformed(e.to_string());
        let mut r = Reader::new(body);
        match r.u8().map_err(malformed)? {
            KIND_HELLO => Ok(Greeting::Hello(Box::new(Hello::decode(&mut r)?))),
            KIND_REFUSED => {
                let code = r.varint().map_err(malformed)?;
                r.finish().map_err(malformed)?;
                Ok(Greeting::Refused(Refusal::from_code(code)))
            }
            kind => Err(Refusal::Malformed(format!("greeting of unknown kind {kind}"))),
        }
    }
}

fn framed(body: Vec<u8>) -> Vec<u8> {
    // Every field of our own greetings is bounded far below 64 KiB.
    let mut out = (body.len() as u16).to_le_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

fn range(r: &mut Reader<'_>) -> Result<(u32, u32), WireError> {
    let (min, max) = (u32_field(r, "protocol version")?, u32_field(r, "protocol version")?);
    if min > max { Err(r.invalid("protocol range")) } else { Ok((min, max)) }
}

fn u32_field(r: &mut Reader<'_>, what: &'static str) -> Result<u32, WireError> {
    let v = r.varint()?;
    u32::try_from(v).map_err(|_| r.invalid(what))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Hello {
        Hello {
            proto: PROTOCOL,
            db_id_hash: [1; 16],
            store_id: [2; 16],
            store_epoch: [3; 8],
            wall_ms: 1_790_000_000_000,
            boot_tag: [4; 8],
            caps: CAP_SERVER,
            link_kind: 1,
            max_frame: 16 << 10,
            window: 256 << 10,
            device_name: "tablet é".into(),
            os: "Linux".into(),
            sdk: "0.1.0".into(),
            sync_group: 7,
            token: "tok".into(),
            proof: Proof::SharedKey([9; 32]),
            metadata: b"{\"role\":\"kitchen\"}".to_vec(),
            revocation_head: vec![],
            session: [5; 8],
            frames: 300,
        }
    }

    #[test]
    fn round_trip_and_partial_input() {
        for proof in
            [Proof::Open, Proof::SharedKey([9; 32]), Proof::Permit(vec![1; MAX_PROOF]), Proof::Unknown(3)]
        {
            let hello = Hello { proof, ..sample() };
            let bytes = hello.encode();
            for cut in 0..bytes.len() {
                assert_eq!(Greeting::take(&mut bytes[..cut].to_vec()), Ok(None));
            }
            let mut buf = bytes.clone();
            buf.extend_from_slice(b"rest");
            assert_eq!(Greeting::take(&mut buf), Ok(Some(Greeting::Hello(Box::new(hello)))));
            assert_eq!(buf, b"rest");
        }
    }

    #[test]
    fn refusals_keep_their_reason() {
        for r in [Refusal::WrongDatabase, Refusal::WrongSharedKey, Refusal::ModeMismatch, Refusal::Capacity] {
            let mut b = Greeting::encode_refusal(&r);
            assert_eq!(Greeting::take(&mut b), Ok(Some(Greeting::Refused(r))));
        }
    }

    #[test]
    fn other_versions_and_odd_sizes_are_named() {
        let later = Hello { proto: (4, 6), ..sample() }.encode();
        assert_eq!(Greeting::take(&mut later.clone()), Err(Refusal::ProtocolVersion { min: 4, max: 6 }));
        let wider = Hello { proto: (1, 9), ..sample() }.encode();
        assert!(matches!(Greeting::take(&mut wider.clone()), Ok(Some(Greeting::Hello(_)))));
        let tiny = Hello { max_frame: 10, ..sample() }.encode();
        assert!(matches!(Greeting::take(&mut tiny.clone()), Err(Refusal::Malformed(_))));
        let permit = Hello { proof: Proof::Permit(vec![1; MAX_PROOF + 1]), ..sample() }.encode();
        assert!(matches!(Greeting::take(&mut permit.clone()), Err(Refusal::Malformed(_))));
        let metadata = Hello { metadata: vec![b' '; MAX_METADATA + 1], ..sample() }.encode();
        assert!(matches!(Greeting::take(&mut metadata.clone()), Err(Refusal::Malformed(_))));
        let largest = Hello {
            proof: Proof::Permit(vec![1; MAX_PROOF]),
            metadata: vec![b' '; MAX_METADATA],
            ..sample()
        };
        assert!(matches!(Greeting::take(&mut largest.encode()), Ok(Some(Greeting::Hello(_)))));
        let long = Hello { device_name: "x".repeat(64), ..sample() }.encode();
        assert!(matches!(Greeting::take(&mut long.clone()), Err(Refusal::Malformed(_))));
        assert!(matches!(Greeting::take(&mut vec![0xff, 0xff]), Err(Refusal::Malformed(_))));
        assert!(matches!(Greeting::take(&mut vec![0, 0]), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn open_mode_says_nothing_about_a_secret() {
        let open = Hello { proof: Proof::Open, ..sample() }.encode();
        let keyed = sample().encode();
        assert_eq!(keyed.len() - open.len(), 32);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Greeting::decode(&body);
            let _ = Greeting::take(&mut body.clone());
        }

        #[test]
        fn changed_hellos_never_panic(at in 0usize..200, with: u8, cut in 0usize..200) {
            let mut b = sample().encode();
            let n = b.len();
            b[2 + at % (n - 2)] = with;
            let _ = Greeting::decode(&b[2..]);
            b.truncate(cut.min(n));
            let _ = Greeting::take(&mut b);
        }
    }
}
