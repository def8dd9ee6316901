//! Random breaks, one-sided losses, restarts and traffic; afterwards everything must come together again.

use std::collections::BTreeMap;

use ditto_mesh::{Action, Lane};

use crate::harness::*;

const NODES: usize = 4;

fn run(seed: u64) {
    let mut random = rng(seed);
    let mut pick = move |n: u64| {
        let mut b = [0; 8];
        random(&mut b);
        u64::from_le_bytes(b) % n
    };
    let names: Vec<String> = (0..NODES).map(|i| format!("n{i}")).collect();
    let setup = |i: usize| {
        let others = names.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, n)| target(n)).collect();
        config(&names[i], i as u8, |c| c.static_targets = others)
    };
    let mut w = World::new();
    w.latency = 1 + pick(40);
    for (i, name) in names.iter().enumerate() {
        w.add_config(name, setup(i));
    }
    w.start_all();
    let mut tag = 0u64;
    for _ in 0..200 {
        w.run(pick(400));
        let (a, b) = (pick(NODES as u64) as usize, pick(NODES as u64) as usize);
        if a == b {
            continue;
        }
        match pick(20) {
            0 => w.break_links(a, b),
            1 => w.lose_link_at(a, b),
            2 => {
                w.cut.insert((a, b));
            }
            3 | 4 => w.cut.clear(),
            5 => {
                w.replace(a, setup(a));
                w.input(a, ditto_mesh::Input::Start);
            }
            6 => {
                w.input(a, ditto_mesh::Input::Stop);
                w.input(a, ditto_mesh::Input::Start);
            }
            _ => {
                let lane = [Lane::SyncLive, Lane::SyncBulk, Lane::Bus][pick(3) as usize];
                let mut bytes = tag.to_le_bytes().to_vec();
                bytes.resize(8 + pick(60_000) as usize, tag as u8);
                w.send(a, b, lane, bytes, tag);
                tag += 1;
            }
        }
    }
    w.cut.clear();
    w.run(120_000);
    for a in 0..NODES {
        assert_eq!(w.nodes[a].connected().len(), NODES - 1, "seed {seed}, node {a}");
        assert_eq!(w.nodes[a].mesh.graph().remote_peers.len(), NODES - 1, "seed {seed}, node {a}");
        assert_eq!(
            w.nodes[a].mesh.graph().all_connections_by_id().len(),
            NODES * (NODES - 1) / 2,
            "seed {seed}"
        );
        for b in 0..NODES {
            assert!(a == b || w.links(a, b) == 1, "seed {seed}: {} links {a}-{b}", w.links(a, b));
        }
    }
    for n in &w.nodes {
        check_order(n, seed);
        assert!(
            !n.log.iter().any(|a| matches!(a, Action::Event(ditto_mesh::ConnectionEvent::Violation { .. })))
        );
    }
}

/// Per sender and lane, tags arrive in ascending order and once; every send is answered at most once.
fn check_order(n: &Node, seed: u64) {
    let mut last = BTreeMap::new();
    let mut answered = std::collections::BTreeSet::new();
    for action in &n.log {
        match action {
            Action::Message { peer, lane, bytes } => {
                let tag = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(bytes[8..].iter().all(|b| *b == tag as u8));
                let before = last.insert((*peer, *lane), tag);
                assert!(before.is_none_or(|b| b < tag), "seed {seed}: {before:?} then {tag}");
            }
            Action::Transmitted { tag, .. } | Action::SendFailed { tag, .. } => {
                assert!(answered.insert(*tag))
            }
            _ => {}
        }
    }
}

#[test]
fn everything_comes_together_again() {
    let cases: u64 = std::env::var("MESH_CHAOS").ok().and_then(|v| v.parse().ok()).unwrap_or(6);
    for seed in 0..cases {
        run(seed);
    }
}
