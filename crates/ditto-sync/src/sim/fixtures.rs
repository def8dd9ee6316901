//! What this release says on the wire, kept so that later releases can show that they still understand it.
//!
//! `DITTO_WRITE_FIXTURES=1 cargo test -p ditto-sync fixtures` writes the file anew, which only a new version of the
//! protocol may do.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::net::{Net, decode};
use crate::wire::Message;
use crate::{Lane, SyncConfig};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/session-1.txt");

/// A session with first load, live changes, reconciliation by listing and by symbols, hints, requests and refusals.
fn session() -> Vec<(Lane, Vec<u8>)> {
    let mut net = Net::new(3, 5, SyncConfig::default());
    net.record = Some(Vec::new());
    for n in 0..3 {
        net.subscribe(n, 1, "SELECT * FROM c");
        net.subscribe(n, 2, "SELECT * FROM d WHERE v = 1");
    }
    for i in 0..40 {
        net.nodes[0].store.put("c", &format!("doc-{i}"), &[("v", i), ("w", 2 * i)]);
        net.nodes[0].store.put("d", &format!("doc-{i}"), &[("v", i % 2)]);
    }
    net.up(0, 1);
    net.up(0, 2);
    net.settle();
    net.nodes[0].store.update("d", "doc-1", "v", 0);
    net.nodes[0].store.update("d", "doc-2", "v", 1);
    net.nodes[0].store.delete("c", "doc-5");
    net.settle();
    net.down(0, 2);
    net.nodes[0].store.update("d", "doc-3", "v", 5);
    net.nodes[1].store.update("c", "doc-7", "v", 77);
    net.settle();
    net.up(1, 2);
    net.settle();
    net.up(0, 2);
    net.settle();
    for v in 0..4 {
        net.nodes[v % 3].store.update("c", "doc-9", "w", 100 + v as i64);
        net.settle();
        net.advance(20_000);
    }
    net.nodes[2].store.evict("c", &["doc-1"]);
    net.settle();
    for n in 0..2 {
        net.nodes[n].store.forget_cursors();
    }
    net.down(0, 1);
    net.up(0, 1);
    net.settle();
    // Requests cross what makes them needless.
    net.down(0, 1);
    net.nodes[0].store.update("c", "doc-11", "v", 1);
    net.nodes[1].store.update("c", "doc-11", "w", 1);
    net.nodes[1].store.forget_cursors();
    net.up(0, 1);
    net.settle();
    net.nodes[1].store.refuse_above(Some(ditto_types::Hlc::from_ms(net.now)));
    net.advance(5_000);
    net.nodes[0].store.put("c", "late", &[("v", 1)]);
    net.settle_links();
    net.input(
        2,
        crate::Input::Subscribe { sub: 9, query: "SELECT * FROM d".into(), args: Default::default() },
    );
    net.drain().unwrap();
    net.record.take().unwrap()
}

#[test]
fn messages_of_earlier_releases_are_understood() {
    if std::env::var_os("DITTO_WRITE_FIXTURES").is_some() {
        let mut text = String::new();
        for (lane, bytes) in session() {
            let lane = if lane == Lane::Live { "live" } else { "bulk" };
            write!(text, "{lane} ").unwrap();
            bytes.iter().for_each(|b| write!(text, "{b:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(FILE, text).unwrap();
    }
    let text = std::fs::read_to_string(FILE).unwrap();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let (lane, hex) = line.split_once(' ').unwrap();
        let lane = if lane == "live" { Lane::Live } else { Lane::Bulk };
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let message = decode(&bytes);
        assert!(message.allowed_on(lane), "{line}");
        if bytes[0] != 18 {
            assert_eq!(message.encode(), bytes, "{line}");
        }
        names.insert(message.name());
    }
    let all = [
        "ACK", "GONE", "HAVE", "HINT", "LIST", "NEEDQ", "RECEND", "RECGO", "RECOK", "REJ", "ROOT", "SUBS",
        "SUBST", "SYM", "TXN", "WANT",
    ];
    let missing: Vec<_> = all.iter().filter(|n| !names.contains(*n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_message_of_a_later_release_ends_the_session() {
    assert!(Message::decode(&[20, 0, 0]).is_err());
    assert!(Message::decode(&[]).is_err());
}
