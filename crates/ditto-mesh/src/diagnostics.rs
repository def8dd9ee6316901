//! What the links are doing now, for people and programs that look for faults (API-279 to API-293).

use serde::Serialize;

use crate::peer_key::PeerKey;
use crate::transport::{LinkKind, Role};

/// Snapshots of all transports (API-280).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TransportDiagnostics {
    /// One per kind of link that is on or was used since the start of sync.
    pub transports: Vec<TransportSnapshot>,
}

/// One transport (API-286). A peer appears once per link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransportSnapshot {
    /// A label as `TCP` or `Bluetooth`; not the connection type of the presence graph (API-285).
    pub connection_type: String,
    /// What carries the links.
    #[serde(skip)]
    pub kind: LinkKind,
    /// Peers that are being dialled, or whose proof is not verified yet.
    pub connecting: Vec<TransportPeer>,
    /// Connected peers, those whose link is a standby included.
    pub connected: Vec<TransportPeer>,
    /// Peers whose link is closing. A link closes at once, so there are none in this release.
    pub disconnecting: Vec<TransportPeer>,
    /// Links that ended since the start of sync, newest last; at most 64 of all transports.
    pub disconnected: Vec<TransportPeer>,
}

/// One end of a link, as seen from here.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportPeer {
    /// The peer, once it has proven its key.
    pub peer_key: Option<PeerKey>,
    /// A 64-bit number that stands for the peer, derived from its key.
    pub site_id: Option<u64>,
    /// Address of the other side, or of the dial.
    pub address: String,
    /// Whether we dialled.
    pub is_outgoing: bool,
    /// Unix milliseconds since when the link is in this state.
    pub since_ms: u64,
    /// Round trip of the last ping in milliseconds.
    pub round_trip_ms: Option<u64>,
    /// The peer's wall clock minus ours in milliseconds, exact to half a round trip.
    pub clock_offset_ms: Option<i64>,
}

impl TransportDiagnostics {
    /// How many transports have at least one connected peer (API-282).
    pub fn active_transports(&self) -> usize {
        self.transports.iter().filter(|t| t.is_active()).count()
    }

    /// Connected peers over all transports; a peer on two counts twice (API-283).
    pub fn total_connected_peers(&self) -> usize {
        self.transports.iter().map(|t| t.connected.len()).sum()
    }

    /// The snapshot with this label (API-284).
    pub fn transport_by_type(&self, connection_type: &str) -> Option<&TransportSnapshot> {
        self.transports.iter().find(|t| t.connection_type == connection_type)
    }
}

impl TransportSnapshot {
    /// A transport without peers.
    pub fn new(kind: LinkKind) -> Self {
        Self {
            connection_type: label(kind).to_owned(),
            kind,
            connecting: Vec::new(),
            connected: Vec::new(),
            disconnecting: Vec::new(),
            disconnected: Vec::new(),
        }
    }

    /// Whether any peer is connecting, connected or disconnecting (API-291).
    pub fn has_activity(&self) -> bool {
        !(self.connecting.is_empty() && self.connected.is_empty() && self.disconnecting.is_empty())
    }

    /// Whether any peer is connected (API-292).
    pub fn is_active(&self) -> bool {
        !self.connected.is_empty()
    }

    /// Peers in all four states (API-293).
    pub fn total_peers(&self) -> usize {
        self.connecting.len() + self.connected.len() + self.disconnecting.len() + self.disconnected.len()
    }
}

impl TransportPeer {
    pub(crate) fn new(peer_key: Option<PeerKey>, address: String, role: Role, since_ms: u64) -> Self {
        Self {
            peer_key,
            site_id: peer_key.map(|k| u64::from_le_bytes(k.short_id())),
            address,
            is_outgoing: role == Role::Dialer,
            since_ms,
            round_trip_ms: None,
            clock_offset_ms: None,
        }
    }
}

fn label(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::AccessPoint => "TCP",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_json_are_as_documented() {
        let peer = || TransportPeer::new(None, "192.0.2.1:4040".into(), Role::Dialer, 5);
        let mut tcp = TransportSnapshot::new(LinkKind::AccessPoint);
        assert!(!tcp.has_activity() && !tcp.is_active());
        tcp.disconnected.push(peer());
        assert!(!tcp.has_activity());
        tcp.connecting.push(peer());
        assert!(tcp.has_activity() && !tcp.is_active());
        tcp.connected.push(peer());
        let idle = TransportSnapshot::new(LinkKind::Bluetooth);
        let all = TransportDiagnostics { transports: vec![tcp, idle] };
        assert_eq!((all.active_transports(), all.total_connected_peers()), (1, 1));
        assert_eq!(all.transport_by_type("TCP").map(TransportSnapshot::total_peers), Some(3));
        assert!(all.transport_by_type("AccessPoint").is_none());
        let json = serde_json::to_value(&all).unwrap();
        let keys: Vec<&String> = json["transports"][0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["connected", "connecting", "connection_type", "disconnected", "disconnecting"]);
        assert_eq!(json["transports"][0]["connected"][0]["address"], "192.0.2.1:4040");
    }
}
