//! Interactive transactions: isolation, atomicity, the queue, and shutting down.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::mpsc;
use std::time::Duration;

use ditto_store::{StoreError, Transaction, TransactionOptions};
use ditto_types::{ErrorKind, Object};
use fixture::*;

fn begin(f: &Fixture, read_only: bool) -> Transaction {
    f.store.begin(TransactionOptions { read_only, hint: Some("test".to_string()) }).unwrap()
}

fn run(t: &Transaction, text: &str) -> Result<ditto_store::QueryResult, StoreError> {
    t.execute(text, &Object::new())
}

#[test]
fn all_statements_apply_together_with_one_commit_and_one_stamp() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    let t = begin(&f, false);
    assert_eq!((t.is_read_only(), t.hint()), (false, Some("test")));
    let first = run(&t, "INSERT INTO c DOCUMENTS ({'_id':'a','n':1})").unwrap();
    f.clock.set(T0 + 500);
    run(&t, "INSERT INTO d DOCUMENTS ({'_id':'b'})").unwrap();
    run(&t, "UPDATE c SET n = n + 1").unwrap();
    // It sees its own changes, nobody else does.
    assert_eq!(rows(&run(&t, "SELECT n FROM c").unwrap()), [r#"{"n":2}"#]);
    assert!(f.rows("SELECT * FROM c").is_empty());
    assert_eq!((first.commit_id(), commits.len(), f.store.head()), (None, 0, 0));
    assert_eq!(t.commit().unwrap(), Some(1));
    assert_eq!(first.commit_id(), Some(1));
    let commit = commits.recv().unwrap();
    assert_eq!((commit.seq, commit.changes.len()), (1, 2));
    assert!(commit.changes.iter().all(|c| c.old.is_none()));
    let stamps: Vec<_> = commit.changes.iter().map(|c| c.delta().max_hlc()).collect();
    assert_eq!(stamps[0], stamps[1]);
    assert_eq!(f.rows("SELECT n FROM c"), [r#"{"n":2}"#]);
    f.clean();
}

#[test]
fn rollback_and_drop_leave_nothing() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a","n":1}"#);
    let t = begin(&f, false);
    run(&t, "UPDATE c SET n = 2, brand_new_field = 1").unwrap();
    run(&t, "INSERT INTO brand_new_collection DOCUMENTS ({'_id':'x'})").unwrap();
    t.rollback().unwrap();
    let t = begin(&f, false);
    run(&t, "DELETE FROM c").unwrap();
    drop(t);
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","n":1}"#]);
    assert_eq!(f.store.head(), 1);
    // Dictionary entries of the transactions that failed arrive with the next one that uses or follows them.
    f.run("UPDATE c SET brand_new_field = 2");
    assert_eq!(f.store.head(), 2);
    f.clean();
}

#[test]
fn a_failing_statement_leaves_the_transaction_usable() {
    let f = Fixture::new();
    let t = begin(&f, false);
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'a'})").unwrap();
    let e = run(&t, "INSERT INTO c DOCUMENTS ({'_id':'b'}), ({'_id':'a'})").unwrap_err();
    assert!(matches!(e, StoreError::IdConflict(_)), "{e:?}");
    assert!(run(&t, "SELECT FROM").is_err());
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'c'})").unwrap();
    t.commit().unwrap();
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a"}"#, r#"{"_id":"c"}"#]);
    f.clean();
}

#[test]
fn delete_and_insert_in_one_transaction() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a","old":1}"#);
    let t = begin(&f, false);
    run(&t, "DELETE FROM c").unwrap();
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'a','new':1})").unwrap();
    t.commit().unwrap();
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","new":1}"#]);
    f.clean();
}

