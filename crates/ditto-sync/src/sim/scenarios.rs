//! Single stories: what happens between two or three peers.

use ditto_crdt::{Op, Slot};
use ditto_types::Hlc;

use super::net::Net;
use super::store::set;
use crate::{Action, Input, Lane, RefusalCode, SyncConfig, SyncState};

const ALL: &str = "SELECT * FROM c";
const ONE: &str = "SELECT * FROM c WHERE v = 1";

fn pair() -> Net {
    Net::new(2, 1, SyncConfig::default())
}

#[test]
fn first_load_then_live_then_multi_hop() {
    let mut net = Net::new(3, 1, SyncConfig::default());
    for i in 0..50 {
        net.nodes[0].store.put("c", &format!("d{i}"), &[("v", i)]);
    }
    net.settle();
    net.subscribe(1, 1, ALL);
    net.subscribe(2, 1, ALL);
    net.up(0, 1);
    net.up(1, 2);
    net.settle();
    assert_eq!(net.nodes[2].store.docs().len(), 50);
    assert!(net.all_live());

    net.nodes[0].store.update("c", "d7", "v", 777);
    net.nodes[0].store.delete("c", "d8");
    net.settle();
    assert_eq!(net.nodes[2].store.json("c", "d7").unwrap(), r#"{"v":777}"#);
    assert_eq!(net.nodes[2].store.json("c", "d8"), None);
    assert_eq!(net.nodes[2].store.docs().len(), 50, "the deleted document is a tombstone, not gone");

    // Without a subscription in the middle nothing crosses.
    net.unsubscribe(1, 1);
    net.settle();
    net.nodes[0].store.put("c", "late", &[("v", 1)]);
    net.settle();
    assert_eq!(net.nodes[2].store.json("c", "late"), None);
}

#[test]
fn concurrent_edits_converge_on_all_sides() {
    let mut net = Net::new(3, 3, SyncConfig::default());
    for n in 0..3 {
        net.subscribe(n, 1, ALL);
    }
    net.nodes[0].store.put("c", "x", &[("a", 0), ("b", 0), ("n", 0)]);
    net.up(0, 1);
    net.up(1, 2);
    net.settle();
    net.down(0, 1);
    net.down(1, 2);
    net.nodes[0].store.update("c", "x", "a", 1);
    net.nodes[1].store.update("c", "x", "b", 2);
    let inc = |by| vec![("x", vec![Op::Increment { path: ditto_types::Path::new(["n"]), by }])];
    net.nodes[1].store.write("c", &inc(5));
    net.nodes[2].store.write("c", &inc(7));
    net.nodes[2].store.unset("c", "x", "a");
    net.up(0, 1);
    net.up(1, 2);
    net.settle();
    let docs: Vec<_> = (0..3).map(|n| net.nodes[n].store.get("c", "x").unwrap()).collect();
    assert_eq!(docs[0], docs[1]);
    assert_eq!(docs[1], docs[2]);
    let counters = docs[0].leaves().filter(|(_, slot, _)| matches!(slot, Slot::Ctr(_))).count();
    assert_eq!(counters, 2);
}

#[test]
fn deletion_does_not_come_back() {
    let mut net = Net::new(3, 5, SyncConfig::default());
    for n in 0..3 {
        net.subscribe(n, 1, ALL);
    }
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.up(0, 1);
    net.up(1, 2);
    net.settle();
    net.down(1, 2);
    net.nodes[0].store.delete("c", "x");
    net.settle();
    // A peer that was away still has it, and updates it.
    net.advance(1_000);
    net.nodes[2].store.update("c", "x", "v", 2);
    net.up(1, 2);
    net.settle();
    for n in 0..3 {
        assert_eq!(net.nodes[n].store.json("c", "x"), None, "at {n}");
    }
    // Only a new INSERT makes it alive again.
    net.advance(1_000);
    net.nodes[2].store.put("c", "x", &[("v", 3)]);
    net.settle();
    assert_eq!(net.nodes[0].store.json("c", "x").unwrap(), r#"{"v":3}"#);
}

#[test]
fn a_tombstone_meets_a_copy_that_turns_up_later() {
    // 1 subscribes to all of 0 but never held the document when it was deleted there.
    let mut net = Net::new(3, 7, SyncConfig::default());
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.subscribe(2, 1, ALL);
    net.up(0, 2);
    net.settle();
    net.down(0, 2);
    net.nodes[0].store.delete("c", "x");
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    assert!(net.nodes[1].store.docs().is_empty());
    net.up(1, 2);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x"), None);
}

#[test]
fn leaving_the_view_is_told_once_and_after_an_absence() {
    let mut net = pair();
    net.subscribe(1, 1, ONE);
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.nodes[0].store.put("c", "y", &[("v", 1)]);
    net.up(0, 1);
    net.settle();
    net.nodes[0].store.update("c", "x", "v", 2);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":2}"#);
    // The copy is frozen now.
    net.nodes[0].store.update("c", "x", "a", 9);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":2}"#);
    net.down(0, 1);
    net.nodes[0].store.update("c", "y", "v", 3);
    net.up(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "y").unwrap(), r#"{"v":3}"#);
    // It matches again and comes with everything.
    net.nodes[0].store.update("c", "x", "v", 1);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"a":9,"v":1}"#);
}

#[test]
fn evicted_documents_come_back_while_they_are_subscribed_to() {
    let mut net = pair();
    net.subscribe(1, 1, ALL);
    for i in 0..20 {
        net.nodes[0].store.put("c", &format!("d{i}"), &[("v", i)]);
    }
    net.up(0, 1);
    net.settle();
    net.nodes[1].store.evict("c", &["d3", "d4"]);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 20);
    assert!(net.all_live());
    net.unsubscribe(1, 1);
    net.nodes[1].store.evict("c", &["d3", "d4"]);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 18);
    net.subscribe(1, 2, ALL);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 20);
}

