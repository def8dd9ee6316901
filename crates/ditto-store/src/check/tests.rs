use ditto_dql::{CreateIndexPlan, IndexKey};
use ditto_types::{DatabaseId, Object, Path, json};

use super::*;
use crate::driver::Mode;
use crate::{Store, StoreOptions, schema};

/// A store with a live and a deleted document and a cursor, changed by `tamper` behind its back, then checked.
fn checked(tamper: &str) -> CheckReport {
    let dir = tempfile::tempdir().unwrap();
    let options = || StoreOptions::new(dir.path(), DatabaseId::DEFAULT);
    let store = Store::open(options()).unwrap();
    for text in [
        "INSERT INTO c DOCUMENTS ({'_id':'a','n':1}), ({'_id':'b','n':2})",
        "DELETE FROM c WHERE n = 2",
        "INSERT INTO d DOCUMENTS ({'_id':'a','o':{'x':1}})",
    ] {
        store.execute(text, &Object::new()).unwrap();
    }
    let index = CreateIndexPlan {
        collection: "c".into(),
        name: "ix".into(),
        if_absent: false,
        keys: vec![IndexKey { path: Path::new(["n"]), descending: false, include_missing: true }],
    };
    crate::index::create::create(&store.inner.desk, &index, || Ok(())).unwrap();
    store.close();
    let db = Db::open(&dir.path().join(schema::DB_FILE), Mode::Write).unwrap();
    db.batch(tamper).unwrap();
    drop(db);
    Store::open(options()).unwrap().check().unwrap()
}

#[test]
fn a_sound_file_is_clean() {
    let r = checked("");
    assert!(r.is_clean(), "{:?}", r.problems);
    assert_eq!((r.documents, r.tombstones, r.collections, r.head), (2, 1, 2, 3));
    assert_eq!(r.indexes, 1);
}

#[test]
fn each_kind_of_damage_is_found() {
    for (tamper, found) in [
        ("UPDATE docs SET digest = zeroblob(16) WHERE coll = 2", "digest is wrong"),
        ("UPDATE docs SET digest = x'00' WHERE coll = 2", "column digest"),
        ("UPDATE docs SET khash = khash + 1 WHERE coll = 2", "key hash is wrong"),
        ("UPDATE key SET khash = 7, twin = rid WHERE coll = 1", "share key hash"),
        ("UPDATE key SET khash = 7, twin = rid WHERE coll = 1", "has no first entry"),
        ("DELETE FROM key WHERE coll = 2", "no entry among the keys"),
        ("INSERT INTO key(coll, khash, twin, rid) VALUES(2, 5, 0, 1)", "entries of keys"),
        ("UPDATE docs SET born = 99 WHERE coll = 2", "made by a later commit"),
        (
            "UPDATE docs SET born = 0 WHERE rid = (SELECT max(rid) FROM docs WHERE coll = 1)",
            "than the row before",
        ),
        ("UPDATE docs SET seq = 99 WHERE coll = 2", "after the newest"),
        ("UPDATE docs SET seq = 0 WHERE coll = 2", "belongs to no commit"),
        ("UPDATE docs SET flags = 1 - flags WHERE coll = 2", "deletion flag"),
        ("UPDATE docs SET flags = 1 - flags WHERE coll = 2", "collection d: 0 documents, but 1 are counted"),
        (
            "UPDATE meta SET value = x'0300000000000000' WHERE key = 'docs/1'",
            "collection c: 1 documents, but 3",
        ),
        ("DELETE FROM meta WHERE key = 'docs/1'", "collection c: 1 documents, but 0"),
        ("UPDATE docs SET src = 5 WHERE coll = 2", "unknown peer"),
        ("UPDATE docs SET body = x'ff' WHERE coll = 2", "cannot be read"),
        ("UPDATE docs SET coll = 9 WHERE coll = 2", "unknown collection"),
        ("UPDATE docs SET rid = 5 WHERE coll = 2", "outside of its collection"),
        ("UPDATE docs SET id = x'00' WHERE coll = 2", "document id"),
        ("DELETE FROM idx_1", "index ix of c: no entry for document \"a\""),
        ("UPDATE idx_1 SET key = x'00'", "index ix of c: no entry for document \"a\""),
        ("UPDATE idx_1 SET key = x'00'", "index ix of c: a wrong entry for document \"a\""),
        ("UPDATE idx_1 SET rid = rid + 1", "index ix of c: an entry for a deleted document, \"b\""),
        ("UPDATE idx_1 SET rid = rid + 9", "index ix of c: an entry for a document that is not there"),
        ("INSERT INTO idx_1 SELECT x'00', rid FROM idx_1", "index ix of c: a wrong entry for document \"a\""),
        ("DROP TABLE idx_1", "index ix of c: "),
        ("CREATE TABLE idx_7(key, rid)", "table idx_7 belongs to no index"),
        ("DELETE FROM field WHERE name = 'x'", "cannot be read"),
        ("INSERT INTO grave VALUES(77, 1, x'00', 1, 0, x'')", "gravestone"),
        ("INSERT INTO cursor VALUES(x'00', x'00', x'00', x'00', 1, 1, 99)", "cursor"),
        ("UPDATE meta SET value = x'03000000000000000100000000000000' WHERE key = 'state'", "stamp after"),
    ] {
        let r = checked(tamper);
        assert!(!r.is_clean(), "{tamper}");
        assert!(r.problems.iter().any(|p| p.contains(found)), "{tamper}: {}", json_list(&r));
    }
}

fn json_list(r: &CheckReport) -> String {
    json::to_string(&r.problems.iter().map(|p| p.as_str().into()).collect::<Vec<_>>().into())
}
