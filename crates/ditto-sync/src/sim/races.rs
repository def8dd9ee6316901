//! Rules that random schedules hit too rarely: each story goes well with the rule and badly without it.

use std::collections::BTreeSet;

use super::net::{Broken, Net};
use super::store::StoreRule;
use crate::engine::Rule;
use crate::{Lane, SyncConfig};

const ALL: &str = "SELECT * FROM c";
const ONE: &str = "SELECT * FROM c WHERE v = 1";

/// Runs a story with all rules and with one switched off.
fn needs(n: usize, rule: Rule, story: impl Fn(&mut Net)) {
    let run = |rules: &[Rule]| -> Result<(), Broken> {
        let mut net = Net::with_faults(n, 1, SyncConfig::default(), rules.iter().copied().collect());
        net.trace = std::env::var_os("DITTO_TRACE").is_some();
        story(&mut net);
        net.drain()?;
        net.check()
    };
    assert_eq!(run(&[]), Ok(()));
    assert!(run(&[rule]).is_err(), "the story does not need the rule {rule:?}");
}

#[test]
fn a_cursor_is_not_brought_back_after_an_evict_that_the_engine_has_not_seen() {
    let run = |faults: BTreeSet<StoreRule>| {
        let mut net = Net::new(2, 1, SyncConfig::default());
        net.nodes[1].store.set_faults(faults);
        net.nodes[0].store.put("c", "k1", &[("v", 1)]);
        net.subscribe(1, 1, ALL);
        net.up(0, 1);
        net.settle();
        net.nodes[1].store.evict("c", &["k1"]);
        net.nodes[0].store.put("c", "k2", &[("v", 1)]);
        net.publish_all(0);
        net.pass(0, 1, Lane::Live);
        // The process dies before the engine hears of the EVICT.
        net.nodes[1].store.checkpoint();
        net.crash(1);
        net.up(0, 1);
        net.drain()?;
        net.check()
    };
    assert_eq!(run(BTreeSet::new()), Ok(()));
    assert!(run(BTreeSet::from([StoreRule::SeenSeq])).is_err());
}

#[test]
fn a_store_that_lost_commits_writes_under_another_name() {
    let run = |faults: BTreeSet<StoreRule>| {
        let mut net = Net::new(2, 1, SyncConfig::default());
        net.nodes[0].store.set_faults(faults);
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.subscribe(1, 1, ALL);
        net.up(0, 1);
        net.settle();
        net.nodes[0].store.checkpoint();
        // The peer has a write that is lost here.
        net.nodes[0].store.update("c", "k", "a", 1);
        net.publish_all(0);
        net.pass(0, 1, Lane::Live);
        net.crash(0);
        // The next one has the same time; a later one makes the peer ask for what is newer than that.
        net.nodes[0].store.update("c", "k", "b", 1);
        net.advance(1_000);
        net.nodes[0].store.update("c", "k", "d", 1);
        net.up(0, 1);
        net.drain()?;
        net.check()
    };
    assert_eq!(run(BTreeSet::new()), Ok(()));
    assert!(run(BTreeSet::from([StoreRule::Incarnation])).is_err());
}

#[test]
fn own_seq_waits_for_the_confirmation_of_announcements() {
    needs(3, Rule::ConfirmOwn, |net| {
        // 2 has an old state of the document that has left the view at 0.
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.subscribe(2, 1, ONE);
        net.up(0, 2);
        net.settle();
        net.down(0, 2);
        net.nodes[0].store.update("c", "k", "v", 2);
        net.publish_all(0);
        net.subscribe(1, 1, ONE);
        net.up(0, 1);
        net.settle();
        // 1 gets it from there and announces it; the announcement is lost, but a push moves the cursor.
        net.up(1, 2);
        net.pass_between(1, 2);
        net.nodes[0].store.put("c", "z", &[("v", 1)]);
        net.publish_all(0);
        net.pass(0, 1, Lane::Live);
        net.down(0, 1);
        net.down(1, 2);
        net.up(0, 1);
    });
}

