//! How records and sessions become the graph that apps see.

use std::collections::BTreeMap;

use super::graph::{Node, PresenceConnection, PresenceGraph, PresencePeer, Reach, empty, reach};
use super::{Presence, Stored, some};
use crate::api::PeerInfo;
use crate::config::display_name;
use crate::hello::PROTOCOL;
use crate::peer_key::PeerKey;
use crate::transport::LinkKind;

impl Presence {
    /// Works out the graph again; whether it has changed.
    pub(super) fn rebuild(&mut self, now: u64) -> bool {
        let mut nodes: BTreeMap<PeerKey, Node> = BTreeMap::new();
        for (key, s) in self.records.iter().filter(|(k, _)| **k != self.local) {
            nodes.insert(*key, node_of_record(s));
        }
        for (key, n) in &self.neighbours {
            nodes.entry(*key).or_insert_with(|| node_of_hello(&n.info));
        }
        let sessions = self.neighbours.iter().map(|(k, n)| (*k, n.info.link_kind)).collect();
        let reach = reach(self.local, &sessions, &nodes);
        let graph = self.make_graph(nodes, &reach, now);
        let changed = graph != self.graph;
        self.graph = graph;
        changed
    }

    fn make_graph(&mut self, mut nodes: BTreeMap<PeerKey, Node>, reach: &Reach, now: u64) -> PresenceGraph {
        let mut by_peer: BTreeMap<PeerKey, Vec<PresenceConnection>> = BTreeMap::new();
        for (a, b, kind) in &reach.connections {
            let c = PresenceConnection::between(*a, *b, *kind);
            by_peer.entry(*a).or_default().push(c.clone());
            by_peer.entry(*b).or_default().push(c);
        }
        by_peer.values_mut().for_each(|v| v.sort());

        let (mut remote_peers, mut lost) = (Vec::new(), BTreeMap::new());
        for key in &reach.peers {
            if let Some(node) = nodes.remove(key) {
                let connections = by_peer.remove(key).unwrap_or_default();
                remote_peers.push(PresencePeer { connections, ..node.peer });
            }
        }
        // Peers that were shown stay a moment without connections, so that a change of links is no departure.
        for was in self.graph.remote_peers.iter().filter(|p| !reach.peers.contains(&p.peer_key)) {
            let since = self.lost.get(&was.peer_key).copied().unwrap_or(now);
            if since + self.limits.grace > now {
                lost.insert(was.peer_key, since);
                let peer = nodes.remove(&was.peer_key).map_or_else(|| was.clone(), |n| n.peer);
                remote_peers.push(PresencePeer { connections: Vec::new(), ..peer });
            }
        }
        remote_peers.sort_by_key(|p| p.peer_key);
        self.lost = lost;
        let local_peer = PresencePeer {
            is_connected_to_ditto_server: self.neighbours.values().any(|n| n.info.is_server),
            peer_metadata: self.metadata.1.clone(),
            query_overlap_group: self.about.overlap_group,
            connections: by_peer.remove(&self.local).unwrap_or_default(),
            ..self.graph.local_peer.clone()
        };
        PresenceGraph { local_peer, remote_peers }
    }
}

fn node_of_record(s: &Stored) -> Node {
    let r = &s.signed.record;
    let edges = r.edges.iter().filter_map(|e| Some((e.to, LinkKind::from_code(e.kind)?))).collect();
    let peer = PresencePeer {
        peer_key: r.key,
        device_name: display_name(&r.name).to_owned(),
        os: some(&r.os),
        is_connected_to_ditto_server: r.connected_to_server,
        is_compatible: Some(r.proto.0 <= PROTOCOL.1 && r.proto.1 >= PROTOCOL.0),
        ditto_sdk_version: some(&r.sdk),
        peer_metadata: s.value.clone(),
        identity_service_metadata: empty(),
        query_overlap_group: r.overlap_group,
        connections: Vec::new(),
    };
    Node { peer, edges }
}

fn node_of_hello(info: &PeerInfo) -> Node {
    let peer = PresencePeer {
        peer_key: info.peer,
        device_name: info.device_name.clone(),
        os: some(&info.os),
        is_connected_to_ditto_server: false,
        is_compatible: Some(true),
        ditto_sdk_version: some(&info.sdk_version),
        peer_metadata: empty(),
        identity_service_metadata: empty(),
        query_overlap_group: 0,
        connections: Vec::new(),
    };
    Node { peer, edges: Vec::new() }
}
