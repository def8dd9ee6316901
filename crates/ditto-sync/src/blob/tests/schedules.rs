//! Random meshes, cuts, parts and failures: whatever happens, everybody who can get a blob gets it, once and whole.

use super::world::*;
use crate::blob::*;

fn schedule(seed: u64) {
    let nodes = 3 + seed as usize % 5;
    let mut w = World::new(nodes, seed);
    let blobs: Vec<BlobName> = (0..3u8)
        .map(|n| {
            let len = w.rng.below(20) as u64 * CHUNK + w.rng.below(1_000) as u64;
            let holder = w.rng.below(nodes);
            w.add(n, len, &[holder])
        })
        .collect();
    // Somebody else has parts.
    for name in &blobs {
        let (node, odd) = (w.rng.below(nodes), w.rng.below(4) as u64);
        if !w.store(node).held.contains_key(name) {
            w.give(node, *name, |i| i % 4 == odd);
        }
    }
    let liar = w.rng.chance(30).then(|| w.rng.below(nodes));
    let holders: Vec<usize> = blobs
        .iter()
        .map(|name| (0..nodes).find(|n| w.store(*n).held.get(name).is_some_and(ChunkSet::is_full)).unwrap())
        .collect();
    if let Some(liar) = liar.filter(|l| !holders.contains(l)) {
        w.store(liar).lies = true;
    }
    let mut fetches = 0;
    for _ in 0..40 {
        match w.rng.below(6) {
            0 | 1 => {
                let (a, b) = (w.rng.below(nodes), w.rng.below(nodes));
                if a != b && w.link_between(a, b).is_none() {
                    let (latency, rate) = (w.rng.below(40) as u64, 50 + w.rng.below(20_000) as u64);
                    w.link(a, b, latency, rate);
                }
            }
            2 => {
                let links = w.links();
                if !links.is_empty() {
                    let link = links[w.rng.below(links.len())];
                    w.cut(link);
                }
            }
            3 | 4 => {
                fetches += 1;
                let (node, name) = (w.rng.below(nodes), blobs[w.rng.below(blobs.len())]);
                w.nodes[node].load_ms = w.rng.below(200) as u64;
                w.fetch(node, fetches, name);
            }
            _ => {
                if fetches > 0 {
                    let fetch = FetchId(1 + w.rng.below(fetches as usize) as u64);
                    for node in 0..nodes {
                        if w.rng.chance(30) {
                            w.input(node, BlobInput::Cancel { fetch });
                        }
                    }
                }
            }
        }
        let pause = w.rng.below(800) as u64;
        w.run(w.now + pause);
    }
    // All come together, and everybody wants everything.
    for n in 1..nodes {
        if w.link_between(n - 1, n).is_none() {
            w.link(n - 1, n, 2, 10_000);
        }
    }
    for node in 0..nodes {
        for name in &blobs {
            fetches += 1;
            w.fetch(node, fetches, *name);
        }
    }
    w.run(w.now + 1_200_000);
    for node in 0..nodes {
        for name in &blobs {
            assert!(w.store(node).held.get(name).is_some_and(ChunkSet::is_full), "seed {seed}, node {node}");
        }
        assert_eq!(w.store(node).is_open(), 0, "seed {seed}");
        assert_eq!(w.store(node).put_twice, 0, "seed {seed}");
        assert!(w.nodes[node].violations.is_empty(), "seed {seed}: {:?}", w.nodes[node].violations);
        assert!(w.nodes[node].exchange.transfers.is_empty() && w.nodes[node].exchange.fetches.is_empty());
        assert!(w.nodes[node].exchange.questions.is_empty(), "seed {seed}");
    }
    for node in &w.nodes {
        assert!(
            node.exchange.lines.values().all(|l| l.outstanding == 0 && l.requests.is_empty()),
            "seed {seed}"
        );
    }
    // And then nothing happens any more.
    let quiet = w.nodes.iter().all(|n| n.exchange.next_deadline().is_none());
    assert!(quiet, "seed {seed}");
}

#[test]
fn everybody_gets_everything_in_the_end() {
    let count = std::env::var("BLOB_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    for seed in 0..count {
        schedule(seed);
    }
}
