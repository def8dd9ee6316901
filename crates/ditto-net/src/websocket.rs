//! WebSocket links (RFC 6455): one binary message after another is a byte stream in pieces.
//!
//! The TLS of `wss://` belongs to proxies and to the certificates of the web. Peers authenticate each other inside it, as
//! on every other link.

mod accept;
mod dial;
mod stream;
mod url;

pub(crate) use self::accept::{Upgrade, is_upgrade};
pub(crate) use self::dial::Client;
pub use self::url::check_websocket_url;
