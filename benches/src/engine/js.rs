//! What a user of JavaScript would pick instead, in Node, on the same 20,000 documents.
//!
//! Without them nothing is measured.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ditto::types::Value;
use ditto::{Ditto, Durability};

use super::ours;
use crate::Outcome;
use crate::measure::{Stopwatch, quantile};
use crate::rivals;
use crate::row::{Report, note};

const PEERS: [(&str, &str); 3] =
    [("pouchdb", "PouchDB, leveldb"), ("rxdb", "RxDB, memory"), ("tinybase", "TinyBase, memory")];

/// Workload, its name in the table, its unit.
const WORKLOADS: [(&str, &str, &str); 8] = [
    ("insert", "insert, 1,000 a transaction", "us CPU/doc"),
    ("read", "read by _id", "us CPU"),
    ("scan", "scan, qty > 990", "us CPU"),
    ("index", "index, store = 42", "us CPU"),
    ("order", "index, status = 'open' ORDER BY ts DESC LIMIT 20", "us CPU"),
    ("count", "COUNT(*)", "us CPU"),
    ("update", "set one field, one a transaction", "us CPU/doc"),
    ("live", "write to callback, store = 42, p50", "us"),
];

/// Cost of each workload and how many rows it was about.
type Figures = BTreeMap<String, (f64, u64)>;

pub(super) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let Some(scripts) = rivals::scripts() else { return Ok(()) };
    let n = if quick { 5_000 } else { 20_000 };
    let documents = ours::documents(n);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("documents.jsonl");
    let mut lines = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for (_, text) in &documents {
        writeln!(lines, "{text}")?;
    }
    lines.flush()?;
    drop(lines);
    for (peer, name) in PEERS {
        let ours = measure(&documents)?;
        let output = Command::new("node")
            .args(["run.mjs", peer])
            .arg(&file)
            .arg(directory.path())
            .current_dir(&scripts)
            .env("NODE_ENV", "production")
            .stdout(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        let theirs = read(&String::from_utf8_lossy(&output.stdout))?;
        if !output.status.success() {
            note(&format!("{name} ended early: {}", output.status));
        }
        for (workload, text, unit) in WORKLOADS {
            let (Some((mine, my_rows)), Some((cost, rows))) = (ours.get(workload), theirs.get(workload))
            else {
                continue;
            };
            if my_rows != rows {
                return Err(format!("{workload}: {my_rows} rows, {name} {rows}").into());
            }
            report.add(&format!("{n} documents: {text}"), *mine, (name, *cost), unit, Some(1.0));
        }
    }
    Ok(())
}

fn read(lines: &str) -> Outcome<Figures> {
    let mut figures = Figures::new();
    for line in lines.lines().filter(|l| l.starts_with('{')) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let (Some(name), Some(us), Some(rows)) =
            (row["workload"].as_str(), row["us"].as_f64(), row["rows"].as_u64())
        else {
            return Err(format!("not a figure: {line}").into());
        };
        figures.insert(name.to_owned(), (us, rows));
    }
    Ok(figures)
}

/// The same workloads on ours.
fn measure(documents: &[(String, String)]) -> Outcome<Figures> {
    let n = documents.len();
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    let mut figures = Figures::new();
    let mut ids: Vec<&str> = documents.iter().map(|(id, _)| id.as_str()).collect();
    ditto_testkit::Rng::new(7).shuffle(&mut ids);

    let watch = Stopwatch::start()?;
    ours::insert(&ditto, documents, 1000)?;
    figures.insert("insert".to_owned(), (watch.stop()?.cpu_us(n), n as u64));
    ours::verify(&ditto, n)?;
    let reads = &ids[..n.min(5000)];
    let watch = Stopwatch::start()?;
    for id in reads {
        let result = ours::run(&ditto, "SELECT * FROM docs WHERE _id = :id", [("id", Value::from(*id))])?;
        if ours::rows_out(&result).0 != 1 {
            return Err("a read by _id found nothing".into());
        }
    }
    figures.insert("read".to_owned(), (watch.stop()?.cpu_us(reads.len()), reads.len() as u64));
    for (name, text, runs) in [
        ("scan", "SELECT * FROM docs WHERE qty > 990", 10),
        ("index", "SELECT * FROM docs WHERE store = 42", 50),
        ("order", "SELECT * FROM docs WHERE status = 'open' ORDER BY ts DESC LIMIT 20", 50),
    ] {
        let mut rows = 0;
        let watch = Stopwatch::start()?;
        for _ in 0..runs {
            rows = ours::rows_out(&ours::run(&ditto, text, [])?).0;
        }
        figures.insert(name.to_owned(), (watch.stop()?.cpu_us(runs), rows as u64));
    }
    let watch = Stopwatch::start()?;
    for _ in 0..50 {
        ours::verify(&ditto, n)?;
    }
    figures.insert("count".to_owned(), (watch.stop()?.cpu_us(50), n as u64));
    let changed = &ids[..n / 10];
    let watch = Stopwatch::start()?;
    for id in changed {
        update(&ditto, id, 5000)?;
    }
    figures.insert("update".to_owned(), (watch.stop()?.cpu_us(changed.len()), changed.len() as u64));
    figures.insert("live".to_owned(), live(&ditto)?);
    ours::close(ditto)?;
    Ok(figures)
}

fn update(ditto: &Ditto, id: &str, quantity: i64) -> Outcome<()> {
    let text = "UPDATE docs SET qty = :q WHERE _id = :id";
    ours::run(ditto, text, [("q", quantity.into()), ("id", Value::from(id))])?;
    Ok(())
}

fn live(ditto: &Ditto) -> Outcome<(f64, u64)> {
    const TEXT: &str = "SELECT * FROM docs WHERE store = 42";
    let patience = Duration::from_secs(20);
    let rows = ours::run(ditto, TEXT, [])?;
    let ids: Vec<Value> = rows.items().filter_map(|item| item.fields()?.get("_id").cloned()).collect();
    let (sender, results) = channel();
    let observer = ditto.store().register_observer(TEXT, move |result| drop(sender.send(result)))?;
    results.recv_timeout(patience)?;
    let mut times = Vec::new();
    for (i, id) in ids.iter().cycle().take(100).enumerate() {
        let quantity = 6000 + i as i64;
        let began = Instant::now();
        update(ditto, id.as_str().unwrap_or_default(), quantity)?;
        loop {
            let result = results.recv_timeout(patience)?;
            let holds = |f: &ditto::types::Object| {
                f.get("_id") == Some(id) && f.get("qty") == Some(&Value::from(quantity))
            };
            if result.items().any(|item| item.fields().is_some_and(holds)) {
                break;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    observer.cancel();
    Ok((quantile(&mut times, 0.5), ids.len() as u64))
}
