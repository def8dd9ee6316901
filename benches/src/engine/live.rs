//! W5: from one write to the callback of an observer.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ditto::types::Value;
use ditto::{Ditto, Durability, QueryResult, StoreObserver};

use super::ours;
use crate::Outcome;
use crate::measure::quantile;
use crate::row::Report;

const PATIENCE: Duration = Duration::from_secs(20);
const TWENTY: &str = "SELECT * FROM docs WHERE store = 42 ORDER BY ts DESC LIMIT 20";
const THOUSAND: &str = "SELECT * FROM docs WHERE store = 42";

/// W5.
pub(super) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let writes = if quick { 100 } else { 400 };
    let directory = tempfile::tempdir()?;
    let ditto = ours::indexed(directory.path(), Durability::Normal)?;
    ours::insert(&ditto, &ours::documents(n), 1000)?;
    let ids = |text: &str| -> Outcome<Vec<Value>> {
        let rows = ours::run(&ditto, text, [])?;
        Ok(rows.items().filter_map(|item| item.fields()?.get("_id").cloned()).collect())
    };
    let mut next = 100_000;
    for (name, text) in [("20 rows", TWENTY), ("1 % of the rows", THOUSAND)] {
        let ids = ids(text)?;
        let mut repeats = Vec::new();
        for _ in 0..super::REPEATS {
            let commit = commits(&ditto, &ids, writes, &mut next)?;
            let observer = Observer::new(&ditto, text)?;
            let live = callbacks(&ditto, &ids, writes, &mut next, &observer)?;
            observer.handle.cancel();
            repeats.push((live, commit));
        }
        let workload = format!("W5 write to callback, {name}, p50");
        report.median(&workload, repeats, "the commit alone", "us", Some(3.0));
    }
    // The same for the first query, alone and with a thousand others that the writes do not concern, in turn.
    let ids = ids(TWENTY)?;
    let mut repeats = Vec::new();
    for _ in 0..super::REPEATS {
        let alone = one(&ditto, &ids, writes, &mut next)?;
        let others = Others::new(&ditto, 1_000)?;
        repeats.push((one(&ditto, &ids, writes, &mut next)?, alone));
        others.0.iter().for_each(StoreObserver::cancel);
    }
    let workload = "W5 write to callback, 20 rows, 1,000 other observers, p50";
    report.median(workload, repeats, "without the others", "us", Some(1.1));
    ours::close(ditto)
}

/// Median time to the callback of an observer of [`TWENTY`].
fn one(ditto: &Ditto, ids: &[Value], writes: usize, next: &mut i64) -> Outcome<f64> {
    let observer = Observer::new(ditto, TWENTY)?;
    let median = callbacks(ditto, ids, writes, next, &observer)?;
    observer.handle.cancel();
    Ok(median)
}

/// Observers of stores that no document has.
struct Others(Vec<StoreObserver>);

impl Others {
    /// Registers them and waits for the first result of each, so that none is at work any more.
    fn new(ditto: &Ditto, n: usize) -> Outcome<Self> {
        let (sender, results) = channel();
        let register = |i: usize| {
            let text = format!("SELECT * FROM docs WHERE store = {} ORDER BY ts DESC LIMIT 20", 1_000 + i);
            let sender = sender.clone();
            Ok(ditto.store().register_observer(text.as_str(), move |_| sender.send(()).unwrap_or(()))?)
        };
        let others = (0..n).map(register).collect::<Outcome<_>>()?;
        for _ in 0..n {
            results.recv_timeout(PATIENCE)?;
        }
        Ok(Self(others))
    }
}

struct Observer {
    handle: StoreObserver,
    /// With the time of the call.
    results: Receiver<(Instant, QueryResult)>,
}

impl Observer {
    /// Registers it and waits for its first result.
    fn new(ditto: &Ditto, text: &str) -> Outcome<Self> {
        let (sender, results) = channel();
        // Nobody receives any more once the measurement is over.
        let handle = ditto.store().register_observer(text, move |result| {
            drop(sender.send((Instant::now(), result)));
        })?;
        results.recv_timeout(PATIENCE)?;
        Ok(Self { handle, results })
    }

    /// Waits for the result in which a row has this quantity.
    fn wait(&self, id: &Value, quantity: i64) -> Outcome<()> {
        loop {
            let (_, result) = self.results.recv_timeout(PATIENCE)?;
            let quantity = Value::from(quantity);
            // What an application does with it: look at its rows. One is enough to know that it is the right result.
            let found = result.items().any(|item| {
                let fields = item.fields();
                fields.is_some_and(|f| f.get("_id") == Some(id) && f.get("qty") == Some(&quantity))
            });
            if found {
                return Ok(());
            }
        }
    }
}

fn write(ditto: &Ditto, id: &Value, quantity: i64) -> Outcome<()> {
    let text = "UPDATE docs SET qty = :q WHERE _id = :id";
    ours::run(ditto, text, [("q", quantity.into()), ("id", id.clone())])?;
    Ok(())
}

/// Median time of a commit that nobody observes, in us.
fn commits(ditto: &Ditto, ids: &[Value], writes: usize, next: &mut i64) -> Outcome<f64> {
    let mut times = Vec::new();
    for id in ids.iter().cycle().take(writes) {
        *next += 1;
        let began = Instant::now();
        write(ditto, id, *next)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&mut times, 0.5))
}

/// Median time from before the write until the callback has been called, in us. Checking the rows is not part of it.
fn callbacks(
    ditto: &Ditto,
    ids: &[Value],
    writes: usize,
    next: &mut i64,
    observer: &Observer,
) -> Outcome<f64> {
    let mut times = Vec::new();
    for id in ids.iter().cycle().take(writes) {
        *next += 1;
        let began = Instant::now();
        write(ditto, id, *next)?;
        let (called, result) = observer.results.recv_timeout(PATIENCE)?;
        times.push((called - began).as_secs_f64() * 1e6);
        let quantity = Value::from(*next);
        let holds = |f: &ditto::types::Object| f.get("_id") == Some(id) && f.get("qty") == Some(&quantity);
        if !result.items().any(|item| item.fields().is_some_and(holds)) {
            observer.wait(id, *next)?;
        }
    }
    Ok(quantile(&mut times, 0.5))
}
