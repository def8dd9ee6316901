//! What becomes of concurrent edits, row by row, over real sync: two peers that were apart, and a third between them.
//!
//! The rows are those that the field's products document for 5.1. Ours differ where they leave husks: a deletion wins
//! over concurrent updates, and what was removed without knowing of a newer write below it keeps that write.

use ditto_crdt::{FieldKind, Op};
use ditto_types::{Path, Value, json};

use super::net::Net;
use crate::SyncConfig;

const ALL: &str = "SELECT * FROM c";

fn value(text: &str) -> Value {
    json::from_str(text).unwrap()
}

fn path(dotted: &str) -> Path {
    Path::new(dotted.split('.'))
}

fn set(dotted: &str, text: &str) -> Op {
    Op::Set { path: path(dotted), value: value(text), kind: FieldKind::Inferred }
}

fn unset(dotted: &str) -> Op {
    Op::Unset { path: path(dotted) }
}

fn add(by: i64) -> Op {
    Op::Increment { path: path("n"), by }
}

fn restart(to: i64) -> Op {
    Op::Restart { path: path("n"), to }
}

struct Row {
    what: &'static str,
    before: Vec<Op>,
    /// At one peer, and later at the other.
    earlier: Vec<Op>,
    later: Vec<Op>,
    /// Both peers' document; `None` if it is gone.
    then: Option<&'static str>,
}

fn row(
    what: &'static str,
    before: impl Into<Vec<Op>>,
    earlier: impl Into<Vec<Op>>,
    later: impl Into<Vec<Op>>,
    then: impl Into<Option<&'static str>>,
) -> Row {
    Row { what, before: before.into(), earlier: earlier.into(), later: later.into(), then: then.into() }
}

fn rows() -> Vec<Row> {
    let create = || Op::Create;
    let red = || [Op::Create, set("color", r#""red""#), set("size", "1")];
    let entry = || [Op::Create, set("items.k", r#"{"p":1,"q":2}"#)];
    vec![
        row(
            "the later value of a field",
            [create(), set("x", "0")],
            [set("x", "1")],
            [set("x", "2")],
            r#"{"x":2}"#,
        ),
        row(
            "keys of a map side by side",
            [create(), set("m", r#"{"a":0}"#)],
            [set("m.k1", "1")],
            [set("m.k2", "2")],
            r#"{"m":{"a":0,"k1":1,"k2":2}}"#,
        ),
        row(
            "arrays as a whole",
            [create(), set("t", "[1]")],
            [set("t", "[1,2,3]")],
            [set("t", "[0,1,2]")],
            r#"{"t":[0,1,2]}"#,
        ),
        row("increments add up", [create(), add(0)], [add(5)], [add(7)], r#"{"n":12}"#),
        row(
            "a restart discards increments it had not seen",
            [create(), add(1)],
            [restart(100)],
            [add(5)],
            r#"{"n":100}"#,
        ),
        row(
            "also those made before it by the clock",
            [create(), add(1)],
            [add(5)],
            [restart(100)],
            r#"{"n":100}"#,
        ),
        row("the later of two restarts", [create(), add(1)], [restart(10)], [restart(20)], r#"{"n":20}"#),
        row("no husk: a deletion and a later update", red(), [Op::Delete], [set("color", r#""blue""#)], None),
        row(
            "no husk: an update and a later deletion",
            red(),
            [set("color", r#""blue""#)],
            [Op::Delete],
            None,
        ),
        row("a deletion on both sides", red(), [Op::Delete], [Op::Delete], None),
        row(
            "a deletion and a later insertion",
            red(),
            [Op::Delete],
            [create(), set("size", "2")],
            r#"{"size":2}"#,
        ),
        row(
            "a removed entry and a later write into it",
            entry(),
            [unset("items.k")],
            [set("items.k.q", "5")],
            r#"{"items":{"k":{"q":5}}}"#,
        ),
        row(
            "a write into an entry and a later removal of it",
            entry(),
            [set("items.k.q", "5")],
            [unset("items.k")],
            r#"{"items":{"k":{"q":5}}}"#,
        ),
        row(
            "a removed entry that is written anew",
            entry(),
            [unset("items.k")],
            [set("items.k", r#"{"p":7,"q":8}"#)],
            r#"{"items":{"k":{"p":7,"q":8}}}"#,
        ),
        row(
            "insertions of one document",
            [],
            [create(), set("a", "1"), set("x", "1")],
            [create(), set("b", "2"), set("x", "2")],
            r#"{"a":1,"b":2,"x":2}"#,
        ),
    ]
}

/// Peers 0 and 1 with peer 2 between them, or connected if there is none.
fn connect(net: &mut Net) {
    if net.nodes.len() == 2 {
        net.up(0, 1);
    } else {
        net.up(0, 2);
        net.up(2, 1);
    }
    net.settle();
}

fn apart(net: &mut Net) {
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        net.down(a, b);
    }
}

fn net(peers: usize) -> Net {
    let mut net = Net::new(peers, 1, SyncConfig::default());
    (0..peers).for_each(|n| net.subscribe(n, 1, ALL));
    net
}

#[test]
fn concurrent_edits_end_as_documented() {
    for peers in [2, 3] {
        for first in [0, 1] {
            for row in rows() {
                let mut net = net(peers);
                if !row.before.is_empty() {
                    net.nodes[0].store.write("c", &[("x", row.before.clone())]);
                }
                connect(&mut net);
                apart(&mut net);
                net.advance(1_000);
                net.nodes[first].store.write("c", &[("x", row.earlier.clone())]);
                net.advance(1_000);
                net.nodes[1 - first].store.write("c", &[("x", row.later.clone())]);
                connect(&mut net);
                let got: Vec<_> = net.nodes.iter().map(|n| n.store.json("c", "x")).collect();
                assert!(
                    got.iter().all(|g| g.as_deref() == row.then),
                    "{}, first at {first}: {got:?}",
                    row.what
                );
                let states: Vec<_> = net.nodes.iter().map(|n| n.store.get("c", "x")).collect();
                assert!(states.windows(2).all(|w| w[0] == w[1]), "{}: states differ", row.what);
            }
        }
    }
}

#[test]
fn seeds_meet_by_value_and_lose_against_insertions() {
    for first in [0, 1] {
        let mut two = net(2);
        let seed = |a: &str, own: &str| vec![Op::Create, set("a", a), set(own, "0")];
        two.nodes[first].store.seed("c", &[("x", seed("1", "p"))]);
        two.advance(1_000);
        two.nodes[1 - first].store.seed("c", &[("x", seed("2", "q"))]);
        connect(&mut two);
        let got = two.nodes[0].store.json("c", "x").unwrap();
        assert_eq!(two.nodes[1].store.json("c", "x").unwrap(), got);
        assert_eq!(got, r#"{"a":2,"p":0,"q":0}"#, "the larger value, whoever was first");

        let mut two = net(2);
        two.nodes[first].store.seed("c", &[("x", seed("9", "p"))]);
        two.nodes[1 - first].store.put("c", "x", &[("a", 3)]);
        connect(&mut two);
        for n in &two.nodes {
            assert_eq!(n.store.json("c", "x").unwrap(), r#"{"a":3,"p":0}"#);
        }
    }
}
