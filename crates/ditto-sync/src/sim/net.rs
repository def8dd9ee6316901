//! Peers, links with two lanes each way, and the invariants that hold when everything is delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ditto_types::{Digest, DocId, Object};

use super::rng::Rng;
use super::store::MemStore;
use crate::engine::Rule;
use crate::store::{StoreIdentity, SyncStore};
use crate::wire::Message;
use crate::wire::pack::Packer;
use crate::{Action, Input, Lane, PeerId, SyncConfig, SyncEngine, SyncProgress};

/// One peer of the simulation.
pub(crate) struct Node {
    pub(crate) engine: SyncEngine<MemStore>,
    pub(crate) store: MemStore,
    pub(crate) subs: BTreeMap<u64, String>,
    pub(crate) progress: Vec<SyncProgress>,
    pub(crate) rejected: Vec<Action>,
}

/// Messages under way from one peer to another on one lane.
type Wire = (usize, usize, Lane);

/// What was put on the wires.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: usize,
    /// Documents in them.
    pub(crate) documents: usize,
}

impl Traffic {
    pub(crate) fn since(self, before: Traffic) -> Traffic {
        Traffic { messages: self.messages - before.messages, documents: self.documents - before.documents }
    }
}

/// The network.
pub(crate) struct Net {
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeSet<(usize, usize)>,
    wires: BTreeMap<Wire, VecDeque<Vec<u8>>>,
    pub(crate) now: u64,
    pub(crate) config: SyncConfig,
    rules: BTreeSet<Rule>,
    /// Messages and bytes put on the wires.
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) traffic: Traffic,
    pub(crate) disconnects: Vec<String>,
    /// Messages that were delivered, if a test wants them.
    pub(crate) record: Option<Vec<(Lane, Vec<u8>)>>,
    /// Prints what happens; set by DITTO_TRACE.
    pub(crate) trace: bool,
    /// Whether lanes report that they drain; without it bulk sending stalls, which some tests want.
    pub(crate) report_queues: bool,
}

/// A violated invariant.
pub(crate) type Broken = String;

pub(crate) fn peer_id(n: usize) -> PeerId {
    let mut id = [0; 34];
    id[2] = n as u8 + 1;
    PeerId(id)
}

fn index(peer: PeerId) -> usize {
    peer.0[2] as usize - 1
}

fn documents(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(4 | 18) => match decode(bytes) {
            Message::Txn(txn) => txn.items.len(),
            _ => 0,
        },
        _ => 0,
    }
}

/// What an honest peer sent.
pub(crate) fn decode(bytes: &[u8]) -> Message {
    Message::decode(&Packer::default().unpack(bytes).unwrap()).unwrap()
}

impl Net {
    pub(crate) fn new(n: usize, seed: u64, config: SyncConfig) -> Self {
        Self::with_faults(n, seed, config, BTreeSet::new())
    }

    pub(crate) fn with_faults(n: usize, seed: u64, config: SyncConfig, rules: BTreeSet<Rule>) -> Self {
        let mut net = Net {
            rng: Rng::new(seed),
            nodes: Vec::new(),
            links: BTreeSet::new(),
            wires: BTreeMap::new(),
            now: 1_000_000,
            config,
            rules,
            messages: 0,
            bytes: 0,
            traffic: Traffic::default(),
            disconnects: Vec::new(),
            record: None,
            trace: false,
            report_queues: true,
        };
        for i in 0..n {
            let store = MemStore::new(i as u8);
            store.set_now(net.now);
            let engine = net.engine(&store);
            let (subs, progress, rejected) = (BTreeMap::new(), Vec::new(), Vec::new());
            net.nodes.push(Node { engine, store, subs, progress, rejected });
        }
        net
    }

    fn engine(&self, store: &MemStore) -> SyncEngine<MemStore> {
        let mut engine = SyncEngine::new(store.clone(), self.config.clone());
        engine.core.faults = self.rules.clone();
        engine
    }

