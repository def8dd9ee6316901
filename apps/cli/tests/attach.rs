//! `ditto attach` between real processes on loopback: also killed in the middle, and without space.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peer.rs"]
mod peer;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use peer::Peer;
use serde_json::Value;

const MIB: usize = 1 << 20;

fn ditto() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ditto"))
}

fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

#[track_caller]
fn ok(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A peer that has an attachment in a document; its token and its address.
fn source(dir: &Path, bytes: &[u8]) -> (Peer, String, String) {
    let file = dir.join("file");
    std::fs::write(&file, bytes).unwrap();
    let store = dir.join("a");
    let mut put = ditto();
    put.args(["attach", "put", "--meta", "name=file", "--into", "cars/1/photo", "--dir"]);
    let token = ok(put.arg(&store).arg(&file).output().unwrap());
    let peer = Peer::start(ditto(), &store, "source", &["--no-mdns", "--listen", "127.0.0.1:0"]);
    let address = peer.ready["listen"].as_str().unwrap().to_owned();
    (peer, token, address)
}

fn get(program: &mut Command, dir: &Path, address: &str, token: &str, to: &Path) {
    program.args(["attach", "get", "--json", "--no-mdns", "--listen", "127.0.0.1:0", "--connect", address]);
    program.args(["--timeout", "120", "--dir"]).arg(dir).arg(token).arg(to);
}

#[test]
fn a_file_goes_from_peer_to_peer_and_who_has_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(3 * MIB + 1);
    let (mut peer, token, address) = source(dir.path(), &bytes);
    let row = peer.execute("SELECT * FROM COLLECTION cars (photo ATTACHMENT)");
    let shown: Value = serde_json::from_str(&token).unwrap();
    assert!(row.to_string().contains(shown["id"].as_str().unwrap()), "{row}");
    assert_eq!(
        (shown["len"].as_u64(), &shown["metadata"]["name"]),
        (Some(bytes.len() as u64), &"file".into())
    );
    let to = dir.path().join("copy");
    let mut program = ditto();
    get(&mut program, Path::new(":temp:"), &address, &token, &to);
    ok(program.output().unwrap());
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    let mut who = ditto();
    who.args([
        "attach",
        "who",
        "--json",
        "--no-mdns",
        "--listen",
        "127.0.0.1:0",
        "--connect",
        &address,
        &token,
    ]);
    let holder: Value = serde_json::from_str(&ok(who.output().unwrap())).unwrap();
    assert_eq!((&holder["peerKey"], &holder["complete"]), (&peer.key().into(), &true.into()));
    // One that nobody has.
    let other = token.replace(shown["id"].as_str().unwrap(), &"0a".repeat(32));
    let mut program = ditto();
    get(&mut program, Path::new(":temp:"), &address, &other, &to);
    let out = program.args(["--unavailable", "0"]).output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert_eq!(std::fs::read(&to).unwrap(), bytes, "a failure leaves the file as it was");
}

#[test]
fn what_arrived_before_kill_9_is_not_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(96 * MIB);
    let (_peer, token, address) = source(dir.path(), &bytes);
    let (store, to) = (dir.path().join("b"), dir.path().join("copy"));
    let (mut kept, mut killed) = (0, 0);
    // Three times it is killed, a little later each time; then it may end.
    loop {
        let mut program = ditto();
        get(&mut program, &store, &address, &token, &to);
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut completed = false;
        let stop_at = kept + 10 * MIB as u64;
        for line in lines {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            completed |= line["completed"] == true;
            let Some(now) = line["bytes"].as_u64() else { continue };
            assert!(now >= kept, "{now} bytes are here of {kept} that were");
            kept = now;
            if now >= stop_at && killed < 3 {
                // No handler of signals sees this one.
                child.kill().unwrap();
                killed += 1;
                break;
            }
        }
        child.wait().unwrap();
        if completed {
            break;
        }
    }
    assert_eq!(killed, 3);
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    let check = ditto().args(["check", "--dir"]).arg(&store).output().unwrap();
    ok(check);
}

#[test]
fn without_space_a_fetch_fails_with_the_reason_and_leaves_a_sound_store() {
    let small = |dir: &Path| {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$@\"";
        command.args(["--mount", "--", "sh", "-c", script]).arg(dir);
        command
    };
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    if !small(&disk).arg("true").stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        // Not allowed here; the job of CI that runs as root does it.
        return;
    }
    let bytes = content(40 * MIB);
    let (_peer, token, address) = source(dir.path(), &bytes);
    // Fetch, then check, on the same small file system.
    let program = env!("CARGO_BIN_EXE_ditto");
    let mut command = small(&disk);
    let script = "\"$0\" attach get --json --no-mdns --listen 127.0.0.1:0 --connect \"$1\" --timeout 120 --dir \"$2/s\" \"$3\" \
                  \"$2/copy\"; echo \"{\\\"code\\\":$?}\"; \"$0\" check --dir \"$2/s\" >&2 && ls \"$2\"";
    command.args(["sh", "-c", script, program, &address]).arg(&disk).arg(&token);
    let out = command.output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"{\"code\":3}"), "{text}\n{errors}");
    assert!(errors.contains("storage-full"), "{errors}");
    // The check found nothing, and no copy was begun.
    assert_eq!(lines.last(), Some(&"s"), "{text}\n{errors}");
    assert!(lines.iter().any(|l| l.contains("\"bytes\":")), "nothing arrived: {text}");
}
