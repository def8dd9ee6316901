//! Cases in which replicas once ended in different states.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{Doc, FieldKind, Op, OpError, VersionVector};
use ditto_types::{Hlc, Object, Path, SiteId, Stamp, Value, json};

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

/// Zero has two encodings; the greater one wins everywhere.
#[test]
fn equal_stamps_are_decided_by_bytes() {
    let doc = |v: Value| Doc::fresh(&Object::from([("x".into(), v)]), Stamp::ZERO);
    let (plus, minus) = (doc(Value::Float(0.0)), doc(Value::Float(-0.0)));
    assert_ne!(plus, minus, "different bytes are different documents");
    assert_eq!(exchanged(&plus, &minus), exchanged(&minus, &plus));
    let deep = |v: f64| doc(Value::Array(vec![Value::Object(Object::from([("k".into(), Value::Float(v))]))]));
    assert_ne!(deep(0.0), deep(-0.0));
    exchanged(&deep(0.0), &deep(-0.0));
    assert_eq!(deep(f64::NAN), deep(-f64::NAN), "one encoding");
    assert_eq!(doc(Value::Int(5)), doc(Value::UInt(5)), "one encoding");
    assert_ne!(doc(Value::Int(-1)), doc(Value::UInt(u64::MAX)));
}

/// Whatever the order of writes, a stamp that others may take for known is refused.
#[test]
fn stale_stamps_are_refused() {
    let doc = Doc::fresh(&fields(r#"{"x":1}"#), at(9, 2));
    let inc = Op::Increment { path: Path::new(["c"]), by: 1 };
    for op in [unset("x"), set("x", "2"), set("y", "2"), Op::Delete, Op::Create, inc] {
        for stamp in [at(5, 1), at(5, 2), at(9, 1), at(9, 3), Stamp::ZERO] {
            let mut stale = doc.clone();
            let error = OpError::Stale { stamp: stamp.hlc, known: Hlc(9) };
            assert_eq!(stale.apply(&op, stamp), Err(error), "{op:?} at {stamp:?}");
            assert_eq!(stale, doc);
        }
        assert_eq!(doc.clone().apply(&op, at(9, 2)), Ok(()), "its own transaction");
        assert_eq!(doc.clone().apply(&op, at(10, 1)), Ok(()));
    }
    // A merge may bring newer writes into a transaction that has begun.
    let mut doc = doc;
    doc.apply(&set("y", "1"), at(10, 1)).unwrap();
    doc.merge(&Doc::fresh(&fields("{}"), at(11, 3)));
    assert!(matches!(doc.apply(&set("y", "2"), at(10, 1)), Err(OpError::Stale { .. })));
    // What is only named counts too: a removal of something newer.
    let mut doc = Doc::fresh(&fields(r#"{"x":1}"#), at(20, 1));
    doc.apply(&unset("x"), at(30, 1)).unwrap();
    assert!(matches!(doc.apply(&set("x", "2"), at(29, 1)), Err(OpError::Stale { .. })));
}

/// What a transaction hides again stays known to others, in the hidden kinds.
#[test]
fn kinds_of_one_transaction_converge() {
    let base = Doc::fresh(&fields(r#"{"o":{"w":0,"v":1},"c":1}"#), at(1, 1));
    let other = apply(&base, &[set("o.w", "7"), set("o.u", "8")], at(15, 2));
    let restart = |to| Op::Restart { path: Path::new(["c"]), to };
    let inc = |by| Op::Increment { path: Path::new(["c"]), by };
    let cases: &[(&[Op], &str)] = &[
        (&[set("o", r#"{"w":1}"#), set("o", "5")], r#"{"c":1,"o":5}"#),
        (&[set("o", "5"), set("o", r#"{"w":1}"#)], r#"{"c":1,"o":{"u":8,"v":1,"w":1}}"#),
        (&[restart(3), inc(2), set("c", "4")], r#"{"c":4,"o":{"u":8,"v":1,"w":7}}"#),
        (&[set("c", "4"), inc(2)], r#"{"c":2,"o":{"u":8,"v":1,"w":7}}"#),
        (&[restart(3), inc(2), set("c", "4"), inc(6)], r#"{"c":11,"o":{"u":8,"v":1,"w":7}}"#),
        (&[unset("o"), set("o", r#"{"w":1}"#), set("o", "5")], r#"{"c":1,"o":5}"#),
        (&[Op::Delete, Op::Create, set("o", r#"{"w":1}"#), set("o", "5")], r#"{"o":5}"#),
    ];
    for (ops, want) in cases {
        let a = apply(&base, ops, at(20, 1));
        let both = exchanged(&a, &other);
        let shown = json::to_string(&both.to_object().into());
        assert_eq!(shown, *want, "{ops:?}");
        assert_eq!(exchanged(&both, &base), both, "nothing old comes back");
        let again = apply(&both, &[set("c", "9"), set("o", r#"{"z":1}"#)], at(30, 2));
        exchanged(&again, &a);
    }
}
