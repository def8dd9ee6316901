//! OBS: API-072 to API-084.

use std::sync::mpsc::{Receiver, channel};

use ditto::{Ditto, ErrorKind, SignalNext, StoreObserver};
use serde_json::json;

use crate::fixture::{PATIENCE, execute, peer};

const QUERY: &str = "SELECT n FROM c WHERE n >= :least ORDER BY n";

/// What an observer gets, as text.
fn observe(ditto: &Ditto) -> (StoreObserver, Receiver<String>) {
    let (sender, received) = channel();
    let observer = ditto.store().register_observer((QUERY, json!({"least": 1})), move |result| {
        let _ = sender.send(result.json_string());
    });
    (observer.unwrap(), received)
}

/// Waits until this is the newest result.
fn arrives(received: &Receiver<String>, want: &str) {
    loop {
        if received.recv_timeout(PATIENCE).unwrap() == want {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_072_first_result_then_changes_and_faults_at_once() {
    let p = peer().await;
    let (_observer, received) = observe(&p.ditto);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), "[]");
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'n': 1})").await;
    arrives(&received, r#"[{"n":1}]"#);
    let store = p.ditto.store();
    let refused = |query: &str| store.register_observer(query, |_| {}).err().unwrap().kind();
    assert_eq!(refused("SELECT * FRO c"), ErrorKind::QueryInvalid);
    assert_eq!(refused("SELECT * FROM c WHERE n = :missing"), ErrorKind::QueryArguments);
    let mutation = refused("DELETE FROM c");
    assert!(matches!(mutation, ErrorKind::QueryInvalid | ErrorKind::QueryUnsupported), "{mutation}");
    assert_eq!(store.observers().len(), 1);
    p.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_073_and_074_signals_hold_back_and_fold() {
    let p = peer().await;
    let (sender, received) = channel();
    let observer =
        p.ditto.store().register_observer_with_signal_next((QUERY, json!({"least": 0})), move |r, signal| {
            let _ = sender.send((r.json_string(), signal));
        });
    let observer = observer.unwrap();
    let next = || received.recv_timeout(PATIENCE).unwrap();
    let (first, signal): (String, SignalNext) = next();
    assert_eq!(first, "[]");
    for n in 1..=20 {
        execute(&p.ditto, &format!("INSERT INTO c DOCUMENTS ({{'_id': {n}, 'n': {n}}})")).await;
    }
    assert!(received.try_recv().is_err(), "not asked for");
    signal.call();
    let (all, signal) = next();
    assert_eq!(all.matches("\"n\"").count(), 20, "one result with everything: {all}");
    // From another thread, and after the cancel: harmless.
    observer.cancel();
    std::thread::spawn(move || signal.call()).join().unwrap();
    execute(&p.ditto, "DELETE FROM c").await;
    p.ditto.close().await.unwrap();
    assert!(received.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn api_075_a_slow_handler_delays_only_itself() {
    let p = peer().await;
    let (open, gate) = channel::<()>();
    // Blocks until the other end is dropped.
    let slow = p.ditto.store().register_observer("SELECT * FROM c", move |_| gate.recv().unwrap_or_default());
    let (_quick, received) = observe(&p.ditto);
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'n': 1})").await;
    arrives(&received, r#"[{"n":1}]"#);
    drop(open);
    slow.unwrap().cancel();
    p.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_077_and_078_only_changes_fire_and_in_order() {
    let p = peer().await;
    let (_observer, received) = observe(&p.ditto);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), "[]");
    for statement in [
        "INSERT INTO c DOCUMENTS ({'_id': 'out', 'n': 0})",
        "INSERT INTO d DOCUMENTS ({'_id': 'other', 'n': 5})",
        "INSERT INTO c DOCUMENTS ({'_id': 1, 'n': 1, 'x': 0})",
        "UPDATE c SET x = 1 WHERE _id = 1",
        "UPDATE c SET n = 1 WHERE _id = 1",
    ] {
        execute(&p.ditto, statement).await;
    }
    for n in 2..=5 {
        execute(&p.ditto, &format!("UPDATE c SET n = {n} WHERE _id = 1")).await;
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != r#"[{"n":5}]"#) {
        seen.push(received.recv_timeout(PATIENCE).unwrap());
    }
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "in order and never twice the same: {seen:?}");
    p.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_079_to_084_the_handle() {
    let p = peer().await;
    let (observer, received) = observe(&p.ditto);
    arrives(&received, "[]");
    assert_eq!(observer.query_string(), QUERY);
    assert_eq!(observer.query_arguments()["least"].as_i64(), Some(1));
    assert_eq!(observer.ditto().unwrap().peer_key(), p.ditto.peer_key());
    drop(observer);
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'n': 1})").await;
    arrives(&received, r#"[{"n":1}]"#);
    let observer = p.ditto.store().observers().pop().unwrap();
    observer.cancel();
    observer.cancel();
    assert!(observer.is_cancelled() && p.ditto.store().observers().is_empty());
    assert!(received.recv_timeout(PATIENCE).is_err(), "its handler is gone, so nothing can come");
    let (open, _received) = observe(&p.ditto);
    p.ditto.close().await.unwrap();
    assert!(open.is_cancelled());
}
