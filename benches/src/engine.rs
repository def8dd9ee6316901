//! The local database beside the limit: documents as JSONB rows with the same two indexes, in the same engine, in the
//! same process, with the same settings of the log. And beside what a user of JavaScript would pick instead.
//!
//! The workloads are those of the table (W1 to W5, W13, W14). Each runs in a process of its own: what one
//! leaves in memory or in a cache is no part of another.

mod drivers;
mod import;
mod js;
pub(crate) mod limit;
mod live;
mod ours;
mod reads;
mod size;
mod writes;

use crate::row::{Report, note};
use crate::{Outcome, parts};

pub(crate) use import::import;
pub(crate) use ours::{documents, indexed, open};

/// How a workload is named on the command line.
pub(crate) const PART: &str = "engine:";

/// Repeats of every measurement, ours and the limit in turn.
const REPEATS: usize = 3;

/// The name of the limit in the tables.
const LIMIT: &str = "libSQL, JSONB, 2 indexes";

const PARTS: [&str; 10] = ["W1", "W2", "W3", "W4", "W5", "W13", "W14", "import", "bindings", "js"];

/// Runs every workload in a process of its own.
pub(crate) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    parts::run(report, PART, &PARTS, quick)
}

/// Runs one workload in this process.
pub(crate) async fn part(report: &mut Report, name: &str, quick: bool) -> Outcome<()> {
    note(name);
    match name.strip_prefix(PART).unwrap_or(name) {
        "W1" => writes::inserts(report, quick),
        "W2" => reads::points(report, quick),
        "W3" => reads::queries(report, quick),
        "W4" => writes::updates(report, quick).await,
        "W5" => live::run(report, quick),
        "W13" => size::opening(report, quick),
        size::OPEN_OURS => size::open_ours(report),
        size::OPEN_LIMIT => size::open_limit(report),
        "W14" => size::files(report, quick),
        "import" => import::scaling(report, quick).await,
        "bindings" => drivers::run(report, quick).await,
        "js" => js::run(report, quick),
        _ => Err(format!("there is no workload {name}").into()),
    }
}

/// Measures both in turn, as often as [`REPEATS`] says.
fn interleaved(
    mut ours: impl FnMut() -> Outcome<f64>,
    mut limit: impl FnMut() -> Outcome<f64>,
) -> Outcome<Vec<(f64, f64)>> {
    let mut repeats = Vec::new();
    for _ in 0..REPEATS {
        repeats.push((ours()?, limit()?));
    }
    Ok(repeats)
}
