//! What happens when two replicas write at the same time: the conflict matrix, with our documented differences.
//!
//! Two replicas start from the same document, each makes its writes unseen by the other, then they merge.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{AttachmentToken, Doc, FieldKind, Op, OpError};
use ditto_types::{Hlc, Path, SiteId, Stamp, json};

fn stamp(ms: u64, n: u8) -> Stamp {
    Stamp::new(Hlc::from_ms(ms), SiteId { id: [n; 16], incarnation: 0 })
}

fn path(dotted: &str) -> Path {
    Path::new(dotted.split('.'))
}

fn set(p: &str, v: &str) -> Op {
    Op::Set { path: path(p), value: json::from_str(v).unwrap(), kind: FieldKind::Inferred }
}

fn unset(p: &str) -> Op {
    Op::Unset { path: path(p) }
}

fn increment(p: &str, by: i64) -> Op {
    Op::Increment { path: path(p), by }
}

/// Writes of the first replica happen at 100, of the second at 200. Gives the visible document, or `None` if dead.
fn merged(start: &str, first: &[Op], second: &[Op]) -> Option<String> {
    let start = json::from_str(start).unwrap();
    let base = Doc::fresh(start.as_object().unwrap(), stamp(1, 9));
    merged_from(&base, first, second)
}

fn merged_from(base: &Doc, first: &[Op], second: &[Op]) -> Option<String> {
    let mut a = base.clone();
    let mut b = base.clone();
    first.iter().for_each(|op| a.apply(op, stamp(100, 1)).unwrap());
    second.iter().for_each(|op| b.apply(op, stamp(200, 2)).unwrap());
    let mut ab = a.clone();
    ab.merge(&b.delta(&a.vv()));
    let mut ba = b.clone();
    ba.merge(&a.delta(&b.vv()));
    assert_eq!(ab, ba);
    ab.is_alive().then(|| json::to_string(&ab.to_object().into()))
}

