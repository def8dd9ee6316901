//! Credit, priorities, queues and datagrams between whole machines.

use ditto_mesh::transport::LinkKind;
use ditto_mesh::{Action, Input, Lane, SendFailure};

use crate::harness::*;

#[test]
fn a_receiver_that_does_not_consume_stops_the_sender() {
    let mut w = connected_pair(|_| {});
    w.nodes[1].consumes = false;
    for tag in 0..100 {
        w.send(0, 1, Lane::SyncBulk, vec![tag as u8; 100_000], tag);
    }
    w.run(5_000);
    let held: usize = w.nodes[1].messages(Lane::SyncBulk).iter().map(|m| m.len()).sum();
    // The window of the bulk lanes is four of others.
    assert!((800_000..=1 << 20).contains(&held), "{held}");
    // Other lanes are not affected.
    w.send(0, 1, Lane::Bus, b"through".to_vec(), 1000);
    w.run(100);
    assert_eq!(w.nodes[1].messages(Lane::Bus), [b"through"]);
    // Once the app goes on, everything arrives.
    w.nodes[1].consumes = true;
    let peer = w.nodes[0].key;
    w.input(1, Input::Consumed { peer, lane: Lane::SyncBulk, bytes: held });
    w.run(5_000);
    assert_eq!(w.nodes[1].messages(Lane::SyncBulk).len(), 100);
    assert_eq!(w.nodes[0].transmitted().len(), 101);
}

#[test]
fn large_messages_pass_a_small_window_and_too_large_ones_fail() {
    let mut w = connected_pair(|c| {
        c.limits.window = 8 << 10;
        c.limits.max_sync_message = 1 << 20;
    });
    let big: Vec<u8> = (0..1 << 20).map(|i: u32| i as u8).collect();
    w.send(0, 1, Lane::SyncBulk, big.clone(), 1);
    w.send(0, 1, Lane::SyncBulk, vec![0; (1 << 20) + 1], 2);
    w.send(0, 1, Lane::SyncBulk, vec![], 3);
    w.run(60_000);
    assert_eq!(w.nodes[1].messages(Lane::SyncBulk), [&big[..]]);
    let failures: Vec<SendFailure> = w.nodes[0]
        .log
        .iter()
        .filter_map(|a| if let Action::SendFailed { reason, .. } = a { Some(*reason) } else { None })
        .collect();
    assert_eq!(failures, [SendFailure::TooLarge, SendFailure::Empty]);
}

#[test]
fn what_the_transport_has_not_written_is_bounded() {
    // Over the LAN at 1 MB/s what leaves in 50 ms, over Bluetooth the limit of the class.
    for (kind, limit) in [(LinkKind::AccessPoint, 50_000), (LinkKind::Bluetooth, 1 << 10)] {
        let mut w = World::new();
        w.kind = kind;
        w.add("a", |c| c.static_targets = vec![target("b")]);
        w.add("b", |_| {});
        w.start_all();
        w.run_until(1000, both_connected);
        w.run(1000);
        w.rate = if kind == LinkKind::Bluetooth { 20 } else { 1000 };
        for tag in 0..10 {
            w.send(0, 1, Lane::SyncLive, vec![0; 100_000], tag);
        }
        w.run(300);
        w.nodes[0].peak = 0;
        w.run(300);
        let frame = if kind == LinkKind::Bluetooth { 600 } else { 18 << 10 };
        assert!(
            w.nodes[0].peak > limit / 2 && w.nodes[0].peak <= limit + frame,
            "{kind}: {}",
            w.nodes[0].peak
        );
    }
}

#[test]
fn a_bus_message_is_not_held_up_by_bulk_on_a_slow_link() {
    // T2.8 at 20 kB/s over Bluetooth: 1 KiB under way is about 50 ms.
    let mut w = World::new();
    w.kind = LinkKind::Bluetooth;
    w.latency = 5;
    w.add("a", |c| c.static_targets = vec![target("b")]);
    w.add("b", |_| {});
    w.start_all();
    w.run_until(1000, both_connected);
    w.run(10_000);
    w.rate = 20;
    w.send(0, 1, Lane::SyncBulk, vec![0; 1 << 20], 1);
    w.send(0, 1, Lane::SyncLive, vec![0; 1 << 20], 2);
    w.run(3_000);
    let mut worst = 0;
    for i in 0..40u64 {
        let before = w.now;
        w.send(0, 1, Lane::Bus, vec![i as u8; 100], 10 + i);
        w.run_until(1000, |w| w.nodes[1].messages(Lane::Bus).len() == i as usize + 1);
        worst = worst.max(w.now - before);
        w.run(100 + i * 7);
    }
    assert!(worst <= 150, "{worst} ms");
}

