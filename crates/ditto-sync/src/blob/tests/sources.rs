//! Where chunks come from.

use super::world::*;
use crate::blob::*;

/// A LAN: 1 ms, 50 MB/s. A slow radio: 30 ms, 20 kB/s.
pub(super) const LAN: (u64, u64) = (1, 50_000);
const RADIO: (u64, u64) = (30, 20);

#[test]
fn a_blob_comes_from_a_neighbour_each_chunk_once() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 37 * CHUNK + 5] {
        let mut w = World::new(2, len);
        let name = w.add(1, len, &[0]);
        w.link(0, 1, LAN.0, LAN.1);
        let took = w.complete(1, 1, name);
        let chunks = ditto_types::blob_chunks(len) as usize;
        assert_eq!((w.all_chunks_sent(), w.store(1).put_twice), (chunks, 0));
        // The line is kept busy.
        assert!(took <= len / LAN.1 + 100, "{took} ms for {len} bytes");
        let progress = &w.nodes[1].progress[&1];
        assert!(progress.iter().all(|n| *n <= len) && progress[0] == 0);
    }
}

#[test]
fn a_long_way_is_filled() {
    let mut w = World::new(2, 1);
    let name = w.add(1, 200 * CHUNK, &[0]);
    w.link(0, 1, 50, 15_000);
    let took = w.complete(1, 1, name);
    let limit = 200 * CHUNK / 15_000;
    assert!(took < limit * 3 / 2, "{took} ms, {limit} at the rate of the line");
}

#[test]
fn two_sources_share_the_work() {
    let mut w = World::new(3, 2);
    let name = w.add(1, 200 * CHUNK, &[0, 1]);
    w.link(0, 2, LAN.0, 10_000);
    w.link(1, 2, LAN.0, 10_000);
    let took = w.complete(2, 1, name);
    let (a, b) = (w.chunks_sent(0, 2), w.chunks_sent(1, 2));
    assert_eq!((a + b, w.store(2).put_twice), (200, 0));
    assert!(a > 80 && b > 80, "{a} and {b}");
    assert!(took < 200 * CHUNK / 20_000 * 5 / 4, "{took} ms");
}

#[test]
fn a_slow_source_does_not_decide_when_the_blob_is_here() {
    let mut w = World::new(3, 3);
    let name = w.add(1, 100 * CHUNK, &[0, 1]);
    w.link(0, 2, LAN.0, LAN.1);
    w.link(1, 2, RADIO.0, RADIO.1);
    let took = w.complete(2, 1, name);
    // One chunk alone takes 13 s over the radio.
    assert!(took < 6_000, "{took} ms");
    assert!(w.all_chunks_sent() <= 100 + 2 * limits::FIRST_WINDOW);
}

#[test]
fn holders_of_different_parts_complete_each_other() {
    let mut w = World::new(3, 4);
    let name = w.add(1, 60 * CHUNK, &[]);
    w.give(0, name, |i| i % 3 != 0);
    w.give(1, name, |i| i % 3 != 1);
    w.link(0, 2, LAN.0, LAN.1);
    w.link(1, 2, LAN.0, LAN.1);
    w.complete(2, 1, name);
    assert_eq!(w.all_chunks_sent(), 60);
}

#[test]
fn peers_that_fetch_the_same_help_each_other() {
    let mut w = World::new(5, 5);
    let name = w.add(1, 120 * CHUNK, &[0]);
    for a in 0..5 {
        for b in 0..a {
            w.link(a, b, LAN.0, 1_000);
        }
    }
    for node in 1..5 {
        w.fetch(node, 1, name);
    }
    w.run(600_000);
    for node in 1..5 {
        assert_eq!(w.end(node, 1), Some(&FetchEnd::Completed));
    }
    let from_source: usize = (1..5).map(|n| w.chunks_sent(0, n)).sum();
    assert!(from_source < 2 * 120, "the source sent {from_source} chunks of 120 to four peers");
    assert!(w.all_chunks_sent() < 4 * 120 + 20, "{} chunks", w.all_chunks_sent());
}

#[test]
fn a_neighbour_that_gets_the_blob_later_says_so() {
    let mut w = World::new(2, 6);
    let name = w.add(1, 5 * CHUNK, &[]);
    w.link(0, 1, LAN.0, LAN.1);
    w.fetch(1, 1, name);
    w.run(100_000);
    assert_eq!(w.end(1, 1), None);
    let messages = w.nodes[1].sent_messages;
    assert!(messages <= 12, "{messages} messages for a blob that is not there");
    w.give(0, name, |_| true);
    w.input(0, BlobInput::Appeared { name });
    let end = w.run_while(200_000, |w| w.end(1, 1).is_none());
    assert!(end < 100_200, "{end}");
}