/// Name, start, writes of the first, writes of the second, visible result.
type Case = (&'static str, &'static str, Vec<Op>, Vec<Op>, Option<&'static str>);

#[test]
fn matrix() {
    let cases: &[Case] = &[
        ("the later SET wins", r#"{"x":0}"#, vec![set("x", "1")], vec![set("x", "2")], Some(r#"{"x":2}"#)),
        (
            "keys of a map merge",
            r#"{"m":{}}"#,
            vec![set("m.a", "1")],
            vec![set("m.b", "2")],
            Some(r#"{"m":{"a":1,"b":2}}"#),
        ),
        (
            "a map write merges with a key write",
            r#"{"m":{"a":1}}"#,
            vec![set("m", r#"{"a":10}"#)],
            vec![set("m.b", "20")],
            Some(r#"{"m":{"a":10,"b":20}}"#),
        ),
        (
            "arrays are whole",
            r#"{"t":[1]}"#,
            vec![set("t", "[1,2,3]")],
            vec![set("t", "[0,1,2]")],
            Some(r#"{"t":[0,1,2]}"#),
        ),
        ("increments add up", "{}", vec![increment("c", 5)], vec![increment("c", 7)], Some(r#"{"c":12}"#)),
        (
            "a restart drops what it had not seen",
            "{}",
            vec![Op::Restart { path: path("c"), to: 100 }],
            vec![increment("c", 5)],
            Some(r#"{"c":100}"#),
        ),
        (
            "and the other way round",
            "{}",
            vec![increment("c", 5)],
            vec![Op::Restart { path: path("c"), to: 100 }],
            Some(r#"{"c":100}"#),
        ),
        (
            "the later restart wins",
            "{}",
            vec![Op::Restart { path: path("c"), to: 1 }],
            vec![Op::Restart { path: path("c"), to: 2 }],
            Some(r#"{"c":2}"#),
        ),
        // Ours: a delete wins over any concurrent update; there are no half-deleted documents.
        ("DELETE, then a concurrent UPDATE", r#"{"x":1}"#, vec![Op::Delete], vec![set("x", "2")], None),
        ("UPDATE, then a concurrent DELETE", r#"{"x":1}"#, vec![set("x", "2")], vec![Op::Delete], None),
        // Ours: a removed key has no remains. The concurrent write below it is new to the remover, so it survives.
        (
            "UNSET, then a concurrent write below",
            r#"{"i":{"k":{"p":1}}}"#,
            vec![unset("i.k")],
            vec![set("i.k.q", "5")],
            Some(r#"{"i":{"k":{"q":5}}}"#),
        ),
        (
            "a write below, then a concurrent UNSET",
            r#"{"i":{"k":{"p":1}}}"#,
            vec![set("i.k.q", "5")],
            vec![unset("i.k")],
            Some(r#"{"i":{"k":{"q":5}}}"#),
        ),
        (
            "UNSET and the entry rewritten",
            r#"{"i":{"k":{"p":1}}}"#,
            vec![unset("i.k")],
            vec![set("i.k", r#"{"p":2}"#)],
            Some(r#"{"i":{"k":{"p":2}}}"#),
        ),
        ("both UNSET", r#"{"a":1,"b":2}"#, vec![unset("a")], vec![unset("a")], Some(r#"{"b":2}"#)),
    ];
    for (name, start, first, second, want) in cases {
        assert_eq!(merged(start, first, second).as_deref(), *want, "{name}");
    }
}

#[test]
fn inserts_of_one_id_are_one_document() {
    let a = Doc::fresh(json::from_str(r#"{"x":1,"a":1}"#).unwrap().as_object().unwrap(), stamp(100, 1));
    let b = Doc::fresh(json::from_str(r#"{"x":2,"b":2}"#).unwrap().as_object().unwrap(), stamp(200, 2));
    let mut both = a.clone();
    both.merge(&b);
    assert_eq!(json::to_string(&both.to_object().into()), r#"{"a":1,"b":2,"x":2}"#);
}

#[test]
fn initial_documents_lose_to_everything_and_stay_deleted() {
    let seed = |v: &str| Doc::fresh(json::from_str(v).unwrap().as_object().unwrap(), Stamp::ZERO);
    let mut two = seed(r#"{"x":1,"a":1}"#);
    two.merge(&seed(r#"{"x":2,"b":1}"#));
    assert_eq!(json::to_string(&two.to_object().into()), r#"{"a":1,"b":1,"x":2}"#, "by value, not time");
    let mut written = seed(r#"{"x":9}"#);
    written.merge(&Doc::fresh(json::from_str(r#"{"x":1}"#).unwrap().as_object().unwrap(), stamp(5, 1)));
    assert_eq!(json::to_string(&written.to_object().into()), r#"{"x":1}"#);
    let mut deleted = seed(r#"{"x":1}"#);
    deleted.apply(&Op::Delete, stamp(5, 1)).unwrap();
    deleted.merge(&seed(r#"{"x":1,"other":2}"#));
    assert!(!deleted.is_alive());
}

/// Operations of one transaction share a stamp and still apply in order.
#[test]
fn order_inside_a_transaction() {
    let start = r#"{"o":{"a":1},"x":1}"#;
    let cases: &[(Vec<Op>, Option<&str>)] = &[
        (vec![unset("o"), set("o", r#"{"w":1}"#)], Some(r#"{"o":{"w":1},"x":1}"#)),
        (vec![set("x", "2"), unset("x")], Some(r#"{"o":{"a":1}}"#)),
        (vec![set("o.b", "2"), unset("o"), set("o.c", "3")], Some(r#"{"o":{"c":3},"x":1}"#)),
        (vec![Op::Delete, Op::Create, set("n", "1")], Some(r#"{"n":1}"#)),
        (vec![set("x", "5"), Op::Delete], None),
        (vec![set("x", "5"), set("x", "3")], Some(r#"{"o":{"a":1},"x":3}"#)),
        (vec![set("o", "{}")], Some(start)),
    ];
    for (ops, want) in cases {
        assert_eq!(merged(start, ops, &[]).as_deref(), *want, "{ops:?}");
    }
}

#[test]
fn kinds_coexist_and_the_newest_shows() {
    let mut doc = Doc::default();
    let mut ms = 1;
    let mut step = |op: Op, want: &str| {
        ms += 1;
        doc.apply(&op, stamp(ms, 1)).unwrap();
        assert_eq!(json::to_string(&doc.to_object().into()), want, "{op:?}");
    };
    step(Op::Create, "{}");
    step(set("c", "10"), r#"{"c":10}"#);
    step(increment("c", 1), r#"{"c":1}"#);
    step(Op::PnIncrement { path: path("c"), by: 4.0 }, r#"{"c":4.0}"#);
    step(set("o", r#"{"a":1,"b":2}"#), r#"{"c":4.0,"o":{"a":1,"b":2}}"#);
    step(set("o", "5"), r#"{"c":4.0,"o":5}"#);
    step(set("o", r#"{"w":1}"#), r#"{"c":4.0,"o":{"a":1,"b":2,"w":1}}"#);
    step(unset("o.a"), r#"{"c":4.0,"o":{"b":2,"w":1}}"#);
    let register =
        Op::Set { path: path("r"), value: json::from_str(r#"{"a":1}"#).unwrap(), kind: FieldKind::Register };
    step(register, r#"{"c":4.0,"o":{"b":2,"w":1},"r":{"a":1}}"#);
    step(set("r.a", "11"), r#"{"c":4.0,"o":{"b":2,"w":1},"r":{"a":11}}"#);
    assert_eq!(doc.get_as(&["c".into()], FieldKind::Register), Some(10.into()));
    assert_eq!(doc.get_as(&["c".into()], FieldKind::Counter), Some(1.into()));
    let r = doc.get_as(&["r".into()], FieldKind::Register).unwrap();
    assert_eq!(json::to_string(&r), r#"{"a":1}"#);
    assert_eq!(doc.get(&["r".into(), "a".into()]), Some(11.into()));
}

fn set_as(p: &str, v: &str, kind: FieldKind) -> Op {
    Op::Set { path: path(p), value: json::from_str(v).unwrap(), kind }
}

/// A register and a counter at one path: the newer one shows, and each can still be read as what it was declared.
#[test]
fn a_number_and_an_increment_meet() {
    let base = Doc::fresh(json::from_str(r#"{"c":1}"#).unwrap().as_object().unwrap(), stamp(1, 9));
    for (number_at, increment_at, shown) in [(100, 200, 3), (200, 100, 10)] {
        let (mut a, mut b) = (base.clone(), base.clone());
        a.apply(&set("c", "10"), stamp(number_at, 1)).unwrap();
        b.apply(&increment("c", 3), stamp(increment_at, 2)).unwrap();
        let mut both = a.clone();
        both.merge(&b.delta(&a.vv()));
        b.merge(&a.delta(&b.vv()));
        assert_eq!(both, b);
        let c = ["c".into()];
        assert_eq!(both.get(&c), Some(shown.into()));
        assert_eq!(both.get_as(&c, FieldKind::Register), Some(10.into()));
        assert_eq!(both.get_as(&c, FieldKind::Counter), Some(3.into()));
    }
}

/// Increments count on the restart that their author has seen.
#[test]
fn increments_after_a_restart_that_was_seen_count() {
    let mut a = Doc::fresh(&Default::default(), stamp(1, 9));
    let mut b = a.clone();
    b.apply(&increment("c", 5), stamp(10, 2)).unwrap();
    a.apply(&Op::Restart { path: path("c"), to: 100 }, stamp(20, 1)).unwrap();
    b.merge(&a);
    assert_eq!(b.get(&["c".into()]), Some(100.into()), "what was counted before is gone");
    b.apply(&increment("c", 7), stamp(30, 2)).unwrap();
    a.apply(&increment("c", 1), stamp(31, 1)).unwrap();
    a.merge(&b.delta(&a.vv()));
    b.merge(&a.delta(&b.vv()));
    assert_eq!(a, b);
    assert_eq!(a.get(&["c".into()]), Some(108.into()));
    // An unseen restart drops them all the same.
    let mut c = a.clone();
    c.apply(&Op::Restart { path: path("c"), to: 0 }, stamp(40, 3)).unwrap();
    a.apply(&increment("c", 1), stamp(41, 1)).unwrap();
    a.merge(&c);
    assert_eq!(a.get(&["c".into()]), Some(0.into()));
}

/// The later of INSERT and DELETE decides whether the document lives; an INSERT brings back only what is newer than the
/// DELETE.
#[test]
fn insert_and_delete_meet() {
    let again = [Op::Create, set("n", "2")];
    assert_eq!(merged(r#"{"x":1}"#, &[Op::Delete], &again).as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(merged(r#"{"x":1}"#, &again, &[Op::Delete]), None);
    // The same for a document that only one of them has ever seen deleted.
    let mut dead = Doc::fresh(json::from_str(r#"{"x":1}"#).unwrap().as_object().unwrap(), stamp(1, 9));
    dead.apply(&Op::Delete, stamp(2, 9)).unwrap();
    assert_eq!(merged_from(&dead, &[Op::Delete], &again).as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(merged_from(&dead, &again, &[Op::Delete]), None);
}

#[test]
fn attachments_are_replaced_as_a_whole() {
    let token = |n: u8| {
        let token =
            AttachmentToken { hash: [n; 32], len: n.into(), metadata: [("n".into(), "x".into())].into() };
        (json::to_string(&token.to_value()), token)
    };
    let attach = |n| set_as("f", &token(n).0, FieldKind::Attachment);
    let want = format!(r#"{{"f":{}}}"#, token(4).0);
    assert_eq!(merged("{}", &[attach(9)], &[attach(4)]), Some(want));
    let mut doc = Doc::fresh(&Default::default(), stamp(1, 1));
    doc.apply(&attach(3), stamp(2, 1)).unwrap();
    assert_eq!(doc.get(&["f".into(), "len".into()]), Some(3.into()));
    let wrong = set_as("f", "1", FieldKind::Attachment);
    assert!(matches!(doc.apply(&wrong, stamp(3, 1)), Err(OpError::WrongKind { .. })));
}
