//! Which values are refused, before anything is changed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ditto_types::ErrorKind;

use super::TransportConfig;
use crate::DittoError;

/// Longest address or URL, in bytes.
const MAX_ADDRESS: usize = 2_048;
/// Addresses and URLs of each kind.
const MAX_ADDRESSES: usize = 256;
/// Texts of certificates.
const MAX_ROOTS: usize = 32;
const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(24 * 60 * 60);

impl TransportConfig {
    /// Refuses values that no transport could use. What depends on the machine, as whether a port is free, shows when
    /// sync starts or the running transports are changed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`]; the reason begins with the path of the field.
    pub fn validate(&self) -> Result<(), DittoError> {
        let connect = &self.connect;
        for (field, count, limit) in [
            ("connect.tcp_servers", connect.tcp_servers.len(), MAX_ADDRESSES),
            ("connect.websocket_urls", connect.websocket_urls.len(), MAX_ADDRESSES),
            ("connect.extra_roots", connect.extra_roots.len(), MAX_ROOTS),
        ] {
            if count > limit {
                return invalid(field, format!("{count} entries, the limit is {limit}"));
            }
        }
        for pem in &connect.extra_roots {
            if let Err(reason) = ditto_net::parse_root_certificates(pem) {
                return invalid("connect.extra_roots", reason);
            }
        }
        for server in &connect.tcp_servers {
            if !is_host_and_port(server) {
                return invalid("connect.tcp_servers", format!("`{}` is not host:port", shown(server)));
            }
        }
        for url in &connect.websocket_urls {
            if url.len() > MAX_ADDRESS {
                return invalid("connect.websocket_urls", format!("`{}` is too long", shown(url)));
            }
            if let Err(reason) = ditto_net::check_websocket_url(url) {
                return invalid("connect.websocket_urls", format!("`{}`: {reason}", shown(url)));
            }
        }
        if !(MIN_RETRY..=MAX_RETRY).contains(&connect.retry_interval) {
            let value = connect.retry_interval;
            return invalid("connect.retry_interval", format!("{value:?} is not from 100 ms to a day"));
        }
        // Also those of listeners that are off, so that switching one on later cannot fail for them.
        for (field, ip) in [
            ("listen.tcp.interface_ip", &self.listen.tcp.interface_ip),
            ("listen.http.interface_ip", &self.listen.http.interface_ip),
        ] {
            if parse_ip(ip).is_none() {
                return invalid(field, format!("`{}` is not an IP address", shown(ip)));
            }
        }
        let http = &self.listen.http;
        for (field, path) in [
            ("listen.http.static_content_path", &http.static_content_path),
            ("listen.http.tls_key_path", &http.tls_key_path),
            ("listen.http.tls_certificate_path", &http.tls_certificate_path),
        ] {
            if path.as_ref().is_some_and(|p| p.as_os_str().is_empty()) {
                return invalid(field, "empty".to_owned());
            }
        }
        let missing = |path: &Option<PathBuf>| path.is_none();
        match (missing(&http.tls_key_path), missing(&http.tls_certificate_path)) {
            (true, false) => invalid("listen.http.tls_key_path", "absent, with a certificate".to_owned()),
            (false, true) => invalid("listen.http.tls_certificate_path", "absent, with a key".to_owned()),
            _ => Ok(()),
        }
    }
}

fn invalid(field: &str, what: String) -> Result<(), DittoError> {
    Err(DittoError::new(ErrorKind::InvalidConfig, format!("{field}: {what}")))
}

/// The beginning of a text of any length. A query may hold a token, which is not for logs.
fn shown(text: &str) -> String {
    text.split('?').next().unwrap_or_default().chars().take(80).collect()
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_is_fine = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(ip) => ip.split('%').next().is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]:/?#@".contains(c))
        }
    };
    text.len() <= MAX_ADDRESS && host_is_fine && port.parse::<u16>().is_ok_and(|p| p != 0)
}

/// An IPv6 address may stand in brackets.
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}
