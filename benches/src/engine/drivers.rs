//! The two Rust bindings of the engine on one table of JSON texts: the choice between them rests on this.

use crate::Outcome;
use crate::measure::Stopwatch;
use crate::plain;
use crate::row::Report;

/// The two Rust bindings of the engine on the same table: decision 5 of the architecture rests on this.
pub(super) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let documents = super::documents(if quick { 10_000 } else { 100_000 });
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("plain.db");
    let n = documents.len();
    let database = libsql::Builder::new_local(&path).build().await?;
    let wrapped = database.connect()?;
    let mut connection = plain::open(&path)?;
    plain::insert(&mut connection, &documents, 10_000)?;
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
