//! One run: a schedule from its first step to the last check.

use std::path::PathBuf;

use ditto_sync::SyncConfig;

use crate::adapter::Faults;
use crate::disk::Disk;
use crate::log;
use crate::process::CALM;
use crate::schedule::{Schedule, What};
use crate::steps::end;
use crate::world::{Broken, Stats, World};

/// Transactions that are watched at the end, while everybody is up to date.
const CALM_TRANSACTIONS: i64 = 8;

/// Messages that replication may send for one transaction of two small documents, per link and direction: the push, its
/// acknowledgement, a confirmation of the cursor, and what an announcement and its answer take.
const MESSAGES_PER_LINK: u64 = 12;

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Rules that are broken on purpose.
    pub faults: Faults,
    /// Whether to write down what happens.
    pub text: bool,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Hash of everything that happened.
    pub trace: String,
    /// Counters.
    pub stats: Stats,
    /// Virtual seconds.
    pub seconds: u64,
    /// What happened, if that was asked for.
    pub text: String,
    /// The first broken promise.
    pub broken: Option<Broken>,
}

/// Runs a schedule.
pub fn run(schedule: &Schedule, options: &RunOptions) -> Report {
    log::watch();
    let mut world = World::new(schedule.seed, options.text);
    world.faults = options.faults.clone();
    let outcome = root().and_then(|root| {
        let outcome = drive(&mut world, schedule, &root);
        for node in 0..world.nodes.len() {
            if let Some(p) = world.nodes[node].process.take() {
                end(p);
            }
        }
        outcome
    });
    let outcome =
        outcome.and_then(|()| log::errors().into_iter().next().map_or(Ok(()), |e| Err(format!("log: {e}"))));
    Report {
        trace: world.trace.hash().to_hex().to_string(),
        stats: world.stats,
        seconds: world.now / 1_000_000 - crate::clock::START_MS / 1000,
        text: world.trace.take_text(),
        broken: outcome.err(),
    }
}

/// A folder in memory where the system has such a thing.
fn root() -> Result<tempfile::TempDir, Broken> {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::Builder::new()
        .prefix("ditto-sim-")
        .tempdir_in(base)
        .map_err(|e| format!("temporary folder: {e}"))
}

/// Small limits, so that pages, batches and fall-backs occur with a handful of documents.
fn small(seed: u64) -> SyncConfig {
    let tiny = seed.is_multiple_of(2);
    SyncConfig {
        page_docs: if tiny { 1 } else { 3 },
        max_wants: if tiny { 2 } else { 100 },
        max_own: if seed.is_multiple_of(3) { 1 } else { 100 },
        // The mesh tells of its queues in steps of 32 KiB.
        bulk_queue_bytes: 64 << 10,
        live_queue_bytes: 100_000,
        txn_bytes: if seed.is_multiple_of(7) { 60 } else { 10_000 },
        max_commit_docs: if seed.is_multiple_of(11) { 2 } else { 100 },
        ..SyncConfig::default()
    }
}

fn drive(world: &mut World, schedule: &Schedule, root: &tempfile::TempDir) -> Result<(), Broken> {
    // Whoever can reach each other shall be connected: which links to keep is the swarm's matter.
    world.tune = |config| {
        let c = &mut config.limits.connections;
        (c.lan, c.p2p_wifi, c.websocket, c.bluetooth) = ((16, 16), (16, 16), (16, 16), (16, 16));
    };
    // What arrives without its base is fetched page by page, with tiny pages not as one commit.
    world.watch_pairs = !schedule.small;
    if schedule.small {
        world.sync_config = small(schedule.seed / 4);
    }
    for i in 0..schedule.peers {
        let disk = Disk::new(root.path(), &format!("peer-{i}"))?;
        world.add(Some(disk));
    }
    for (a, b, class) in &schedule.links {
        world.network.connect(*a, *b, *class);
    }
    for i in 0..schedule.peers {
        world.boot(i)?;
    }
    for (number, step) in schedule.steps.iter().enumerate() {
        world.run_for(step.after_ms)?;
        world.trace.line(world.now, &format!("# {number} {:?}", step.what));
        world.act(&step.what).map_err(|e| format!("step {number} {:?}: {e}", step.what))?;
    }
    finish(world, schedule)
}

/// Everything is repaired; then everybody must agree, and say nothing more.
fn finish(world: &mut World, schedule: &Schedule) -> Result<(), Broken> {
    world.trace.line(world.now, "# the end");
    for (a, b, class) in &schedule.links {
        world.network.set_rate(*a, *b, class.rate.max(20_000));
    }
    for node in 0..schedule.peers {
        world.act(&What::Clock { node, skew_ms: 0 })?;
        world.boot(node)?;
        world.start(node);
        for query in World::whole_queries() {
            world.act(&What::Subscribe { node, query })?;
        }
    }
    world.act(&What::Heal)?;
    // What was refused because of a wrong clock is offered again in the next session.
    for (a, b) in world.network.pairs() {
        world.break_links(a, b);
    }
    let pairs = world.network.pairs();
    let all = |w: &World| pairs.iter().all(|(a, b)| w.connected(*a, *b));
    if !world.run_until(700_000, 500, all)? {
        let apart: Vec<_> = pairs.iter().filter(|(a, b)| !world.connected(*a, *b)).collect();
        return Err(format!("not connected after 700 s: {apart:?}"));
    }
    world.rest()?;
    world.check_equal()?;
    world.check_silence()?;
    calm(world, schedule)?;
    world.rest()?;
    world.check_equal()?;
    if world.watch_pairs {
        world.check_observers()?;
    }
    world.check_stores()
}

/// Transactions while everybody is up to date: each is seen as a whole everywhere, and costs few messages.
fn calm(world: &mut World, schedule: &Schedule) -> Result<(), Broken> {
    let before = world.stats.sync_messages;
    for i in 0..CALM_TRANSACTIONS {
        let node = world.rng.index(schedule.peers);
        world.pair(node, CALM + i)?;
        let pause = world.rng.below(200);
        world.run_for(pause)?;
    }
    world.settle()?;
    let sent = world.stats.sync_messages - before;
    let allowed = CALM_TRANSACTIONS as u64 * MESSAGES_PER_LINK * 2 * schedule.links.len() as u64;
    // With tiny limits every commit makes senders fall back to scans.
    if sent > allowed && !schedule.small {
        return Err(format!("{sent} messages for {CALM_TRANSACTIONS} transactions, allowed are {allowed}"));
    }
    Ok(())
}
