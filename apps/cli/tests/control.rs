//! Two peers driven by the control protocol over loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Value>,
    /// Lines that came while another was awaited.
    passed: Vec<Value>,
    ready: Value,
}

impl Peer {
    fn start(dir: &std::path::Path, name: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ditto"))
            .args(["peer", "--control", "--no-mdns", "--dir", dir.to_str().unwrap(), "--name", name])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, output) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if lines.send(serde_json::from_str(&line.unwrap()).unwrap()).is_err() {
                    return;
                }
            }
        });
        let ready: Value = output.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ready["ready"], json!(true));
        Self { input: child.stdin.take(), child, output, passed: Vec::new(), ready }
    }

    fn key(&self) -> &str {
        self.ready["peerKey"].as_str().unwrap()
    }

    fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        if let Some(at) = self.passed.iter().position(&mut wanted) {
            return self.passed.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.output.recv_timeout(left).unwrap_or_else(|_| panic!("no {what}: {:?}", self.passed));
            if wanted(&line) {
                return line;
            }
            self.passed.push(line);
        }
    }

    fn say(&mut self, request: Value) {
        writeln!(self.input.as_mut().unwrap(), "{request}").unwrap();
    }

    fn ask(&mut self, mut request: Value) -> Value {
        // Unique enough: requests are asked one at a time.
        let id = json!(format!("{request}"));
        request["id"] = id.clone();
        self.say(request);
        self.wait_for("answer", |line| line["id"] == id)
    }

    fn execute(&mut self, statement: &str) -> Value {
        self.ask(json!({"statement": statement}))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_peers_sync_see_each_other_and_talk() {
    let dir = tempfile::tempdir().unwrap();
    let subscribe = ["--subscribe", "SELECT * FROM c"];
    let listen = ["--listen", "127.0.0.1:0"];
    let mut a = Peer::start(&dir.path().join("a"), "first", &[&subscribe[..], &listen].concat());
    let address = a.ready["listen"].as_str().unwrap().to_owned();
    let connect = ["--connect", &address];
    let mut b = Peer::start(&dir.path().join("b"), "second", &[&subscribe[..], &connect, &listen].concat());
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
    let mut peer = Peer::start(dir.path(), "alone", &["--listen", "localhost:0"]);
    peer.input = None;
    assert!(peer.child.wait().unwrap().success());
}
