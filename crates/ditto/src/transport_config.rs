//! Which transports an instance uses.

mod codec;
mod validate;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use validate::parse_ip;

/// Transports and their settings (API-222). Several may be on at once.
///
/// A fresh value has everything off; a new instance starts with all peer-to-peer transports of the platform on (API-227).
/// The serialised form has the field names as keys; keys that are absent stand for the default, keys that this release
/// does not know are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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

/// Direct links between devices (API-239).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
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

/// Bluetooth Low Energy: 10 to 30 m, little power, no pairing (API-244).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BluetoothLeConfig {
    /// On or off; off by default. Where there is no adapter, or no shim for it, a condition event says so and nothing
    /// else happens (API-245).
    pub enabled: bool,
}

/// TCP on the local network (API-246).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LanConfig {
    /// On or off; off by default.
    pub enabled: bool,
    /// Find peers by mDNS; on by default, effective when `enabled`.
    pub mdns_enabled: bool,
    /// Find peers by datagrams to a multicast group of our own, for networks that swallow mDNS; on by default, effective
    /// when `enabled`.
    pub multicast_enabled: bool,
}

impl Default for LanConfig {
    fn default() -> Self {
        Self { enabled: false, mdns_enabled: true, multicast_enabled: true }
    }
}

/// Apple Wireless Direct Link, the layer below AirDrop (API-250).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AwdlConfig {
    /// On or off; off by default, ignored on other platforms than Apple's.
    pub enabled: bool,
}

/// Wi-Fi Aware, also called NAN (API-252).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WifiAwareConfig {
    /// On or off; off by default, ignored on other platforms than Android.
    pub enabled: bool,
}

/// Outgoing connections to known addresses (API-254). They are made whatever the sync group of the other end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Connect {
    /// `host:port` of each peer to dial; an IPv6 address stands in brackets. Taking one out closes its connection.
    pub tcp_servers: BTreeSet<String>,
    /// `ws://` or `wss://` URL of each peer to dial. Taking one out closes its connection.
    pub websocket_urls: BTreeSet<String>,
    /// PEM text of certificates that are trusted for `wss://` beside those of the system, as that of an organisation's own
    /// authority; each entry has 1 to 32. A change counts for the next connection. Those of the system are replaced by
    /// what the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Who may sync is decided by the shared key, whatever is
    /// trusted here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub extra_roots: BTreeSet<String>,
    /// Longest time between attempts, 5 s by default, from 100 ms to a day; jitter is added. The first attempts after
    /// a connection was lost come sooner. Whole milliseconds.
    #[serde(with = "codec::milliseconds")]
    pub retry_interval: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            tcp_servers: BTreeSet::new(),
            websocket_urls: BTreeSet::new(),
            extra_roots: BTreeSet::new(),
            retry_interval: Duration::from_secs(5),
        }
    }
}

/// Listeners on known addresses: for a sync server, a bridge between networks, or to find faults (API-261). Who may
/// connect is decided by the shared key of the instance; without one a listener is open to everybody who can reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Listen {
    /// A TCP listener.
    pub tcp: TcpListenConfig,
    /// An HTTP listener.
    pub http: HttpListenConfig,
}

/// A TCP listener (API-264).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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

/// An HTTP listener (API-268). With `tls_key_path` and `tls_certificate_path` it speaks HTTPS, TLS 1.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HttpListenConfig {
    /// On or off; off by default.
    pub enabled: bool,
    /// Address to listen on; `[::]`, the default, is every interface.
    pub interface_ip: String,
    /// Port, 80 by default; 0 picks a free one.
    pub port: u16,
    /// Takes WebSocket connections of peers, on every path; off by default.
    pub websocket_sync: bool,
    /// Folder whose files are served, `index.html` for a folder. Names that begin with a dot are not, except
    /// `.well-known`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_content_path: Option<PathBuf>,
    /// PEM file of the key. Needs the certificate too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_path: Option<PathBuf>,
    /// PEM file of the certificate and what leads from it to a root. Needs the key too. When the files change, connections
    /// that come later see the new certificate; files that cannot be used change nothing, and a condition event says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate_path: Option<PathBuf>,
}

