//! Two peers driven by the control protocol over loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peer.rs"]
mod peer;

use std::path::Path;
use std::process::Command;

use peer::Peer;
use serde_json::json;

fn start(dir: &Path, name: &str, more: &[&str]) -> Peer {
    let program = Command::new(env!("CARGO_BIN_EXE_ditto"));
    Peer::start(program, dir, name, &[&["--no-mdns"], more].concat())
}

#[test]
fn two_peers_sync_see_each_other_and_talk() {
    let dir = tempfile::tempdir().unwrap();
    let subscribe = ["--subscribe", "SELECT * FROM c"];
    let listen = ["--listen", "127.0.0.1:0"];
    let mut a = start(&dir.path().join("a"), "first", &[&subscribe[..], &listen].concat());
    let address = a.ready["listen"].as_str().unwrap().to_owned();
    let connect = ["--connect", &address];
    let mut b = start(&dir.path().join("b"), "second", &[&subscribe[..], &connect, &listen].concat());
    let b_key = b.key().to_owned();
    let connected = a.wait_for("connection", |l| l["event"] == json!("connected"));
    assert_eq!((&connected["peer"], &connected["deviceName"]), (&json!(b_key), &json!("second")));

    let inserted = b.execute("INSERT INTO c DOCUMENTS ({'_id': 1, 'v': 'x'}), ({'_id': 2, 'v': 'y'})");
    assert_eq!(inserted["mutatedDocumentIds"], json!([1, 2]));
    let waited = a.ask(json!({"kind": "wait", "statement": "SELECT * FROM c", "count": 2}));
    assert_eq!(waited["ok"], json!(true), "{waited}");
    let missed = a.ask(json!({"kind": "wait", "statement": "SELECT * FROM c", "count": 9, "timeoutMs": 50}));
    assert_eq!(missed["error"]["kind"], json!("request/timeout"));

    let graph = loop {
        let graph = a.ask(json!({"kind": "graph"}))["graph"].clone();
        if graph["remotePeers"].as_array().is_some_and(|p| !p.is_empty()) {
            break graph;
        }
    };
    assert_eq!(graph["remotePeers"][0]["deviceName"], json!("second"));
    assert_eq!(graph["localPeer"]["connections"][0]["connectionType"], json!("AccessPoint"));

    for reliability in ["reliable", "unreliable"] {
        let text = format!("hello {reliability}");
        let sent = a.ask(json!({"kind": "send", "to": b_key, "text": text, "reliability": reliability}));
        assert_eq!(sent["ok"], json!(true), "{sent}");
        let message = b.wait_for("message", |l| l["event"] == json!("message"));
        assert_eq!((&message["text"], &message["from"]), (&json!(text), &json!(a.key())));
        assert_eq!(message["reliability"], json!(reliability));
    }
    let nowhere = a.ask(json!({"kind": "send", "to": "pkAA", "text": "x"}));
    assert_eq!(nowhere["error"]["kind"], json!("request/invalid"));

    assert_eq!(b.ask(json!({"kind": "sync", "action": "stop"}))["ok"], json!(true));
    a.wait_for("goodbye", |l| l["event"] == json!("disconnected"));
    a.execute("INSERT INTO c DOCUMENTS ({'_id': 3})");
    assert_eq!(b.ask(json!({"kind": "sync", "action": "start"}))["ok"], json!(true));
    let waited = b.ask(json!({"kind": "wait", "statement": "SELECT * FROM c", "count": 3}));
    assert_eq!(waited["ok"], json!(true), "{waited}");
    let status = b.ask(json!({"kind": "status"}));
    assert!(status["status"][0]["documentsReceived"].as_u64().unwrap() >= 1, "{status}");

    for peer in [&mut a, &mut b] {
        assert_eq!(peer.ask(json!({"kind": "close"}))["ok"], json!(true));
        assert!(peer.child.wait().unwrap().success());
    }
}

#[test]
fn the_end_of_stdin_closes_the_peer() {
    let dir = tempfile::tempdir().unwrap();
    let mut peer = start(dir.path(), "alone", &["--listen", "localhost:0"]);
    peer.input = None;
    assert!(peer.child.wait().unwrap().success());
}
