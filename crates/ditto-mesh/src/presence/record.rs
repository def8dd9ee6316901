//! The presence record: what a peer says about itself and its links, signed.
//!
//! ```text
//! record := key 34, seq u64 LE, ttl_s varint, flags u8 (1 connected to server, 2 is a server), proto_min varint,
//!           proto_max varint, overlap group u8, token 8, name <=63, os <=32, sdk <=32, meta_hash 16,
//!           edges (count, (short id 8, kind u8, cost u8)*), extensions (count <=16, (tag varint, bytes <=256)*),
//!           signature 64
//! ```
//!
//! `seq` is the wall clock at the start in milliseconds times 65,536, plus a counter. The signature covers a domain
//! text, the hash of the database id and everything before it.
//! `token` is a hash of the origin's discovery token, so that an announcement tells whether it is of somebody who is
//! reachable already; zero for an origin that is not announced. Unknown flags and extensions are passed over, so that
//! a later release can say more.

use ditto_types::wire::{Reader, WireError, put_str, put_varint};

use crate::identity::Identity;
use crate::peer_key::{PeerKey, ShortId, VerifyingKey};

/// Most links that a record may list.
pub(crate) const MAX_EDGES: usize = 256;

/// Longest encoded record.
pub(super) const MAX_RECORD: usize = 4 << 10;

/// Longest metadata, as JSON (API-139).
pub const MAX_METADATA: usize = 4096;

/// Extensions of one record.
const MAX_EXTENSIONS: usize = 16;

/// Hash of a discovery token.
pub(crate) type TokenHash = [u8; 8];

const DOMAIN: &[u8] = b"esync presence record v1";

/// Hash of no metadata.
pub(crate) const NO_METADATA: [u8; 16] = [0; 16];

/// One end's view of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) to: ShortId,
    /// [`crate::transport::LinkKind::code`].
    pub(crate) kind: u8,
    pub(crate) cost: u8,
}

/// The signed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: PeerKey,
    pub(crate) seq: u64,
    pub(crate) ttl_s: u64,
    pub(crate) connected_to_server: bool,
    pub(crate) is_server: bool,
    /// Oldest and newest protocol version that its origin speaks.
    pub(crate) proto: (u32, u32),
    pub(crate) overlap_group: u8,
    pub(crate) token: TokenHash,
    pub(crate) name: String,
    pub(crate) os: String,
    pub(crate) sdk: String,
    pub(crate) meta_hash: [u8; 16],
    pub(crate) edges: Vec<Edge>,
}

/// A record as it travels: its bytes are forwarded unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedRecord {
    pub(crate) record: Record,
    pub(crate) bytes: Vec<u8>,
}

/// Hash by which a record names its metadata.
pub(crate) fn metadata_hash(json: &[u8]) -> [u8; 16] {
    if json.is_empty() {
        return NO_METADATA;
    }
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(json).as_bytes()[..16]);
    out
}

/// What a record says instead of the discovery token.
pub(crate) fn token_hash(token: &str) -> TokenHash {
    let mut out = [0; 8];
    if !token.is_empty() {
        out.copy_from_slice(&blake3::derive_key("esync discovery token v1", token.as_bytes())[..8]);
    }
    out
}

fn version(r: &mut Reader<'_>) -> Result<u32, WireError> {
    let v = r.varint()?;
    u32::try_from(v).map_err(|_| r.invalid("protocol version"))
}

fn signed_message(db_hash: &[u8; 16], content: &[u8]) -> Vec<u8> {
    [DOMAIN, db_hash, content].concat()
}

impl Record {
    /// Encodes and signs.
    pub(crate) fn sign(self, identity: &Identity, db_hash: &[u8; 16]) -> SignedRecord {
        let mut b = Vec::new();
        b.extend_from_slice(self.key.as_bytes());
        b.extend_from_slice(&self.seq.to_le_bytes());
        put_varint(&mut b, self.ttl_s);
        b.push(u8::from(self.connected_to_server) | u8::from(self.is_server) << 1);
        put_varint(&mut b, self.proto.0.into());
        put_varint(&mut b, self.proto.1.into());
        b.push(self.overlap_group);
        b.extend_from_slice(&self.token);
        put_str(&mut b, &self.name);
        put_str(&mut b, &self.os);
        put_str(&mut b, &self.sdk);
        b.extend_from_slice(&self.meta_hash);
        put_varint(&mut b, self.edges.len() as u64);
        for e in &self.edges {
            b.extend_from_slice(&e.to);
            b.extend_from_slice(&[e.kind, e.cost]);
        }
        // No extensions yet.
        put_varint(&mut b, 0);
        let signature = identity.sign(&signed_message(db_hash, &b));
        b.extend_from_slice(&signature);
        SignedRecord { record: self, bytes: b }
    }
}