impl Default for HttpListenConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interface_ip: "[::]".to_owned(),
            port: 80,
            websocket_sync: false,
            static_content_path: None,
            tls_key_path: None,
            tls_certificate_path: None,
        }
    }
}

/// Settings for all transports (API-258).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Global {
    /// Only devices of the same group find each other; 0 by default. Configured addresses are dialled whatever the group
    /// behind them, so it is not a security feature.
    pub sync_group: u32,
    /// Sent with every WebSocket connection that is made, so that a load balancer can bring devices that share data to
    /// one server; 0, the default, sends none.
    pub routing_hint: u32,
}

impl TransportConfig {
    /// Everything off (API-227).
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches on every peer-to-peer transport that this platform can have, LAN with both ways of discovery (API-231).
    pub fn enable_all_peer_to_peer(&mut self) -> &mut Self {
        self.peer_to_peer = PeerToPeer {
            bluetooth_le: BluetoothLeConfig { enabled: true },
            lan: LanConfig { enabled: true, mdns_enabled: true, multicast_enabled: true },
            awdl: AwdlConfig { enabled: cfg!(target_vendor = "apple") },
            wifi_aware: WifiAwareConfig { enabled: cfg!(target_os = "android") },
        };
        self
    }

    /// Switches off every peer-to-peer transport; only configured addresses remain (API-232).
    pub fn disable_all_peer_to_peer(&mut self) -> &mut Self {
        let PeerToPeer { bluetooth_le, lan, awdl, wifi_aware } = &mut self.peer_to_peer;
        bluetooth_le.enabled = false;
        lan.enabled = false;
        awdl.enabled = false;
        wifi_aware.enabled = false;
        self
    }

    /// Adds a `host:port` to dial (API-228).
    pub fn add_tcp_server(&mut self, address: impl Into<String>) -> &mut Self {
        self.connect.tcp_servers.insert(address.into());
        self
    }

    /// Trusts the certificates in a PEM text for `wss://` beside those of the system.
    pub fn add_extra_root(&mut self, pem: impl Into<String>) -> &mut Self {
        self.connect.extra_roots.insert(pem.into());
        self
    }

    /// Adds a `ws://` or `wss://` URL to dial (API-229).
    pub fn add_websocket_url(&mut self, url: impl Into<String>) -> &mut Self {
        self.connect.websocket_urls.insert(url.into());
        self
    }

    /// Replaces the URLs to dial (API-230).
    pub fn set_websocket_urls<U: Into<String>>(&mut self, urls: impl IntoIterator<Item = U>) -> &mut Self {
        self.connect.websocket_urls = urls.into_iter().map(Into::into).collect();
        self
    }

    /// Listens on an address for TCP (API-234).
    pub fn enable_tcp_listen(&mut self, interface_ip: impl Into<String>, port: u16) -> &mut Self {
        self.listen.tcp = TcpListenConfig { enabled: true, interface_ip: interface_ip.into(), port };
        self
    }

    /// Listens on an address for HTTP, and with `websocket_sync` for WebSocket connections of peers (API-233). Static
    /// content and TLS stay as they are.
    pub fn enable_http_listen(
        &mut self,
        interface_ip: impl Into<String>,
        port: u16,
        websocket_sync: bool,
    ) -> &mut Self {
        let http = &mut self.listen.http;
        http.enabled = true;
        http.interface_ip = interface_ip.into();
        http.port = port;
        http.websocket_sync = websocket_sync;
        self
    }

    /// Makes the HTTP listener speak HTTPS, with PEM files of the certificate and its key (API-235). The port stays as it
    /// is.
    pub fn set_http_tls(&mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> &mut Self {
        self.listen.http.tls_certificate_path = Some(certificate.into());
        self.listen.http.tls_key_path = Some(key.into());
        self
    }

    /// Serves the files of a folder on the HTTP listener (API-236).
    pub fn set_static_content_path(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.listen.http.static_content_path = Some(folder.into());
        self
    }

    /// Sets the sync group (API-237).
    pub fn set_sync_group(&mut self, group: u32) -> &mut Self {
        self.global.sync_group = group;
        self
    }

    /// Sets the routing hint; 0 is none (API-260).
    pub fn set_routing_hint(&mut self, hint: u32) -> &mut Self {
        self.global.routing_hint = hint;
        self
    }
}