    /// Lets time pass for all.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += ms;
        for node in &self.nodes {
            node.store.set_now(self.now);
        }
    }

    pub(crate) fn input(&mut self, n: usize, input: Input) {
        if self.trace {
            match &input {
                Input::Message { peer, lane, bytes } => {
                    let m = decode(bytes);
                    eprintln!("{} {n} <- {} {lane:?} {m:?}", self.now, index(*peer));
                }
                Input::Queued { .. } | Input::Tick => {}
                Input::Commit(c) => {
                    let what: Vec<_> =
                        c.changes.iter().map(|c| (c.id(), c.new_state().map(|d| d.to_object()))).collect();
                    eprintln!("{} {n} commit {} from {:?}: {what:?}", self.now, c.seq, c.source);
                }
                other => eprintln!("{} {n} {other:?}", self.now),
            }
        }
        self.nodes[n].engine.handle(input, self.now);
        self.collect(n);
    }

    /// Carries out what the engine wants.
    fn collect(&mut self, n: usize) {
        while let Some(action) = self.nodes[n].engine.poll() {
            match action {
                Action::Send { peer, lane, bytes } => {
                    let to = index(peer);
                    assert!(bytes.len() <= crate::MAX_MESSAGE_BYTES);
                    if self.links.contains(&(n, to)) {
                        self.messages += 1;
                        self.bytes += bytes.len();
                        self.traffic.messages += 1;
                        self.traffic.documents += documents(&bytes);
                        self.wires.entry((n, to, lane)).or_default().push_back(bytes);
                    }
                }
                Action::Disconnect { peer, reason } => {
                    self.disconnects.push(reason);
                    self.down(n, index(peer));
                }
                Action::Evict { collection, documents } => {
                    let store = &self.nodes[n].store;
                    let same = |(id, digest): &(DocId, Digest)| {
                        store.docs().iter().any(|d| d.id == *id && d.digest == *digest)
                    };
                    let ids: Vec<_> =
                        documents.iter().filter(|d| same(d)).map(|(id, _)| id.to_value()).collect();
                    let ids: Vec<_> = ids.iter().filter_map(|id| id.as_str()).collect();
                    store.evict(&collection, &ids);
                }
                Action::Progress(p) => self.nodes[n].progress.push(p),
                rejected @ Action::Rejected { .. } => self.nodes[n].rejected.push(rejected),
            }
        }
    }

    pub(crate) fn subscribe(&mut self, n: usize, sub: u64, query: &str) {
        self.nodes[n].subs.insert(sub, query.to_owned());
        self.input(n, Input::Subscribe { sub, query: query.to_owned(), args: Object::new() });
    }

    pub(crate) fn unsubscribe(&mut self, n: usize, sub: u64) {
        self.nodes[n].subs.remove(&sub);
        self.input(n, Input::Unsubscribe { sub });
    }

    pub(crate) fn up(&mut self, a: usize, b: usize) {
        if a == b || !self.links.insert((a, b)) {
            return;
        }
        self.links.insert((b, a));
        for (n, other) in [(a, b), (b, a)] {
            let StoreIdentity { store_id, epoch } = self.nodes[other].store.identity();
            self.input(n, Input::PeerUp { peer: peer_id(other), store_id, epoch });
        }
    }

    pub(crate) fn down(&mut self, a: usize, b: usize) {
        if !self.links.remove(&(a, b)) {
            return;
        }
        self.links.remove(&(b, a));
        self.wires.retain(|(from, to, _), _| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        self.input(a, Input::PeerDown { peer: peer_id(b) });
        self.input(b, Input::PeerDown { peer: peer_id(a) });
    }

    /// Kills a peer's process; the commits after its last checkpoint are lost.
    pub(crate) fn crash(&mut self, n: usize) {
        // The process is gone before its links are noticed to be down.
        self.nodes[n].engine = self.engine(&self.nodes[n].store);
        for other in 0..self.nodes.len() {
            self.down(n, other);
        }
        self.nodes[n].store.crash();
        self.nodes[n].engine = self.engine(&self.nodes[n].store);
        for (sub, query) in self.nodes[n].subs.clone() {
            self.subscribe(n, sub, &query);
        }
    }

    /// Hands one commit of a peer to its engine.
    pub(crate) fn publish(&mut self, n: usize) -> bool {
        let Some(commit) = self.nodes[n].store.next_commit() else { return false };
        self.input(n, Input::Commit(commit));
        true
    }

    /// Delivers one message.
    fn deliver(&mut self, wire: Wire) -> bool {
        let Some(queue) = self.wires.get_mut(&wire) else { return false };
        let Some(bytes) = queue.pop_front() else { return false };
        let left = queue.iter().map(Vec::len).sum();
        let (from, to, lane) = wire;
        if let Some(record) = &mut self.record {
            record.push((lane, bytes.clone()));
        }
        if self.report_queues {
            self.input(from, Input::Queued { peer: peer_id(to), lane, bytes: left });
        }
        self.input(to, Input::Message { peer: peer_id(from), lane, bytes });
        true
    }

    /// Lets the time of a hop pass: what is on the wires arrives, and what is due is done.
    pub(crate) fn hop(&mut self, ms: u64) {
        self.advance(ms);
        let wires: Vec<_> = self.wires.iter().map(|(wire, queue)| (*wire, queue.len())).collect();
        for (wire, n) in wires {
            for _ in 0..n {
                self.deliver(wire);
                self.publish_all(wire.1);
            }
        }
        if self.deadline().is_some_and(|t| t <= self.now) {
            self.tick();
        }
    }

    /// Bytes under way on a lane.
    pub(crate) fn in_flight(&self, from: usize, to: usize, lane: Lane) -> usize {
        self.wires.get(&(from, to, lane)).map_or(0, |q| q.iter().map(Vec::len).sum())
    }

    /// Leaves the commits of a peer out that its engine was not told of yet.
    pub(crate) fn miss(&mut self, n: usize) {
        while self.nodes[n].store.next_commit().is_some() {}
        self.nodes[n].engine.skip_to_head();
        self.collect(n);
    }

    /// Hands all commits of a peer to its engine.
    pub(crate) fn publish_all(&mut self, n: usize) {
        while self.publish(n) {}
    }

    /// Delivers what is on one wire, in order.
    pub(crate) fn pass(&mut self, from: usize, to: usize, lane: Lane) {
        while self.deliver((from, to, lane)) {}
    }

    /// Delivers everything between two peers, and their commits, but nothing to or from others.
    pub(crate) fn pass_between(&mut self, a: usize, b: usize) {
        loop {
            let before = self.bytes;
            for (from, to) in [(a, b), (b, a)] {
                self.pass(from, to, Lane::Live);
                self.pass(from, to, Lane::Bulk);
                self.publish_all(from);
            }
            if self.bytes == before && !self.nodes[a].store.has_commits() {
                return;
            }
        }
    }

    /// Everything that could happen next without anybody doing anything.
    fn pending(&self) -> (Vec<Wire>, Vec<usize>) {
        let wires = self.wires.iter().filter(|(_, q)| !q.is_empty()).map(|(w, _)| *w).collect();
        let commits = (0..self.nodes.len()).filter(|n| self.nodes[*n].store.has_commits()).collect();
        (wires, commits)
    }

    /// Lets one thing happen, at random; false if there is nothing but time.
    pub(crate) fn random_event(&mut self) -> bool {
        let (wires, commits) = self.pending();
        let choices = wires.len() + commits.len();
        if choices == 0 {
            return false;
        }
        let i = self.rng.below(choices);
        if i < wires.len() { self.deliver(wires[i]) } else { self.publish(commits[i - wires.len()]) }
    }

    /// The next time that any engine waits for.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|n| n.engine.next_deadline()).min()
    }

    pub(crate) fn tick(&mut self) {
        for n in 0..self.nodes.len() {
            self.input(n, Input::Tick);
        }
    }

    /// Delivers everything and lets all timers run, until nothing is left to do.
    pub(crate) fn drain(&mut self) -> Result<(), Broken> {
        for _ in 0..200_000 {
            if self.random_event() {
                continue;
            }
            let Some(t) = self.deadline() else { return Ok(()) };
            self.advance(t.saturating_sub(self.now));
            self.tick();
        }
        Err("busy: messages do not end".into())
    }

    /// Drains and checks.
    pub(crate) fn settle(&mut self) {
        self.drain().unwrap();
        assert!(self.disconnects.is_empty(), "{:?}", self.disconnects);
        self.check().unwrap();
    }

    /// Drains; what a peer refuses is missing there, so that the invariants are not checked.
    pub(crate) fn settle_links(&mut self) {
        self.drain().unwrap();
        assert!(self.disconnects.is_empty(), "{:?}", self.disconnects);
    }

    /// I1 and I2 for every pair of connected peers.
    pub(crate) fn check(&self) -> Result<(), Broken> {
        for (s, r) in &self.links {
            let (sender, receiver) = (&self.nodes[*s], &self.nodes[*r]);
            let queries: Vec<_> =
                receiver.subs.values().map(|q| sender.store.compile(q, &Object::new()).unwrap()).collect();
            let held: BTreeMap<_, _> = receiver.store.docs().into_iter().map(|d| (d.key, d)).collect();
            for theirs in sender.store.docs() {
                let matches = |doc: &crate::StoredDoc| {
                    queries.iter().any(|q| sender.store.matches(q, &doc.collection, &doc.id, &doc.doc))
                };
                let mine = held.get(&theirs.key);
                let newer = mine.is_some_and(|mine| {
                    let mut merged = mine.doc.clone();
                    merged.merge(&theirs.doc);
                    merged == mine.doc
                });
                if matches(&theirs) && !newer {
                    let what = if mine.is_some() { "older" } else { "missing" };
                    return Err(format!("I1 {what}: {:?} from {s} at {r}", theirs.id));
                }
                if mine.is_some_and(matches) && !newer {
                    return Err(format!("I2 stale: {:?} from {s} at {r}", theirs.id));
                }
            }
        }
        Ok(())
    }

    /// The subscriptions that are not LIVE.
    pub(crate) fn not_live(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (i, n) in self.nodes.iter().enumerate() {
            for p in n.engine.status().iter().filter(|p| p.connected) {
                for (sub, state) in p.subscriptions.iter().filter(|(_, s)| *s != crate::SyncState::Live) {
                    out.push(format!("{i}: {:?} {sub} {state:?}", p.peer));
                }
            }
        }
        out
    }

    /// Whether all subscriptions at all links are LIVE.
    pub(crate) fn all_live(&self) -> bool {
        self.not_live().is_empty()
    }
}
