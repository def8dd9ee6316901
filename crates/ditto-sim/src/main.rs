//! `ditto-sim`: one run, a swarm, the slow link, or runs for hours.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use ditto_sim::{Fault, RunOptions, Schedule, SwarmOptions, run, shrink, slow_link, swarm};

#[derive(Parser)]
#[command(about = "Deterministic simulation of whole peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One run with stores.
    Run {
        /// Its number.
        #[arg(long)]
        seed: u64,
        /// The schedule about power cuts of that number.
        #[arg(long)]
        power_cuts: bool,
        /// Breaks a rule on purpose: boot, epoch, own, evict, relay, split or session.
        #[arg(long)]
        fault: Option<String>,
        /// Only these steps, as `3,5,9-12`.
        #[arg(long)]
        only: Option<String>,
        /// Write down what happens.
        #[arg(long)]
        trace: bool,
        /// If it fails, leave out steps that do not matter.
        #[arg(long)]
        shrink: bool,
    },
    /// Many peers without stores.
    Swarm {
        #[arg(long)]
        seed: u64,
        #[arg(long, default_value_t = 50)]
        peers: usize,
        /// Virtual seconds of coming and going.
        #[arg(long, default_value_t = 60)]
        churn: u64,
        /// Only LAN links.
        #[arg(long)]
        lan: bool,
    },
    /// Small messages on a slow link that is full of bulk data.
    Slow {
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs with stores, and now and then a swarm, from one seed onward.
    Soak {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Ends after so many runs.
        #[arg(long)]
        count: Option<u64>,
        /// Ends after so many seconds.
        #[arg(long)]
        seconds: Option<u64>,
        /// Adds lines for failing seeds to this file.
        #[arg(long)]
        failures: Option<PathBuf>,
    },
}

/// A line of results. If nobody reads them there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> ExitCode {
    let good = match Cli::parse().command {
        Command::Run { seed, power_cuts, fault, only, trace, shrink } => {
            let schedule = if power_cuts { Schedule::power_cuts(seed) } else { Schedule::generate(seed) };
            match fault.as_deref().map(fault_of) {
                Some(None) => {
                    report(Err("--fault takes boot, epoch, own, evict, relay, split or session".into()))
                }
                fault => one(schedule, fault.flatten(), only.as_deref(), trace, shrink),
            }
        }
        Command::Swarm { seed, peers, churn, lan } => {
            many(&SwarmOptions { seed, peers, churn_seconds: churn, lan_only: lan })
        }
        Command::Slow { seed } => report(slow_link(seed).map(|r| format!("{r:?}"))),
        Command::Soak { first, count, seconds, failures } => soak(first, count, seconds, failures),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(outcome: Result<String, String>) -> bool {
    match &outcome {
        Ok(text) => say(text),
        Err(text) => say(&format!("FAILED: {text}")),
    }
    outcome.is_ok()
}

fn many(options: &SwarmOptions) -> bool {
    report(swarm(options).map(|r| format!("{r:?}")))
}

/// Reads `3,5,9-12`.
fn numbers(text: &str) -> Option<Vec<usize>> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        out.extend(first..=last);
    }
    Some(out)
}

fn list(steps: &[usize]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn fault_of(name: &str) -> Option<Fault> {
    Fault::ALL.into_iter().find(|f| format!("{f:?}").to_lowercase() == name)
}

fn one(mut schedule: Schedule, fault: Option<Fault>, only: Option<&str>, trace: bool, smaller: bool) -> bool {
    let seed = schedule.seed;
    if let Some(text) = only {
        let Some(keep) = numbers(text) else {
            say("--only takes numbers and ranges, as 3,5,9-12");
            return false;
        };
        schedule = schedule.only(&keep);
    }
    let options = RunOptions { text: trace, faults: fault.into_iter().collect() };
    let report = run(&schedule, &options);
    if trace {
        say(&report.text);
    }
    say(&format!("seed {seed}: {} peers, {} virtual s, {:?}", schedule.peers, report.seconds, report.stats));
    say(&format!("trace {}", report.trace));
    let Some(broken) = report.broken else { return true };
    say(&format!("FAILED: {broken}"));
    if smaller && let Some((keep, report)) = shrink(&schedule, &RunOptions { text: false, ..options }, 400) {
        say(&format!("{} of {} steps matter:", keep.len(), schedule.steps.len()));
        for step in &keep {
            say(&format!("  {step:>4} {:?}", schedule.steps[*step]));
        }
        say(&format!("  {}", report.broken.unwrap_or_default()));
        if only.is_none() {
            say(&format!("  ditto-sim run --seed {seed} --only {} --trace", list(&keep)));
        }
    }
    false
}

fn soak(first: u64, count: Option<u64>, seconds: Option<u64>, failures: Option<PathBuf>) -> bool {
    let begun = Instant::now();
    let limit = seconds.map(Duration::from_secs);
    let (mut runs, mut failed, mut virtual_seconds) = (0u64, Vec::new(), 0);
    while count.is_none_or(|n| runs < n) && limit.is_none_or(|l| begun.elapsed() < l) {
        let seed = first + runs;
        runs += 1;
        let (line, outcome) = if seed % 50 == 49 {
            let peers = 2 + (seed / 50 % 40) as usize;
            let lan = seed % 100 == 49;
            let line = format!("swarm {seed} {peers} {}", if lan { "lan" } else { "mixed" });
            (
                line,
                guarded(|| {
                    swarm(&SwarmOptions { seed, peers, churn_seconds: 30, lan_only: lan }).map(|r| r.seconds)
                }),
            )
        } else {
            let outcome = guarded(|| {
                let report = run(&Schedule::generate(seed), &RunOptions::default());
                report.broken.map_or(Ok(report.seconds), Err)
            });
            (format!("run {seed}"), outcome)
        };
        match outcome {
            Ok(seconds) => virtual_seconds += seconds,
            Err(why) => {
                say(&format!("FAILED {line}: {why}"));
                let seed = line.split(' ').nth(1).unwrap_or_default();
                if line.starts_with("run") {
                    say(&format!("  replay: cargo run -p ditto-sim -- run --seed {seed} --shrink"));
                }
                failed.push(format!("{line} # {}", why.lines().next().unwrap_or_default()));
            }
        }
    }
    say(&format!(
        "{runs} runs from seed {first}, {} failed, {virtual_seconds} virtual seconds in {} s",
        failed.len(),
        begun.elapsed().as_secs()
    ));
    if let Some(path) = failures.filter(|_| !failed.is_empty()) {
        let text: String = failed.iter().map(|l| format!("{l}\n")).collect();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        if file.and_then(|mut f| f.write_all(text.as_bytes())).is_err() {
            say(&format!("cannot write to {}", path.display()));
        }
    }
    failed.is_empty()
}

/// A panic of the code under test is a failure of its run.
fn guarded(f: impl FnOnce() -> Result<u64, String>) -> Result<u64, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| {
        let text =
            p.downcast_ref::<String>().map(String::as_str).or_else(|| p.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without words")))
    })
}
