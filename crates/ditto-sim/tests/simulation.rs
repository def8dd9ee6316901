//! Runs of the simulator that are part of every test run. `scripts/soak simulator` makes more.

use ditto_sim::{Fault, Regression, RunOptions, Schedule, SwarmOptions, regressions, run, slow_link, swarm};

/// Runs with stores from seed 0 on; DITTO_SIM_RUNS says how many.
fn runs() -> u64 {
    std::env::var("DITTO_SIM_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

/// Fails with what replays the run.
fn must_hold(seed: u64) {
    let report = run(&Schedule::generate(seed), &RunOptions::default());
    if let Some(broken) = report.broken {
        panic!("{broken}\nreplay: cargo run -p ditto-sim -- run --seed {seed} --shrink");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2] {
        let schedule = Schedule::generate(seed);
        let [first, second] = [(); 2].map(|()| run(&schedule, &RunOptions::default()));
        assert!(first.stats.events > 500 && first.stats.commits > 20, "{:?}", first.stats);
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
    let other = run(&Schedule::generate(1).only(&[0, 1, 2]), &RunOptions::default());
    assert_ne!(other.trace, run(&Schedule::generate(1), &RunOptions::default()).trace);
    let options = SwarmOptions { seed: 3, peers: 5, churn_seconds: 5, lan_only: false };
    assert_eq!(swarm(&options).unwrap().trace, swarm(&options).unwrap().trace);
}

#[test]
fn promises_hold() {
    (0..runs()).for_each(must_hold);
}

#[test]
fn what_once_failed_holds_now() {
    for regression in regressions().unwrap() {
        match regression {
            Regression::Run(seed) => must_hold(seed),
            Regression::Swarm(seed, peers, lan_only) => {
                let options = SwarmOptions { seed, peers, churn_seconds: 30, lan_only };
                swarm(&options).unwrap_or_else(|e| panic!("{options:?}: {e}"));
            }
        }
    }
}

/// A broken rule is noticed. `near` are seeds that noticed once; a change may shift them, then others are tried: some rules
/// matter in one of hundreds of runs.
fn is_noticed(fault: Fault, near: &[u64]) {
    let options = RunOptions { faults: [fault].into(), ..RunOptions::default() };
    let fails = |seed: u64, options: &RunOptions| run(&Schedule::generate(seed), options).broken.is_some();
    // And it is the fault that was noticed.
    let noticed = |seed: &u64| fails(*seed, &options) && !fails(*seed, &RunOptions::default());
    let found = near.iter().copied().chain(0..600).find(noticed);
    assert!(found.is_some(), "no run needs {fault:?}");
}

/// The same with schedules of power cuts.
fn is_noticed_after_power_cuts(fault: Fault, near: &[u64]) {
    let options = RunOptions { faults: [fault].into(), ..RunOptions::default() };
    let noticed = |seed: &u64| run(&Schedule::power_cuts(*seed), &options).broken.is_some();
    let found = near.iter().copied().chain(0..60).find(noticed);
    let seed = found.unwrap_or_else(|| panic!("no power cut needs {fault:?}"));
    let report = run(&Schedule::power_cuts(seed), &RunOptions::default());
    assert_eq!(report.broken, None, "power cuts, seed {seed}");
    assert!(report.stats.frames_lost > 0, "{:?}", report.stats);
}

#[test]
fn power_cuts_that_the_store_overlooks_are_noticed() {
    is_noticed_after_power_cuts(Fault::Boot, &[0]);
}

#[test]
fn a_renewed_epoch_that_peers_overlook_is_noticed() {
    is_noticed_after_power_cuts(Fault::Epoch, &[0]);
}

#[test]
fn a_relay_that_does_not_relay_is_noticed() {
    is_noticed(Fault::Relay, &[1]);
}

#[test]
fn a_commit_in_pieces_is_noticed() {
    is_noticed(Fault::Split, &[1]);
}

#[test]
fn messages_that_get_into_the_next_session_are_noticed() {
    is_noticed(Fault::Session, &[494, 138, 10]);
}

#[test]
fn a_swarm_becomes_one_mesh() {
    // DITTO_SIM_PEERS sets the size of the largest swarm, 2 to 200.
    let largest = std::env::var("DITTO_SIM_PEERS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    for (seed, peers, lan_only) in [(1, 2, true), (2, 6, true), (4, 20, true), (3, largest, false)] {
        let options = SwarmOptions { seed, peers, churn_seconds: 10, lan_only };
        let report = swarm(&options).unwrap_or_else(|e| panic!("{options:?}: {e}"));
        assert!(peers == 2 || report.sessions >= peers - 1 || report.most_sessions > 1, "{report:?}");
    }
}

#[test]
fn a_full_slow_link_lets_messages_and_presence_through() {
    let report = slow_link(1).unwrap();
    assert!(report.p99_ms <= 150, "{report:?}");
    // Changes are published at most every three seconds over Bluetooth.
    assert!(report.presence_ms <= 3_500, "{report:?}");
    assert!(report.bulk_rate >= 15_000, "the bulk transfer must not starve either: {report:?}");
}
