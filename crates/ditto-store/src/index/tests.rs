mod histories;

use std::sync::Arc;

use ditto_dql::{
    Access, CollectionRef, CreateIndexPlan, DropIndexPlan, IndexDef, IndexKey, IndexScan, KeySpan, Needs,
    Plan, Source, TermScan, TypeDecls, compare,
};
use ditto_types::{DatabaseId, Object, Path, Value, json};

use super::create;
use crate::driver::{Db, Mode};
use crate::select::StoreSource;
use crate::{Store, StoreError, StoreOptions, TransactionOptions, mutate, schema};

fn open(dir: &std::path::Path) -> Store {
    Store::open(StoreOptions::new(dir, DatabaseId::DEFAULT)).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

fn insert(store: &Store, document: &str) {
    let args = Object::from([("d".into(), json::from_str(document).unwrap())]);
    store.execute("INSERT INTO c DOCUMENTS (:d)", &args).unwrap();
}

/// `a.b` ascending, `-a` descending, `!a` without documents that lack it.
fn plan(name: &str, keys: &[&str]) -> CreateIndexPlan {
    let key = |text: &&str| {
        let path = text.trim_start_matches(['-', '!']);
        IndexKey {
            path: Path::new(path.split('.')),
            descending: text.starts_with('-'),
            include_missing: !text.starts_with('!'),
        }
    };
    CreateIndexPlan {
        collection: "c".into(),
        name: name.into(),
        if_absent: false,
        keys: keys.iter().map(key).collect(),
    }
}

fn create_index(store: &Store, name: &str, keys: &[&str]) -> Result<bool, StoreError> {
    create::create(&store.inner.desk, &plan(name, keys), || Ok(()))
}

fn drop_plan(name: &str) -> DropIndexPlan {
    DropIndexPlan { collection: "c".into(), name: name.into(), if_present: false }
}

fn drop_index(store: &Store, plan: DropIndexPlan) -> Result<(), StoreError> {
    let plan = Plan::DropIndex(plan);
    store.inner.desk.write(move |core, unit| mutate::run(core, unit, &plan).map(|_| ()))
}

fn def(store: &Store, name: &str) -> Option<Arc<IndexDef>> {
    store.inner.shared.indexes.get().complete().find(|d| d.name == name).cloned()
}

/// Rows of a pass as JSON, at most `limit`.
fn visit(store: &Store, access: &Access, limit: usize) -> Result<Vec<String>, StoreError> {
    let shared = &store.inner.shared;
    shared.readers.get()?.snapshot(|db| {
        let source = StoreSource::snapshot(db, &shared.dict, &shared.hash_key);
        let scan = TermScan {
            collection: &CollectionRef::user("c"),
            access,
            declared: &TypeDecls::default(),
            strict: false,
            needs: Needs::Document,
            enough: None,
            filter: None,
        };
        let mut out = Vec::new();
        source.visit(&scan, &mut |row| {
            let mut text = String::new();
            row.capture().write_json(&mut text);
            out.push((
                text,
                json::to_string(&row.document()),
                row.id().to_value(),
                row.field(&["_id".into()]),
            ));
            Ok(out.len() < limit)
        })?;
        // Compared when it is known that nothing was damaged.
        for (captured, document, id, field) in &out {
            assert_eq!(captured, document);
            assert_eq!(Some(id), field.as_ref());
        }
        Ok(out.into_iter().map(|(text, ..)| text).collect())
    })
}

fn all(store: &Store, name: &str, reverse: bool) -> Vec<String> {
    let scan =
        IndexScan { index: def(store, name).unwrap(), spans: vec![KeySpan::all()], reverse, covering: false };
    visit(store, &Access::Index(scan), usize::MAX).unwrap()
}

/// The part of an index whose first key is between two values, both included. Only for indexes of one key.
fn between(store: &Store, name: &str, low: &str, high: &str) -> IndexScan {
    let index = def(store, name).unwrap();
    let key = |v: &str| index.entry(|_| Some(json::from_str(v).unwrap())).unwrap();
    let (low, mut high) = (key(low), key(high));
    high.push(0);
    IndexScan { index, spans: vec![KeySpan { low, high: Some(high) }], reverse: false, covering: false }
}

fn clean(store: &Store) {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

#[test]
fn names_are_unique_in_a_collection_and_only_names_count() {
    let (_dir, store) = store();
    assert!(create_index(&store, "ix", &["a"]).unwrap());
    let e = create_index(&store, "ix", &["b"]).unwrap_err();
    assert_eq!(e.to_string(), "an index with the given name already exists on the given collection");
    let absent = CreateIndexPlan { if_absent: true, ..plan("ix", &["b"]) };
    assert!(!create::create(&store.inner.desk, &absent, || Ok(())).unwrap());
    assert_eq!(def(&store, "ix").unwrap().keys, plan("ix", &["a"]).keys);
    // The same name in another collection, and the same keys under another name.
    let other = CreateIndexPlan { collection: "d".into(), ..plan("ix", &["a"]) };
    assert!(create::create(&store.inner.desk, &other, || Ok(())).unwrap());
    assert!(create_index(&store, "iy", &["a"]).unwrap());
    drop_index(&store, drop_plan("ix")).unwrap();
    let e = drop_index(&store, drop_plan("ix")).unwrap_err();
    assert!(e.to_string().contains("no index `ix` on collection `c`"), "{e}");
    drop_index(&store, DropIndexPlan { if_present: true, ..drop_plan("ix") }).unwrap();
    assert!(create_index(&store, "ix", &["b"]).unwrap());
    assert_eq!(store.check().unwrap().indexes, 3);
    clean(&store);
}

#[test]
fn there_are_limits() {
    let (_dir, store) = store();
    for i in 0..super::MAX_INDEXES {
        create_index(&store, &format!("i{i}"), &["a"]).unwrap();
    }
    let e = create_index(&store, "more", &["a"]).unwrap_err();
    assert!(e.to_string().contains("at most 64 indexes"), "{e}");
    let other = |keys: &[&str]| {
        let plan = CreateIndexPlan { collection: "d".into(), ..plan("ix", keys) };
        create::create(&store.inner.desk, &plan, || Ok(()))
    };
    assert!(other(&["a"; 17]).is_err());
    assert!(other(&[]).is_err());
    assert!(other(&["a"; 16]).unwrap());
    insert(&store, r#"{"a":1}"#);
    clean(&store);
}

#[test]
fn an_index_orders_all_documents_as_the_language_does() {
    let (_dir, store) = store();
    let values = [
        "1",
        "1.0",
        "-2",
        "18446744073709551615",
        "0.5",
        "\"a\"",
        "\"ab\"",
        "\"\"",
        "null",
        "true",
        "false",
        "[1]",
        "[]",
        "[1,2]",
        "{\"x\":1}",
        "{}",
        "\"\\u0000\"",
    ];
    for (i, v) in values.iter().enumerate() {
        insert(&store, &format!(r#"{{"_id":{i},"a":{v}}}"#));
    }
    insert(&store, r#"{"_id":99}"#);
    create_index(&store, "up", &["a"]).unwrap();
    create_index(&store, "down", &["-a", "_id"]).unwrap();
    create_index(&store, "some", &["!a"]).unwrap();
    let value = |text: &String| json::from_str(text).unwrap().get("a").cloned();
    let rows = all(&store, "up", false);
    assert_eq!(rows.len(), values.len() + 1);
    assert_eq!(all(&store, "some", false).len(), values.len());
    let sorted = |rows: &[String]| {
        rows.windows(2).all(|w| compare(value(&w[0]).as_ref(), value(&w[1]).as_ref()).is_le())
    };
    assert!(sorted(&rows), "{rows:?}");
    let mut backwards = all(&store, "up", true);
    backwards.reverse();
    assert_eq!(backwards, rows);
    let mut down = all(&store, "down", false);
    down.reverse();
    assert!(sorted(&down), "{down:?}");
    clean(&store);
}

#[test]
fn documents_of_spans_unions_and_intersections() {
    let (_dir, store) = store();
    for i in 0..30 {
        insert(&store, &format!(r#"{{"_id":{i},"a":{},"b":{}}}"#, i % 10, i % 3));
    }
    create_index(&store, "a", &["a"]).unwrap();
    create_index(&store, "b", &["b"]).unwrap();
    let ids = |access: &Access| -> Vec<i64> {
        let rows = visit(&store, access, usize::MAX).unwrap();
        rows.iter().map(|r| json::from_str(r).unwrap().get("_id").and_then(Value::as_i64).unwrap()).collect()
    };
    let expect = |keep: &dyn Fn(i64) -> bool| (0..30).filter(|i| keep(*i)).collect::<Vec<_>>();
    let a = between(&store, "a", "2", "3");
    let mut two = between(&store, "a", "7", "7");
    two.spans.insert(0, a.spans[0].clone());
    assert_eq!(ids(&Access::Index(a.clone())), [2, 12, 22, 3, 13, 23]);
    assert_eq!(ids(&Access::Index(two.clone())), [2, 12, 22, 3, 13, 23, 7, 17, 27]);
    assert_eq!(
        ids(&Access::Index(IndexScan { reverse: true, ..two.clone() })),
        [27, 17, 7, 23, 13, 3, 22, 12, 2]
    );
    assert_eq!(visit(&store, &Access::Index(two.clone()), 4).unwrap().len(), 4);
    assert!(ids(&Access::Index(IndexScan { spans: vec![], ..two.clone() })).is_empty());
    let b = Access::Index(between(&store, "b", "1", "1"));
    let (a, two) = (Access::Index(a), Access::Index(two));
    let hit = |i: i64| matches!(i % 10, 2 | 3);
    assert_eq!(ids(&Access::Intersect(vec![a.clone(), b.clone()])), expect(&|i| hit(i) && i % 3 == 1));
    assert_eq!(ids(&Access::Union(vec![a.clone(), b.clone()])), expect(&|i| hit(i) || i % 3 == 1));
    let some = Access::Ids([25, 4, 77].map(|i: i64| ditto_types::DocId::new(&i.into()).unwrap()).to_vec());
    let nested = Access::Union(vec![Access::Intersect(vec![two, b]), some.clone()]);
    assert_eq!(ids(&nested), expect(&|i| (matches!(i % 10, 2 | 3 | 7) && i % 3 == 1) || i == 25 || i == 4));
    assert_eq!(ids(&Access::Intersect(vec![Access::Scan, some])), [4, 25]);
}

#[test]
fn covering_rows_are_what_the_documents_say() {
    let (_dir, store) = store();
    for d in [
        r#"{"_id":"i","a":1,"o":{"x":[1.0,2]}}"#,
        r#"{"_id":"f","a":1.0,"o":{"x":{"y":"z"}}}"#,
        r#"{"_id":"u","a":18446744073709551615}"#,
        r#"{"_id":"n","a":null,"o":{"x":null}}"#,
        r#"{"_id":"m"}"#,
    ] {
        insert(&store, d);
    }
    create_index(&store, "ix", &["-a", "o.x"]).unwrap();
    let shared = &store.inner.shared;
    let paths = ["a", "o.x", "o.x.y", "_id", "other"].map(|p| Path::new(p.split('.')));
    let fields = |covering: bool| -> Vec<Vec<Option<Value>>> {
        let index = def(&store, "ix").unwrap();
        let scan = IndexScan { index, spans: vec![KeySpan::all()], reverse: false, covering };
        let reader = shared.readers.get().unwrap();
        let source = StoreSource::snapshot(reader.db().unwrap(), &shared.dict, &shared.hash_key);
        let scan = TermScan {
            collection: &CollectionRef::user("c"),
            access: &Access::Index(scan),
            declared: &TypeDecls::default(),
            strict: false,
            needs: Needs::Paths(&paths[..2]),
            enough: None,
            filter: None,
        };
        let mut out = Vec::new();
        source
            .visit(&scan, &mut |row| {
                let mut fields: Vec<_> = paths.iter().map(|p| row.field(p.names())).collect();
                fields.extend([Some(row.id().to_value()), Some(row.document())]);
                out.push(fields);
                Ok(true)
            })
            .unwrap();
        out
    };
    let covered = fields(true);
    assert_eq!(covered.len(), 5);
    assert_eq!(covered, fields(false));
    assert!(covered.iter().any(|r| r[0] == Some(Value::Float(1.0))), "a float stays one");
}

#[test]
fn a_transaction_makes_and_unmakes_indexes() {
    let (_dir, store) = store();
    for i in 0..50 {
        insert(&store, &format!(r#"{{"a":{i}}}"#));
    }
    let at_once = |name: &'static str, fail: bool| {
        store.inner.desk.write(move |core, unit| {
            mutate::run(core, unit, &Plan::CreateIndex(plan(name, &["a"])))?;
            assert!(core.indexes.named(1, name).unwrap().complete);
            if fail { Err(StoreError::Execution("no".into())) } else { Ok(()) }
        })
    };
    at_once("kept", false).unwrap();
    assert_eq!(all(&store, "kept", false).len(), 50);
    assert!(at_once("gone", true).is_err());
    assert!(def(&store, "gone").is_none());
    store.with_core(|core| assert!(core.indexes.named(1, "gone").is_none()));
    insert(&store, r#"{"a":1}"#);
    // A failed DROP leaves it.
    let failed = store.inner.desk.write(|core, unit| {
        mutate::run(core, unit, &Plan::DropIndex(drop_plan("kept")))?;
        Err::<(), _>(StoreError::Execution("no".into()))
    });
    assert!(failed.is_err());
    insert(&store, r#"{"a":1}"#);
    assert_eq!(all(&store, "kept", false).len(), 52);
    clean(&store);
}

#[test]
fn a_large_index_is_built_beside_writes() {
    let (_dir, store) = store();
    let t = store.begin(TransactionOptions::default()).unwrap();
    for i in 0..5_500_i64 {
        let args = Object::from([("i".into(), i.into()), ("a".into(), (i % 97).into())]);
        t.execute("INSERT INTO c DOCUMENTS ({'_id': :i, 'a': :a})", &args).unwrap();
    }
    t.commit().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut i = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let (text, id) = match i % 4 {
                    0 => ("UPDATE c SET a = 1000 WHERE _id = :i", i * 37 % 5_500),
                    1 => ("DELETE FROM c WHERE _id = :i", i * 41 % 5_500),
                    2 => ("EVICT FROM c WHERE _id = :i", i * 43 % 5_500),
                    _ => ("INSERT INTO c DOCUMENTS ({'_id': :i, 'a': 5})", 10_000 + i),
                };
                store.execute(text, &Object::from([("i".into(), Value::Int(id))])).unwrap();
                if store.inner.shared.indexes.get().iter().any(|ix| !ix.complete) {
                    seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                i += 1;
            }
        });
        assert!(create_index(&store, "ix", &["a"]).unwrap());
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(seen.into_inner() > 0, "other writes got in between");
    let alive = store.execute("SELECT _id FROM c", &Object::new()).unwrap().item_count();
    assert_eq!(all(&store, "ix", false).len(), alive);
    clean(&store);
}

#[test]
fn what_a_crash_leaves_unfinished_is_gone_after_it() {
    let (dir, store) = store();
    insert(&store, r#"{"a":1}"#);
    create_index(&store, "done", &["a"]).unwrap();
    create_index(&store, "half", &["a"]).unwrap();
    store.close();
    let db = Db::open(&dir.path().join(schema::DB_FILE), Mode::Write).unwrap();
    db.batch("UPDATE idx SET state = 0 WHERE name = 'half'; DELETE FROM idx_2").unwrap();
    drop(db);
    let store = open(dir.path());
    assert!(def(&store, "done").is_some() && def(&store, "half").is_none());
    clean(&store);
    create_index(&store, "half", &["a"]).unwrap();
    assert_eq!(all(&store, "half", false).len(), 1);
    clean(&store);
}

#[test]
fn a_held_snapshot_has_its_own_indexes() {
    let (_dir, store) = store();
    insert(&store, r#"{"_id":1,"a":1}"#);
    create_index(&store, "old", &["a"]).unwrap();
    let old = def(&store, "old").unwrap();
    let t = store.begin(TransactionOptions { read_only: true, hint: None }).unwrap();
    create_index(&store, "new", &["a"]).unwrap();
    drop_index(&store, drop_plan("old")).unwrap();
    insert(&store, r#"{"_id":2,"a":1}"#);
    let found = t.execute("SELECT * FROM c WHERE a = 1", &Object::new()).unwrap();
    assert_eq!(found.item_count(), 1);
    drop(t);
    assert_eq!(store.execute("SELECT * FROM c WHERE a = 1", &Object::new()).unwrap().item_count(), 2);
    // A plan made before the index went.
    let stale = IndexScan { index: old, spans: vec![KeySpan::all()], reverse: false, covering: false };
    assert!(matches!(visit(&store, &Access::Index(stale), 9), Err(StoreError::IndexGone)));
    // Its number is not given to another one.
    create_index(&store, "third", &["a"]).unwrap();
    assert_eq!(def(&store, "third").unwrap().id, 3);
}

#[test]
fn an_entry_of_a_deleted_document_is_an_error() {
    let (_dir, store) = store();
    insert(&store, r#"{"_id":1,"a":1}"#);
    create_index(&store, "ix", &["a"]).unwrap();
    let sql = |text: &str| store.with_core(|core| core.db.batch(text).unwrap());
    sql("CREATE TABLE kept AS SELECT * FROM idx_1");
    store.execute("DELETE FROM c WHERE _id = 1", &Object::new()).unwrap();
    sql("INSERT INTO idx_1 SELECT * FROM kept; DROP TABLE kept");
    let scan = between(&store, "ix", "1", "1");
    for access in [Access::Index(scan.clone()), Access::Union(vec![Access::Index(scan.clone())])] {
        let e = visit(&store, &access, 9).unwrap_err();
        assert_eq!(e.kind(), ditto_types::ErrorKind::StoreCorrupt, "{e}");
        assert!(e.to_string().contains("a deleted document"), "{e}");
    }
}

#[test]
fn entries_that_point_to_nothing_are_errors_and_never_rows() {
    for (tamper, says) in [
        ("DELETE FROM docs WHERE id IN (SELECT id FROM docs ORDER BY rid LIMIT 1)", "not there"),
        (
            "UPDATE docs SET body = x'0100' WHERE rid IN (SELECT rid FROM docs ORDER BY rid LIMIT 1)",
            "document 1",
        ),
        ("UPDATE docs SET id = x'00' WHERE rid IN (SELECT rid FROM docs ORDER BY rid LIMIT 1)", "document"),
    ] {
        let (_dir, store) = store();
        insert(&store, r#"{"_id":1,"a":1}"#);
        insert(&store, r#"{"_id":2,"a":2}"#);
        create_index(&store, "ix", &["a"]).unwrap();
        store.with_core(|core| core.db.batch(tamper).unwrap());
        let scan = between(&store, "ix", "1", "2");
        for access in [Access::Index(scan.clone()), Access::Union(vec![Access::Index(scan.clone())])] {
            let e = visit(&store, &access, 9).unwrap_err();
            assert_eq!(e.kind(), ditto_types::ErrorKind::StoreCorrupt, "{tamper}: {e}");
            assert!(e.to_string().contains(says), "{tamper}: {e}");
        }
        // The other document is not harmed.
        assert_eq!(visit(&store, &Access::Index(between(&store, "ix", "2", "2")), 9).unwrap().len(), 1);
        assert!(!store.check().unwrap().is_clean());
    }
}
