//! STORE: API-045 to API-053.

use std::collections::BTreeMap;

use ditto::types::Value;
use ditto::{Cancellation, DittoError, ErrorKind, Query, QueryExecutor, Store, TransactionOptions};
use serde_json::json;

use crate::fixture::{execute, peer};

#[tokio::test]
async fn api_046_faults_are_errors_and_leave_nothing() {
    let p = peer().await;
    let store: Store = p.ditto.store();
    let kind = async |query: (&str, serde_json::Value)| store.execute(query).await.unwrap_err().kind();
    assert_eq!(kind(("SELEC * FROM c", json!({}))).await, ErrorKind::QueryInvalid);
    assert_eq!(kind(("SELECT 1; SELECT 2", json!({}))).await, ErrorKind::QueryInvalid);
    assert_eq!(kind(("SELECT * FROM c WHERE a = :a", json!({"b": 1}))).await, ErrorKind::QueryArguments);
    assert_eq!(kind(("SELECT * FROM c WHERE a = :a", json!([1]))).await, ErrorKind::QueryArguments);
    // The second document is refused, so the first is not there either.
    let two = json!({"a": {"_id": 1}, "b": {"_id": 1.5}});
    assert_eq!(kind(("INSERT INTO c DOCUMENTS (:a), (:b)", two)).await, ErrorKind::DocumentId);
    assert!(execute(&p.ditto, "SELECT * FROM c").await.is_empty());
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_047_later_maps_win() {
    let p = peer().await;
    let common = json!({"id": "x", "n": 1});
    let insert = ("INSERT INTO c DOCUMENTS ({'_id': :id, 'n': :n})", common, json!({"n": 2}));
    p.ditto.store().execute(insert).await.unwrap();
    assert_eq!(execute(&p.ditto, "SELECT * FROM c").await, [r#"{"_id":"x","n":2}"#]);
    let query = Query { text: "SELECT n FROM c WHERE n = :n".into(), args: BTreeMap::new() };
    let query = query.with_args(json!({"n": 1})).unwrap().with_args(json!({"n": 2})).unwrap();
    assert_eq!(p.ditto.store().execute(query).await.unwrap().item_count(), 1);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_048_names_have_no_colon_and_values_keep_their_kinds() {
    let p = peer().await;
    let store = p.ditto.store();
    #[derive(serde::Serialize)]
    struct Args {
        text: &'static str,
        whole: i64,
        real: f64,
        none: Option<bool>,
        list: Vec<u8>,
    }
    let args = Args { text: "é", whole: 1, real: 1.0, none: None, list: vec![1, 2] };
    let insert =
        "INSERT INTO c DOCUMENTS ({'_id': 1, 't': :text, 'i': :whole, 'f': :real, 'n': :none, 'l': :list})";
    store.execute((insert, args)).await.unwrap();
    let want = [r#"{"_id":1,"f":1.0,"i":1,"l":[1,2],"n":null,"t":"é"}"#];
    assert_eq!(execute(&p.ditto, "SELECT * FROM c").await, want);
    let e = store.execute(("SELECT * FROM c WHERE t = :text", json!({":text": 1}))).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryArguments);
    assert!(e.reason().contains("text"), "{e}");
    // Not used: no harm.
    store.execute(("SELECT * FROM c", json!({"unused": 1}))).await.unwrap();
    p.ditto.close().await.unwrap();
}

async fn count(executor: &impl QueryExecutor) -> Result<Option<i64>, DittoError> {
    let result = executor.execute("SELECT COUNT(*) AS n FROM c").await?;
    Ok(result.get_item(0).and_then(|row| row.value().get("n").and_then(Value::as_i64)))
}

#[tokio::test]
async fn api_050_one_helper_for_store_and_transaction() {
    let p = peer().await;
    let store = p.ditto.store();
    execute(&p.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    assert_eq!(count(&store).await.unwrap(), Some(1));
    let inside = store
        .transaction_with_result(TransactionOptions::default(), async |txn| {
            txn.execute("INSERT INTO c DOCUMENTS ({'_id': 2})").await?;
            count(txn).await
        })
        .await;
    assert_eq!(inside.unwrap(), Some(2));
    let read_only = TransactionOptions { is_read_only: true, hint: None };
    let refused = store
        .transaction_with_result(read_only, async |txn| {
            QueryExecutor::execute(txn, "DELETE FROM c").await.map(|_| ())
        })
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TransactionReadOnly);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn statements_can_be_checked_and_cancelled() {
    let p = peer().await;
    let store = p.ditto.store();
    store.check_syntax("SELECT * FROM c WHERE a = :unknown").unwrap();
    assert_eq!(store.check_syntax("SELECT *\nFRO c").unwrap_err().position().map(|p| p.line), Some(2));
    let cancellation = Cancellation::new();
    cancellation.cancel();
    let e =
        store.execute_cancellable("INSERT INTO c DOCUMENTS ({'_id': 1})", &cancellation).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryCancelled);
    assert!(execute(&p.ditto, "SELECT * FROM c").await.is_empty());
    p.ditto.close().await.unwrap();
}
