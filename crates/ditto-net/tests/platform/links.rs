//! Links over a radio, through the same facade as TCP links.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent, Transport};
use ditto_net::platform::loopback::{LoopbackAir, LoopbackConfig};
use ditto_net::platform::{
    Radio, RadioConfig, RadioEvent, RadioKind, RadioLimits, RadioShim, RadioSink, RoleHint, ScanMode,
    SendResult,
};

use crate::node::{PATIENCE, Process, radio};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0]).collect()
}

/// Two processes with a link from the first to the second.
async fn linked(air: &LoopbackAir) -> (Process, LinkId, Process, LinkId) {
    let mut a = Process::start(air, "a").await;
    let mut b = Process::start(air, "b").await;
    let target = a.discovered("b").await;
    b.discovered("a").await;
    let link = a.link();
    a.net.dial(link, &target);
    let near = a.up().await;
    assert_eq!(near, link);
    let far = b.up().await;
    assert!(far.is_accepted());
    (a, near, b, far)
}

async fn shut(air: &LoopbackAir, processes: Vec<Process>) {
    for process in processes {
        process.net.shutdown().await;
        let stats = process.net.stats();
        assert_eq!((stats.links, stats.tasks), (0, 0), "{stats:?}");
    }
    assert_eq!(air.open_handles(), 0);
}

