//! W2, point reads, W3, queries, and grouping. Every result leaves as JSON text.

use ditto::types::Value;
use ditto::{Ditto, Durability};
use rusqlite::Connection;

use super::{LIMIT, interleaved, limit, ours};
use crate::Outcome;
use crate::measure::Stopwatch;
use crate::row::Report;

struct Loaded {
    documents: Vec<(String, String)>,
    ditto: Ditto,
    connection: Connection,
    _directory: tempfile::TempDir,
}

fn load(n: usize) -> Outcome<Loaded> {
    let documents = ours::documents(n);
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    ours::insert(&ditto, &documents, 1000)?;
    ours::verify(&ditto, n)?;
    let mut connection = limit::open(&directory.path().join("limit.db"), Durability::Normal)?;
    limit::insert(&mut connection, &documents, 1000)?;
    limit::verify(&connection, n)?;
    Ok(Loaded { documents, ditto, connection, _directory: directory })
}

/// W2.
pub(super) fn points(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let loaded = load(n)?;
    let mut ids: Vec<&str> = loaded.documents.iter().map(|(id, _)| id.as_str()).collect();
    ditto_testkit::Rng::new(2).shuffle(&mut ids);
    let bytes = n * ditto_testkit::WORKLOAD_BYTES;
    let check = |found: usize| {
        if found == bytes { Ok(()) } else { Err(format!("{found} of {bytes} bytes were read")) }
    };
    let repeats = interleaved(
        || {
            let watch = Stopwatch::start()?;
            let mut found = 0;
            for id in &ids {
                let result = ours::run(
                    &loaded.ditto,
                    "SELECT * FROM docs WHERE _id = :id",
                    [("id", Value::from(*id))],
                )?;
                found += ours::rows_out(&result).1;
            }
            let taken = watch.stop()?;
            check(found)?;
            Ok(taken.cpu_us(n))
        },
        || {
            let watch = Stopwatch::start()?;
            let mut found = 0;
            for id in &ids {
                found +=
                    limit::rows_out(&loaded.connection, "SELECT json(body) FROM docs WHERE id = ?1", [id])?.1;
            }
            let taken = watch.stop()?;
            check(found)?;
            Ok(taken.cpu_us(n))
        },
    )?;
    report.median(
        &format!("W2 read one of {n} documents by _id, JSON out"),
        repeats,
        LIMIT,
        "us CPU",
        Some(1.3),
    );
    ours::close(loaded.ditto)
}

/// A query of W3 on both sides.
struct Query {
    name: &'static str,
    ours: &'static str,
    limit: &'static str,
    /// Runs in each repeat.
    runs: usize,
    target: f64,
}

const QUERIES: [Query; 6] = [
    Query {
        name: "W3a scan, qty > 990, 1 % returned",
        ours: "SELECT * FROM docs WHERE qty > 990",
        limit: "SELECT json(body) FROM docs WHERE json_extract(body, '$.qty') > 990",
        runs: 10,
        target: 1.3,
    },
    Query {
        name: "W3b index, store = 42, 1 % returned",
        ours: "SELECT * FROM docs WHERE store = 42",
        limit: "SELECT json(body) FROM docs WHERE json_extract(body, '$.store') = 42",
        runs: 50,
        target: 1.0,
    },
    Query {
        name: "W3c index, status = 'open' ORDER BY ts DESC LIMIT 20",
        ours: "SELECT * FROM docs WHERE status = 'open' ORDER BY ts DESC LIMIT 20",
        limit: "SELECT json(body) FROM docs WHERE json_extract(body, '$.status') = 'open' \
                ORDER BY json_extract(body, '$.ts') DESC LIMIT 20",
        runs: 1000,
        target: 2.5,
    },
    Query {
        name: "W3d no index, qty > 500 ORDER BY customer LIMIT 20",
        ours: "SELECT * FROM docs WHERE qty > 500 ORDER BY customer, _id LIMIT 20",
        limit: "SELECT json(body) FROM docs WHERE json_extract(body, '$.qty') > 500 \
                ORDER BY json_extract(body, '$.customer'), id LIMIT 20",
        runs: 10,
        target: 1.3,
    },
    Query {
        name: "W3e COUNT(*)",
        ours: "SELECT COUNT(*) AS n FROM docs",
        // Counted by itself the engine reads the pages of an index and not its rows.
        limit: "SELECT json_object('n', n) FROM (SELECT count(*) AS n FROM docs)",
        runs: 500,
        target: 4.0,
    },
    // By the index on status the engine would read the documents in random order, which takes twice the time.
    Query {
        name: "GROUP BY status with COUNT and SUM",
        ours: "SELECT status, COUNT(*) AS n, SUM(qty) AS s FROM docs GROUP BY status",
        limit: "SELECT json_object('status', json_extract(body, '$.status'), 'n', count(*), \
                's', sum(json_extract(body, '$.qty'))) \
                FROM docs NOT INDEXED GROUP BY json_extract(body, '$.status')",
        runs: 10,
        target: 1.3,
    },
];

/// W3 and grouping.
pub(super) fn queries(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let Loaded { ditto, connection, .. } = &load(n)?;
    for query in &QUERIES {
        let expected = limit::rows_out(connection, query.limit, [])?;
        let found = ours::rows_out(&ours::run(ditto, query.ours, [])?);
        // The same rows as text of the same length: names of fields come in another order.
        if found != expected {
            return Err(format!("{}: (rows, bytes) {found:?}, the limit {expected:?}", query.name).into());
        }
        let repeats = interleaved(
            || {
                let watch = Stopwatch::start()?;
                for _ in 0..query.runs {
                    ours::rows_out(&ours::run(ditto, query.ours, [])?);
                }
                Ok(watch.stop()?.cpu_us(query.runs))
            },
            || {
                let watch = Stopwatch::start()?;
                for _ in 0..query.runs {
                    limit::rows_out(connection, query.limit, [])?;
                }
                Ok(watch.stop()?.cpu_us(query.runs))
            },
        )?;
        report.median(query.name, repeats, LIMIT, "us CPU", Some(query.target));
    }
    ours::close(ditto.clone())
}
