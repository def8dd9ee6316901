//! What queries see: the whole document, one path of it and the encoded document must tell the same.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{
    AttachmentToken, DictReader, DictWriter, Doc, DocView, FieldKind, LeafValue, Op, OpError, encode,
};
use ditto_types::{Hlc, KindSet, Object, Path, SiteId, SmolStr, Stamp, Value, codec, json};
use proptest::prelude::*;

fn at(time: u64, n: u8) -> Stamp {
    Stamp::new(Hlc(time), SiteId { id: [n; 16], incarnation: 0 })
}

fn fields(text: &str) -> Object {
    json::from_str(text).unwrap().as_object().unwrap().clone()
}

fn path(dotted: &str) -> Path {
    Path::new(dotted.split('.'))
}

fn set_as(p: &str, v: &str, kind: FieldKind) -> Op {
    Op::Set { path: path(p), value: json::from_str(v).unwrap(), kind }
}

fn set(p: &str, v: &str) -> Op {
    set_as(p, v, FieldKind::Inferred)
}

fn text(doc: &Doc) -> String {
    json::to_string(&doc.to_object().into())
}

/// Names and sites as they come.
#[derive(Default)]
struct Dict(Vec<SmolStr>, Vec<SiteId>);

impl DictWriter for Dict {
    fn key_ref(&mut self, name: &str) -> u32 {
        let at = self.0.iter().position(|n| n == name);
        at.unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        }) as u32
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        let at = self.1.iter().position(|s| s == site);
        at.unwrap_or_else(|| {
            self.1.push(*site);
            self.1.len() - 1
        }) as u32
    }
}

impl DictReader for Dict {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        self.1.get(number as usize).copied()
    }
}

/// Every way to read must agree with the object, at every path of these names.
fn agrees(doc: &Doc) {
    let object = Value::Object(doc.to_object());
    let mut dict = Dict::default();
    let bytes = encode(doc, &mut dict);
    let view = DocView::new(&bytes, &dict).unwrap();
    assert_eq!(Value::Object(view.to_object().unwrap()), object);
    let mut with_id = doc.to_object();
    with_id.insert("_id".into(), "x".into());
    let id = codec::to_vec(&"x".into());
    let mut told = String::new();
    if view.visit(&id, &mut json::JsonText::new(&mut told)).unwrap() {
        assert_eq!(told, json::to_string(&with_id.into()));
    }
    typed_agrees(doc, &view);
    kinds_agree(doc, &view);
    let names = ["a", "b", "c"].map(SmolStr::new_static);
    let mut paths: Vec<Vec<SmolStr>> = vec![vec![]];
    for depth in 0..4 {
        let longer = paths.iter().filter(|p| p.len() == depth);
        let longer =
            longer.flat_map(|p| names.iter().map(move |n| [p.as_slice(), std::slice::from_ref(n)].concat()));
        let longer: Vec<_> = longer.collect();
        paths.extend(longer);
    }
    for path in paths {
        let want = path.iter().try_fold(&object, |v, name| v.get(name)).filter(|_| doc.is_alive());
        assert_eq!(doc.get(&path).as_ref(), want, "{path:?} of {object:?}");
        assert_eq!(view.get(&path).unwrap().as_ref(), want, "encoded {path:?} of {object:?}");
    }
}

/// Under every declared kind of every first field, in place and decoded, path by path and as a whole.
fn typed_agrees(doc: &Doc, view: &DocView<'_>) {
    use FieldKind::{Attachment, Counter, Inferred, Map, PnCounter, Register};
    for kind in [Inferred, Register, Map, Counter, PnCounter, Attachment] {
        for below in [Inferred, Register] {
            let kind_of = |path: &[SmolStr]| if path.len() == 1 { kind } else { below };
            let object = Value::Object(doc.to_object_typed(&kind_of));
            assert_eq!(Value::Object(view.to_object_typed(&kind_of).unwrap()), object);
            for p in ["a", "b", "a.a", "a.b", "r", "r.a", "o", "o.k", "m", "m.x"].map(path) {
                let want = p.names().iter().try_fold(&object, |v, name| v.get(name));
                assert_eq!(doc.get_typed(p.names(), &kind_of).as_ref(), want, "{p:?} {kind:?} {below:?}");
                assert_eq!(view.get_typed(p.names(), &kind_of).unwrap().as_ref(), want, "{p:?} {kind:?}");
            }
            if below == Inferred && doc.is_alive() {
                let first = path("a");
                assert_eq!(doc.get_typed(first.names(), &kind_of), doc.get_as(first.names(), kind));
            }
        }
    }
}