async fn bytes_go_both_ways(config: LoopbackConfig, len: usize) {
    let air = LoopbackAir::new(config);
    let (mut a, near, mut b, far) = linked(&air).await;
    let data = pattern(len);
    for piece in data.chunks(7_000) {
        a.net.write(near, piece.to_vec());
        b.net.write(far, piece.to_vec());
    }
    let (there, back) = tokio::join!(b.bytes(far, len), a.bytes(near, len));
    assert!(there == data && back == data, "{config:?}");
    // What was written before a close arrives.
    let last = pattern(900);
    a.net.write(near, last.clone());
    a.net.close(near);
    assert_eq!(b.bytes(far, last.len()).await, last);
    b.down(far).await;
    shut(&air, vec![a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_carry_bytes_both_ways_and_to_the_last() {
    bytes_go_both_ways(LoopbackConfig::plain(RadioKind::L2cap), 300_000).await;
    bytes_go_both_ways(LoopbackConfig::awkward(RadioKind::Awdl, 7), 60_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_carry_bytes_both_ways_although_some_are_lost() {
    bytes_go_both_ways(LoopbackConfig::plain(RadioKind::Gatt), 60_000).await;
    // What is lost at the very end cannot be sent again after the radio is closed, so here nothing is.
    for seed in 0..3 {
        let config = LoopbackConfig { drop: 60, ..LoopbackConfig::awkward(RadioKind::Gatt, seed) };
        let air = LoopbackAir::new(config);
        let (mut a, near, mut b, far) = linked(&air).await;
        let data = pattern(10_000);
        a.net.write(near, data.clone());
        b.net.write(far, data.clone());
        let (there, back) = tokio::join!(b.bytes(far, data.len()), a.bytes(near, data.len()));
        assert!(there == data && back == data, "{config:?}");
        shut(&air, vec![a, b]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_say_what_they_are() {
    for (kind, expected) in [
        (RadioKind::Gatt, LinkKind::Bluetooth),
        (RadioKind::L2cap, LinkKind::Bluetooth),
        (RadioKind::Awdl, LinkKind::P2PWiFi),
        (RadioKind::WifiAware, LinkKind::P2PWiFi),
        (RadioKind::Tcp, LinkKind::AccessPoint),
    ] {
        let air = LoopbackAir::new(LoopbackConfig::plain(kind));
        let mut a = Process::start(&air, "a").await;
        let mut b = Process::start(&air, "b").await;
        let target = a.discovered("b").await;
        assert!(matches!(&target, DialTarget::Platform { radio, .. } if radio == "Bluetooth"), "{target}");
        let link = a.link();
        a.net.dial(link, &target);
        for process in [&mut a, &mut b] {
            let (found, remote) = process
                .find("LinkUp", |e| match e {
                    NetEvent::LinkUp { kind, remote, .. } => Some((kind, remote)),
                    _ => None,
                })
                .await;
            assert_eq!(found, expected);
            assert!(remote.starts_with("Bluetooth/"), "{remote}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_lead_nowhere_say_why() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
    let mut a = Process::start(&air, "a").await;
    let b = Process::start(&air, "b").await;
    a.discovered("b").await;
    let (unknown, other) = (a.link(), a.link());
    a.net.dial(
        unknown,
        &DialTarget::Platform { radio: "Bluetooth".to_owned(), device: 99, kind: LinkKind::Bluetooth },
    );
    assert!(a.failed(unknown).await.contains("cannot be reached"));
    a.net.dial(
        other,
        &DialTarget::Platform { radio: "Zigbee".to_owned(), device: 1, kind: LinkKind::Bluetooth },
    );
    assert!(a.failed(other).await.contains("Zigbee"));
    shut(&air, vec![a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radio_has_only_so_many_links() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
    let with = |token, outgoing, incoming| {
        let limits = RadioLimits { outgoing, incoming };
        Process::with(Radio { limits, ..radio(air.radio(), token) })
    };
    let mut a = with("a", 2, 1).await;
    let mut b = with("b", 2, 1).await;
    let target = a.discovered("b").await;
    let first = a.link();
    a.net.dial(first, &target);
    a.up().await;
    let far = b.up().await;
    // The other side takes one only: the second goes down as soon as it is up.
    let second = a.link();
    a.net.dial(second, &target);
    a.down(second).await;
    // The first one works.
    a.net.write(first, vec![5]);
    assert_eq!(b.bytes(far, 1).await, [5]);
    // This side opens two at most.
    let mut c = with("c", 0, 9).await;
    let to_c = a.discovered("c").await;
    let third = a.link();
    a.net.dial(third, &to_c);
    a.up().await;
    c.up().await;
    let fourth = a.link();
    a.net.dial(fourth, &to_c);
    assert!(a.failed(fourth).await.contains("as many connections"));
    shut(&air, vec![a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radio_that_goes_off_and_on_is_used_again() {
    let air = LoopbackAir::new(LoopbackConfig::awkward(RadioKind::L2cap, 11));
    let (mut a, near, mut b, far) = linked(&air).await;
    air.set_power(0, false);
    // The three come in any order.
    let (mut down, mut off, mut lost) = (false, false, false);
    a.find("end of everything", |event| {
        down |= matches!(&event, NetEvent::LinkDown { link, .. } if *link == near);
        off |= matches!(&event, NetEvent::Condition { text, .. } if text.contains("off"));
        lost |= matches!(&event, NetEvent::Lost { token } if token == "b");
        (down && off && lost).then_some(())
    })
    .await;
    b.down(far).await;
    air.set_power(0, true);
    assert_eq!(a.condition().await, "ok");
    let target = a.discovered("b").await;
    let link = a.link();
    a.net.dial(link, &target);
    a.up().await;
    b.up().await;
    shut(&air, vec![a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radio_that_does_not_start_is_tried_again() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
    let (one, other) = (air.radio(), air.radio());
    air.set_power(0, false);
    let mut a = Process::with(radio(one, "a")).await;
    assert!(a.condition().await.contains("off"));
    air.set_power(0, true);
    assert_eq!(a.condition().await, "ok");
    let mut b = Process::with(radio(other, "b")).await;
    b.discovered("a").await;
    shut(&air, vec![a, b]).await;
}

/// A bare radio in the hands of somebody who does not keep to the packet layer.
struct Hostile {
    shim: Arc<dyn RadioShim>,
    events: std::sync::mpsc::Receiver<RadioEvent>,
    last_handle: u64,
}

impl Hostile {
    fn start(air: &LoopbackAir) -> Self {
        let shim = air.radio();
        let (sender, events) = channel();
        let sink = RadioSink::new(move |event| drop(sender.send(event)));
        let config = RadioConfig {
            service_uuid: "6d1f0f3a-5d2f-8c55-9d35-0b6a2f4c7e11".to_owned(),
            payload: b"\x01hostile".to_vec(),
            role: RoleHint::Both,
        };
        shim.start(config, Arc::new(sink)).unwrap();
        shim.set_scanning(ScanMode::Burst);
        Self { shim, events, last_handle: 0 }
    }

    fn wait<T>(&self, pick: impl Fn(RadioEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.events.recv_timeout(PATIENCE).unwrap()) {
                return found;
            }
        }
    }

    fn connect(&mut self, device: u64) -> u64 {
        self.last_handle += 2;
        self.shim.connect(self.last_handle, device);
        self.wait(|event| matches!(event, RadioEvent::LinkUp { .. }).then_some(()));
        self.last_handle
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_its_link_and_nothing_else() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::Gatt));
    let (a, near, mut b, far) = linked(&air).await;
    let air_of_hostile = &air;
    let rounds: [&[u8]; 5] =
        [&[], &[0xff; 20], &[0xe0, 0, 9, 0, 100], &[0xe0, 0, 1, 0, 1], &[0xe0, 0, 1, 0, 100, 0, 0, 0]];
    tokio::task::block_in_place(|| {
        let mut hostile = Hostile::start(air_of_hostile);
        let device = hostile.wait(|event| match event {
            RadioEvent::Discovered { id, payload, .. } if payload == b"\x01b" => Some(id),
            _ => None,
        });
        for garbage in rounds {
            let handle = hostile.connect(device);
            hostile.shim.send(handle, garbage.to_vec());
            hostile.shim.send(handle, vec![0x18; 30]);
            hostile.wait(|event| matches!(event, RadioEvent::LinkDown { .. }).then_some(()));
        }
        hostile.shim.stop();
    });
    a.net.write(near, vec![3]);
    assert_eq!(b.bytes(far, 1).await, [3], "the honest link never noticed");
    shut(&air, vec![a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_nobody_reads_is_cut_off() {
    let config = LoopbackConfig { buffer: u32::MAX, ..LoopbackConfig::plain(RadioKind::L2cap) };
    let air = LoopbackAir::new(config);
    let mut b = Process::start(&air, "b").await;
    let sent = tokio::task::block_in_place(|| {
        let mut hostile = Hostile::start(&air);
        let device = hostile.wait(|event| match event {
            RadioEvent::Discovered { id, .. } => Some(id),
            _ => None,
        });
        let handle = hostile.connect(device);
        // Nobody takes the events of b, so that nothing is read.
        let mut sent = 0;
        while let SendResult::Accepted { bytes } = hostile.shim.send(handle, vec![0; 4096]) {
            sent += bytes as usize;
            assert!(sent < 1 << 30, "it is not cut off");
            if sent % (64 << 10) == 0 {
                // Lets the radio carry it.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        hostile.wait(|event| matches!(event, RadioEvent::LinkDown { .. }).then_some(()));
        hostile.shim.stop();
        sent
    });
    assert!(sent > 4 << 20, "what the credits of an honest peer allow passes: {sent}");
    let link = b.up().await;
    assert!(b.down(link).await.contains("more arrived than could be taken"));
    shut(&air, vec![b]).await;
}

/// T7.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connects_and_disconnects_leave_nothing_behind() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
    let mut a = Process::start(&air, "a").await;
    let mut b = Process::start(&air, "b").await;
    let target = a.discovered("b").await;
    let mut baseline = None;
    for cycle in 0..10_000 {
        let link = a.link();
        a.net.dial(link, &target);
        a.up().await;
        let far = b.up().await;
        if cycle % 2 == 0 {
            a.net.close(link);
        } else {
            b.net.close(far);
        }
        a.down(link).await;
        b.down(far).await;
        if cycle == 1_000 {
            baseline = Some(resident());
        }
    }
    assert!(a.net.stats().tasks < 20 && b.net.stats().tasks < 20, "{:?}", a.net.stats());
    assert!(air.open_handles() <= 4, "{}", air.open_handles());
    if let (Some(before), Some(after)) = (baseline.flatten(), resident()) {
        println!("resident memory {before} kB after 1,000 cycles, {after} kB after 10,000");
        assert!(after < before + 8_192, "resident memory grew from {before} to {after} kB");
    }
    shut(&air, vec![a, b]).await;
}

/// Memory of this process in kB, where the system tells. Other tests run beside, so it is only a rough figure.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
