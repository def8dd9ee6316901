//! The local database through the public interface.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ditto::{
    Ditto, DittoConfig, DittoError, ErrorKind, TransactionCompletionAction as Action, TransactionOptions,
};
use fixture::{execute, peer, until};
use serde_json::json;

#[tokio::test]
async fn statements_and_results() {
    let p = peer().await;
    let store = p.ditto.store();
    let inserted = store
        .execute(("INSERT INTO cars DOCUMENTS (:c)", json!({"c": {"_id": "1", "color": "blue", "n": 1.0}})))
        .await
        .unwrap();
    assert!(inserted.commit_id().is_some());
    assert_eq!(inserted.mutated_document_ids(), vec!["1".into()]);
    let r = store.execute("SELECT * FROM cars").await.unwrap();
    // API-056: the newest commit that the rows show.
    assert_eq!(r.commit_id(), inserted.commit_id());
    let item = r.get_item(0).unwrap();
    assert_eq!(item.json_string(), r#"{"_id":"1","color":"blue","n":1.0}"#);
    #[derive(serde::Deserialize)]
    struct Car {
        color: String,
    }
    assert_eq!(item.deserialize_value::<Car>().unwrap().color, "blue");
    assert!(r.get_item(1).is_none());
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn faults_name_their_kind_and_place() {
    let p = peer().await;
    let store = p.ditto.store();
    let kind = async |q: &str| store.execute(q).await.unwrap_err();
    let e = kind("SELECT *\nFROM cars WHERE a ==== 1").await;
    assert_eq!(e.kind(), ErrorKind::QueryInvalid);
    assert_eq!(e.position().unwrap().line, 2);
    assert_eq!(kind("SELECT * FROM cars WHERE a = :x").await.kind(), ErrorKind::QueryArguments);
    assert_eq!(kind("INSERT INTO cars DOCUMENTS ({'_id': 1.5})").await.kind(), ErrorKind::DocumentId);
    let big = "x".repeat(6 << 20);
    let e = store.execute(("INSERT INTO cars DOCUMENTS (:c)", json!({"c": {"_id": "big", "x": big}}))).await;
    assert_eq!(e.unwrap_err().kind(), ErrorKind::SizeLimitExceeded);
    assert!(execute(&p.ditto, "SELECT * FROM cars").await.is_empty(), "something was half written");
    let e = p.ditto.sync().register_subscription("SELECT a FROM cars").err().unwrap();
    assert_eq!(e.kind(), ErrorKind::QueryUnsupported);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn transactions_commit_roll_back_and_refuse_nesting() {
    let p = peer().await;
    let store = p.ditto.store();
    let action = store
        .transaction(async |txn| {
            txn.execute("INSERT INTO c DOCUMENTS ({'_id': 1})").await?;
            assert_eq!(txn.execute("SELECT * FROM c").await?.item_count(), 1);
            assert!(txn.execute("SELECT nonsense").await.is_err(), "a caught error leaves it usable");
            let nested = store.execute("INSERT INTO c DOCUMENTS ({'_id': 9})").await.unwrap_err();
            assert_eq!(nested.kind(), ErrorKind::NestedTransaction);
            Ok(Action::Commit)
        })
        .await
        .unwrap();
    assert_eq!(action, Action::Commit);
    let failed: Result<(), DittoError> = store
        .transaction_with_result(TransactionOptions::default(), async |txn| {
            txn.execute("INSERT INTO c DOCUMENTS ({'_id': 2})").await?;
            Err(DittoError::new(ErrorKind::Internal, "no"))
        })
        .await;
    assert!(failed.is_err());
    store
        .transaction(async |txn| {
            txn.execute("INSERT INTO c DOCUMENTS ({'_id': 3})").await?;
            Ok(Action::Rollback)
        })
        .await
        .unwrap();
    let read_only = TransactionOptions { is_read_only: true, hint: Some("report".into()) };
    let e = store
        .transaction_with_options(read_only, async |txn| {
            assert_eq!(txn.info().hint.as_deref(), Some("report"));
            txn.execute("DELETE FROM c").await?;
            Ok(Action::Commit)
        })
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TransactionReadOnly);
    let open = store.begin(TransactionOptions::default()).await.unwrap();
    open.execute("INSERT INTO c DOCUMENTS ({'_id': 4})").await.unwrap();
    assert!(open.finish(Action::Commit).await.unwrap().is_some());
    assert_eq!(open.execute("SELECT * FROM c").await.unwrap_err().kind(), ErrorKind::TransactionClosed);
    assert_eq!(execute(&p.ditto, "SELECT * FROM c ORDER BY _id").await, [r#"{"_id":1}"#, r#"{"_id":4}"#]);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn observers_fire_on_changes_only_and_stop_when_told() {
    let p = peer().await;
    let store = p.ditto.store();
    let (calls, rows) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let observer = store
        .register_observer("SELECT * FROM c WHERE a = 1", {
            let (calls, rows) = (calls.clone(), rows.clone());
            move |r| {
                rows.store(r.item_count(), Ordering::SeqCst);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        })
        .unwrap();
    until("first result", || calls.load(Ordering::SeqCst) == 1).await;
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'a': 2})").await;
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 2, 'a': 1})").await;
    until("the matching insert", || rows.load(Ordering::SeqCst) == 1).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2, "a commit that does not concern the query fired");
    assert_eq!(store.observers().len(), 1);
    observer.cancel();
    assert!(observer.is_cancelled() && store.observers().is_empty());
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 3, 'a': 1})").await;
    p.ditto.close().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn open_fails_with_the_reason_and_leaves_nothing_behind() {
    let e = Ditto::open(DittoConfig::new("not-a-uuid")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidConfig);
    assert!(e.reason().contains("database_id"), "{e}");
    let connect = ditto::DittoConfigConnect::SmallPeersOnly { private_key: Some(vec![1, 2, 3]) };
    let dir = tempfile::tempdir().unwrap();
    let config = DittoConfig::default().with_persistence_directory(dir.path());
    let e = Ditto::open(config.clone().with_connect(connect)).await.unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidConfig && e.reason().contains("private_key"), "{e}");

    let first = Ditto::open(config.clone()).await.unwrap();
    let e = Ditto::open(config.clone()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PersistenceDirectoryLocked);
    first.close().await.unwrap();
    first.close().await.unwrap();
    let again = Ditto::open(config.clone()).await.unwrap();
    drop(again);
    drop(Ditto::open_sync(config.clone()).unwrap());

    let file = dir.path().join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..16].copy_from_slice(b"this is no store");
    std::fs::write(&file, &bytes).unwrap();
    let e = Ditto::open(config).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreCorrupt);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "a damaged file must not be touched");
}

