//! Replication machines on real stores, without network between them: messages take one hop of virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use ditto::types::{Object, Value};
use ditto::wiring::{StoreAdapter, local_commit};
use ditto_store::{Commit, Store, StoreOptions};
use ditto_sync::{Action, Input, Lane, PeerId, SyncConfig, SyncEngine, SyncState, query_hash};
use tempfile::TempDir;

use crate::Outcome;

/// What everybody subscribes to.
pub(super) const ALL: &str = "SELECT * FROM docs";

const DATABASE: &str = "a1b2c3d4-0000-4000-8000-000000000001";

/// First byte of a message with documents, and of one that is compressed: on the bulk lane these have documents, on the live
/// lane they may be requests.
const DOCUMENTS: [(u8, Lane); 3] = [(4, Lane::Live), (4, Lane::Bulk), (18, Lane::Bulk)];

/// Virtual milliseconds that a message takes.
pub(super) const HOP_MS: u64 = 5;

struct Peer {
    store: Store,
    engine: SyncEngine<StoreAdapter>,
    commits: Receiver<Arc<Commit>>,
    live: bool,
    _directory: TempDir,
}

/// Counts of what was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Bytes of messages without documents.
    pub(super) overhead: u64,
}

/// A message under way: from, to, lane and bytes.
type Sent = (usize, usize, Lane, Vec<u8>);

/// Peers and the messages between them.
pub(super) struct Pump {
    peers: Vec<Peer>,
    links: BTreeSet<(usize, usize)>,
    /// By time of arrival and order of sending.
    queue: BTreeMap<(u64, u64), Sent>,
    sent: u64,
    pub(super) now: u64,
    pub(super) traffic: Traffic,
}

fn id(n: usize) -> PeerId {
    let mut bytes = [0; 34];
    bytes[0] = 1;
    bytes[2..10].copy_from_slice(&(n as u64).to_le_bytes());
    PeerId(bytes)
}

impl Pump {
    pub(super) fn new(n: usize) -> Outcome<Self> {
        let now = 1_800_000_000_000;
        let mut peers = Vec::new();
        for _ in 0..n {
            let directory = tempfile::tempdir()?;
            let store = Store::open(StoreOptions::new(directory.path(), DATABASE.parse()?))?;
            let commits = store.subscribe_commits();
            let engine = SyncEngine::new(StoreAdapter::new(store.clone()), SyncConfig::default());
            peers.push(Peer { store, engine, commits, live: false, _directory: directory });
        }
        let mut pump = Self {
            peers,
            links: BTreeSet::new(),
            queue: BTreeMap::new(),
            sent: 0,
            now,
            traffic: Traffic::default(),
        };
        for n in 0..pump.peers.len() {
            pump.handle(n, Input::Subscribe { sub: 1, query: ALL.into(), args: Object::new() })?;
        }
        Ok(pump)
    }

    /// Runs a statement at one peer.
    pub(super) fn run<const N: usize>(
        &mut self,
        n: usize,
        text: &str,
        args: [(&str, Value); N],
    ) -> Outcome<()> {
        let args = Object::from(args.map(|(name, value)| (name.into(), value)));
        self.peers[n].store.execute(text, &args)?;
        self.commits(n)
    }

