//! Live queries: when they fire, what they fold together, and how they end.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::time::Duration;

use ditto_store::{ItemBody, Observation, QueryResult, SignalNext};
use ditto_types::{ErrorKind, Object};
use fixture::*;

const QUIET: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(10);

fn observe(f: &Fixture, text: &str, args: &str) -> (Observation, mpsc::Receiver<Vec<String>>) {
    let (results, received) = mpsc::channel();
    let callback = Box::new(move |r: QueryResult| drop(results.send(rows(&r))));
    (f.store.observe(text, &object(args), callback).unwrap(), received)
}

#[test]
fn first_result_comes_also_when_it_is_empty_and_then_every_new_one() {
    let f = Fixture::new();
    let (_o, got) = observe(&f, "SELECT n FROM c WHERE n > :min ORDER BY n", r#"{"min":1}"#);
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    f.insert("c", r#"{"_id":"a","n":2}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":2}"#]);
    f.run("UPDATE c SET n = 3");
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":3}"#]);
    // It leaves the result.
    f.run("UPDATE c SET n = 0");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    f.run("UPDATE c SET n = 5");
    got.recv_timeout(SOON).unwrap();
    f.run("DELETE FROM c");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
}

#[test]
fn commits_that_leave_the_result_as_it_is_do_not_fire() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a","n":2,"other":0}"#);
    let (_o, got) = observe(&f, "SELECT n FROM c WHERE n > 1", "{}");
    got.recv_timeout(SOON).unwrap();
    f.run("UPDATE c SET other = 1");
    f.run("UPDATE c SET n = 2");
    f.insert("c", r#"{"_id":"b","n":0}"#);
    f.insert("d", r#"{"_id":"b","n":9}"#);
    f.run("UPDATE c SET n = 7 WHERE _id = 'none'");
    assert!(got.recv_timeout(QUIET).is_err());
}

#[test]
fn evictions_and_merged_documents_count() {
    let f = Fixture::new();
    let (_o, got) = observe(&f, "SELECT * FROM c", "{}");
    got.recv_timeout(SOON).unwrap();
    let sent = doc(r#"{"n":1}"#, stamp(T0, 1));
    f.store.apply(batch(vec![item("c", "a", ItemBody::full(&sent))])).unwrap();
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"_id":"a","n":1}"#]);
    f.run("EVICT FROM c");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
}

#[test]
fn slow_observers_skip_to_the_newest_result_and_delay_nobody() {
    let f = Fixture::new();
    let (open, gate) = mpsc::channel::<()>();
    let (results, got) = mpsc::channel();
    f.store
        .observe(
            "SELECT count(*) AS n FROM c",
            &Object::new(),
            Box::new(move |r| {
                results.send(rows(&r)).unwrap();
                let _ = gate.recv();
            }),
        )
        .unwrap();
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":0}"#]);
    // Its first call blocks. Ten more commits, seen by another observer meanwhile.
    let (_o, quick) = observe(&f, "SELECT count(*) AS n FROM c", "{}");
    for i in 0..10 {
        f.insert("c", &format!(r#"{{"_id":"{i}"}}"#));
    }
    let newest = [r#"{"n":10}"#.to_string()];
    while quick.recv_timeout(SOON).unwrap() != newest {}
    open.send(()).unwrap();
    assert_eq!(got.recv_timeout(SOON).unwrap(), newest);
    open.send(()).unwrap();
    assert!(got.recv_timeout(QUIET).is_err());
}

#[test]
fn results_of_one_observer_are_in_order_under_load() {
    let f = Fixture::new();
    let (_o, got) = observe(&f, "SELECT max(n) AS n FROM c", "{}");
    for i in 1..=300 {
        f.insert("c", &format!(r#"{{"_id":"{i}","n":{i}}}"#));
    }
    let number = |r: &[String]| value(&r[0]).get("n").and_then(ditto_types::Value::as_i64).unwrap_or(0);
    let mut last = -1;
    while last < 300 {
        let n = number(&got.recv_timeout(SOON).unwrap());
        assert!(n > last, "{n} after {last}");
        last = n;
    }
}

#[test]
fn with_signal_it_is_silent_until_asked() {
    let f = Fixture::new();
    let signals: Arc<Mutex<Vec<SignalNext>>> = Arc::default();
    let (results, got) = mpsc::channel();
    let kept = signals.clone();
    let o = f
        .store
        .observe_with_signal(
            "SELECT count(*) AS n FROM c",
            &Object::new(),
            Box::new(move |r, next| {
                kept.lock().unwrap().push(next);
                results.send(rows(&r)).unwrap();
            }),
        )
        .unwrap();
    got.recv_timeout(SOON).unwrap();
    for i in 0..3 {
        f.insert("c", &format!(r#"{{"_id":"{i}"}}"#));
    }
    assert!(got.recv_timeout(QUIET).is_err());
    // From another thread than the callback's; everything since then arrives as one result.
    let signal = || signals.lock().unwrap().pop().unwrap();
    signal()();
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":3}"#]);
    // Asked for while nothing is new: the next change fires at once.
    signal()();
    assert!(got.recv_timeout(QUIET).is_err());
    f.insert("c", r#"{"_id":"x"}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":4}"#]);
    o.cancel();
    signal()();
    f.insert("c", r#"{"_id":"y"}"#);
    assert!(got.recv_timeout(QUIET).is_err());
}

#[test]
fn no_call_begins_after_cancel_has_returned() {
    let f = Fixture::new();
    for round in 0..30 {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let o = f
            .store
            .observe(
                "SELECT * FROM c",
                &Object::new(),
                Box::new(move |_| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    counted.fetch_add(1, Ordering::SeqCst);
                }),
            )
            .unwrap();
        f.insert("c", &format!(r#"{{"_id":{round}}}"#));
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_micros(300 * round));
        }
        o.cancel();
        let after = calls.load(Ordering::SeqCst);
        assert_eq!(after % 2, 0, "a call was still running");
        f.insert("c", &format!(r#"{{"_id":"x{round}"}}"#));
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(calls.load(Ordering::SeqCst), after);
        assert!(o.is_cancelled());
    }
    assert!(f.store.observers().is_empty());
}

#[test]
fn cancel_from_inside_the_callback() {
    let f = Fixture::new();
    let slot: Arc<OnceLock<Observation>> = Arc::default();
    let (results, got) = mpsc::channel();
    let own = slot.clone();
    let o = f
        .store
        .observe(
            "SELECT * FROM c",
            &Object::new(),
            Box::new(move |_| {
                let o = loop {
                    if let Some(o) = own.get() {
                        break o;
                    }
                    std::thread::yield_now();
                };
                o.cancel();
                o.cancel();
                results.send(()).unwrap();
            }),
        )
        .unwrap();
    slot.set(o.clone()).unwrap();
    got.recv_timeout(SOON).unwrap();
    assert!(o.is_cancelled());
    f.insert("c", r#"{"_id":"a"}"#);
    assert!(got.recv_timeout(QUIET).is_err());
}

#[test]
fn callbacks_that_cancel_each_other_do_not_wait_for_each_other() {
    let f = Fixture::new();
    let slots: Arc<[OnceLock<Observation>; 2]> = Arc::default();
    let both = Arc::new(Barrier::new(2));
    let (results, got) = mpsc::channel();
    for i in 0..2 {
        let (slots_in, both, results) = (slots.clone(), both.clone(), results.clone());
        let o = f
            .store
            .observe(
                "SELECT * FROM c",
                &Object::new(),
                Box::new(move |_| {
                    // Both callbacks run now.
                    both.wait();
                    let other = loop {
                        if let Some(o) = slots_in[1 - i].get() {
                            break o;
                        }
                        std::thread::yield_now();
                    };
                    other.cancel();
                    results.send(i).unwrap();
                }),
            )
            .unwrap();
        slots[i].set(o).unwrap();
    }
    let mut done = [got.recv_timeout(SOON).unwrap(), got.recv_timeout(SOON).unwrap()];
    done.sort_unstable();
    assert_eq!(done, [0, 1]);
}

#[test]
fn dropping_the_handle_does_not_end_it_but_closing_does() {
    let f = Fixture::new();
    let (o, got) = observe(&f, "SELECT * FROM c WHERE n = :n", r#"{"n":1}"#);
    got.recv_timeout(SOON).unwrap();
    drop(o);
    f.insert("c", r#"{"_id":"a","n":1}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 1);
    let listed = f.store.observers();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].query_string(), "SELECT * FROM c WHERE n = :n");
    assert_eq!(listed[0].query_arguments(), &object(r#"{"n":1}"#));
    f.store.close();
    assert!(listed[0].is_cancelled());
    // The callback is gone with everything it owned.
    assert_eq!(got.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
    let e = f.store.observe("SELECT * FROM c", &Object::new(), Box::new(|_| {})).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed);
}

#[test]
fn closing_from_inside_a_callback() {
    let f = Fixture::new();
    let store = f.store.clone();
    let (results, got) = mpsc::channel();
    f.store
        .observe(
            "SELECT * FROM c",
            &Object::new(),
            Box::new(move |_| {
                store.close();
                results.send(()).unwrap();
            }),
        )
        .unwrap();
    got.recv_timeout(SOON).unwrap();
    assert_eq!(f.try_run("SELECT * FROM c", "{}").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_callback_that_panics_ends_its_observer_only() {
    let f = Fixture::new();
    let o = f.store.observe("SELECT * FROM c", &Object::new(), Box::new(|_| panic!("by test"))).unwrap();
    let (_o, got) = observe(&f, "SELECT * FROM c", "{}");
    got.recv_timeout(SOON).unwrap();
    eventually("the observer is ended", || o.is_cancelled());
    f.insert("c", r#"{"_id":"a"}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 1);
}

#[test]
fn callbacks_may_use_the_store() {
    let f = Fixture::new();
    let store = f.store.clone();
    let (results, got) = mpsc::channel();
    f.store
        .observe(
            "SELECT count(*) AS n FROM c",
            &Object::new(),
            Box::new(move |_| {
                let n = store.execute("SELECT * FROM c", &Object::new()).unwrap().item_count();
                if n < 5 {
                    let args = object(&format!(r#"{{"id":{n}}}"#));
                    store.execute("INSERT INTO c DOCUMENTS ({'_id': :id})", &args).unwrap();
                }
                results.send(n).unwrap();
            }),
        )
        .unwrap();
    while got.recv_timeout(SOON).unwrap() < 5 {}
}

#[test]
fn only_selects_can_be_observed() {
    let f = Fixture::new();
    let none = Object::new();
    for (text, kind) in [
        ("DELETE FROM c", ErrorKind::QueryUnsupported),
        ("SELECT * FROM", ErrorKind::QueryInvalid),
        ("SELECT * FROM c WHERE n = :missing", ErrorKind::QueryArguments),
    ] {
        let e = f.store.observe(text, &none, Box::new(|_| {})).unwrap_err();
        assert_eq!(e.kind(), kind, "{text}: {e}");
    }
    assert!(f.store.observers().is_empty());
}

#[test]
fn a_row_that_enters_a_full_window_pushes_another_out_and_back() {
    let f = Fixture::new();
    for n in 0..50 {
        f.insert("c", &format!(r#"{{"_id":"{n}","n":{n}}}"#));
    }
    let (_o, got) = observe(&f, "SELECT n FROM c ORDER BY n LIMIT 2 OFFSET 1", "{}");
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":1}"#, r#"{"n":2}"#]);
    f.insert("c", r#"{"_id":"x","n":0.5}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":0.5}"#, r#"{"n":1}"#]);
    // Behind the window, and before it without a change of what it shows.
    f.insert("c", r#"{"_id":"y","n":30.5}"#);
    f.run("UPDATE c SET other = 1 WHERE n = 0");
    assert!(got.recv_timeout(QUIET).is_err());
    // More than the spare rows.
    f.run("DELETE FROM c WHERE n < 40");
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":41}"#, r#"{"n":42}"#]);
}

#[test]
fn a_transaction_arrives_as_one_result() {
    let f = Fixture::new();
    let (_o, got) = observe(&f, "SELECT n FROM c ORDER BY n", "{}");
    got.recv_timeout(SOON).unwrap();
    let items = (0..200).map(|n| {
        let sent = doc(&format!(r#"{{"n":{n}}}"#), stamp(T0, 1));
        item("c", &format!("{n:03}"), ItemBody::full(&sent))
    });
    f.store.apply(batch(items.collect())).unwrap();
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 200);
    assert!(got.recv_timeout(QUIET).is_err());
}

#[test]
fn results_that_were_delivered_do_not_change() {
    let f = Fixture::new();
    let results: Arc<Mutex<Vec<QueryResult>>> = Arc::default();
    let kept = results.clone();
    let callback = Box::new(move |r| kept.lock().unwrap().push(r));
    f.store.observe("SELECT * FROM c ORDER BY n", &Object::new(), callback).unwrap();
    let count = |n: usize| eventually("a result", || results.lock().unwrap().len() == n);
    count(1);
    for n in 0..300usize {
        f.insert("c", &format!(r#"{{"_id":"{n}","n":{}}}"#, (n * 7) % 300));
        count(n + 2);
    }
    for (n, result) in results.lock().unwrap().iter().enumerate() {
        assert_eq!(result.item_count(), n);
        let values: Vec<_> =
            result.iter().filter_map(|v| v.get("n").and_then(ditto_types::Value::as_i64)).collect();
        assert!(values.len() == n && values.is_sorted(), "{values:?}");
    }
}

#[test]
fn declared_kinds_are_read_as_in_a_statement() {
    let f = Fixture::new();
    let (_o, got) = observe(&f, "SELECT n FROM COLLECTION c (n COUNTER) WHERE n >= 0", "{}");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    // A register of that name is not the counter.
    f.insert("c", r#"{"_id":"a","n":5}"#);
    assert!(got.recv_timeout(QUIET).is_err());
    f.run("UPDATE COLLECTION c (n COUNTER) APPLY n INCREMENT BY 2 WHERE _id = 'a'");
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"n":2}"#]);
}

#[test]
fn joins_follow_both_sides() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a","d":"x"}"#);
    let (_o, got) = observe(&f, "SELECT c._id, d.k FROM c JOIN d ON d._id = c.d", "{}");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    f.insert("d", r#"{"_id":"x","k":1}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 1);
    f.run("DELETE FROM c");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
}

#[test]
fn system_collections_are_looked_at_again_and_fire_when_something_is_new() {
    let f = Fixture::new();
    f.run("ALTER SYSTEM SET live_query_system_collection_refresh_interval = 20");
    let (_o, got) = observe(&f, "SELECT name FROM system:collections ORDER BY name", "{}");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    f.insert("c", r#"{"_id":"a"}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap(), [r#"{"name":"c"}"#]);
    f.insert("c", r#"{"_id":"b"}"#);
    assert!(got.recv_timeout(QUIET).is_err());
    f.insert("d", r#"{"_id":"a"}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 2);
}

#[test]
fn callbacks_that_block_do_not_keep_others_from_theirs() {
    let f = Fixture::new();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    for _ in 0..12 {
        let gate = gate.clone();
        let wait = Box::new(move |_| assert!(gate.lock().unwrap().recv().is_err(), "nothing is sent"));
        f.store.observe("SELECT * FROM c", &Object::new(), wait).unwrap();
    }
    let (_o, got) = observe(&f, "SELECT n FROM c", "{}");
    assert!(got.recv_timeout(SOON).unwrap().is_empty());
    f.insert("c", r#"{"_id":"a","n":1}"#);
    assert_eq!(got.recv_timeout(SOON).unwrap().len(), 1);
    drop(open);
}

#[test]
fn each_of_many_observers_hears_of_its_own_document_only() {
    let f = Fixture::new();
    let (results, got) = mpsc::channel();
    for n in 0..500 {
        let results = results.clone();
        let callback = Box::new(move |r: QueryResult| drop(results.send((n, rows(&r)))));
        f.store
            .observe("SELECT v FROM c WHERE owner = :n", &object(&format!(r#"{{"n":{n}}}"#)), callback)
            .unwrap();
    }
    for _ in 0..500 {
        assert!(got.recv_timeout(SOON).unwrap().1.is_empty());
    }
    for n in (0..500).step_by(50) {
        f.insert("c", &format!(r#"{{"_id":"{n}","owner":{n},"v":1}}"#));
        assert_eq!(got.recv_timeout(SOON).unwrap(), (n, vec![r#"{"v":1}"#.to_string()]));
    }
    // It goes from one to another.
    f.run("UPDATE c SET owner = 7 WHERE _id = '50'");
    let mut heard = [got.recv_timeout(SOON).unwrap(), got.recv_timeout(SOON).unwrap()];
    heard.sort();
    assert_eq!(heard, [(7, vec![r#"{"v":1}"#.to_string()]), (50, vec![])]);
    assert!(got.recv_timeout(QUIET).is_err());
}
