//! Which connections there are when not everybody can be connected to everybody.

use std::collections::BTreeSet;

use ditto_mesh::{ConnectionEvent, ConnectionPriority, Input, PeerSelector, Refusal};

use crate::harness::*;

/// Machines that announce themselves, with a limit of links to each side.
fn crowd(n: usize, limit: (usize, usize)) -> World {
    let mut w = World::new();
    for i in 0..n {
        w.add(&format!("n{i}"), |c| {
            c.discovery_token = format!("token {i:03}");
            c.limits.connections.lan = limit;
        });
    }
    w.start_all();
    w
}

fn meet(w: &mut World, a: usize, b: usize) {
    w.discover(a, &format!("token {b:03}"), &[&format!("n{b}")]);
    w.discover(b, &format!("token {a:03}"), &[&format!("n{a}")]);
}

/// Links that a machine has dialled, and that it has accepted.
fn degrees(w: &World, node: usize) -> (usize, usize) {
    let d = w.nodes[node].mesh.diagnostics();
    let all = || d.transports.iter().flat_map(|t| &t.connected);
    (all().filter(|p| p.is_outgoing).count(), all().filter(|p| !p.is_outgoing).count())
}

/// Runs in small steps and checks the limits after each, until everybody sees everybody.
fn join(w: &mut World, limit: (usize, usize), within: u64) {
    let end = w.now + within;
    loop {
        w.run(20);
        for i in 0..w.nodes.len() {
            let (dialled, accepted) = degrees(w, i);
            assert!(dialled <= limit.0 && accepted <= limit.1, "n{i}: {dialled} and {accepted}");
        }
        let n = w.nodes.len();
        if w.nodes.iter().all(|node| node.mesh.graph().remote_peers.len() == n - 1) {
            return;
        }
        let seen: Vec<usize> = w.nodes.iter().map(|n| n.mesh.graph().remote_peers.len()).collect();
        assert!(w.now < end, "not joined after {within} ms: {seen:?}");
    }
}

#[test]
fn nobody_dials_or_accepts_more_than_its_limit() {
    let mut w = crowd(10, (3, 4));
    for i in 1..10 {
        w.discover(0, &format!("token {i:03}"), &[&format!("n{i}")]);
    }
    w.run(120_000);
    assert_eq!(degrees(&w, 0), (3, 0));
    assert_eq!(w.nodes[0].dials.len(), 3, "the others are not even tried: no link can be spared");
    let mut w = crowd(10, (3, 4));
    for i in 1..10 {
        w.discover(i, "token 000", &["n0"]);
    }
    w.run(30_000);
    assert_eq!(degrees(&w, 0), (0, 4));
    let refused: BTreeSet<usize> =
        (1..10).filter(|i| w.nodes[*i].refusals().contains(&(false, Refusal::Capacity))).collect();
    assert_eq!(refused.len(), 5);
    assert!(w.nodes[0].refusals().iter().all(|r| *r == (true, Refusal::Capacity)));
}

#[test]
fn islands_that_discover_each_other_join_though_everybody_is_full() {
    const EACH: usize = 6;
    let limit = (2, 2);
    let mut w = crowd(2 * EACH, limit);
    for island in [0, EACH] {
        for a in island..island + EACH {
            (a + 1..island + EACH).for_each(|b| meet(&mut w, a, b));
        }
    }
    w.run(20_000);
    for i in 0..2 * EACH {
        assert_eq!(w.nodes[i].mesh.graph().remote_peers.len(), EACH - 1, "an island each");
    }
    let full = (0..2 * EACH).filter(|i| degrees(&w, *i) == limit).count();
    assert!(full >= 2 * EACH - 2, "{full} are full");
    for a in 0..EACH {
        (EACH..2 * EACH).for_each(|b| meet(&mut w, a, b));
    }
    join(&mut w, limit, 20_000);
    // It comes to rest.
    w.run(60_000);
    let gave_up = |w: &World| {
        let all = w.nodes.iter().flat_map(|n| n.events());
        all.filter(|e| matches!(e, ConnectionEvent::MadeRoom { .. })).count()
    };
    let before = gave_up(&w);
    w.run(120_000);
    assert_eq!(gave_up(&w), before, "no churn without a reason");
    join(&mut w, limit, 1_000);
}