#[test]
fn equal_queries_share_one_transfer() {
    let mut net = pair();
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    let before = net.messages;
    net.subscribe(1, 2, ALL);
    net.unsubscribe(1, 1);
    net.settle();
    assert_eq!(net.messages, before);
    assert!(net.nodes[1].progress.iter().any(|p| p.sub == 2 && p.state == SyncState::Live));
    net.nodes[0].store.update("c", "x", "v", 5);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":5}"#);
    net.unsubscribe(1, 2);
    net.settle();
    net.nodes[0].store.update("c", "x", "v", 6);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":5}"#);
    assert_eq!(net.nodes[1].store.cursor_count(), 0);
}

#[test]
fn a_transaction_arrives_as_one_commit_also_in_several_messages() {
    let config = SyncConfig { txn_bytes: 300, ..SyncConfig::default() };
    let mut net = Net::new(2, 1, config);
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    let ids: Vec<_> = (0..100).map(|i| format!("d{i}")).collect();
    let writes: Vec<_> = ids.iter().map(|id| (id.as_str(), vec![Op::Create, set("v", 1)])).collect();
    let (head, messages) = (net.nodes[1].store.commit_count(), net.messages);
    net.nodes[0].store.write("c", &writes);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 100);
    assert_eq!(net.nodes[1].store.commit_count(), head + 1);
    assert!(net.messages > messages + 5);
}

#[test]
fn commits_that_are_too_large_come_by_a_scan() {
    let config = SyncConfig { max_commit_docs: 10, page_docs: 7, ..SyncConfig::default() };
    let mut net = Net::new(2, 1, config);
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    let ids: Vec<_> = (0..100).map(|i| format!("d{i}")).collect();
    let writes: Vec<_> = ids.iter().map(|id| (id.as_str(), vec![Op::Create, set("v", 1)])).collect();
    let head = net.nodes[1].store.commit_count();
    net.nodes[0].store.write("c", &writes);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 100);
    assert_eq!(net.nodes[1].store.commit_count(), head + 1, "nobody sees a part of it");
    net.nodes[0].store.update("c", "d5", "v", 2);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "d5").unwrap(), r#"{"v":2}"#);
}

#[test]
fn a_commit_of_more_than_a_message_holds_reaches_a_live_peer() {
    let mut net = Net::new(2, 1, SyncConfig::default());
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    // Larger than is pushed, so that it is scanned, and a scan does not divide commits.
    let ids: Vec<_> = (0..=crate::limits::MAX_ITEMS).map(|i| format!("d{i}")).collect();
    let writes: Vec<_> = ids.iter().map(|id| (id.as_str(), vec![Op::Create, set("v", 1)])).collect();
    let head = net.nodes[1].store.commit_count();
    net.nodes[0].store.write("c", &writes);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), ids.len());
    assert_eq!(net.nodes[1].store.commit_count(), head + 1, "nobody sees a part of it");
    net.nodes[0].store.update("c", "d5", "v", 2);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "d5").unwrap(), r#"{"v":2}"#);
}

