//! The in-process transport: same promises as TCP, plus faults on demand.

use std::time::{Duration, Instant};

use crate::probe::{PATIENCE, Probe, pattern};
use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent, Role, Transport};
use ditto_net::{MemoryHub, MemoryNet, NetStats};

struct Pair {
    hub: MemoryHub,
    a: MemoryNet,
    a_probe: Probe,
    b: MemoryNet,
    b_probe: Probe,
}

fn pair(capacity: usize) -> Pair {
    let hub = MemoryHub::new();
    let (sender, a_probe) = Probe::new(capacity);
    let a = hub.attach("a", sender);
    let (sender, b_probe) = Probe::new(capacity);
    let b = hub.attach("b", sender);
    Pair { hub, a, a_probe, b, b_probe }
}

fn to(name: &str) -> DialTarget {
    DialTarget::Memory(name.to_owned())
}

impl Pair {
    async fn link(&mut self, id: u64) -> LinkId {
        self.a.dial(LinkId(id), &to("b"));
        assert_eq!(self.a_probe.up().await, LinkId(id));
        self.b_probe.up().await
    }

    async fn idle(&self) {
        let deadline = Instant::now() + PATIENCE;
        while (self.a.stats(), self.b.stats()) != (NetStats::default(), NetStats::default()) {
            assert!(Instant::now() < deadline, "left over: {:?} {:?}", self.a.stats(), self.b.stats());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn links_carry_bytes_both_ways_and_end_once() {
    let mut p = pair(8);
    p.a.dial(LinkId(3), &to("b"));
    let up = p.a_probe.next().await;
    let expected =
        NetEvent::LinkUp { link: LinkId(3), kind: LinkKind::Memory, role: Role::Dialer, remote: "b".into() };
    assert_eq!(up, expected);
    let NetEvent::LinkUp { link, role, remote, .. } = p.b_probe.next().await else { panic!("no LinkUp") };
    assert!(link.is_accepted());
    assert_eq!((role, remote.as_str()), (Role::Acceptor, "a"));

    let data = pattern(2_000_000);
    p.a.write(LinkId(3), data.clone());
    p.b.write(link, data.clone());
    let (at_a, at_b) =
        tokio::join!(p.a_probe.bytes(LinkId(3), data.len()), p.b_probe.bytes(link, data.len()));
    assert!(at_a == data && at_b == data);

    p.a.write(LinkId(3), b"end".to_vec());
    p.a.close(LinkId(3));
    p.a.write(LinkId(3), b"late".to_vec());
    assert_eq!(p.b_probe.bytes(link, 3).await, b"end");
    p.b_probe.down(link).await;
    p.a_probe.down(LinkId(3)).await;
    p.idle().await;
    assert_eq!(p.a_probe.until_quiet(Duration::from_millis(50)).await, []);
    assert_eq!(p.b_probe.until_quiet(Duration::from_millis(50)).await, []);
}

#[tokio::test]
async fn every_written_byte_is_reported() {
    let mut p = pair(8);
    let link = p.link(1).await;
    for size in [1, 10, 70_000, 0, 5] {
        p.a.write(LinkId(1), vec![9; size]);
    }
    p.b_probe.bytes(link, 70_016).await;
    let mut written = 0;
    while written < 70_016 {
        written += p
            .a_probe
            .find("Written", |e| match e {
                NetEvent::Written { bytes, .. } => Some(*bytes),
                _ => None,
            })
            .await;
    }
    assert_eq!(written, 70_016);
}

#[tokio::test]
async fn a_slow_consumer_holds_the_sender_back() {
    let mut p = pair(2);
    let link = p.link(1).await;
    p.a.write(LinkId(1), vec![1; 40_000_000]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let queued = p.a.stats().queued_bytes;
    assert!(queued > 10_000_000, "{queued} bytes wait at the sender");
    let mut a_probe = std::mem::replace(&mut p.a_probe, Probe::new(1).1);
    tokio::spawn(async move { while a_probe.events.recv().await.is_some() {} });
    p.b_probe.bytes(link, 40_000_000).await;
    assert_eq!(p.a.stats().queued_bytes, 0);
}

#[tokio::test]
async fn a_partition_cuts_links_and_dials_until_it_heals() {
    let mut p = pair(64);
    let link = p.link(1).await;
    p.hub.partition("b", "a");
    p.a_probe.down(LinkId(1)).await;
    p.b_probe.down(link).await;
    p.a.dial(LinkId(2), &to("b"));
    assert!(p.a_probe.dial_failed(LinkId(2)).await.contains("not reachable"));
    p.b.dial(LinkId(2), &to("a"));
    p.b_probe.dial_failed(LinkId(2)).await;
    // A third node is not concerned.
    let (sender, mut c_probe) = Probe::new(8);
    let c = p.hub.attach("c", sender);
    c.dial(LinkId(1), &to("b"));
    assert_eq!(c_probe.up().await, LinkId(1));
    p.hub.heal("a", "b");
    p.link(3).await;
}

#[tokio::test]
async fn a_stall_keeps_links_and_bytes_until_it_heals() {
    let mut p = pair(64);
    let link = p.link(1).await;
    p.hub.stall("a", "b");
    p.a.write(LinkId(1), b"held".to_vec());
    let quiet = p.b_probe.until_quiet(Duration::from_millis(150)).await;
    assert_eq!(quiet, []);
    p.hub.heal("a", "b");
    assert_eq!(p.b_probe.bytes(link, 4).await, b"held");
}

#[tokio::test]
async fn a_stalled_node_can_be_shut_down() {
    let mut p = pair(64);
    let link = p.link(1).await;
    p.hub.stall("a", "b");
    p.a.write(LinkId(1), vec![1; 1_000_000]);
    tokio::time::timeout(PATIENCE, p.a.shutdown()).await.unwrap();
    assert_eq!(p.a.stats(), NetStats::default());
    p.b_probe.down(link).await;
}

#[tokio::test(start_paused = true)]
async fn latency_delays_bytes_but_not_throughput() {
    let mut p = pair(1024);
    let link = p.link(1).await;
    p.hub.set_latency(Duration::from_millis(100));
    let began = tokio::time::Instant::now();
    p.a.write(LinkId(1), vec![1; 4_000_000]);
    p.b_probe.bytes(link, 4_000_000).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(500), "{took:?}");
    let began = tokio::time::Instant::now();
    p.a.dial(LinkId(2), &to("b"));
    p.a_probe.up().await;
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn unknown_names_and_foreign_targets_fail_the_dial() {
    let mut p = pair(8);
    p.a.dial(LinkId(1), &to("nobody"));
    assert!(p.a_probe.dial_failed(LinkId(1)).await.contains("refused"));
    p.a.dial(LinkId(2), &DialTarget::Tcp("127.0.0.1:1".into()));
    assert!(p.a_probe.dial_failed(LinkId(2)).await.contains("tcp://127.0.0.1:1"));
    p.hub.stall("a", "b");
    p.a.dial(LinkId(3), &to("b"));
    p.a.close(LinkId(3));
    assert_eq!(p.a_probe.dial_failed(LinkId(3)).await, "closed here");
    p.idle().await;
}

#[tokio::test]
async fn a_node_can_leave_and_come_back_under_its_name() {
    let mut p = pair(64);
    p.link(1).await;
    let Pair { hub, a, mut a_probe, b, .. } = p;
    let (sender, mut new_probe) = Probe::new(64);
    let b2 = hub.attach("b", sender);
    a_probe.down(LinkId(1)).await;
    // The old node's handle must not take the new node away.
    drop(b);
    a.dial(LinkId(2), &to("b"));
    assert_eq!(a_probe.up().await, LinkId(2));
    assert!(new_probe.up().await.is_accepted());
    b2.shutdown().await;
    a_probe.down(LinkId(2)).await;
    a.dial(LinkId(3), &to("b"));
    a_probe.dial_failed(LinkId(3)).await;
}

#[tokio::test]
async fn two_hundred_links_leave_no_task() {
    let mut p = pair(16);
    for id in 1..=200 {
        let link = p.link(id).await;
        p.a.write(LinkId(id), vec![1; 10]);
        p.b_probe.bytes(link, 10).await;
        if id % 2 == 0 {
            p.a.close(LinkId(id))
        } else {
            p.b.close(link)
        }
        tokio::join!(p.a_probe.down(LinkId(id)), p.b_probe.down(link));
    }
    p.idle().await;
}
