//! A running `ditto peer`, driven by the control protocol.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Far beyond what anything here takes: a peer that is gone without a word is noticed after 45 s.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Peer {
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
    output: Receiver<Value>,
    /// Lines that came while another was awaited.
    passed: Vec<Value>,
    pub(crate) ready: Value,
}

impl Peer {
    /// `program` runs `ditto`, here or in another network namespace.
    pub(crate) fn start(mut program: Command, dir: &std::path::Path, name: &str, more: &[&str]) -> Self {
        let mut child = program
            .args(["peer", "--control", "--dir", dir.to_str().unwrap(), "--name", name])
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

    #[allow(dead_code, reason = "not every test needs it")]
    pub(crate) fn key(&self) -> &str {
        self.ready["peerKey"].as_str().unwrap()
    }

    pub(crate) fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
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

    /// Drops the lines that came while others were awaited.
    #[allow(dead_code, reason = "not every test needs it")]
    pub(crate) fn forget(&mut self) {
        self.passed.clear();
        while self.output.try_recv().is_ok() {}
    }

    fn say(&mut self, request: Value) {
        writeln!(self.input.as_mut().unwrap(), "{request}").unwrap();
    }

    pub(crate) fn ask(&mut self, mut request: Value) -> Value {
        // Unique enough: requests are asked one at a time.
        let id = json!(format!("{request}"));
        request["id"] = id.clone();
        self.say(request);
        self.wait_for("answer", |line| line["id"] == id)
    }

    pub(crate) fn execute(&mut self, statement: &str) -> Value {
        self.ask(json!({"statement": statement}))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