#[test]
fn a_commit_above_the_limit_of_bytes_comes_in_steps_and_replication_goes_on() {
    let config = SyncConfig { max_commit_bytes: 4_096, page_bytes: 1_024, ..SyncConfig::default() };
    let mut net = Net::new(2, 1, config);
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    let ids: Vec<_> = (0..500).map(|i| format!("d{i}")).collect();
    let writes: Vec<_> = ids.iter().map(|id| (id.as_str(), vec![Op::Create, set("v", 1)])).collect();
    let head = net.nodes[1].store.commit_count();
    net.nodes[0].store.write("c", &writes);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 500);
    assert!(net.nodes[1].store.commit_count() > head + 3, "in steps");
    // The link is still there, in both directions, and its cursor is beyond the commit.
    net.nodes[0].store.update("c", "d5", "v", 2);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "d5").unwrap(), r#"{"v":2}"#);
    let documents = net.traffic.documents;
    net.down(0, 1);
    net.up(0, 1);
    net.settle();
    assert_eq!(net.traffic.documents, documents, "nothing is sent again");
}

#[test]
fn documents_that_leave_a_query_are_evicted_if_wanted() {
    for absent in [false, true] {
        let mut net = pair();
        for (id, v) in [("stays", 1), ("leaves", 1), ("ours", 1)] {
            net.nodes[0].store.put("c", id, &[("v", v)]);
        }
        net.subscribe(1, 1, ONE);
        net.input(1, Input::EvictOnLeave { sub: 1 });
        net.up(0, 1);
        net.settle();
        assert_eq!(net.nodes[1].store.docs().len(), 3);
        if absent {
            net.down(0, 1);
        }
        net.nodes[0].store.update("c", "leaves", "v", 2);
        // What only this store has written is not lost.
        net.nodes[1].store.update("c", "ours", "v", 2);
        net.settle();
        if absent {
            net.up(0, 1);
            net.settle();
        }
        assert_eq!(net.nodes[1].store.get("c", "leaves"), None, "absent {absent}");
        assert!(
            net.nodes[1].store.get("c", "ours").is_some() && net.nodes[1].store.get("c", "stays").is_some()
        );
        assert_eq!(net.nodes[0].store.docs().len(), 3);
        // It comes back when it matches again, and stays where somebody else wants it.
        net.subscribe(1, 2, ALL);
        net.settle();
        assert!(net.nodes[1].store.get("c", "leaves").is_some());
        net.nodes[0].store.update("c", "stays", "v", 2);
        net.settle();
        assert!(net.nodes[1].store.get("c", "stays").is_some());
    }
}

#[test]
fn bulk_sending_waits_for_the_lane_to_drain() {
    let config = SyncConfig { page_bytes: 2_000, bulk_queue_bytes: 3_000, ..SyncConfig::default() };
    let mut net = Net::new(2, 1, config);
    for i in 0..1_000 {
        net.nodes[0].store.put("c", &format!("document-{i}"), &[("v", i)]);
    }
    net.settle();
    net.subscribe(1, 1, ALL);
    net.report_queues = false;
    net.up(0, 1);
    net.drain().unwrap();
    let held = net.nodes[1].store.docs().len();
    assert!((50..500).contains(&held), "{held} documents without any report of a drained lane");
    let limit = net.config.bulk_queue_bytes + net.config.page_bytes * 2;
    assert!(net.bytes < limit, "{} bytes", net.bytes);
    net.report_queues = true;
    net.input(0, crate::Input::Queued { peer: super::net::peer_id(1), lane: Lane::Bulk, bytes: 0 });
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 1_000);
    let loading = net.nodes[1].progress.iter().filter(|p| matches!(p.state, SyncState::Loading { .. }));
    let totals: Vec<_> = loading
        .map(|p| match p.state {
            SyncState::Loading { loaded, total } => (loaded, total),
            _ => (0, 0),
        })
        .collect();
    assert!(totals.len() > 5 && totals.iter().all(|(l, t)| *t == 1_000 && l <= t), "{totals:?}");
}

#[test]
fn refused_documents_are_reported_and_offered_again() {
    let mut net = pair();
    net.subscribe(1, 1, ALL);
    net.nodes[0].store.put("c", "old", &[("v", 1)]);
    net.up(0, 1);
    net.settle();
    net.nodes[1].store.refuse_above(Some(Hlc::from_ms(net.now + 1_000)));
    net.advance(5_000);
    net.nodes[0].store.put("c", "future", &[("v", 1)]);
    net.settle_links();
    assert_eq!(net.nodes[1].store.json("c", "future"), None);
    let rejected = |n: &Net| {
        n.nodes[0]
            .rejected
            .iter()
            .filter(|a| matches!(a, Action::Rejected { code: RefusalCode::Future, .. }))
            .count()
    };
    assert_eq!(rejected(&net), 1);
    // Others still come, and the session stays.
    net.nodes[1].store.refuse_above(None);
    net.nodes[0].store.put("c", "other", &[("v", 1)]);
    net.settle_links();
    assert!(net.nodes[1].store.json("c", "other").is_some());
    assert_eq!(net.nodes[1].store.json("c", "future"), None);
    net.down(0, 1);
    net.up(0, 1);
    net.settle();
    assert!(net.nodes[1].store.json("c", "future").is_some());
}

