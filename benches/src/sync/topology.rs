//! Many peers: what an edit costs until everybody has it.

use ditto::types::Value;

use super::pump::{HOP_MS, Pump};
use crate::Outcome;
use crate::measure::Stopwatch;
use crate::row::Report;

/// Edits of each peer, all to one document.
const EDITS: usize = 10;

pub(super) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let sizes: &[usize] = if quick { &[3, 10] } else { &[3, 10, 25, 50] };
    for n in sizes.iter().copied() {
        for (name, links, diameter) in topologies(n) {
            one(report, n, name, &links, diameter)?;
        }
    }
    Ok(())
}

type Topology = (&'static str, Vec<(usize, usize)>, usize);

fn topologies(n: usize) -> Vec<Topology> {
    let line: Vec<_> = (1..n).map(|i| (i - 1, i)).collect();
    let mut ring = line.clone();
    ring.push((n - 1, 0));
    let star = (1..n).map(|i| (0, i)).collect();
    let full = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
    vec![("line", line, n - 1), ("ring", ring, n / 2), ("star", star, 2), ("full mesh", full, 1)]
}

fn one(report: &mut Report, n: usize, name: &str, links: &[(usize, usize)], diameter: usize) -> Outcome<()> {
    let mut pump = Pump::new(n)?;
    pump.run(0, "INSERT INTO docs DOCUMENTS ({'_id':'one'})", [])?;
    for (a, b) in links {
        pump.connect(*a, *b)?;
    }
    pump.settle()?;
    // Which links push and which only offer is found out with the first edits.
    edit(&mut pump, n, 0)?;
    pump.settle()?;
    let (before, began) = (pump.traffic, pump.now);
    let watch = Stopwatch::start()?;
    edit(&mut pump, n, 1)?;
    if !pump.until(Pump::all_equal)? {
        return Err(format!("{n} peers in a {name} do not become equal").into());
    }
    let reached = pump.now - began;
    pump.settle()?;
    let taken = watch.stop()?;
    let messages = (pump.traffic.messages - before.messages) as f64;
    let deliveries = (n * EDITS * (n - 1)) as f64;
    let workload = format!("W9 {n} peers in a {name}, {EDITS} edits each");
    let most = if name == "full mesh" && n == 50 { 2.0 } else { n as f64 };
    report.limit(&format!("{workload}, messages a delivery"), messages / deliveries, most, "messages");
    let name = "3 x diameter x one hop";
    let limit = (3 * diameter * HOP_MS as usize) as f64;
    report.add(&format!("{workload}, until equal"), reached as f64, (name, limit), "ms, virtual", Some(1.0));
    report.limit(&format!("{workload}, CPU a delivery"), taken.cpu * 1e6 / deliveries, 100.0, "us");
    Ok(())
}

fn edit(pump: &mut Pump, n: usize, round: usize) -> Outcome<()> {
    for i in 0..EDITS {
        for peer in 0..n {
            let text = format!("UPDATE docs SET field{peer} = :v WHERE _id = 'one'");
            pump.run(peer, &text, [("v", Value::from((round * EDITS + i) as i64))])?;
        }
    }
    Ok(())
}
