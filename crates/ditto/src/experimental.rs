//! Features that are no promise yet (API-463).

use ditto_mesh::{ConnectionPriority, PeerSelector};

use crate::{Bus, Ditto, DittoError};

/// Features that may change or vanish in any release, and that may lack security. Not for production.
pub struct Experimental<'a> {
    ditto: &'a Ditto,
}

impl Ditto {
    /// Features that are no promise yet.
    pub fn experimental(&self) -> Experimental<'_> {
        Experimental { ditto: self }
    }
}

impl Experimental<'_> {
    /// Messages and streams to other peers: the same as [`Ditto::bus`] (API-424).
    pub fn bus(&self) -> Bus {
        self.ditto.bus()
    }

    /// Sets how eagerly this device dials a peer, or the peers of a query overlap group (API-464, API-469). It takes effect
    /// at once, lasts until the instance is closed, and ends no connection.
    ///
    /// Most apps need nothing, as the mesh forms itself.
    pub fn set_priority(
        &self,
        selector: PeerSelector,
        priority: ConnectionPriority,
    ) -> Result<(), DittoError> {
        self.ditto.inner.control(|control| control.set_priority(selector, priority))
    }

    /// Puts this peer into a query overlap group, 0 by default (API-468). What a group means is up to the app; others see it
    /// as `query_overlap_group` of the peer, and it keeps nobody out. It may be changed while syncing.
    pub fn set_query_overlap_group(&self, group: u8) -> Result<(), DittoError> {
        self.ditto.inner.control(|control| control.set_overlap_group(group))
    }
}
