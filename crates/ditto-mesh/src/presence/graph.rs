//! The presence graph that apps see.

use std::collections::BTreeMap;

use ditto_types::{Object, Value};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::peer_key::PeerKey;
use crate::transport::LinkKind;

/// The mesh as seen from here (API-143).
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceGraph {
    /// This peer.
    pub local_peer: PresencePeer,
    /// Every peer that can be reached, directly or through others, ordered by key.
    pub remote_peers: Vec<PresencePeer>,
}

impl PresenceGraph {
    /// Every connection of the graph, each once, by its id (API-146).
    pub fn all_connections_by_id(&self) -> BTreeMap<&str, &PresenceConnection> {
        let peers = std::iter::once(&self.local_peer).chain(&self.remote_peers);
        peers.flat_map(|p| &p.connections).map(|c| (c.id.as_str(), c)).collect()
    }
}

/// One instance in the mesh (API-151).
#[derive(Clone, Debug, PartialEq)]
pub struct PresencePeer {
    /// Its stable name.
    pub peer_key: PeerKey,
    /// As it calls itself, at most [`crate::MAX_DEVICE_NAME`] bytes; not unique.
    pub device_name: String,
    /// Operating system (API-164); `None` while unknown.
    pub os: Option<String>,
    /// Whether it has a live link to a server.
    pub is_connected_to_ditto_server: bool,
    /// Whether it speaks our protocol; `None` while unknown.
    pub is_compatible: Option<bool>,
    /// Version of its SDK; `None` while unknown.
    pub ditto_sdk_version: Option<String>,
    /// Metadata that its app has set; always an object.
    pub peer_metadata: Value,
    /// Metadata that the authentication service vouches for; always an object.
    pub identity_service_metadata: Value,
    /// The query overlap group that its app has put it into, 0 by default (API-470).
    pub query_overlap_group: u8,
    /// Its live connections, ordered by id.
    pub connections: Vec<PresenceConnection>,
}

/// A live link between two peers (API-173).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresenceConnection {
    /// The same on both ends and for ever, for this pair and this kind.
    pub id: String,
    /// The end with the smaller key.
    pub peer1: PeerKey,
    /// The other end.
    pub peer2: PeerKey,
    /// What carries it.
    pub connection_type: LinkKind,
}

impl PresenceConnection {
    /// The connection between two peers, in either order.
    pub fn between(a: PeerKey, b: PeerKey, connection_type: LinkKind) -> Self {
        let (peer1, peer2) = if a <= b { (a, b) } else { (b, a) };
        Self::named(peer1, peer2, connection_type, &peer1.to_string(), &peer2.to_string())
    }

    /// The same with the texts of both keys, the smaller first: whoever makes a whole graph has them.
    pub(super) fn named(
        peer1: PeerKey,
        peer2: PeerKey,
        connection_type: LinkKind,
        text1: &str,
        text2: &str,
    ) -> Self {
        let id = [text1, "<->", text2, ":", connection_type.as_str()].concat();
        Self { id, peer1, peer2, connection_type }
    }
}

impl Serialize for PresencePeer {
    /// Both the present and the former name of keys that were renamed (API-163).
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut o = s.serialize_struct("Peer", 12)?;
        o.serialize_field("peerKey", &self.peer_key)?;
        o.serialize_field("peerKeyString", &self.peer_key)?;
        o.serialize_field("deviceName", &self.device_name)?;
        match &self.os {
            Some(os) => o.serialize_field("os", os)?,
            None => o.skip_field("os")?,
        }
        o.serialize_field("isConnectedToDittoServer", &self.is_connected_to_ditto_server)?;
        o.serialize_field("isConnectedToDittoCloud", &self.is_connected_to_ditto_server)?;
        o.serialize_field("isCompatible", &self.is_compatible)?;
        o.serialize_field("dittoSdkVersion", &self.ditto_sdk_version)?;
        o.serialize_field("peerMetadata", &self.peer_metadata)?;
        o.serialize_field("identityServiceMetadata", &self.identity_service_metadata)?;
        o.serialize_field("queryOverlapGroup", &self.query_overlap_group)?;
        o.serialize_field("connections", &self.connections)?;
        o.end()
    }
}

impl Serialize for PresenceConnection {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut o = s.serialize_struct("Connection", 6)?;
        o.serialize_field("id", &self.id)?;
        o.serialize_field("peer1", &self.peer1)?;
        o.serialize_field("peer2", &self.peer2)?;
        o.serialize_field("peerKeyString1", &self.peer1)?;
        o.serialize_field("peerKeyString2", &self.peer2)?;
        o.serialize_field("connectionType", self.connection_type.as_str())?;
        o.end()
    }
}

/// An empty object, for metadata.
pub(crate) fn empty() -> Value {
    Value::Object(Object::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn key(i: u8) -> PeerKey {
        Identity::generate(&mut |out| out.fill(i)).peer_key()
    }

    fn peer(i: u8, connections: Vec<PresenceConnection>) -> PresencePeer {
        PresencePeer {
            peer_key: key(i),
            device_name: String::new(),
            os: None,
            is_connected_to_ditto_server: false,
            is_compatible: Some(true),
            ditto_sdk_version: None,
            peer_metadata: empty(),
            identity_service_metadata: empty(),
            query_overlap_group: 0,
            connections,
        }
    }

    #[test]
    fn json_has_the_documented_keys() {
        let between = PresenceConnection::between(key(2), key(1), LinkKind::Bluetooth);
        let g =
            PresenceGraph { local_peer: peer(1, vec![between.clone()]), remote_peers: vec![peer(2, vec![])] };
        let j = serde_json::to_value(&g).unwrap();
        let local = j["localPeer"].as_object().unwrap();
        for k in [
            "peerKey",
            "peerKeyString",
            "deviceName",
            "isConnectedToDittoServer",
            "isConnectedToDittoCloud",
            "isCompatible",
            "dittoSdkVersion",
            "peerMetadata",
            "identityServiceMetadata",
            "queryOverlapGroup",
            "connections",
        ] {
            assert!(local.contains_key(k), "{k}");
        }
        assert!(!local.contains_key("os"));
        let c = &local["connections"][0];
        assert_eq!(c["connectionType"], "Bluetooth");
        assert_eq!(c["peer1"], c["peerKeyString1"]);
        assert_eq!(PresenceConnection::between(key(1), key(2), LinkKind::Bluetooth), between);
        assert_eq!(j["remotePeers"].as_array().unwrap().len(), 1);
        assert_eq!(g.all_connections_by_id().len(), 1);
    }
}
