//! The local database beside plain tables of the same engine.

use std::path::Path;

use ditto::types::{Object, Value, json};
use ditto::{Ditto, DittoConfig, Query};

use crate::Outcome;
use crate::measure::{Stopwatch, Taken};
use crate::plain;
use crate::row::Report;

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let small = n / 10;
    let documents = documents(n);
    // First, because the libsql crate refuses to start after another user of the engine.
    drivers(report, &documents).await?;
    let ours = import_ours(&documents).await?;
    let ours_small = import_ours(&documents[..small]).await?;
    let peer = import_plain(&documents, 1000)?;
    let unit = "us CPU/doc";
    report.add(
        &format!("import {n} documents, 1,000 per transaction"),
        ours.cpu_us(n),
        ("plain libSQL", peer.cpu_us(n)),
        unit,
        None,
    );
    // Ten times the documents at most twelve times the time: nothing quadratic.
    let tenth = format!("{small} documents");
    report.add(&format!("import {n} documents"), ours.cpu, (&tenth, ours_small.cpu), "s CPU", Some(12.0));
    report.add(&format!("import {n} documents"), ours.wall, (&tenth, ours_small.wall), "s", Some(12.0));
    single_writes(report, if quick { 500 } else { 5_000 }).await?;
    reads(report, &documents).await
}

/// The workload document as (id, JSON text).
pub(crate) fn documents(n: usize) -> Vec<(String, String)> {
    (0..n)
        .map(|i| {
            let document = ditto_testkit::workload_document(i as u64);
            let id = document.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            (id, json::to_string(&Value::Object(document)))
        })
        .collect()
}

pub(crate) async fn open(directory: &Path) -> Outcome<Ditto> {
    Ok(Ditto::open(DittoConfig::default().with_persistence_directory(directory)).await?)
}

/// Inserts through the public API in transactions of 1,000.
pub(crate) async fn import(ditto: &Ditto, documents: &[(String, String)]) -> Outcome<()> {
    for chunk in documents.chunks(1000) {
        let batch: Result<Vec<_>, _> = chunk.iter().map(|(_, text)| json::from_str(text)).collect();
        let args = Object::from([("documents".into(), Value::Array(batch?))]);
        let text = "INSERT INTO docs DOCUMENTS (:documents)".to_owned();
        ditto.store().execute(Query { text, args }).await?;
    }
    Ok(())
}

async fn import_ours(documents: &[(String, String)]) -> Outcome<Taken> {
    let directory = tempfile::tempdir()?;
    let ditto = open(directory.path()).await?;
    let watch = Stopwatch::start()?;
    import(&ditto, documents).await?;
    let taken = watch.stop()?;
    let count = ditto.store().execute("SELECT COUNT(*) AS n FROM docs").await?;
    if count.values().first().and_then(|r| r.get("n")) != Some(&Value::from(documents.len() as u64)) {
        return Err("documents are missing after the import".into());
    }
    ditto.close().await?;
    Ok(taken)
}

fn import_plain(documents: &[(String, String)], batch: usize) -> Outcome<Taken> {
    let directory = tempfile::tempdir()?;
    let mut connection = plain::open(&directory.path().join("plain.db"))?;
    let watch = Stopwatch::start()?;
    plain::insert(&mut connection, documents, batch)?;
    watch.stop()
}

async fn single_writes(report: &mut Report, n: usize) -> Outcome<()> {
    let documents = documents(n);
    let directory = tempfile::tempdir()?;
    let ditto = open(directory.path()).await?;
    let watch = Stopwatch::start()?;
    for (_, text) in &documents {
        let args = Object::from([("d".into(), json::from_str(text)?)]);
        ditto.store().execute_sync(Query { text: "INSERT INTO docs DOCUMENTS (:d)".into(), args })?;
    }
    let ours = watch.stop()?;
    ditto.close().await?;
    let peer = import_plain(&documents, 1)?;
    report.add(
        "insert, one transaction each",
        ours.cpu_us(n),
        ("plain libSQL", peer.cpu_us(n)),
        "us CPU/doc",
        None,
    );
    Ok(())
}