#[test]
fn live_sync_gets_more_than_bulk() {
    // What waits in the transport is out of reach of priorities, so it has to be less than the window.
    let mut w = connected_pair(|c| c.limits.in_flight = 32 << 10);
    w.rate = 1000;
    for tag in 0..60 {
        w.send(0, 1, Lane::SyncBulk, vec![0; 50_000], tag);
        w.send(0, 1, Lane::SyncLive, vec![0; 50_000], 100 + tag);
    }
    w.run(3_000);
    let (bulk, live) = (w.nodes[1].messages(Lane::SyncBulk).len(), w.nodes[1].messages(Lane::SyncLive).len());
    assert!(live > 2 * bulk && bulk > 5, "{live} {bulk}");
}

#[test]
fn queue_levels_are_reported_and_bounded() {
    let mut w = connected_pair(|c| c.limits.max_queued = 1 << 20);
    w.rate = 1000;
    for tag in 0..30 {
        w.send(0, 1, Lane::SyncBulk, vec![0; 50_000], tag);
    }
    let full = |a: &Action| matches!(a, Action::SendFailed { reason: SendFailure::QueueFull, .. });
    assert!(w.nodes[0].log.iter().any(full));
    w.run(10_000);
    let levels: Vec<usize> = w.nodes[0]
        .log
        .iter()
        .filter_map(|a| {
            if let Action::Queued { bytes, lane: Lane::SyncBulk, .. } = a { Some(*bytes) } else { None }
        })
        .collect();
    assert!(levels.iter().any(|l| *l > 500_000) && levels.iter().all(|l| *l <= 1 << 20), "{levels:?}");
    assert_eq!(levels.last(), Some(&0));
    assert_eq!(w.nodes[0].transmitted().len() + w.nodes[0].failed().len(), 30);
}

#[test]
fn datagrams_arrive_or_are_dropped_in_time() {
    let mut w = connected_pair(|_| {});
    let peer = w.nodes[1].key;
    w.input(0, Input::SendDatagram { peer, bytes: b"now".to_vec(), tag: 1 });
    w.input(0, Input::SendDatagram { peer, bytes: vec![0; ditto_mesh::MAX_DATAGRAM], tag: 2 });
    w.input(0, Input::SendDatagram { peer, bytes: vec![0; ditto_mesh::MAX_DATAGRAM + 1], tag: 3 });
    w.run(50);
    let got = |w: &World| w.nodes[1].log.iter().filter(|a| matches!(a, Action::Datagram { .. })).count();
    assert_eq!(got(&w), 2);
    assert_eq!((w.nodes[0].transmitted(), w.nodes[0].failed()), (vec![1, 2], vec![3]));
    // On a link that stands still they are dropped after 100 ms, and every one is answered.
    w.rate = 1;
    w.send(0, 1, Lane::SyncBulk, vec![0; 1 << 20], 5);
    w.run(10);
    for tag in 10..400 {
        w.input(0, Input::SendDatagram { peer, bytes: vec![0; 1000], tag });
    }
    w.run(150);
    let failed = w.nodes[0].failed();
    assert!(failed.len() > 300 && failed[1..].is_sorted(), "{}", failed.len());
    let dropped = |a: &&Action| matches!(a, Action::SendFailed { reason: SendFailure::Dropped, .. });
    assert_eq!(w.nodes[0].log.iter().filter(dropped).count(), failed.len() - 1);
}

#[test]
fn nobody_else_takes_sends() {
    let mut w = connected_pair(|_| {});
    let stranger = identity(99).peer_key();
    w.input(0, Input::Send { peer: stranger, lane: Lane::Bus, bytes: vec![1].into(), tag: 1 });
    w.input(0, Input::SendDatagram { peer: stranger, bytes: vec![1], tag: 2 });
    w.input(0, Input::Consumed { peer: stranger, lane: Lane::Bus, bytes: 5 });
    w.input(0, Input::Disconnect { peer: stranger, reason: "who".into() });
    assert_eq!(w.nodes[0].failed(), [1, 2]);
}

#[test]
fn a_quiet_pair_falls_silent() {
    let mut w = connected_pair(|_| {});
    w.run(5_000);
    let before = w.wire.len();
    w.run(10_000);
    assert_eq!(w.wire.len(), before, "no byte is sent while nothing happens");
    w.run(45_000);
    assert!(w.wire.len() - before < 2_500, "pings and one refresh in a minute: {}", w.wire.len() - before);
}
