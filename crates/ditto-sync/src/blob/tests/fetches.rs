//! What the app is told.

use super::sources::LAN;
use super::world::*;
use crate::blob::*;

fn wish(timeout: Option<u64>, unavailable_after: Option<u64>) -> impl Fn(u64, BlobName) -> BlobInput<String> {
    move |fetch, name| BlobInput::Fetch { fetch: FetchId(fetch), name, timeout, unavailable_after }
}

#[test]
fn a_fetch_waits_for_peers_as_long_as_it_takes() {
    let mut w = World::new(2, 1);
    let name = w.add(1, CHUNK, &[0]);
    w.fetch(1, 1, name);
    w.run(40 * 86_400_000);
    assert_eq!(w.end(1, 1), None);
    w.link(0, 1, LAN.0, LAN.1);
    w.run(w.now + 1_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Completed));
}

#[test]
fn a_timeout_ends_a_fetch_in_any_phase() {
    let mut w = World::new(2, 2);
    let name = w.add(1, 100 * CHUNK, &[0]);
    w.input(1, wish(Some(3_000), None)(1, name));
    w.run(60_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::TimedOut));
    // Under way.
    w.link(0, 1, 1, 100);
    w.input(1, wish(Some(30_000), None)(2, name));
    w.run(w.now + 40_000);
    assert_eq!(w.end(1, 2), Some(&FetchEnd::TimedOut));
    let arrived = w.store(1).held[&name].count();
    assert!(arrived > 5);
    // While it is being read.
    w.nodes[1].load_ms = 5_000;
    w.input(1, wish(Some(1_000), None)(3, name));
    let end = w.run_while(w.now + 60_000, |w| w.end(1, 3).is_none());
    assert!(w.run(end + 10_000) > 0);
    assert_eq!(w.end(1, 3), Some(&FetchEnd::TimedOut));
    assert_eq!(w.store(1).is_open(), 0);
    // What has arrived was not lost.
    w.nodes[1].load_ms = 0;
    w.complete(1, 4, name);
    assert_eq!(w.nodes[1].progress[&4][0], arrived * CHUNK);
}

#[test]
fn unavailable_is_said_when_all_were_asked_and_not_before() {
    let mut w = World::new(3, 3);
    let name = w.add(1, CHUNK, &[]);
    w.input(2, wish(None, Some(5_000))(1, name));
    w.run(100_000);
    // Nobody was there to ask.
    assert_eq!(w.end(2, 1), None);
    w.link(1, 2, LAN.0, LAN.1);
    w.link(0, 1, LAN.0, LAN.1);
    let end = w.run_while(200_000, |w| w.end(2, 1).is_none());
    assert_eq!(w.end(2, 1), Some(&FetchEnd::Unavailable));
    assert!((105_000..110_000).contains(&end), "{end}");
    // Not even with no patience before the answers could be here.
    w.give(0, name, |_| true);
    w.input(2, wish(None, Some(0))(2, name));
    w.run(300_000);
    assert_eq!(w.end(2, 2), Some(&FetchEnd::Completed));
}

#[test]
fn unavailable_is_not_said_while_a_holder_is_tried() {
    let mut w = World::new(3, 4);
    let name = w.add(1, CHUNK, &[0]);
    w.no_circuits = true;
    w.link(0, 1, LAN.0, LAN.1);
    w.link(1, 2, LAN.0, LAN.1);
    w.input(2, wish(None, Some(0))(1, name));
    w.run(8_000);
    assert_eq!(w.end(2, 1), None);
    w.run(600_000);
    assert_eq!(w.end(2, 1), Some(&FetchEnd::Unavailable));
}

#[test]
fn cancelling_stops_the_traffic_and_is_said_once() {
    let mut w = World::new(2, 5);
    let name = w.add(1, 200 * CHUNK, &[0]);
    w.link(0, 1, 5, 10_000);
    w.fetch(1, 1, name);
    w.run(w.now + 500);
    for _ in 0..2 {
        w.input(1, BlobInput::Cancel { fetch: FetchId(1) });
    }
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Cancelled));
    assert_eq!(w.store(1).is_open(), 0);
    w.run(w.now + 20);
    let sent = w.all_chunks_sent();
    assert!(sent < 40);
    w.run(w.now + 600_000);
    assert_eq!(w.all_chunks_sent(), sent);
    w.input(1, BlobInput::Cancel { fetch: FetchId(77) });
}

#[test]
fn cancelling_while_it_is_read_and_wanting_it_again() {
    let mut w = World::new(2, 6);
    let name = w.add(1, 10 * CHUNK, &[0]);
    w.link(0, 1, LAN.0, LAN.1);
    w.nodes[1].load_ms = 1_000;
    w.fetch(1, 1, name);
    w.input(1, BlobInput::Cancel { fetch: FetchId(1) });
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Cancelled));
    w.fetch(1, 2, name);
    w.run(w.now + 3_000);
    assert_eq!(w.end(1, 2), Some(&FetchEnd::Completed));
    w.fetch(1, 3, name);
    w.input(1, BlobInput::Cancel { fetch: FetchId(3) });
    w.run(w.now + 3_000);
    assert_eq!(w.store(1).is_open(), 0);
}

#[test]
fn two_fetches_of_one_blob_are_one_transfer() {
    let mut w = World::new(2, 7);
    let name = w.add(1, 100 * CHUNK, &[0]);
    w.link(0, 1, LAN.0, LAN.1);
    w.fetch(1, 1, name);
    w.run(w.now + 200);
    w.fetch(1, 2, name);
    w.fetch(1, 3, name);
    assert!(w.nodes[1].progress[&2][0] > 0);
    w.input(1, BlobInput::Cancel { fetch: FetchId(1) });
    w.run(w.now + 60_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Cancelled));
    for fetch in [2, 3] {
        assert_eq!(w.end(1, fetch), Some(&FetchEnd::Completed));
    }
    assert_eq!(w.all_chunks_sent(), 100);
}

#[test]
fn what_comes_to_be_here_otherwise_completes_a_fetch() {
    let mut w = World::new(2, 8);
    let name = w.add(1, 3 * CHUNK, &[]);
    w.link(0, 1, LAN.0, LAN.1);
    w.fetch(1, 1, name);
    w.run(w.now + 1_000);
    w.give(1, name, |_| true);
    w.run(w.now + 60_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Completed));
}

#[test]
fn what_nobody_has_does_not_hold_up_the_rest() {
    let mut w = World::new(2, 9);
    w.link(0, 1, LAN.0, LAN.1);
    let missing: Vec<_> = (0..2 * limits::MAX_ACTIVE as u8).map(|n| w.add(n, CHUNK, &[])).collect();
    let there: Vec<_> = (100..140).map(|n| w.add(n, CHUNK, &[0])).collect();
    for (fetch, name) in (0..).zip(missing.iter().chain(&there)) {
        w.fetch(1, fetch, *name);
        assert!(w.store(1).is_open() <= limits::MAX_ACTIVE);
    }
    w.run(120_000);
    for fetch in 0..missing.len() as u64 {
        assert_eq!(w.end(1, fetch), None);
    }
    for fetch in missing.len() as u64..(missing.len() + there.len()) as u64 {
        assert_eq!(w.end(1, fetch), Some(&FetchEnd::Completed));
    }
    assert_eq!(w.nodes[0].violations.len() + w.nodes[1].violations.len(), 0);
    // They still have their turns.
    w.give(0, missing[0], |_| true);
    w.input(0, BlobInput::Appeared { name: missing[0] });
    w.run(w.now + 120_000);
    assert_eq!(w.end(1, 0), Some(&FetchEnd::Completed));
}
