//! Sockets and discovery: the only crate that opens a socket or a radio.
//!
//! It obeys the calls of [`ditto_mesh::transport::Transport`] and reports what happened as
//! [`ditto_mesh::transport::NetEvent`]s on one bounded channel. It knows nothing of peers, frames or documents.
//!
//! | module | owns |
//! |---|---|
//! | `net` | [`Net`], the transport of a real process: TCP links and mDNS discovery |
//! | `memory` | [`MemoryHub`] and [`MemoryNet`], the transport of tests: links inside one process |
//! | `tcp` | the listener, and dialling with name resolution and timeouts |
//! | `mdns` | announcing this process and finding others on the local network |
//! | `link` | one byte-stream link: its reader, its writer and its end |
//! | `table` | which links exist, and what is queued on them |
//! | `sink` | the events channel and the stop signal |
//! | `interfaces` | which network interfaces can be used, and whether multicast works on them |
//! | `error` | [`NetError`] |

mod error;
mod interfaces;
mod link;
mod mdns;
mod memory;
mod net;
mod sink;
mod table;
mod tcp;

pub use error::NetError;
pub use interfaces::multicast_available;
pub use mdns::MdnsConfig;
pub use memory::{MemoryHub, MemoryNet};
pub use net::{Net, NetConfig};
pub use table::NetStats;
