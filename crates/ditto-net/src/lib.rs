//! Sockets and discovery: the only crate that opens a socket or a radio.
//!
//! It obeys the calls of [`ditto_mesh::transport::Transport`] and reports what happened as
//! [`ditto_mesh::transport::NetEvent`]s, on one bounded channel or straight to their consumer ([`Events`]). It knows
//! nothing of peers, frames or documents.
//!
//! | module | owns |
//! |---|---|
//! | `net` | [`Net`], the transport of a real process: what runs, and changing that while it runs |
//! | `memory` | [`MemoryHub`] and [`MemoryNet`], the transport of tests: links inside one process |
//! | `part` | what starts and stops by itself: listeners and discoveries |
//! | `listener` | a TCP listener and its accept loop |
//! | `tcp` | TCP links, and dialling with name resolution and timeouts |
//! | `http` | [`HttpConfig`]: the listener for WebSockets and for the files of a folder |
//! | `tls` | TLS of the web, for `wss://` and `https://` |
//! | `websocket` | WebSocket links, dialled and accepted |
//! | `mdns` | announcing this process and finding others on the local network |
//! | `discovery` | one picture of who is there, from several ways to find out |
//! | [`platform`] | the port for radios that only the platform can drive |
//! | `multicast` | the same by announcements of our own |
//! | `link` | one byte-stream link: its reader, its writer and its end |
//! | `table` | which links exist, and what is queued on them |
//! | `sink` | [`Events`]: where events go, and the stop signal |
//! | `interfaces` | which network interfaces can be used, and whether multicast works on them |
//! | `network` | notices that the device is on another network |
//! | `error` | [`NetError`] |

mod discovery;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod interfaces;
mod link;
mod listener;
mod mdns;
mod memory;
mod multicast;
mod net;
mod network;
mod part;
pub mod platform;
mod sink;
mod table;
mod tcp;
mod tls;
mod websocket;

pub use error::NetError;
pub use http::{HttpConfig, TlsFiles};
pub use interfaces::{InterfaceReport, interface_reports, multicast_available};
pub use mdns::MdnsConfig;
pub use memory::{MemoryHub, MemoryNet};
pub use multicast::{
    Announcement, AnnouncementError, AnnouncementKind, MAX_DATAGRAM, MULTICAST_GROUP_V4, MULTICAST_GROUP_V6,
    MULTICAST_PORT, MulticastConfig, MulticastScope,
};
pub use net::{Net, NetConfig};
pub use sink::{Events, Gate, TakeEvents};
pub use table::NetStats;
pub use tls::parse_root_certificates;
pub use websocket::check_websocket_url;