    /// As if all peers had got new documents of somebody else.
    pub(super) fn learn(&mut self, documents: Vec<Value>) -> Outcome<()> {
        let (directory, n) = (tempfile::tempdir()?, documents.len());
        let other = Store::open(StoreOptions::new(directory.path(), DATABASE.parse()?))?;
        let args = Object::from([("d".into(), Value::Array(documents))]);
        other.execute("INSERT INTO docs DOCUMENTS (:d)", &args)?;
        let query = other.compile_subscription(ALL, &Object::new())?;
        let changes = other.changes(&query, 0, n, usize::MAX)?.docs;
        for peer in 0..self.peers.len() {
            let item = |d: &ditto_store::StoredDoc| ditto_store::ApplyItem {
                collection: d.collection.clone(),
                id: d.id.clone(),
                body: ditto_store::ItemBody::full(&d.doc),
            };
            let items = changes.iter().map(item).collect();
            let batch = ditto_store::ApplyBatch { items, ..ditto_store::ApplyBatch::default() };
            self.peers[peer].store.apply(batch)?;
            self.commits(peer)?;
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) -> Outcome<()> {
        self.links.insert((a.min(b), a.max(b)));
        for (n, other) in [(a, b), (b, a)] {
            let identity = self.peers[other].store.identity();
            let (store_id, epoch) = (identity.store_id, identity.epoch);
            self.handle(n, Input::PeerUp { peer: id(other), store_id, epoch })?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) -> Outcome<()> {
        self.links.remove(&(a.min(b), a.max(b)));
        self.queue.retain(|_, (from, to, ..)| (*from.min(to), *from.max(to)) != (a.min(b), a.max(b)));
        for (n, other) in [(a, b), (b, a)] {
            self.peers[n].live = false;
            self.handle(n, Input::PeerDown { peer: id(other) })?;
        }
        Ok(())
    }

    /// As if the two had learnt what they hold from others.
    pub(super) fn forget_cursors(&mut self) -> Outcome<()> {
        for peer in &self.peers {
            peer.store.delete_cursors(query_hash(ALL, &Object::new()))?;
        }
        Ok(())
    }

    /// Whether the subscription of a peer is live somewhere.
    pub(super) fn is_live(&self, n: usize) -> bool {
        self.peers[n].live
    }

    /// Sum over everything in the collection, to compare peers.
    pub(super) fn state(&self, n: usize) -> Outcome<(usize, u64)> {
        let store = &self.peers[n].store;
        let query = store.compile_subscription(ALL, &Object::new())?;
        let (mut count, mut sum) = (0, 0_u64);
        store.scan_view(&query, &mut |key, digest| {
            count += 1;
            sum = sum.wrapping_add(key.0 ^ digest.short().rotate_left(17));
        })?;
        Ok((count, sum))
    }

    pub(super) fn all_equal(&self) -> Outcome<bool> {
        let first = self.state(0)?;
        for n in 1..self.peers.len() {
            if self.state(n)? != first {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Delivers until `done`, or until nothing is left to do.
    pub(super) fn until(&mut self, mut done: impl FnMut(&Self) -> Outcome<bool>) -> Outcome<bool> {
        loop {
            if done(self)? {
                return Ok(true);
            }
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = self.peers.iter().filter_map(|p| p.engine.next_deadline()).min();
            let Some(at) = next.into_iter().chain(due).min() else { return Ok(false) };
            self.now = self.now.max(at);
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                let (from, to, lane, bytes) = entry.remove();
                self.handle(to, Input::Message { peer: id(from), lane, bytes })?;
            }
            for n in 0..self.peers.len() {
                if self.peers[n].engine.next_deadline().is_some_and(|at| at <= self.now) {
                    self.handle(n, Input::Tick)?;
                }
            }
        }
    }

    /// Delivers until nothing is left to do.
    pub(super) fn settle(&mut self) -> Outcome<()> {
        self.until(|_| Ok(false)).map(drop)
    }

    fn handle(&mut self, n: usize, input: Input) -> Outcome<()> {
        let now = self.now;
        self.peers[n].engine.handle(input, now);
        self.carry_out(n)?;
        self.commits(n)
    }

    fn commits(&mut self, n: usize) -> Outcome<()> {
        while let Ok(commit) = self.peers[n].commits.try_recv() {
            let now = self.now;
            self.peers[n].engine.handle(Input::Commit(local_commit(&commit)), now);
            self.carry_out(n)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, n: usize) -> Outcome<()> {
        while let Some(action) = self.peers[n].engine.poll() {
            match action {
                Action::Send { peer, lane, bytes } => {
                    let to = (0..self.peers.len()).find(|other| id(*other) == peer).ok_or("nobody")?;
                    if !self.links.contains(&(n.min(to), n.max(to))) {
                        continue;
                    }
                    self.traffic.messages += 1;
                    self.traffic.bytes += bytes.len() as u64;
                    if !bytes.first().is_some_and(|tag| DOCUMENTS.contains(&(*tag, lane))) {
                        self.traffic.overhead += bytes.len() as u64;
                    }
                    // The network takes everything at once.
                    let now = self.now;
                    self.peers[n].engine.handle(Input::Queued { peer, lane, bytes: 0 }, now);
                    self.sent += 1;
                    self.queue.insert((self.now + HOP_MS, self.sent), (n, to, lane, bytes));
                }
                Action::Progress(progress) => self.peers[n].live |= progress.state == SyncState::Live,
                Action::Disconnect { reason, .. } => return Err(reason.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
