//! Connection requests, priorities, diagnostics and events, over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::sync::Mutex;
use std::time::Duration;

use ditto::ConnectionRequestAuthorization::{Allow, Deny};
use ditto::{
    ConnectionEvent, ConnectionPriority, ConnectionRecord, ConnectionRequest, ConnectionType, ErrorKind,
    PeerSelector, Refusal,
};
use fixture::{DATABASE, PATIENCE, Peer, connect, execute, listen, peer, peer_with, sees, until};
use serde_json::json;

async fn next(
    events: &mut ditto::ConnectionEvents,
    wanted: impl Fn(&ConnectionEvent) -> bool,
) -> ConnectionRecord {
    let search = async {
        loop {
            let record = events.next().await.expect("an event");
            if wanted(&record.event) {
                return record;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the event in time")
}

async fn close(peers: impl IntoIterator<Item = Peer>) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_191_the_app_decides_who_connects() {
    let (a, b) = (peer().await, peer().await);
    b.ditto.presence().set_peer_metadata(&json!({"role": "kitchen"})).unwrap();
    let asked: &'static Mutex<Vec<ConnectionRequest>> = Box::leak(Box::default());
    a.ditto
        .presence()
        .set_connection_request_handler(async |request: ConnectionRequest| {
            let mut asked = asked.lock().unwrap();
            asked.push(request);
            if asked.len() == 1 { Deny } else { Allow }
        })
        .unwrap();
    let (mut of_a, mut of_b) = (a.ditto.connection_events(), b.ditto.connection_events());
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    for (events, ours) in [(&mut of_a, true), (&mut of_b, false)] {
        let denied = next(events, |e| e.refusal().is_some()).await.event;
        assert!(
            matches!(&denied, ConnectionEvent::Refused { by_us, reason: Refusal::Denied, .. } if *by_us == ours),
            "{denied}"
        );
    }
    // The denied peer tries again and is asked for again.
    until("each sees the other", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2);
        let request = &asked[0];
        assert_eq!(
            (request.peer_key(), request.connection_type()),
            (b.ditto.peer_key(), ConnectionType::AccessPoint)
        );
        assert_eq!(request.peer_metadata_json_str(), r#"{"role":"kitchen"}"#);
        assert_eq!(request.identity_service_metadata_json_str(), "{}");
    }
    // Cleared while syncing: the next one is not asked for.
    a.ditto.presence().clear_connection_request_handler().unwrap();
    let c = peer().await;
    connect(&c.ditto, &[&address]).await;
    until("the third one is in", || sees(&a.ditto, &c.ditto)).await;
    assert_eq!(asked.lock().unwrap().len(), 2);
    close([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_192_a_handler_that_panics_or_does_not_answer_denies() {
    let (a, b) = (peer().await, peer().await);
    let mut events = a.ditto.connection_events();
    a.ditto
        .presence()
        .set_connection_request_handler(
            async |_: ConnectionRequest| -> ditto::ConnectionRequestAuthorization { panic!("of a test") },
        )
        .unwrap();
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    next(&mut events, |e| e.refusal() == Some(&Refusal::Denied)).await;
    a.ditto.presence().set_connection_request_timeout(Duration::from_millis(10)).unwrap();
    a.ditto
        .presence()
        .set_connection_request_handler(async |_: ConnectionRequest| std::future::pending().await)
        .unwrap();
    next(&mut events, |e| e.refusal() == Some(&Refusal::Denied)).await;
    assert!(!sees(&b.ditto, &a.ditto));
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn api_279_diagnostics_and_events_tell_what_links_do() {
    let key = ditto::generate_shared_key().to_vec();
    let (a, b) = (peer_with(DATABASE, Some(key.clone())).await, peer_with(DATABASE, Some(key)).await);
    let stranger = peer_with(DATABASE, Some(ditto::generate_shared_key().to_vec())).await;
    assert_eq!(a.ditto.transport_diagnostics().unwrap().transports, []);
    let mut events = a.ditto.connection_events();
    let address = listen(&a.ditto).await;
    let idle = a.ditto.transport_diagnostics().unwrap();
    assert!(!idle.transport_by_type("TCP").expect("it is on").has_activity());
    connect(&b.ditto, &[&address]).await;
    connect(&stranger.ditto, &[&address]).await;
    let refused = next(&mut events, |e| e.refusal().is_some()).await;
    assert_eq!(refused.event.refusal().map(Refusal::as_str), Some("wrong_key"));
    until("each sees the other", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    until("the link is measured", || {
        let now = b.ditto.transport_diagnostics().unwrap();
        let tcp = now.transport_by_type("TCP").unwrap();
        tcp.connected.iter().any(|p| p.round_trip_ms.is_some())
    })
    .await;
    let now = b.ditto.transport_diagnostics().unwrap();
    assert_eq!((now.active_transports(), now.total_connected_peers()), (1, 1));
    let of_a = &now.transports[0].connected[0];
    assert_eq!((of_a.peer_key, of_a.is_outgoing), (Some(a.ditto.peer_key()), true));
    assert!(of_a.clock_offset_ms.unwrap().abs() < 10_000, "one clock");

    let query = "SELECT kind, reason, by_us, peer_key IS NOT MISSING AS known FROM system:connection_events \
                 WHERE kind = 'refused' LIMIT 1";
    assert_eq!(
        execute(&a.ditto, query).await,
        [r#"{"by_us":true,"kind":"refused","known":true,"reason":"wrong_key"}"#]
    );
    let query =
        "SELECT _id FROM system:transports_info WHERE ANY c IN connected SATISFIES c.is_outgoing = true END";
    assert_eq!(execute(&b.ditto, query).await, [r#"{"_id":"tcp"}"#]);
    let query = "SELECT `value` FROM system:system_info WHERE key = 'connections_accesspoint'";
    assert_eq!(execute(&b.ditto, query).await, [r#"{"value":1}"#]);

    b.ditto.sync().stop().await.unwrap();
    let gone = next(&mut events, |e| matches!(e, ConnectionEvent::Disconnected { .. })).await;
    assert_eq!(gone.event.peer(), Some(b.ditto.peer_key()));
    let numbers: Vec<u64> = a.ditto.recent_connection_events().iter().map(|r| r.number).collect();
    assert!(numbers.windows(2).all(|n| n[0] + 1 == n[1]) && numbers.contains(&gone.number));
    close([a, b, stranger]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_end_when_the_instance_is_closed_not_when_it_is_freed() {
    let a = peer().await;
    let (mut mesh, mut connections) = (a.ditto.sync().events(), a.ditto.connection_events());
    let held = a.ditto.clone();
    listen(&a.ditto).await;
    a.ditto.close().await.unwrap();
    let to_the_end = async {
        while mesh.next().await.is_some() {}
        while connections.next().await.is_some() {}
    };
    tokio::time::timeout(PATIENCE, to_the_end).await.expect("the feeds end");
    assert_eq!(held.transport_diagnostics().unwrap_err().kind(), ErrorKind::Closed);
    let e = held.presence().clear_connection_request_handler().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_465_a_peer_that_is_not_wanted_is_not_dialled() {
    let (a, b) = (peer().await, peer().await);
    let wanted = |priority| {
        b.ditto.experimental().set_priority(PeerSelector::Peer(a.ditto.peer_key()), priority).unwrap();
    };
    // Said before the start: a new machine is told, too.
    wanted(ConnectionPriority::DontConnect);
    b.ditto.experimental().set_query_overlap_group(5).unwrap();
    let mut events = b.ditto.connection_events();
    let address = listen(&a.ditto).await;
    connect(&b.ditto, &[&address]).await;
    next(&mut events, |e| e.refusal() == Some(&Refusal::NotWanted)).await;
    assert!(!sees(&b.ditto, &a.ditto));
    wanted(ConnectionPriority::Normal);
    b.ditto.sync().network_changed().unwrap();
    until("each sees the other", || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto)).await;
    until("the group is seen", || {
        let graph = a.ditto.presence().graph();
        graph.remote_peers.iter().any(|p| p.query_overlap_group == 5)
    })
    .await;
    close([a, b]).await;
}
