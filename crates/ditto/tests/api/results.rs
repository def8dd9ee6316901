//! QRES: API-054 to API-071.

use ditto::{ErrorKind, QueryResult, TransactionCompletionAction as Action, TransactionOptions};
use serde_json::json;

use crate::fixture::{Peer, execute, peer};

async fn cars() -> Peer {
    let p = peer().await;
    let cars =
        "INSERT INTO cars DOCUMENTS ({'_id': 'a', 'n': 1}), ({'_id': 'b', 'n': 2.0}), ({'_id': 'c', 'n': 3})";
    execute(&p.ditto, cars).await;
    p
}

async fn all(p: &Peer) -> QueryResult {
    p.ditto.store().execute("SELECT * FROM cars ORDER BY _id").await.unwrap()
}

#[tokio::test]
async fn api_055_items_outlive_their_result_and_the_instance() {
    let p = cars().await;
    let result = all(&p).await;
    let item = result.get_item(1).unwrap();
    drop(result);
    p.ditto.close().await.unwrap();
    assert_eq!(item.json_string(), r#"{"_id":"b","n":2.0}"#);
    assert_eq!(item.value().get("n").and_then(|n| n.as_i64()), None, "2.0 is no integer");
}

#[tokio::test]
async fn api_056_commit_ids_name_states() {
    let p = cars().await;
    let store = p.ditto.store();
    let update =
        async |n: i64| store.execute(("UPDATE cars SET n = :n WHERE _id = 'a'", json!({"n": n}))).await;
    let (first, second) = (update(10).await.unwrap().commit_id(), update(11).await.unwrap().commit_id());
    assert!(first.is_some() && second > first, "{first:?} {second:?}");
    let read = all(&p).await;
    assert_eq!((read.commit_id(), read.is_mutation()), (second, false));

    let txn = store.begin(TransactionOptions::default()).await.unwrap();
    let write = txn.execute("UPDATE cars SET n = 12 WHERE _id = 'a'").await.unwrap();
    let read = txn.execute("SELECT * FROM cars").await.unwrap();
    assert_eq!((write.commit_id(), read.commit_id()), (None, None));
    let commit = txn.finish(Action::Commit).await.unwrap();
    assert!(commit > second);
    assert_eq!((write.commit_id(), read.commit_id()), (commit, commit));

    let txn = store.begin(TransactionOptions::default()).await.unwrap();
    let write = txn.execute("UPDATE cars SET n = 13 WHERE _id = 'a'").await.unwrap();
    txn.finish(Action::Rollback).await.unwrap();
    assert_eq!(write.commit_id(), None);

    let read_only = TransactionOptions { is_read_only: true, hint: None };
    let txn = store.begin(read_only).await.unwrap();
    let later = update(14).await.unwrap().commit_id();
    let read = txn.execute("SELECT n FROM cars WHERE _id = 'a'").await.unwrap();
    assert_eq!(
        (read.commit_id(), read.items().next().unwrap().json_string()),
        (commit, r#"{"n":12}"#.into())
    );
    assert!(later > commit);
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_057_to_061_rows_by_index_in_order_and_all_at_once() {
    let p = cars().await;
    let result = all(&p).await;
    assert_eq!(result.item_count(), 3);
    assert_eq!(result.get_item(2).unwrap().json_string(), r#"{"_id":"c","n":3}"#);
    assert!(result.get_item(3).is_none() && result.get_item(usize::MAX).is_none());
    let ids: Vec<String> =
        (&result).into_iter().map(|i| i.value().get("_id").unwrap().as_str().unwrap().into()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(result.mutated_document_ids().is_empty());
    assert_eq!(result.values().len(), 3);
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Car {
        #[serde(rename = "_id")]
        id: String,
        n: f64,
    }
    let cars: Vec<Car> = result.deserialize_all().unwrap();
    assert_eq!(cars[1], Car { id: "b".into(), n: 2.0 });
    let want = r#"[{"_id":"a","n":1},{"_id":"b","n":2.0},{"_id":"c","n":3}]"#;
    assert_eq!(result.json_string(), want);
    let delete = p.ditto.store().execute("DELETE FROM cars WHERE n > 1").await.unwrap();
    let mut ids: Vec<_> =
        delete.mutated_document_ids().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["b", "c"]);
    let none = p.ditto.store().execute("DELETE FROM cars WHERE n > 1").await.unwrap();
    assert!(none.mutated_document_ids().is_empty() && none.is_mutation());
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_062_to_071_items_decode_when_asked() {
    let p = cars().await;
    let mut item = all(&p).await.get_item(0).unwrap();
    assert!(!item.is_materialized());
    assert_eq!(item.json_data(), br#"{"_id":"a","n":1}"#);
    let cbor = item.cbor_data();
    assert!(!item.is_materialized(), "text and CBOR need no decoded form to be kept");
    assert_eq!(ditto::types::cbor::from_slice(&cbor).unwrap(), *item.value());
    assert!(item.is_materialized() && !item.clone().is_materialized());
    item.dematerialize();
    item.dematerialize();
    assert!(!item.is_materialized());
    item.materialize();
    item.materialize();
    assert!(item.is_materialized());
    assert_eq!(item.cbor_data(), cbor);
    assert_eq!(item.value().get("n").and_then(|n| n.as_i64()), Some(1));
    #[derive(serde::Deserialize)]
    struct Other {
        #[allow(dead_code, reason = "never there")]
        speed: u32,
    }
    let e = item.deserialize_value::<Other>().err().unwrap();
    assert_eq!(e.kind(), ErrorKind::InvalidCbor);
    assert!(std::error::Error::source(&e).unwrap().to_string().contains("speed"), "{e}");
    assert_eq!(item.into_value().get("_id").and_then(|v| v.as_str()), Some("a"));
    p.ditto.close().await.unwrap();
}
