//! Sockets and discovery: the only crate that opens a socket or a radio.
//!
//! It obeys the calls of [`ditto_mesh::transport::Transport`] and reports what happened as
//! [`ditto_mesh::transport::NetEvent`]s on one bounded channel. It knows nothing of peers, frames or documents.
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
//! | `link` | one byte-stream link: its reader, its writer and its end |
//! | `table` | which links exist, and what is queued on them |
//! | `sink` | the events channel and the stop signal |
//! | `interfaces` | which network interfaces can be used, and whether multicast works on them |
//! | `error` | [`NetError`] |

mod error;
mod http;
mod interfaces;
mod link;
mod listener;
mod mdns;
mod memory;
mod net;
mod part;
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
pub use net::{Net, NetConfig};
pub use table::NetStats;
pub use websocket::check_websocket_url;
