//! Replication beside the least work that does the same.
//!
//! | part | what |
//! |---|---|
//! | `W6` | 100,000 documents from a full peer to an empty one, two processes; then single updates (`W7`) |
//! | `W8` | comparing equal and nearly equal stores; resuming after missed changes |
//! | `W9` | many peers in line, ring, star and full mesh |
//! | `others` | a first load beside databases and libraries of others |
//!
//! Each part runs in a process of its own.

mod compare;
mod limit;
mod load;
mod others;
mod pump;
mod topology;

use crate::row::{Report, note};
use crate::{Outcome, parts};

pub(crate) use load::{RECEIVER, receiver};

/// How a part is named on the command line.
pub(crate) const PART: &str = "sync:";

const PARTS: [&str; 4] = ["W6", "W8", "W9", "others"];

/// Runs every part in a process of its own.
pub(crate) fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    parts::run(report, PART, &PARTS, quick)
}

/// Runs one part in this process.
pub(crate) async fn part(report: &mut Report, name: &str, quick: bool) -> Outcome<()> {
    note(name);
    match name.strip_prefix(PART).unwrap_or(name) {
        "W6" => load::run(report, quick).await,
        "W8" => compare::run(report, quick),
        "W9" => topology::run(report, quick),
        "others" => others::run(report, quick).await,
        _ => Err(format!("there is no part {name}").into()),
    }
}
