//! The world of a run: virtual time, peers, what is under way, and what happens next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ditto::wiring::ForNetwork;
use ditto_mesh::transport::{LinkId, NetEvent};
use ditto_mesh::{Identity, MeshConfig, PeerKey};
use ditto_store::{Store, StoreOptions};
use ditto_sync::SyncConfig;
use ditto_testkit::Rng;
use ditto_types::DatabaseId;

use crate::adapter::{Fault, Faults};
use crate::clock::{PeerClock, PeerRandom, START_MS};
use crate::crypto;
use crate::disk::{Disk, Image};
use crate::network::Network;
use crate::pairs::Pairs;
use crate::process::{Data, Effect, Process, ToSync};
use crate::schedule::QUERIES;
use crate::trace::Trace;

/// A broken promise, in words.
pub type Broken = String;

/// Something that is due at a time.
pub(crate) enum Event {
    /// For the process of a peer, if it is still the one that this was meant for.
    Net { node: usize, life: u64, event: NetEvent },
    /// The replication thread of a peer gets its turn.
    Sync { node: usize, life: u64 },
    /// The process of a peer starts.
    Boot { node: usize, life: u64 },
    /// Sync is started again.
    Start { node: usize, life: u64 },
    /// The announcement of a process is not seen any more.
    Lost { node: usize, other: usize, life: u64 },
}

/// A device: what stays when its process ends.
pub(crate) struct Node {
    pub(crate) identity: Arc<Identity>,
    pub(crate) key: PeerKey,
    pub(crate) clock: Arc<PeerClock>,
    pub(crate) random: Arc<PeerRandom>,
    pub(crate) disk: Option<Disk>,
    /// Copy of the files, for a restore.
    pub(crate) backup: Option<Image>,
    /// Subscriptions of the app, which it registers whenever it starts.
    pub(crate) subs: BTreeSet<usize>,
    pub(crate) process: Option<Process>,
    /// Number of the process; what was meant for an earlier one is dropped.
    pub(crate) life: u64,
    /// Whether sync is started.
    pub(crate) started: bool,
    /// How often what it sees of the mesh has changed, or its process.
    pub(crate) views: u64,
    /// Whether a turn of the replication thread is due.
    sync_due: bool,
    timers: [Option<u64>; 2],
    pub(crate) pairs: Pairs,
}

/// Counters of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Events and timers.
    pub events: u64,
    /// Messages of replication that were sent.
    pub sync_messages: u64,
    /// Their bytes.
    pub sync_bytes: u64,
    /// Bytes that left on links.
    pub link_bytes: u64,
    /// Sessions that began, counted at both ends.
    pub sessions: u64,
    /// Commits that replication saw.
    pub commits: u64,
    /// Processes that were started.
    pub boots: u64,
    /// Frames of write-ahead logs that power cuts took.
    pub frames_lost: u64,
    /// Most bytes that were given to one link and had not left it.
    pub most_outstanding: usize,
    /// Most sessions that one peer had at a time.
    pub most_sessions: usize,
}

pub(crate) struct World {
    /// True time in Unix microseconds.
    pub(crate) now: u64,
    truth: Arc<AtomicU64>,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) by_key: BTreeMap<PeerKey, usize>,
    pub(crate) network: Network,
    pub(crate) queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    timers: BTreeSet<(u64, usize, usize)>,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) faults: Faults,
    pub(crate) sync_config: SyncConfig,
    /// Time of the last message or commit of replication.
    pub(crate) last_sync: u64,
    /// Time at which a session last began or ended.
    pub(crate) last_session: u64,
    /// Why sessions ended, and how many, counted at both ends.
    pub(crate) ended: BTreeMap<String, u64>,
    /// What went wrong on the way.
    pub(crate) broken: Vec<Broken>,
    /// Bus messages that arrived: when, at whom, from whom, what.
    pub(crate) bus: Vec<(u64, usize, usize, Vec<u8>)>,
    crypto: Arc<rustls::crypto::CryptoProvider>,
    pub(crate) tune: fn(&mut MeshConfig),
    /// Whether transactions must be seen as a whole.
    pub(crate) watch_pairs: bool,
}

/// The database of every run.
pub(crate) fn database() -> DatabaseId {
    DatabaseId::DEFAULT
}

