//! Single messages to peers that are no neighbours.

use ditto_bus::{Action, BusError, BusMessage, Delivery, Input, MAX_RELIABLE, MAX_UNRELIABLE, Reliability};

use crate::harness::identity;
use crate::world::{BusWorld, line};

#[test]
fn single_messages_reach_any_peer_and_their_circuit_goes_after_30_s() {
    let mut w = BusWorld::new(4, &line(4));
    let to = w.w.nodes[3].key;
    let sent = [
        (Reliability::Reliable, vec![1; MAX_RELIABLE]),
        (Reliability::Unreliable, vec![2; MAX_UNRELIABLE]),
        (Reliability::Reliable, Vec::new()),
    ];
    for (id, (reliability, data)) in sent.clone().into_iter().enumerate() {
        w.input(0, Input::Send { id: id as u64, to, data, reliability });
        w.run_until(10_000, |w| w.nodes[0].completed(id as u64).is_some());
    }
    w.run(500);
    assert_eq!(w.nodes[0].completed(0), Some(Ok(Delivery::Acknowledged)));
    assert_eq!(w.nodes[0].completed(1), Some(Ok(Delivery::Transmitted)));
    let sender = w.w.nodes[0].key;
    let want: Vec<Action> = sent
        .into_iter()
        .map(|(reliability, data)| Action::Deliver(BusMessage { sender, data, reliability }))
        .collect();
    assert_eq!(w.nodes[3].log, want);
    assert!(w.nodes[0].bus.in_use() > 0, "the circuit is kept for the next message");
    w.run(45_000);
    for (i, n) in w.nodes.iter().enumerate() {
        assert_eq!((n.bus.in_use(), w.w.nodes[i].mesh.circuit_stats().held), (0, 0), "node {i}");
    }
}

#[test]
fn a_message_to_nobody_fails_at_once() {
    let mut w = BusWorld::new(2, &line(2));
    let to = identity(77).peer_key();
    for (id, reliability) in [(1, Reliability::Reliable), (2, Reliability::Unreliable)] {
        w.input(0, Input::Send { id, to, data: vec![1], reliability });
        assert_eq!(w.nodes[0].completed(id), Some(Err(BusError::PeerNotConnected)));
    }
    assert_eq!(w.nodes[0].bus.in_use(), 0);
}
