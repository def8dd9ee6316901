//! Finds the steps of a failing run that matter.

use crate::run::{Report, RunOptions, run};
use crate::schedule::Schedule;

/// Numbers of steps without which the run does not fail any more, and the report of the run with only them.
///
/// Leaves out ever smaller stretches of the schedule as long as it fails in the same way, in at most `tries` runs.
pub fn shrink(schedule: &Schedule, options: &RunOptions, tries: usize) -> Option<(Vec<usize>, Report)> {
    let mut keep: Vec<usize> = (0..schedule.steps.len()).collect();
    let mut report = run(schedule, options);
    let wanted = kind(report.broken.as_ref()?);
    let fails = |keep: &[usize]| {
        let report = run(&schedule.only(keep), options);
        report.broken.as_ref().is_some_and(|b| kind(b) == wanted).then_some(report)
    };
    let (mut left, mut size) = (tries, keep.len().div_ceil(2));
    while size > 0 {
        let (mut at, mut shrunk) = (0, false);
        while at < keep.len() && left > 0 {
            left -= 1;
            let end = (at + size).min(keep.len());
            let without: Vec<usize> = keep[..at].iter().chain(&keep[end..]).copied().collect();
            match fails(&without) {
                Some(found) => (keep, report, shrunk) = (without, found, true),
                None => at = end,
            }
        }
        if left == 0 {
            break;
        }
        if !shrunk || size > 1 {
            size = if size == 1 { 0 } else { size / 2 };
        }
    }
    Some((keep, report))
}

/// A failure without the numbers of steps, peers and documents.
fn kind(broken: &str) -> String {
    let text = broken.rsplit_once("}: ").map_or(broken, |(_, text)| text);
    text.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(20).collect()
}
