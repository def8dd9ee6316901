//! Connecting and disconnecting many times. Alone in its process, whose descriptors and memory it measures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "transports/probe.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod probe;

use std::time::{Duration, Instant};

use ditto_mesh::transport::{DialTarget, LinkId, NetEvent, Transport};
use ditto_net::{HttpConfig, Net, NetConfig, NetStats};
use probe::{PATIENCE, Probe};

/// Growth of the heap that is not ours to judge: the allocator keeps pages.
const SLACK_BYTES: usize = 16 << 20;
/// Whatever is made once is there after so many cycles.
const WARM: u64 = 100;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident bytes, for pages of 4 KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// `DITTO_CYCLES` sets how many times; each is a TCP link and a WebSocket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_many_times_leaves_no_links_tasks_descriptors_or_memory() {
    let cycles = std::env::var("DITTO_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(500u64);
    let (sender, mut b_probe) = Probe::new(64);
    let http =
        HttpConfig { address: "127.0.0.1:0".to_owned(), websocket: true, static_content: None, tls: None };
    let config =
        NetConfig { listen: Some("127.0.0.1:0".to_owned()), http: Some(http), ..NetConfig::default() };
    let b = Net::start(config, sender).await.unwrap();
    let (sender, mut a_probe) = Probe::new(64);
    let a = Net::start(NetConfig::default(), sender).await.unwrap();
    let targets = [
        DialTarget::Tcp(b.listen_addr().unwrap().to_string()),
        DialTarget::WebSocket(format!("ws://{}/", b.http_addr().unwrap())),
    ];
    let drain = tokio::spawn(async move { while b_probe.events.recv().await.is_some() {} });
    let (mut open, mut memory) = (0, 0);
    for cycle in 0..cycles {
        if cycle == WARM {
            (open, memory) = (descriptors(), resident());
        }
        for (i, target) in targets.iter().enumerate() {
            let link = LinkId(cycle * 2 + i as u64 + 1);
            a.dial(link, target);
            a_probe.up().await;
            a.write(link, vec![1; 100]);
            a.close(link);
            while !matches!(a_probe.next().await, NetEvent::LinkDown { link: l, .. } if l == link) {}
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let idle = |net: &Net, tasks| net.stats() == NetStats { links: 0, tasks, queued_bytes: 0 };
    // Some descriptors of the last links before the measurement may have been closing.
    while !(idle(&a, 0) && idle(&b, 2)) || descriptors() > open {
        let state = (a.stats(), b.stats(), open, descriptors());
        assert!(Instant::now() < deadline, "left over: {state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(resident() < memory + SLACK_BYTES, "{memory} bytes have become {}", resident());
    b.shutdown().await;
    drop(b);
    drain.await.unwrap();
}
