//! Times bulk work on a store beside plain inserts and scans on the same engine.
//!
//! `cargo run --release -p ditto-store --example bulk [documents [insert]]`; `insert` stops after the bulk insert.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::time::{Duration, Instant};

use ditto_store::{ApplyBatch, ApplyItem, ItemBody, Store, StoreOptions};
use ditto_types::{DatabaseId, Object, Value};
use rusqlite::Connection;

/// About 200 bytes as JSON.
fn document(i: usize) -> Object {
    let status = ["open", "paid", "packed", "sent", "done"][i % 5];
    Object::from([
        ("_id".into(), format!("order-{i:08}").into()),
        ("status".into(), status.into()),
        ("store".into(), Value::Int((i * 7919 % 100) as i64)),
        ("qty".into(), Value::Int((i * 104_729 % 1000) as i64)),
        ("ts".into(), Value::Int(1_700_000_000_000 + i as i64)),
        ("price".into(), Value::Float(i as f64 / 8.0)),
        ("name".into(), format!("Customer number {i} of somewhere").into()),
        ("note".into(), "please leave it at the back door, thanks".into()),
    ])
}

fn timed<T>(what: &str, n: usize, f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let out = f();
    let took = start.elapsed();
    println!(
        "{what:<44} {:>9.1} ms {:>9.2} us/doc",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / n as f64
    );
    (out, took)
}

fn plain(dir: &std::path::Path, n: usize) -> (Duration, Duration) {
    let mut conn = Connection::open(dir.join("plain.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;
         CREATE TABLE docs(rid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
         CREATE INDEX a ON docs(json_extract(body, '$.store'));
         CREATE INDEX b ON docs(json_extract(body, '$.status'), json_extract(body, '$.ts'));",
    )
    .unwrap();
    let bodies: Vec<(String, String)> = (0..n)
        .map(|i| {
            let d = document(i);
            let id = d["_id"].as_str().unwrap().to_string();
            (id, ditto_types::json::to_string(&Value::Object(d)))
        })
        .collect();
    let (_, insert) = timed("plain insert, id + 2 indexes, 1,000 per commit", n, || {
        for chunk in bodies.chunks(1000) {
            let tx = conn.transaction().unwrap();
            {
                let mut s = tx.prepare_cached("INSERT INTO docs(id, body) VALUES(?1, ?2)").unwrap();
                for (id, body) in chunk {
                    s.execute((id, body)).unwrap();
                }
            }
            tx.commit().unwrap();
        }
    });
    let (_, scan) = timed("plain scan, json_extract(qty) > 990", n, || {
        let mut s = conn.prepare("SELECT body FROM docs WHERE json_extract(body, '$.qty') > 990").unwrap();
        s.query_map((), |r| r.get::<_, String>(0)).unwrap().count()
    });
    (insert, scan)
}

fn main() {
    let n: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir().unwrap();
    let (plain_insert, plain_scan) = plain(dir.path(), n);

    let options = |name: &str| StoreOptions::new(dir.path().join(name), DatabaseId::DEFAULT);
    let store = Store::open(options("a")).unwrap();
    let batches: Vec<Object> = (0..n)
        .collect::<Vec<_>>()
        .chunks(1000)
        .map(|c| Object::from([("d".into(), Value::Array(c.iter().map(|i| document(*i).into()).collect()))]))
        .collect();
    let (_, insert) = timed("INSERT, 1,000 per statement", n, || {
        for args in &batches {
            store.execute("INSERT INTO orders DOCUMENTS (:d)", args).unwrap();
        }
    });
    if std::env::args().nth(2).as_deref() == Some("insert") {
        return;
    }
    let none = Object::new();
    let (_, scan) = timed("SELECT * WHERE qty > 990", n, || {
        store.execute("SELECT * FROM orders WHERE qty > 990", &none).unwrap().item_count()
    });
    timed("SELECT *", n, || store.execute("SELECT * FROM orders", &none).unwrap().item_count());
    timed("SELECT ... ORDER BY ts DESC LIMIT 20", n, || {
        let text = "SELECT * FROM orders WHERE status = 'open' ORDER BY ts DESC LIMIT 20";
        store.execute(text, &none).unwrap().item_count()
    });
    let reads = n.min(20_000);
    timed("SELECT by _id", reads, || {
        for i in 0..reads {
            let args = Object::from([("id".into(), format!("order-{:08}", i * 7919 % n).into())]);
            store.execute("SELECT * FROM orders WHERE _id = :id", &args).unwrap();
        }
    });
    let (_, update) = timed("UPDATE one field of all, one statement", n, || {
        store.execute("UPDATE orders SET qty = qty + 1", &none).unwrap();
    });
    timed("INSERT one by one, one thread", reads, || {
        for i in 0..reads {
            let args = Object::from([("d".into(), document(i).into())]);
            store.execute("INSERT INTO single DOCUMENTS (:d)", &args).unwrap();
        }
    });
    let groups = store.writer_stats().group_commits;
    timed("INSERT one by one, eight threads", reads, || {
        std::thread::scope(|s| {
            for t in 0..8 {
                let store = &store;
                s.spawn(move || {
                    for i in (t..reads).step_by(8) {
                        let args = Object::from([("d".into(), document(i).into())]);
                        store.execute("INSERT INTO eight DOCUMENTS (:d)", &args).unwrap();
                    }
                });
            }
        });
    });
    println!("    in {} commits of the engine", store.writer_stats().group_commits - groups);

    let query = store.compile_subscription("SELECT * FROM orders", &none).unwrap();
    timed("view (keys and digests)", n, || store.view(&query).unwrap().len());
    let other = Store::open(options("b")).unwrap();
    let mut after = 0;
    timed("changes -> apply, pages of 2,000 / 256 KiB", n, || {
        loop {
            let page = store.changes(&query, after, 2_000, 256 * 1024).unwrap();
            let items = page.docs.into_iter().map(|d| ApplyItem {
                collection: d.collection,
                id: d.id,
                body: ItemBody::full(&d.doc),
            });
            let batch = ApplyBatch { source: vec![1], items: items.collect(), ..ApplyBatch::default() };
            other.apply(batch).unwrap();
            after = page.scanned_to;
            if page.done {
                break;
            }
        }
    });
    timed("check", n, || assert!(other.check().unwrap().is_clean()));
    other.close();
    let size = |p: std::path::PathBuf| std::fs::metadata(p).unwrap().len() as f64 / n as f64;
    println!("bytes per document: {:.0}", size(dir.path().join("b/store.db")));
    println!(
        "ratio to plain: insert {:.2}, scan {:.2}; update {:.2} of insert",
        insert.as_secs_f64() / plain_insert.as_secs_f64(),
        scan.as_secs_f64() / plain_scan.as_secs_f64(),
        update.as_secs_f64() / insert.as_secs_f64(),
    );
}
