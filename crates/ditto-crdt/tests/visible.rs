//! What queries see: the whole document, one path of it and the encoded document must tell the same.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{DictReader, DictWriter, Doc, DocView, FieldKind, Op, encode};
use ditto_types::{Hlc, Object, Path, SiteId, SmolStr, Stamp, Value, json};
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

fn an_op() -> impl Strategy<Value = Op> {
    let path = || prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(Path::new);
    let values = vec!["1", "null", "{}", r#"{"a":2}"#, r#"{"a":{"b":3},"c":4}"#, r#"[{"a":5}]"#];
    let value = prop::sample::select(values).prop_map(|v| json::from_str(v).unwrap());
    let kind = prop::sample::select(vec![FieldKind::Inferred, FieldKind::Register]);
    prop_oneof![
        6 => (path(), value, kind).prop_map(|(path, value, kind)| Op::Set { path, value, kind }),
        2 => path().prop_map(|path| Op::Unset { path }),
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
