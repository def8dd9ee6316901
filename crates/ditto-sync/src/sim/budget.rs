//! How many bytes the common cases may cost.

use ditto_crdt::{FieldKind, Op};
use ditto_testkit::workload_document;
use ditto_types::{Path, Value};

use super::net::{Net, decode};
use super::store::set;
use crate::SyncConfig;
use crate::wire::Message;

const ALL: &str = "SELECT * FROM cities";

/// Two peers with the same 5,000 documents, both subscribed, with cursors, disconnected.
fn twins(docs: i64) -> Net {
    let mut net = Net::new(2, 1, SyncConfig::default());
    for i in 0..docs {
        net.nodes[0].store.put("cities", &format!("city-{i}"), &[("population", i), ("elevation", 7)]);
    }
    net.settle();
    for n in 0..2 {
        net.subscribe(n, 1, ALL);
    }
    net.up(0, 1);
    net.settle();
    assert_eq!(net.nodes[1].store.docs().len() as i64, docs);
    net.down(0, 1);
    net.drain().unwrap();
    net
}

/// Bytes of all messages in both directions while `act` is carried through.
fn cost(net: &mut Net, act: impl FnOnce(&mut Net)) -> usize {
    let before = net.bytes;
    act(net);
    net.settle();
    net.bytes - before
}

#[test]
fn first_load_costs_little_more_than_the_documents() {
    let mut net = Net::new(2, 1, SyncConfig::default());
    for i in 0..2_000 {
        net.nodes[0].store.put("cities", &format!("city-{i}"), &[("population", i), ("elevation", 7)]);
    }
    net.settle();
    for n in 0..2 {
        net.subscribe(n, 1, ALL);
    }
    let bytes = cost(&mut net, |net| net.up(0, 1));
    let sent = net.nodes[1].engine.status()[0].documents_sent;
    assert_eq!(sent, 0, "what came from a peer is not sent back to it");
    assert!(bytes < 2_000 * 70, "{bytes} bytes");
}

#[test]
fn reconnecting_with_cursors_costs_little() {
    let mut net = twins(1_000);
    let bytes = cost(&mut net, |net| net.up(0, 1));
    assert!(bytes <= 400, "{bytes} bytes");
}

#[test]
fn identical_stores_without_cursors_compare_roots_only() {
    let mut net = twins(1_000);
    net.nodes[0].store.forget_cursors();
    net.nodes[1].store.forget_cursors();
    let bytes = cost(&mut net, |net| net.up(0, 1));
    assert!(bytes <= 400, "{bytes} bytes");
}

#[test]
fn a_live_update_of_one_field_fits_in_110_bytes() {
    let mut net = twins(10);
    net.up(0, 1);
    net.settle();
    // The first update spells out names; the second one is the common case.
    net.nodes[0].store.update("cities", "city-3", "population", 1);
    net.settle();
    let bytes = cost(&mut net, |net| net.nodes[0].store.update("cities", "city-4", "population", 2));
    assert!(bytes <= 110, "{bytes} bytes");
}

#[test]
fn registering_a_query_again_costs_little() {
    let mut net = twins(1_000);
    net.up(0, 1);
    net.settle();
    net.unsubscribe(1, 1);
    net.settle();
    let bytes = cost(&mut net, |net| net.subscribe(1, 2, ALL));
    assert!(bytes <= 1_024, "{bytes} bytes");
}

#[test]
fn nothing_is_said_when_nothing_changes() {
    let mut net = twins(100);
    net.up(0, 1);
    net.settle();
    assert_eq!(net.deadline(), None);
    let bytes = cost(&mut net, |net| {
        for _ in 0..100 {
            net.advance(60_000);
            net.tick();
        }
    });
    assert_eq!(bytes, 0);
}

/// Bytes of what two peers said to each other, by message.
#[derive(Debug, Default)]
struct Said {
    /// Everything but documents, requests for them and announcements of them: what finding the difference cost.
    comparison: usize,
    /// Everything but documents.
    overhead: usize,
    documents: usize,
    listings: usize,
}

