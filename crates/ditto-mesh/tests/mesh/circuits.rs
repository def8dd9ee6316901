//! Circuits over whole machines: lines, rings and diamonds, hops that die, readers that do not read.

use ditto_mesh::transport::LinkKind;
use ditto_mesh::{Action, CircuitEnd, CircuitId, INCOMING_CIRCUIT_BIT, Input, Lane, MeshConfig, SendFailure};

use crate::harness::*;

mod flow;

/// Machines with links between them, everybody seeing everybody.
pub(crate) fn mesh(n: usize, edges: &[(usize, usize)], setup: impl Fn(usize, &mut MeshConfig)) -> World {
    let mut w = World::new();
    for i in 0..n {
        w.add(&format!("n{i}"), |c| {
            let to = edges.iter().filter(|(a, _)| *a == i).map(|(_, b)| target(&format!("n{b}")));
            c.static_targets = to.collect();
            setup(i, c);
        });
    }
    w.start_all();
    w.run_until(10_000, |w| all_see(w, edges.len()));
    w
}

fn all_see(w: &World, edges: usize) -> bool {
    w.nodes.iter().all(|n| n.mesh.graph().all_connections_by_id().len() == edges)
}

/// 0 - 1 - 2 - ... in a row.
pub(crate) fn line(n: usize) -> Vec<(usize, usize)> {
    (1..n).map(|i| (i - 1, i)).collect()
}

/// 0 to 3 over 1 and over 2.
const DIAMOND: [(usize, usize); 4] = [(0, 1), (1, 3), (0, 2), (2, 3)];

/// An open circuit between two machines, and its name at the other end.
fn connect(w: &mut World, from: usize, to: usize, id: u64) -> (CircuitId, CircuitId) {
    let before = w.nodes[to].incoming().len();
    let here = w.open(from, to, id, 7);
    w.run_until(5_000, |w| w.nodes[from].is_open(here));
    let (there, peer, purpose) = w.nodes[to].incoming()[before];
    assert_eq!((peer, purpose), (w.nodes[from].key, 7));
    assert_eq!(there.0 & INCOMING_CIRCUIT_BIT, INCOMING_CIRCUIT_BIT);
    (here, there)
}

fn numbered(i: u64, len: usize) -> Vec<u8> {
    let mut bytes = i.to_le_bytes().to_vec();
    bytes.resize(len.max(8), i as u8);
    bytes
}

fn numbers(w: &World, node: usize, circuit: CircuitId) -> Vec<u64> {
    let head = |m: &[u8]| u64::from_le_bytes(m[..8].try_into().unwrap());
    w.nodes[node].circuit_messages(circuit).into_iter().map(head).collect()
}

fn nothing_is_left(w: &World) {
    for n in &w.nodes {
        let s = n.mesh.circuit_stats();
        assert_eq!((s.relayed, s.ends, s.held), (0, 0, 0), "{}", n.name);
    }
}

#[test]
fn messages_cross_one_to_four_hops_both_ways_and_close_in_order() {
    for hops in 1..=4 {
        let mut w = mesh(hops + 1, &line(hops + 1), |_, _| {});
        let (here, there) = connect(&mut w, 0, hops, 1);
        let big: Vec<u8> = (0..1_000_000u32).map(|i| (i % 253) as u8).collect();
        w.circuit_send(0, here, b"hello".to_vec(), 1);
        w.circuit_send(0, here, big.clone(), 2);
        w.circuit_send(hops, there, b"answer".to_vec(), 3);
        w.run(3_000);
        assert_eq!(w.nodes[hops].circuit_messages(there), [b"hello", &big[..]], "{hops} hops");
        assert_eq!(w.nodes[0].circuit_messages(here), [b"answer"]);
        assert_eq!(w.nodes[0].circuit_transmitted(here), [1, 2]);
        assert_eq!(w.nodes[hops].circuit_transmitted(there), [3]);
        // What was sent before CLOSE arrives.
        w.circuit_send(0, here, b"last".to_vec(), 4);
        w.input(0, Input::CircuitClose { circuit: here, code: 99 });
        w.run(2_000);
        assert_eq!(w.nodes[hops].circuit_messages(there).last(), Some(&&b"last"[..]));
        assert_eq!(w.nodes[0].end_of(here), Some(CircuitEnd::Local));
        assert_eq!(w.nodes[hops].end_of(there), Some(CircuitEnd::Remote(99)));
        w.run(10_000);
        nothing_is_left(&w);
    }
}

