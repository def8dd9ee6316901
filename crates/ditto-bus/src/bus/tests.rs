use super::*;
use ditto_mesh::{Identity, SendFailure};

use crate::envelope::{MAX_RELIABLE, MAX_UNRELIABLE};

fn key(i: u8) -> PeerKey {
    Identity::generate(&mut |out| out.fill(i)).peer_key()
}

fn drain(bus: &mut Bus) -> Vec<Action> {
    std::iter::from_fn(|| bus.poll()).collect()
}

fn bus_with(peer: PeerKey) -> Bus {
    let mut bus = Bus::new(BusConfig::default());
    bus.handle(Input::PeerConnected(peer), 0);
    bus
}

fn send(bus: &mut Bus, id: u64, to: PeerKey, data: Vec<u8>, reliability: Reliability) -> Vec<Action> {
    bus.handle(Input::Send { id, to, data, reliability }, 0);
    drain(bus)
}

fn tags(actions: &[Action]) -> Vec<u64> {
    let tag = |a: &Action| match a {
        Action::SendReliable { tag, .. } | Action::SendDatagram { tag, .. } => Some(*tag),
        _ => None,
    };
    actions.iter().filter_map(tag).collect()
}

fn failure(id: u64, e: BusError) -> Vec<Action> {
    vec![Action::Completed { id, result: Err(e) }]
}

#[test]
fn messages_cross_in_both_kinds_at_their_limits() {
    let (a, b) = (key(1), key(2));
    let (mut at_a, mut at_b) = (bus_with(b), bus_with(a));
    let cases = [
        (Reliability::Reliable, 0),
        (Reliability::Reliable, MAX_RELIABLE),
        (Reliability::Unreliable, 0),
        (Reliability::Unreliable, 5000),
        (Reliability::Unreliable, MAX_UNRELIABLE),
    ];
    for (id, (reliability, len)) in cases.into_iter().enumerate() {
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let expected = match reliability {
            Reliability::Reliable => Delivery::Acknowledged,
            Reliability::Unreliable => Delivery::Transmitted,
        };
        let out = send(&mut at_a, id as u64, b, data.clone(), reliability);
        for action in out.clone() {
            match action {
                Action::SendReliable { bytes, .. } => at_b.handle(Input::Message { peer: a, bytes }, 0),
                Action::SendDatagram { bytes, .. } => at_b.handle(Input::Datagram { peer: a, bytes }, 0),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(drain(&mut at_b), [Action::Deliver(BusMessage { sender: a, data, reliability })]);
        for tag in tags(&out) {
            assert_eq!(drain(&mut at_a), []);
            assert!(tag & TAG_BIT != 0);
            at_a.handle(Input::Transmitted { tag }, 0);
        }
        assert_eq!(drain(&mut at_a), [Action::Completed { id: id as u64, result: Ok(expected) }]);
    }
    assert!(at_a.tags.is_empty() && at_a.pending.is_empty());
}

#[test]
fn limits_are_checked_before_anything_is_sent() {
    let b = key(2);
    let mut bus = bus_with(b);
    let e = BusError::PayloadTooLarge { size: MAX_RELIABLE + 1, limit: MAX_RELIABLE };
    assert_eq!(send(&mut bus, 1, b, vec![0; MAX_RELIABLE + 1], Reliability::Reliable), failure(1, e));
    let e = BusError::PayloadTooLarge { size: MAX_UNRELIABLE + 1, limit: MAX_UNRELIABLE };
    assert_eq!(send(&mut bus, 2, b, vec![0; MAX_UNRELIABLE + 1], Reliability::Unreliable), failure(2, e));
    assert_eq!(drain(&mut bus), []);
    for id in 10..14 {
        assert_eq!(send(&mut bus, id, b, vec![0; MAX_RELIABLE], Reliability::Reliable).len(), 1);
    }
    assert_eq!(send(&mut bus, 14, b, vec![0], Reliability::Reliable), failure(14, BusError::QueueFull));
    let mut bus = bus_with(b);
    let mut first = 0;
    for id in 0..64 {
        first = *tags(&send(&mut bus, id, b, vec![0], Reliability::Reliable)).first().unwrap();
    }
    assert_eq!(send(&mut bus, 64, b, vec![0], Reliability::Reliable), failure(64, BusError::QueueFull));
    bus.handle(Input::Transmitted { tag: first }, 0);
    drain(&mut bus);
    assert_eq!(tags(&send(&mut bus, 65, b, vec![0], Reliability::Reliable)).len(), 1);
}

#[test]
fn every_send_is_answered_once() {
    let b = key(2);
    let mut bus = bus_with(b);
    let out = tags(&send(&mut bus, 1, b, vec![0; 3000], Reliability::Unreliable));
    assert_eq!(out.len(), 3);
    bus.handle(Input::Transmitted { tag: out[0] }, 0);
    bus.handle(Input::SendFailed { tag: out[1], reason: SendFailure::Dropped }, 0);
    bus.handle(Input::Transmitted { tag: out[2] }, 0);
    assert_eq!(drain(&mut bus), failure(1, BusError::Dropped));

    let out = tags(&send(&mut bus, 2, b, vec![0], Reliability::Reliable));
    send(&mut bus, 3, b, vec![0; 3000], Reliability::Unreliable);
    bus.handle(Input::SendFailed { tag: out[0], reason: SendFailure::Disconnected }, 0);
    bus.handle(Input::PeerDisconnected(b), 0);
    let both = [failure(2, BusError::Disconnected), failure(3, BusError::Disconnected)].concat();
    assert_eq!(drain(&mut bus), both);
    // Late answers and answers to others change nothing.
    bus.handle(Input::Transmitted { tag: out[0] }, 0);
    bus.handle(Input::Transmitted { tag: 5 }, 0);
    assert_eq!(drain(&mut bus), []);
    assert!(bus.tags.is_empty() && bus.pending.is_empty() && bus.outgoing.is_empty());
}

#[test]
fn a_lost_fragment_loses_the_message_and_its_memory_after_a_while() {
    let (a, b) = (key(1), key(2));
    let (mut at_a, mut at_b) = (bus_with(b), bus_with(a));
    let out = send(&mut at_a, 1, b, vec![5; 4000], Reliability::Unreliable);
    for action in out.into_iter().skip(1) {
        if let Action::SendDatagram { bytes, .. } = action {
            at_b.handle(Input::Datagram { peer: a, bytes }, 100);
        }
    }
    assert_eq!(at_b.next_deadline(), Some(5100));
    at_b.handle(Input::Tick, 5100);
    assert_eq!(drain(&mut at_b), []);
    assert_eq!(at_b.next_deadline(), None);
    assert_eq!(at_b.incoming.cost(), 0);
}

#[test]
fn malformed_bytes_are_a_violation() {
    let a = key(1);
    let mut bus = bus_with(a);
    bus.handle(Input::Message { peer: a, bytes: vec![9, 1] }, 0);
    bus.handle(Input::Datagram { peer: a, bytes: vec![1, 2, 0xff] }, 0);
    let out = drain(&mut bus);
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|v| matches!(v, Action::Violation { peer, .. } if *peer == a)));
    // A later release's stream frames are skipped.
    bus.handle(Input::Message { peer: a, bytes: vec![1, 3, 1, 2, 3] }, 0);
    assert_eq!(drain(&mut bus), []);
}

