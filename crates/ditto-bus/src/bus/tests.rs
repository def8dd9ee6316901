use ditto_mesh::Identity;
use proptest::prelude::*;

use super::*;
use crate::envelope::FRAGMENT_BYTES;

fn key(n: u8) -> PeerKey {
    Identity::generate(&mut |out: &mut [u8]| out.fill(n)).peer_key()
}

fn bus() -> Bus {
    let mut bus = Bus::new(BusConfig::default());
    bus.handle(Input::PeerConnected(key(1)), 0);
    bus
}

fn drain(bus: &mut Bus) -> Vec<Action> {
    std::iter::from_fn(|| bus.poll()).collect()
}

fn send(bus: &mut Bus, id: u64, data: Vec<u8>, reliability: Reliability) -> Vec<Action> {
    bus.handle(Input::Send { id, to: key(1), data, reliability }, 0);
    drain(bus)
}

fn datagrams(actions: &[Action]) -> Vec<(Vec<u8>, u64)> {
    actions
        .iter()
        .map(|a| match a {
            Action::SendDatagram { bytes, tag, .. } => (bytes.clone(), *tag),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn failed(actions: &[Action]) -> &BusError {
    match actions {
        [Action::Completed { result: Err(e), .. }] => e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_are_exact() {
    let mut bus = bus();
    for (limit, reliability) in
        [(MAX_RELIABLE_BYTES, Reliability::Reliable), (MAX_UNRELIABLE_BYTES, Reliability::Unreliable)]
    {
        assert!(!send(&mut bus, 1, vec![0; limit], reliability).is_empty());
        bus.handle(Input::PeerDisconnected(key(1)), 0);
        bus.handle(Input::PeerConnected(key(1)), 0);
        drain(&mut bus);
        let actions = send(&mut bus, 2, vec![0; limit + 1], reliability);
        assert_eq!(*failed(&actions), BusError::PayloadTooLarge { size: limit + 1, limit });
    }
    let actions = send(&mut bus, 3, Vec::new(), Reliability::Unreliable);
    assert_eq!(datagrams(&actions).len(), 1, "an empty message is a message");
}

#[test]
fn unknown_peers_and_full_queues_fail_at_once() {
    let mut bus = bus();
    bus.handle(Input::Send { id: 1, to: key(2), data: vec![], reliability: Reliability::Reliable }, 0);
    assert_eq!(*failed(&drain(&mut bus)), BusError::PeerNotConnected);
    for id in 0..64 {
        assert_eq!(send(&mut bus, 10 + id, vec![1], Reliability::Reliable).len(), 1);
    }
    assert_eq!(*failed(&send(&mut bus, 99, vec![1], Reliability::Reliable)), BusError::QueueFull);
    bus.handle(Input::Transmitted { tag: 1 }, 0);
    drain(&mut bus);
    assert!(matches!(send(&mut bus, 100, vec![1], Reliability::Reliable)[..], [Action::SendReliable { .. }]));
}

#[test]
fn a_message_completes_once() {
    let mut bus = bus();
    let parts = datagrams(&send(&mut bus, 1, vec![7; FRAGMENT_BYTES * 2], Reliability::Unreliable));
    assert_eq!(parts.len(), 2);
    bus.handle(Input::Transmitted { tag: parts[0].1 }, 0);
    assert!(drain(&mut bus).is_empty());
    bus.handle(Input::SendFailed { tag: parts[1].1, reason: "late".into() }, 0);
    assert_eq!(*failed(&drain(&mut bus)), BusError::Dropped("late".into()));
    bus.handle(Input::Transmitted { tag: parts[1].1 }, 0);
    assert!(drain(&mut bus).is_empty());

    send(&mut bus, 2, vec![1], Reliability::Reliable);
    bus.handle(Input::PeerDisconnected(key(1)), 0);
    assert_eq!(*failed(&drain(&mut bus)), BusError::Disconnected);
    assert_eq!(bus.next_deadline(), None);

    bus.handle(Input::PeerConnected(key(1)), 0);
    send(&mut bus, 3, vec![1], Reliability::Reliable);
    let due = bus.next_deadline().unwrap();
    bus.handle(Input::Tick, due);
    assert_eq!(*failed(&drain(&mut bus)), BusError::TimedOut);
}

#[test]
fn fragments_arrive_in_any_order_once_or_not_at_all() {
    let mut from = bus();
    let data: Vec<u8> = (0..FRAGMENT_BYTES * 3 + 5).map(|i| i as u8).collect();
    let mut parts = datagrams(&send(&mut from, 1, data.clone(), Reliability::Unreliable));
    parts.reverse();
    let mut to = bus();
    for (bytes, _) in parts.iter().chain(&parts) {
        to.handle(Input::Datagram { peer: key(1), bytes: bytes.clone() }, 0);
    }
    let got = drain(&mut to);
    assert!(matches!(&got[..], [Action::Deliver(m)] if m.data == data), "delivered once, whole");

    let parts = datagrams(&send(&mut from, 2, data, Reliability::Unreliable));
    for (bytes, _) in &parts[1..] {
        to.handle(Input::Datagram { peer: key(1), bytes: bytes.clone() }, 0);
    }
    let due = to.next_deadline().unwrap();
    to.handle(Input::Tick, due);
    to.handle(Input::Datagram { peer: key(1), bytes: parts[0].0.clone() }, due);
    assert!(drain(&mut to).is_empty(), "a part that comes too late completes nothing");
}

#[test]
fn incomplete_messages_hold_bounded_memory() {
    let mut from = bus();
    let mut to = bus();
    for id in 0..200 {
        let parts = datagrams(&send(&mut from, id, vec![1; 100_000], Reliability::Unreliable));
        for (bytes, _) in &parts[1..] {
            to.handle(Input::Datagram { peer: key(1), bytes: bytes.clone() }, 0);
        }
        for (_, tag) in parts {
            from.handle(Input::Transmitted { tag }, 0);
        }
        drain(&mut from);
    }
    let held = to.peers[&key(1)].incoming.held();
    assert!(held <= BusConfig::default().max_reassembly_bytes, "{held}");
    assert!(drain(&mut to).is_empty());
}

#[test]
fn malformed_bytes_are_a_violation_and_later_kinds_are_skipped() {
    let mut bus = bus();
    bus.handle(Input::Message { peer: key(1), bytes: vec![] }, 0);
    bus.handle(Input::Datagram { peer: key(1), bytes: vec![1, 1, 0, 5, 3] }, 0);
    let actions = drain(&mut bus);
    assert!(
        actions.iter().all(|a| matches!(a, Action::Violation { .. })) && actions.len() == 2,
        "{actions:?}"
    );
    bus.handle(Input::Message { peer: key(1), bytes: vec![1, 200, 1] }, 0);
    bus.handle(Input::Datagram { peer: key(1), bytes: vec![2, 1, 1] }, 0);
    assert!(drain(&mut bus).is_empty());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), datagram: bool) {
        let mut bus = bus();
        let peer = key(1);
        bus.handle(if datagram { Input::Datagram { peer, bytes } } else { Input::Message { peer, bytes } }, 0);
        drain(&mut bus);
    }
}
