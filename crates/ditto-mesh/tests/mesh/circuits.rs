//! Circuits over whole machines: lines, rings and diamonds, hops that die, readers that do not read.

use ditto_mesh::transport::LinkKind;
use ditto_mesh::{Action, CircuitEnd, CircuitId, INCOMING_CIRCUIT_BIT, Input, Lane, MeshConfig, SendFailure};

use crate::harness::*;

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

#[test]
fn a_slow_reader_keeps_every_relay_below_a_window_and_a_frame() {
    let mut w = mesh(5, &line(5), |_, _| {});
    let (here, there) = connect(&mut w, 0, 4, 1);
    w.nodes[4].consumes = false;
    for tag in 0..40 {
        w.circuit_send(0, here, vec![tag as u8; 50_000], tag);
    }
    w.run(20_000);
    let held: usize = w.nodes[4].circuit_messages(there).iter().map(|m| m.len()).sum();
    assert!(held > 50_000 && held <= 128 << 10, "the reader holds {held}");
    for i in 1..4 {
        let s = w.nodes[i].mesh.circuit_stats();
        assert!(s.peak <= (16 << 10) + (16 << 10), "relay {i}: {s:?}");
        assert_eq!(s.held, 0, "the ends hold it, not the relays");
    }
    w.nodes[4].consumes = true;
    w.input(4, Input::CircuitConsumed { circuit: there, bytes: held });
    w.run(10_000);
    assert_eq!(w.nodes[4].circuit_messages(there).len(), 40);
}

#[test]
fn a_slow_last_link_keeps_relays_below_a_window_and_a_frame() {
    // The links are all slow, and the relays' next links stand still from time to time.
    let mut w = mesh(4, &line(4), |_, c| c.limits.in_flight = 8 << 10);
    let (here, there) = connect(&mut w, 0, 3, 1);
    w.rate = 50;
    for tag in 0..20 {
        w.circuit_send(0, here, vec![tag as u8; 20_000], tag);
    }
    w.run(60_000);
    assert_eq!(w.nodes[3].circuit_messages(there).len(), 20);
    for i in 1..3 {
        let s = w.nodes[i].mesh.circuit_stats();
        assert!(s.peak > 0 && s.peak <= 16 << 10, "relay {i}: {s:?}");
    }
}

#[test]
fn relays_without_consent_are_gone_around_or_named() {
    let mut w = mesh(4, &DIAMOND, |i, c| c.relay = i != 1);
    for id in 1..5 {
        connect(&mut w, 0, 3, id);
    }
    assert_eq!(w.nodes[1].mesh.circuit_stats().relayed, 0);
    assert_eq!(w.nodes[2].mesh.circuit_stats().relayed, 4);
    let mut w = mesh(3, &line(3), |i, c| c.relay = i != 1);
    let id = w.open(0, 2, 1, 0);
    w.run(1_000);
    assert_eq!(w.nodes[0].end_of(id), Some(CircuitEnd::Refused));
    // It still has circuits of its own.
    connect(&mut w, 1, 2, 1);
    connect(&mut w, 0, 1, 2);
}

#[test]
fn a_shared_key_is_proven_from_end_to_end() {
    let mut w = mesh(3, &line(3), |_, c| c.admission = shared(&[9; 32]));
    let (here, there) = connect(&mut w, 0, 2, 1);
    w.circuit_send(0, here, b"members only".to_vec(), 1);
    w.run(500);
    assert_eq!(w.nodes[2].circuit_messages(there), [b"members only"]);
}

#[test]
fn datagrams_cross_and_never_wait() {
    for n in [2, 4] {
        let mut w = mesh(n, &line(n), |_, _| {});
        let (here, _) = connect(&mut w, 0, n - 1, 1);
        let got = |w: &World| -> Vec<Vec<u8>> {
            let of = |a: &Action| match a {
                Action::CircuitDatagram { bytes, .. } => Some(bytes.clone()),
                _ => None,
            };
            w.nodes[n - 1].log.iter().filter_map(of).collect()
        };
        w.input(0, Input::CircuitDatagram { circuit: here, bytes: b"now".to_vec(), tag: 1 });
        w.input(0, Input::CircuitDatagram { circuit: here, bytes: vec![5; 1400], tag: 2 });
        w.run(50);
        assert_eq!(got(&w), [b"now".to_vec(), vec![5; 1400]]);
        assert_eq!(w.nodes[0].circuit_transmitted(here), [1, 2]);
        // On links that stand still they are dropped after 100 ms, and every one is answered.
        w.rate = 1;
        w.send(0, 1, Lane::SyncBulk, vec![0; 1 << 20], 5);
        w.run(10);
        for tag in 10..400 {
            w.input(0, Input::CircuitDatagram { circuit: here, bytes: vec![0; 1000], tag });
        }
        w.run(150);
        let answered = w.nodes[0].circuit_failed(here).len() + w.nodes[0].circuit_transmitted(here).len();
        assert_eq!(answered, 392);
        assert!(w.nodes[0].circuit_failed(here).len() > 300);
    }
}

