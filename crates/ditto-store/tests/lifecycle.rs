//! Opening, closing and what a file may look like when it is opened.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::io::{Read, Seek, SeekFrom, Write};

use ditto_store::{Durability, Store, StoreOptions, TransactionOptions};
use ditto_types::{DatabaseId, ErrorKind, KeyHash, Object};
use fixture::*;

#[test]
fn a_directory_has_one_owner_at_a_time() {
    let mut f = Fixture::new();
    let e = Store::open(options(f.dir.path(), &f.clock)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PersistenceDirectoryLocked);
    assert!(e.to_string().contains("in use"), "{e}");
    // The failed attempt has not loosened the lock.
    assert!(Store::open(options(f.dir.path(), &f.clock)).is_err());
    f.insert("c", r#"{"_id":"a"}"#);
    f.reopen();
    assert_eq!(f.rows("SELECT * FROM c").len(), 1);
}

#[test]
fn a_failed_open_leaves_no_lock() {
    let f = Fixture::new();
    f.store.close();
    let other = StoreOptions::new(f.dir.path(), DatabaseId::DEFAULT);
    let e = Store::open(other).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    assert!(e.to_string().contains("a1b2c3d4"), "{e}");
    Store::open(options(f.dir.path(), &f.clock)).unwrap().close();
}

#[test]
fn after_close_everything_says_so() {
    let f = Fixture::new();
    let q = f.store.compile_subscription("SELECT * FROM c", &Object::new()).unwrap();
    let commits = f.store.subscribe_commits();
    f.insert("c", r#"{"_id":"a"}"#);
    f.store.close();
    f.store.close();
    let closed = |e: ditto_store::StoreError| assert_eq!(e.kind(), ErrorKind::Closed);
    closed(f.try_run("SELECT * FROM c", "{}").unwrap_err());
    closed(f.try_run("DELETE FROM c", "{}").unwrap_err());
    closed(f.store.begin(TransactionOptions::default()).unwrap_err());
    closed(f.store.begin(TransactionOptions { read_only: true, hint: None }).unwrap_err());
    closed(f.store.check().unwrap_err());
    closed(f.store.compile_subscription("SELECT * FROM c", &Object::new()).unwrap_err());
    closed(f.store.changes(&q, 0, 1, 1).unwrap_err());
    closed(f.store.view(&q).unwrap_err());
    closed(f.store.view_page(&q, None, (1, 1), &mut Names::default()).unwrap_err());
    closed(f.store.own_changes(&q, 0, 1).unwrap_err());
    closed(f.store.load(KeyHash(1)).unwrap_err());
    closed(f.store.cursor(&cursor_key(1)).unwrap_err());
    closed(f.store.delete_cursors([0; 16]).unwrap_err());
    closed(f.store.apply(batch(vec![])).unwrap_err());
    // What happened before is delivered, then the stream ends.
    assert_eq!(commits.recv().unwrap().seq, 1);
    assert!(commits.recv().is_err());
    assert!(f.store.subscribe_commits().recv().is_err());
}

#[test]
fn the_last_handle_closes_the_store() {
    let f = Fixture::new();
    let (store, dir) = (f.store.clone(), f.dir);
    drop(f.store);
    store.execute("INSERT INTO c DOCUMENTS ({'_id': 1})", &Object::new()).unwrap();
    assert!(Store::open(options(dir.path(), &f.clock)).is_err());
    drop(store);
    Store::open(options(dir.path(), &f.clock)).unwrap();
}

#[test]
fn an_open_snapshot_does_not_keep_the_directory() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    let t = f.store.begin(TransactionOptions { read_only: true, hint: None }).unwrap();
    std::thread::scope(|s| {
        let closing = s.spawn(|| f.store.close());
        eventually("closed", || f.try_run("SELECT * FROM c", "{}").is_err());
        let e = t.execute("SELECT * FROM c", &Object::new()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Closed);
        drop(t);
        closing.join().unwrap();
    });
    Store::open(options(f.dir.path(), &f.clock)).unwrap();
}

#[test]
fn closing_leaves_one_database_file_and_no_log() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    f.store.close();
    let mut names: Vec<String> = std::fs::read_dir(f.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["store.db", "store.lock", "store.seal"]);
}