/// Peers 1 and 2 learnt the same documents from peer 0 and never met. Then `change` happens, and they do, with peer 2
/// subscribing to peer 1.
fn meet(docs: i64, change: impl FnOnce(&mut Net)) -> (Net, Said) {
    let mut net = Net::new(3, 1, SyncConfig::default());
    net.subscribe(1, 1, ALL);
    net.subscribe(2, 1, ALL);
    let ids: Vec<_> = (0..docs).map(|i| format!("city-{i}")).collect();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| (id.as_str(), vec![Op::Create, set("population", 5), set("elevation", 7)]))
        .collect();
    net.nodes[0].store.write("cities", &writes);
    net.up(0, 1);
    net.up(0, 2);
    net.settle();
    net.down(0, 1);
    net.down(0, 2);
    net.unsubscribe(1, 1);
    change(&mut net);
    net.settle();
    let scans: Vec<_> = net.nodes.iter().map(|n| n.engine.core.views.scans).collect();
    net.record = Some(Vec::new());
    net.up(1, 2);
    // In the order of a network: the wish of a peer comes before what it sends later.
    for _ in 0..20 {
        net.hop(5);
    }
    net.settle();
    let now: Vec<_> = net.nodes.iter().map(|n| n.engine.core.views.scans).collect();
    let mut said = Said::default();
    let record = net.record.take().unwrap();
    for (_, bytes) in &record {
        let n = bytes.len();
        match decode(bytes) {
            Message::Txn(t) if !t.items.is_empty() => said.documents += n,
            Message::Want(_)
            | Message::WantBack(_)
            | Message::Have(_)
            | Message::Hint(_)
            | Message::Gone { .. } => said.overhead += n,
            message => {
                said.listings += usize::from(matches!(message, Message::List(_)));
                said.comparison += n;
                said.overhead += n;
            }
        }
    }
    if said.documents == 0 {
        assert_eq!(scans, now, "equal views are compared without a walk over their documents");
    }
    assert!(net.all_live());
    (net, said)
}

#[test]
fn equal_views_learnt_elsewhere_cost_one_round_trip() {
    let (_, said) = meet(3_000, |_| ());
    assert!(said.overhead <= 200, "{said:?}");
    assert_eq!(said.documents, 0);
}

/// Peers 1 and 2 get more documents from peer 0, one a commit, so that others are not their last ones.
fn more_from_elsewhere(net: &mut Net, docs: i64) {
    net.subscribe(1, 1, ALL);
    for i in 0..docs {
        net.nodes[0].store.put("cities", &format!("more-{i}"), &[("population", i)]);
    }
    net.settle();
    net.up(0, 1);
    net.up(0, 2);
    net.settle();
    net.down(0, 1);
    net.down(0, 2);
    net.unsubscribe(1, 1);
}

/// `d` documents of 5,000, every `step`-th, are changed at the sender; others came later.
fn changed(d: i64, step: i64) -> Said {
    let (net, said) = meet(5_000, |net| {
        for i in 0..d {
            net.nodes[1].store.update("cities", &format!("city-{}", i * step), "population", -i);
        }
        more_from_elsewhere(net, 2 * d);
    });
    let last = format!("city-{}", (d - 1) * step);
    assert_eq!(net.nodes[2].store.json("cities", &last), net.nodes[1].store.json("cities", &last));
    said
}

#[test]
fn a_hundred_differences_cost_five_kilobytes() {
    for step in [1, 49] {
        let said = changed(100, step);
        assert!(said.comparison <= 3_500 && said.overhead <= 5_000, "{said:?}");
        assert_eq!(said.listings, 0);
    }
}

#[test]
fn a_thousand_differences_cost_25_kilobytes_wherever_they_are() {
    for step in [1, 4] {
        let said = changed(1_000, step);
        assert!(said.comparison <= 25_000 && said.overhead <= 45_000, "{said:?}");
        assert_eq!(said.listings, 0);
    }
}

/// As [`changed`], but both subscribe, and `writer` has the newer documents; `more` others came later.
fn changed_between_subscribers(d: i64, writer: usize, more: i64) -> Said {
    let (net, said) = meet(5_000, |net| {
        for i in 0..d {
            net.nodes[writer].store.update("cities", &format!("city-{}", i * 3), "population", -i);
        }
        more_from_elsewhere(net, more);
        net.nodes[2].store.forget_cursors();
        net.subscribe(1, 1, ALL);
    });
    let digests = |n: usize| net.nodes[n].store.docs().iter().map(|d| (d.key, d.digest)).collect::<Vec<_>>();
    assert_eq!(digests(1), digests(2));
    assert!(said.documents > 0);
    said
}

#[test]
fn peers_that_ask_each_other_compare_once() {
    for writer in [1, 2] {
        let said = changed_between_subscribers(100, writer, 200);
        // Who asks says what it knows, and is asked for what it knows more.
        assert!(said.comparison <= 4_000 && said.overhead <= 6_000, "{writer} {said:?}");
        // Each document goes one way, once.
        assert!(said.documents <= 100 * 75, "{writer} {said:?}");
        let said = changed_between_subscribers(1_000, writer, 2_000);
        assert!(said.comparison <= 26_000 && said.overhead <= 45_000, "{writer} {said:?}");
        assert!(said.documents <= 1_000 * 75, "{writer} {said:?}");
        assert_eq!(said.listings, 0);
    }
}

#[test]
fn what_changed_last_is_sent_without_being_asked_for() {
    for writer in [1, 2] {
        for d in [100, 1_000] {
            let said = changed_between_subscribers(d, writer, 0);
            // A few that the guess leaves out are found as before.
            assert!(said.overhead <= 1_000 + 2 * d as usize, "{writer} {said:?}");
            assert!(said.documents <= d as usize * 75, "{writer} {said:?}");
        }
    }
}