#[test]
fn while_there_is_no_route_datagrams_are_dropped_and_messages_wait() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let (here, there) = connect(&mut w, 0, 2, 1);
    w.cut.insert((1, 2));
    w.break_links(1, 2);
    w.run(1_000);
    w.input(0, Input::CircuitDatagram { circuit: here, bytes: b"gone".to_vec(), tag: 1 });
    w.circuit_send(0, here, b"later".to_vec(), 2);
    assert_eq!(w.nodes[0].circuit_failed(here), [1]);
    w.cut.clear();
    w.run(15_000);
    assert_eq!(w.nodes[2].circuit_messages(there), [b"later"]);
}

#[test]
fn sources_share_a_relay_and_bulk_does_not_hold_up_a_small_one() {
    // 0 and 1 send to 4 over 2 and 3; 0 opens many circuits, 1 one.
    let edges = [(0, 2), (1, 2), (2, 3), (3, 4)];
    let mut w = mesh(5, &edges, |_, c| c.limits.in_flight = 16 << 10);
    let greedy: Vec<(CircuitId, CircuitId)> = (1..=8).map(|id| connect(&mut w, 0, 4, id)).collect();
    let modest = connect(&mut w, 1, 4, 1);
    w.rate = 200;
    for round in 0..10 {
        for (here, _) in &greedy {
            w.circuit_send(0, *here, vec![1; 50_000], round);
        }
        w.circuit_send(1, modest.0, vec![2; 50_000], round);
    }
    w.run(3_000);
    let of =
        |w: &World, c: CircuitId| -> usize { w.nodes[4].circuit_messages(c).iter().map(|m| m.len()).sum() };
    let theirs: usize = greedy.iter().map(|(_, there)| of(&w, *there)).sum();
    let its = of(&w, modest.1);
    assert!(its * 3 > theirs, "one circuit of one source {its}, eight of another {theirs}");
}

#[test]
fn a_bus_message_and_a_circuit_share_their_class() {
    let mut w = connected_pair(|c| c.limits.in_flight = 16 << 10);
    let (here, there) = connect(&mut w, 0, 1, 1);
    w.rate = 200;
    for tag in 0..20 {
        w.circuit_send(0, here, vec![0; 50_000], tag);
        w.send(0, 1, Lane::Bus, vec![0; 50_000], tag);
    }
    w.run(6_000);
    let (circuit, bus) = (w.nodes[1].circuit_messages(there).len(), w.nodes[1].messages(Lane::Bus).len());
    assert!(2 * circuit > bus && 2 * bus > circuit && bus > 5, "{circuit} {bus}");
}

#[test]
fn over_bluetooth_windows_are_small_and_a_bus_message_still_passes() {
    let mut w = World::new();
    w.kind = LinkKind::Bluetooth;
    w.latency = 5;
    for (i, to) in [(0, Some("n1")), (1, Some("n2")), (2, None)] {
        w.add(&format!("n{i}"), |c| c.static_targets = to.into_iter().map(target).collect());
    }
    w.start_all();
    w.run_until(20_000, |w| all_see(w, 2));
    let (here, there) = connect(&mut w, 0, 2, 1);
    w.rate = 20;
    w.circuit_send(0, here, vec![3; 200_000], 1);
    w.run(3_000);
    let before = w.now;
    w.send(0, 1, Lane::Bus, b"quick".to_vec(), 2);
    w.run_until(1_000, |w| w.nodes[1].messages(Lane::Bus) == [b"quick"]);
    assert!(w.now - before <= 150, "{} ms", w.now - before);
    w.run(30_000);
    assert_eq!(w.nodes[2].circuit_messages(there).len(), 1);
    let s = w.nodes[1].mesh.circuit_stats();
    assert!(s.peak <= 4 << 10, "{s:?}");
}

#[test]
fn ten_thousand_opens_leave_nothing_behind() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let mut ends = std::collections::BTreeMap::new();
    for id in 1..=10_000u64 {
        let circuit = w.open(0, 2, id, 0);
        if id % 100 == 0 {
            w.run(20);
            let s = w.nodes[1].mesh.circuit_stats();
            assert!(s.relayed <= 64, "{s:?}");
        }
        if id % 500 == 0 {
            // Those that are open are closed again.
            for old in 1..=id {
                let circuit = CircuitId(old);
                w.input(0, Input::CircuitClose { circuit, code: 0 });
            }
            w.run(200);
        }
        let _ = circuit;
    }
    w.run(60_000);
    for a in &w.nodes[0].log {
        if let Action::CircuitClosed { circuit, reason } = a {
            assert_eq!(ends.insert(*circuit, *reason), None, "{circuit} closed twice");
        }
    }
    assert_eq!(ends.len(), 10_000);
    assert!(ends.values().all(|e| matches!(e, CircuitEnd::Local | CircuitEnd::Capacity)));
    assert!(w.nodes[0].log.iter().filter(|a| matches!(a, Action::CircuitOpened { .. })).count() >= 100);
    nothing_is_left(&w);
}

