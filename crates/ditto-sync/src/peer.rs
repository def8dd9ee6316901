//! Names of peers and of the two lanes that lead to each.

use std::fmt;

/// The bytes of a remote peer's key. Opaque here; the mesh gives it its meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 34]);

impl PeerId {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A peer from the bytes of its key; `None` unless there are exactly 34.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(PeerId)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first byte names the algorithm and the second the parity; the next ones tell peers apart.
        f.write_str("peer:")?;
        self.0[2..6].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// One of the two ordered, reliable message channels to a peer. There is no order between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Control messages and the pushes of new commits.
    Live,
    /// Scans, first loads, reconciliation and the answers to requests.
    Bulk,
}
