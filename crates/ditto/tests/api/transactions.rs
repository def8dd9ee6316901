//! TXN: API-101 to API-122.

use std::sync::Arc;

use ditto::{DittoError, ErrorKind, Transaction, TransactionCompletionAction as Action, TransactionOptions};

use crate::fixture::{execute, peer};

const INSERT: &str = "INSERT INTO c DOCUMENTS ({'_id': 1})";
const COUNT: &str = "SELECT COUNT(*) AS n FROM c";

fn read_only() -> TransactionOptions {
    TransactionOptions { is_read_only: true, hint: None }
}

async fn count(txn: &Transaction) -> String {
    txn.execute(COUNT).await.unwrap().json_string()
}

#[tokio::test]
async fn api_101_and_107_to_110_the_action_decides_and_is_returned() {
    let p = peer().await;
    let store = p.ditto.store();
    for (action, text, rows) in [(Action::Rollback, "rollback", 0), (Action::Commit, "commit", 1)] {
        let done = store
            .transaction(async |txn| {
                txn.execute(INSERT).await?;
                Ok(action)
            })
            .await
            .unwrap();
        assert_eq!((done, done.to_string().as_str()), (action, text));
        assert_eq!(execute(&p.ditto, "SELECT * FROM c").await.len(), rows);
    }
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_102_values_come_out_and_errors_roll_back() {
    let p = peer().await;
    let store = p.ditto.store();
    let failed: Result<u32, _> = store
        .transaction_with_result(TransactionOptions::default(), async |txn| {
            txn.execute(INSERT).await?;
            Err(DittoError::new(ErrorKind::Unsupported, "the app's own"))
        })
        .await;
    let e = failed.unwrap_err();
    assert_eq!((e.kind(), e.reason()), (ErrorKind::Unsupported, "the app's own"));
    let n = store
        .transaction_with_result(TransactionOptions::default(), async |txn| {
            assert_eq!(count(txn).await, r#"[{"n":0}]"#, "the failed one left nothing");
            Ok(txn.execute(INSERT).await?.mutated_document_ids().len())
        })
        .await;
    assert_eq!(n.unwrap(), 1);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_103_to_106_and_111_to_115_what_a_transaction_knows() {
    let p = peer().await;
    let store = p.ditto.store();
    let options = TransactionOptions { hint: Some("nightly".into()), is_read_only: true };
    let txn = store.begin(options).await.unwrap();
    let info = txn.info().clone();
    assert_eq!((info.hint.as_deref(), info.is_read_only), (Some("nightly"), true));
    txn.store().observers();
    txn.finish(Action::Commit).await.unwrap();
    let other = store.begin(TransactionOptions::default()).await.unwrap();
    assert_eq!((other.info().hint.as_deref(), other.info().is_read_only), (None, false));
    assert_ne!(other.info().id, info.id);
    assert_eq!(other.info().id.len(), 36, "a UUID");
    other.finish(Action::Rollback).await.unwrap();
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_104_and_116_snapshots() {
    let p = peer().await;
    let store = p.ditto.store();
    let reader = store.begin(read_only()).await.unwrap();
    let writer = store.begin(TransactionOptions::default()).await.unwrap();
    writer.execute(INSERT).await.unwrap();
    assert_eq!(count(&writer).await, r#"[{"n":1}]"#, "its own changes");
    assert_eq!(count(&reader).await, r#"[{"n":0}]"#);
    writer.finish(Action::Commit).await.unwrap();
    assert_eq!(count(&reader).await, r#"[{"n":0}]"#, "still the snapshot");
    let e = reader.execute("DELETE FROM c").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TransactionReadOnly);
    assert_eq!(count(&reader).await, r#"[{"n":0}]"#, "and usable after the refusal");
    reader.finish(Action::Commit).await.unwrap();
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn statements_of_a_transaction_can_run_on_the_calling_thread() {
    let p = peer().await;
    let txn = p.ditto.store().begin(TransactionOptions::default()).await.unwrap();
    txn.execute_sync(INSERT).unwrap();
    assert_eq!(txn.execute_sync(COUNT).unwrap().json_string(), r#"[{"n":1}]"#);
    assert_eq!(count(&txn).await, r#"[{"n":1}]"#, "both ways are in one transaction");
    assert_eq!(txn.execute_sync(INSERT).unwrap_err().kind(), ErrorKind::QueryExecution);
    txn.finish(Action::Commit).await.unwrap();
    assert_eq!(txn.execute_sync(COUNT).unwrap_err().kind(), ErrorKind::TransactionClosed);
    assert_eq!(execute(&p.ditto, "SELECT * FROM c").await.len(), 1);
    p.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_117_writers_take_turns_and_readers_do_not_wait() {
    let p = peer().await;
    let store = p.ditto.store();
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 'sum', 'n': 0})").await;
    let held = store.begin(TransactionOptions::default()).await.unwrap();
    let (a, b) = (store.begin(read_only()).await.unwrap(), store.begin(read_only()).await.unwrap());
    assert_eq!(count(&a).await, count(&b).await);
    // Read, then write what was read: only turns make the sum right.
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let txn = store.begin(TransactionOptions::default()).await?;
                let n = txn.execute("SELECT n FROM c WHERE _id = 'sum'").await?.values()[0]
                    .get("n")
                    .and_then(|n| n.as_i64());
                txn.execute((
                    "UPDATE c SET n = :n WHERE _id = 'sum'",
                    serde_json::json!({"n": n.map(|n| n + 1)}),
                ))
                .await?;
                txn.finish(Action::Commit).await
            })
        })
        .collect();
    held.finish(Action::Rollback).await.unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(execute(&p.ditto, "SELECT n FROM c WHERE _id = 'sum'").await, [r#"{"n":8}"#]);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_118_a_caught_error_leaves_it_usable() {
    let p = peer().await;
    let txn = p.ditto.store().begin(TransactionOptions::default()).await.unwrap();
    txn.execute(INSERT).await.unwrap();
    for fault in [
        INSERT,
        "nonsense",
        "SELECT * FROM c WHERE a = :missing",
        "INSERT INTO c DOCUMENTS ({'_id': 2}), ({'_id': 1.5})",
    ] {
        txn.execute(fault).await.unwrap_err();
    }
    assert_eq!(count(&txn).await, r#"[{"n":1}]"#, "the failing INSERT left no trace");
    txn.finish(Action::Commit).await.unwrap();
    assert_eq!(execute(&p.ditto, COUNT).await, [r#"{"n":1}"#]);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_119_dropping_rolls_back() {
    let p = peer().await;
    let store = p.ditto.store();
    let txn = store.begin(TransactionOptions::default()).await.unwrap();
    txn.execute(INSERT).await.unwrap();
    drop(txn);
    // The body is given up while it waits.
    let body = store.transaction(async |txn| {
        txn.execute(INSERT).await?;
        std::future::pending::<()>().await;
        Ok(Action::Commit)
    });
    let impatient = tokio::time::timeout(std::time::Duration::from_millis(50), body).await;
    assert!(impatient.is_err());
    assert_eq!(execute(&p.ditto, COUNT).await, [r#"{"n":0}"#]);
    p.ditto.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_120_closing_waits_for_transactions() {
    let p = peer().await;
    let store = p.ditto.store();
    let txn = Arc::new(store.begin(TransactionOptions::default()).await.unwrap());
    txn.execute(INSERT).await.unwrap();
    let closing = tokio::spawn({
        let ditto = p.ditto.clone();
        async move { ditto.close().await }
    });
    while !p.ditto.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.begin(TransactionOptions::default()).await.err().unwrap().kind(), ErrorKind::Closed);
    txn.execute("INSERT INTO c DOCUMENTS ({'_id': 2})").await.unwrap();
    txn.finish(Action::Commit).await.unwrap();
    closing.await.unwrap().unwrap();
    let again = crate::fixture::open(&p.directory, crate::fixture::DATABASE, None).await;
    assert_eq!(execute(&again, COUNT).await, [r#"{"n":2}"#]);
    again.close().await.unwrap();
}

#[tokio::test]
async fn api_121_nested_use_is_an_error_at_once() {
    let p = peer().await;
    let other = peer().await;
    let store = p.ditto.store();
    store
        .transaction(async |txn| {
            let nested = |e: DittoError| assert_eq!(e.kind(), ErrorKind::NestedTransaction);
            nested(store.execute(COUNT).await.unwrap_err());
            nested(store.execute_sync(COUNT).unwrap_err());
            nested(store.begin(read_only()).await.err().unwrap());
            nested(store.transaction(async |_| Ok(Action::Commit)).await.unwrap_err());
            // Another store is another matter.
            other.ditto.store().execute(INSERT).await?;
            txn.execute(INSERT).await?;
            Ok(Action::Commit)
        })
        .await
        .unwrap();
    store.execute(COUNT).await.unwrap();
    p.ditto.close().await.unwrap();
    other.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_122_a_finished_one_is_closed() {
    let p = peer().await;
    for action in [Action::Commit, Action::Rollback] {
        let txn = p.ditto.store().begin(TransactionOptions::default()).await.unwrap();
        txn.finish(action).await.unwrap();
        assert_eq!(txn.execute(COUNT).await.unwrap_err().kind(), ErrorKind::TransactionClosed);
        assert_eq!(txn.finish(action).await.unwrap_err().kind(), ErrorKind::TransactionClosed);
    }
    p.ditto.close().await.unwrap();
}
