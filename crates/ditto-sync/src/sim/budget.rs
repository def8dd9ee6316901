//! How many bytes the common cases may cost.

use super::net::Net;
use crate::SyncConfig;

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
