//! Many threads on one store.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::atomic::{AtomicBool, Ordering};

use ditto_store::{ItemBody, TransactionOptions};
use ditto_types::{Object, Value};
use fixture::*;

const THREADS: u64 = 8;
const EACH: u64 = 100;

#[test]
fn commit_numbers_of_many_writers_are_dense_and_unique() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    let mut last = 0;
                    (0..EACH)
                        .map(|i| {
                            let r = f.insert("c", &format!(r#"{{"_id":"{t}-{i}","t":{t}}}"#));
                            let seq = r.commit_id().unwrap();
                            assert!(seq > last);
                            last = seq;
                            seq
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=THREADS * EACH).collect::<Vec<_>>());
    assert_eq!(commits.try_iter().map(|c| c.seq).collect::<Vec<_>>(), seqs);
    assert_eq!(f.clean().documents as u64, THREADS * EACH);
}

/// Money moves between accounts in transactions, single statements and batches from a peer; every snapshot sees the
/// same sum.
#[test]
fn readers_see_whole_commits_only() {
    let f = Fixture::new();
    for i in 0..4 {
        f.insert("acc", &format!(r#"{{"_id":"{i}","n":100}}"#));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers: Vec<_> = (0..3)
            .map(|t| {
                let f = &f;
                scope.spawn(move || {
                    for i in 0..40 {
                        let (from, to) = ((i + t) % 4, (i + 2 * t + 1) % 4);
                        if from == to {
                            continue;
                        }
                        let txn = f.store.begin(TransactionOptions::default()).unwrap();
                        for (id, by) in [(from, -1), (to, 1)] {
                            let args = object(&format!(r#"{{"id":"{id}","by":{by}}}"#));
                            txn.execute("UPDATE acc SET n = n + :by WHERE _id = :id", &args).unwrap();
                        }
                        let _ = if i % 5 == 0 {
                            txn.rollback().map(|()| None).unwrap()
                        } else {
                            txn.commit().unwrap()
                        };
                        f.insert("noise", &format!(r#"{{"_id":"{t}-{i}"}}"#));
                    }
                })
            })
            .collect();
        let peer = scope.spawn(|| {
            for i in 0..40 {
                let d = doc(r#"{"n":1}"#, stamp(T0 + i, 9));
                f.store.apply(batch(vec![item("noise", &format!("p{i}"), ItemBody::full(&d))])).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let r = f.store.execute("SELECT n FROM acc", &Object::new()).unwrap();
                    let sum: i64 = r.items().iter().filter_map(|v| v.get("n").and_then(Value::as_i64)).sum();
                    assert_eq!((r.item_count(), sum), (4, 400));
                }
            });
        }
        movers.into_iter().for_each(|t| t.join().unwrap());
        peer.join().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    f.clean();
}

#[test]
fn closing_under_load_answers_everyone() {
    let mut f = Fixture::new();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|t| {
                let store = f.store.clone();
                scope.spawn(move || {
                    let mut done = Vec::new();
                    for i in 0.. {
                        let id = format!("{t}-{i}");
                        let args = object(&format!(r#"{{"id":"{id}"}}"#));
                        match store.execute("INSERT INTO c DOCUMENTS ({'_id': :id})", &args) {
                            Ok(_) => done.push(id),
                            Err(e) => {
                                assert_eq!(e.kind(), ditto_types::ErrorKind::Closed);
                                break;
                            }
                        }
                    }
                    done
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        f.store.close();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    f.reopen();
    assert!(!acknowledged.is_empty());
    for id in &acknowledged {
        assert!(f.store.load(f.key("c", id)).unwrap().is_some(), "{id}");
    }
    f.clean();
}