impl World {
    pub(crate) fn new(seed: u64, text: bool) -> Self {
        crypto::reseed(seed);
        Self {
            now: START_MS * 1000,
            truth: Arc::new(AtomicU64::new(START_MS)),
            rng: Rng::new(seed),
            nodes: Vec::new(),
            by_key: BTreeMap::new(),
            network: Network::default(),
            queue: BTreeMap::new(),
            next_event: 0,
            timers: BTreeSet::new(),
            trace: Trace::new(text),
            stats: Stats::default(),
            faults: Faults::new(),
            sync_config: SyncConfig::default(),
            last_sync: 0,
            last_session: 0,
            ended: BTreeMap::new(),
            broken: Vec::new(),
            bus: Vec::new(),
            crypto: crypto::provider(),
            tune: |_| {},
            watch_pairs: true,
        }
    }

    /// Adds a device, switched off; with a store if it has a disk.
    pub(crate) fn add(&mut self, disk: Option<Disk>) -> usize {
        let mut rng = self.rng.fork();
        let identity = Arc::new(Identity::generate(&mut |out| rng.fill(out)));
        let node = Node {
            key: identity.peer_key(),
            identity,
            clock: PeerClock::new(self.truth.clone()),
            random: PeerRandom::new(rng.fork()),
            disk,
            backup: None,
            subs: BTreeSet::new(),
            process: None,
            life: 0,
            started: false,
            views: 0,
            sync_due: false,
            timers: [None; 2],
            pairs: Pairs::default(),
        };
        self.by_key.insert(node.key, self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub(crate) fn at(&mut self, when: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((when.max(self.now), self.next_event), event);
    }

    /// What the wall clock of a peer shows, in milliseconds.
    pub(crate) fn wall(&self, node: usize) -> u64 {
        (self.now / 1000).saturating_add_signed(self.nodes[node].clock.skew())
    }

    /// Starts the process of a peer: opens the store, registers what the app wants, and starts sync.
    pub(crate) fn boot(&mut self, node: usize) -> Result<(), Broken> {
        let mut rng = self.rng.fork();
        let faults = self.faults.clone();
        let n = &mut self.nodes[node];
        if n.process.is_some() {
            return Ok(());
        }
        n.life += 1;
        self.stats.boots += 1;
        let mut ids = ([0; 16], [0; 8]);
        rng.fill(&mut ids.0);
        let mut data = None;
        if let Some(disk) = &mut n.disk {
            let options = StoreOptions {
                clock: n.clock.clone(),
                random: n.random.clone(),
                environment: Arc::new(|_| None),
                ..StoreOptions::new(disk.directory(), database())
            };
            let store = Store::open(options).map_err(|e| format!("peer {node} does not open: {e}"))?;
            disk.opened()?;
            let identity = store.identity();
            ids = (identity.store_id, identity.epoch);
            data = Some(Data::new(store, self.sync_config.clone(), faults.clone())?);
        }
        let mut config = MeshConfig::new(n.identity.clone(), database(), ids.0, ids.1);
        config.device_name = format!("peer {node}");
        config.os = "Linux".into();
        config.sdk_version = "simulated".into();
        config.discovery_token = token(node, n.life);
        config.crypto = Some(self.crypto.clone());
        (self.tune)(&mut config);
        let random = Box::new(move |out: &mut [u8]| rng.fill(out));
        let mut process = Process::new(config, random, data, faults);
        for query in &n.subs {
            process.inbox.push_back(ToSync::Subscribe { id: *query as u64, query: QUERIES[*query] });
        }
        n.process = Some(process);
        n.views += 1;
        n.pairs = Pairs::default();
        self.trace.note(self.now, || format!("{node} boots"));
        self.sync_soon(node);
        self.start(node);
        Ok(())
    }

    /// Starts sync of a running process.
    pub(crate) fn start(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if n.process.is_none() || n.started {
            return;
        }
        n.started = true;
        self.mesh_input(node, ditto_mesh::Input::Start);
        self.announce(node);
    }

    /// Stops sync of a running process.
    pub(crate) fn stop(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if n.process.is_none() || !n.started {
            return;
        }
        n.started = false;
        self.mesh_input(node, ditto_mesh::Input::Stop);
        self.withdraw(node);
    }

    /// The process of a peer is gone without a word. Its links vanish; peers notice unless the machine itself is gone.
    pub(crate) fn kill(&mut self, node: usize, noticed: bool) -> Option<Process> {
        let process = self.nodes[node].process.take()?;
        self.nodes[node].started = false;
        self.nodes[node].sync_due = false;
        self.nodes[node].life += 1;
        self.set_timer(node, 0, None);
        self.set_timer(node, 1, None);
        self.drop_links(node, noticed);
        if noticed {
            self.withdraw(node);
        }
        self.trace.note(self.now, || format!("{node} is gone"));
        Some(process)
    }

    pub(crate) fn mesh_input(&mut self, node: usize, input: ditto_mesh::Input) {
        self.with(node, |p, now, out| p.mesh_input(input, now, out));
    }

    /// Lets the process of a peer do something, and does what it wants.
    pub(crate) fn with(&mut self, node: usize, f: impl FnOnce(&mut Process, u64, &mut Vec<Effect>)) {
        let wall = self.wall(node);
        let mut out = Vec::new();
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        f(process, wall, &mut out);
        for effect in out {
            self.effect(node, effect);
        }
        self.rearm(node);
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Network(ForNetwork::Dial { link, target }) => self.dial(node, link, &target),
            Effect::Network(ForNetwork::Write { link, bytes }) => {
                self.trace.bytes(self.now, node, &bytes);
                self.write(node, link, &bytes);
            }
            Effect::Network(ForNetwork::Close { link }) => self.close(node, link),
            Effect::SyncSoon => self.sync_soon(node),
            Effect::SyncSent { to, lane, bytes } => {
                self.stats.sync_messages += 1;
                self.stats.sync_bytes += bytes as u64;
                self.last_sync = self.now;
                let to = self.by_key.get(&to).copied();
                self.trace.note(self.now, || format!("{node} sends {bytes} bytes to {to:?}, {lane:?}"));
            }
            Effect::Commit(commit) => {
                self.stats.commits += 1;
                self.last_sync = self.now;
                let seen = self.nodes[node].pairs.see(&commit);
                if let (Err(e), true) = (seen, self.watch_pairs) {
                    self.broken.push(format!("peer {node}: {e}"));
                }
                self.trace.line(
                    self.now,
                    &format!("{node} commit {} of {} documents", commit.seq, commit.changes.len()),
                );
                self.trace.note(self.now, || {
                    let one = |c: &ditto_store::Change| {
                        format!("{} {:?} {:?}", c.collection, c.id, c.new_state().map(|d| d.to_object()))
                    };
                    format!("  {}", commit.changes.iter().map(one).collect::<Vec<_>>().join("; "))
                });
            }
            Effect::Session { peer, ended } => {
                let other = self.by_key.get(&peer).copied();
                let up = ended.is_none();
                self.stats.sessions += u64::from(up);
                self.last_session = self.now;
                let sessions = self.nodes[node].process.as_ref().map_or(0, |p| p.connected.len());
                self.stats.most_sessions = self.stats.most_sessions.max(sessions);
                self.trace.line(self.now, &format!("{node} session with {other:?}: {up}"));
                if let Some(reason) = ended {
                    self.trace.note(self.now, || format!("{node} disconnected: {reason}"));
                    *self.ended.entry(reason).or_default() += 1;
                }
            }
            Effect::Bus(message) => {
                let from = self.by_key.get(&message.sender).copied().unwrap_or(usize::MAX);
                self.bus.push((self.now, node, from, message.data));
            }
            Effect::Presence => self.nodes[node].views += 1,
            Effect::Violation(reason) => self.broken.push(format!("peer {node}: {reason}")),
            Effect::Note(text) => self.trace.note(self.now, || format!("{node} {text}")),
        }
    }

    /// The replication thread gets a turn, a little later.
    pub(crate) fn sync_soon(&mut self, node: usize) {
        let busy =
            self.nodes[node].sync_due || self.nodes[node].process.as_ref().is_none_or(|p| p.data.is_none());
        if busy {
            return;
        }
        self.nodes[node].sync_due = true;
        let life = self.nodes[node].life;
        let delay = if self.rng.chance(1, 10) { self.rng.below(5_000) } else { self.rng.below(300) };
        self.at(self.now + delay, Event::Sync { node, life });
    }

    fn rearm(&mut self, node: usize) {
        let wall = self.wall(node);
        let Some(p) = &self.nodes[node].process else { return };
        let started = self.nodes[node].started;
        let deadlines = [p.network_deadline().filter(|_| started), p.sync_deadline()];
        for (which, deadline) in deadlines.into_iter().enumerate() {
            let due = deadline.map(|d| self.now + d.saturating_sub(wall).max(1) * 1000);
            self.set_timer(node, which, due);
        }
    }

    fn set_timer(&mut self, node: usize, which: usize, due: Option<u64>) {
        let timer = &mut self.nodes[node].timers[which];
        if *timer == due {
            return;
        }
        if let Some(old) = timer.take() {
            self.timers.remove(&(old, node, which));
        }
        if let Some(due) = due {
            *timer = Some(due);
            self.timers.insert((due, node, which));
        }
    }

    fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.truth.store(self.now / 1000, SeqCst);
    }