async fn reads(report: &mut Report, documents: &[(String, String)]) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let ditto = open(directory.path()).await?;
    import(&ditto, documents).await?;
    let mut connection = plain::open(&directory.path().join("plain.db"))?;
    plain::insert(&mut connection, documents, 10_000)?;
    let n = documents.len().min(10_000);
    let watch = Stopwatch::start()?;
    for (id, _) in documents.iter().step_by(documents.len() / n) {
        let args = Object::from([("id".into(), Value::from(id.as_str()))]);
        let query = Query { text: "SELECT * FROM docs WHERE _id = :id".into(), args };
        if ditto.store().execute_sync(query)?.item_count() != 1 {
            return Err("a point read found nothing".into());
        }
    }
    let ours = watch.stop()?;
    let watch = Stopwatch::start()?;
    for (id, _) in documents.iter().step_by(documents.len() / n) {
        let mut statement = connection.prepare_cached("SELECT body FROM docs WHERE id = ?1")?;
        let text: String = statement.query_row([id], |row| row.get(0))?;
        json::from_str(&text)?;
    }
    let peer = watch.stop()?;
    report.add("point read by _id, parsed", ours.cpu_us(n), ("plain libSQL", peer.cpu_us(n)), "us CPU", None);

    let watch = Stopwatch::start()?;
    let found = ditto.store().execute_sync("SELECT _id FROM docs WHERE qty > 990")?.item_count();
    let ours = watch.stop()?;
    let watch = Stopwatch::start()?;
    let mut statement = connection.prepare("SELECT id FROM docs WHERE json_extract(body, '$.qty') > 990")?;
    let peer_found = statement.query_map([], |row| row.get::<_, String>(0))?.count();
    let peer = watch.stop()?;
    if found != peer_found {
        return Err(format!("scan found {found}, the peer {peer_found}").into());
    }
    report.add(
        "scan with a filter, 1 % returned",
        ours.wall * 1e3,
        ("plain libSQL, JSON text", peer.wall * 1e3),
        "ms",
        None,
    );
    ditto.close().await?;
    Ok(())
}

/// The two Rust bindings of the engine on the same table: decision 5 of the architecture rests on this.
async fn drivers(report: &mut Report, documents: &[(String, String)]) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("plain.db");
    let n = documents.len();
    let database = libsql::Builder::new_local(&path).build().await?;
    let wrapped = database.connect()?;
    let mut connection = plain::open(&path)?;
    plain::insert(&mut connection, documents, 10_000)?;
    let mut scans = [f64::MAX; 2];
    let mut points = [f64::MAX; 2];
    for _ in 0..3 {
        let watch = Stopwatch::start()?;
        let mut rows = wrapped.query("SELECT id, body FROM docs", ()).await?;
        let mut bytes = 0;
        while let Some(row) = rows.next().await? {
            bytes += row.get_str(1)?.len();
        }
        scans[0] = scans[0].min(watch.stop()?.cpu_us(n));
        let watch = Stopwatch::start()?;
        let mut statement = connection.prepare("SELECT id, body FROM docs")?;
        let mut rows = statement.query([])?;
        let mut same = 0;
        while let Some(row) = rows.next()? {
            same += row.get_ref(1)?.as_str()?.len();
        }
        scans[1] = scans[1].min(watch.stop()?.cpu_us(n));
        if bytes != same {
            return Err("the bindings read different data".into());
        }
        let picked: Vec<_> = documents.iter().step_by((n / 2000).max(1)).collect();
        let watch = Stopwatch::start()?;
        let statement = wrapped.prepare("SELECT body FROM docs WHERE id = ?1").await?;
        for (id, _) in &picked {
            statement.reset();
            let mut rows = statement.query([id.as_str()]).await?;
            rows.next().await?.ok_or("nothing found")?.get_str(0)?;
        }
        points[0] = points[0].min(watch.stop()?.cpu_us(picked.len()));
        let watch = Stopwatch::start()?;
        let mut statement = connection.prepare("SELECT body FROM docs WHERE id = ?1")?;
        for (id, _) in &picked {
            statement.query_row([id], |row| Ok(row.get_ref(0)?.as_str()?.len()))?;
        }
        points[1] = points[1].min(watch.stop()?.cpu_us(picked.len()));
    }
    let peer = "libsql-rusqlite";
    report.add("binding: libsql crate, full scan", scans[0], (peer, scans[1]), "us CPU/row", None);
    report.add("binding: libsql crate, point read", points[0], (peer, points[1]), "us CPU", None);
    Ok(())
}
