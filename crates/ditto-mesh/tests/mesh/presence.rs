//! What the machines see of each other.

use std::collections::BTreeSet;

use ditto_mesh::{Action, ConnectionEvent, Input, MetadataError, PeerKey};
use ditto_types::{Object, Value};

use crate::harness::*;

/// Machines in a row, each dialling the next; the last also the first if it is a ring.
fn chain(n: usize, ring: bool) -> World {
    let mut w = World::new();
    for i in 0..n {
        w.add(&format!("peer-{i}"), |c| {
            if i + 1 < n {
                c.static_targets = vec![target(&format!("peer-{}", i + 1))];
            } else if ring {
                c.static_targets = vec![target("peer-0")];
            }
        });
    }
    w.start_all();
    w
}

fn sees(w: &World, node: usize) -> BTreeSet<PeerKey> {
    w.nodes[node].mesh.graph().remote_peers.iter().map(|p| p.peer_key).collect()
}

/// Connections as every machine must see them.
fn connections(w: &World, node: usize) -> BTreeSet<String> {
    w.nodes[node].mesh.graph().all_connections_by_id().keys().map(|k| (*k).to_owned()).collect()
}

fn all_agree(w: &World, links: usize) -> bool {
    let n = w.nodes.len();
    let first = connections(w, 0);
    first.len() == links && (0..n).all(|i| sees(w, i).len() == n - 1 && connections(w, i) == first)
}

#[test]
fn a_line_and_a_ring_of_five_converge() {
    for (ring, links) in [(false, 4), (true, 5)] {
        let mut w = chain(5, ring);
        w.run_until(3_000, |w| all_agree(w, links));
        let g = w.nodes[0].mesh.graph();
        let last = g.remote_peers.iter().find(|p| p.peer_key == w.nodes[3].key).unwrap();
        assert_eq!(last.device_name, "peer-3");
        assert_eq!(last.os.as_deref(), Some("Linux"));
        assert_eq!(last.connections.len(), 2);
        let changes =
            |w: &World| w.nodes[0].log.iter().filter(|a| matches!(a, Action::PresenceChanged)).count();
        let before = changes(&w);
        w.run(300_000);
        assert!(all_agree(&w, links), "refreshes keep everybody");
        assert_eq!(changes(&w), before, "refreshes change nothing");
    }
}

#[test]
fn a_break_splits_the_view_and_a_repair_joins_it() {
    let mut w = chain(5, false);
    w.run_until(3_000, |w| all_agree(w, 4));
    w.cut.insert((1, 2));
    w.break_links(1, 2);
    w.run(1_000);
    // The connection is gone at once, the peers after the grace period.
    assert!(
        !connections(&w, 0)
            .iter()
            .any(|c| c.contains(&w.nodes[2].key.to_string()) && c.contains(&w.nodes[1].key.to_string()))
    );
    w.run(4_000);
    assert_eq!(sees(&w, 0), BTreeSet::from([w.nodes[1].key]));
    assert_eq!(sees(&w, 4), BTreeSet::from([w.nodes[2].key, w.nodes[3].key]));
    w.cut.clear();
    w.run_until(20_000, |w| all_agree(w, 4));
}

#[test]
fn metadata_reaches_everybody_and_newcomers() {
    let mut w = chain(4, false);
    w.run_until(3_000, |w| all_agree(w, 3));
    let meta = |n: i64| Value::Object(Object::from([("table".into(), Value::from(n))]));
    let seen = |w: &World, node: usize, of: usize| {
        let g = w.nodes[node].mesh.graph();
        g.remote_peers.iter().find(|p| p.peer_key == w.nodes[of].key).map(|p| p.peer_metadata.clone())
    };
    w.input(0, Input::SetPeerMetadata(meta(7)));
    assert_eq!(w.nodes[0].mesh.graph().local_peer.peer_metadata, meta(7));
    w.run_until(1_000, |w| (1..4).all(|i| seen(w, i, 0) == Some(meta(7))));
    let late = w.add("late", |c| c.static_targets = vec![target("peer-3")]);
    w.input(late, Input::Start);
    w.run_until(2_000, |w| seen(w, 4, 0) == Some(meta(7)) && sees(w, 0).len() == 4);
    // Neither a list nor too much is taken; the old value stays.
    w.input(0, Input::SetPeerMetadata(Value::Array(vec![])));
    w.input(0, Input::SetPeerMetadata(Value::Object(Object::from([("x".into(), "y".repeat(5000).into())]))));
    let rejected: Vec<&MetadataError> = w.nodes[0]
        .events()
        .filter_map(|e| if let ConnectionEvent::MetadataRejected(e) = e { Some(e) } else { None })
        .collect();
    assert_eq!(rejected, [&MetadataError::NotAnObject("array"), &MetadataError::TooLarge(5008)]);
    w.run(2_000);
    assert_eq!(seen(&w, 3, 0), Some(meta(7)));
    w.input(0, Input::SetPeerMetadata(Value::Object(Object::new())));
    w.run(2_000);
    assert_eq!(seen(&w, 4, 0), Some(Value::Object(Object::new())));
}

#[test]
fn both_ends_name_a_connection_alike_and_long_names_are_cut() {
    let mut w = World::new();
    w.add("a", |c| {
        c.device_name = "ä".repeat(40);
        c.static_targets = vec![target("b")];
    });
    w.add("b", |_| {});
    w.start_all();
    w.run_until(2_000, both_connected);
    w.run(1_000);
    let (a, b) = (w.nodes[0].mesh.graph(), w.nodes[1].mesh.graph());
    assert_eq!(a.local_peer.connections, b.local_peer.connections);
    assert_eq!(a.local_peer.connections, a.remote_peers[0].connections);
    let c = &a.local_peer.connections[0];
    assert!(c.peer1 < c.peer2);
    assert_eq!(b.remote_peers[0].device_name, "ä".repeat(12));
    assert_eq!(b.remote_peers[0], a.local_peer);
}

#[test]
fn a_restart_with_a_clock_behind_is_seen() {
    let mut w = chain(3, false);
    w.run_until(3_000, |w| all_agree(w, 2));
    // Peer 0 comes back with a clock an hour behind and another name.
    let mut c = config("renamed", 0, |c| c.static_targets = vec![target("peer-1")]);
    c.device_name = "renamed".into();
    w.replace(0, c);
    w.nodes[0].skew = -3_600_000;
    w.input(0, Input::Start);
    w.run(6_000);
    let g = w.nodes[2].mesh.graph();
    let p = g.remote_peers.iter().find(|p| p.peer_key == w.nodes[0].key).unwrap();
    assert_eq!(p.device_name, "renamed");
    assert_eq!(p.connections.len(), 1);
}
