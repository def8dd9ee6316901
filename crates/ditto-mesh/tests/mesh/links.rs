//! Dialling, duplicates, dead links, hostile bytes, stop and start.

use ditto_mesh::transport::{ACCEPTED_LINK_BIT, LinkId, LinkKind, NetEvent, Role};
use ditto_mesh::{Action, ConnectionEvent, Input, Lane, MeshConfig, Refusal};

use crate::harness::*;

/// Two machines that dial each other at the same moment.
fn mutual(latency: u64) -> World {
    let mut w = World::new();
    w.latency = latency;
    w.add("a", |c| c.static_targets = vec![target("b")]);
    w.add("b", |c| c.static_targets = vec![target("a")]);
    w.start_all();
    w
}

#[test]
fn simultaneous_dials_leave_one_link_dialled_by_the_smaller_key() {
    for latency in [1, 7, 50, 300] {
        let mut w = mutual(latency);
        w.run(20 * latency + 500);
        assert!(both_connected(&w));
        assert_eq!(w.links(0, 1), 1, "latency {latency}");
        let (small, large) = if w.nodes[0].key < w.nodes[1].key { (0, 1) } else { (1, 0) };
        assert!(w.nodes.iter().all(|n| n.connects() == 1), "the app sees one connection and no flapping");
        assert_eq!(w.dialled_links(small, large), 1, "latency {latency}: the dial of the smaller key wins");
        w.run(120_000);
        assert_eq!(
            w.nodes[0].dials.len() + w.nodes[1].dials.len(),
            2,
            "connected peers are not dialled again"
        );
    }
}

#[test]
fn no_message_is_lost_while_links_are_sorted_out() {
    for stagger in 0..12 {
        let mut w = World::new();
        w.latency = 10;
        w.add("a", |_| {});
        w.add("b", |_| {});
        w.start_all();
        w.input(0, Input::SetStaticTargets(vec![target("b")]));
        w.run(stagger * 5);
        w.input(1, Input::SetStaticTargets(vec![target("a")]));
        let mut sent = [0, 0];
        for _ in 0..150 {
            w.run(2);
            for (from, to) in [(0, 1), (1, 0)] {
                if w.nodes[from].connected().contains(&w.nodes[to].key) {
                    w.send(from, to, Lane::SyncLive, vec![sent[from] as u8; 3000], sent[from]);
                    sent[from] += 1;
                }
            }
        }
        w.run(2000);
        for (from, to) in [(0, 1), (1, 0)] {
            assert_eq!(w.nodes[from].connects(), 1);
            assert!(sent[from] > 50);
            assert_eq!(w.nodes[from].transmitted(), (0..sent[from]).collect::<Vec<_>>());
            let got: Vec<u8> = w.nodes[to].messages(Lane::SyncLive).iter().map(|m| m[0]).collect();
            assert_eq!(got, (0..sent[from]).map(|i| i as u8).collect::<Vec<_>>());
        }
        assert_eq!(w.links(0, 1), 1);
    }
}

#[test]
fn a_better_link_takes_the_session_over() {
    let mut w = World::new();
    w.kind = LinkKind::Bluetooth;
    w.add("a", |_| {});
    w.add("b", |_| {});
    w.start_all();
    w.input(0, Input::SetStaticTargets(vec![target("b")]));
    w.run_until(5000, both_connected);
    w.rate = 20;
    w.send(0, 1, Lane::SyncBulk, vec![1; 40_000], 1);
    w.send(1, 0, Lane::SyncBulk, vec![2; 40_000], 2);
    w.run(500);
    // A discovery token leads to the same peer over a LAN.
    w.kind = LinkKind::AccessPoint;
    w.rate = 0;
    let (small, large) = if w.nodes[0].key < w.nodes[1].key { (0, "b/lan") } else { (1, "a/lan") };
    w.discover(small, "token of the other", &[large]);
    w.run(1000);
    assert_eq!(w.links(0, 1), 1);
    assert_eq!(w.nodes[1].messages(Lane::SyncBulk), [&[1; 40_000][..]]);
    assert_eq!(w.nodes[0].messages(Lane::SyncBulk), [&[2; 40_000][..]]);
    for n in &w.nodes {
        assert_eq!(n.connects(), 1);
        assert!(
            n.events().any(|e| matches!(e, ConnectionEvent::Switched { kind: LinkKind::AccessPoint, .. }))
        );
        assert_eq!(n.mesh.graph().local_peer.connections[0].connection_type, LinkKind::AccessPoint);
    }
}