    /// The next thing that happens; false when nothing does until then.
    pub(crate) fn step(&mut self, until: u64) -> Result<bool, Broken> {
        let event = self.queue.first_key_value().map(|(at, _)| at.0);
        let timer = self.timers.first().map(|t| t.0);
        let due = event.into_iter().chain(timer).min().filter(|at| *at <= until);
        let Some(due) = due else {
            self.set_now(until);
            return Ok(false);
        };
        self.stats.events += 1;
        self.set_now(due);
        if event.is_some_and(|at| timer.is_none_or(|t| at <= t)) {
            if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event)?;
            }
        } else if let Some((_, node, which)) = self.timers.pop_first() {
            self.nodes[node].timers[which] = None;
            self.with(
                node,
                |p, now, out| {
                    if which == 0 { p.tick_network(now, out) } else { p.tick_sync(now, out) }
                },
            );
        }
        match self.broken.first() {
            Some(broken) => Err(broken.clone()),
            None => Ok(true),
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        let alive = |w: &World, node: usize, life: u64| w.nodes[node].life == life;
        match event {
            Event::Net { node, life, event } => {
                if alive(self, node, life)
                    && let Some(event) = self.arrive(node, event)
                {
                    self.mesh_input(node, ditto_mesh::Input::Net(event));
                }
            }
            Event::Sync { node, life } => {
                if alive(self, node, life) {
                    self.nodes[node].sync_due = false;
                    let mut rng = self.rng.fork();
                    self.with(node, |p, now, out| p.sync_step(now, &mut rng, out));
                    if self.nodes[node].process.as_ref().is_some_and(Process::has_work) {
                        self.sync_soon(node);
                    }
                }
            }
            Event::Boot { node, life } => {
                if alive(self, node, life) {
                    self.boot(node)?;
                }
            }
            Event::Lost { node, other, life } => self.lose(node, other, life),
            Event::Start { node, life } => {
                if alive(self, node, life) {
                    self.start(node);
                }
            }
        }
        Ok(())
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, ms: u64) -> Result<(), Broken> {
        let until = self.now + ms * 1000;
        while self.step(until)? {}
        Ok(())
    }

    /// Lets time pass until a condition holds, at most so long; says whether it did. It is asked every `every_ms`.
    pub(crate) fn run_until(
        &mut self,
        limit_ms: u64,
        every_ms: u64,
        mut done: impl FnMut(&World) -> bool,
    ) -> Result<bool, Broken> {
        let end = self.now + limit_ms * 1000;
        loop {
            if done(self) {
                return Ok(true);
            }
            if self.now >= end {
                return Ok(false);
            }
            self.run_for(every_ms.min((end - self.now).div_ceil(1000)))?;
        }
    }

    /// Whether two processes have a session with each other over a link that works.
    pub(crate) fn connected(&self, a: usize, b: usize) -> bool {
        let has = |a: usize, b: usize| {
            let process = self.nodes[a].process.as_ref();
            process.is_some_and(|p| p.connected.contains(&self.nodes[b].key))
        };
        has(a, b) && has(b, a) && !self.network.is_dead_between(a, b)
    }

    pub(crate) fn is_faulty(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(crate) fn net_event(&mut self, when: u64, node: usize, event: NetEvent) {
        let life = self.nodes[node].life;
        self.at(when, Event::Net { node, life, event });
    }
}

/// Under which a process is announced.
pub(crate) fn token(node: usize, life: u64) -> String {
    format!("token-{node:03}-{life}")
}

/// The link that an event is about.
pub(crate) fn link_of(event: &NetEvent) -> Option<LinkId> {
    match event {
        NetEvent::LinkUp { link, .. }
        | NetEvent::DialFailed { link, .. }
        | NetEvent::Bytes { link, .. }
        | NetEvent::Written { link, .. }
        | NetEvent::LinkDown { link, .. } => Some(*link),
        _ => None,
    }
}
