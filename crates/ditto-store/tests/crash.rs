//! Killing a process that writes, again and again: what it acknowledged is there, the rest is whole or absent.
//!
//! The test runs itself as the process to be killed, after a number of acknowledgements that differs from run to run.
//! `DITTO_KILLS` sets the number of kills.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]
#![cfg(unix)]

#[path = "common/fixture.rs"]
mod fixture;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ditto_store::{ApplyBatch, ItemBody, Store, StoreOptions, TransactionOptions};
use ditto_types::{DatabaseId, ErrorKind, Object};
use fixture::*;

const DIR: &str = "DITTO_CRASH_DIR";
const RUN: &str = "DITTO_CRASH_RUN";

fn open(dir: &Path) -> Result<Store, ditto_store::StoreError> {
    Store::open(StoreOptions::new(dir, DatabaseId::DEFAULT))
}

/// The process to be killed; does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let (Ok(dir), Ok(run)) = (std::env::var(DIR), std::env::var(RUN)) else { return };
    let store = open(Path::new(&dir)).unwrap();
    let say = |line: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nack {line}").unwrap();
        out.flush().unwrap();
    };
    std::thread::scope(|scope| {
        for t in 0..3 {
            let (store, run, say) = (&store, &run, &say);
            scope.spawn(move || {
                for i in 0.. {
                    let id = format!("{run}-{t}-{i}");
                    write(store, &id, i);
                    say(&id);
                }
            });
        }
    });
}

/// One write whose parts share the number in `id`: statement, update, deletion, transaction or batch.
fn write(store: &Store, id: &str, i: u64) {
    let args = object(&format!(r#"{{"a":"{id}-a","b":"{id}-b","c":"{id}-c","text":"{}"}}"#, "x".repeat(300)));
    let insert = "INSERT INTO c DOCUMENTS ({'_id': :a, 'v': :text}), ({'_id': :b}), ({'_id': :c})";
    match i % 4 {
        0 => drop(store.execute(insert, &args).unwrap()),
        1 => {
            let t = store.begin(TransactionOptions::default()).unwrap();
            for text in [
                "INSERT INTO c DOCUMENTS ({'_id': :a})",
                "INSERT INTO c DOCUMENTS ({'_id': :b})",
                "INSERT INTO c DOCUMENTS ({'_id': :c, 'v': :text})",
            ] {
                t.execute(text, &args).unwrap();
            }
            t.commit().unwrap();
        }
        2 => {
            let items = ["a", "b", "c"].map(|p| {
                let d = doc(r#"{"n":1,"o":{"p":2}}"#, stamp(T0 + i, 3));
                item("c", &format!("{id}-{p}"), ItemBody::full(&d))
            });
            let cursors = vec![cursor(1, i)];
            store.apply(ApplyBatch { cursors, ..batch(items.to_vec()) }).unwrap();
        }
        _ => {
            store.execute(insert, &args).unwrap();
            store.execute("UPDATE c SET w = 1 WHERE _id IN (:a, :b, :c)", &args).unwrap();
            store.execute("EVICT FROM c WHERE _id = 'nothing'", &Object::new()).unwrap();
        }
    }
}

#[test]
fn acknowledged_commits_survive_kills() {
    let kills: u64 = std::env::var("DITTO_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for run in 0..kills {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(RUN, run.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // xorshift: numbers that differ from run to run and are the same in every test run. The kill hits the writes that
        // go on while the last of these lines is read.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let wanted = 1 + usize::try_from(state % 60).unwrap();
        let mut acks = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|l| l.strip_prefix("ack ").map(ToString::to_string));
        let before: Vec<String> = acks.by_ref().take(wanted).collect();
        assert_eq!(before.len(), wanted, "run {run}: the process ended by itself");
        if run == 0 {
            let e = open(dir.path()).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::PersistenceDirectoryLocked, "{e}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        acknowledged.extend(before);
        acknowledged.extend(acks);

        let store = open(dir.path()).unwrap();
        let report = store.check().unwrap();
        assert!(report.is_clean(), "run {run}: {:#?}", report.problems);
        verify(&store, run, &acknowledged);
        // Every second time the next process finds an unclean file of this one as well.
        if run % 2 == 0 {
            store.close();
        }
    }
}

fn verify(store: &Store, run: u64, acknowledged: &[String]) {
    let rows = store.execute("SELECT _id FROM c", &Object::new()).unwrap();
    let there: std::collections::HashSet<&str> =
        rows.items().iter().filter_map(|r| r.get("_id").and_then(|v| v.as_str())).collect();
    for id in acknowledged {
        for part in ["a", "b", "c"] {
            assert!(there.contains(format!("{id}-{part}").as_str()), "run {run}: {id}-{part} is lost");
        }
    }
    // Also what was not acknowledged is there as a whole or not at all.
    for id in &there {
        let (whole, _) = id.rsplit_once('-').unwrap();
        for part in ["a", "b", "c"] {
            assert!(there.contains(format!("{whole}-{part}").as_str()), "run {run}: {whole} is half written");
        }
    }
}