#[test]
fn a_broken_link_is_dialled_again() {
    let mut w = connected_pair(|_| {});
    w.run(20_000);
    w.send(0, 1, Lane::SyncLive, vec![1; 100], 5);
    w.break_links(0, 1);
    w.run(10);
    assert_eq!(w.nodes[0].failed(), [5]);
    assert!(w.nodes[0].connected().is_empty() && w.nodes[1].connected().is_empty());
    w.run(2000);
    assert!(both_connected(&w));
    w.send(0, 1, Lane::SyncLive, vec![2; 100], 6);
    w.run(100);
    assert_eq!(w.nodes[0].transmitted(), [6]);
}

#[test]
fn after_a_change_of_network_what_does_not_answer_is_dropped_soon() {
    let mut w = connected_pair(|_| {});
    w.run(20_000);
    w.input(0, Input::NetworkChanged);
    w.run(10_000);
    assert!(both_connected(&w) && w.nodes.iter().all(|n| n.connects() == 1), "what answers stays");
    // The address is gone, and with it the way back: nobody is told.
    w.cut.insert((0, 1));
    w.input(0, Input::NetworkChanged);
    w.run(4_000);
    assert!(w.nodes[0].connected().is_empty());
    w.cut.clear();
    w.run(8_000);
    assert!(both_connected(&w), "and is found again before the other side would have missed it");
}

#[test]
fn a_silent_peer_is_dropped_after_two_missed_pings_and_found_again() {
    let mut w = connected_pair(|_| {});
    w.run(100_000);
    assert!(both_connected(&w), "idle links stay");
    w.cut.insert((0, 1));
    w.run(46_000);
    assert!(w.nodes.iter().all(|n| n.connected().is_empty()));
    w.cut.clear();
    w.run(8_000);
    assert!(both_connected(&w));
}

#[test]
fn only_one_side_noticing_a_loss_does_not_keep_it_out() {
    // The dialer loses the link without the acceptor noticing, and comes back: as the smaller and as the larger key.
    for (a, b) in [(0, 1), (1, 0)] {
        let mut w = World::new();
        let limits = |c: &mut MeshConfig| c.discovery_token = c.device_name.clone();
        let configs = [config("x", 0, limits), config("y", 1, limits)];
        for (name, i) in [("x", a), ("y", b)] {
            let mut c = configs[i].clone();
            c.static_targets = if name == "x" { vec![target("y")] } else { vec![] };
            w.add_config(name, c);
        }
        w.start_all();
        w.run_until(1000, both_connected);
        w.run(30_000);
        w.lose_link_at(0, 1);
        w.run(20_000);
        assert!(both_connected(&w));
        assert_eq!(w.links(0, 1), 1);
        w.send(1, 0, Lane::Bus, b"still here".to_vec(), 1);
        w.send(0, 1, Lane::Bus, b"and here".to_vec(), 2);
        w.run(100);
        assert_eq!(w.nodes[0].messages(Lane::Bus).last(), Some(&&b"still here"[..]));
        assert_eq!(w.nodes[1].messages(Lane::Bus).last(), Some(&&b"and here"[..]));
    }
}

#[test]
fn unreachable_targets_are_retried_with_growing_delays() {
    let mut w = World::new();
    w.add("a", |c| {
        c.static_targets = vec![target("nobody")];
        c.discovery_token = "m".into();
    });
    w.start_all();
    w.discover(0, "z", &["nowhere"]);
    w.run(1_500_000);
    let gaps = |name: &str| -> Vec<u64> {
        let of: Vec<u64> =
            w.nodes[0].dials.iter().filter(|(_, t)| *t == target(name)).map(|(at, _)| *at).collect();
        of.windows(2).map(|p| p[1] - p[0]).collect()
    };
    let fixed = gaps("nobody");
    assert!(
        fixed[0] <= 1001 && fixed[1] >= 1000 && fixed[3..].iter().all(|g| (2500..=5001).contains(g)),
        "{fixed:?}"
    );
    let found = gaps("nowhere");
    for (i, g) in found.iter().enumerate() {
        let full = (1000 << i.min(20)).min(300_000);
        assert!((full / 2..=full + 1).contains(g), "{found:?}");
    }
    assert!(found.len() > 10 && found.iter().any(|g| *g > 140_000));
}

