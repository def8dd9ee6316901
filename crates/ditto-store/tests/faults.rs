//! The disk fails: the n-th call for every n, a power cut at the n-th write or sync, and a full file system.
//!
//! The test runs itself as the process that meets the fault, with a small library preloaded (`faults/shim.c`) that
//! fails the call. Afterwards the store is opened without it: the file is whole, what was acknowledged is there, and
//! everything else is there as a whole or not at all. `DITTO_FAULTS` sets how many places are tried for each kind of
//! fault; `all` tries every one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
#![cfg(target_os = "linux")]

#[path = "faults/process.rs"]
mod process;
#[path = "faults/script.rs"]
mod script;

use std::path::PathBuf;

use ditto_store::Durability;
use ditto_testkit::temp_dir;
use process::{Fault, POWER_CUT, Run, compiled_shim};

/// Places tried for each kind of fault in an ordinary run.
const PLACES: u64 = 12;

/// The process that meets the fault; does nothing in an ordinary run of the tests.
#[test]
fn child() {
    process::child();
}

/// Runs the script with the fault at many places. `calls`: which calls count, see `shim.c`.
fn sweep(kind: &'static str, calls: &'static str, times: u64, durability: Durability) {
    let Some(shim) = compiled_shim() else { return };
    let places = std::env::var("DITTO_FAULTS").unwrap_or_default();
    let places = if places == "all" { u64::MAX } else { places.parse().unwrap_or(PLACES) };
    let counted = Fault { kind, calls, at: 0, times };
    let run = run(&shim, &counted, durability);
    let total = run.calls;
    assert!(run.fired == 0 && total > 5, "{kind} {calls}: only {total} calls without a fault");
    let step = (total / places).max(1);
    let mut hit = 0;
    // Another offset for each kind, so that together they try more places; the last ones are those of closing.
    let first = 1 + (kind.len() + calls.len()) as u64 % step;
    for at in (first..=total).step_by(usize::try_from(step).unwrap()) {
        hit += u64::from(self::run(&shim, &Fault { kind, calls, at, times }, durability).fired > 0);
    }
    println!("{kind} at {hit} of {total} calls ({calls})");
    assert!(hit * 2 > total / step, "{kind}: only {hit} faults fired of {total} in steps of {step}");
}

/// One run of the script in a fresh directory, and what the directory holds then.
fn run(shim: &PathBuf, fault: &Fault, durability: Durability) -> Run {
    let dir = temp_dir();
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let run = process::run(Some((shim, fault)), &store, durability);
    let what = format!("{fault:?} {durability:?}");
    if fault.at == 0 || run.fired == 0 {
        assert!(run.finished && run.errors.is_empty(), "{what}: {:?}", run.errors);
    }
    if fault.is_cut() && run.fired > 0 {
        assert_eq!(run.code, Some(POWER_CUT), "{what}: {run:?}");
    } else {
        assert!(run.finished, "{what}: {run:?}");
    }
    run.check_errors(&what, fault);
    script::verify(&store, &run, fault.is_cut() && durability == Durability::Normal, &what);
    run
}

#[test]
fn a_failing_write_leaves_old_or_new() {
    sweep("eio", "w", 1, Durability::Normal);
}

#[test]
fn a_failing_sync_leaves_old_or_new() {
    sweep("eio", "s", 1, Durability::Full);
}

#[test]
fn a_failing_read_or_open_or_truncation_leaves_old_or_new() {
    sweep("eio", "rot", 1, Durability::Normal);
}

#[test]
fn a_disk_that_is_full_for_a_while_leaves_old_or_new() {
    sweep("enospc", "wt", 25, Durability::Normal);
}

#[test]
fn a_short_write_leaves_old_or_new() {
    sweep("short", "w", 1, Durability::Normal);
}

#[test]
fn a_short_read_is_an_error_and_harms_nothing() {
    sweep("short", "r", 1, Durability::Normal);
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged_with_full_durability() {
    for kind in ["drop", "some", "tear"] {
        sweep(kind, "ws", 1, Durability::Full);
    }
}

#[test]
fn a_power_cut_loses_only_the_last_moments_with_normal_durability() {
    for kind in ["drop", "some", "tear"] {
        sweep(kind, "ws", 1, Durability::Normal);
    }
}

/// A real file system without space, in a mount namespace of its own.
#[test]
fn a_full_file_system_is_an_error_and_the_store_goes_on_when_space_returns() {
    let dir = temp_dir();
    match process::run_on_small_file_system(dir.path()) {
        Some(run) => {
            assert!(run.finished, "{run:?}");
            assert!(!run.errors.is_empty(), "the file system was never full: {run:?}");
            for (_, kind, text) in &run.errors {
                assert_eq!(kind, "store/storage-full", "{text}");
            }
        }
        None => println!("not run: this system allows no mount namespace with a tmpfs"),
    }
}
