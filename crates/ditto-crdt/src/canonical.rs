//! A checked document that stays encoded.

use std::fmt;
use std::sync::OnceLock;

use ditto_types::{Digest, HashKey, Hlc, SiteId, Stamp};

use crate::decode::{DecodeError, DictReader, decode};
use crate::doc::Doc;
use crate::encode::{DictWriter, encode};
use crate::recode::{Facts, Target, carry};

/// A document in its self-contained encoding, known to be sound: what is received and stored as it is need never be built.
#[derive(Clone)]
pub struct CanonicalDoc {
    bytes: Box<[u8]>,
    facts: Facts,
    digest: OnceLock<Digest>,
}

impl CanonicalDoc {
    /// Reads what [`encode`](crate::encode) wrote with the same dictionary. Fails where [`decode`](crate::decode) does.
    pub fn read(bytes: &[u8], dict: &dyn DictReader) -> Result<Self, DecodeError> {
        Self::read_with(bytes, dict, &mut Vec::new())
    }

    /// As [`CanonicalDoc::read`] of one document after another, with memory that they share.
    pub fn read_with(bytes: &[u8], dict: &dyn DictReader, memory: &mut Vec<u8>) -> Result<Self, DecodeError> {
        memory.clear();
        match carry(bytes, Some(dict), Target::Inline, memory) {
            Some(facts) => Ok(Self { bytes: memory.as_slice().into(), facts, digest: OnceLock::new() }),
            None => Ok(Self::from(&decode(bytes, dict)?)),
        }
    }

    /// What [`Doc::canonical`] gives.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The document.
    pub fn to_doc(&self) -> Result<Doc, DecodeError> {
        Doc::from_canonical(&self.bytes)
    }

    /// As [`Doc::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.facts.is_alive
    }

    /// As [`Doc::max_hlc`].
    pub fn max_hlc(&self) -> Hlc {
        self.facts.newest
    }

    /// Stamp of the newest write in the document.
    pub fn dot(&self) -> Stamp {
        self.facts.dot
    }

    /// As [`Doc::digest`]. Computed once: always ask with the same key.
    pub fn digest(&self, key: &HashKey) -> Digest {
        *self.digest.get_or_init(|| key.digest(&self.bytes))
    }

    /// Appends what [`encode`](crate::encode) gives with a dictionary.
    pub fn encode(&self, dict: &mut dyn DictWriter, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let start = out.len();
        if carry(&self.bytes, None, Target::Dict(dict, None), out).is_none() {
            out.truncate(start);
            out.extend_from_slice(&encode(&self.to_doc()?, dict));
        }
        Ok(())
    }
}

impl From<&Doc> for CanonicalDoc {
    fn from(doc: &Doc) -> Self {
        let dot = doc.vv().iter().map(|(site, hlc)| Stamp::new(hlc, *site)).max();
        let dot = dot.unwrap_or(Stamp::new(Hlc::ZERO, SiteId::ZERO));
        let facts = Facts { is_alive: doc.is_alive(), dot, newest: doc.max_hlc() };
        Self { bytes: doc.canonical().into(), facts, digest: OnceLock::new() }
    }
}

impl PartialEq for CanonicalDoc {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for CanonicalDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanonicalDoc")
            .field("bytes", &self.bytes.len())
            .field("is_alive", &self.facts.is_alive)
            .field("dot", &self.facts.dot)
            .finish_non_exhaustive()
    }
}
