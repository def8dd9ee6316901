//! Who wrote something, and when: site ids and stamps.

use std::fmt;

use crate::hlc::Hlc;
use crate::wire::{Reader, WireError, put_varint};

/// Author id of writes: 16 random bytes of the store plus an incarnation that grows when knowledge is given up
/// (EVICT, restore, clone; rule D3 of `design.md` 1.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SiteId {
    /// Random bytes; all zero for INITIAL documents.
    pub id: [u8; 16],
    /// 0 for a new store.
    pub incarnation: u32,
}

impl SiteId {
    /// The author of INITIAL documents: "the beginning of time".
    pub const ZERO: SiteId = SiteId { id: [0; 16], incarnation: 0 };

    /// Appends 16 bytes and a varint.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        put_varint(out, self.incarnation.into());
    }

    /// Reads what [`SiteId::encode`] wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { id: r.array()?, incarnation: r.len(u32::MAX as usize)? as u32 })
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in &self.id[..4] {
            write!(f, "{b:02x}")?;
        }
        write!(f, ".{}", self.incarnation)
    }
}

/// A write's place in the total order of writes: time first, then author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Hybrid time of the write. All writes of a transaction share it.
    pub hlc: Hlc,
    /// Author of the write.
    pub site: SiteId,
}

impl Stamp {
    /// The stamp of INITIAL documents: below every other.
    pub const ZERO: Stamp = Stamp { hlc: Hlc::ZERO, site: SiteId::ZERO };

    /// Builds a stamp.
    pub fn new(hlc: Hlc, site: SiteId) -> Self {
        Self { hlc, site }
    }
}
