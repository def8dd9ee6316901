//! WebSocket links (RFC 6455).

mod url;

pub use self::url::check_websocket_url;
