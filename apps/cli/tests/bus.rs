//! `ditto bus` between real processes on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// More than a stream looks for another route; conditions are waited for, so most of it is not spent.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that goes on, and its lines.
struct Running {
    child: Child,
    output: Receiver<Value>,
    ready: Value,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ditto"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, output) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let ready: Value = output.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ready["ready"], json!(true), "{ready}");
        Self { child, output, ready }
    }

    fn listen(more: &[&str]) -> Self {
        let all = ["bus", "listen", "--json", "--no-mdns", "--listen", "127.0.0.1:0", "--name", "far"];
        Self::start(&[&all[..], more].concat())
    }

    /// A peer without a command of the Bus.
    fn relay(dir: &std::path::Path, to: &str) -> Self {
        let dir = dir.to_str().unwrap();
        let fixed = ["peer", "--control", "--no-mdns", "--listen", "127.0.0.1:0", "--name", "relay"];
        Self::start(&[&fixed[..], &["--dir", dir, "--connect", to]].concat())
    }

    fn text(&self, member: &str) -> &str {
        self.ready[member].as_str().unwrap()
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut passed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.output.recv_timeout(left).unwrap_or_else(|_| panic!("no {what}: {passed:?}"));
            if wanted(&line) {
                return line;
            }
            passed.push(line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bus(command: &str, to: &Running, more: &[&str]) -> Output {
    let fixed = ["bus", command, "--json", "--no-mdns", "--wait", "60", "--listen", "127.0.0.1:0"];
    Command::new(env!("CARGO_BIN_EXE_ditto"))
        .args(fixed)
        .args(["--connect", to.text("listen")])
        .args(more)
        .output()
        .unwrap()
}

fn result(out: &Output) -> Value {
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

fn is_tunnel(line: &Value) -> bool {
    line["event"] == "tunnel"
}

fn forward(via: &str, peer: &str, target: &str) -> Running {
    let fixed = ["bus", "forward", "--json", "--no-mdns", "--wait", "60", "--listen", "127.0.0.1:0"];
    Running::start(&[&fixed[..], &["--connect", via, "127.0.0.1:0", peer, target]].concat())
}

/// Answers each connection, once its client has said all, with the same bytes.
fn parrot() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                if tcp.read_to_end(&mut all).is_ok() {
                    let _ = tcp.write_all(&all);
                }
            });
        }
    });
    address
}

/// Answers at once what it gets.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            std::thread::spawn(move || std::io::copy(&mut tcp.try_clone().unwrap(), &mut tcp));
        }
    });
    address
}

/// Says `data`, half-closes, and reads to the end.
fn exchange(port: &str, data: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(port).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(data).unwrap();
    tcp.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    tcp.read_to_end(&mut back).unwrap();
    back
}

/// Bytes in which a swapped or lost block shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn messages_round_trips_and_load_between_two_processes() {
    let far = Running::listen(&[]);
    let sent = result(&bus("send", &far, &["far", "good day"]));
    assert_eq!((&sent["delivery"], &sent["bytes"]), (&json!("acknowledged"), &json!(8)));
    let message = far.wait_for("message", |l| l["event"] == "message");
    assert_eq!((&message["text"], &message["reliability"]), (&json!("good day"), &json!("reliable")));

    let key = far.text("peerKey").to_owned();
    for more in [&[][..], &["--unreliable"]] {
        let args = [&[&key[..20], "--count", "5", "--interval", "1", "--size", "2000"][..], more].concat();
        let ping = result(&bus("ping", &far, &args));
        assert_eq!((&ping["peer"], &ping["sent"]), (&json!(key), &json!(5)));
        let answered = ping["received"].as_u64().unwrap();
        assert!(answered == 5 || answered > 0 && !more.is_empty(), "{ping}");
        assert!(ping["minMs"].as_f64().unwrap() <= ping["maxMs"].as_f64().unwrap());
    }

    let load = result(&bus("bench", &far, &["far", "--seconds", "0.5", "--size", "1000"]));
    assert_eq!(load["sent"], load["arrived"], "{load}");
    assert!(load["sent"].as_u64().unwrap() > 0);
    let seen = far.wait_for("count", |l| l["event"] == "load");
    assert_eq!(seen["messages"], load["sent"]);
    let load = result(&bus("bench", &far, &["far", "--seconds", "0.5", "--unreliable", "--rate", "50"]));
    assert!(load["arrived"].as_u64() <= load["sent"].as_u64(), "{load}");
}

#[test]
fn a_peer_that_is_not_there_is_a_failure() {
    let far = Running::listen(&[]);
    let late = Command::new(env!("CARGO_BIN_EXE_ditto"))
        .args(["bus", "send", "--no-mdns", "--connect", far.text("listen"), "--wait", "1", "nobody", "x"])
        .output()
        .unwrap();
    assert_eq!(late.status.code(), Some(3), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains("no peer `nobody` within 1 s"), "{late:?}");
}

#[test]
fn forward_carries_connections_with_their_half_closes() {
    let target = parrot();
    let far = Running::listen(&["--allow", &target]);
    let near = forward(far.text("listen"), "far", &target);
    let port = near.text("forward").to_owned();
    assert_eq!(exchange(&port, b"hello"), b"hello");
    let (sent, received) = (json!(5), json!(5));
    let line = near.wait_for("tunnel", is_tunnel);
    assert_eq!((&line["sent"], &line["received"]), (&sent, &received), "{line}");
    assert_eq!(exchange(&port, b""), b"", "an empty conversation");
    // Several at once, each with its own bytes.
    let all: Vec<_> = (1..=4)
        .map(|n| {
            let port = port.clone();
            std::thread::spawn(move || {
                let data = pattern(n * 1_500_000);
                assert!(exchange(&port, &data) == data, "connection {n}");
            })
        })
        .collect();
    for one in all {
        one.join().unwrap();
    }
}

#[test]
fn forward_through_a_relay_survives_bulk_and_tells_of_refusals_and_of_a_dead_peer() {
    let dir = tempfile::tempdir().unwrap();
    let (target, other, chat) = (parrot(), parrot(), echo());
    // A port where nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut far = Running::listen(&["--allow", &target, "--allow", &closed, "--allow", &chat]);
    let relay = Running::relay(dir.path(), far.text("listen"));
    let via = relay.text("listen");
    let near = forward(via, "far", &target);
    let data = pattern(6_000_000);
    assert!(exchange(near.text("forward"), &data) == data);

    for (refused, why) in [(&other, "does not allow"), (&closed, "refused")] {
        let near = forward(via, "far", refused);
        let mut tcp = TcpStream::connect(near.text("forward")).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let e = tcp.read(&mut [0; 10]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ConnectionReset, "a regular end would look like an answer");
        let line = near.wait_for("tunnel", is_tunnel);
        assert!(line["error"].as_str().unwrap().to_lowercase().contains(why), "{line}");
    }

    // In the middle of a conversation the peer dies.
    let near = forward(via, "far", &chat);
    let mut tcp = TcpStream::connect(near.text("forward")).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(b"half a").unwrap();
    let mut back = [0; 6];
    tcp.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"half a");
    far.child.kill().unwrap();
    let e = tcp.read(&mut [0; 10]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
    let line = near.wait_for("tunnel", is_tunnel);
    assert_eq!(line["error"], json!("the stream failed: the connection to the peer was lost"));
}
