//! The virtual network.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use ditto_types::{BLOB_CHUNK_BYTES, BlobId, blob_chunks};

use crate::blob::limits::{LOW_WATER, MAX_BLOB_MESSAGE};
use crate::blob::wire::Message;
use crate::blob::*;
use crate::peer::PeerId;
use crate::sim::rng::Rng;

pub(super) const CHUNK: u64 = BLOB_CHUNK_BYTES as u64;

/// Content that is anywhere. It stands for the hash: a chunk belongs to a blob if it is the chunk of its content.
pub(super) type Library = Arc<BTreeMap<BlobName, Vec<u8>>>;

pub(super) fn blob(number: u8, len: u64) -> (BlobName, Vec<u8>) {
    let mut bytes = vec![number; len as usize];
    for (index, chunk) in bytes.chunks_mut(BLOB_CHUNK_BYTES).enumerate() {
        let mark = (index as u64).to_le_bytes();
        let n = mark.len().min(chunk.len());
        chunk[..n].copy_from_slice(&mark[..n]);
    }
    (BlobName { id: BlobId([number; 32]), len }, bytes)
}

fn chunk_of(content: &[u8], index: u64) -> &[u8] {
    let start = (index * CHUNK) as usize;
    &content[start..content.len().min(start + BLOB_CHUNK_BYTES)]
}

#[derive(Default)]
pub(super) struct Store {
    library: Library,
    pub(super) held: BTreeMap<BlobName, ChunkSet>,
    loaded: BTreeSet<BlobName>,
    /// Its chunks are not what they should be.
    pub(super) lies: bool,
    /// Keeps nothing any more.
    pub(super) full: bool,
    /// Cannot be read.
    pub(super) broken: bool,
    pub(super) put_twice: usize,
}

impl Store {
    pub(super) fn is_open(&self) -> usize {
        self.loaded.len()
    }
}

impl BlobStore for Store {
    type Error = String;

    fn holding(&mut self, name: BlobName) -> Result<BlobHolding, String> {
        if self.broken {
            return Err("cannot be read".into());
        }
        Ok(match self.held.get(&name) {
            None => BlobHolding::Nothing,
            Some(set) if set.is_full() => BlobHolding::Whole,
            Some(set) => BlobHolding::Some(set.clone()),
        })
    }

    fn is_whole(&mut self, name: BlobName) -> bool {
        self.held.get(&name).is_some_and(ChunkSet::is_full)
    }

    fn chunk(&mut self, name: BlobName, index: u64) -> Result<Option<BlobChunk>, String> {
        if self.broken {
            return Err("cannot be read".into());
        }
        if !self.held.get(&name).is_some_and(|set| set.contains(index)) {
            return Ok(None);
        }
        let mut bytes = chunk_of(&self.library[&name], index).to_vec();
        if self.lies
            && let Some(first) = bytes.first_mut()
        {
            *first ^= 1;
        }
        Ok(Some(BlobChunk { proof: vec![[index as u8; 32]; 3], bytes }))
    }

    fn put(&mut self, name: BlobName, index: u64, chunk: BlobChunk) -> Result<BlobPut, String> {
        assert!(self.loaded.contains(&name), "put into a blob that is not open");
        if self.full {
            return Err("no space".into());
        }
        if chunk.bytes != chunk_of(&self.library[&name], index) {
            return Ok(BlobPut::Refused);
        }
        let set = self.held.entry(name).or_insert_with(|| ChunkSet::new(name.len));
        self.put_twice += usize::from(!set.insert(index));
        Ok(if set.is_full() { BlobPut::Complete } else { BlobPut::Kept })
    }
}

pub(super) struct Node {
    pub(super) exchange: BlobExchange<Store>,
    /// What it reported about each fetch.
    pub(super) progress: BTreeMap<u64, Vec<u64>>,
    pub(super) ended: BTreeMap<u64, FetchEnd<String>>,
    pub(super) located: BTreeMap<u64, Vec<BlobHolder>>,
    pub(super) distrusted: Vec<usize>,
    /// Chunks sent, to whom, and messages of any kind.
    pub(super) sent_chunks: Vec<(usize, BlobName, u64)>,
    pub(super) sent_messages: usize,
    pub(super) violations: Vec<String>,
    /// Reading what is here takes this long.
    pub(super) load_ms: u64,
}

