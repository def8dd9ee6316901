//! W13, opening a large database, and W14, the size of the file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use ditto::types::Value;
use ditto::{Ditto, DittoConfig, Durability};
use ditto_testkit::WORKLOAD_BYTES;

use super::{LIMIT, limit, ours};
use crate::Outcome;
use crate::measure::quantile;
use crate::row::{Report, note};

/// Names of the processes that open: their directory comes in the environment.
pub(super) const OPEN_OURS: &str = "open-ours";
pub(super) const OPEN_LIMIT: &str = "open-limit";
const DIRECTORY: &str = "DITTO_BENCH_OPEN";
const LIMIT_FILE: &str = "limit.db";

/// W13: open and first indexed query, each time in a fresh process.
pub(super) fn opening(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 100_000 } else { 1_000_000 };
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    let mut connection = limit::open(&directory.path().join(LIMIT_FILE), Durability::Normal)?;
    // In portions: a million texts are more than the database holds in memory.
    for first in (0..n).step_by(50_000) {
        let portion: Vec<(String, String)> = (first..(first + 50_000).min(n))
            .map(|i| {
                let document = ditto_testkit::workload_document(i as u64);
                let id = document.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
                (id, ditto::types::json::to_string(&Value::Object(document)))
            })
            .collect();
        ours::insert(&ditto, &portion, 10_000)?;
        limit::insert(&mut connection, &portion, 10_000)?;
    }
    ours::verify(&ditto, n)?;
    ours::close(ditto)?;
    drop(connection);
    let (mut above, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..super::REPEATS {
        let (ours_ms, ours_mib) = open_in_process(OPEN_OURS, directory.path())?;
        let (limit_ms, limit_mib) = open_in_process(OPEN_LIMIT, directory.path())?;
        note(&format!(
            "open: {ours_ms:.2} ms, {ours_mib:.1} MiB; limit {limit_ms:.2} ms, {limit_mib:.1} MiB"
        ));
        above.push(ours_ms - limit_ms);
        memory.push(ours_mib);
    }
    let name = format!("W13 open {n} documents and run the first indexed query");
    report.limit(&format!("{name}: time above that of {LIMIT}"), quantile(&mut above, 0.5), 10.0, "ms");
    report.limit(&format!("{name}: largest memory of the process"), quantile(&mut memory, 0.5), 32.0, "MiB");
    Ok(())
}

/// Time in ms and largest memory in MiB of a process that opens the database.
fn open_in_process(which: &str, directory: &Path) -> Outcome<(f64, f64)> {
    let output = Command::new(std::env::current_exe()?)
        .arg(format!("{}{which}", super::PART))
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    let mut rows = Report::default();
    rows.read(&String::from_utf8_lossy(&output.stdout))?;
    rows.pair().ok_or_else(|| format!("{which} gave no figures").into())
}

fn opened(report: &mut Report, began: Instant) -> Outcome<()> {
    let ms = began.elapsed().as_secs_f64() * 1e3;
    report.add("opened", ms, ("largest memory", peak_mib()?), "ms", None);
    Ok(())
}

/// In the process that opens ours.
pub(super) fn open_ours(report: &mut Report) -> Outcome<()> {
    let directory = std::env::var(DIRECTORY)?;
    let began = Instant::now();
    let ditto = Ditto::open_sync(DittoConfig::default().with_persistence_directory(&directory))?;
    let text = "SELECT * FROM docs WHERE store = 42 LIMIT 20";
    if ours::rows_out(&ours::run(&ditto, text, [])?).0 != 20 {
        return Err("the first query found too little".into());
    }
    opened(report, began)?;
    ours::close(ditto)
}

/// In the process that opens the limit.
pub(super) fn open_limit(report: &mut Report) -> Outcome<()> {
    let directory = std::env::var(DIRECTORY)?;
    let began = Instant::now();
    let connection = limit::connect(&Path::new(&directory).join(LIMIT_FILE))?;
    let sql = "SELECT json(body) FROM docs WHERE json_extract(body, '$.store') = 42 LIMIT 20";
    if limit::rows_out(&connection, sql, [])?.0 != 20 {
        return Err("the first query found too little".into());
    }
    opened(report, began)
}

/// Largest resident memory of this process so far; 0 where the system does not tell.
fn peak_mib() -> Outcome<f64> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0.0) };
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
}

/// W14: bytes of the file for each byte of JSON, after everything is in the file and nothing in the log.
pub(super) fn files(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let documents = ours::documents(n);
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    ours::insert(&ditto, &documents, 1000)?;
    ours::verify(&ditto, n)?;
    ours::close(ditto)?;
    let path = directory.path().join(LIMIT_FILE);
    let mut connection = limit::open(&path, Durability::Normal)?;
    limit::insert(&mut connection, &documents, 1000)?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let plain = std::fs::metadata(&path)?.len() as f64 / n as f64;
    drop(connection);
    for ending in ["", "-wal", "-shm"] {
        let file = directory.path().join(format!("{LIMIT_FILE}{ending}"));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    let ours = bytes(directory.path())? as f64 / n as f64;
    let name = "W14 size of the files";
    report.add(name, ours, ("JSON payload", WORKLOAD_BYTES as f64), "bytes/doc", Some(2.0));
    report.add(name, ours, (LIMIT, plain), "bytes/doc", None);
    Ok(())
}

/// All files below a directory.
fn bytes(directory: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        total += if kind.is_dir() { bytes(&entry.path())? } else { kind.len() };
    }
    Ok(total)
}