#[test]
fn eight_hops_are_reached_and_nine_are_not() {
    let mut w = mesh(10, &line(10), |_, _| {});
    connect(&mut w, 0, 8, 1);
    let far = w.open(0, 9, 2, 0);
    assert_eq!(w.nodes[0].end_of(far), Some(CircuitEnd::NoRoute));
}

#[test]
fn nobody_opens_to_strangers_to_itself_or_with_a_used_name() {
    let mut w = mesh(2, &line(2), |_, _| {});
    let stranger = identity(77).peer_key();
    w.input(0, Input::CircuitOpen { circuit: CircuitId(1), target: stranger, purpose: 0 });
    assert_eq!(w.nodes[0].end_of(CircuitId(1)), Some(CircuitEnd::NoRoute));
    let own = w.open(0, 0, 2, 0);
    assert_eq!(w.nodes[0].end_of(own), Some(CircuitEnd::NoRoute));
    let bad = w.open(0, 1, INCOMING_CIRCUIT_BIT | 5, 0);
    assert_eq!(w.nodes[0].end_of(bad), Some(CircuitEnd::BadId));
    // Sends to nothing are answered.
    w.circuit_send(0, CircuitId(9), vec![1], 5);
    w.input(0, Input::CircuitDatagram { circuit: CircuitId(9), bytes: vec![1], tag: 6 });
    w.input(0, Input::CircuitClose { circuit: CircuitId(9), code: 0 });
    assert_eq!(w.nodes[0].circuit_failed(CircuitId(9)), [5, 6]);
}