/// One direction of a line.
#[derive(Default)]
struct Way {
    free_at: u64,
    queued: usize,
}

struct Wire {
    ends: [(usize, LineId); 2],
    ways: [Way; 2],
    latency: u64,
    /// Bytes in a millisecond.
    rate: u64,
    /// Peers on the way of a circuit.
    relays: Vec<usize>,
}

enum Event {
    Input(usize, BlobInput<String>),
    /// A message leaves its sender.
    Left(usize, usize, usize),
    /// A message arrives.
    Arrives(usize, usize, Vec<u8>),
    CircuitUp(usize, usize),
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) nodes: Vec<Node>,
    library: BTreeMap<BlobName, Vec<u8>>,
    wires: BTreeMap<usize, Wire>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next: u64,
    pub(super) rng: Rng,
    /// Circuits do not open.
    pub(super) no_circuits: bool,
    pub(super) circuits_opened: usize,
    pub(super) relayed: BTreeMap<usize, usize>,
}

pub(super) fn peer(node: usize) -> PeerId {
    PeerId([node as u8 + 1; 34])
}

impl World {
    pub(super) fn new(nodes: usize, seed: u64) -> Self {
        let node = |n: usize| Node {
            exchange: BlobExchange::new(Store::default(), peer(n), seed ^ (n as u64 * 7919)),
            progress: BTreeMap::new(),
            ended: BTreeMap::new(),
            located: BTreeMap::new(),
            distrusted: Vec::new(),
            sent_chunks: Vec::new(),
            sent_messages: 0,
            violations: Vec::new(),
            load_ms: 0,
        };
        Self {
            now: 1_000,
            nodes: (0..nodes).map(node).collect(),
            library: BTreeMap::new(),
            wires: BTreeMap::new(),
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next: 1,
            rng: Rng::new(seed),
            no_circuits: false,
            circuits_opened: 0,
            relayed: BTreeMap::new(),
        }
    }

    /// A blob that these peers have.
    pub(super) fn add(&mut self, number: u8, len: u64, holders: &[usize]) -> BlobName {
        let (name, bytes) = blob(number, len);
        self.library.insert(name, bytes);
        let library = Arc::new(self.library.clone());
        for node in &mut self.nodes {
            node.exchange.store().library = library.clone();
        }
        for holder in holders {
            self.give(*holder, name, |_| true);
        }
        name
    }

    pub(super) fn give(&mut self, node: usize, name: BlobName, which: impl Fn(u64) -> bool) {
        let held = &mut self.store(node).held;
        let set = held.entry(name).or_insert_with(|| ChunkSet::new(name.len));
        (0..blob_chunks(name.len)).filter(|i| which(*i)).for_each(|i| {
            set.insert(i);
        });
    }

