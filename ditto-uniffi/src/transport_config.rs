//! Which transports an instance uses.

use std::path::PathBuf;
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
    /// Bluetooth Low Energy.
    pub bluetooth_le: BluetoothLeConfig,
    /// TCP on the local network.
    pub lan: LanConfig,
    /// Peer-to-peer Wi-Fi of Apple devices.
    pub awdl: AwdlConfig,
    /// Wi-Fi Aware of Android devices.
    pub wifi_aware: WifiAwareConfig,
}

/// Bluetooth Low Energy: 10 to 30 m, little power, no pairing.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct BluetoothLeConfig {
    /// On or off. Where there is no adapter a condition event says so and nothing else happens.
    pub enabled: bool,
}

/// Apple Wireless Direct Link, the layer below AirDrop.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AwdlConfig {
    /// On or off; ignored on other platforms than Apple's.
    pub enabled: bool,
}

/// Wi-Fi Aware, also called NAN.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct WifiAwareConfig {
    /// On or off; ignored on other platforms than Android.
    pub enabled: bool,
}

/// TCP on the local network.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LanConfig {
    /// On or off.
    pub enabled: bool,
    /// Find peers by mDNS, while enabled.
    pub mdns_enabled: bool,
    /// Find peers by datagrams to a multicast group, while enabled.
    pub multicast_enabled: bool,
}

/// Outgoing connections to known addresses.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Connect {
    /// The host:port of each peer to dial, in order of text and each once.
    pub tcp_servers: Vec<String>,
    /// The ws or wss URL of each peer to dial, in order of text and each once.
    pub websocket_urls: Vec<String>,
    /// PEM text of certificates that are trusted for wss beside those of the system, as that of an organisation's own
    /// authority; each entry has 1 to 32. In order of text and each once.
    pub extra_roots: Vec<String>,
    /// Longest time between attempts in milliseconds, from 100 to a day; jitter is added.
    pub retry_interval_ms: u64,
}

/// Listeners on known addresses.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Listen {
    /// A TCP listener.
    pub tcp: TcpListenConfig,
    /// An HTTP listener.
    pub http: HttpListenConfig,
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

/// An HTTP listener. With key and certificate it speaks HTTPS, TLS 1.3.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct HttpListenConfig {
    /// On or off.
    pub enabled: bool,
    /// Address to listen on; `[::]` is every interface.
    pub interface_ip: String,
    /// Port; 0 picks a free one.
    pub port: u16,
    /// Takes WebSocket connections of peers, on every path.
    pub websocket_sync: bool,
    /// Folder whose files are served.
    pub static_content_path: Option<String>,
    /// PEM file of the key. Needs the certificate too.
    pub tls_key_path: Option<String>,
    /// PEM file of the certificate and what leads from it to a root. Needs the key too.
    pub tls_certificate_path: Option<String>,
}