#[test]
fn the_larger_token_waits_and_then_dials() {
    let mut w = World::new();
    for name in ["a", "b"] {
        w.add(name, |c| c.discovery_token = format!("token {name}"));
    }
    w.start_all();
    w.discover(1, "token a", &["a"]);
    w.run(1900);
    assert!(w.nodes[1].dials.is_empty());
    w.run(200);
    assert_eq!(w.nodes[1].dials.len(), 1);
    assert!(both_connected(&w));
    // The other side knows from HELLO whom the token stands for.
    w.discover(0, "token b", &["b"]);
    w.run(60_000);
    assert!(w.nodes[0].dials.is_empty());
}

#[test]
fn garbage_is_refused_and_leaves_nothing_behind() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 70_000], &[22, 3, 1, 0, 1, 9]] {
        let mut w = World::new();
        w.add("a", |_| {});
        w.start_all();
        let link = LinkId(ACCEPTED_LINK_BIT | 7);
        let (kind, role, remote) = (LinkKind::AccessPoint, Role::Acceptor, "1.2.3.4:5".to_owned());
        w.input(0, Input::Net(NetEvent::LinkUp { link, kind, role, remote }));
        w.input(0, Input::Net(NetEvent::Bytes { link, bytes: bytes.to_vec() }));
        w.run(11_000);
        let refusals = w.nodes[0].refusals();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(
            matches!(refusals[0], (true, Refusal::Tls(_) | Refusal::Malformed(_) | Refusal::Timeout)),
            "{refusals:?}"
        );
        assert_eq!(w.nodes[0].connects(), 0);
    }
}

#[test]
fn silent_and_surplus_links_are_closed() {
    let mut w = World::new();
    w.add("a", |c| c.limits.max_pending_links = 4);
    w.start_all();
    for i in 0..6 {
        let (kind, role, remote) = (LinkKind::AccessPoint, Role::Acceptor, format!("stranger {i}"));
        let link = LinkId(ACCEPTED_LINK_BIT | i);
        w.input(0, Input::Net(NetEvent::LinkUp { link, kind, role, remote }));
    }
    // Two of the older ones have made room.
    assert_eq!(w.nodes[0].refusals(), vec![(true, Refusal::Capacity); 2]);
    w.run(9_999);
    assert_eq!(w.nodes[0].refusals().len(), 2);
    w.run(1);
    assert_eq!(w.nodes[0].refusals()[2..], vec![(true, Refusal::Timeout); 4]);
}

/// Which byte of a TLS record the byte at `at` of a stream of records is.
fn place_in_record(stream: &[u8], at: usize) -> usize {
    let mut start = 0;
    while let Some(&[_, _, _, high, low]) = stream.get(start..start + 5) {
        let end = start + 5 + usize::from(u16::from_be_bytes([high, low]));
        if at < end {
            return at - start;
        }
        start = end;
    }
    panic!("byte {at} of {} is in no record", stream.len())
}

