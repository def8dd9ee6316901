//! Identity, admission, secure links, frames, sessions and presence of the peer-to-peer mesh.
//!
//! [`Mesh`] is a pure state machine: [`Input`]s and the time go in, [`Action`]s come out. It opens no socket and reads
//! no clock; a [`transport::Transport`] does the one and the caller the other.
//!
//! | module | owns |
//! |---|---|
//! | [`transport`] | the boundary to sockets and radios |
//! | `api`, `config`, `event` | inputs, actions, configuration, what happens to links |
//! | `diagnostics` | what the links are doing now |
//! | [`presence`] | records, flooding, the graph |
//! | `peer_key`, `identity`, `discovery` | names, keys, announcements |
//! | `tls`, `proof`, `hello` | the secure channel and admission |
//! | `chooser`, `dial` | which peers are worth a connection, when to dial them, which link to give up |
//! | `link`, `mesh` | links, and the machine that ties all together |
//! | `frame`, `channel`, `sched`, `rate`, `session` | frames, credit, priorities, what survives a change of link |
//! | `circuit` | end-to-end channels over several hops |
//!
//! What happens on a link, in order: TLS 1.3 with raw public keys on both sides; HELLO of the dialer; HELLO of the
//! acceptor, once it has verified the first and its app has agreed; then frames. Of the two peers the one with the smaller key decides which of
//! several links carries their session, and says so with SWITCH.

mod api;
mod channel;
mod chooser;
mod circuit;
mod config;
mod diagnostics;
mod dial;
mod discovery;
mod event;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod hello;
mod identity;
mod link;
mod mesh;
mod peer_key;
pub mod presence;
mod proof;
mod rate;
mod read_window;
mod rope;
mod sched;
mod session;
mod tls;
pub mod transport;

pub use api::{Action, Input, Lane, PeerInfo, SendFailure};
pub use chooser::{ConnectionPriority, PeerSelector};
pub use circuit::{CircuitEnd, CircuitId, CircuitStats, INCOMING_CIRCUIT_BIT};
pub use config::{
    Admission, ConfigError, ConnectionLimits, Limits, MAX_DEVICE_NAME, MeshConfig, PresenceLimits,
};
pub use diagnostics::{TransportDiagnostics, TransportPeer, TransportSnapshot};
pub use discovery::{discovery_scope, discovery_service_type, discovery_service_uuid};
pub use event::{ConnectionEvent, Refusal};
pub use identity::{Identity, IdentityError};
pub use mesh::{MAX_DATAGRAM, Mesh, RandomBytes};
pub use peer_key::{PeerKey, PeerKeyError, ShortId};
pub use presence::{
    MetadataError, PresenceConnection, PresenceGraph, PresencePeer, PresenceView, check_metadata,
};
pub use read_window::ReadWindow;