#[tokio::test]
async fn everything_fails_softly_after_close() {
    let p = peer().await;
    let subscription = p.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    p.ditto.close().await.unwrap();
    assert!(p.ditto.is_closed() && subscription.is_cancelled());
    let closed = |e: DittoError| assert_eq!(e.kind(), ErrorKind::Closed);
    closed(p.ditto.store().execute("SELECT * FROM c").await.unwrap_err());
    closed(p.ditto.sync().start().await.unwrap_err());
    closed(p.ditto.presence().set_peer_metadata(&json!({})).unwrap_err());
    closed(p.ditto.bus().send_reliable(&p.ditto.peer_key(), "x").await.unwrap_err());
    assert!(p.ditto.bus().incoming_messages().next().await.is_none());
    assert!(p.ditto.absolute_persistence_directory().is_none());
}

#[tokio::test]
async fn closes_wait_for_each_other_and_survive_impatience() {
    let p = peer().await;
    let impatient = tokio::time::timeout(std::time::Duration::ZERO, p.ditto.close()).await;
    drop(impatient);
    let (a, b) = tokio::join!(p.ditto.close(), p.ditto.close());
    a.unwrap();
    b.unwrap();
    // The directory is free as soon as any of them returned.
    let config = DittoConfig::new(fixture::DATABASE).with_persistence_directory(p.directory.path());
    Ditto::open(config).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_stopped_presence_observer_lets_go_of_its_handler() {
    let p = peer().await;
    let held = Arc::new(());
    let observer = p.ditto.presence().observe({
        let held = held.clone();
        move |_| drop(held.clone())
    });
    observer.unwrap().stop();
    until("the handler is dropped", || Arc::strong_count(&held) == 1).await;
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn peer_metadata_has_limits() {
    let p = peer().await;
    let presence = p.ditto.presence();
    presence.set_peer_metadata(&json!({"role": "kitchen"})).unwrap();
    assert_eq!(presence.peer_metadata_json_str(), r#"{"role":"kitchen"}"#);
    let e = presence.set_peer_metadata(&json!({"x": "y".repeat(4096)})).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    let nested = |levels| format!("{}1{}", r#"{"x":"#.repeat(levels), "}".repeat(levels));
    for (kind, result) in [
        (ErrorKind::NotAnObject, presence.set_peer_metadata(&json!([1]))),
        (ErrorKind::NotAnObject, presence.set_peer_metadata_json_str("null")),
        (ErrorKind::NotJsonCompatible, presence.set_peer_metadata(&HashMap::from([("x", [1.0, f64::NAN])]))),
        (ErrorKind::NotJsonCompatible, presence.set_peer_metadata(&HashMap::from([(1, 2)]))),
        (ErrorKind::NotJsonCompatible, presence.set_peer_metadata_json_str(r#"{"x":{"$bytes":"AA=="}}"#)),
        (ErrorKind::InvalidJson, presence.set_peer_metadata_json_str("{")),
        (ErrorKind::InvalidJson, presence.set_peer_metadata_json_str(r#"{"x":{"$bytes":"***"}}"#)),
        (ErrorKind::DepthLimitExceeded, presence.set_peer_metadata_json_str(&nested(64))),
        (
            ErrorKind::DepthLimitExceeded,
            presence.set_peer_metadata(&serde_json::from_str::<serde_json::Value>(&nested(64)).unwrap()),
        ),
    ] {
        let e = result.unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
    }
    assert_eq!(presence.peer_metadata_json_str(), r#"{"role":"kitchen"}"#);
    p.ditto.close().await.unwrap();
}