#[test]
fn opening_and_reading_write_nothing() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    f.store.close();
    let file = f.dir.path().join("store.db");
    let before = std::fs::read(&file).unwrap();
    let store = Store::open(options(f.dir.path(), &f.clock)).unwrap();
    assert_eq!(store.execute("SELECT * FROM c", &Object::new()).unwrap().item_count(), 1);
    let log = std::fs::metadata(f.dir.path().join("store.db-wal")).map_or(0, |m| m.len());
    assert_eq!(log, 0, "opening wrote to the log");
    store.close();
    assert!(std::fs::read(&file).unwrap() == before, "opening or closing wrote to the file");
}

#[test]
fn identity_survives_reopening() {
    let mut f = Fixture::new();
    let identity = f.store.identity();
    f.insert("c", r#"{"_id":"a"}"#);
    f.reopen();
    assert_eq!(f.store.identity(), identity);
    assert_eq!(f.store.head(), 1);
    let g = Fixture::new();
    assert_ne!(g.store.identity(), identity);
}

#[test]
fn full_durability_works_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Store::open(StoreOptions {
            durability: Durability::Full,
            ..StoreOptions::new(dir.path(), DatabaseId::DEFAULT)
        })
        .unwrap()
    };
    let store = open();
    store.execute("INSERT INTO c DOCUMENTS ({'_id': 1})", &Object::new()).unwrap();
    store.close();
    let store = open();
    assert_eq!(store.execute("SELECT * FROM c", &Object::new()).unwrap().item_count(), 1);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let f = Fixture::new();
    f.store.close();
    let file = f.dir.path().join("store.db");
    let garbage = b"these bytes matter to somebody".repeat(100);
    std::fs::write(&file, &garbage).unwrap();
    for _ in 0..2 {
        let e = Store::open(options(f.dir.path(), &f.clock)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt);
        assert!(e.to_string().contains("store.db"), "{e}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), garbage);
}

/// Every page of a small store is overwritten in turn. Whatever is damaged, nothing panics, and it is either not
/// found to matter (a free page) or reported.
#[test]
fn damaged_pages_are_errors_or_problems() {
    let f = Fixture::new();
    let docs: Vec<String> =
        (0..300).map(|i| format!(r#"{{"_id":"{i}","text":"{}"}}"#, "lorem ipsum ".repeat(5))).collect();
    f.run_with("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":[{}]}}"#, docs.join(",")));
    let expected = f.rows("SELECT * FROM c ORDER BY _id");
    f.store.close();
    let file = f.dir.path().join("store.db");
    let sound = std::fs::read(&file).unwrap();
    let pages = sound.len() / 4096;
    assert!(pages > 20);
    let (mut refused, mut reported) = (0, 0);
    for page in 0..pages {
        // In place, so that the file stays the same one.
        let mut out = std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap();
        out.write_all(&sound).unwrap();
        out.set_len(sound.len() as u64).unwrap();
        let at = (page * 4096) as u64 + if page == 0 { 100 } else { 0 };
        out.seek(SeekFrom::Start(at)).unwrap();
        out.write_all(&[0xa5; 900]).unwrap();
        drop(out);
        match Store::open(options(f.dir.path(), &f.clock)) {
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "page {page}: {e}");
                refused += 1;
            }
            Ok(store) => {
                let found = store.execute("SELECT * FROM c ORDER BY _id", &Object::new());
                let clean = store.check().is_ok_and(|r| r.is_clean());
                if clean {
                    assert_eq!(rows(&found.unwrap()), expected, "page {page}");
                } else {
                    reported += 1;
                }
                store.close();
            }
        }
    }
    assert!(refused > 0 && reported > pages / 2, "{refused} refused, {reported} reported of {pages}");
}

#[test]
fn a_truncated_file_is_an_error_or_a_problem() {
    let f = Fixture::new();
    for i in 0..200 {
        f.insert("c", &format!(r#"{{"_id":{i},"v":"{}"}}"#, "x".repeat(200)));
    }
    f.store.close();
    let file = f.dir.path().join("store.db");
    let mut sound = Vec::new();
    std::fs::File::open(&file).unwrap().read_to_end(&mut sound).unwrap();
    for keep in [1, 99, 100, 4096, 5000, sound.len() / 2, sound.len() - 1] {
        std::fs::write(&file, &sound[..keep]).unwrap();
        match Store::open(options(f.dir.path(), &f.clock)) {
            Err(e) => assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "{keep}: {e}"),
            Ok(store) => assert!(!store.check().is_ok_and(|r| r.is_clean()), "{keep}"),
        }
    }
}
