//! Importing as `ditto import` does it, and that ten times the documents take about ten times the time.

use ditto::types::{Object, Value, json};
use ditto::{Ditto, Query};

use super::ours::{documents, open, verify};
use crate::Outcome;
use crate::measure::{Stopwatch, Taken};
use crate::row::Report;

/// Inserts through the public API, as many documents a transaction as the command puts into one.
pub(crate) async fn import(ditto: &Ditto, documents: &[(String, String)]) -> Outcome<()> {
    for chunk in documents.chunks(10_000) {
        let batch: Result<Vec<_>, _> = chunk.iter().map(|(_, text)| json::from_str(text)).collect();
        let args = Object::from([("documents".into(), Value::Array(batch?))]);
        let text = "INSERT INTO docs DOCUMENTS (:documents) ON ID CONFLICT DO UPDATE".to_owned();
        ditto.store().execute(Query { text, args }).await?;
    }
    Ok(())
}

pub(super) async fn scaling(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let small = n / 10;
    let documents = documents(n);
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..super::REPEATS {
        let few = once(&documents[..small]).await?;
        let all = once(&documents).await?;
        cpu.push((all.cpu, few.cpu));
        wall.push((all.wall, few.wall));
    }
    let tenth = format!("{small} documents");
    let name = format!("import {n} documents");
    // Nothing quadratic: with some room for the depth of the trees.
    report.median(&name, cpu, &tenth, "s CPU", Some(12.0));
    report.median(&name, wall, &tenth, "s", Some(12.0));
    Ok(())
}

/// As the command does it, to the end: only closing moves the last pages from the log into the file.
async fn once(documents: &[(String, String)]) -> Outcome<Taken> {
    let directory = tempfile::tempdir()?;
    let ditto = open(directory.path()).await?;
    let watch = Stopwatch::start()?;
    import(&ditto, documents).await?;
    verify(&ditto, documents.len())?;
    ditto.close().await?;
    watch.stop()
}
