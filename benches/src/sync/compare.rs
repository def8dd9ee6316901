//! Comparing stores that hold nearly the same, and catching up after an absence.

use ditto::types::Value;
use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::pump::{HOP_MS, Pump, Traffic};
use crate::Outcome;
use crate::engine::documents;
use crate::measure::{Stopwatch, Taken};
use crate::row::Report;

pub(super) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let mut pump = pair(n)?;
    equal(report, &mut pump, n)?;
    for (d, recent, target) in [(100, false, 5_000.0), (1_000, true, 25_000.0), (1_000, false, 45_000.0)] {
        let (traffic, _) = different(&mut pump, n, d, recent)?;
        let order = if recent { "recent" } else { "scattered" };
        let workload = format!("W8 {d} {order} differences of {n}, without the documents");
        report.limit(&workload, traffic.overhead as f64, target, "bytes");
        let json: usize = documents(n).iter().take(d).map(|(_, text)| text.len()).sum();
        let all = format!("W8 {d} {order} differences of {n}, all bytes");
        report.add(&all, traffic.bytes as f64, ("JSON of the documents", json as f64), "bytes", None);
        for by_time in [true, false] {
            let theirs = negentropy(n, d, recent, by_time)?;
            let name = if by_time { "negentropy, ordered by time" } else { "negentropy, ordered by hash" };
            report.add(&workload, traffic.overhead as f64, (name, theirs as f64), "bytes", None);
        }
    }
    drop(pump);
    resume(report, quick)
}

/// Two stores with the same documents and no cursors.
fn pair(n: usize) -> Outcome<Pump> {
    let mut pump = Pump::new(2)?;
    for chunk in documents(n).chunks(10_000) {
        let batch: Result<Vec<_>, _> =
            chunk.iter().map(|(_, text)| ditto::types::json::from_str(text)).collect();
        pump.run(0, "INSERT INTO docs DOCUMENTS (:d)", [("d", Value::Array(batch?))])?;
    }
    pump.connect(0, 1)?;
    pump.settle()?;
    if pump.state(1)? != pump.state(0)? || pump.state(1)?.0 != n {
        return Err("the stores are not equal".into());
    }
    pump.disconnect(0, 1)?;
    Ok(pump)
}

/// From the connection until both are live.
fn meet(pump: &mut Pump) -> Outcome<(Traffic, Taken, u64)> {
    let (before, began) = (pump.traffic, pump.now);
    let watch = Stopwatch::start()?;
    pump.connect(0, 1)?;
    if !pump.until(|p| Ok(p.is_live(0) && p.is_live(1)))? {
        return Err("the subscriptions do not become live".into());
    }
    let taken = watch.stop()?;
    let after = pump.traffic;
    let traffic = Traffic {
        messages: after.messages - before.messages,
        bytes: after.bytes - before.bytes,
        overhead: after.overhead - before.overhead,
    };
    Ok((traffic, taken, pump.now - began))
}

fn equal(report: &mut Report, pump: &mut Pump, n: usize) -> Outcome<()> {
    // Sums over views follow commits from their first use on; the stores have been in use.
    pump.forget_cursors()?;
    meet(pump)?;
    pump.settle()?;
    pump.disconnect(0, 1)?;
    pump.forget_cursors()?;
    let (traffic, taken, ms) = meet(pump)?;
    let workload = format!("W8 equal stores of {n} documents, both subscribed");
    // Each of the two compares its view with the other's.
    report.limit(&format!("{workload}, bytes a view"), traffic.bytes as f64 / 2.0, 400.0, "bytes");
    report.limit(&format!("{workload}, CPU of both"), taken.cpu * 1e3, 2.0, "ms");
    report.limit(&format!("{workload}, ways until live"), ms as f64 / HOP_MS as f64, 4.0, "ways");
    pump.settle()?;
    pump.disconnect(0, 1)
}