#[test]
fn strangers_that_hold_every_pending_link_keep_nobody_out() {
    let stranger = |w: &mut World, i: u64, host: u64| {
        let (kind, role, remote) = (LinkKind::AccessPoint, Role::Acceptor, format!("192.0.2.{host}:{i}"));
        let link = LinkId(ACCEPTED_LINK_BIT | 0x1000_0000 | i);
        w.input(0, Input::Net(NetEvent::LinkUp { link, kind, role, remote }));
    };
    // Of one address, of a few, and of as many as there are links.
    for hosts in [1, 4, 64] {
        let mut w = World::new();
        w.add("a", |c| {
            c.admission = shared(&[3; 32]);
            assert_eq!(c.limits.max_pending_links, 64);
        });
        w.add("b", |c| {
            c.admission = shared(&[3; 32]);
            c.static_targets = vec![target("a")];
        });
        w.input(0, Input::Start);
        for i in 0..64 {
            stranger(&mut w, i, i % hosts);
        }
        assert_eq!(w.nodes[0].refusals(), []);
        w.input(1, Input::Start);
        // The strangers go on while the peer shakes hands.
        for i in 64..96 {
            w.run(2);
            stranger(&mut w, i, i % hosts);
        }
        w.run(500);
        assert_eq!(w.nodes[0].connects(), 1, "{hosts} addresses");
        let refusals = w.nodes[0].refusals();
        // Each newcomer beyond the limit cost one stranger its place, and each is told of.
        assert!((32..=33).contains(&refusals.len()), "{}", refusals.len());
        assert!(refusals.iter().all(|r| *r == (true, Refusal::Capacity)), "{refusals:?}");
    }
}

