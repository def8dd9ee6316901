//! Memory with 100,000 documents (design 5.4): a process that opens them, queries, observes and writes stays small.
//!
//! The test runs itself as that process, so that what filling the store takes is not counted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use ditto_store::{Store, StoreOptions, TransactionOptions};
use ditto_testkit::{temp_dir, workload_document};
use ditto_types::{DatabaseId, Object, Value};

const DIR: &str = "DITTO_MEMORY_DIR";
const DOCUMENTS: u64 = 100_000;

/// What the design gives a phone for 100,000 documents and 8 sessions of sync: 64 MiB. Of these are
/// 16 for the ring of commits, 8 for views, 4 for the matcher and 8 for sessions, none of which is in use here. What
/// is left holds the engine's caches (8 MiB for the writer and for the first reader, half a MiB for each other one), the program itself and the rows of
/// one result, but never the documents: they alone are 20 MB of JSON.
const LIMIT_KIB: u64 = 64 << 10;

fn open(dir: &Path) -> Store {
    Store::open(StoreOptions::new(dir, DatabaseId::DEFAULT)).unwrap()
}

#[test]
fn a_hundred_thousand_documents_are_queried_and_observed_in_64_mib() {
    let dir = temp_dir();
    let store = open(dir.path());
    for text in ["CREATE INDEX by_store ON docs (store)", "CREATE INDEX by_status ON docs (status, ts)"] {
        store.execute(text, &Object::new()).unwrap();
    }
    for first in (0..DOCUMENTS).step_by(10_000) {
        let documents = (first..first + 10_000).map(|i| Value::Object(workload_document(i)));
        let args = Object::from([("d".into(), Value::Array(documents.collect()))]);
        store.execute("INSERT INTO docs DOCUMENTS (:d)", &args).unwrap();
    }
    store.close();
    // The second one changes what the first has left.
    for child in ["child", "child_that_writes_everything"] {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", child, "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            // glibc keeps what each thread has freed for that thread. Which thread writes depends on who else wants to, and
            // this is about what the store holds.
            .env("MALLOC_ARENA_MAX", "1")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&out.stdout);
        let peak = out.lines().find_map(|l| l.strip_prefix("peak "));
        let peak: u64 = peak.unwrap_or_else(|| panic!("no figure: {out}")).parse().unwrap();
        println!("{child}: {} MiB at most", peak >> 10);
        assert!(peak < LIMIT_KIB, "{peak} KiB, limit {LIMIT_KIB}\n{out}");
    }
}

/// Changes every document, in one statement each time, and nobody listens (ADR 0036).
#[test]
fn child_that_writes_everything() {
    let Ok(dir) = std::env::var(DIR) else { return };
    println!();
    let store = open(Path::new(&dir));
    let none = Object::new();
    let written = |text: &str| store.execute(text, &none).unwrap().mutated_document_ids().len();
    let all = written("UPDATE docs SET qty = qty + 1");
    assert!(all > 90_000);
    say("update");
    // Rows come from and go through files (ADR 0023), also the documents that RETURNING shows.
    assert_eq!(written("INSERT INTO copies SELECT * FROM docs"), all);
    say("insert of rows");
    let returned = store.execute("UPDATE copies SET qty = 1 RETURNING *", &none).unwrap();
    assert_eq!(returned.item_count(), all);
    assert!(returned.iter().all(|row| row.get("qty") == Some(&Value::Int(1))));
    drop(returned);
    say("update with its rows");
    let returned = store.execute("DELETE FROM copies RETURNING qty", &none).unwrap();
    assert_eq!(returned.item_count(), all);
    assert!(returned.iter().all(|row| row.get("qty") == Some(&Value::Int(1))));
    drop(returned);
    say("delete with its rows");
    assert_eq!(written("DELETE FROM docs"), all);
    say("delete");
    println!("peak {}", peak_kib());
    store.close();
}

/// The process that is measured; does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    println!();
    say("start");
    let store = open(Path::new(&dir));
    let none = Object::new();
    let count = |text: &str| store.execute(text, &none).unwrap().item_count();
    // Scans, filters, sorting, grouping and distinct values over everything.
    assert!((500..2000).contains(&count("SELECT * FROM docs WHERE qty > 990")));
    say("scan");
    assert!((500..2000).contains(&count("SELECT * FROM docs WHERE store = 42")));
    assert_eq!(count("SELECT * FROM docs WHERE status = 'open' ORDER BY ts DESC LIMIT 20"), 20);
    say("index");
    assert_eq!(count("SELECT * FROM docs WHERE qty > 500 ORDER BY customer LIMIT 20"), 20);
    say("sort");
    assert_eq!(count("SELECT status, COUNT(*) AS n, SUM(qty) AS s FROM docs GROUP BY status"), 5);
    assert_eq!(count("SELECT DISTINCT store FROM docs"), 100);
    assert_eq!(count("SELECT COUNT(*) AS n FROM docs"), 1);
    say("group");
    // What is larger than memory goes through files: all documents as the result, sorted and not, and a group for each.
    assert_eq!(count("SELECT * FROM docs"), DOCUMENTS as usize);
    say("large result");
    assert_eq!(count("SELECT * FROM docs ORDER BY customer"), DOCUMENTS as usize);
    say("large sort");
    assert_eq!(count("SELECT DISTINCT * FROM docs"), DOCUMENTS as usize);
    say("large DISTINCT");
    assert_eq!(count("SELECT _id, MEDIAN(qty) AS m FROM docs GROUP BY _id"), DOCUMENTS as usize);
    assert_eq!(count("SELECT MEDIAN(qty) AS m, COUNT(DISTINCT _id) AS n FROM docs"), 1);
    say("large groups");
    // Observers of a few rows and of a thousand.
    let (sender, results) = channel();
    for text in [
        "SELECT * FROM docs WHERE store = 42",
        "SELECT * FROM docs WHERE status = 'open' ORDER BY ts DESC LIMIT 20",
        "SELECT COUNT(*) AS n FROM docs WHERE qty > 500",
    ] {
        let sender = sender.clone();
        store.observe(text, &none, Box::new(move |r| sender.send(r.item_count()).unwrap_or(()))).unwrap();
    }
    for _ in 0..3 {
        results.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    say("observe");
    // Writes one by one, in one statement over a thousand documents, and in a transaction.
    for i in 0..500 {
        let args = Object::from([("id".into(), workload_document(i * 7)["_id"].clone())]);
        store.execute("UPDATE docs SET qty = qty + 1 WHERE _id = :id", &args).unwrap();
    }
    store.execute("UPDATE docs SET note = 'changed' WHERE store = 42", &none).unwrap();
    let transaction = store.begin(TransactionOptions::default()).unwrap();
    transaction.execute("DELETE FROM docs WHERE store = 41", &none).unwrap();
    transaction.commit().unwrap();
    say("write");
    println!("peak {}", peak_kib());
    store.close();
}

/// Where the memory goes, for whoever has to find it.
fn say(what: &str) {
    println!("after {what}: {} KiB", peak_kib());
}

/// Largest resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
