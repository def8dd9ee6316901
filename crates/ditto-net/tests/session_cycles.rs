//! Peers that connect and disconnect many times over real sockets. Alone in its process, whose descriptors and memory it
//! measures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "sessions/machine.rs"]
mod machine;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ditto_mesh::transport::DialTarget;
use ditto_net::{Net, NetConfig};
use machine::{EVENTS, Machine};
use tokio::sync::mpsc;

/// Growth of the heap that is not ours to judge: the allocator keeps pages.
const SLACK_BYTES: usize = 16 << 20;
/// Whatever is made once is there after so many cycles.
const WARM: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident bytes, for pages of 4 KiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// `DITTO_CYCLES` sets how many times: TLS, HELLO, a session with its presence, and their end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_come_and_go_leave_no_links_tasks_descriptors_or_memory() {
    let cycles = std::env::var("DITTO_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(200u64);
    let (sender, b_events) = mpsc::channel(EVENTS);
    let listen = Some("127.0.0.1:0".to_owned());
    let b_net = Arc::new(Net::start(NetConfig { listen, ..NetConfig::default() }, sender).await.unwrap());
    let (sender, a_events) = mpsc::channel(EVENTS);
    let a_net = Arc::new(Net::start(NetConfig::default(), sender).await.unwrap());
    let (a, b) = (Machine::start(1, a_net.clone(), a_events), Machine::start(2, b_net.clone(), b_events));
    let target = DialTarget::Tcp(b_net.listen_addr().unwrap().to_string());
    let at_rest = (a_net.stats(), b_net.stats());
    let (mut open, mut memory) = (0, 0);
    for cycle in 0..cycles {
        if cycle == WARM.min(cycles / 2) {
            (open, memory) = (descriptors(), resident());
        }
        a.dial(vec![target.clone()]);
        a.until("a session", |v| v.connected.contains(&b.key)).await;
        b.until("a session", |v| v.connected.contains(&a.key)).await;
        a.dial(Vec::new());
        a.until("its end", |v| v.connected.is_empty()).await;
        b.until("its end", |v| v.connected.is_empty()).await;
    }
    let deadline = Instant::now() + PATIENCE;
    // Some descriptors of the last links before the measurement may have been closing.
    while (a_net.stats(), b_net.stats()) != at_rest || descriptors() > open {
        let state = (a_net.stats(), b_net.stats(), open, descriptors());
        assert!(Instant::now() < deadline, "left over: {state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(resident() < memory + SLACK_BYTES, "{memory} bytes have become {}", resident());
    a.end().await;
    b.end().await;
    a_net.shutdown().await;
    b_net.shutdown().await;
}
