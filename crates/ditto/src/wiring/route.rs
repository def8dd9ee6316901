//! Who takes what the mesh wants and tells: one table.

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind};
use ditto_mesh::{Action, ConnectionEvent, Input, Lane, PeerInfo, PeerKey};
use ditto_types::Value;

use super::Sessions;

/// What the opener of a circuit learns when nobody here takes circuits of its purpose.
const UNKNOWN_PURPOSE: u32 = 1;

/// For replication.
#[derive(Debug)]
pub enum ForSync {
    /// A session begins.
    PeerUp {
        /// With whom.
        peer: PeerKey,
        /// Its number of [`Sessions`].
        session: u64,
        /// Name of the peer's store.
        store_id: [u8; 16],
        /// Epoch of the peer's store.
        epoch: [u8; 8],
    },
    /// The session with this peer is over.
    PeerDown {
        /// Who.
        peer: PeerKey,
    },
    /// A message has arrived, and takes up its sender's window until it is consumed.
    Message {
        /// From whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// What.
        bytes: Vec<u8>,
    },
    /// So many bytes wait in the mesh to be sent.
    Queued {
        /// To whom.
        peer: PeerKey,
        /// On which lane.
        lane: Lane,
        /// How many.
        bytes: usize,
    },
}

/// For the sockets.
#[derive(Debug)]
pub enum ForNetwork {
    /// Open a link.
    Dial {
        /// Its id.
        link: LinkId,
        /// Where to.
        target: DialTarget,
    },
    /// Send bytes.
    Write {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a link.
    Close {
        /// Which.
        link: LinkId,
    },
}

/// For the exchange of attachments.
#[derive(Debug)]
pub enum ForBlobs {
    /// A session begins.
    PeerUp(PeerKey),
    /// The session with this peer is over.
    PeerDown(PeerKey),
    /// A message of its lane has arrived.
    Message {
        /// From whom.
        peer: PeerKey,
        /// What.
        bytes: Vec<u8>,
    },
    /// So many bytes of its lane wait in the mesh to be sent.
    Queued {
        /// To whom.
        peer: PeerKey,
        /// How many.
        bytes: usize,
    },
    /// Something about a circuit of its own.
    Circuit(Action),
}

/// For the app and the log.
#[derive(Debug)]
pub enum ForApp {
    /// A peer is connected.
    Connected(PeerInfo),
    /// A peer is not connected any more.
    Disconnected {
        /// Who.
        peer: PeerKey,
        /// Why.
        reason: String,
    },
    /// A peer asks whether it may connect.
    ConnectionRequest {
        /// Its link.
        link: LinkId,
        /// Who.
        peer: PeerKey,
        /// What carries the link.
        kind: LinkKind,
        /// Its metadata as it says.
        metadata: Value,
    },
    /// A peer has opened a circuit that nobody here takes; it is closed.
    UnknownPurpose {
        /// Who.
        peer: PeerKey,
        /// What for.
        purpose: u8,
    },
    /// The graph has changed.
    PresenceChanged,
    /// Something that happened to a connection.
    Event(ConnectionEvent),
}

/// The parts of a peer around its mesh.
pub trait Parts {
    /// The sessions that the mesh has.
    fn sessions(&mut self) -> &mut Sessions;
    /// Something back to the mesh. What follows from it comes later.
    fn mesh(&mut self, input: Input);
    /// Something for the sockets.
    fn network(&mut self, wish: ForNetwork);
    /// Something for the Bus.
    fn bus(&mut self, input: ditto_bus::Input);
    /// Something for replication.
    fn sync(&mut self, message: ForSync);
    /// Something for the exchange of attachments.
    fn blobs(&mut self, message: ForBlobs);
    /// Whether this is about a circuit of the exchange of attachments.
    fn is_of_blobs(&self, action: &Action) -> bool;
    /// Something for the app.
    fn app(&mut self, told: ForApp);
}

/// Hands an action of the mesh to whom it is for.
pub fn route(action: Action, parts: &mut impl Parts) {
    match action {
        Action::Dial { link, target } => parts.network(ForNetwork::Dial { link, target }),
        Action::Write { link, bytes } => parts.network(ForNetwork::Write { link, bytes }),
        Action::Close { link } => parts.network(ForNetwork::Close { link }),
        Action::PeerConnected(info) => {
            let (peer, store_id, epoch) = (info.peer, info.store_id, info.store_epoch);
            parts.bus(ditto_bus::Input::PeerConnected(peer));
            parts.blobs(ForBlobs::PeerUp(peer));
            let session = parts.sessions().begin(peer);
            parts.sync(ForSync::PeerUp { peer, session, store_id, epoch });
            parts.app(ForApp::Connected(info));
        }
        Action::PeerDisconnected { peer, reason } => {
            parts.bus(ditto_bus::Input::PeerDisconnected(peer));
            parts.blobs(ForBlobs::PeerDown(peer));
            parts.sessions().end(&peer);
            parts.sync(ForSync::PeerDown { peer });
            parts.app(ForApp::Disconnected { peer, reason });
        }
        Action::Message { peer, lane: Lane::Bus, bytes } => {
            let consumed = Input::Consumed { peer, lane: Lane::Bus, bytes: bytes.len() };
            parts.bus(ditto_bus::Input::Message { peer, bytes });
            parts.mesh(consumed);
        }
        Action::Message { peer, lane: Lane::Blobs, bytes } => parts.blobs(ForBlobs::Message { peer, bytes }),
        Action::Message { peer, lane, bytes } => parts.sync(ForSync::Message { peer, lane, bytes }),
        Action::Datagram { peer, bytes } => parts.bus(ditto_bus::Input::Datagram { peer, bytes }),
        // Tag 0 marks replication, which counts acknowledged commits instead.
        Action::Transmitted { tag: 0, .. } | Action::SendFailed { tag: 0, .. } => {}
        Action::Transmitted { tag, .. } => parts.bus(ditto_bus::Input::Transmitted { tag }),
        Action::SendFailed { tag, reason, .. } => parts.bus(ditto_bus::Input::SendFailed { tag, reason }),
        Action::Queued { lane: Lane::Bus, .. } => {}
        Action::Queued { peer, lane: Lane::Blobs, bytes } => parts.blobs(ForBlobs::Queued { peer, bytes }),
        Action::Queued { peer, lane, bytes } => parts.sync(ForSync::Queued { peer, lane, bytes }),
        Action::ConnectionRequest { link, peer, kind, metadata } => {
            parts.app(ForApp::ConnectionRequest { link, peer, kind, metadata });
        }
        action if parts.is_of_blobs(&action) => parts.blobs(ForBlobs::Circuit(action)),
        Action::CircuitIncoming { circuit, peer, purpose } if !ditto_bus::is_bus_purpose(purpose) => {
            // No other service takes circuits, so the opener is told at once.
            parts.mesh(Input::CircuitClose { circuit, code: UNKNOWN_PURPOSE });
            parts.app(ForApp::UnknownPurpose { peer, purpose });
        }
        Action::CircuitIncoming { .. }
        | Action::CircuitOpened { .. }
        | Action::CircuitMessage { .. }
        | Action::CircuitDatagram { .. }
        | Action::CircuitTransmitted { .. }
        | Action::CircuitSendFailed { .. }
        | Action::CircuitClosed { .. } => parts.bus(ditto_bus::Input::Circuit(action)),
        Action::CircuitQueued { .. } => {}
        Action::PresenceChanged => parts.app(ForApp::PresenceChanged),
        Action::Event(event) => parts.app(ForApp::Event(event)),
    }
}