#[test]
fn changed_bytes_close_the_link_and_nothing_else() {
    // A reference run tells how many bytes each side sends; then one byte of each direction is changed at a time.
    type Sent = [Vec<u8>; 2];
    let script = |tamper: Option<(usize, usize)>| -> (World, Sent) {
        let mut w = pair(|c| c.admission = shared(&[3; 32]));
        let sent = std::rc::Rc::new(std::cell::RefCell::new(Sent::default()));
        let seen = sent.clone();
        w.tamper = Some(Box::new(move |from, _, bytes| {
            let mut seen = seen.borrow_mut();
            let start = seen[from].len();
            seen[from].extend_from_slice(bytes);
            if let Some((side, at)) = tamper
                && side == from
                && (start..start + bytes.len()).contains(&at)
            {
                bytes[at - start] ^= 1 << (at % 8);
            }
        }));
        w.run(60);
        w.send(0, 1, Lane::SyncLive, vec![5; 200], 1);
        w.run(60);
        let sent = sent.borrow().clone();
        (w, sent)
    };
    let (w, reference) = script(None);
    assert_eq!(w.nodes[1].messages(Lane::SyncLive).len(), 1);
    let samples: usize = std::env::var("MESH_FLIPS").ok().and_then(|v| v.parse().ok()).unwrap_or(40);
    for side in [0, 1] {
        for i in 0..samples {
            // Signatures differ in length from run to run, so the end of the shorter run is left out.
            let at = i * (reference[side].len() - 16) / samples;
            let (mut w, sent) = script(Some((side, at)));
            // A changed length may only show when nothing more comes.
            w.run(50_000);
            let closed = |e: &ConnectionEvent| {
                matches!(e, ConnectionEvent::Refused { .. } | ConnectionEvent::LinkClosed { .. })
            };
            let place = place_in_record(&sent[side], at);
            if !w.nodes.iter().flat_map(|n| n.events()).any(closed) {
                // Only type and version before a record have no meaning once it is encrypted.
                assert!(place < 3, "byte {at} of {side}, {place} of its record, went unnoticed");
                assert!(both_connected(&w) && w.nodes[1].messages(Lane::SyncLive).len() == 1);
            }
            for n in &w.nodes {
                assert!(
                    n.messages(Lane::SyncLive).iter().all(|m| **m == [5; 200]),
                    "changed data got through"
                );
                for e in n.events() {
                    assert!(
                        !matches!(e, ConnectionEvent::Violation { .. }),
                        "byte {at} of {side} reached the frames: {e}"
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_on_the_wire_names_anybody() {
    let mut w = World::new();
    w.add("kitchen-tablet", |c| {
        c.static_targets = vec![target("dining-room")];
        c.discovery_token = "announced-token".into();
        c.os = "PlantedOsName".into();
    });
    w.add("dining-room", |_| {});
    w.start_all();
    w.run_until(1000, both_connected);
    w.send(0, 1, Lane::SyncLive, b"SELECT * FROM secret_collection".to_vec(), 1);
    w.send(0, 1, Lane::Bus, b"hello over the bus".to_vec(), 2);
    w.run(2000);
    assert!(w.nodes[0].transmitted().len() == 2 && w.wire.len() > 2000);
    let mut needles: Vec<Vec<u8>> =
        ["kitchen", "dining", "announced", "PlantedOs", "secret_coll", "the bus", "0.1.0"]
            .into_iter()
            .map(|s| s.as_bytes().to_vec())
            .collect();
    for n in &w.nodes {
        // The x coordinate of a key would name its owner in compressed and in plain form.
        needles.push(n.key.as_bytes()[2..].to_vec());
        needles.push(n.key.to_string().into_bytes());
        needles.push(n.key.short_id().to_vec());
    }
    needles.push(vec![0; 16]);
    needles.push(vec![1; 16]);
    for needle in needles {
        let found = w.wire.windows(needle.len()).position(|x| x == needle);
        assert_eq!(found, None, "{:?}", String::from_utf8_lossy(&needle));
    }
}

#[test]
fn a_static_target_that_is_ourselves_is_given_up() {
    let mut w = World::new();
    w.add("a", |c| c.static_targets = vec![target("a")]);
    w.start_all();
    w.run(60_000);
    assert_eq!(w.nodes[0].dials.len(), 1);
    let refusals = w.nodes[0].refusals();
    assert!(refusals.contains(&(true, Refusal::SelfConnection)), "{refusals:?}");
    assert_eq!(w.nodes[0].connects(), 0);
}

#[test]
fn copies_of_a_store_do_not_meet() {
    let mut w = pair(|c| c.store_id = [77; 16]);
    w.run(500);
    assert_eq!(w.nodes[1].refusals(), [(true, Refusal::SelfConnection)]);
    assert_eq!(w.nodes[0].refusals(), [(false, Refusal::SelfConnection)]);
}

#[test]
fn stop_says_goodbye_and_start_works_again() {
    let mut w = connected_pair(|_| {});
    w.run(1000);
    w.cut.clear();
    w.input(1, Input::Stop);
    w.run(5);
    assert!(w.nodes.iter().all(|n| n.connected().is_empty()), "the other side knows at once");
    assert!(w.nodes[1].mesh.graph().remote_peers.is_empty());
    assert_eq!(w.nodes[1].mesh.next_deadline(), None);
    // While stopped it takes nobody in.
    w.run(30_000);
    assert!(w.nodes[1].connected().is_empty());
    w.send(1, 0, Lane::Bus, vec![1], 9);
    assert_eq!(w.nodes[1].failed(), [9]);
    w.input(1, Input::Start);
    w.run(6_000);
    assert!(both_connected(&w));
    w.send(1, 0, Lane::Bus, vec![1], 10);
    w.run(100);
    assert_eq!(w.nodes[1].transmitted(), [10]);
    let peer = w.nodes[0].key;
    w.input(1, Input::Disconnect { peer, reason: "test".into() });
    w.run(5);
    assert!(w.nodes.iter().all(|n| n.connected().is_empty()));
}

#[test]
fn a_restarted_peer_replaces_its_former_self() {
    let mut w = connected_pair(|_| {});
    w.run(1000);
    // The process of the dialer dies without a word and comes back.
    let config = config("a", 0, |c| c.static_targets = vec![target("b")]);
    w.replace(0, config);
    w.input(0, Input::Start);
    w.run(1000);
    assert!(both_connected(&w));
    assert_eq!(w.nodes[1].connects(), 2);
    let gone = w.nodes[1]
        .log
        .iter()
        .any(|a| matches!(a, Action::PeerDisconnected { reason, .. } if reason.contains("restarted")));
    assert!(gone);
    w.send(1, 0, Lane::Bus, vec![1], 10);
    w.run(100);
    assert_eq!(w.nodes[1].transmitted(), [10]);
}

#[test]
fn a_weak_secret_does_not_start() {
    let mut w = World::new();
    w.add("a", |c| c.admission = shared(&[1; 8]));
    w.start_all();
    assert!(w.nodes[0].events().any(|e| matches!(e, ConnectionEvent::ConfigRejected(_))));
    assert_eq!(w.nodes[0].mesh.next_deadline(), None);
}