#[test]
fn status_tells_what_the_peer_has() {
    let mut net = pair();
    net.subscribe(1, 1, ONE);
    net.up(0, 1);
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.nodes[0].store.put("d", "unrelated", &[("v", 1)]);
    net.settle();
    let status = net.nodes[0].engine.status();
    assert_eq!(status[0].synced_up_to_local_commit_id, Some(2));
    assert_eq!(status[0].documents_sent, 1);
    let status = net.nodes[1].engine.status();
    assert_eq!(status[0].documents_received, 1);
    assert_eq!(status[0].subscriptions, [(1, SyncState::Live)]);
    assert!(status[0].last_update_received_ms.is_some());
    net.down(0, 1);
    net.nodes[0].store.put("c", "y", &[("v", 1)]);
    net.settle();
    let status = net.nodes[0].engine.status();
    assert!(!status[0].connected);
    assert_eq!(status[0].synced_up_to_local_commit_id, Some(2));
}

#[test]
fn bad_queries_fail_alone() {
    let mut net = pair();
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    // The harness compiles queries on both sides, so the sender is told a bad one directly.
    net.nodes[1].subs.remove(&1);
    net.input(
        1,
        crate::Input::Subscribe { sub: 9, query: "SELECT nonsense".into(), args: Default::default() },
    );
    net.drain().unwrap();
    let failed = |p: &crate::SyncProgress| p.sub == 9 && matches!(p.state, SyncState::Failed { .. });
    assert!(net.nodes[1].progress.iter().any(failed));
    assert!(net.disconnects.is_empty());
    net.nodes[0].store.update("c", "x", "v", 4);
    net.drain().unwrap();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":4}"#);
}

#[test]
fn a_failing_store_ends_the_session_and_loses_nothing() {
    let mut net = pair();
    net.subscribe(1, 1, ALL);
    net.up(0, 1);
    net.settle();
    net.nodes[1].store.set_failing(true);
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.drain().unwrap();
    assert_eq!(net.disconnects, ["store: disk full"]);
    net.nodes[1].store.set_failing(false);
    net.disconnects.clear();
    net.up(0, 1);
    net.settle();
    assert!(net.nodes[1].store.json("c", "x").is_some());
}

