//! W1, inserting, and W4, setting one field.

use ditto::types::{Object, Value};
use ditto::{Durability, Query, TransactionCompletionAction, TransactionOptions};
use rusqlite::params;

use super::{LIMIT, interleaved, limit, ours};
use crate::Outcome;
use crate::measure::Stopwatch;
use crate::row::Report;

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

/// W4: another field of every tenth document each time.
pub(super) async fn updates(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let changed = n / 10;
    let documents = ours::documents(n);
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    ours::insert(&ditto, &documents, 1000)?;
    let mut connection = limit::open(&directory.path().join("limit.db"), Durability::Normal)?;
    limit::insert(&mut connection, &documents, 1000)?;
    // In the order of a generator, not of insertion.
    let mut ids: Vec<&str> = documents.iter().map(|(id, _)| id.as_str()).collect();
    ditto_testkit::Rng::new(4).shuffle(&mut ids);
    const OURS: &str = "UPDATE docs SET qty = :q WHERE _id = :id";
    const PLAIN: &str = "UPDATE docs SET body = jsonb_set(body, '$.qty', ?1) WHERE id = ?2";
    let mut single = Vec::new();
    let mut batched = Vec::new();
    for repeat in 0..super::REPEATS {
        let at = repeat * changed;
        let ids: Vec<&str> = ids.iter().cycle().skip(at).take(changed).copied().collect();
        let value = 10_000 + repeat as i64;
        let watch = Stopwatch::start()?;
        for id in &ids {
            ours::run(&ditto, OURS, [("q", value.into()), ("id", Value::from(*id))])?;
        }
        let mine = watch.stop()?.cpu_us(changed);
        let watch = Stopwatch::start()?;
        for id in &ids {
            connection.prepare_cached(PLAIN)?.execute(params![value, id])?;
        }
        single.push((mine, watch.stop()?.cpu_us(changed)));

        let value = value + 10_000;
        let watch = Stopwatch::start()?;
        for chunk in ids.chunks(1000) {
            let transaction = ditto.store().begin(TransactionOptions::default()).await?;
            for id in chunk {
                let args = Object::from([("q".into(), value.into()), ("id".into(), Value::from(*id))]);
                transaction.execute_sync(Query { text: OURS.to_owned(), args })?;
            }
            transaction.finish(TransactionCompletionAction::Commit).await?;
        }
        let mine = watch.stop()?.cpu_us(changed);
        let watch = Stopwatch::start()?;
        for chunk in ids.chunks(1000) {
            let transaction = connection.transaction()?;
            for id in chunk {
                transaction.prepare_cached(PLAIN)?.execute(params![value, id])?;
            }
            transaction.commit()?;
        }
        batched.push((mine, watch.stop()?.cpu_us(changed)));
        let found =
            ours::run(&ditto, "SELECT _id FROM docs WHERE qty = :q", [("q", value.into())])?.item_count();
        let sql = "SELECT id FROM docs WHERE json_extract(body, '$.qty') = ?1";
        let (plain, _) = limit::rows_out(&connection, sql, [value])?;
        if (found, plain) != (changed, changed) {
            return Err(format!("{found} and {plain} of {changed} documents were changed").into());
        }
    }
    let unit = "us CPU/doc";
    let name = |how: &str| format!("W4 set one field of {changed} documents, {how}");
    report.median(&name("one a transaction"), single, LIMIT, unit, Some(3.0));
    report.median(&name("1,000 a transaction"), batched, LIMIT, unit, Some(2.0));
    ours::close(ditto)
}
