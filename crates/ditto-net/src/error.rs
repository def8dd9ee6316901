//! What can be wrong when a transport is started.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why [`crate::Net::start`] or [`crate::Net::reconfigure`] refused. Everything that happens later is reported as an
/// event.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The listen address is no `host:port`, or its host has no address.
    #[error("resolve listen address {address:?}: {reason}")]
    ListenAddress {
        /// As configured.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system did not let us listen, as when another process uses the port.
    #[error("listen on {address} ({listener}): {source}")]
    Listen {
        /// "TCP" or "HTTP".
        listener: &'static str,
        /// The resolved address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The discovery token cannot be a DNS label.
    #[error(
        "use discovery token {token:?}: 1 to 63 characters of a-z, 0-9 and - are allowed, no - at an end"
    )]
    Token {
        /// As configured.
        token: String,
    },
    /// The service type cannot be announced.
    #[error(
        "use service type {service_type:?}: expected _name._tcp.local. with a name of at most 15 characters"
    )]
    ServiceType {
        /// As configured.
        service_type: String,
    },
    /// The folder of static content cannot be read.
    #[error("static content of {}: {source}", path.display())]
    StaticContent {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The file of the TLS certificate or of its key cannot be used.
    #[error("TLS {} {}: {reason}", if *is_key { "key" } else { "certificate" }, path.display())]
    TlsFile {
        /// As configured.
        path: PathBuf,
        /// Whether it is the key.
        is_key: bool,
        /// What is wrong with it.
        reason: String,
    },
}
