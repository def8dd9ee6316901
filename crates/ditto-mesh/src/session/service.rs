//! The standing channels of sessions: their numbers, classes and limits.

use crate::api::Lane;
use crate::config::Limits;

/// Largest presence message.
pub(crate) const MAX_PRESENCE_MESSAGE: usize = 1 << 20;

/// Largest message of the circuits channel: a piece of data or an OPEN, and its head.
pub(crate) const MAX_CIRCUIT_MESSAGE: usize = (16 << 10) + 64;

/// Largest message of the blobs channel: a chunk and its proof.
pub(crate) const MAX_BLOB_MESSAGE: usize = (256 << 10) + (4 << 10);

/// A standing channel of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Presence,
    Bus,
    SyncLive,
    SyncBulk,
    Circuits,
    Blobs,
    /// The only channel of the session inside a circuit.
    Stream,
}

/// Number of services, the length of the channel table.
pub(super) const SERVICES: usize = 7;

impl Service {
    /// The standing channels between neighbours, opened by the controller as channels 1, 3, 5, and so on.
    pub(crate) const LINK: &'static [Service] =
        &[Self::Presence, Self::Bus, Self::SyncLive, Self::SyncBulk, Self::Circuits, Self::Blobs];

    /// The one standing channel inside a circuit.
    pub(crate) const CIRCUIT: &'static [Service] = &[Self::Stream];

    /// Service number and priority class of OPEN.
    pub(super) fn wire(self) -> (u8, u8) {
        match self {
            Service::Presence => (1, 1),
            Service::Bus => (6, 2),
            Service::SyncLive => (2, 3),
            Service::SyncBulk => (2, 4),
            Service::Circuits => (3, 2),
            Service::Blobs => (4, 5),
            Service::Stream => (7, 2),
        }
    }

    pub(super) fn max_message(self, limits: &Limits) -> usize {
        match self {
            Service::Presence => MAX_PRESENCE_MESSAGE,
            Service::Bus | Service::Stream => limits.max_bus_message,
            Service::Circuits => MAX_CIRCUIT_MESSAGE,
            Service::Blobs => MAX_BLOB_MESSAGE,
            Service::SyncLive | Service::SyncBulk => limits.max_sync_message,
        }
    }

    /// The receive window. Messages of the bulk lanes are as large as the window of others, and the sender shall have the next
    /// one under way while the one before is verified and written. What comes for circuits never waits here: each of them has
    /// credit of its own.
    pub(super) fn window(self, limits: &Limits) -> u64 {
        let windows =
            if matches!(self, Service::SyncBulk | Service::Blobs | Service::Circuits) { 4 } else { 1 };
        windows * u64::from(limits.window)
    }

    /// What the receive window may grow to as the app reads.
    pub(super) fn most(self, limits: &Limits) -> u64 {
        if self == Service::Stream { limits.circuit_stream_window_max.into() } else { 0 }
    }

    /// Whether a peer may be without it, because earlier releases were.
    pub(super) fn is_optional(self) -> bool {
        self == Service::Blobs
    }

    /// The lane of the app, unless the channel is the mesh's own.
    pub(crate) fn lane(self) -> Option<Lane> {
        match self {
            Service::Presence | Service::Circuits | Service::Stream => None,
            Service::Bus => Some(Lane::Bus),
            Service::SyncLive => Some(Lane::SyncLive),
            Service::SyncBulk => Some(Lane::SyncBulk),
            Service::Blobs => Some(Lane::Blobs),
        }
    }
}

impl From<Lane> for Service {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Bus => Service::Bus,
            Lane::SyncLive => Service::SyncLive,
            Lane::SyncBulk => Service::SyncBulk,
            Lane::Blobs => Service::Blobs,
        }
    }
}
