//! Credit, datagrams, shares and limits of circuits, and what they cost.

use super::*;

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
        assert!(s.peak <= (128 << 10) + (16 << 10), "relay {i}: {s:?}");
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
        assert!(s.peak > 0 && s.peak <= 128 << 10, "relay {i}: {s:?}");
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
            assert!(s.relayed <= ditto_mesh::Limits::default().max_circuits_per_peer, "{s:?}");
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
