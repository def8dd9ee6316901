//! From a transport config to what the mesh machine and the network run.

use std::net::SocketAddr;

use ditto_mesh::transport::{DialTarget, NetEvent};
use ditto_net::{HttpConfig, MdnsConfig, MulticastConfig, MulticastScope, NetConfig, NetError, TlsFiles};
use ditto_types::{DatabaseId, ErrorKind};

use crate::DittoError;
use crate::radio::{self, RadioTransport, Radios};
use crate::transport_config::{TransportConfig, parse_ip};

/// What a running mesh machine takes from a transport config.
pub(crate) struct MeshSettings {
    pub(crate) targets: Vec<DialTarget>,
    pub(crate) retry_interval: u64,
    pub(crate) sync_group: u32,
    /// What users should know of transports that cannot run.
    pub(crate) conditions: Vec<NetEvent>,
}

pub(crate) fn mesh_settings(config: &TransportConfig, radios: &Radios) -> MeshSettings {
    MeshSettings {
        targets: targets(config),
        retry_interval: u64::try_from(config.connect.retry_interval.as_millis()).unwrap_or(u64::MAX),
        sync_group: config.global.sync_group,
        conditions: conditions(config, radios),
    }
}

fn targets(config: &TransportConfig) -> Vec<DialTarget> {
    let connect = &config.connect;
    let tcp = connect.tcp_servers.iter().cloned().map(DialTarget::Tcp);
    tcp.chain(connect.websocket_urls.iter().cloned().map(DialTarget::WebSocket)).collect()
}

/// Radios that are switched on and have no driver in this process.
fn conditions(config: &TransportConfig, radios: &Radios) -> Vec<NetEvent> {
    let missing = RadioTransport::ALL.into_iter().filter(|transport| {
        transport.is_expected() && transport.is_enabled(config) && !radios.contains_key(transport)
    });
    missing
        .map(|transport| NetEvent::Condition {
            source: transport.name().to_owned(),
            text: "switched on, but this process has no driver for it".to_owned(),
        })
        .collect()
}

/// What the network runs, for an instance that is announced under `token`.
pub(crate) fn net_config(
    config: &TransportConfig,
    radios: &Radios,
    database: &DatabaseId,
    token: &str,
) -> NetConfig {
    let lan = &config.peer_to_peer.lan;
    NetConfig {
        listen: listen_address(config),
        mdns: (lan.enabled && lan.mdns_enabled).then(|| MdnsConfig {
            service_type: ditto_mesh::discovery_service_type(database, config.global.sync_group),
            token: token.to_owned(),
        }),
        multicast: (lan.enabled && lan.multicast_enabled).then(|| {
            let scope = ditto_mesh::discovery_scope(database, config.global.sync_group);
            MulticastConfig::new(MulticastScope(scope), token.to_owned())
        }),
        radios: radio::in_use(config, radios, database, token),
        http: http_config(config),
        routing_hint: config.global.routing_hint,
        extra_roots: extra_roots(config),
    }
}

fn extra_roots(config: &TransportConfig) -> Vec<Vec<u8>> {
    // Validation has refused what is no certificate.
    let texts = config.connect.extra_roots.iter();
    texts.filter_map(|pem| ditto_net::parse_root_certificates(pem).ok()).flatten().collect()
}

fn http_config(config: &TransportConfig) -> Option<HttpConfig> {
    let http = &config.listen.http;
    // Validation has refused one without the other.
    let tls = http.tls_certificate_path.clone().zip(http.tls_key_path.clone());
    http.enabled.then_some(())?;
    Some(HttpConfig {
        address: socket_address(&http.interface_ip, http.port)?,
        websocket: http.websocket_sync,
        static_content: http.static_content_path.clone(),
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
    })
}

/// A configured address, or any free port for the LAN transport.
fn listen_address(config: &TransportConfig) -> Option<String> {
    let tcp = &config.listen.tcp;
    if tcp.enabled {
        socket_address(&tcp.interface_ip, tcp.port)
    } else {
        config.peer_to_peer.lan.enabled.then(|| "[::]:0".to_owned())
    }
}

fn socket_address(ip: &str, port: u16) -> Option<String> {
    // Validation has refused what is no address.
    parse_ip(ip).map(|ip| SocketAddr::new(ip, port).to_string())
}

/// Names the field that a failure of the network is about.
pub(crate) fn net_error(e: NetError) -> DittoError {
    match e {
        NetError::Listen { listener, address, source } => {
            let field = if listener == "HTTP" { "listen.http" } else { "listen.tcp" };
            let reason = format!("{field}: cannot listen on {address}");
            // A port that is in use exists already, as a file would (API, table E).
            let kind = match source.kind() {
                std::io::ErrorKind::AddrInUse => ErrorKind::IoAlreadyExists,
                _ => ErrorKind::of_io(&source),
            };
            DittoError::with_source(kind, reason, source)
        }
        NetError::StaticContent { .. } => invalid("listen.http.static_content_path", &e),
        NetError::TlsFile { is_key: true, .. } => invalid("listen.http.tls_key_path", &e),
        NetError::TlsFile { is_key: false, .. } => invalid("listen.http.tls_certificate_path", &e),
        e => DittoError::new(ErrorKind::Io, format!("cannot start the transports: {e}")),
    }
}

fn invalid(field: &str, e: &NetError) -> DittoError {
    DittoError::new(ErrorKind::InvalidConfig, format!("{field}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_config() {
        let mut c = TransportConfig::new();
        assert_eq!(listen_address(&c), None);
        c.peer_to_peer.lan.enabled = true;
        assert_eq!(listen_address(&c).as_deref(), Some("[::]:0"));
        for (ip, want) in [("[::1]", "[::1]:7"), ("::1", "[::1]:7"), ("127.0.0.1", "127.0.0.1:7")] {
            c.enable_tcp_listen(ip, 7);
            assert_eq!(listen_address(&c).as_deref(), Some(want));
        }
    }
}
