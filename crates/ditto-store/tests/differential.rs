//! Random statements on random documents: a store without indexes, one with random indexes and one that runs the
//! statements in transactions agree with each other and with the reference evaluator of the test kit, also about
//! what is an error.
//!
//! `DITTO_DIFFERENTIAL` sets the number of histories. A failing one is shrunk and printed with its statements; its
//! seed is kept in `differential.regressions` and runs first from then on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "differential/engine.rs"]
mod engine;
#[path = "differential/history.rs"]
mod history;

use std::collections::BTreeMap;

use history::{History, Tally};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

/// Histories of an ordinary run: about 20 s on two cores.
const HISTORIES: u32 = 60;

#[test]
fn stores_agree_with_the_reference() {
    let cases = std::env::var("DITTO_DIFFERENTIAL").ok().and_then(|n| n.parse().ok()).unwrap_or(HISTORIES);
    let config = ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/differential.regressions"))),
        // In ms; `PROPTEST_MAX_SHRINK_ITERS=0` shows the history as it failed.
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    };
    let tally = std::cell::RefCell::new(Tally::default());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&history::strategy(), |tapes| {
        let history = History::new(&tapes);
        history.run(&mut tally.borrow_mut()).map_err(|e| TestCaseError::fail(e.to_string()))
    });
    if let Err(e) = outcome {
        panic!("{e}");
    }
    let tally = tally.into_inner();
    println!("{tally:?}");
    assert_eq!(tally.unsupported, BTreeMap::new(), "statements that the engine refuses as a whole");
    // A test that only compares errors, or only empty results, would compare nothing.
    assert!(tally.rows > tally.statements / 2, "{tally:?}");
    assert!(tally.errors < tally.statements / 4, "{tally:?}");
    // Nor would one whose indexes are never used.
    assert!(tally.index_scans > tally.statements / 25, "{tally:?}");
}