#[test]
fn evict_and_insert_in_one_transaction_sign_with_the_new_incarnation() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    let t = begin(&f, false);
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'b'})").unwrap();
    run(&t, "EVICT FROM c").unwrap();
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'b'})").unwrap();
    t.commit().unwrap();
    let born = f.store.load(f.key("c", "b")).unwrap().unwrap().doc.born().unwrap();
    assert_eq!(born.site.incarnation, 1);
    // And an eviction that is rolled back does not.
    let t = begin(&f, false);
    run(&t, "EVICT FROM c").unwrap();
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'z'})").unwrap();
    t.rollback().unwrap();
    f.insert("c", r#"{"_id":"d"}"#);
    let born = f.store.load(f.key("c", "d")).unwrap().unwrap().doc.born().unwrap();
    assert_eq!(born.site.incarnation, 1);
    f.clean();
}

#[test]
fn a_transaction_without_mutations_takes_no_number() {
    let f = Fixture::new();
    let t = begin(&f, false);
    run(&t, "SELECT * FROM c").unwrap();
    assert_eq!(t.commit().unwrap(), None);
    assert_eq!(f.store.head(), 0);
    // A document that comes and goes inside one changes nothing, but is a mutation.
    let commits = f.store.subscribe_commits();
    let t = begin(&f, false);
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'a'})").unwrap();
    run(&t, "EVICT FROM c").unwrap();
    assert_eq!(t.commit().unwrap(), Some(1));
    assert!(commits.recv().unwrap().changes.is_empty());
}

#[test]
fn read_only_transactions_see_one_snapshot_and_refuse_mutations() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    let t = begin(&f, true);
    f.insert("c", r#"{"_id":"b"}"#);
    assert_eq!(run(&t, "SELECT * FROM c").unwrap().item_count(), 1);
    let e = run(&t, "DELETE FROM c").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TransactionReadOnly);
    // Beside each other and beside a writer.
    let (u, w) = (begin(&f, true), begin(&f, false));
    run(&w, "INSERT INTO c DOCUMENTS ({'_id':'c'})").unwrap();
    assert_eq!(run(&u, "SELECT * FROM c").unwrap().item_count(), 2);
    w.commit().unwrap();
    assert_eq!(run(&t, "SELECT * FROM c").unwrap().item_count(), 1);
    assert_eq!(t.commit().unwrap(), None);
    drop(u);
    assert_eq!(f.rows("SELECT * FROM c").len(), 3);
}

#[test]
fn many_open_snapshots_starve_nobody() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    let held: Vec<_> = (0..12).map(|_| begin(&f, true)).collect();
    assert_eq!(f.rows("SELECT * FROM c").len(), 1);
    drop(held);
    assert_eq!(f.rows("SELECT * FROM c").len(), 1);
}

#[test]
fn writers_wait_their_turn() {
    let f = Fixture::new();
    let t = begin(&f, false);
    let (done, finished) = mpsc::channel();
    let store = f.store.clone();
    let waiting = std::thread::spawn(move || {
        store.execute("INSERT INTO c DOCUMENTS ({'_id':'later'})", &Object::new()).unwrap();
        done.send(()).unwrap();
    });
    assert!(finished.recv_timeout(Duration::from_millis(100)).is_err());
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'first'})").unwrap();
    t.commit().unwrap();
    finished.recv_timeout(Duration::from_secs(5)).unwrap();
    waiting.join().unwrap();
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"first"}"#, r#"{"_id":"later"}"#]);
    assert_eq!(f.store.writer_stats().waiting, 0);
}

#[test]
fn closing_waits_for_an_open_transaction() {
    let f = Fixture::new();
    let t = begin(&f, false);
    let store = f.store.clone();
    let closing = std::thread::spawn(move || store.close());
    eventually("the store refuses calls", || f.try_run("SELECT * FROM c", "{}").is_err());
    run(&t, "INSERT INTO c DOCUMENTS ({'_id':'a'})").unwrap();
    assert_eq!(t.commit().unwrap(), Some(1));
    closing.join().unwrap();
    let mut f = f;
    f.reopen();
    assert_eq!(f.rows("SELECT * FROM c").len(), 1);
}
