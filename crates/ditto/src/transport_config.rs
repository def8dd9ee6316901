//! Which transports an instance uses.

use std::collections::BTreeSet;
use std::time::Duration;

use ditto_types::ErrorKind;

use crate::DittoError;

/// Transports and their settings (API-222). A fresh value has everything off; a new instance starts with all
/// peer-to-peer transports of the platform on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportConfig {
    /// Direct links between devices.
    pub peer_to_peer: PeerToPeer,
    /// Outgoing connections to known addresses.
    pub connect: Connect,
    /// Listeners on known addresses.
    pub listen: Listen,
    /// Settings for all transports.
    pub global: Global,
}

/// Direct links between devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerToPeer {
    /// TCP on the local network.
    pub lan: LanConfig,
}

/// TCP on the local network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LanConfig {
    /// On or off; off by default.
    pub enabled: bool,
    /// Find peers by mDNS; on by default, effective when `enabled`.
    pub mdns_enabled: bool,
}

impl Default for LanConfig {
    fn default() -> Self {
        Self { enabled: false, mdns_enabled: true }
    }
}

/// Outgoing connections to known addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connect {
    /// `host:port` of each peer to dial.
    pub tcp_servers: BTreeSet<String>,
    /// Time between attempts, 5 s by default; jitter is added.
    pub retry_interval: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Self { tcp_servers: BTreeSet::new(), retry_interval: Duration::from_secs(5) }
    }
}

/// Listeners on known addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// A TCP listener.
    pub tcp: TcpListenConfig,
}

/// A TCP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpListenConfig {
    /// On or off; off by default.
    pub enabled: bool,
    /// Address to listen on; `[::]`, the default, is every interface.
    pub interface_ip: String,
    /// Port, 4040 by default; 0 picks a free one.
    pub port: u16,
}

impl Default for TcpListenConfig {
    fn default() -> Self {
        Self { enabled: false, interface_ip: "[::]".to_owned(), port: 4040 }
    }
}

/// Settings for all transports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Global {
    /// Only devices of the same group find each other; 0 by default. Configured addresses are dialled whatever the group
    /// behind them, so it is not a security feature.
    pub sync_group: u32,
}

impl TransportConfig {
    /// Everything off (API-227).
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches on every peer-to-peer transport that this platform has (API-231).
    pub fn enable_all_peer_to_peer(&mut self) -> &mut Self {
        self.peer_to_peer.lan = LanConfig { enabled: true, mdns_enabled: true };
        self
    }

    /// Switches off every peer-to-peer transport (API-232).
    pub fn disable_all_peer_to_peer(&mut self) -> &mut Self {
        self.peer_to_peer.lan.enabled = false;
        self
    }

    /// Adds a `host:port` to dial (API-228).
    pub fn add_tcp_server(&mut self, address: impl Into<String>) -> &mut Self {
        self.connect.tcp_servers.insert(address.into());
        self
    }

    /// Listens on `host:port` for TCP (API-234).
    pub fn enable_tcp_listen(&mut self, interface_ip: impl Into<String>, port: u16) -> &mut Self {
        self.listen.tcp = TcpListenConfig { enabled: true, interface_ip: interface_ip.into(), port };
        self
    }

    /// Sets the sync group (API-237).
    pub fn set_sync_group(&mut self, group: u32) -> &mut Self {
        self.global.sync_group = group;
        self
    }

    /// Refuses values that no transport could use, naming the field.
    pub(crate) fn validate(&self) -> Result<(), DittoError> {
        for server in &self.connect.tcp_servers {
            let valid = server
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0));
            if !valid {
                return Err(DittoError::new(
                    ErrorKind::InvalidConfig,
                    format!("connect.tcp_servers: `{server}` is not host:port"),
                ));
            }
        }
        let ip = self.listen.tcp.interface_ip.trim_start_matches('[').trim_end_matches(']');
        if self.listen.tcp.enabled && ip.parse::<std::net::IpAddr>().is_err() {
            return Err(DittoError::new(
                ErrorKind::InvalidConfig,
                format!("listen.tcp.interface_ip: `{}` is not an address", self.listen.tcp.interface_ip),
            ));
        }
        Ok(())
    }

    /// The address to listen on, if any: a configured one, or any free port for the LAN transport.
    pub(crate) fn listen_address(&self) -> Option<String> {
        if self.listen.tcp.enabled {
            let ip = self.listen.tcp.interface_ip.trim_start_matches('[').trim_end_matches(']');
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            Some(format!("{host}:{}", self.listen.tcp.port))
        } else {
            self.peer_to_peer.lan.enabled.then(|| "[::]:0".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_fields_are_named() {
        let mut c = TransportConfig::new();
        c.add_tcp_server("nowhere");
        assert!(c.validate().unwrap_err().reason().contains("connect.tcp_servers"));
        let mut c = TransportConfig::new();
        c.enable_tcp_listen("not-an-ip", 0);
        assert!(c.validate().unwrap_err().reason().contains("interface_ip"));
        c.enable_tcp_listen("[::1]", 0);
        assert_eq!(c.listen_address().as_deref(), Some("[::1]:0"));
        assert!(c.validate().is_ok());
    }
}
