//! Instances for tests: own directories, loopback only, no discovery.

use std::time::Duration;

use ditto::{Ditto, DittoConfig, DittoConfigConnect};
use tempfile::TempDir;

pub(crate) const DATABASE: &str = "6f1d1c9e-2f4b-4c39-a9f0-8c3d7c2f5a11";

/// Long enough for a loaded machine; conditions are waited for, so it is never spent when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Peer {
    pub(crate) ditto: Ditto,
    pub(crate) directory: TempDir,
}

pub(crate) async fn peer() -> Peer {
    peer_with(DATABASE, None).await
}

pub(crate) async fn peer_with(database: &str, private_key: Option<Vec<u8>>) -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let ditto = open(&directory, database, private_key).await;
    Peer { ditto, directory }
}

pub(crate) async fn open(directory: &TempDir, database: &str, private_key: Option<Vec<u8>>) -> Ditto {
    let config = DittoConfig::new(database)
        .with_connect(DittoConfigConnect::SmallPeersOnly { private_key })
        .with_persistence_directory(directory.path());
    let ditto = Ditto::open(config).await.unwrap();
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer();
        })
        .await
        .unwrap();
    ditto
}

/// Starts sync with a listener on a free loopback port and returns its address.
pub(crate) async fn listen(ditto: &Ditto) -> String {
    ditto
        .update_transport_config(|c| {
            c.enable_tcp_listen("127.0.0.1", 0);
        })
        .await
        .unwrap();
    ditto.sync().start().await.unwrap();
    ditto.sync().listen_address().unwrap().to_string()
}

/// Starts sync with these addresses to dial.
pub(crate) async fn connect(ditto: &Ditto, addresses: &[&str]) {
    ditto
        .update_transport_config(|c| {
            for address in addresses {
                c.add_tcp_server(*address);
            }
        })
        .await
        .unwrap();
    ditto.sync().start().await.unwrap();
}

pub(crate) async fn execute(ditto: &Ditto, statement: &str) -> Vec<String> {
    let result = ditto.store().execute(statement).await.unwrap();
    result.items().map(|i| i.json_string()).collect()
}

/// Waits until the statement returns exactly these rows, in this order.
pub(crate) async fn rows(ditto: &Ditto, statement: &str, want: &[&str]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let got = execute(ditto, statement).await;
        if got == want {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{statement}: {got:?} instead of {want:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn sees(ditto: &Ditto, other: &Ditto) -> bool {
    ditto.presence().graph().remote_peers.iter().any(|p| p.peer_key == other.peer_key())
}
