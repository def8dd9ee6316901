//! Files of older formats.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use ditto_store::{Store, StoreOptions, WallClock};
use ditto_types::{DatabaseId, Object, json};

/// A file of format 1, as the release that wrote that format left it after these statements:
///
/// ```sql
/// -- for i from 0 to 11, with owner 'o' and i modulo 3:
/// INSERT INTO cars DOCUMENTS ({'_id':'car0','n':0,'half':0.5,'tags':['a','b'],'owner':{'name':'o0','at':{'x':0}}})
/// UPDATE cars SET n = 100 WHERE _id = 'car3'
/// UPDATE cars UNSET half WHERE _id = 'car4'
/// UPDATE cars APPLY hits PN_INCREMENT BY 2 WHERE _id = 'car5'
/// DELETE FROM cars WHERE _id = 'car6'
/// EVICT FROM cars WHERE _id = 'car7'
/// INSERT INTO pets INITIAL DOCUMENTS ({'_id':{'k':1},'name':'rex'}), ({'_id':2,'name':null})
/// DELETE FROM pets WHERE name = 'rex'
/// INSERT INTO gone DOCUMENTS ({'_id':1})
/// EVICT FROM gone
/// ```
const FORMAT_1: &[u8] = include_bytes!("fixtures/format-1.db");

fn rows(store: &Store, text: &str) -> Vec<String> {
    store.execute(text, &Object::new()).unwrap().items().iter().map(json::to_string).collect()
}