#[test]
fn announcements_of_who_is_gone_cost_no_link() {
    let limit = (2, 2);
    let mut w = crowd(6, limit);
    for a in 0..6 {
        (a + 1..6).for_each(|b| meet(&mut w, a, b));
    }
    join(&mut w, limit, 20_000);
    w.run(20_000);
    let full = (0..6).find(|i| degrees(&w, *i).0 == limit.0).unwrap();
    let dials = w.nodes[full].dials.len();
    w.discover(full, "token of nobody", &["nobody"]);
    w.run(60_000);
    assert!(w.nodes[full].dials.len() >= dials + 3, "it is tried again and again");
    assert!(!w.nodes[full].events().any(|e| matches!(e, ConnectionEvent::MadeRoom { .. })));
    assert_eq!(degrees(&w, full).0, limit.0);
}

#[test]
fn a_crowd_forms_one_mesh_within_its_limits() {
    for n in [2, 7, 14] {
        let mut w = crowd(n, (3, 6));
        for a in 0..n {
            (a + 1..n).for_each(|b| meet(&mut w, a, b));
        }
        join(&mut w, (3, 6), 20_000);
    }
}

#[test]
fn a_peer_of_high_priority_takes_the_place_of_another() {
    let mut w = crowd(4, (2, 6));
    // n1, n2 and n3 are connected among each other, so that none of them depends on n0.
    for (a, b) in [(1, 2), (2, 3), (1, 3)] {
        meet(&mut w, a, b);
    }
    w.run(5_000);
    for i in 1..4 {
        w.discover(0, &format!("token {i:03}"), &[&format!("n{i}")]);
    }
    w.run(10_000);
    assert_eq!(degrees(&w, 0).0, 2);
    let third = (1..4).find(|i| !w.nodes[0].connected().contains(&w.nodes[*i].key)).unwrap();
    let selector = PeerSelector::Peer(w.nodes[third].key);
    w.input(0, Input::SetConnectionPriority { selector, priority: ConnectionPriority::High });
    w.run(10_000);
    assert!(w.nodes[0].connected().contains(&w.nodes[third].key));
    assert_eq!(degrees(&w, 0).0, 2);
    assert_eq!(w.nodes[0].mesh.graph().remote_peers.len(), 3, "the one that made room is still reached");
}

#[test]
fn too_many_addresses_of_the_app_cost_a_link_that_can_be_spared() {
    let mut w = crowd(5, (2, 6));
    for a in 1..5 {
        (a + 1..5).for_each(|b| meet(&mut w, a, b));
    }
    w.run(5_000);
    for i in 1..3 {
        w.discover(0, &format!("token {i:03}"), &[&format!("n{i}")]);
    }
    w.run(5_000);
    assert_eq!(degrees(&w, 0).0, 2);
    w.input(0, Input::SetStaticTargets(vec![target("n3"), target("n4")]));
    w.run(20_000);
    let connected = w.nodes[0].connected();
    assert!((3..5).all(|i| connected.contains(&w.nodes[i].key)));
    assert_eq!(degrees(&w, 0).0, 2, "the discovered ones made room");
}

#[test]
fn overlap_groups_are_seen_and_have_a_priority() {
    let mut w = crowd(2, (2, 2));
    w.input(1, Input::SetQueryOverlapGroup(7));
    meet(&mut w, 0, 1);
    w.run_until(5_000, |w| w.nodes[0].mesh.graph().remote_peers.iter().any(|p| p.query_overlap_group == 7));
    w.input(1, Input::SetQueryOverlapGroup(8));
    w.run_until(1_000, |w| w.nodes[0].mesh.graph().remote_peers.iter().any(|p| p.query_overlap_group == 8));
    assert_eq!(w.nodes[1].mesh.graph().local_peer.query_overlap_group, 8);
}
