//! Where connections stand and what happened to them.

use ditto_mesh::{ConnectionEvent, TransportDiagnostics};

use crate::feed::Feed;
use crate::{Ditto, DittoError};

/// Something that happened to a connection, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRecord {
    /// Counts from 1 since the instance was opened. A gap in what a reader gets is what it missed.
    pub number: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// What happened. It displays as a line for people.
    pub event: ConnectionEvent,
}

/// Feed of [`ConnectionRecord`]s, of [`Ditto::connection_events`].
pub struct ConnectionEvents {
    pub(crate) feed: Feed<ConnectionRecord>,
}

impl ConnectionEvents {
    /// The next one; `None` once the instance is closed. A reader that falls more than 1,024 events behind misses the
    /// oldest.
    pub async fn next(&mut self) -> Option<ConnectionRecord> {
        self.feed.next().await
    }
}

impl Ditto {
    /// What the transports are doing now (API-279): which peers are being dialled, which are connected and how well, and
    /// which were. Empty while sync is stopped.
    ///
    /// Fails with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn transport_diagnostics(&self) -> Result<TransportDiagnostics, DittoError> {
        self.inner.node.diagnostics()
    }

    /// What happens to connections from now on: discovered, dialled, refused and why, connected, moved to another link,
    /// disconnected. Also in `system:connection_events`.
    pub fn connection_events(&self) -> ConnectionEvents {
        ConnectionEvents { feed: self.inner.node.connection_feed() }
    }

    /// The last 256 things that happened to connections, oldest first.
    pub fn recent_connection_events(&self) -> Vec<ConnectionRecord> {
        self.inner.node.control.recent()
    }
}