#[test]
fn strict_mode_allows_one_send_per_destination_and_reliability() {
    let (b, c) = (key(2), key(3));
    let mut bus = bus_with(b);
    bus.handle(Input::PeerConnected(c), 0);
    bus.handle(Input::SetStrict(true), 0);
    let first = tags(&send(&mut bus, 1, b, vec![0], Reliability::Reliable));
    let refused = failure(2, BusError::SendBeforeCompletion);
    assert_eq!(send(&mut bus, 2, b, vec![0], Reliability::Reliable), refused);
    assert_eq!(tags(&send(&mut bus, 3, b, vec![0], Reliability::Unreliable)).len(), 1);
    assert_eq!(tags(&send(&mut bus, 4, c, vec![0], Reliability::Reliable)).len(), 1);
    bus.handle(Input::Transmitted { tag: first[0] }, 0);
    drain(&mut bus);
    assert_eq!(tags(&send(&mut bus, 5, b, vec![0], Reliability::Reliable)).len(), 1);
}

#[test]
fn a_reliable_message_that_is_not_acknowledged_fails_after_30_s() {
    let b = key(2);
    let mut bus = bus_with(b);
    let out = tags(&send(&mut bus, 1, b, vec![0], Reliability::Reliable));
    assert_eq!(bus.next_deadline(), Some(30_000));
    bus.handle(Input::Tick, 29_999);
    assert_eq!(drain(&mut bus), []);
    bus.handle(Input::Tick, 30_000);
    assert_eq!(drain(&mut bus), failure(1, BusError::TimedOut));
    bus.handle(Input::Transmitted { tag: out[0] }, 30_001);
    assert_eq!(drain(&mut bus), []);
    assert_eq!(bus.in_use(), 0);
}