#[test]
fn seeds_of_the_beginning_of_time_converge() {
    let mut net = pair();
    for (n, v) in [(0, 1), (1, 2)] {
        net.subscribe(n, 1, ALL);
        net.nodes[n].store.seed("c", &[("s", vec![Op::Create, set("v", v)])]);
    }
    net.up(0, 1);
    net.settle();
    assert_eq!(net.nodes[0].store.get("c", "s"), net.nodes[1].store.get("c", "s"));
    net.nodes[1].store.update("c", "s", "v", 3);
    net.settle();
    assert_eq!(net.nodes[0].store.json("c", "s").unwrap(), r#"{"v":3}"#);
}

#[test]
fn commits_that_the_feed_left_out_are_looked_up() {
    let mut net = pair();
    net.subscribe(0, 1, ALL);
    net.subscribe(1, 1, ONE);
    net.nodes[0].store.put("c", "x", &[("v", 1)]);
    net.nodes[1].store.put("c", "y", &[("v", 1)]);
    net.up(0, 1);
    net.settle();
    // One leaves the view, one is deleted, one is new; the receiver evicts one and changes another.
    net.nodes[0].store.update("c", "x", "v", 2);
    net.nodes[0].store.delete("c", "y");
    net.nodes[0].store.put("c", "z", &[("v", 1)]);
    net.miss(0);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "x").unwrap(), r#"{"v":2}"#);
    assert_eq!(net.nodes[1].store.json("c", "y"), None);
    assert!(net.nodes[1].store.json("c", "z").is_some());
    net.nodes[1].store.evict("c", &["z"]);
    net.nodes[1].store.update("c", "x", "v", 1);
    net.miss(1);
    net.settle();
    assert!(net.nodes[1].store.json("c", "z").is_some());
    assert_eq!(net.nodes[0].store.json("c", "x").unwrap(), r#"{"v":1}"#);
    assert!(net.all_live());
}

#[test]
fn what_was_missed_arrives_as_one_commit() {
    let config = SyncConfig { page_docs: 7, ..SyncConfig::default() };
    let mut net = Net::new(2, 1, config);
    net.subscribe(1, 1, ALL);
    net.nodes[0].store.put("c", "first", &[("v", 0)]);
    net.up(0, 1);
    net.settle();
    net.down(0, 1);
    for i in 0..40 {
        net.nodes[0].store.put("c", &format!("d{i}"), &[("v", i)]);
    }
    net.settle();
    let before = net.nodes[1].store.commit_count();
    net.up(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len(), 41);
    assert_eq!(net.nodes[1].store.commit_count(), before + 1);
}

#[test]
fn two_runs_of_a_seed_are_the_same() {
    let run = || {
        let mut net = Net::new(3, 42, SyncConfig::default());
        for n in 0..3 {
            net.subscribe(n, 1, ALL);
            net.nodes[n].store.put("c", &format!("d{n}"), &[("v", 1)]);
        }
        net.up(0, 1);
        net.up(1, 2);
        net.up(0, 2);
        net.settle();
        (net.messages, net.bytes, net.now, net.nodes[2].store.applies())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_clock_that_is_set_back_stops_no_timer() {
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    let mut net = Net::new(2, 1, SyncConfig::default());
    net.now = 3 * YEAR;
    net.subscribe(0, 1, "SELECT * FROM c");
    net.up(0, 1);
    net.settle();
    net.now -= YEAR;
    net.nodes[1].store.put("c", "k", &[("v", 1)]);
    net.pass_between(0, 1);
    let due = net.deadline().expect("the cursor is to be confirmed");
    assert!(due <= net.now + net.config.settle_ms, "{} ms", due - net.now);
    net.settle();
    assert!(net.now < 2 * YEAR + 60_000);
}

#[test]
fn what_is_not_shared_stays_and_what_others_share_arrives() {
    let mut net = pair();
    net.subscribe(0, 1, ALL);
    net.subscribe(1, 1, ALL);
    net.nodes[0].store.hide("c", true);
    net.nodes[0].store.put("c", "mine", &[("v", 1)]);
    net.up(0, 1);
    net.settle_links();
    net.nodes[1].store.put("c", "theirs", &[("v", 2)]);
    net.nodes[0].store.update("c", "mine", "v", 3);
    net.settle_links();
    assert_eq!(net.nodes[0].store.json("c", "theirs").unwrap(), r#"{"v":2}"#);
    assert_eq!(net.nodes[1].store.json("c", "mine"), None);
    // A document that both hold: the copy there stays as it is.
    net.nodes[0].store.update("c", "theirs", "v", 4);
    net.nodes[1].store.put("c", "more", &[("v", 5)]);
    net.settle_links();
    assert_eq!(net.nodes[1].store.json("c", "theirs").unwrap(), r#"{"v":2}"#);
    assert_eq!(net.nodes[0].store.json("c", "more").unwrap(), r#"{"v":5}"#);

    // Shared from the next commit on, with everything from before.
    net.nodes[0].store.hide("c", false);
    net.settle_links();
    assert_eq!(net.nodes[1].store.json("c", "mine"), None);
    net.nodes[0].store.put("c", "new", &[("v", 6)]);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "mine").unwrap(), r#"{"v":3}"#);
    assert_eq!(net.nodes[1].store.json("c", "theirs").unwrap(), r#"{"v":4}"#);
    assert_eq!(net.nodes[1].store.json("c", "new").unwrap(), r#"{"v":6}"#);
    assert!(net.all_live());

    // And not any more: copies stay, also over a new session.
    net.nodes[0].store.hide("c", true);
    net.nodes[0].store.update("c", "new", "v", 7);
    net.nodes[0].store.delete("c", "mine");
    net.settle_links();
    net.down(0, 1);
    net.up(0, 1);
    net.nodes[1].store.update("c", "more", "v", 8);
    net.settle_links();
    assert_eq!(net.nodes[1].store.json("c", "new").unwrap(), r#"{"v":6}"#);
    assert_eq!(net.nodes[1].store.json("c", "mine").unwrap(), r#"{"v":3}"#);
    assert_eq!(net.nodes[0].store.json("c", "more").unwrap(), r#"{"v":8}"#);
    // Unhidden while nobody is connected.
    net.down(0, 1);
    net.nodes[0].store.hide("c", false);
    net.up(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].store.json("c", "new").unwrap(), r#"{"v":7}"#);
    assert_eq!(net.nodes[1].store.json("c", "mine"), None);
    assert!(net.all_live());
}