#[test]
fn relays_carry_what_they_do_not_hold() {
    for hops in 2..=8usize {
        let mut w = World::new(hops + 1, hops as u64);
        let name = w.add(1, 20 * CHUNK, &[0]);
        for n in 0..hops {
            w.link(n, n + 1, 2, LAN.1);
        }
        let took = w.complete(hops, 1, name);
        assert!(took < 10_000, "{took} ms over {hops} hops");
        assert_eq!(w.circuits_opened, 1);
        for relay in 1..hops {
            assert!(!w.store(relay).held.contains_key(&name), "relay {relay} holds the blob");
            assert_eq!(w.relayed[&relay], 20);
        }
        // The circuit goes, and then all is quiet.
        w.run(w.now + 120_000);
        assert_eq!(w.nodes.iter().filter(|n| n.exchange.next_deadline().is_some()).count(), 0);
        assert_eq!(w.links().len(), hops);
        let before: usize = w.nodes.iter().map(|n| n.sent_messages).sum();
        w.run(w.now + 3_600_000);
        assert_eq!(w.nodes.iter().map(|n| n.sent_messages).sum::<usize>(), before);
    }
}

#[test]
fn nobody_looks_further_than_eight_hops() {
    let mut w = World::new(10, 7);
    let name = w.add(1, CHUNK, &[0]);
    for n in 0..9 {
        w.link(n, n + 1, 2, LAN.1);
    }
    let input = BlobInput::Fetch { fetch: FetchId(1), name, timeout: None, unavailable_after: Some(1_000) };
    w.input(9, input);
    w.run(60_000);
    assert_eq!(w.end(9, 1), Some(&FetchEnd::Unavailable));
    // One hop less is near enough.
    w.link(9, 1, 2, LAN.1);
    w.complete(9, 2, name);
}

#[test]
fn the_nearest_holder_is_taken() {
    // 0 - 1 - 2 - 3 - 4, and 4 and 1 have it: 0 is a neighbour of 1, so no circuit is needed; 2 hops for 3.
    let mut w = World::new(6, 8);
    let name = w.add(1, 10 * CHUNK, &[0, 5]);
    for n in 0..5 {
        w.link(n, n + 1, 2, LAN.1);
    }
    // 2 is two hops from 0 and three from 5.
    w.complete(2, 1, name);
    assert!(w.chunks_sent(0, 2) > 0);
    let mut v = World::new(6, 8);
    let name = v.add(1, 10 * CHUNK, &[0, 5]);
    for n in 0..5 {
        v.link(n, n + 1, 2, LAN.1);
    }
    // A neighbour that has it: no circuits at all.
    v.complete(4, 1, name);
    assert_eq!((v.circuits_opened, v.chunks_sent(5, 4)), (0, 10));
}

#[test]
fn a_cut_loses_only_what_was_under_way() {
    for seed in 0..4 {
        let mut w = World::new(2, seed);
        let name = w.add(1, 400 * CHUNK, &[0]);
        let mut link = w.link(0, 1, LAN.0, LAN.1);
        w.fetch(1, 1, name);
        for _ in 0..3 {
            let at = w.now + 100 + w.rng.below(500) as u64;
            w.run(at);
            w.cut(link);
            w.run(at + 50);
            link = w.link(0, 1, LAN.0, LAN.1);
        }
        w.run(w.now + 60_000);
        assert_eq!(w.end(1, 1), Some(&FetchEnd::Completed));
        assert_eq!(w.store(1).put_twice, 0);
        let again = w.all_chunks_sent() - 400;
        // At most what waits in the queue and what is on its way.
        assert!(again <= 3 * 3, "{again} chunks again after three cuts");
    }
}

#[test]
fn the_question_who_has_it_is_answered() {
    let mut w = World::new(5, 9);
    let name = w.add(1, 4 * CHUNK, &[0]);
    w.give(3, name, |i| i == 2);
    for n in 0..4 {
        w.link(n, n + 1, 2, LAN.1);
    }
    w.input(2, BlobInput::Locate { question: 7, name, patience: 500 });
    let end = w.run_while(60_000, |w| w.nodes[2].located.is_empty());
    assert!(end <= 1_500);
    let mut holders = w.nodes[2].located[&7].clone();
    holders.sort_by_key(|h| h.hops);
    let want = [
        BlobHolder { peer: peer(3), whole: false, hops: 1 },
        BlobHolder { peer: peer(0), whole: true, hops: 2 },
    ];
    assert_eq!(holders, want);
    // Alone the answer comes at once.
    let mut alone = World::new(1, 1);
    alone.input(0, BlobInput::Locate { question: 1, name, patience: 500 });
    assert_eq!(alone.nodes[0].located[&1], []);
}
