//! Sessions that leave a link on which nothing is heard, and come back.

use ditto_mesh::transport::LinkKind;
use ditto_mesh::{ConnectionEvent, Input, Lane};

use crate::harness::*;

const LAN: LinkKind = LinkKind::AccessPoint;

/// Two machines with a WebSocket as the standby of a link over the LAN, and the controller's place.
fn pair_with_standby() -> (World, usize) {
    let mut w = World::new();
    w.kind = LinkKind::WebSocket;
    w.add("a", |_| {});
    w.add("b", |_| {});
    w.start_all();
    w.input(0, Input::SetStaticTargets(vec![target("b")]));
    w.run_until(5_000, both_connected);
    w.kind = LAN;
    let (small, large) = if w.nodes[0].key < w.nodes[1].key { (0, "b/lan") } else { (1, "a/lan") };
    w.discover(small, "token of the other", &[large]);
    w.run(10_000);
    assert_eq!(w.links(0, 1), 2, "the WebSocket stays as a standby");
    (w, small)
}

/// The links that carried the session of a machine, after the first.
fn moves(w: &World, node: usize) -> Vec<LinkKind> {
    let of = |e: &ConnectionEvent| match e {
        ConnectionEvent::Switched { kind, .. } => Some(*kind),
        _ => None,
    };
    w.nodes[node].events().filter_map(of).collect()
}

/// Sends one message each way every 50 ms, and counts them.
fn talk(w: &mut World, ms: u64, sent: &mut u64) {
    for _ in 0..ms / 50 {
        for (from, to) in [(0, 1), (1, 0)] {
            w.send(from, to, Lane::SyncLive, sent.to_le_bytes().to_vec(), *sent);
        }
        *sent += 1;
        w.run(50);
    }
}

fn all_arrived(w: &World, sent: u64) {
    for n in &w.nodes {
        let got: Vec<u64> = n
            .messages(Lane::SyncLive)
            .iter()
            .map(|m| u64::from_le_bytes((**m).try_into().unwrap()))
            .collect();
        assert_eq!(got, (0..sent).collect::<Vec<_>>(), "in order, none lost, none twice");
        assert_eq!(n.connects(), 1, "the app notices nothing");
    }
}

#[test]
fn a_silent_link_gives_the_session_to_the_standby_and_gets_it_back() {
    // Both ways, or only one of them: from the controller or to it.
    for stuck in [&[0, 1][..], &[0], &[1]] {
        let (mut w, controller) = pair_with_standby();
        let before = moves(&w, 0).len();
        let mut sent = 0;
        talk(&mut w, 1_000, &mut sent);
        w.stall(stuck, LAN);
        talk(&mut w, 6_000, &mut sent);
        w.run(100);
        all_arrived(&w, sent);
        assert_eq!(moves(&w, 0)[before..], [LinkKind::WebSocket], "{stuck:?} silent");
        if stuck == [controller] {
            // The other side could only close the link; it is dialled again.
            continue;
        }
        w.flow();
        talk(&mut w, 25_000, &mut sent);
        w.run(100);
        all_arrived(&w, sent);
        assert_eq!(moves(&w, 0)[before..], [LinkKind::WebSocket, LAN], "{stuck:?} was silent");
        assert_eq!(w.links(0, 1), 2);
    }
}

#[test]
fn a_link_that_comes_and_goes_moves_the_session_at_most_once_in_five_seconds() {
    let (mut w, _) = pair_with_standby();
    let (before, began, mut sent) = (moves(&w, 0).len(), w.now, 0);
    for _ in 0..20 {
        w.stall(&[0, 1], LAN);
        talk(&mut w, 3_000, &mut sent);
        w.flow();
        talk(&mut w, 3_000, &mut sent);
    }
    w.run(10_000);
    all_arrived(&w, sent);
    let moved = moves(&w, 0).len() - before;
    assert!(moved >= 2, "it moves");
    assert!(moved as u64 <= (w.now - began) / 5_000 + 1, "{moved} moves in {} ms", w.now - began);
}

#[test]
fn idle_links_with_a_standby_stay_as_they_are() {
    let (mut w, _) = pair_with_standby();
    let before = (moves(&w, 0).len(), w.wire.len());
    w.run(600_000);
    assert_eq!((moves(&w, 0).len(), w.links(0, 1)), (before.0, 2));
    let grown = w.wire.len() - before.1;
    assert!(grown < 60_000, "{grown} bytes in ten minutes");
}

#[test]
fn without_a_standby_a_link_gets_the_time_of_its_pings() {
    let mut w = connected_pair(|_| {});
    w.run(1_000);
    w.stall(&[0, 1], LinkKind::Memory);
    w.send(0, 1, Lane::SyncLive, vec![7; 10], 1);
    w.run(20_000);
    assert!(both_connected(&w));
    w.flow();
    w.run(1_000);
    assert_eq!((w.nodes[0].transmitted(), w.nodes[0].connects()), (vec![1], 1));
}
