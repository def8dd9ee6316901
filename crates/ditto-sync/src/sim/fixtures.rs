//! What this release says on the wire, kept so that later releases can show that they still understand it.
//!
//! `DITTO_WRITE_FIXTURES=session-2.txt cargo test -p ditto-sync fixtures` writes a file anew, which only a new version of the
//! protocol may do.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::net::{Net, decode};
use crate::wire::{Form, Message};
use crate::{Lane, SyncConfig};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

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

/// Two peers that have changed documents of the same view, some of them both, compare it (ADR 0038).
fn comparison() -> Vec<(Lane, Vec<u8>)> {
    let mut net = Net::new(3, 9, SyncConfig::default());
    for n in 1..3 {
        net.subscribe(n, 1, "SELECT * FROM c");
    }
    let from_elsewhere = |net: &mut Net, name: &str, n: i64| {
        for i in 0..n {
            net.nodes[0].store.put("c", &format!("{name}-{i}"), &[("v", i), ("w", 2 * i)]);
        }
        net.settle();
        for n in 1..3 {
            net.up(0, n);
        }
        net.settle();
        for n in 1..3 {
            net.down(0, n);
        }
    };
    from_elsewhere(&mut net, "doc", 400);
    for i in 0..20 {
        net.nodes[1].store.update("c", &format!("doc-{i}"), "v", -i);
        net.nodes[2].store.update("c", &format!("doc-{}", 10 + i), "w", -i);
    }
    for n in 1..3 {
        net.nodes[n].store.put("c", &format!("only-{n}"), &[("v", 1)]);
    }
    // Or they would be sent unasked, as what came last.
    from_elsewhere(&mut net, "more", 100);
    net.record = Some(Vec::new());
    net.up(1, 2);
    for _ in 0..20 {
        net.hop(5);
    }
    net.settle();
    net.record.take().unwrap()
}

/// The names of the messages in a file, after all of them were read.
fn understood(file: &str, written: impl FnOnce() -> Vec<(Lane, Vec<u8>)>) -> BTreeSet<&'static str> {
    let path = format!("{FOLDER}/{file}");
    if std::env::var("DITTO_WRITE_FIXTURES").is_ok_and(|name| name == file) {
        let mut text = String::new();
        for (lane, bytes) in written() {
            let lane = if lane == Lane::Live { "live" } else { "bulk" };
            write!(text, "{lane} ").unwrap();
            bytes.iter().for_each(|b| write!(text, "{b:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
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
        if let Message::Txn(txn) = &message
            && txn.items.iter().any(|i| matches!(i.form, Form::Newer(_)))
        {
            names.insert("form 3");
        }
    }
    names
}

#[test]
fn messages_of_earlier_releases_are_understood() {
    let first = [
        "ACK", "GONE", "HAVE", "HINT", "LIST", "NEEDQ", "RECEND", "RECGO", "RECOK", "REJ", "ROOT", "SUBS",
        "SUBST", "SYM", "TXN", "WANT",
    ];
    let second = ["RECGO", "ROOT", "SYM", "TXN", "WANT", "WANTBACK", "form 3"];
    let names = understood("session-1.txt", session);
    assert!(first.iter().all(|n| names.contains(n)), "{names:?}");
    let names = understood("session-2.txt", comparison);
    assert!(second.iter().all(|n| names.contains(n)), "{names:?}");
}

/// What peers say today has everything that the captures are kept for.
#[test]
fn a_comparison_of_both_sides_has_requests_back_and_answers_that_are_known() {
    let said: Vec<_> = comparison().iter().map(|(_, bytes)| decode(bytes)).collect();
    let back = said.iter().filter(|m| matches!(m, Message::WantBack(_))).count();
    let newer = said.iter().filter_map(|m| if let Message::Txn(t) = m { Some(&t.items) } else { None });
    let newer = newer.flatten().filter(|i| matches!(i.form, Form::Newer(_))).count();
    assert!(back > 0 && newer > 0, "{back} and {newer}");
}

#[test]
fn a_message_of_a_later_release_ends_the_session() {
    assert!(Message::decode(&[20, 0, 0]).is_err());
    assert!(Message::decode(&[]).is_err());
}