    pub(super) fn store(&mut self, node: usize) -> &mut Store {
        self.nodes[node].exchange.store()
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next)));
        self.bodies.insert(self.next, event);
    }

    pub(super) fn input(&mut self, node: usize, input: BlobInput<String>) {
        self.nodes[node].exchange.handle(input, self.now);
        self.carry_out(node);
    }

    fn join(&mut self, a: usize, b: usize, latency: u64, rate: u64, relays: Option<Vec<usize>>) -> usize {
        self.next += 2;
        let (wire, lines) = (self.next as usize, [LineId(self.next), LineId(self.next - 1)]);
        let ends = [(a, lines[0]), (b, lines[1])];
        let kinds = match &relays {
            None => [LineKind::Direct, LineKind::Direct],
            Some(_) => [LineKind::Outgoing, LineKind::Incoming],
        };
        let relays = relays.unwrap_or_default();
        self.wires.insert(wire, Wire { ends, ways: Default::default(), latency, rate, relays });
        for ((node, line), (kind, other)) in ends.into_iter().zip(kinds.into_iter().zip([b, a])) {
            self.input(node, BlobInput::LineUp { line, peer: peer(other), kind });
        }
        wire
    }

    /// Two peers are neighbours. `rate` is in bytes per millisecond.
    pub(super) fn link(&mut self, a: usize, b: usize, latency: u64, rate: u64) -> usize {
        self.join(a, b, latency, rate, None)
    }

    /// A line ends, with everything on it, and the circuits that used it.
    pub(super) fn cut(&mut self, wire: usize) {
        let Some(gone) = self.wires.remove(&wire) else { return };
        for (node, line) in gone.ends {
            self.input(node, BlobInput::LineDown { line });
        }
        if gone.relays.is_empty() {
            let circuits: Vec<usize> =
                self.wires.iter().filter(|(_, w)| !w.relays.is_empty()).map(|(id, _)| *id).collect();
            for circuit in circuits {
                let Some(w) = self.wires.get(&circuit) else { continue };
                let (a, b) = (w.ends[0].0, w.ends[1].0);
                if self.route(a, b).is_none_or(|r| r != self.wires[&circuit].relays) {
                    self.cut(circuit);
                }
            }
        }
    }

    pub(super) fn links(&self) -> Vec<usize> {
        self.wires.iter().filter(|(_, w)| w.relays.is_empty()).map(|(id, _)| *id).collect()
    }

    pub(super) fn link_between(&self, a: usize, b: usize) -> Option<usize> {
        let is = |w: &&Wire| w.ends.iter().all(|(n, _)| [a, b].contains(n)) && w.relays.is_empty();
        self.wires.iter().find(|(_, w)| is(w)).map(|(id, _)| *id)
    }

    /// The relays of the shortest way, if there is one.
    fn route(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::from([from]);
        while !ways.is_empty() {
            let mut next = Vec::new();
            for way in ways {
                let last = *way.last()?;
                if last == to {
                    return Some(way[1..way.len() - 1].to_vec());
                }
                for w in self.wires.values().filter(|w| w.relays.is_empty()) {
                    let ends = w.ends.map(|(n, _)| n);
                    let other = match ends {
                        [a, b] if a == last => b,
                        [a, b] if b == last => a,
                        _ => continue,
                    };
                    if seen.insert(other) {
                        next.push([&way[..], &[other]].concat());
                    }
                }
            }
            ways = next;
        }
        None
    }

    fn wire_of(&self, node: usize, line: LineId) -> Option<(usize, usize)> {
        let side = |w: &Wire| w.ends.iter().position(|end| *end == (node, line));
        self.wires.iter().find_map(|(id, w)| Some((*id, side(w)?)))
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].exchange.poll() {
            match action {
                BlobAction::Send { line, bytes } => self.transmit(node, line, bytes),
                BlobAction::OpenCircuit { peer } => {
                    let target = usize::from(peer.0[0]) - 1;
                    self.schedule(self.now + 20, Event::CircuitUp(node, target));
                }
                BlobAction::CloseLine { line } => {
                    if let Some((wire, _)) = self.wire_of(node, line) {
                        self.cut(wire);
                    }
                }
                BlobAction::Violation { line, reason } => {
                    self.nodes[node].violations.push(reason);
                    if let Some((wire, _)) = self.wire_of(node, line) {
                        self.cut(wire);
                    }
                }
                BlobAction::Distrusted { peer, .. } => {
                    self.nodes[node].distrusted.push(usize::from(peer.0[0]) - 1);
                }
                BlobAction::Load { name } => {
                    let store = self.store(node);
                    assert!(store.loaded.insert(name), "loaded twice");
                    let have = store.held.entry(name).or_insert_with(|| ChunkSet::new(name.len)).clone();
                    let at = self.now + self.nodes[node].load_ms;
                    self.schedule(at, Event::Input(node, BlobInput::Loaded { name, have: Ok(have) }));
                }
                BlobAction::Unload { name } => {
                    assert!(self.store(node).loaded.remove(&name), "unloaded twice");
                }
                BlobAction::Progress { fetch, bytes } => {
                    assert!(!self.nodes[node].ended.contains_key(&fetch.0), "progress after the end");
                    let all = self.nodes[node].progress.entry(fetch.0).or_default();
                    assert!(all.last().is_none_or(|last| *last <= bytes), "progress goes back");
                    all.push(bytes);
                }
                BlobAction::Ended { fetch, end } => {
                    assert!(self.nodes[node].ended.insert(fetch.0, end).is_none(), "ended twice");
                }
                BlobAction::Located { question, holders } => {
                    assert!(self.nodes[node].located.insert(question, holders).is_none());
                }
            }
        }
    }

    fn transmit(&mut self, node: usize, line: LineId, bytes: Vec<u8>) {
        assert!(bytes.len() <= MAX_BLOB_MESSAGE);
        let Some((wire, side)) = self.wire_of(node, line) else { return };
        let now = self.now;
        let w = self.wires.get_mut(&wire).unwrap();
        let to = w.ends[1 - side].0;
        self.nodes[node].sent_messages += 1;
        // Of the others only the number counts, and copies of chunks are slow.
        if bytes[0] == 6
            && let Ok(Message::Data(name, index, _)) = Message::decode(bytes.clone())
        {
            self.nodes[node].sent_chunks.push((to, name, index));
            for relay in &w.relays {
                *self.relayed.entry(*relay).or_default() += 1;
            }
        }
        let way = &mut w.ways[side];
        way.queued += bytes.len();
        assert!(way.queued <= LOW_WATER + 2 * MAX_BLOB_MESSAGE, "the queue of a line is not bounded");
        let leaves = way.free_at.max(now) + bytes.len() as u64 / w.rate;
        way.free_at = leaves;
        let (size, arrives) = (bytes.len(), leaves + w.latency);
        self.schedule(leaves, Event::Left(wire, side, size));
        self.schedule(arrives, Event::Arrives(wire, 1 - side, bytes));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(node, input) => self.input(node, input),
            Event::Left(wire, side, size) => {
                let Some(w) = self.wires.get_mut(&wire) else { return };
                w.ways[side].queued -= size;
                let ((node, line), bytes) = (w.ends[side], w.ways[side].queued);
                self.input(node, BlobInput::Queued { line, bytes });
            }
            Event::Arrives(wire, side, bytes) => {
                let Some(w) = self.wires.get(&wire) else { return };
                let (node, line) = w.ends[side];
                self.input(node, BlobInput::Message { line, bytes });
            }
            Event::CircuitUp(node, target) => {
                let route = self.route(node, target).filter(|r| !self.no_circuits && r.len() < 8);
                match route {
                    Some(relays) => {
                        self.circuits_opened += 1;
                        let latency = 5 * (relays.len() as u64 + 1);
                        self.join(node, target, latency, 2_000, Some(relays));
                    }
                    None => self.input(node, BlobInput::CircuitFailed { peer: peer(target) }),
                }
            }
        }
    }

    /// Runs until that time.
    pub(super) fn run(&mut self, until: u64) -> u64 {
        self.run_while(until, |_| true);
        self.now = self.now.max(until);
        self.now
    }

    pub(super) fn run_while(&mut self, until: u64, go_on: impl Fn(&Self) -> bool) -> u64 {
        while go_on(self) {
            let tick = (0..self.nodes.len())
                .filter_map(|n| Some((self.nodes[n].exchange.next_deadline()?, n)))
                .min();
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let at = [tick.map(|t| t.0), event].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            match (event, tick) {
                (Some(e), t) if t.is_none_or(|t| e <= t.0) => {
                    let Reverse((_, id)) = self.events.pop().unwrap();
                    let event = self.bodies.remove(&id).unwrap();
                    self.happen(event);
                }
                (_, Some((_, node))) => self.input(node, BlobInput::Tick),
                _ => break,
            }
        }
        self.now
    }

    pub(super) fn fetch(&mut self, node: usize, fetch: u64, name: BlobName) {
        let input = BlobInput::Fetch { fetch: FetchId(fetch), name, timeout: None, unavailable_after: None };
        self.input(node, input);
    }

    pub(super) fn end(&self, node: usize, fetch: u64) -> Option<&FetchEnd<String>> {
        self.nodes[node].ended.get(&fetch)
    }

    /// Fetches and runs until the end.
    #[track_caller]
    pub(super) fn complete(&mut self, node: usize, fetch: u64, name: BlobName) -> u64 {
        self.fetch(node, fetch, name);
        let until = self.now + 3_600_000;
        let began = self.now;
        self.run_while(until, |w| w.end(node, fetch).is_none());
        assert_eq!(self.end(node, fetch), Some(&FetchEnd::Completed));
        assert!(self.store(node).held[&name].is_full());
        self.now - began
    }

    pub(super) fn chunks_sent(&self, from: usize, to: usize) -> usize {
        self.nodes[from].sent_chunks.iter().filter(|(t, ..)| *t == to).count()
    }

    pub(super) fn all_chunks_sent(&self) -> usize {
        self.nodes.iter().map(|n| n.sent_chunks.len()).sum()
    }
}
