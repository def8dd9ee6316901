//! Eager and lazy links in meshes with many ways from peer to peer.

use std::collections::BTreeSet;

use super::net::{Net, Traffic};
use crate::engine::Rule;
use crate::{Lane, SyncConfig};

const ALL: &str = "SELECT * FROM c";

/// Everybody connected to everybody, subscribed to everything, with one document.
fn full_mesh(n: usize, rules: BTreeSet<Rule>) -> Net {
    let mut net = Net::with_faults(n, 7, SyncConfig::default(), rules);
    net.nodes[0].store.put("c", "x", &[("v", 0)]);
    for i in 0..n {
        net.subscribe(i, 1, ALL);
        for j in 0..i {
            net.up(i, j);
        }
    }
    net.settle();
    net
}

/// What crosses the wires while every peer makes `each` updates, `gap` ms apart.
fn updates(net: &mut Net, each: usize, gap: Option<u64>) -> Traffic {
    let before = net.traffic;
    for round in 0..each {
        for n in 0..net.nodes.len() {
            net.nodes[n].store.update("c", "x", "v", (round * 1_000 + n) as i64 + 1);
            if let Some(gap) = gap {
                net.settle();
                net.advance(gap);
            }
        }
    }
    net.settle();
    let states: BTreeSet<_> = net.nodes.iter().map(|n| n.store.json("c", "x")).collect();
    assert_eq!(states.len(), 1);
    net.traffic.since(before)
}

#[test]
fn ten_peers_send_each_write_about_once_to_everybody() {
    let n = 10;
    let mut net = full_mesh(n, BTreeSet::new());
    // Until the links have found their tree.
    updates(&mut net, 2, Some(20_000));
    let writes = 5 * n;
    let said = updates(&mut net, 5, Some(20_000));
    let copies = said.documents as f64 / writes as f64;
    assert!(copies <= 1.3 * (n - 1) as f64, "{copies} copies of a write");
}

#[test]
fn without_lazy_links_a_mesh_is_flooded() {
    let mut net = full_mesh(10, BTreeSet::from([Rule::Lazy]));
    let said = updates(&mut net, 3, Some(20_000));
    assert!(said.documents as f64 / 30.0 > 2.0 * 9.0, "{said:?}");
}

#[test]
fn fifty_peers_take_two_messages_for_a_delivery() {
    let n = 50;
    let mut net = full_mesh(n, BTreeSet::new());
    let said = updates(&mut net, 10, None);
    let deliveries = (10 * n * (n - 1)) as f64;
    let messages = said.messages as f64 / deliveries;
    assert!(messages <= 2.0, "{messages} messages for a delivery, {said:?}");
}

#[test]
fn what_the_tree_loses_comes_over_a_lazy_link() {
    let mut net = full_mesh(5, BTreeSet::new());
    updates(&mut net, 2, Some(20_000));
    // The links of the tree are cut one by one; every write still reaches everybody.
    for cut in 0..3 {
        let before = net.traffic;
        net.nodes[0].store.update("c", "x", "v", 70_000 + cut);
        net.publish_all(0);
        let pushed: Vec<_> = (1..5).filter(|to| net.in_flight(0, *to, Lane::Live) > 40).collect();
        if let Some(to) = pushed.first() {
            net.down(0, *to);
        }
        net.settle();
        for n in 0..5 {
            let connected = net.links.iter().any(|(a, _)| *a == n);
            assert!(
                !connected
                    || net.nodes[n].store.json("c", "x").unwrap().contains(&(70_000 + cut).to_string())
            );
        }
        assert!(net.traffic.since(before).documents > 0);
        net.advance(20_000);
    }
    assert!(net.all_live());
}
