//! Files of older formats.
#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_store::{Store, StoreOptions};
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
