//! W1, inserting, and W4, setting one field.

use std::ops::Range;

use ditto::types::{Object, Value};
use ditto::{Ditto, Durability, Query, TransactionCompletionAction, TransactionOptions};
use rusqlite::{Connection, params};

use super::{LIMIT, interleaved, limit, ours};
use crate::Outcome;
use crate::measure::Stopwatch;
use crate::row::{Report, note};

/// W1a, W1b, W1c.
pub(super) fn inserts(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 5_000 } else { 100_000 };
    let documents = ours::documents(n);
    let cpu = |batch: usize| {
        interleaved(
            || insert_ours(&documents, batch, Durability::Normal).map(|t| t.cpu_us(n)),
            || insert_limit(&documents, batch, Durability::Normal).map(|t| t.cpu_us(n)),
        )
    };
    let unit = "us CPU/doc";
    report.median(&format!("W1a insert {n} documents, one a transaction"), cpu(1)?, LIMIT, unit, Some(2.0));
    let few = &documents[..n / 50];
    let full = interleaved(
        || insert_ours(few, 1, Durability::Full).map(|t| t.wall * 1e6 / few.len() as f64),
        || insert_limit(few, 1, Durability::Full).map(|t| t.wall * 1e6 / few.len() as f64),
    )?;
    let name = format!("W1b insert {} documents, one a transaction, synchronous=FULL", few.len());
    report.median(&name, full, LIMIT, "us/doc", Some(1.5));
    report.median(
        &format!("W1c insert {n} documents, 1,000 a transaction"),
        cpu(1000)?,
        LIMIT,
        unit,
        Some(1.8),
    );
    Ok(())
}

fn insert_ours(
    documents: &[(String, String)],
    batch: usize,
    durability: Durability,
) -> Outcome<crate::measure::Taken> {
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), durability)?;
    let watch = Stopwatch::start()?;
    ours::insert(&ditto, documents, batch)?;
    let taken = watch.stop()?;
    ours::verify(&ditto, documents.len())?;
    ours::close(ditto)?;
    Ok(taken)
}

fn insert_limit(
    documents: &[(String, String)],
    batch: usize,
    durability: Durability,
) -> Outcome<crate::measure::Taken> {
    let directory = tempfile::tempdir()?;
    let mut connection = limit::open(&directory.path().join("limit.db"), durability)?;
    let watch = Stopwatch::start()?;
    limit::insert(&mut connection, documents, batch)?;
    let taken = watch.stop()?;
    limit::verify(&connection, documents.len())?;
    Ok(taken)
}

/// Documents after which W4 changes sides.
const TURN: usize = 1000;

/// W4: another value in a field of every tenth document each time.
pub(super) async fn updates(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let changed = n / 10;
    let mut sides = Updates::prepare(n)?;
    let mut single = Vec::new();
    let mut batched = Vec::new();
    for repeat in 0..super::REPEATS {
        let chosen = repeat * changed..(repeat + 1) * changed;
        let value = 10_000 + repeat as i64;
        single.push(sides.measure(chosen.clone(), 1, value).await?);
        batched.push(sides.measure(chosen, TURN, value + 10_000).await?);
    }
    let unit = "us CPU/doc";
    let name = |how: &str| format!("W4 set one field of {changed} documents, {how}");
    report.median(&name("one a transaction"), single, LIMIT, unit, Some(3.0));
    report.median(&name("1,000 a transaction"), batched, LIMIT, unit, Some(2.0));
    ours::close(sides.ditto)
}

/// Both sides of W4 with the same documents.
struct Updates {
    ditto: Ditto,
    limit: Connection,
    /// Of all documents, in the order of a generator and not of insertion.
    ids: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Updates {
    fn prepare(n: usize) -> Outcome<Self> {
        let documents = ours::documents(n);
        let directory = tempfile::tempdir()?;
        let ditto = ours::indexed(directory.path(), Durability::Normal)?;
        ours::insert(&ditto, &documents, 1000)?;
        let mut limit = limit::open(&directory.path().join("limit.db"), Durability::Normal)?;
        limit::insert(&mut limit, &documents, 1000)?;
        let mut ids: Vec<String> = documents.into_iter().map(|(id, _)| id).collect();
        ditto_testkit::Rng::new(4).shuffle(&mut ids);
        Ok(Self { ditto, limit, ids, _directory: directory })
    }

    /// Microseconds for each of the `chosen` documents, ours and the limit's, with `batch` of them in a transaction. The
    /// sides take turns, so that whatever else the machine does falls on both.
    async fn measure(&mut self, chosen: Range<usize>, batch: usize, value: i64) -> Outcome<(f64, f64)> {
        let ids = self.ids[chosen].to_vec();
        let (mut ours, mut its) = (0.0, 0.0);
        for turn in ids.chunks(TURN) {
            let watch = Stopwatch::start()?;
            self.change_ours(turn, batch, value).await?;
            ours += watch.stop()?.cpu;
            let watch = Stopwatch::start()?;
            self.change_its(turn, batch, value)?;
            its += watch.stop()?.cpu;
        }
        self.verify(ids.len(), value)?;
        let each = |cpu: f64| cpu * 1e6 / ids.len() as f64;
        note(&format!("  {batch} a transaction: {:.1} and {:.1} us", each(ours), each(its)));
        Ok((each(ours), each(its)))
    }

    async fn change_ours(&self, ids: &[String], batch: usize, value: i64) -> Outcome<()> {
        const SET: &str = "UPDATE docs SET qty = :q WHERE _id = :id";
        if batch == 1 {
            for id in ids {
                ours::run(&self.ditto, SET, [("q", value.into()), ("id", Value::from(id.as_str()))])?;
            }
            return Ok(());
        }
        for chunk in ids.chunks(batch) {
            let transaction = self.ditto.store().begin(TransactionOptions::default()).await?;
            for id in chunk {
                let args =
                    Object::from([("q".into(), value.into()), ("id".into(), Value::from(id.as_str()))]);
                transaction.execute_sync(Query { text: SET.to_owned(), args })?;
            }
            transaction.finish(TransactionCompletionAction::Commit).await?;
        }
        Ok(())
    }

    fn change_its(&mut self, ids: &[String], batch: usize, value: i64) -> Outcome<()> {
        const SET: &str = "UPDATE docs SET body = jsonb_set(body, '$.qty', ?1) WHERE id = ?2";
        if batch == 1 {
            for id in ids {
                self.limit.prepare_cached(SET)?.execute(params![value, id])?;
            }
            return Ok(());
        }
        for chunk in ids.chunks(batch) {
            let transaction = self.limit.transaction()?;
            for id in chunk {
                transaction.prepare_cached(SET)?.execute(params![value, id])?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn verify(&self, changed: usize, value: i64) -> Outcome<()> {
        let sql = "SELECT _id FROM docs WHERE qty = :q";
        let found = ours::run(&self.ditto, sql, [("q", value.into())])?.item_count();
        let sql = "SELECT id FROM docs WHERE json_extract(body, '$.qty') = ?1";
        let (plain, _) = limit::rows_out(&self.limit, sql, [value])?;
        if (found, plain) == (changed, changed) {
            return Ok(());
        }
        Err(format!("{found} and {plain} of {changed} documents were changed").into())
    }
}