#[test]
fn stop_ends_circuits_with_a_reason_and_start_begins_anew() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let (here, there) = connect(&mut w, 0, 2, 1);
    w.cut.insert((0, 1));
    w.circuit_send(0, here, b"never".to_vec(), 1);
    w.input(0, Input::Stop);
    assert_eq!(w.nodes[0].end_of(here), Some(CircuitEnd::Stopped));
    assert_eq!(w.nodes[0].circuit_failed(here), [1]);
    assert_eq!(w.nodes[0].mesh.circuit_stats().ends, 0);
    w.cut.clear();
    w.input(0, Input::Start);
    w.run(60_000);
    assert_eq!(w.nodes[2].end_of(there), Some(CircuitEnd::Lost));
    connect(&mut w, 0, 2, 2);
}

#[test]
fn an_idle_circuit_costs_a_ping_now_and_then() {
    let mut w = mesh(3, &line(3), |_, _| {});
    w.run(5_000);
    let start = w.wire.len();
    w.run(120_000);
    let without = w.wire.len() - start;
    connect(&mut w, 0, 2, 1);
    w.run(5_000);
    let start = w.wire.len();
    w.run(120_000);
    let with = w.wire.len() - start;
    assert!(with < without + 12_000, "{without} bytes in two minutes without, {with} with");
}

#[test]
fn a_circuit_that_nobody_uses_stays_open_through_its_relays() {
    let mut w = mesh(4, &line(4), |_, _| {});
    let (here, there) = connect(&mut w, 0, 3, 1);
    w.run(600_000);
    assert_eq!((w.nodes[0].end_of(here), w.nodes[3].end_of(there)), (None, None));
    w.circuit_send(3, there, b"still here".to_vec(), 1);
    w.run(200);
    assert_eq!(w.nodes[0].circuit_messages(here), [b"still here"]);
}

#[test]
fn bytes_on_every_wire_hide_content_and_purpose() {
    let mut w = mesh(3, &line(3), |_, _| {});
    let (here, _) = connect(&mut w, 0, 2, 1);
    w.circuit_send(0, here, b"a planted secret in a circuit".to_vec(), 1);
    w.run(500);
    let found = w.wire.windows(15).any(|x| x == b"a planted secre");
    assert!(!found && w.nodes[0].circuit_transmitted(here) == [1]);
}

#[test]
fn a_lost_link_hands_over_to_the_standby_with_everything_under_way() {
    // T4.2: 5 MB of sync, a stream and a bulk circuit, and the better link of two breaks.
    let mut w = World::new();
    w.kind = LinkKind::WebSocket;
    w.add("a", |_| {});
    w.add("b", |_| {});
    w.start_all();
    w.input(0, Input::SetStaticTargets(vec![target("b")]));
    w.run_until(5_000, both_connected);
    w.kind = LinkKind::AccessPoint;
    let (small, large) = if w.nodes[0].key < w.nodes[1].key { (0, "b/lan") } else { (1, "a/lan") };
    w.discover(small, "token of the other", &[large]);
    w.run(1_000);
    assert_eq!(w.links(0, 1), 2, "the WebSocket stays as a standby");
    let (stream, at_b) = connect(&mut w, 0, 1, 1);
    let (bulk, bulk_at_b) = connect(&mut w, 0, 1, 2);
    w.rate = 2_000;
    for tag in 0..50 {
        w.send(0, 1, Lane::SyncBulk, vec![tag as u8; 100_000], tag);
    }
    let mut sent = 0;
    let mut broken = 0;
    for tag in 0..150 {
        if tag < 4 {
            w.circuit_send(0, bulk, vec![tag as u8; 1_000_000], tag);
        }
        w.circuit_send(0, stream, numbered(sent, 300), sent);
        sent += 1;
        w.run(20);
        if tag == 40 {
            w.break_kind(0, 1, LinkKind::AccessPoint);
            broken = numbers(&w, 1, at_b).len();
            w.run(1_000);
            assert!(numbers(&w, 1, at_b).len() >= sent as usize - 1, "goes on within a second");
        }
    }
    w.run(20_000);
    assert!(broken > 20);
    assert_eq!(w.nodes[0].connects() + w.nodes[1].connects(), 2, "the app notices nothing");
    assert_eq!(numbers(&w, 1, at_b), (0..sent).collect::<Vec<_>>());
    let bulk: Vec<u8> = w.nodes[1].circuit_messages(bulk_at_b).iter().map(|m| m[0]).collect();
    assert_eq!(bulk, [0, 1, 2, 3]);
    let sync: Vec<u8> = w.nodes[1].messages(Lane::SyncBulk).iter().map(|m| m[0]).collect();
    assert_eq!(sync, (0..50).collect::<Vec<u8>>());
    assert_eq!(w.nodes[0].transmitted(), (0..50).collect::<Vec<_>>());
}