/// Settings for all transports.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Global {
    /// Only devices of the same group connect by themselves. Not a security feature.
    pub sync_group: u32,
    /// Sent with every WebSocket connection that is made, for load balancers; 0 sends none.
    pub routing_hint: u32,
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
        let (p2p, tcp, http) = (&c.peer_to_peer, &c.listen.tcp, &c.listen.http);
        let text = |path: &Option<PathBuf>| path.as_ref().map(|p| p.to_string_lossy().into_owned());
        Self {
            peer_to_peer: PeerToPeer {
                bluetooth_le: BluetoothLeConfig { enabled: p2p.bluetooth_le.enabled },
                lan: LanConfig {
                    enabled: p2p.lan.enabled,
                    mdns_enabled: p2p.lan.mdns_enabled,
                    multicast_enabled: p2p.lan.multicast_enabled,
                },
                awdl: AwdlConfig { enabled: p2p.awdl.enabled },
                wifi_aware: WifiAwareConfig { enabled: p2p.wifi_aware.enabled },
            },
            connect: Connect {
                tcp_servers: c.connect.tcp_servers.iter().cloned().collect(),
                websocket_urls: c.connect.websocket_urls.iter().cloned().collect(),
                extra_roots: c.connect.extra_roots.iter().cloned().collect(),
                retry_interval_ms: u64::try_from(c.connect.retry_interval.as_millis()).unwrap_or(u64::MAX),
            },
            listen: Listen {
                tcp: TcpListenConfig {
                    enabled: tcp.enabled,
                    interface_ip: tcp.interface_ip.clone(),
                    port: tcp.port,
                },
                http: HttpListenConfig {
                    enabled: http.enabled,
                    interface_ip: http.interface_ip.clone(),
                    port: http.port,
                    websocket_sync: http.websocket_sync,
                    static_content_path: text(&http.static_content_path),
                    tls_key_path: text(&http.tls_key_path),
                    tls_certificate_path: text(&http.tls_certificate_path),
                },
            },
            global: Global { sync_group: c.global.sync_group, routing_hint: c.global.routing_hint },
        }
    }
}

impl TransportConfig {
    /// Writes every setting that this surface has over those of the core; others stay.
    pub(crate) fn write_to(&self, c: &mut ditto::TransportConfig) {
        c.peer_to_peer.bluetooth_le.enabled = self.peer_to_peer.bluetooth_le.enabled;
        c.peer_to_peer.awdl.enabled = self.peer_to_peer.awdl.enabled;
        c.peer_to_peer.wifi_aware.enabled = self.peer_to_peer.wifi_aware.enabled;
        c.peer_to_peer.lan.multicast_enabled = self.peer_to_peer.lan.multicast_enabled;
        c.peer_to_peer.lan.enabled = self.peer_to_peer.lan.enabled;
        c.peer_to_peer.lan.mdns_enabled = self.peer_to_peer.lan.mdns_enabled;
        c.connect.tcp_servers = self.connect.tcp_servers.iter().cloned().collect();
        c.connect.websocket_urls = self.connect.websocket_urls.iter().cloned().collect();
        c.connect.extra_roots = self.connect.extra_roots.iter().cloned().collect();
        c.connect.retry_interval = Duration::from_millis(self.connect.retry_interval_ms);
        c.listen.tcp.enabled = self.listen.tcp.enabled;
        c.listen.tcp.interface_ip = self.listen.tcp.interface_ip.clone();
        c.listen.tcp.port = self.listen.tcp.port;
        let (http, own) = (&mut c.listen.http, &self.listen.http);
        http.enabled = own.enabled;
        http.interface_ip = own.interface_ip.clone();
        http.port = own.port;
        http.websocket_sync = own.websocket_sync;
        http.static_content_path = own.static_content_path.as_ref().map(PathBuf::from);
        http.tls_key_path = own.tls_key_path.as_ref().map(PathBuf::from);
        http.tls_certificate_path = own.tls_certificate_path.as_ref().map(PathBuf::from);
        c.global.sync_group = self.global.sync_group;
        c.global.routing_hint = self.global.routing_hint;
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
        config.listen.http = HttpListenConfig {
            enabled: true,
            interface_ip: "::1".into(),
            port: 8080,
            websocket_sync: true,
            static_content_path: Some("web".into()),
            tls_key_path: Some("key".into()),
            tls_certificate_path: Some("certificate".into()),
        };
        config.connect.websocket_urls = vec!["wss://a/".into()];
        config.connect.extra_roots = vec!["a certificate".into()];
        config.peer_to_peer.lan.multicast_enabled = false;
        config.peer_to_peer.awdl.enabled = true;
        config.peer_to_peer.wifi_aware.enabled = true;
        config.global = Global { sync_group: 7, routing_hint: 8 };
        let mut core = ditto::TransportConfig::new();
        config.write_to(&mut core);
        assert_eq!(TransportConfig::from(&core), config);
    }
}