#[test]
fn a_file_of_format_1_is_upgraded_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db"), FORMAT_1).unwrap();
    let options = || StoreOptions::new(dir.path(), DatabaseId::DEFAULT);
    // The second time it is of the present format.
    for _ in 0..2 {
        let store = Store::open(options()).unwrap();
        // 12 inserted, one deleted, one evicted; of the pets one is left.
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!((report.documents, report.tombstones, report.head), (11, 2, 21));
        assert_eq!(
            rows(&store, "SELECT * FROM cars WHERE _id = 'car3'"),
            [r#"{"_id":"car3","half":3.5,"n":100,"owner":{"at":{"x":3},"name":"o0"},"tags":["a","b"]}"#]
        );
        assert_eq!(
            rows(&store, "SELECT * FROM cars WHERE _id = 'car4'"),
            [r#"{"_id":"car4","n":4,"owner":{"at":{"x":4},"name":"o1"},"tags":["a","b"]}"#]
        );
        assert_eq!(rows(&store, "SELECT hits FROM cars WHERE _id = 'car5'"), [r#"{"hits":2.0}"#]);
        assert!(rows(&store, "SELECT * FROM cars WHERE _id IN ('car6', 'car7')").is_empty());
        assert_eq!(rows(&store, "SELECT * FROM pets"), [r#"{"_id":2,"name":null}"#]);
        store.close();
    }
    let store = Store::open(options()).unwrap();
    store.execute("INSERT INTO cars DOCUMENTS ({'n': 1})", &Object::new()).unwrap();
    store.execute("DELETE FROM cars WHERE n = 2", &Object::new()).unwrap();
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.documents, report.tombstones), (11, 3));
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_format() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let mut bytes = FORMAT_1.to_vec();
    // The name of a table that the upgrade reads, in the schema on the first page.
    let at = bytes.windows(11).position(|w| w == b"TABLE docs(").unwrap();
    bytes[at..at + 11].copy_from_slice(b"TABLE dxcs(");
    std::fs::write(&file, &bytes).unwrap();
    let options = || StoreOptions::new(dir.path(), DatabaseId::DEFAULT);
    assert!(Store::open(options()).is_err());
    assert!(Store::open(options()).is_err(), "nothing half-made that a second attempt would take for done");
    std::fs::write(&file, FORMAT_1).unwrap();
    for extra in ["store.db-wal", "store.db-shm"] {
        drop(std::fs::remove_file(dir.path().join(extra)));
    }
    assert!(Store::open(options()).unwrap().check().unwrap().is_clean());
}

/// A file of format 2, as the release that wrote that format left it. The clock began at [`T0`]:
///
/// ```sql
/// INSERT INTO cars DOCUMENTS ({'_id':'old','n':-1})
/// DELETE FROM cars WHERE _id = 'old'
/// -- 40 days later the reaper ran; then the documents of format 1, for i from 0 to 11, and
/// CREATE INDEX by_n ON cars (n)
/// CREATE INDEX by_owner ON cars (owner.name, n DESC)
/// -- the statements of format 1 after its documents
/// ```
const FORMAT_2: &[u8] = include_bytes!("fixtures/format-2.db");

const T0: u64 = 1_800_000_000_000;

const DAY_MS: u64 = 24 * 3_600_000;

struct At(u64);

impl WallClock for At {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

fn open_format_2(dir: &std::path::Path) -> Store {
    let clock = Arc::new(At(T0 + 41 * DAY_MS));
    let options = StoreOptions::new(dir, DatabaseId::DEFAULT);
    Store::open(StoreOptions { clock, environment: Arc::new(|_| None), ..options }).unwrap()
}

/// Ids and commits of all changes after a commit, read in pages of `size`.
fn changes(store: &Store, after: u64, size: usize) -> Vec<(String, u64)> {
    let query = store.compile_subscription("SELECT * FROM cars", &Object::new()).unwrap();
    let (mut out, mut after) = (Vec::new(), after);
    loop {
        let page = store.changes(&query, after, size, usize::MAX).unwrap();
        out.extend(page.docs.iter().map(|d| (json::to_string(&d.id.to_value()), d.seq)));
        after = page.scanned_to;
        if page.done {
            return out;
        }
    }
}

#[test]
fn a_file_of_format_2_is_upgraded_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db"), FORMAT_2).unwrap();
    // Commits of the cars that are left: those that were not touched again, then the changed ones in their order.
    let cars = [0, 1, 2, 8, 9, 10, 11].map(|i| (format!("\"car{i}\""), i + 3));
    let changed = [3, 4, 5, 6].map(|i| (format!("\"car{i}\""), i + 12));
    let mut expected = vec![("\"old\"".to_string(), 2)];
    expected.extend(cars.into_iter().chain(changed));
    // The second time it is of the present format.
    for _ in 0..2 {
        let store = open_format_2(dir.path());
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!((report.documents, report.tombstones, report.gravestones), (11, 2, 1));
        assert_eq!((report.indexes, report.head), (2, 23));
        assert_eq!(
            rows(&store, "SELECT * FROM cars WHERE _id = 'car3'"),
            [r#"{"_id":"car3","half":3.5,"n":100,"owner":{"at":{"x":3},"name":"o0"},"tags":["a","b"]}"#]
        );
        assert_eq!(rows(&store, "SELECT _id FROM cars WHERE n = 100"), [r#"{"_id":"car3"}"#]);
        assert!(rows(&store, "SELECT * FROM cars WHERE _id IN ('car6', 'car7', 'old')").is_empty());
        for size in [1, 3, 100] {
            assert_eq!(changes(&store, 0, size), expected, "{size}");
            assert_eq!(changes(&store, 12, size), expected[6..], "{size}");
        }
        store.close();
    }
    // Rows of the old and of the present format beside each other.
    let store = open_format_2(dir.path());
    store.execute("INSERT INTO cars DOCUMENTS ({'_id': 'new1'}), ({'_id': 'new2'})", &Object::new()).unwrap();
    store.execute("INSERT INTO cars DOCUMENTS ({'_id': 'new3'})", &Object::new()).unwrap();
    store.execute("UPDATE cars SET n = 7 WHERE _id = 'new1'", &Object::new()).unwrap();
    store.execute("UPDATE cars SET n = 8 WHERE _id = 'car0'", &Object::new()).unwrap();
    expected.retain(|(id, _)| id != "\"car0\"");
    expected.extend(
        [("new2", 24), ("new3", 25), ("new1", 26), ("car0", 27)].map(|(id, n)| (format!("{id:?}"), n)),
    );
    for size in [1, 3, 100] {
        assert_eq!(changes(&store, 0, size), expected, "{size}");
        for (after, left) in [(23, 4), (24, 3), (25, 2), (26, 1), (27, 0), (u64::MAX, 0)] {
            assert_eq!(changes(&store, after, size), expected[expected.len() - left..], "{after} {size}");
        }
    }
    let again = store.execute("INSERT INTO cars DOCUMENTS ({'_id': 'old', 'n': 1})", &Object::new());
    assert_eq!(again.unwrap().commit_id(), Some(28));
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.documents, report.gravestones), (15, 0));
}

/// A file of format 3, as the release that wrote that format left it:
///
/// ```sql
/// -- for i from 0 to 5, with owner 'o' and i modulo 3:
/// INSERT INTO cars DOCUMENTS ({'_id':'car0','n':0,'owner':{'name':'o0'}})
/// CREATE INDEX by_n ON cars (n)
/// CREATE INDEX by_owner ON cars (owner.name, n DESC)
/// UPDATE cars SET n = 100 WHERE _id = 'car3'
/// UPDATE cars APPLY n INCREMENT BY 7 WHERE _id = 'car4'
/// DELETE FROM cars WHERE _id = 'car5'
/// ```
const FORMAT_3: &[u8] = include_bytes!("fixtures/format-3.db");

#[test]
fn indexes_of_a_file_of_format_3_serve_as_they_did() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db"), FORMAT_3).unwrap();
    let by_n = "SELECT _id FROM cars WHERE n = 100";
    let uses_index = |store: &Store| rows(store, &format!("EXPLAIN {by_n}")).concat().contains("indexScan");
    // The second time it is of the present format.
    for _ in 0..2 {
        let store = Store::open(StoreOptions::new(dir.path(), DatabaseId::DEFAULT)).unwrap();
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        assert_eq!((report.documents, report.tombstones, report.indexes, report.head), (5, 1, 2, 9));
        assert!(uses_index(&store));
        assert_eq!(rows(&store, by_n), [r#"{"_id":"car3"}"#]);
        let other = "SELECT _id FROM COLLECTION cars (x COUNTER) WHERE owner.name = 'o0'";
        assert!(rows(&store, &format!("EXPLAIN {other}")).concat().contains("indexScan"));
        assert_eq!(rows(&store, other).len(), 2);
        // Nobody knows what kinds of values they hold, and nobody claims to.
        store.execute("ALTER SYSTEM SET dql_strict_mode = true", &Object::new()).unwrap();
        assert!(!uses_index(&store));
        assert_eq!(rows(&store, "SELECT _id FROM cars WHERE n = 4"), [r#"{"_id":"car4"}"#]);
        store.close();
    }
    let store = Store::open(StoreOptions::new(dir.path(), DatabaseId::DEFAULT)).unwrap();
    store.execute("EVICT FROM cars WHERE _id = 'car4'", &Object::new()).unwrap();
    store.execute("DROP INDEX by_n ON cars", &Object::new()).unwrap();
    store.execute("ALTER SYSTEM SET dql_strict_mode = true", &Object::new()).unwrap();
    store.execute("ADVISE AND PROVISION SELECT _id FROM cars WHERE n = 100", &Object::new()).unwrap();
    assert!(uses_index(&store), "one that is made again is known");
    assert!(store.check().unwrap().is_clean());
}
