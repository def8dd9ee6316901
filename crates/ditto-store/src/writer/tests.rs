use std::sync::Barrier;

use ditto_types::{DatabaseId, ErrorKind, Object, Value};

use crate::result::QueryResult;
use crate::unit::Unit;
use crate::{Store, StoreError, StoreOptions, TransactionOptions};

fn open(dir: &std::path::Path) -> Store {
    Store::open(StoreOptions::new(dir, DatabaseId::DEFAULT)).unwrap()
}

fn insert(store: &Store, id: i64, bytes: usize) -> Result<QueryResult, StoreError> {
    let args = Object::from([("id".into(), id.into()), ("v".into(), "x".repeat(bytes).into())]);
    store.execute("INSERT INTO c DOCUMENTS ({'_id': :id, 'v': :v})", &args)
}

fn count(store: &Store) -> usize {
    store.execute("SELECT _id FROM c", &Object::new()).unwrap().item_count()
}

/// Lets the file grow to `pages` and no further: the engine then behaves as on a full disk.
fn limit(store: &Store, pages: i64) {
    store.with_core(move |core| core.db.set_pragma("max_page_count", &pages.to_string()).unwrap());
}

#[test]
fn a_full_disk_fails_statements_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    insert(&store, 0, 10).unwrap();
    let commits = store.subscribe_commits();
    limit(&store, 60);
    let mut stored = 1;
    let e = loop {
        match insert(&store, stored, 20_000) {
            Ok(_) => stored += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(e.kind(), ErrorKind::StoreFull, "{e}");
    assert!(stored > 1 && stored < 60);
    // A transaction hears of it too, and cannot be committed in part.
    let t = store.begin(TransactionOptions::default()).unwrap();
    t.execute("INSERT INTO c DOCUMENTS ({'_id': 'small'})", &Object::new()).unwrap();
    let args = Object::from([("v".into(), "x".repeat(900_000).into())]);
    let e = t.execute("INSERT INTO c DOCUMENTS ({'_id': 'large', 'v': :v})", &args).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreFull, "{e}");
    let outcome = t.commit();
    assert_eq!(count(&store), stored as usize + usize::from(outcome.is_ok()));
    // With room again everything goes on, with dense numbers.
    limit(&store, 1_000_000);
    let before = store.head();
    assert_eq!(insert(&store, 777, 20_000).unwrap().commit_id(), Some(before + 1));
    let seqs: Vec<u64> = commits.try_iter().map(|c| c.seq).collect();
    assert_eq!(seqs, (2..=before + 1).collect::<Vec<_>>());
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
}

/// 1 when the file says that it was closed cleanly, as another connection sees it.
fn says_clean(dir: &std::path::Path) -> u8 {
    let db = crate::schema::open_reader(&dir.join(crate::schema::DB_FILE), false).unwrap();
    crate::meta::get(&db, "clean").unwrap().unwrap()[0]
}

#[test]
fn the_first_commit_marks_the_file_and_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let store = open(dir.path());
    assert_eq!(count(&store), 0);
    assert_eq!(says_clean(dir.path()), 1);
    let synchronous = |store: &Store| {
        let mut level = 0;
        store.with_core(|core| level = core.db.int_pragma("synchronous").unwrap());
        level
    };
    // What is taken back leaves no mark, and the next one waits again.
    let t = store.begin(TransactionOptions::default()).unwrap();
    t.execute("INSERT INTO c DOCUMENTS ({'_id': 1})", &Object::new()).unwrap();
    t.rollback().unwrap();
    assert_eq!((says_clean(dir.path()), synchronous(&store)), (1, 2));
    insert(&store, 1, 1).unwrap();
    assert_eq!((says_clean(dir.path()), synchronous(&store)), (0, 1));
    store.close();
    assert_eq!(says_clean(dir.path()), 1);
}

#[test]
fn the_log_grows_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = |store: &Store| {
        let mut pages = (0, 0);
        store.with_core(|core| {
            let pragma = |name| core.db.int_pragma(name).unwrap();
            pages = (pragma("wal_autocheckpoint"), pragma("page_count"));
        });
        pages
    };
    let many = |from: i64, n: i64| {
        let document = |i: i64| Value::Object(Object::from([("_id".into(), i.into())]));
        let args = Object::from([("d".into(), Value::Array((from..from + n).map(document).collect()))]);
        store.execute("INSERT INTO c DOCUMENTS (:d)", &args).unwrap();
    };
    assert_eq!(log(&store).0, 4_000);
    store.with_core(|core| {
        core.db.batch("CREATE TABLE t(b); INSERT INTO t VALUES(zeroblob(20000000))").unwrap()
    });
    many(0, 999);
    assert_eq!(log(&store).0, 4_000);
    many(999, 1);
    let (limit, pages) = log(&store);
    assert!(pages > 4_800 && limit == pages, "{limit} of {pages}");
    store.with_core(|core| core.db.batch("INSERT INTO t VALUES(zeroblob(60000000))").unwrap());
    store.close();
    let store = open(dir.path());
    assert_eq!(log(&store).0, 16_000);
}