/// The kinds on a path are those that a declared read finds, in place and decoded.
fn kinds_agree(doc: &Doc, view: &DocView<'_>) {
    for p in ["a", "b", "a.a", "a.b", "a.b.c", "m.x", "_id"].map(path) {
        let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
        doc.kinds_along(p.names(), &mut |at, kinds| decoded.push((at, kinds)));
        view.kinds_along(p.names(), &mut |at, kinds| encoded.push((at, kinds))).unwrap();
        assert_eq!(decoded, encoded, "{p:?}");
        for at in 0..p.len() {
            let here = &p.names()[..=at];
            let noted = decoded.iter().find(|(place, _)| *place == at).map(|(_, kinds)| *kinds);
            for (kind, set) in [
                (FieldKind::Register, KindSet::REGISTER),
                (FieldKind::Map, KindSet::MAP),
                (FieldKind::Counter, KindSet::COUNTER),
                (FieldKind::PnCounter, KindSet::PN_COUNTER),
                (FieldKind::Attachment, KindSet::ATTACHMENT),
            ] {
                let found = doc.get_as(here, kind).is_some();
                assert_eq!(noted.is_some_and(|n| n.contains(set)), found, "{p:?} {at} {kind:?}");
            }
        }
    }
}

#[test]
fn declared_fields_are_read_as_their_kind() {
    let mut doc = Doc::fresh(&fields(r#"{"f":{"x":1},"m":{"x":{"y":2}},"n":3}"#), at(1, 1));
    doc.apply(&set_as("f", r#"{"z":9}"#, FieldKind::Register), at(2, 1)).unwrap();
    doc.apply(&Op::Increment { path: path("n"), by: 5 }, at(3, 1)).unwrap();
    let read = |decls: &[(&str, FieldKind)], other: FieldKind| {
        let kind_of = |p: &[SmolStr]| {
            let found = decls.iter().find(|(d, _)| path(d).names() == p);
            found.map_or(other, |(_, kind)| *kind)
        };
        json::to_string(&doc.to_object_typed(&kind_of).into())
    };
    use FieldKind::{Counter, Inferred, Map, Register};
    assert_eq!(read(&[], Inferred), r#"{"f":{"z":9},"m":{"x":{"y":2}},"n":5}"#);
    assert_eq!(read(&[("f", Map)], Inferred), r#"{"f":{"x":1},"m":{"x":{"y":2}},"n":5}"#);
    assert_eq!(read(&[("n", Register)], Inferred), r#"{"f":{"z":9},"m":{"x":{"y":2}},"n":3}"#);
    assert_eq!(read(&[("m", Counter)], Inferred), r#"{"f":{"z":9},"n":5}"#);
    // Strict: what is not declared is a register or not there.
    assert_eq!(read(&[], Register), r#"{"f":{"z":9},"n":3}"#);
    assert_eq!(read(&[("m", Map)], Register), r#"{"f":{"z":9},"m":{},"n":3}"#);
    assert_eq!(read(&[("m", Map), ("m.x", Map)], Register), r#"{"f":{"z":9},"m":{"x":{"y":2}},"n":3}"#);
    agrees(&doc);
}

#[test]
fn fields_stand_around_the_id() {
    let doc = Doc::fresh(&fields(r#"{"A":1,"_a":2,"_z":{},"z":{"_id":3,"a":{}}}"#), at(1, 1));
    let mut dict = Dict::default();
    let bytes = encode(&doc, &mut dict);
    let view = DocView::new(&bytes, &dict).unwrap();
    let mut told = String::new();
    assert!(view.visit(&codec::to_vec(&7.into()), &mut json::JsonText::new(&mut told)).unwrap());
    assert_eq!(told, r#"{"A":1,"_a":2,"_id":7,"_z":{},"z":{"_id":3,"a":{}}}"#);
    let mut told = String::new();
    let empty = encode(&Doc::fresh(&Object::new(), at(1, 1)), &mut dict);
    let view = DocView::new(&empty, &dict).unwrap();
    assert!(view.visit(&codec::to_vec(&7.into()), &mut json::JsonText::new(&mut told)).unwrap());
    assert_eq!(told, r#"{"_id":7}"#);
}

#[test]
fn a_register_over_a_map_shows_its_own_fields() {
    let mut doc = Doc::fresh(&fields(r#"{"r":{"a":1,"b":2}}"#), at(1, 1));
    doc.apply(&set_as("r", r#"{"a":11,"c":{"a":3}}"#, FieldKind::Register), at(2, 1)).unwrap();
    assert_eq!(text(&doc), r#"{"r":{"a":11,"c":{"a":3}}}"#);
    let get = |p: &str| doc.get(path(p).names());
    assert_eq!(get("r.a"), Some(11.into()));
    assert_eq!(get("r.b"), None);
    assert_eq!(get("r.c.a"), Some(3.into()));
    agrees(&doc);
}

/// Every way to write two kinds at one path in one transaction, in both orders: the later one shows.
#[test]
fn the_later_kind_of_a_transaction_shows() {
    let token = AttachmentToken { hash: [7; 32], len: 9, metadata: [("a".into(), "b".into())].into() };
    let token = json::to_string(&token.to_value());
    let kinds: Vec<(Op, String)> = vec![
        (set("o", "5"), "5".into()),
        (set_as("o", r#"{"k":1}"#, FieldKind::Register), r#"{"k":1}"#.into()),
        (set_as("o", &token, FieldKind::Attachment), token.clone()),
        (set_as("o", "8", FieldKind::Counter), "8".into()),
        (Op::Increment { path: path("o"), by: 3 }, "3".into()),
        (Op::PnIncrement { path: path("o"), by: 1.5 }, "1.5".into()),
        (set("o", r#"{"w":1}"#), r#"{"w":1}"#.into()),
        (set("o", "{}"), "{}".into()),
        (set("o.w", "1"), r#"{"w":1}"#.into()),
    ];
    for stamp in [at(5, 1), Stamp::ZERO] {
        for (i, (first, _)) in kinds.iter().enumerate() {
            for (j, (second, shown)) in kinds.iter().enumerate() {
                // Counters count on, maps merge.
                let merges = [[3, 4].as_slice(), &[6, 7, 8]].iter().any(|k| k.contains(&i) && k.contains(&j));
                if merges || i == j {
                    continue;
                }
                let mut doc = Doc::fresh(&Object::new(), stamp);
                doc.apply(first, stamp).unwrap();
                doc.apply(second, stamp).unwrap();
                assert_eq!(text(&doc), format!(r#"{{"o":{shown}}}"#), "{first:?}, then {second:?}");
                agrees(&doc);
            }
        }
    }
}

#[test]
fn a_restart_drops_the_increments_of_its_transaction() {
    let (c, p) = (["c".into()], path("c"));
    let restart = |to| Op::Restart { path: p.clone(), to };
    let inc = |by| Op::Increment { path: p.clone(), by };
    let counter = |to: &str| set_as("c", to, FieldKind::Counter);
    let cases: &[(&[Op], i64)] = &[
        (&[restart(100), inc(5), restart(200)], 200),
        (&[restart(100), inc(5), restart(200), inc(1)], 201),
        (&[counter("100"), inc(5), counter("200")], 200),
        (&[inc(5), counter("7"), inc(2)], 9),
    ];
    for (ops, want) in cases {
        let mut doc = Doc::fresh(&Object::new(), at(1, 1));
        doc.apply(&inc(40), at(2, 1)).unwrap();
        ops.iter().for_each(|op| doc.apply(op, at(5, 1)).unwrap());
        assert_eq!(doc.get(&c), Some((*want).into()), "{ops:?}");
        doc.apply(&inc(1), at(6, 2)).unwrap();
        assert_eq!(doc.get(&c), Some((want + 1).into()), "{ops:?}");
    }
}

#[test]
fn setting_a_pn_counter_sets_what_it_shows() {
    let mut doc = Doc::fresh(&Object::new(), at(1, 1));
    let pn = |v: &str| set_as("p", v, FieldKind::PnCounter);
    doc.apply(&Op::PnIncrement { path: path("p"), by: 2.0 }, at(2, 2)).unwrap();
    for time in 3..6 {
        doc.apply(&pn("5.0"), at(time, 1)).unwrap();
        assert_eq!(doc.get(&["p".into()]), Some(Value::Float(5.0)));
    }
    doc.apply(&Op::PnIncrement { path: path("p"), by: -1.0 }, at(7, 1)).unwrap();
    assert_eq!(doc.get(&["p".into()]), Some(Value::Float(4.0)));
    doc.apply(&pn("1"), at(8, 2)).unwrap();
    assert_eq!(doc.get(&["p".into()]), Some(Value::Float(1.0)));
    let shares: f64 =
        doc.leaves().map(|(_, _, l)| if let LeafValue::Pn(n) = l.value { n } else { 0.0 }).sum();
    assert_eq!(shares, 1.0);
}

#[test]
fn a_pn_counter_stays_finite() {
    let mut doc = Doc::fresh(&Object::new(), at(1, 1));
    doc.apply(&Op::PnIncrement { path: path("p"), by: f64::MAX }, at(2, 1)).unwrap();
    let before = doc.clone();
    let set = |v: f64| Op::Set { path: path("p"), value: v.into(), kind: FieldKind::PnCounter };
    let inc = |by: f64| Op::PnIncrement { path: path("p"), by };
    for op in [inc(f64::NAN), inc(f64::INFINITY), inc(f64::MAX), set(f64::NAN), set(f64::NEG_INFINITY)] {
        assert_eq!(doc.apply(&op, at(3, 1)), Err(OpError::NotFinite("p".into())), "{op:?}");
        assert_eq!(doc, before);
    }
}

#[test]
fn a_dead_document_shows_nothing() {
    let mut doc = Doc::fresh(&fields(r#"{"x":1}"#), at(1, 1));
    let mut other = doc.clone();
    doc.apply(&Op::Delete, at(5, 1)).unwrap();
    other.apply(&set("x", r#"{"a":2}"#), at(9, 2)).unwrap();
    doc.merge(&other);
    assert!(!doc.is_alive());
    assert_eq!(doc.leaves().count(), 2, "hidden");
    assert!(doc.to_object().is_empty());
    for kind in [FieldKind::Inferred, FieldKind::Register, FieldKind::Map] {
        assert_eq!(doc.get_as(&["x".into()], kind), None);
    }
    assert_eq!(doc.get_as(&["x".into(), "a".into()], FieldKind::Register), None);
    agrees(&doc);
    // The hidden leaves come back with the document.
    doc.apply(&Op::Create, at(10, 1)).unwrap();
    assert_eq!(text(&doc), r#"{"x":{"a":2}}"#);
}

#[test]
fn only_an_attachment_token_is_one() {
    let token = AttachmentToken { hash: [0x0f; 32], len: 1, metadata: Default::default() };
    assert_eq!(AttachmentToken::from_value(&token.to_value()), Some(token.clone()));
    for digits in ["+f", "-1", "0F", " f", "0g"] {
        let text = json::to_string(&token.to_value()).replace(&"0f".repeat(32), &digits.repeat(32));
        assert_eq!(AttachmentToken::from_value(&json::from_str(&text).unwrap()), None, "{digits:?}");
    }
}

#[test]
fn the_id_is_no_field() {
    let mut doc = Doc::fresh(&fields(r#"{"_id":1,"x":1}"#), at(1, 1));
    assert_eq!(text(&doc), r#"{"x":1}"#);
    let inc = Op::Increment { path: path("_id"), by: 1 };
    for op in [set("_id", "1"), set("_id.x", "1"), Op::Unset { path: path("_id") }, inc] {
        assert_eq!(doc.apply(&op, at(2, 1)), Err(OpError::Id));
    }
    doc.apply(&set("x._id", "1"), at(2, 1)).unwrap();
    assert_eq!(text(&doc), r#"{"x":{"_id":1}}"#, "below the root it is a name like any other");
}

fn any_kind() -> impl Strategy<Value = FieldKind> {
    use FieldKind::{Counter, Inferred, Map, PnCounter, Register};
    prop::sample::select(vec![Inferred, Register, Map, Counter, PnCounter])
}

fn an_op() -> impl Strategy<Value = Op> {
    let path = || prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(Path::new);
    let values = vec!["1", "null", "{}", r#"{"a":2}"#, r#"{"a":{"b":3},"c":4}"#, r#"[{"a":5}]"#];
    let value = prop::sample::select(values).prop_map(|v| json::from_str(v).unwrap());
    let kind = prop::sample::select(vec![FieldKind::Inferred, FieldKind::Register]);
    prop_oneof![
        6 => (path(), value, kind).prop_map(|(path, value, kind)| Op::Set { path, value, kind }),
        2 => path().prop_map(|path| Op::Unset { path }),
        2 => (path(), any_kind()).prop_map(|(path, kind)| Op::UnsetKind { path, kind }),
        1 => (path(), -9..9i64).prop_map(|(path, by)| Op::Increment { path, by }),
        1 => (path(), -9..9i64).prop_map(|(path, to)| Op::Restart { path, to }),
        1 => (path(), -9..9i32).prop_map(|(path, by)| Op::PnIncrement { path, by: by.into() }),
        1 => Just(Op::Delete),
        2 => Just(Op::Create),
    ]
}

proptest! {
    /// Each operation with a time of its own, or several in one transaction.
    #[test]
    fn every_way_to_read_agrees(ops in prop::collection::vec((an_op(), any::<bool>()), 0..16)) {
        let mut doc = Doc::default();
        let mut time = 1;
        doc.apply(&Op::Create, at(time, 1)).unwrap();
        for (op, next) in &ops {
            time += u64::from(*next);
            doc.apply(op, at(time, 1)).unwrap();
            agrees(&doc);
        }
    }
}