impl SignedRecord {
    /// Reads a record of anybody. [`SignedRecord::verify`] is separate.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let key = PeerKey::from_bytes(r.take(PeerKey::LEN)?).map_err(|_| r.invalid("peer key"))?;
        Self::parse_of(key, bytes)
    }

    /// Reads a record of a key that is known already, which spares the check that it is a point of the curve.
    pub(crate) fn parse_of(key: PeerKey, bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        if r.take(PeerKey::LEN)? != key.as_bytes() {
            return Err(r.invalid("peer key"));
        }
        let seq = r.u64_le()?;
        let ttl_s = r.varint()?;
        let flags = r.u8()?;
        let record = Record {
            key,
            seq,
            ttl_s,
            connected_to_server: flags & 1 != 0,
            is_server: flags & 2 != 0,
            proto: (version(&mut r)?, version(&mut r)?),
            overlap_group: r.u8()?,
            token: r.array()?,
            name: r.str(63)?.to_owned(),
            os: r.str(32)?.to_owned(),
            sdk: r.str(32)?.to_owned(),
            meta_hash: r.array()?,
            edges: {
                let n = r.len(MAX_EDGES)?;
                let mut edges = Vec::new();
                for _ in 0..n {
                    edges.push(Edge { to: r.array()?, kind: r.u8()?, cost: r.u8()? });
                }
                edges
            },
        };
        for _ in 0..r.len(MAX_EXTENSIONS)? {
            r.varint()?;
            r.bytes(256)?;
        }
        r.take(64)?;
        r.finish()?;
        Ok(Self { record, bytes: bytes.to_vec() })
    }

    /// Whether the record's own key, which is `key`, signed it for this database.
    pub(crate) fn verify(&self, key: &VerifyingKey, db_hash: &[u8; 16]) -> bool {
        let Some((content, signature)) = self.bytes.split_last_chunk::<64>() else { return false };
        key.verify(&signed_message(db_hash, content), signature)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn signed(seed: u8, edges: usize) -> (Identity, SignedRecord) {
        let identity = Identity::generate(&mut |out| out.fill(seed));
        let record = Record {
            key: identity.peer_key(),
            seq: 77,
            ttl_s: 180,
            connected_to_server: true,
            is_server: false,
            proto: (1, 3),
            overlap_group: 9,
            token: token_hash("announced"),
            name: "naïve tablet".into(),
            os: "Linux".into(),
            sdk: "0.1.0".into(),
            meta_hash: metadata_hash(b"{\"a\":1}"),
            edges: (0..edges).map(|i| Edge { to: [i as u8; 8], kind: 1, cost: 1 }).collect(),
        };
        let signed = record.sign(&identity, &[5; 16]);
        (identity, signed)
    }

    #[test]
    fn signatures_bind_content_key_and_database() {
        let (_, good) = signed(1, 2);
        let verify = |r: &SignedRecord, db: &[u8; 16]| r.verify(&r.record.key.verifying(), db);
        assert!(verify(&good, &[5; 16]));
        assert!(!verify(&good, &[6; 16]));
        // A changed byte anywhere is either unreadable or unsigned.
        for at in 0..good.bytes.len() {
            let mut bytes = good.bytes.clone();
            bytes[at] ^= 1;
            if let Ok(forged) = SignedRecord::parse(&bytes) {
                assert!(!verify(&forged, &[5; 16]), "byte {at}");
            }
        }
        // Another key cannot sign for this one.
        let thief = Identity::generate(&mut |out| out.fill(9));
        let forged = good.record.clone().sign(&thief, &[5; 16]);
        assert!(!verify(&forged, &[5; 16]));
        // Nor is it read as a record of it.
        assert_eq!(SignedRecord::parse_of(good.record.key, &good.bytes), Ok(good.clone()));
        assert!(SignedRecord::parse_of(thief.peer_key(), &good.bytes).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = SignedRecord::parse(&bytes);
        }
    }
}
