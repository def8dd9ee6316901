//! Sources and stores that fail.

use super::sources::LAN;
use super::world::*;
use crate::blob::*;

#[test]
fn a_corrupt_source_is_found_out_and_another_one_used() {
    let mut w = World::new(3, 1);
    let name = w.add(1, 50 * CHUNK, &[0, 1]);
    w.store(0).lies = true;
    w.link(0, 2, LAN.0, LAN.1);
    w.link(1, 2, LAN.0, 5_000);
    w.complete(2, 1, name);
    assert_eq!(w.nodes[2].distrusted, [0]);
    assert_eq!((w.chunks_sent(1, 2), w.store(2).put_twice), (50, 0));
    // No more than was under way when the first was looked at.
    assert!(w.chunks_sent(0, 2) <= limits::MAX_WINDOW);
}

#[test]
fn a_corrupt_source_alone_gives_nothing() {
    let mut w = World::new(2, 2);
    let name = w.add(1, 5 * CHUNK, &[0]);
    w.store(0).lies = true;
    let link = w.link(0, 1, LAN.0, LAN.1);
    w.input(1, BlobInput::Fetch { fetch: FetchId(1), name, timeout: None, unavailable_after: Some(20_000) });
    w.run(10_000);
    w.cut(link);
    w.link(0, 1, LAN.0, LAN.1);
    w.run(60_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Unavailable));
    assert_eq!((w.nodes[1].distrusted.clone(), w.store(1).held[&name].count()), (vec![0], 0));
    // Whoever wants it anew asks anew.
    w.store(0).lies = false;
    w.complete(1, 2, name);
}

#[test]
fn a_corrupt_holder_far_away_is_left_for_an_honest_one() {
    let mut w = World::new(5, 3);
    let name = w.add(1, 10 * CHUNK, &[0, 4]);
    w.store(0).lies = true;
    for n in 0..4 {
        w.link(n, n + 1, 2, LAN.1);
    }
    w.complete(2, 1, name);
    assert_eq!(w.chunks_sent(4, 2), 10);
    assert!(w.nodes[2].distrusted.iter().all(|n| *n == 0));
}

#[test]
fn a_full_store_ends_the_fetch_with_its_error() {
    let mut w = World::new(2, 4);
    let name = w.add(1, 50 * CHUNK, &[0]);
    w.link(0, 1, LAN.0, LAN.1);
    w.fetch(1, 1, name);
    w.run_while(60_000, |w| w.nodes[1].progress.get(&1).is_none_or(|p| p.len() < 10));
    w.store(1).full = true;
    w.run(w.now + 1_000);
    assert_eq!(w.end(1, 1), Some(&FetchEnd::Failed("no space".into())));
    assert_eq!(w.store(1).is_open(), 0);
    w.store(1).full = false;
    w.complete(1, 2, name);
    assert_eq!(w.store(1).put_twice, 0);
}

#[test]
fn a_load_that_fails_ends_the_fetch() {
    let mut w = World::new(1, 5);
    let name = w.add(1, CHUNK, &[]);
    w.nodes[0].load_ms = 1_000_000;
    w.fetch(0, 1, name);
    w.input(0, BlobInput::Loaded { name, have: Err("cannot be read".into()) });
    assert_eq!(w.end(0, 1), Some(&FetchEnd::Failed("cannot be read".into())));
}

#[test]
fn a_source_that_loses_the_blob_says_so() {
    let mut w = World::new(3, 6);
    let name = w.add(1, 50 * CHUNK, &[0, 1]);
    w.link(0, 2, LAN.0, 5_000);
    w.link(1, 2, LAN.0, 5_000);
    w.fetch(2, 1, name);
    w.run(w.now + 300);
    w.store(0).held.remove(&name);
    let until = w.now + 10_000;
    w.run_while(until, |w| w.end(2, 1).is_none());
    assert_eq!(w.end(2, 1), Some(&FetchEnd::Completed));
    // And one that cannot be read.
    let name = w.add(2, 50 * CHUNK, &[0, 1]);
    w.fetch(2, 2, name);
    w.run(w.now + 300);
    w.store(1).broken = true;
    w.run(w.now + 10_000);
    assert_eq!(w.end(2, 2), Some(&FetchEnd::Completed));
    assert_eq!(w.store(2).put_twice, 0);
}

#[test]
fn a_holder_that_goes_is_replaced_by_the_next() {
    let mut w = World::new(6, 7);
    let name = w.add(1, 100 * CHUNK, &[0, 5]);
    for n in 0..5 {
        w.link(n, n + 1, 2, LAN.1);
    }
    w.fetch(2, 1, name);
    w.run_while(60_000, |w| w.nodes[2].progress.get(&1).is_none_or(|p| p.len() < 20));
    let link = w.link_between(0, 1).unwrap();
    w.cut(link);
    w.run(w.now + 120_000);
    assert_eq!(w.end(2, 1), Some(&FetchEnd::Completed));
    assert!(w.chunks_sent(5, 2) > 0);
}