#[test]
fn limits_of_messages_are_typed() {
    let mut w = mesh(2, &line(2), |_, c| c.limits.max_circuit_queued = 2 << 20);
    let (here, _) = connect(&mut w, 0, 1, 1);
    w.cut.insert((0, 1));
    w.circuit_send(0, here, vec![], 1);
    w.circuit_send(0, here, vec![0; (1 << 20) + 1025], 2);
    for tag in 3..10 {
        w.circuit_send(0, here, vec![0; 1 << 20], tag);
    }
    w.input(0, Input::CircuitDatagram { circuit: here, bytes: vec![0; 1401], tag: 20 });
    let failures: Vec<(u64, SendFailure)> = w.nodes[0]
        .log
        .iter()
        .filter_map(|a| match a {
            Action::CircuitSendFailed { tag, reason, .. } => Some((*tag, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(failures[..2], [(1, SendFailure::Empty), (2, SendFailure::TooLarge)]);
    assert!(failures[2..failures.len() - 1].iter().all(|f| f.1 == SendFailure::QueueFull));
    assert!(failures.len() > 4);
    assert_eq!(failures.last(), Some(&(20, SendFailure::TooLarge)));
}

/// Sends numbered messages both ways while `disturb` is called now and then; all must arrive once and in order.
fn stream_under(w: &mut World, ends: (usize, usize), rounds: u64, mut disturb: impl FnMut(&mut World, u64)) {
    let (a, b) = ends;
    let (here, there) = connect(w, a, b, 1);
    for i in 0..rounds {
        w.circuit_send(a, here, numbered(i, 3_000), i);
        w.circuit_send(b, there, numbered(i, 500), i);
        disturb(w, i);
        w.run(20);
    }
    w.run(40_000);
    let all: Vec<u64> = (0..rounds).collect();
    assert_eq!((w.nodes[a].end_of(here), w.nodes[b].end_of(there)), (None, None));
    assert_eq!(numbers(w, b, there), all);
    assert_eq!(numbers(w, a, here), all);
    assert_eq!(w.nodes[a].circuit_transmitted(here), all);
    assert_eq!(w.nodes[b].circuit_transmitted(there), all);
    for n in &w.nodes {
        assert!(!n.events().any(|e| matches!(e, ditto_mesh::ConnectionEvent::Violation { .. })));
    }
}

#[test]
fn a_hop_dies_and_the_stream_goes_on_over_the_other_within_a_second() {
    for relay in [1, 2] {
        let mut w = mesh(4, &DIAMOND, |_, _| {});
        let mut quiet_since = 0;
        stream_under(&mut w, (0, 3), 100, |w, i| {
            if i == 30 {
                w.cut.insert((0, relay));
                w.cut.insert((relay, 3));
                w.break_links(0, relay);
                w.break_links(relay, 3);
                quiet_since = w.now;
            }
            if i == 80 {
                // Half a second of sends in the meantime have arrived.
                let there = w.nodes[3].incoming()[0].0;
                assert!(numbers(w, 3, there).len() >= 75, "{}", numbers(w, 3, there).len());
            }
        });
    }
}

#[test]
fn links_that_come_and_go_in_a_ring_lose_nothing() {
    let ring: Vec<(usize, usize)> = (0..5).map(|i| (i, (i + 1) % 5)).collect();
    let mut w = mesh(5, &ring, |_, _| {});
    stream_under(&mut w, (0, 2), 300, |w, i| {
        if i % 25 == 10 {
            let (a, b) = ring[(i / 25) as usize % 5];
            w.break_links(a, b);
        }
    });
}

#[test]
fn a_line_that_is_cut_for_ten_seconds_goes_on_afterwards() {
    let mut w = mesh(3, &line(3), |_, _| {});
    stream_under(&mut w, (0, 2), 60, |w, i| {
        if i == 20 {
            w.cut.insert((1, 2));
            w.break_links(1, 2);
        }
        if i == 40 {
            w.run(10_000);
            w.cut.clear();
        }
    });
}

#[test]
fn a_direct_link_that_is_lost_is_replaced_by_a_relay_and_vice_versa() {
    let mut w = mesh(3, &[(0, 1), (1, 2), (0, 2)], |_, _| {});
    stream_under(&mut w, (0, 2), 60, |w, i| {
        if i == 20 {
            w.cut.insert((0, 2));
            w.break_links(0, 2);
        }
        if i == 40 {
            w.cut.clear();
            w.run(10_000);
            w.cut.insert((0, 1));
            w.break_links(0, 1);
        }
    });
}

#[test]
fn a_hop_that_dies_silently_is_found_by_silence() {
    let mut w = mesh(4, &DIAMOND, |_, _| {});
    let (here, there) = connect(&mut w, 0, 3, 1);
    let relay = if w.nodes[1].mesh.circuit_stats().relayed == 1 { 1 } else { 2 };
    // It neither forwards nor closes anything.
    w.cut.insert((0, relay));
    w.cut.insert((relay, 3));
    w.circuit_send(0, here, b"into the void".to_vec(), 1);
    w.run(15_000);
    assert_eq!(w.nodes[3].circuit_messages(there), [b"into the void"]);
    assert_eq!(w.nodes[0].circuit_transmitted(here), [1]);
}

#[test]
fn both_ends_learn_within_the_patience_that_the_other_is_gone() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let (here, there) = connect(&mut w, 0, 2, 1);
    w.circuit_send(0, here, b"one".to_vec(), 1);
    w.run(1_000);
    w.cut.insert((1, 2));
    w.break_links(1, 2);
    w.circuit_send(0, here, b"two".to_vec(), 2);
    w.run(25_000);
    assert_eq!((w.nodes[0].end_of(here), w.nodes[2].end_of(there)), (None, None));
    w.run(15_000);
    assert_eq!(w.nodes[0].end_of(here), Some(CircuitEnd::Lost));
    assert_eq!(w.nodes[2].end_of(there), Some(CircuitEnd::Lost));
    assert_eq!(w.nodes[0].circuit_failed(here), [2]);
    nothing_is_left(&w);
}

#[test]
fn a_target_that_was_restarted_does_not_take_an_old_stream() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let (here, _) = connect(&mut w, 0, 2, 1);
    w.replace(2, config("n2", 2, |_| {}));
    w.input(2, Input::Start);
    w.circuit_send(0, here, b"for your former self".to_vec(), 1);
    w.run(70_000);
    assert_eq!(w.nodes[0].end_of(here), Some(CircuitEnd::Lost));
    assert!(w.nodes[2].incoming().is_empty());
    connect(&mut w, 0, 2, 2);
}
