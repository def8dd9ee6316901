//! Cases in which replicas once ended in different states.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{Doc, FieldKind, Op, VersionVector};
use ditto_types::{Hlc, Object, Path, SiteId, Stamp, json};

fn site(n: u8) -> SiteId {
    SiteId { id: [n; 16], incarnation: 0 }
}

fn at(time: u64, n: u8) -> Stamp {
    Stamp::new(Hlc(time), site(n))
}

fn fields(text: &str) -> Object {
    json::from_str(text).unwrap().as_object().unwrap().clone()
}

fn set(p: &str, v: &str) -> Op {
    Op::Set { path: Path::new(p.split('.')), value: json::from_str(v).unwrap(), kind: FieldKind::Inferred }
}

fn unset(p: &str) -> Op {
    Op::Unset { path: Path::new(p.split('.')) }
}

fn apply(doc: &Doc, ops: &[Op], stamp: Stamp) -> Doc {
    let mut out = doc.clone();
    ops.iter().for_each(|op| out.apply(op, stamp).unwrap());
    out
}

/// Both ways by delta and both ways whole; all four must be one state, with one encoding.
#[track_caller]
fn exchanged(a: &Doc, b: &Doc) -> Doc {
    let merged = |x: &Doc, y: &Doc| {
        let mut out = x.clone();
        out.merge(y);
        out
    };
    let whole = merged(a, b);
    for other in [merged(b, a), merged(a, &b.delta(&a.vv())), merged(b, &a.delta(&b.vv()))] {
        assert_eq!(other, whole);
        assert_eq!(other.canonical(), whole.canonical());
    }
    whole
}

/// The deletion stands below the transaction's own writes and above all that it saw, whoever wrote that.
#[test]
fn delete_and_insert_in_one_transaction_remove_what_was_seen() {
    let base = Doc::fresh(&fields("{}"), at(10, 1));
    for (time, author) in [(19, 2), (19, 9), (11, 2)] {
        let b = apply(&base, &[set("x", "1"), set("m.y", "2")], at(time, author));
        let a = apply(&b, &[Op::Delete, Op::Create, set("n", "3")], at(20, 1));
        assert_eq!(a.dead(), Some(Stamp::new(Hlc(20), SiteId::ZERO)));
        assert_eq!(exchanged(&a, &b), a);
        assert_eq!(json::to_string(&a.to_object().into()), r#"{"n":3}"#);
        assert_eq!(a.vv().get(&SiteId::ZERO), None, "no site wrote that deletion");
        // An unseen write of the very same time survives, as every concurrent write does.
        let unseen = apply(&base, &[set("x", "4")], at(20, 2));
        let both = exchanged(&a, &unseen);
        assert_eq!(json::to_string(&both.to_object().into()), r#"{"n":3,"x":4}"#);
    }
}

#[test]
fn write_and_unset_in_one_transaction_remove_what_was_seen() {
    let b = apply(&Doc::fresh(&fields(r#"{"x":1}"#), at(10, 1)), &[set("x", "2")], at(19, 9));
    let a = apply(&b, &[set("x", "3"), unset("x")], at(20, 1));
    assert_eq!(exchanged(&a, &b), a);
    assert!(a.to_object().is_empty());
}

#[test]
fn different_seeds_exchange_everything_by_delta() {
    let a = Doc::fresh(&fields(r#"{"x":1,"a":1,"m":{"k":1}}"#), Stamp::ZERO);
    let b = Doc::fresh(&fields(r#"{"x":2,"b":1,"m":{"l":1}}"#), Stamp::ZERO);
    let both = exchanged(&a, &b);
    assert_eq!(json::to_string(&both.to_object().into()), r#"{"a":1,"b":1,"m":{"k":1,"l":1},"x":2}"#);
    // Also when each has been written to since.
    let a = apply(&a, &[set("a", "5")], at(5, 1));
    let b = apply(&b, &[unset("m"), set("c", "7")], at(6, 2));
    let both = exchanged(&a, &b);
    assert_eq!(json::to_string(&both.to_object().into()), r#"{"a":5,"b":1,"c":7,"x":2}"#);
}

#[test]
fn the_beginning_of_time_is_never_covered() {
    let mut vv = VersionVector::new();
    vv.insert(Stamp::ZERO);
    vv.insert(Stamp::new(Hlc(7), SiteId::ZERO));
    assert!(!vv.covers(&Stamp::ZERO));
    assert_eq!(vv.get(&SiteId::ZERO), Some(Hlc::ZERO), "only says that there is something");
    assert!(VersionVector::new().covers_all(&vv));
    vv.insert(at(3, 1));
    assert!(vv.covers(&at(3, 1)) && !vv.covers(&at(4, 1)));
    assert!(!VersionVector::new().covers_all(&vv));
}

/// A peer can name any time as the base of a counter; whoever merges that must know the time.
#[test]
fn the_newest_time_includes_what_is_only_named() {
    let base = Doc::fresh(&fields("{}"), at(1, 1));
    let doc = apply(&base, &[Op::Restart { path: Path::new(["c"]), to: 1 }], at(9, 2));
    let increment =
        apply(&doc, &[Op::Increment { path: Path::new(["c"]), by: 1 }], at(10, 1)).delta(&doc.vv());
    assert_eq!((increment.leaves().count(), increment.max_hlc()), (1, Hlc(10)));
    let mut forged = increment.canonical();
    let named: Vec<usize> = (0..forged.len()).filter(|i| forged[*i] == 9).collect();
    assert_eq!(named.len(), 1, "the base stands there once");
    forged[named[0]] = 99;
    assert_eq!(Doc::from_canonical(&forged).unwrap().max_hlc(), Hlc(99));
}