#[test]
fn a_lost_group_fails_for_everyone_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    insert(&store, 0, 10).unwrap();
    limit(&store, 30);
    // While a transaction holds the writer, small and too large statements queue up behind it.
    let t = store.begin(TransactionOptions::default()).unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=6)
            .map(|i| {
                let store = store.clone();
                scope.spawn(move || {
                    (i, insert(&store, i, if i % 3 == 0 { 900_000 } else { 10 }).map(|r| r.commit_id()))
                })
            })
            .collect();
        while store.writer_stats().waiting < 6 {
            std::thread::yield_now();
        }
        t.rollback().unwrap();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // Whoever was told of success is there, nobody else.
    let told: Vec<i64> = results.iter().filter(|(_, r)| r.is_ok()).map(|(i, _)| *i).collect();
    let rows = store.execute("SELECT _id FROM c ORDER BY _id", &Object::new()).unwrap();
    let there: Vec<i64> =
        rows.items().iter().filter_map(|r| r.get("_id").and_then(Value::as_i64)).filter(|i| *i > 0).collect();
    assert_eq!(told, there);
    assert!(results.iter().all(|(i, r)| i % 3 != 0 || r.is_err()));
    limit(&store, 1_000_000);
    assert!(store.check().unwrap().is_clean());
}

#[test]
fn a_panic_is_one_statements_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.with_core(|core| {
        core.db.exec("BEGIN IMMEDIATE", &[]).unwrap();
        let before = core.state;
        let mut unit = Unit::new(1);
        let e = core
            .in_savepoint(&mut unit, |core, _, _| -> Result<(), StoreError> {
                core.db.exec("INSERT INTO meta(key, value) VALUES('x', x'00')", &[])?;
                panic!("by test")
            })
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Internal);
        assert!(e.to_string().contains("by test"), "{e}");
        core.commit(before).unwrap();
        let left = core.db.query_one("SELECT 1 FROM meta WHERE key = 'x'", &[], |_| Ok(())).unwrap();
        assert!(left.is_none());
    });
    insert(&store, 1, 1).unwrap();
}

/// A statement with one document has no savepoint: what failed before its first write leaves the transaction usable, what
/// failed after it ends the transaction.
#[test]
fn a_half_written_update_ends_its_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    insert(&store, 1, 1).unwrap();
    store.execute("CREATE INDEX ix ON c (v)", &Object::new()).unwrap();
    let update = |t: &crate::Transaction, bytes: usize| {
        let args = Object::from([("v".into(), "y".repeat(bytes).into())]);
        t.execute("UPDATE c SET v = :v WHERE _id = 1", &args)
    };
    let other = "INSERT INTO d DOCUMENTS ({'_id': 1})";
    let found = |text: &str| store.execute(text, &Object::new()).unwrap().item_count();
    let fail = |on: bool| {
        let sql = if on {
            "CREATE TRIGGER fail BEFORE DELETE ON idx_1 BEGIN SELECT RAISE(ABORT, 'by test'); END"
        } else {
            "DROP TRIGGER fail"
        };
        store.with_core(|core| core.db.batch(sql).unwrap());
    };
    fail(true);
    let t = store.begin(TransactionOptions::default()).unwrap();
    t.execute(other, &Object::new()).unwrap();
    let e = update(&t, 2).unwrap_err();
    assert!(e.to_string().contains("by test"), "{e}");
    assert!(t.execute(other, &Object::new()).is_err());
    assert!(t.commit().is_err());
    // Alone it fails as a whole too.
    assert!(store.execute("UPDATE c SET v = 'z' WHERE _id = 1", &Object::new()).is_err());
    assert!(store.execute("DELETE FROM c WHERE _id = 1", &Object::new()).is_err());
    fail(false);
    assert_eq!((found("SELECT * FROM d"), found("SELECT * FROM c WHERE v = 'x'")), (0, 1));
    assert!(store.check().unwrap().is_clean());
    // The limit of a document's size is asked before anything is written.
    let t = store.begin(TransactionOptions::default()).unwrap();
    t.execute(other, &Object::new()).unwrap();
    let e = update(&t, 20 << 20).unwrap_err();
    assert!(matches!(e, StoreError::TooLarge { .. }), "{e}");
    update(&t, 2).unwrap();
    t.commit().unwrap();
    assert_eq!((found("SELECT * FROM d"), found("SELECT * FROM c WHERE v = 'yy'")), (1, 1));
    assert!(store.check().unwrap().is_clean());
}

#[test]
fn statements_that_wait_together_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    insert(&store, 0, 1).unwrap();
    let t = store.begin(TransactionOptions::default()).unwrap();
    let commits = store.subscribe_commits();
    let groups = store.writer_stats().group_commits;
    let start = Barrier::new(9);
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let (store, start) = (store.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    // One of them conflicts and must not take the others with it.
                    insert(&store, i, 1).map(|r| r.commit_id().unwrap())
                })
            })
            .collect();
        start.wait();
        while store.writer_stats().waiting < 8 {
            std::thread::yield_now();
        }
        t.commit().unwrap();
        threads.into_iter().filter_map(|t| t.join().unwrap().ok()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (2..=8).collect::<Vec<_>>());
    assert_eq!(commits.try_iter().map(|c| c.seq).collect::<Vec<_>>(), seqs);
    // One for the transaction that had nothing to commit, and, unless the machine is very slow, one for all.
    let used = store.writer_stats().group_commits - groups;
    assert!(used <= 4, "{used} engine commits for 8 statements");
    assert_eq!(count(&store), 8);
}
