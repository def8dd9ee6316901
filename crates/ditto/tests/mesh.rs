//! Instances that sync over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::io::{Read, Write};

use ditto::{ErrorKind, MeshEvent, SyncState, TransactionCompletionAction};
use fixture::{DATABASE, Peer, connect, execute, listen, open, peer, peer_with, rows, sees, until};
use serde_json::json;

async fn pair() -> (Peer, Peer) {
    let (a, b) = (peer().await, peer().await);
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    (a, b)
}

async fn close(peers: impl IntoIterator<Item = Peer>) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_converge_both_ways() {
    let (a, b) = pair().await;
    for p in [&a, &b] {
        p.ditto.sync().register_subscription("SELECT * FROM cars").unwrap();
    }
    execute(&a.ditto, "INSERT INTO cars DOCUMENTS ({'_id': 'a', 'n': 1, 'owner': {'name': 'x'}})").await;
    execute(&b.ditto, "INSERT INTO cars DOCUMENTS ({'_id': 'b', 'n': 2})").await;
    let both = [r#"{"_id":"a","n":1,"owner":{"name":"x"}}"#, r#"{"_id":"b","n":2}"#];
    for p in [&a, &b] {
        rows(&p.ditto, "SELECT * FROM cars ORDER BY _id", &both).await;
    }
    execute(&b.ditto, "UPDATE cars SET owner.name = 'y' WHERE _id = 'a'").await;
    execute(&a.ditto, "UPDATE cars APPLY hits INCREMENT BY 2 WHERE _id = 'a'").await;
    execute(&b.ditto, "UPDATE cars APPLY hits INCREMENT BY 3 WHERE _id = 'a'").await;
    for p in [&a, &b] {
        let want = [r#"{"hits":5,"name":"y"}"#];
        rows(&p.ditto, "SELECT owner.name, hits FROM cars WHERE _id = 'a'", &want).await;
    }
    execute(&a.ditto, "DELETE FROM cars WHERE _id = 'b'").await;
    rows(&b.ditto, "SELECT _id FROM cars", &[r#"{"_id":"a"}"#]).await;
    close([a, b]).await;
}

/// A commit of some eighty megabytes of documents says only in which collection they are (ADR 0036), and what changed is looked
/// up.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_lists_nothing_is_looked_up() {
    let (a, b) = pair().await;
    for p in [&a, &b] {
        p.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    }
    let text = "x".repeat(64 << 10);
    let documents: Vec<_> = (0..60).map(|i| json!({"_id": i, "n": 0, "t": text})).collect();
    for some in documents.chunks(20) {
        a.ditto.store().execute(("INSERT INTO c DOCUMENTS (:d)", json!({"d": some}))).await.unwrap();
    }
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM c WHERE n = 0", &[r#"{"n":60}"#]).await;
    execute(&a.ditto, "UPDATE c SET n = 1").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM c WHERE n = 1", &[r#"{"n":60}"#]).await;
    // What is listed again goes on as before, both ways.
    execute(&a.ditto, "UPDATE c SET n = 2 WHERE _id = 7").await;
    execute(&b.ditto, "UPDATE c SET n = 3 WHERE _id = 8").await;
    for p in [&a, &b] {
        rows(
            &p.ditto,
            "SELECT _id, n FROM c WHERE n > 1 ORDER BY n",
            &[r#"{"_id":7,"n":2}"#, r#"{"_id":8,"n":3}"#],
        )
        .await;
    }
    // A transaction that writes much and little.
    let transaction = b.ditto.store().begin(Default::default()).await.unwrap();
    transaction.execute("DELETE FROM c WHERE n = 1").await.unwrap();
    transaction.execute("INSERT INTO c DOCUMENTS ({'_id': 'new', 'n': 4})").await.unwrap();
    transaction.finish(TransactionCompletionAction::Commit).await.unwrap();
    let left = [r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#];
    rows(&a.ditto, "SELECT n FROM c ORDER BY n", &left).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_subscribed_moves() {
    let (a, b) = pair().await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'k': 'x'}), ({'_id': 2, 'k': 'y'})").await;
    execute(&a.ditto, "INSERT INTO d DOCUMENTS ({'_id': 1})").await;
    let query = ("SELECT * FROM c WHERE k = :k", json!({"k": "x"}));
    let subscription = b.ditto.sync().register_subscription(query).unwrap();
    rows(&b.ditto, "SELECT _id FROM c", &[r#"{"_id":1}"#]).await;
    // A document that leaves the query is delivered as such.
    execute(&a.ditto, "UPDATE c SET k = 'z' WHERE _id = 1").await;
    rows(&b.ditto, "SELECT k FROM c", &[r#"{"k":"z"}"#]).await;
    subscription.cancel();
    let marker = b.ditto.sync().register_subscription("SELECT * FROM e").unwrap();
    // Wishes and answers are in order: once the answer to the later wish is here, the cancellation is known there.
    execute(&a.ditto, "INSERT INTO e DOCUMENTS ({'_id': 1})").await;
    rows(&b.ditto, "SELECT _id FROM e", &[r#"{"_id":1}"#]).await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 3, 'k': 'x'})").await;
    execute(&a.ditto, "INSERT INTO e DOCUMENTS ({'_id': 2})").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM e", &[r#"{"n":2}"#]).await;
    assert_eq!(execute(&b.ditto, "SELECT _id FROM c").await, [r#"{"_id":1}"#]);
    assert!(execute(&b.ditto, "SELECT * FROM d").await.is_empty());
    assert_eq!(marker.query_string(), "SELECT * FROM e");
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_between_relays_and_absent_ones_catch_up() {
    let (a, b, c) = (peer().await, peer().await, peer().await);
    for p in [&a, &b, &c] {
        p.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    }
    let to_a = listen(&a.ditto).await;
    b.ditto
        .update_transport_config(|t| {
            t.add_tcp_server(&to_a);
        })
        .await
        .unwrap();
    let to_b = listen(&b.ditto).await;
    connect(&c.ditto, &[&to_b]).await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    rows(&c.ditto, "SELECT * FROM c", &[r#"{"_id":1}"#]).await;
    until("a sees c through b", || sees(&a.ditto, &c.ditto) && sees(&c.ditto, &a.ditto)).await;

    b.ditto.sync().stop().await.unwrap();
    until("a and c are alone", || !sees(&a.ditto, &c.ditto) && !sees(&c.ditto, &b.ditto)).await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 2})").await;
    execute(&b.ditto, "INSERT INTO c DOCUMENTS ({'_id': 3})").await;
    execute(&c.ditto, "DELETE FROM c WHERE _id = 1").await;
    let to_b = listen(&b.ditto).await;
    c.ditto
        .update_transport_config(|t| {
            t.add_tcp_server(&to_b);
        })
        .await
        .unwrap();
    for p in [&a, &b, &c] {
        rows(&p.ditto, "SELECT * FROM c ORDER BY _id", &[r#"{"_id":2}"#, r#"{"_id":3}"#]).await;
    }
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_store_goes_on_where_it_was() {
    let (a, b) = (peer().await, peer().await);
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    b.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1}), ({'_id': 2})").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM c", &[r#"{"n":2}"#]).await;
    let key = b.ditto.peer_key();
    b.ditto.close().await.unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 3})").await;
    execute(&a.ditto, "DELETE FROM c WHERE _id = 2").await;
    let b = Peer { ditto: open(&b.directory, DATABASE, None).await, directory: b.directory };
    assert_eq!(b.ditto.peer_key(), key);
    b.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    connect(&b.ditto, &[&address]).await;
    rows(&b.ditto, "SELECT * FROM c ORDER BY _id", &[r#"{"_id":1}"#, r#"{"_id":3}"#]).await;
    close([a, b]).await;
}

/// dql.md 11.1: LIMIT bounds the initial download; later changes of everything that matches sync. The setting counts where the
/// subscription is registered.
#[tokio::test(flavor = "multi_thread")]
async fn limit_bounds_the_first_load_alone() {
    let (a, b) = pair().await;
    for i in 0..20 {
        let insert = format!("INSERT INTO c DOCUMENTS ({{'_id': {i}, 'n': {i}, 'even': {}}})", i % 2 == 0);
        execute(&a.ditto, &insert).await;
    }
    let text = "SELECT * FROM c WHERE even ORDER BY n DESC LIMIT 3 OFFSET 1";
    let refused = b.ditto.sync().register_subscription(text).err().unwrap();
    assert!(refused.to_string().contains("Limit or Order by"), "{refused}");
    execute(&b.ditto, "ALTER SYSTEM SET dql_restrict_subscriptions = false").await;
    let subscription = b.ditto.sync().register_subscription(text).unwrap();
    let all = "SELECT _id FROM c ORDER BY _id";
    rows(&b.ditto, all, &[r#"{"_id":12}"#, r#"{"_id":14}"#, r#"{"_id":16}"#]).await;
    // A new document and a changed one, neither of them among the first of the order, and one that does not match.
    execute(&a.ditto, "UPDATE c SET x = 1 WHERE _id IN (2, 3)").await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 30, 'n': 1, 'even': true})").await;
    let now = [2, 12, 14, 16, 30].map(|id| format!(r#"{{"_id":{id}}}"#));
    let now: Vec<&str> = now.iter().map(String::as_str).collect();
    rows(&b.ditto, all, &now).await;
    // What came later stays fresh, and deletions arrive.
    execute(&a.ditto, "UPDATE c SET x = 2 WHERE _id = 2").await;
    rows(&b.ditto, "SELECT x FROM c WHERE _id = 2", &[r#"{"x":2}"#]).await;
    execute(&a.ditto, "DELETE FROM c WHERE _id = 30").await;
    rows(&b.ditto, all, &now[..4]).await;
    // After an eviction everything is compared: what the limit leaves out does not come, what is held is brought up to date.
    subscription.cancel();
    let marker = b.ditto.sync().register_subscription("SELECT * FROM e").unwrap();
    execute(&a.ditto, "INSERT INTO e DOCUMENTS ({'_id': 1})").await;
    rows(&b.ditto, "SELECT _id FROM e", &[r#"{"_id":1}"#]).await;
    execute(&b.ditto, "EVICT FROM c WHERE _id = 14").await;
    execute(&a.ditto, "UPDATE c SET x = 3 WHERE _id = 2").await;
    b.ditto.sync().register_subscription(text).unwrap();
    rows(&b.ditto, "SELECT x FROM c WHERE _id = 2", &[r#"{"x":3}"#]).await;
    rows(&b.ditto, all, &now[..4]).await;
    execute(&a.ditto, "INSERT INTO e DOCUMENTS ({'_id': 2})").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM e", &[r#"{"n":2}"#]).await;
    assert_eq!(execute(&b.ditto, all).await, now[..4]);
    marker.cancel();
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evicted_documents_come_back_only_by_subscription() {
    let (a, b) = pair().await;
    let subscription = b.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1}), ({'_id': 2})").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM c", &[r#"{"n":2}"#]).await;
    execute(&b.ditto, "EVICT FROM c WHERE _id = 1").await;
    rows(&b.ditto, "SELECT COUNT(*) AS n FROM c", &[r#"{"n":2}"#]).await;
    subscription.cancel();
    execute(&b.ditto, "EVICT FROM c").await;
    b.ditto.sync().register_subscription("SELECT * FROM e").unwrap();
    execute(&a.ditto, "INSERT INTO e DOCUMENTS ({'_id': 1})").await;
    rows(&b.ditto, "SELECT _id FROM e", &[r#"{"_id":1}"#]).await;
    assert!(execute(&b.ditto, "SELECT * FROM c").await.is_empty());
    assert_eq!(execute(&a.ditto, "SELECT * FROM c").await.len(), 2, "an eviction left the device");
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_outside_of_the_scope_are_not_sent_but_received() {
    let (a, b) = (peer().await, peer().await);
    let scopes = "{'mine': 'LocalPeerOnly', 'servers': 'BigPeerOnly', 'devices': 'SmallPeersOnly', 'everyone': 'AllPeers'}";
    execute(&a.ditto, &format!("ALTER SYSTEM SET user_collection_sync_scopes = {scopes}")).await;
    for p in [&a, &b] {
        for collection in ["mine", "servers", "devices", "everyone", "other"] {
            let select = format!("SELECT * FROM {collection}");
            p.ditto.sync().register_subscription(select.as_str()).unwrap();
            let name = if std::ptr::eq(p, &a) { "a" } else { "b" };
            execute(&p.ditto, &format!("INSERT INTO {collection} DOCUMENTS ({{'_id': '{name}'}})")).await;
        }
    }
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    let (own, both) = ([r#"{"_id":"b"}"#], [r#"{"_id":"a"}"#, r#"{"_id":"b"}"#]);
    for collection in ["devices", "everyone", "other"] {
        rows(&b.ditto, &format!("SELECT * FROM {collection} ORDER BY _id"), &both).await;
    }
    for collection in ["mine", "servers", "devices", "everyone", "other"] {
        rows(&a.ditto, &format!("SELECT * FROM {collection} ORDER BY _id"), &both).await;
    }
    // The peer says so, and nothing of it has come.
    let denied = async || {
        let status = b.ditto.sync().status().await.unwrap();
        let states = status[0].subscriptions.iter().map(|(_, state)| state);
        states.filter(|s| matches!(s, SyncState::Failed { reason } if reason.contains("not share"))).count()
    };
    let deadline = tokio::time::Instant::now() + fixture::PATIENCE;
    while denied().await != 2 {
        assert!(tokio::time::Instant::now() < deadline, "two subscriptions are denied");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for collection in ["mine", "servers"] {
        rows(&b.ditto, &format!("SELECT * FROM {collection}"), &own).await;
    }
    // The whole map is replaced, and it counts from the next change on.
    execute(&a.ditto, "ALTER SYSTEM SET user_collection_sync_scopes = {'everyone': 'LocalPeerOnly'}").await;
    for collection in ["everyone", "mine", "servers"] {
        execute(&a.ditto, &format!("INSERT INTO {collection} DOCUMENTS ({{'_id': 'c'}})")).await;
    }
    for collection in ["mine", "servers"] {
        let all = [both[0], both[1], r#"{"_id":"c"}"#];
        rows(&b.ditto, &format!("SELECT * FROM {collection} ORDER BY _id"), &all).await;
    }
    rows(&b.ditto, "SELECT * FROM everyone ORDER BY _id", &both).await;
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_leave_a_query_are_evicted_if_wanted() {
    let (a, b) = pair().await;
    let options = ditto::SubscriptionOptions::default().with_evict_on_leave(true);
    let open = b.ditto.sync().register_subscription_with("SELECT * FROM c WHERE open", options).unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1, 'open': true}), ({'_id': 2, 'open': true})").await;
    let all = "SELECT _id FROM c ORDER BY _id";
    rows(&b.ditto, all, &[r#"{"_id":1}"#, r#"{"_id":2}"#]).await;
    let states = open.states().await.unwrap();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].0, a.ditto.peer_key());
    execute(&a.ditto, "UPDATE c SET open = false WHERE _id = 1").await;
    rows(&b.ditto, all, &[r#"{"_id":2}"#]).await;
    // An absence makes no difference.
    b.ditto.sync().stop().await.unwrap();
    execute(&a.ditto, "UPDATE c SET open = false WHERE _id = 2").await;
    b.ditto.sync().start().await.unwrap();
    rows(&b.ditto, all, &[]).await;
    execute(&a.ditto, "UPDATE c SET open = true WHERE _id = 1").await;
    rows(&b.ditto, all, &[r#"{"_id":1}"#]).await;
    assert_eq!(execute(&a.ditto, "SELECT _id FROM c").await.len(), 2);
    for peer in [&a, &b] {
        assert!(peer.ditto.store().check().await.unwrap().is_clean());
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_presence() {
    let (a, b) = pair().await;
    a.ditto.presence().set_peer_metadata(&json!({"role": "kitchen"})).unwrap();
    until("each sees the other", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    until("metadata arrives", || {
        let graph = b.ditto.presence().graph();
        let peer = graph.remote_peers.iter().find(|p| p.peer_key == a.ditto.peer_key());
        peer.is_some_and(|p| p.peer_metadata.get("role").is_some())
    })
    .await;
    let graph = b.ditto.presence().graph();
    let connection = graph.local_peer.connections.first().expect("a connection");
    assert_eq!(connection.connection_type.to_string(), "AccessPoint");

    let inbox = b.ditto.bus().incoming_messages();
    a.ditto.bus().send_reliable(&b.ditto.peer_key(), "hello").await.unwrap();
    let message = inbox.next().await.unwrap();
    assert_eq!((message.sender, message.data.as_slice()), (a.ditto.peer_key(), b"hello".as_slice()));
    let large = vec![7; 1 << 20];
    a.ditto.bus().send_reliable(&b.ditto.peer_key(), large.clone()).await.unwrap();
    assert_eq!(inbox.next().await.unwrap().data, large);
    let datagram = vec![9; 100 << 10];
    a.ditto.bus().send_unreliable(&b.ditto.peer_key(), datagram.clone()).await.unwrap();
    assert_eq!(inbox.next().await.unwrap().data, datagram);

    let e = a.ditto.bus().send_reliable(&b.ditto.peer_key(), vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::BusPayloadTooLarge);
    let stranger = ditto::PeerKey::from_bytes(a.ditto.peer_key().as_bytes()).unwrap();
    let e = a.ditto.bus().send_reliable(&stranger, "to myself").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PeerNotFound);
    b.ditto.sync().stop().await.unwrap();
    until("the peer is gone", || !sees(&a.ditto, &b.ditto)).await;
    let e = a.ditto.bus().send_unreliable(&b.ditto.peer_key(), "late").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PeerNotFound);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_friends_are_not_disturbed() {
    let key = ditto::generate_shared_key().to_vec();
    let a = peer_with(DATABASE, Some(key.clone())).await;
    let address = listen(&a.ditto).await;
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    let mut events = a.ditto.sync().events();
    let other = "00000000-0000-4000-8000-000000000001";
    let strangers = [
        peer_with(DATABASE, Some(ditto::generate_shared_key().to_vec())).await,
        peer_with(DATABASE, None).await,
        peer_with(other, Some(key.clone())).await,
    ];
    for stranger in &strangers {
        stranger.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
        connect(&stranger.ditto, &[&address]).await;
    }
    let mut garbage = std::net::TcpStream::connect(&address).unwrap();
    garbage.write_all(&[0x16; 4096]).unwrap();
    // The refusal closes the connection.
    garbage.set_read_timeout(Some(fixture::PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest);

    let friend = peer_with(DATABASE, Some(key)).await;
    friend.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    connect(&friend.ditto, &[&address]).await;
    rows(&friend.ditto, "SELECT * FROM c", &[r#"{"_id":1}"#]).await;
    let mut refusals = 0;
    while refusals < 4 {
        let event = tokio::time::timeout(fixture::PATIENCE, events.next()).await.expect("a refusal").unwrap();
        if matches!(event, MeshEvent::Connection(ditto::ConnectionEvent::Refused { by_us: true, .. })) {
            refusals += 1;
        }
    }
    for stranger in &strangers {
        assert!(execute(&stranger.ditto, "SELECT * FROM c").await.is_empty(), "data reached a stranger");
        assert!(!sees(&stranger.ditto, &a.ditto));
    }
    close(strangers).await;
    close([a, friend]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_collections_tell_of_sync_and_transports() {
    let (a, b) = pair().await;
    b.ditto.sync().register_subscription("SELECT * FROM c").unwrap();
    execute(&a.ditto, "INSERT INTO c DOCUMENTS ({'_id': 1})").await;
    rows(&b.ditto, "SELECT _id FROM c", &[r#"{"_id":1}"#]).await;
    let key = a.ditto.presence().graph().local_peer.peer_key.to_string();
    let row = |session: &str, received: u64| {
        format!(
            r#"{{"_id":"{key}","documents_received":{received},"is_ditto_server":false,"sync_session_status":"{session}"}}"#
        )
    };
    let query = "SELECT _id, is_ditto_server, documents.sync_session_status, documents.documents_received \
                 FROM system:data_sync_info";
    rows(&b.ditto, query, &[&row("Connected", 1)]).await;
    let newest = "SELECT documents.synced_up_to_local_commit_id AS n FROM system:data_sync_info";
    rows(&a.ditto, newest, &[r#"{"n":1}"#]).await;
    // Also while a transaction holds what the sync thread may wait for.
    let held = a.ditto.store().begin(Default::default()).await.unwrap();
    assert_eq!(held.execute(newest).await.unwrap().item_count(), 1);
    held.finish(ditto::TransactionCompletionAction::Rollback).await.unwrap();
    let tcp = "SELECT is_active, listen_address IS NOT MISSING AS listens FROM system:transports_info";
    rows(&a.ditto, tcp, &[r#"{"is_active":true,"listens":true}"#]).await;
    b.ditto.sync().stop().await.unwrap();
    rows(&b.ditto, query, &[&row("Disabled", 1)]).await;
    close([a, b]).await;
}
