//! Concurrent edits of everybody in meshes of several shapes: how long they take, and what crosses the wires.

use std::collections::BTreeSet;

use super::net::Net;
use crate::SyncConfig;
use crate::engine::Rule;

const ALL: &str = "SELECT * FROM c";

/// Virtual milliseconds that a message takes.
const HOP_MS: u64 = 5;

/// Edits of each peer.
const EDITS: usize = 10;

type Shape = (&'static str, Vec<(usize, usize)>, usize);

/// Links and diameter of the shapes of the benchmark, and of two cliques with a bridge.
fn shapes(n: usize) -> Vec<Shape> {
    let line: Vec<_> = (1..n).map(|i| (i - 1, i)).collect();
    let mut ring = line.clone();
    ring.push((n - 1, 0));
    let star = (1..n).map(|i| (0, i)).collect();
    let clique = |from: usize, to: usize| (from..to).flat_map(move |a| (a + 1..to).map(move |b| (a, b)));
    let mut bridge: Vec<_> = clique(0, n / 2).chain(clique(n / 2, n)).collect();
    bridge.push((0, n - 1));
    let full = clique(0, n).collect();
    vec![
        ("line", line, n - 1),
        ("ring", ring, n / 2),
        ("star", star, 2),
        ("bridge", bridge, 3),
        ("full mesh", full, 1),
    ]
}

/// Numbers of peers that have nothing to do with their places.
fn shuffled(net: &mut Net, n: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, net.rng.below(i + 1));
    }
    order
}

/// A mesh that is live, with one document that everybody has edited before.
fn mesh(n: usize, links: &[(usize, usize)], seed: u64, rules: BTreeSet<Rule>) -> Net {
    let mut net = Net::with_faults(n, seed, SyncConfig::default(), rules);
    net.nodes[0].store.put("c", "x", &[("v", 0)]);
    let order = shuffled(&mut net, n);
    for i in 0..n {
        net.subscribe(i, 1, ALL);
    }
    for (a, b) in links {
        net.up(order[*a], order[*b]);
    }
    net.settle();
    edit(&mut net, 0);
    net.settle();
    net
}

/// Everybody edits fields of its own and one of all.
fn edit(net: &mut Net, round: i64) {
    for i in 0..EDITS as i64 {
        for n in 0..net.nodes.len() {
            let value = 1_000 + round * 100 + i;
            net.nodes[n].store.update("c", "x", &format!("f{n}"), value);
        }
    }
    for n in 0..net.nodes.len() {
        net.publish_all(n);
    }
}

fn equal(net: &Net) -> bool {
    let state = |n: usize| net.nodes[n].store.docs().first().map(|d| d.digest);
    (1..net.nodes.len()).all(|n| state(n) == state(0))
}

/// Milliseconds until all are equal, and messages and documents for each delivery until everything is quiet.
fn cost(net: &mut Net) -> (u64, f64, f64) {
    let (before, began) = (net.traffic, net.now);
    edit(net, 1);
    while !equal(net) {
        net.hop(HOP_MS);
        assert!(net.now < began + 10_000, "not equal in time");
    }
    let ms = net.now - began;
    net.settle();
    let said = net.traffic.since(before);
    let n = net.nodes.len();
    let deliveries = (n * (n - 1) * EDITS) as f64;
    (ms, said.messages as f64 / deliveries, said.documents as f64 / deliveries)
}

/// With DITTO_TOPOLOGIES set up to 50 peers, which takes minutes without optimisation.
#[test]
fn concurrent_edits_cross_any_mesh_in_time_and_about_once() {
    let sizes: &[usize] =
        if std::env::var_os("DITTO_TOPOLOGIES").is_some() { &[3, 10, 25, 50] } else { &[3, 10] };
    for n in sizes.iter().copied() {
        for (name, links, diameter) in shapes(n) {
            for seed in 0..3 {
                let mut net = mesh(n, &links, seed, BTreeSet::new());
                let (ms, messages, documents) = cost(&mut net);
                let what =
                    format!("{n} in a {name}: {ms} ms, {messages:.2} messages, {documents:.2} documents");
                assert!(ms <= 3 * diameter as u64 * HOP_MS, "{what}");
                assert!(messages <= 2.0 && documents <= 1.3, "{what}");
                println!("{what}");
            }
        }
    }
}

/// The shapes in which edits take too long, or cost too much, without some rules.
fn missed(n: usize, rules: &[Rule]) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut late, mut dear) = (Vec::new(), Vec::new());
    for (name, links, diameter) in shapes(n) {
        let mut net = mesh(n, &links, 1, rules.iter().copied().collect());
        let (ms, messages, documents) = cost(&mut net);
        if ms > 3 * diameter as u64 * HOP_MS {
            late.push(name);
        }
        if messages > 2.0 || documents > 1.3 {
            dear.push(name);
        }
    }
    (late, dear)
}

#[test]
fn without_a_tree_links_become_lazy_that_are_needed() {
    let (late, dear) = missed(10, &[Rule::Tree]);
    assert!(late.len() + dear.len() > 0, "{late:?} {dear:?}");
}

#[test]
fn what_returns_to_where_it_came_from_multiplies_messages() {
    let (late, dear) = missed(10, &[Rule::NothingReturns]);
    assert!(dear.contains(&"line"), "{late:?} {dear:?}");
}

#[test]
fn a_mesh_that_loses_the_root_of_its_tree_is_whole_again() {
    let n = 10;
    let (_, links, _) = shapes(n).pop().unwrap();
    for seed in 0..4 {
        let mut net = mesh(n, &links, seed, BTreeSet::new());
        let root = (0..n).min_by_key(|i| {
            use crate::store::SyncStore as _;
            net.nodes[*i].store.identity().store_id
        });
        let root = root.unwrap();
        for other in 0..n {
            net.down(root, other);
        }
        net.advance(5_000);
        net.settle();
        edit(&mut net, 2);
        net.settle();
        let state = |i: &usize| net.nodes[*i].store.docs()[0].digest;
        let rest: BTreeSet<_> = (0..n).filter(|i| *i != root).map(|i| state(&i)).collect();
        assert_eq!(rest.len(), 1);
    }
}
