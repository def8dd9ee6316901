//! Instances that sync over radios which an app has attached, without any socket.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared by several test files")]
mod fixture;

use std::time::Duration;

use ditto::radio::RadioKind;
use ditto::radio::loopback::{LoopbackAir, LoopbackConfig};
use ditto::{ConnectionEvent, ConnectionType, Ditto, ErrorKind, RadioTransport};
use fixture::{Peer, execute, peer, rows, sees, until};

async fn bluetooth(ditto: &Ditto, on: bool) {
    ditto.update_transport_config(|c| c.peer_to_peer.bluetooth_le.enabled = on).await.unwrap();
}

async fn close(peers: impl IntoIterator<Item = Peer>) {
    for p in peers {
        p.ditto.close().await.unwrap();
    }
}

/// A radio that is busy in storms, takes and delivers odd pieces, reports late, and loses packets where packets are lost.
fn awkward(kind: RadioKind) -> LoopbackConfig {
    LoopbackConfig {
        busy: 100,
        drop: 20,
        odd_pieces: true,
        delay: Duration::from_millis(2),
        seed: 7,
        ..LoopbackConfig::plain(kind)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_sync_over_an_attached_radio() {
    for kind in [RadioKind::L2cap, RadioKind::Gatt] {
        let air = LoopbackAir::new(awkward(kind));
        let (a, b) = (peer().await, peer().await);
        // One hands its radio over before sync starts, the other one while it runs.
        a.ditto.attach_radio(RadioTransport::BluetoothLe, air.radio()).await.unwrap();
        for p in [&a, &b] {
            bluetooth(&p.ditto, true).await;
            p.ditto.sync().register_subscription("SELECT * FROM cars").unwrap();
            p.ditto.sync().start().await.unwrap();
            assert_eq!(p.ditto.sync().listen_address(), None, "no TCP");
        }
        b.ditto.attach_radio(RadioTransport::BluetoothLe, air.radio()).await.unwrap();
        execute(&a.ditto, "INSERT INTO cars DOCUMENTS ({'_id': 'a'})").await;
        execute(&b.ditto, "INSERT INTO cars DOCUMENTS ({'_id': 'b'})").await;
        for p in [&a, &b] {
            rows(&p.ditto, "SELECT _id FROM cars ORDER BY _id", &[r#"{"_id":"a"}"#, r#"{"_id":"b"}"#]).await;
        }
        let graph = a.ditto.presence().graph();
        let kinds: Vec<_> = graph.local_peer.connections.iter().map(|c| c.connection_type).collect();
        assert_eq!(kinds, [ConnectionType::Bluetooth], "{kind:?}");
        close([a, b]).await;
        assert_eq!(air.open_handles(), 0, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_ends_when_it_is_switched_off_or_taken_back() {
    let air = LoopbackAir::new(LoopbackConfig::plain(RadioKind::L2cap));
    let (a, b) = (peer().await, peer().await);
    for p in [&a, &b] {
        bluetooth(&p.ditto, true).await;
        p.ditto.attach_radio(RadioTransport::BluetoothLe, air.radio()).await.unwrap();
        p.ditto.sync().start().await.unwrap();
    }
    let both = || sees(&a.ditto, &b.ditto) && sees(&b.ditto, &a.ditto);
    let neither = || !sees(&a.ditto, &b.ditto) && !sees(&b.ditto, &a.ditto);
    until("they have met", both).await;
    bluetooth(&b.ditto, false).await;
    until("the radio of b is off", neither).await;
    bluetooth(&b.ditto, true).await;
    until("it is on again", both).await;
    a.ditto.detach_radio(RadioTransport::BluetoothLe).await.unwrap();
    until("a has no radio any more", neither).await;
    a.ditto.attach_radio(RadioTransport::BluetoothLe, air.radio()).await.unwrap();
    until("a has a new one", both).await;
    let ended = a.ditto.clone();
    close([a, b]).await;
    let refused = ended.attach_radio(RadioTransport::BluetoothLe, air.radio()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(air.open_handles(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_radio_without_a_driver_is_told_of() {
    let a = peer().await;
    let mut events = a.ditto.connection_events();
    bluetooth(&a.ditto, true).await;
    a.ditto.sync().start().await.unwrap();
    let told = async {
        loop {
            if let ConnectionEvent::Condition { source, text } = events.next().await.unwrap().event {
                return (source, text);
            }
        }
    };
    let (source, text) = tokio::time::timeout(fixture::PATIENCE, told).await.unwrap();
    assert_eq!((&*source, &*text), ("Bluetooth", "switched on, but this process has no driver for it"));
    close([a]).await;
}
