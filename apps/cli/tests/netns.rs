//! Whole peers in two network namespaces: partitions, other addresses, two interfaces.
//!
//! Needs root and iproute2. Without them it says so and passes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "support/peer.rs"]
mod peer;

use ditto_testkit::{Namespaces, ip};
use peer::Peer;
use serde_json::json;

/// Two peers that replicate everything and have found each other.
struct Two {
    peers: [Peer; 2],
    _directory: tempfile::TempDir,
    /// Last, so that the peers are gone before.
    namespaces: Namespaces,
}

impl Two {
    /// `None` when this machine does not let us make namespaces.
    fn start(prepare: impl FnOnce(&Namespaces)) -> Option<Self> {
        let namespaces = Namespaces::new().map_err(|reason| println!("skipped: {reason}")).ok()?;
        prepare(&namespaces);
        let directory = tempfile::tempdir().unwrap();
        let peers = [0, 1].map(|side| {
            let program = namespaces.command(side, env!("CARGO_BIN_EXE_ditto"));
            let name = format!("peer-{side}");
            Peer::start(program, &directory.path().join(&name), &name, &["--subscribe", "SELECT * FROM c"])
        });
        let mut two = Self { peers, _directory: directory, namespaces };
        for peer in &mut two.peers {
            peer.wait_for("connection", |l| l["event"] == json!("connected"));
        }
        two.meet(0);
        Some(two)
    }

    fn ip(&self, side: usize, args: &[&str]) {
        ip(&[&["-n", &self.namespaces.names[side]], args].concat());
    }

    /// Each writes a document.
    fn write(&mut self, number: u32) {
        for (side, peer) in self.peers.iter_mut().enumerate() {
            let done = peer.execute(&format!("INSERT INTO c DOCUMENTS ({{'_id': '{number}-{side}'}})"));
            assert_eq!(done["mutatedDocumentIds"], json!([format!("{number}-{side}")]), "{done}");
        }
    }

    /// Each has what both have written so far, `before` documents by each of them and one more.
    fn meet(&mut self, before: u32) {
        self.write(before);
        self.see(2 * (before + 1));
    }

    fn see(&mut self, documents: u32) {
        for peer in &mut self.peers {
            let wait = json!({"kind": "wait", "statement": "SELECT * FROM c", "count": documents, "timeoutMs": 110_000});
            let waited = peer.ask(wait);
            assert_eq!(waited["ok"], json!(true), "{waited}");
        }
    }

    /// Forgets events of before.
    fn forget(&mut self) {
        for peer in &mut self.peers {
            peer.forget();
        }
    }

    fn lost(&mut self, side: usize) {
        self.peers[side].wait_for("end of the session", |l| l["event"] == json!("disconnected"));
    }
}

#[test]
fn a_partition_is_noticed_and_both_sides_are_joined_again() {
    let Some(mut two) = Two::start(|_| {}) else { return };
    two.forget();
    two.ip(1, &["link", "set", "veth0", "down"]);
    two.write(1);
    // The other end hears nothing any more.
    two.lost(0);
    two.write(2);
    two.ip(1, &["link", "set", "veth0", "up"]);
    two.see(6);
    two.meet(3);
}

#[test]
fn a_peer_with_another_address_is_found_there() {
    let Some(mut two) = Two::start(|_| {}) else { return };
    two.forget();
    two.ip(1, &["addr", "flush", "dev", "veth0"]);
    two.ip(1, &["addr", "add", "198.51.100.77/24", "dev", "veth0"]);
    two.lost(1);
    two.meet(1);
    let graph = two.peers[0].ask(json!({"kind": "graph"}));
    assert_eq!(graph["graph"]["remotePeers"].as_array().unwrap().len(), 1, "{graph}");
}

#[test]
fn the_second_interface_carries_on_when_the_first_is_gone_and_back() {
    let Some(mut two) = Two::start(|n| n.join("veth1", "203.0.113")) else { return };
    for (round, gone) in [(1, "veth0"), (2, "veth1")] {
        two.ip(0, &["link", "set", gone, "down"]);
        two.meet(round);
        two.ip(0, &["link", "set", gone, "up"]);
    }
    two.meet(3);
}
