//! Random histories of one collection with indexes that come and go: every index is what a recomputation gives, and
//! finds the documents that a scan finds.

use ditto_crdt::{Doc, FieldKind, Op};
use ditto_types::{DocId, Hlc, SiteId, Stamp};
use proptest::prelude::*;

use super::*;
use crate::{ApplyBatch, ApplyItem, ItemBody};

/// The keys that indexes are made of.
const KEYS: [&[&str]; 6] = [&["a"], &["-a", "o.x"], &["o"], &["!o.x"], &["_id", "-n"], &["n"]];

/// Fields of documents, so that every kind of value comes and goes.
const VALUES: [&str; 12] = [
    r#"{"a":1}"#,
    r#"{"a":1.0,"o":{"x":1}}"#,
    r#"{"a":null,"o":{"x":"s","y":{"z":[1,"t"]}}}"#,
    r#"{"a":"text","o":{}}"#,
    r#"{"a":[1,2],"n":5}"#,
    r#"{"o":{"x":{"y":1}}}"#,
    r#"{"a":18446744073709551615,"n":-1.5}"#,
    r#"{"a":{"b":false}}"#,
    r#"{}"#,
    r#"{"o":5,"n":0}"#,
    r#"{"a":true,"o":{"x":null}}"#,
    r#"{"a":"","n":1e300}"#,
];

struct History {
    store: Store,
    _dir: tempfile::TempDir,
    /// Time of the last write of another peer.
    remote: u64,
}

impl History {
    fn step(&mut self, op: u8, id: u8, choice: u8) {
        let value = json::from_str(VALUES[usize::from(choice) % VALUES.len()]).unwrap();
        let id = i64::from(id % 8);
        let mut document = value.as_object().unwrap().clone();
        document.insert("_id".into(), id.into());
        let args = Object::from([
            ("d".into(), document.into()),
            ("i".into(), id.into()),
            ("v".into(), value.get("o").or(value.get("a")).cloned().unwrap_or(Value::Null)),
        ]);
        let run = |text: &str| drop(self.store.execute(text, &args).unwrap());
        match op % 14 {
            0..=2 => run("INSERT INTO c DOCUMENTS (:d) ON ID CONFLICT DO UPDATE"),
            3 => run("UPDATE c SET a = :v WHERE _id = :i"),
            4 => run("UPDATE c SET o.x = :v WHERE _id = :i OR n = 5"),
            5 => run("UPDATE c UNSET a WHERE _id = :i"),
            6 => run("DELETE FROM c WHERE _id = :i"),
            7 => run("EVICT FROM c WHERE _id = :i"),
            // Another kind beside what is there.
            8 => run("UPDATE c APPLY n PN_INCREMENT BY 2 WHERE _id = :i"),
            9 => {
                let t = self.store.begin(TransactionOptions::default()).unwrap();
                t.execute("UPDATE c SET a = 77, n = :v", &args).unwrap();
                t.execute("DELETE FROM c WHERE _id = :i", &args).unwrap();
                if choice.is_multiple_of(2) {
                    t.commit().unwrap();
                } else {
                    t.rollback().unwrap();
                }
            }
            10 | 11 => self.merge(id, choice, &value),
            12 => {
                let n = usize::from(choice) % KEYS.len();
                let absent = CreateIndexPlan { if_absent: true, ..plan(&format!("i{n}"), KEYS[n]) };
                create::create(&self.store.inner.desk, &absent, || Ok(())).unwrap();
            }
            _ => {
                let name = format!("i{}", usize::from(choice) % KEYS.len());
                drop_index(&self.store, DropIndexPlan { if_present: true, ..drop_plan(&name) }).unwrap();
            }
        }
    }

    /// Merges a document from another peer, newer or older than what is here.
    fn merge(&mut self, id: i64, choice: u8, value: &Value) {
        let id = DocId::new(&id.into()).unwrap();
        let held = self.store.load(self.store.hash_key().key_hash("c", &id)).unwrap();
        let mut doc = held.map(|h| h.doc).unwrap_or_default();
        let newest = doc.max_hlc().0;
        self.remote += 1 << 16;
        let time = if choice.is_multiple_of(3) { self.remote } else { newest.max(self.remote) + 1 };
        let stamp = Stamp::new(Hlc(time), SiteId { id: [9; 16], incarnation: 0 });
        let other = if choice.is_multiple_of(3) || doc.is_empty() {
            Doc::fresh(value.as_object().unwrap(), stamp)
        } else {
            let kind = if choice.is_multiple_of(2) { FieldKind::Register } else { FieldKind::Inferred };
            let ops = match choice % 5 {
                0 => vec![Op::Delete],
                1 => vec![Op::Unset { path: Path::new(["o"]) }],
                2 => vec![Op::Increment { path: Path::new(["n"]), by: 3 }],
                _ => vec![Op::Create, Op::Set { path: Path::new(["o", "x"]), value: value.clone(), kind }],
            };
            for op in &ops {
                // What a document refuses is not sent.
                let _ = doc.apply(op, stamp);
            }
            doc
        };
        let body = if other.is_alive() { ItemBody::full(&other) } else { ItemBody::Tomb(other) };
        let items = vec![ApplyItem { collection: "c".into(), id, body }];
        self.store.apply(ApplyBatch { source: vec![1], items, ..ApplyBatch::default() }).unwrap();
    }

    fn agrees(&self) {
        clean(&self.store);
        let mut scanned = visit(&self.store, &Access::Scan, usize::MAX).unwrap();
        scanned.sort_unstable();
        for index in self.store.inner.shared.indexes.get().complete() {
            for reverse in [false, true] {
                let spans = vec![KeySpan::all()];
                let scan = IndexScan { index: index.clone(), spans, reverse, covering: false };
                let mut found = visit(&self.store, &Access::Index(scan), usize::MAX).unwrap();
                found.sort_unstable();
                let mut expected = scanned.clone();
                if index.keys.iter().any(|k| !k.include_missing) {
                    let path = index.keys[0].path.names();
                    expected.retain(|row| {
                        let row = json::from_str(row).unwrap();
                        path.iter().try_fold(&row, |v, name| v.get(name)).is_some()
                    });
                }
                assert_eq!(found, expected, "index {}", index.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_index_is_what_a_recomputation_gives(
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..60)
    ) {
        let (dir, store) = store();
        create_index(&store, "i1", KEYS[1]).unwrap();
        let mut history = History { store, _dir: dir, remote: 1_767_225_600_000 << 16 };
        for (i, (op, id, choice)) in steps.into_iter().enumerate() {
            history.step(op, id, choice);
            if i % 10 == 9 {
                history.agrees();
            }
        }
        history.agrees();
    }
}
