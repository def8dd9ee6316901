//! Many machines in one process, over links in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_mesh::transport::DialTarget;
use ditto_net::{MemoryHub, MemoryNet, NetStats};
use tokio::sync::mpsc;

use crate::machine::{EVENTS, Machine};

/// Each dials the next ones of a ring.
const DIALS: usize = 2;

fn name(number: usize) -> String {
    format!("m{number}")
}

fn start(hub: &MemoryHub, number: usize, of: usize) -> (Arc<MemoryNet>, Machine) {
    let (sender, events) = mpsc::channel(EVENTS);
    let net = Arc::new(hub.attach(&name(number), sender));
    let machine = Machine::start(number as u64, net.clone(), events);
    let next: BTreeSet<usize> = (1..=DIALS).map(|d| (number + d) % of).filter(|t| *t != number).collect();
    machine.dial(next.into_iter().map(|t| DialTarget::Memory(name(t))).collect());
    (net, machine)
}

/// Everybody sees everybody, and every connection of the ring.
async fn all_see(machines: &[(Arc<MemoryNet>, Machine)]) {
    let n = machines.len();
    let pairs = |i: usize| (1..=DIALS).map(move |d| (i, (i + d) % n)).filter(|(a, b)| a != b);
    let links: BTreeSet<(usize, usize)> = (0..n).flat_map(pairs).map(|(a, b)| (a.min(b), a.max(b))).collect();
    for (_, machine) in machines {
        machine
            .until(&format!("{n} peers and {} connections", links.len()), |v| {
                v.graph.remote_peers.len() == n - 1 && v.graph.all_connections_by_id().len() == links.len()
            })
            .await;
    }
}

async fn crowd(n: usize) {
    let hub = MemoryHub::new();
    let mut machines: Vec<_> = (0..n).map(|i| start(&hub, i, n)).collect();
    all_see(&machines).await;
    // Some vanish and are missed; others take their places, and find the same mesh.
    for i in (0..n).step_by(5) {
        let (net, machine) = machines.remove(i);
        let gone = machine.key;
        machine.end().await;
        net.shutdown().await;
        let (_, witness) = &machines[(i + n / 2) % (n - 1)];
        witness.until("a departure", |v| v.graph.remote_peers.iter().all(|p| p.peer_key != gone)).await;
        machines.insert(i, start(&hub, i, n));
    }
    all_see(&machines).await;
    for (net, machine) in machines {
        machine.end().await;
        net.shutdown().await;
        assert_eq!(net.stats(), NetStats::default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_in_one_process() {
    crowd(3).await;
}

/// `DITTO_CROWD` sets how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_one_process() {
    crowd(std::env::var("DITTO_CROWD").ok().and_then(|n| n.parse().ok()).unwrap_or(20)).await;
}