/// Changes `d` documents on one side only and lets them meet without cursors. Unless the changes are recent, both have got
/// other documents since.
fn different(pump: &mut Pump, n: usize, d: usize, recent: bool) -> Outcome<(Traffic, Taken)> {
    let all = documents(n);
    for i in 0..d {
        let at = if recent { n - 1 - i } else { (i * 7919) % n };
        let id = Value::from(all[at].0.as_str());
        let text = "UPDATE docs SET note = :note WHERE _id = :id";
        pump.run(0, text, [("id", id), ("note", Value::from(format!("{d}-{recent}-{i}")))])?;
    }
    if !recent {
        let more: Result<Vec<_>, _> = documents(n + 3 * d)[n + d..]
            .iter()
            .map(|(id, text)| {
                let text = text.replacen(id.as_str(), &format!("{id}-{d}"), 1);
                ditto::types::json::from_str(&text)
            })
            .collect();
        pump.learn(more?)?;
    }
    pump.forget_cursors()?;
    let (traffic, taken, _) = meet(pump)?;
    pump.settle()?;
    if !pump.all_equal()? {
        return Err("the stores are not equal after meeting".into());
    }
    pump.disconnect(0, 1)?;
    Ok((traffic, taken))
}

/// Bytes that negentropy needs to find the same differences: a changed document is one entry on either side.
fn negentropy(n: usize, d: usize, recent: bool, by_time: bool) -> Outcome<u64> {
    let id = |i: usize, version: u8| {
        let mut bytes = [0; 32];
        let mut rng = ditto_testkit::Rng::new(i as u64 * 2 + u64::from(version));
        bytes.chunks_exact_mut(8).for_each(|b| b.copy_from_slice(&rng.next_u64().to_le_bytes()));
        Id::from_byte_array(bytes)
    };
    let changed = |i: usize| if recent { i >= n - d } else { (i * 7919) % n < d };
    let mut sides = Vec::new();
    for side in [0, 1] {
        let mut storage = NegentropyStorageVector::new();
        for i in 0..n {
            let version = u8::from(side == 0 && changed(i));
            // Changed documents are the newest where they were changed.
            let time = if version == 1 { n + i } else { i } as u64;
            storage.insert(if by_time { time } else { 0 }, id(i, version))?;
        }
        storage.seal()?;
        sides.push(Negentropy::owned(storage, 0)?);
    }
    let [server, client] = sides.as_mut_slice() else { return Err("two sides".into()) };
    let (mut have, mut need, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut message = Some(client.initiate()?);
    while let Some(asked) = message {
        let answer = server.reconcile(&asked)?;
        bytes += (asked.len() + answer.len()) as u64;
        message = client.reconcile_with_ids(&answer, &mut have, &mut need)?;
    }
    if (have.len(), need.len()) != (d, d) {
        return Err(format!("negentropy found {} and {} of {d}", have.len(), need.len()).into());
    }
    // The entries that are missing still have to be asked for.
    Ok(bytes + need.len() as u64 * 32)
}

/// 1,000 missed changes with a cursor: their cost must not depend on what else there is.
fn resume(report: &mut Report, quick: bool) -> Outcome<()> {
    let (few, many) = if quick { (1_000, 10_000) } else { (10_000, 1_000_000) };
    let missed = 1_000;
    let cost = |n: usize| -> Outcome<Taken> {
        let mut pump = pair(n)?;
        let all = documents(n);
        for i in 0..missed.min(n) {
            let id = Value::from(all[(i * 7919) % n].0.as_str());
            let text = "UPDATE docs SET note = :note WHERE _id = :id";
            pump.run(0, text, [("id", id), ("note", Value::from(i as i64))])?;
        }
        let (_, taken, _) = meet(&mut pump)?;
        if !pump.all_equal()? {
            return Err("the stores are not equal after resuming".into());
        }
        Ok(taken)
    };
    let (small, large) = (cost(few)?, cost(many)?);
    let workload = format!("resume after {missed} missed changes of {many} documents");
    report.add(&workload, large.cpu * 1e3, (&format!("of {few}"), small.cpu * 1e3), "ms CPU", Some(1.5));
    Ok(())
}
