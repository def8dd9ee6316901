//! What the machine reports about links, and what it measures.

use ditto_mesh::transport::LinkKind;
use ditto_mesh::{ConnectionEvent, ConnectionPriority, Input, PeerSelector};

use crate::harness::*;

fn names(w: &World, node: usize) -> Vec<&'static str> {
    w.nodes[node].events().map(ConnectionEvent::name).collect()
}

#[test]
fn the_life_of_a_connection_is_told_in_order() {
    let mut w = World::new();
    w.kind = LinkKind::AccessPoint;
    w.add("a", |c| c.discovery_token = "token a".into());
    w.add("b", |c| c.discovery_token = "token b".into());
    w.start_all();
    w.discover(0, "token b", &["b"]);
    w.discover(0, "token b", &["b"]);
    w.run_until(1_000, both_connected);
    assert_eq!(names(&w, 0), ["discovered", "dialing", "link_ready", "connected"]);
    assert_eq!(names(&w, 1), ["link_ready", "connected"]);
    let b = w.nodes[1].key;
    let connected = w.nodes[0].events().last().unwrap();
    assert_eq!((connected.peer(), connected.connection_type()), (Some(b), Some(LinkKind::AccessPoint)));
    assert_eq!(connected.address().as_deref(), Some("b"));
    w.input(1, Input::Stop);
    w.run(100);
    assert_eq!(names(&w, 0)[4..], ["disconnected", "link_closed"]);
    w.input(0, Input::Net(ditto_mesh::transport::NetEvent::Lost { token: "token b".into() }));
    let lost = w.nodes[0].events().last().unwrap();
    assert_eq!((lost.name(), lost.peer()), ("lost", Some(b)));
}

#[test]
fn links_are_measured_and_shown() {
    let mut w = World::new();
    w.latency = 20;
    w.kind = LinkKind::AccessPoint;
    w.add("a", |c| c.static_targets = vec![target("b")]);
    w.add("b", |_| {});
    w.nodes[1].skew = 90_000;
    w.start_all();
    assert_eq!(w.nodes[0].mesh.diagnostics().transports[0].connecting.len(), 1);
    w.run_until(1_000, both_connected);
    w.run(100);
    let d = w.nodes[0].mesh.diagnostics();
    assert_eq!((d.active_transports(), d.total_connected_peers()), (1, 1));
    let tcp = d.transport_by_type("TCP").unwrap();
    let peer = &tcp.connected[0];
    assert_eq!(peer.peer_key, Some(w.nodes[1].key));
    assert!(peer.is_outgoing && peer.since_ms >= START);
    assert_eq!((peer.round_trip_ms, peer.clock_offset_ms), (Some(40), Some(90_000)));
    w.break_links(0, 1);
    w.run(10);
    let d = w.nodes[0].mesh.diagnostics();
    assert_eq!(d.transport_by_type("TCP").unwrap().disconnected.len(), 1);
    assert_eq!(d.total_connected_peers(), 0);
}

#[test]
fn clocks_of_other_centuries_keep_nobody_out() {
    // T3.5: 1970 and 2100, with a shared key.
    for skew in [-(START as i64) + 1_000, 2_300_000_000_000] {
        let mut w = World::new();
        w.add("a", |c| {
            c.static_targets = vec![target("b")];
            c.admission = shared(&[7; 32]);
        });
        w.add("b", |c| c.admission = shared(&[7; 32]));
        w.nodes[1].skew = skew;
        w.start_all();
        w.run_until(1_000, both_connected);
        w.run(60_000);
        assert!(both_connected(&w));
        let offset = w.nodes[0].mesh.diagnostics().transports[0].connected[0].clock_offset_ms.unwrap();
        assert!((offset - skew).abs() <= 2, "{offset}");
        assert_eq!(w.nodes[0].mesh.graph().remote_peers.len(), 1);
    }
}

#[test]
fn an_unwanted_peer_is_not_dialled_and_may_dial() {
    let mut w = World::new();
    for name in ["a", "b"] {
        w.add(name, |c| c.discovery_token = format!("token {name}"));
    }
    let b = w.nodes[1].key;
    let (selector, priority) = (PeerSelector::Peer(b), ConnectionPriority::DontConnect);
    w.input(0, Input::SetConnectionPriority { selector, priority });
    w.start_all();
    w.discover(0, "token b", &["b"]);
    w.run(60_000);
    // The first dial shows who it is; then it is left alone.
    assert_eq!(w.nodes[0].dials.len(), 1);
    assert!(w.nodes.iter().all(|n| n.connects() == 0));
    w.discover(1, "token a", &["a"]);
    w.run_until(5_000, both_connected);
    // Changed live: it does not end what is connected, and later dials are made.
    w.input(0, Input::SetConnectionPriority { selector, priority: ConnectionPriority::Normal });
    assert!(both_connected(&w));
}