/// Both sides changed documents, some of them the same, and each has some that the other does not.
#[test]
fn one_comparison_brings_both_sides_what_they_lack() {
    for first in [1, 2] {
        let (net, said) = meet(5_000, |net| {
            let second = 3 - first;
            for i in 0..150 {
                net.nodes[first].store.update("cities", &format!("city-{i}"), "population", -i);
                net.nodes[second].store.update("cities", &format!("city-{}", 100 + i), "elevation", i);
            }
            for i in 0..20 {
                net.nodes[first].store.put("cities", &format!("first-{i}"), &[("population", i)]);
                net.nodes[second].store.put("cities", &format!("second-{i}"), &[("population", i)]);
            }
            more_from_elsewhere(net, 700);
            net.nodes[2].store.forget_cursors();
            net.subscribe(1, 1, ALL);
        });
        let digests =
            |n: usize| net.nodes[n].store.docs().iter().map(|d| (d.key, d.digest)).collect::<Vec<_>>();
        assert_eq!(digests(1), digests(2));
        // 290 differences.
        assert!(said.comparison <= 9_000 && said.overhead <= 16_000, "{said:?}");
        assert_eq!(said.listings, 0);
    }
}

/// A peer that subscribes to what it still loads does not list it to the one it comes from.
#[test]
fn a_first_load_is_not_listed_back() {
    let mut net = Net::new(2, 1, SyncConfig::default());
    for i in 0..3_000 {
        net.nodes[0].store.put("cities", &format!("city-{i}"), &[("population", i)]);
    }
    net.settle();
    for n in 0..2 {
        net.subscribe(n, 1, ALL);
    }
    net.record = Some(Vec::new());
    net.up(0, 1);
    for _ in 0..40 {
        net.hop(5);
    }
    net.settle();
    let back =
        net.record.take().unwrap().iter().map(|(_, bytes)| decode(bytes)).fold((0, 0), |n, m| match m {
            Message::List(_) => (n.0 + 1, n.1),
            Message::Root(_) => (n.0, n.1 + 1),
            _ => n,
        });
    assert!(back.0 == 0 && back.1 <= 2, "{back:?}");
    assert!(net.all_live());
}

#[test]
fn documents_that_only_one_side_has_are_found_too() {
    let (net, said) = meet(2_000, |net| {
        for i in 0..20 {
            net.nodes[1].store.put("cities", &format!("new-{i}"), &[("population", i)]);
            net.nodes[2].store.put("cities", &format!("mine-{i}"), &[("population", i)]);
        }
        net.nodes[1].store.delete("cities", "city-7");
    });
    assert!(said.overhead <= 3_000, "{said:?}");
    assert_eq!(said.listings, 0);
    assert_eq!(net.nodes[2].store.json("cities", "city-7"), None);
    assert_eq!(net.nodes[2].store.docs().len(), 2_040);
    assert_eq!(net.nodes[1].store.docs().len(), 2_020, "nobody subscribed at peer 2");
}

#[test]
fn views_with_little_in_common_are_listed() {
    let (_, said) = meet(200, |net| {
        let ids: Vec<_> = (0..200).map(|i| format!("city-{i}")).collect();
        let writes: Vec<_> = ids.iter().map(|id| (id.as_str(), vec![set("population", -1)])).collect();
        net.nodes[1].store.write("cities", &writes);
    });
    assert!(said.listings > 0 && said.comparison < 200 * 17 + 400, "{said:?}");
}

/// The documents of the benchmark suite, on their way to an empty store.
#[test]
fn a_first_load_takes_less_than_half_of_the_json() {
    let mut net = Net::new(2, 1, SyncConfig::default());
    let mut json = 0;
    for batch in 0..10 {
        let documents: Vec<_> = (batch * 500..batch * 500 + 500).map(workload_document).collect();
        let writes: Vec<_> = documents
            .iter()
            .map(|d| {
                json += ditto_types::json::to_string(&Value::Object(d.clone())).len();
                let fields = d.iter().filter(|(name, _)| *name != "_id").map(|(name, value)| Op::Set {
                    path: Path::new([name.as_str()]),
                    value: value.clone(),
                    kind: FieldKind::Inferred,
                });
                (d["_id"].as_str().unwrap(), [Op::Create].into_iter().chain(fields).collect::<Vec<_>>())
            })
            .collect();
        net.nodes[0].store.write("orders", &writes);
    }
    net.settle();
    net.subscribe(1, 1, "SELECT * FROM orders");
    let bytes = cost(&mut net, |net| net.up(0, 1));
    assert_eq!(net.nodes[1].store.docs().len(), 5_000);
    let ratio = bytes as f64 / json as f64;
    assert!(ratio <= 0.45, "{ratio:.3} of the JSON");
}