#[test]
fn a_page_from_before_an_evict_is_no_echo() {
    needs(2, Rule::EchoGeneration, |net| {
        net.subscribe(0, 1, ALL);
        net.up(0, 1);
        net.settle();
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.publish_all(0);
        net.subscribe(1, 1, ALL);
        net.pass(1, 0, Lane::Live);
        // The page with the document is under way; the wish that follows the EVICT overtakes it.
        net.nodes[0].store.evict("c", &["k"]);
        net.publish_all(0);
        net.pass(0, 1, Lane::Live);
        net.pass(1, 0, Lane::Live);
        net.pass(1, 0, Lane::Bulk);
        net.pass(0, 1, Lane::Live);
        net.pass(0, 1, Lane::Bulk);
    });
}

#[test]
fn pushes_from_before_a_gap_are_announced() {
    needs(2, Rule::Early, |net| {
        net.subscribe(1, 1, ONE);
        net.up(0, 1);
        net.settle();
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.publish_all(0);
        // While the push is under way, the query is dropped, the document changes, the query comes back.
        net.unsubscribe(1, 1);
        net.pass(1, 0, Lane::Live);
        net.nodes[0].store.update("c", "k", "v", 2);
        net.publish_all(0);
        net.subscribe(1, 1, ONE);
        net.pass(1, 0, Lane::Live);
        net.pass(0, 1, Lane::Bulk);
        net.pass(0, 1, Lane::Live);
    });
}

#[test]
fn evict_at_the_sender_makes_receivers_ask_again() {
    needs(2, Rule::EvictRestarts, |net| {
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.publish_all(0);
        net.subscribe(1, 1, ONE);
        net.up(0, 1);
        net.pass(1, 0, Lane::Live);
        net.pass(0, 1, Lane::Live);
        net.pass(1, 0, Lane::Live);
        // The copy in view is under way on the bulk lane while it is evicted and written anew.
        net.nodes[0].store.evict("c", &["k"]);
        net.nodes[0].store.put("c", "k", &[("v", 2)]);
        net.publish_all(0);
        net.pass(0, 1, Lane::Live);
        net.pass(0, 1, Lane::Bulk);
    });
}

#[test]
fn a_fingerprint_waits_for_what_arrived_before_it() {
    needs(2, Rule::RootWaits, |net| {
        net.nodes[0].store.put("c", "k", &[("v", 1)]);
        net.publish_all(0);
        net.subscribe(1, 1, ONE);
        net.up(0, 1);
        net.pass(1, 0, Lane::Live);
        net.pass(0, 1, Lane::Live);
        net.pass(1, 0, Lane::Live);
        // The page with the document is under way while the query is dropped, the document leaves it, and the query
        // comes back.
        net.unsubscribe(1, 1);
        net.pass(1, 0, Lane::Live);
        net.nodes[0].store.update("c", "k", "v", 2);
        net.publish_all(0);
        net.subscribe(1, 1, ONE);
        net.pass(1, 0, Lane::Live);
        net.pass(0, 1, Lane::Live);
        // Page and fingerprint arrive before the receiver's feed of commits tells of the page.
        net.pass(0, 1, Lane::Bulk);
    });
}

#[test]
fn a_token_waits_for_what_was_offered_before_it() {
    needs(3, Rule::OffersBlockToken, |net| {
        for n in 0..3 {
            net.subscribe(n, 1, ALL);
        }
        net.nodes[0].store.put("c", "x", &[("v", 1)]);
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            net.up(a, b);
        }
        net.settle();
        for v in 0..9 {
            net.nodes[v % 3].store.update("c", "x", "v", 10 + v as i64);
            net.settle();
            net.advance(20_000);
        }
        // One side of the triangle is lazy: a write at one end is only offered to the other.
        let lazy = (0..3).find_map(|from| {
            net.nodes[from].store.update("c", "x", "v", 100 + from as i64);
            net.publish_all(from);
            let to = (0..3).find(|to| *to != from && net.in_flight(from, *to, Lane::Live) == 0);
            if to.is_none() {
                net.settle();
            }
            to.map(|to| (from, to))
        });
        let (from, to) = lazy.expect("a lazy link");
        let third = 3 - from - to;
        net.down(from, third);
        net.down(to, third);
        net.advance(400);
        net.tick();
        net.pass(from, to, Lane::Live);
        // The session ends before anything was asked for.
        net.down(from, to);
        net.up(from, to);
    });
}
