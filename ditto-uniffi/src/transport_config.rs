//! Which transports an instance uses.

use std::time::Duration;

/// Transports and their settings. In a fresh value everything is off; a new instance starts with all peer-to-peer
/// transports of the platform on.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
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
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PeerToPeer {
    /// TCP on the local network.
    pub lan: LanConfig,
}

/// TCP on the local network.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LanConfig {
    /// On or off.
    pub enabled: bool,
    /// Find peers by mDNS, while enabled.
    pub mdns_enabled: bool,
}

/// Outgoing connections to known addresses.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Connect {
    /// The host:port of each peer to dial, in order of text and each once.
    pub tcp_servers: Vec<String>,
    /// Milliseconds between attempts; jitter is added.
    pub retry_interval_ms: u64,
}

/// Listeners on known addresses.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Listen {
    /// A TCP listener.
    pub tcp: TcpListenConfig,
}

/// A TCP listener.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TcpListenConfig {
    /// On or off.
    pub enabled: bool,
    /// Address to listen on; `[::]` is every interface.
    pub interface_ip: String,
    /// Port; 0 picks a free one.
    pub port: u16,
}

/// Settings for all transports.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Global {
    /// Only devices of the same group connect by themselves. Not a security feature.
    pub sync_group: u32,
}

/// A config with everything off.
#[uniffi::export]
pub fn new_transport_config() -> TransportConfig {
    (&ditto::TransportConfig::new()).into()
}

/// A config with every peer-to-peer transport that this platform has switched on.
#[uniffi::export]
pub fn peer_to_peer_transport_config() -> TransportConfig {
    let mut config = ditto::TransportConfig::new();
    config.enable_all_peer_to_peer();
    (&config).into()
}

impl From<&ditto::TransportConfig> for TransportConfig {
    fn from(c: &ditto::TransportConfig) -> Self {
        let lan = &c.peer_to_peer.lan;
        let tcp = &c.listen.tcp;
        Self {
            peer_to_peer: PeerToPeer {
                lan: LanConfig { enabled: lan.enabled, mdns_enabled: lan.mdns_enabled },
            },
            connect: Connect {
                tcp_servers: c.connect.tcp_servers.iter().cloned().collect(),
                retry_interval_ms: u64::try_from(c.connect.retry_interval.as_millis()).unwrap_or(u64::MAX),
            },
            listen: Listen {
                tcp: TcpListenConfig {
                    enabled: tcp.enabled,
                    interface_ip: tcp.interface_ip.clone(),
                    port: tcp.port,
                },
            },
            global: Global { sync_group: c.global.sync_group },
        }
    }
}

impl TransportConfig {
    /// Writes every setting that this surface has over those of the core; others stay.
    pub(crate) fn write_to(&self, c: &mut ditto::TransportConfig) {
        c.peer_to_peer.lan.enabled = self.peer_to_peer.lan.enabled;
        c.peer_to_peer.lan.mdns_enabled = self.peer_to_peer.lan.mdns_enabled;
        c.connect.tcp_servers = self.connect.tcp_servers.iter().cloned().collect();
        c.connect.retry_interval = Duration::from_millis(self.connect.retry_interval_ms);
        c.listen.tcp.enabled = self.listen.tcp.enabled;
        c.listen.tcp.interface_ip = self.listen.tcp.interface_ip.clone();
        c.listen.tcp.port = self.listen.tcp.port;
        c.global.sync_group = self.global.sync_group;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_through_the_core() {
        let mut config = peer_to_peer_transport_config();
        assert!(config.peer_to_peer.lan.enabled);
        assert!(!new_transport_config().peer_to_peer.lan.enabled);
        config.connect.tcp_servers = vec!["127.0.0.1:1".into(), "127.0.0.1:2".into()];
        config.connect.retry_interval_ms = 1500;
        config.listen.tcp = TcpListenConfig { enabled: true, interface_ip: "127.0.0.1".into(), port: 0 };
        config.global.sync_group = 7;
        let mut core = ditto::TransportConfig::new();
        config.write_to(&mut core);
        assert_eq!(TransportConfig::from(&core), config);
    }
}
