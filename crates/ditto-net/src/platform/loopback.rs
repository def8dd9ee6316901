//! A radio inside one process, as awkward as the contract allows: busy in storms, odd pieces, late reports, lost packets.
//!
//! It is the reference for people who write a shim, and what proves the conformance kit and the port. What it does
//! wrong on purpose depends on the seed alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::conformance::{Able, Rig};
use super::{
    ConditionCode, EndCode, Profile, RadioConfig, RadioError, RadioKind, RadioShim, RadioSink, ScanMode,
    SendResult,
};

/// How a loopback radio behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopbackConfig {
    /// What its links say they are, and with that their profile.
    pub kind: RadioKind,
    /// Most bytes of one send.
    pub max_write: u32,
    /// Bytes of one direction of a link that may be under way.
    pub buffer: u32,
    /// Sends of a thousand that are refused as busy although there is room.
    pub busy: u32,
    /// Packets of a thousand that vanish. Only on packet links.
    pub drop: u32,
    /// Whether streams are accepted and delivered in pieces of odd sizes.
    pub odd_pieces: bool,
    /// Longest delay of a report.
    pub delay: Duration,
    /// Decides everything that is left to chance.
    pub seed: u64,
}

impl LoopbackConfig {
    /// A fast radio without quirks.
    pub fn plain(kind: RadioKind) -> Self {
        let packet = kind.profile() == Profile::Packet;
        Self {
            kind,
            max_write: if packet { 182 } else { 4096 },
            buffer: if packet { 2048 } else { 64 << 10 },
            busy: 0,
            drop: 0,
            odd_pieces: false,
            delay: Duration::ZERO,
            seed: 0,
        }
    }

    /// A slow radio with every quirk.
    pub fn awkward(kind: RadioKind, seed: u64) -> Self {
        Self {
            busy: 200,
            drop: if kind.profile() == Profile::Packet { 100 } else { 0 },
            odd_pieces: true,
            delay: Duration::from_millis(3),
            seed,
            ..Self::plain(kind)
        }
    }
}

/// A number of a device on the air.
type NodeId = u64;
/// One end of a link.
type End = (NodeId, u64);

/// What loopback radios have in common. Radios of one air hear each other; it ends with the value.
pub struct LoopbackAir {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    config: LoopbackConfig,
    random: u64,
    nodes: BTreeMap<NodeId, Node>,
    links: HashMap<End, Link>,
    connects: HashSet<End>,
    /// What happens later, in order.
    jobs: BTreeMap<(Instant, u64), Job>,
    next_job: u64,
    in_range: bool,
    closed: bool,
}

#[derive(Default)]
struct Node {
    sink: Option<Arc<RadioSink>>,
    service: String,
    advertised: Option<Vec<u8>>,
    scans: bool,
    is_off: bool,
    /// Our names for other devices, with what they advertised.
    seen: BTreeMap<NodeId, (u64, Vec<u8>)>,
    last_device: u64,
    last_handle: u64,
    /// Reports about devices keep their order.
    last_due: Option<Instant>,
}

struct Link {
    peer: End,
    sink: Arc<RadioSink>,
    /// Bytes under way to the peer.
    under_way: u32,
    owes_writable: bool,
    /// Reports about one link keep their order.
    last_due: Option<Instant>,
}

enum Job {
    Report(Arc<RadioSink>, Report),
    Connect { from: End, device: u64 },
}

enum Report {
    Discovered(u64, Vec<u8>),
    Lost(u64),
    Incoming(End),
    LinkUp(End),
    LinkFailed(u64, EndCode),
    Received { to: End, from: End, bytes: Vec<u8> },
    Writable(End),
    LinkDown(u64, EndCode),
    Condition(ConditionCode),
}

impl LoopbackAir {
    /// An air on which every radio behaves as `config` says.
    pub fn new(config: LoopbackConfig) -> Self {
        let state = State {
            config,
            random: config.seed,
            nodes: BTreeMap::new(),
            links: HashMap::new(),
            connects: HashSet::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            in_range: true,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let worker = shared.clone();
        thread::spawn(move || worker.work());
        Self { shared }
    }

    /// One more radio.
    pub fn radio(&self) -> Arc<dyn RadioShim> {
        let mut state = self.shared.lock();
        let id = state.nodes.len() as NodeId + 1;
        state.nodes.insert(id, Node::default());
        Arc::new(LoopbackRadio { id, shared: self.shared.clone() })
    }

    /// Puts the radios out of each other's range, or back into it.
    pub fn set_in_range(&self, in_range: bool) {
        let mut state = self.shared.lock();
        state.in_range = in_range;
        if !in_range {
            let ends: Vec<End> = state.links.keys().copied().collect();
            for end in ends {
                state.end_link(end, EndCode::Unreachable, EndCode::Unreachable);
            }
        }
        state.look_around();
        self.shared.wake.notify_all();
    }

    /// Switches the radio that was made as the `index`th, from 0, on or off, as its user would.
    pub fn set_power(&self, index: usize, on: bool) {
        let mut state = self.shared.lock();
        let id = index as NodeId + 1;
        let Some(node) = state.nodes.get_mut(&id) else {
            return;
        };
        node.is_off = !on;
        let sink = node.sink.clone();
        if !on {
            state.end_all(id, EndCode::RadioOff);
        }
        if let Some(sink) = sink {
            let code = if on { ConditionCode::Ok } else { ConditionCode::Off };
            state.later_of(id, Job::Report(sink, Report::Condition(code)));
        }
        state.look_around();
        self.shared.wake.notify_all();
    }

    /// Ends of links and connects that exist now.
    pub fn open_handles(&self) -> usize {
        let state = self.shared.lock();
        state.links.len() + state.connects.len()
    }
}

impl Drop for LoopbackAir {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

/// An air with two radios is what the conformance kit wants.
impl Rig for LoopbackAir {
    fn radios(&self) -> [Arc<dyn RadioShim>; 2] {
        [self.radio(), self.radio()]
    }

    fn set_in_range(&self, in_range: bool) -> Able {
        LoopbackAir::set_in_range(self, in_range);
        Able::Yes
    }

    fn set_power(&self, side: usize, on: bool) -> Able {
        LoopbackAir::set_power(self, side, on);
        Able::Yes
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(30)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what is due happen, one thing after the other, until the air is gone.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.closed {
                // Radios and sinks know each other.
                state.jobs.clear();
                state.links.clear();
                state.nodes.clear();
                return;
            }
            let Some((&(due, number), _)) = state.jobs.first_key_value() else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                state = self.wake.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            match state.jobs.remove(&(due, number)) {
                Some(Job::Connect { from, device }) => state.connect(from, device),
                Some(Job::Report(sink, report)) => {
                    let config = state.config;
                    let report = state.before(report);
                    drop(state);
                    tell(&sink, report, config);
                    state = self.lock();
                }
                None => {}
            }
        }
    }
}

/// Reports, with no lock held.
fn tell(sink: &RadioSink, report: Report, config: LoopbackConfig) {
    let LoopbackConfig { kind, max_write, .. } = config;
    match report {
        Report::Discovered(id, payload) => sink.discovered(id, payload, -50),
        Report::Lost(id) => sink.lost(id),
        Report::Incoming((_, handle)) => sink.incoming(handle, kind, max_write),
        Report::LinkUp((_, handle)) => sink.link_up(handle, kind, max_write),
        Report::LinkFailed(handle, code) => sink.link_failed(handle, code),
        Report::Received { to: (_, handle), bytes, .. } => sink.received(handle, bytes),
        Report::Writable((_, handle)) => sink.writable(handle),
        Report::LinkDown(handle, code) => sink.link_down(handle, code),
        Report::Condition(code) => sink.condition(code, "as the test wants it".to_owned()),
    }
}

impl State {
    /// SplitMix64: a number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = (z ^ (z >> 31)) >> 32;
        ((z * u64::from(bound)) >> 32) as u32
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    /// Plans `job` after some delay, but not before `after`. Returns when.
    fn later(&mut self, after: Option<Instant>, job: Job) -> Instant {
        let micros = u32::try_from(self.config.delay.as_micros()).unwrap_or(u32::MAX);
        let delay = if micros == 0 { 0 } else { self.below(micros) };
        let due = Instant::now() + Duration::from_micros(u64::from(delay));
        let due = after.map_or(due, |after| due.max(after));
        self.next_job += 1;
        self.jobs.insert((due, self.next_job), job);
        due
    }

    /// Plans a report about devices or the radio itself.
    fn later_of(&mut self, id: NodeId, job: Job) {
        let after = self.nodes.get(&id).and_then(|node| node.last_due);
        let due = self.later(after, job);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.last_due = Some(due);
        }
    }

    /// Plans a report about a link.
    fn later_on(&mut self, end: End, report: Report) {
        let Some(link) = self.links.get(&end) else {
            return;
        };
        let job = Job::Report(link.sink.clone(), report);
        let due = self.later(link.last_due, job);
        if let Some(link) = self.links.get_mut(&end) {
            link.last_due = Some(due);
        }
    }

    /// What changes by the fact that a report is made now.
    fn before(&mut self, report: Report) -> Report {
        if let Report::Received { from, bytes, .. } = &report {
            self.arrived(*from, bytes.len() as u32);
        }
        report
    }

    /// Bytes of `from` are not under way any more.
    fn arrived(&mut self, from: End, bytes: u32) {
        let half = self.config.buffer / 2;
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        link.under_way = link.under_way.saturating_sub(bytes);
        if link.owes_writable && link.under_way <= half {
            link.owes_writable = false;
            self.later_on(from, Report::Writable(from));
        }
    }

    /// Brings what every scanning radio knows up to date.
    fn look_around(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for &here in &ids {
            for &there in ids.iter().filter(|there| **there != here) {
                self.look(here, there);
            }
        }
    }

    fn look(&mut self, here: NodeId, there: NodeId) {
        let (a, b) = (&self.nodes[&here], &self.nodes[&there]);
        let Some(sink) = a.sink.clone() else {
            return;
        };
        let hears = self.in_range && !a.is_off && !b.is_off && b.sink.is_some() && a.service == b.service;
        let payload = b.advertised.clone().filter(|_| hears);
        let known = a.seen.get(&there).cloned();
        let report = match (known, payload) {
            (Some((id, _)), None) => {
                self.nodes.entry(here).and_modify(|node| drop(node.seen.remove(&there)));
                Report::Lost(id)
            }
            (Some((_, old)), Some(new)) if old == new => return,
            (known, Some(payload)) if a.scans => {
                let Some(node) = self.nodes.get_mut(&here) else {
                    return;
                };
                let id = known.map_or_else(
                    || {
                        node.last_device += 1;
                        node.last_device
                    },
                    |(id, _)| id,
                );
                node.seen.insert(there, (id, payload.clone()));
                Report::Discovered(id, payload)
            }
            _ => return,
        };
        self.later_of(here, Job::Report(sink, report));
    }

    /// A connect gets through to the other device, or does not.
    fn connect(&mut self, from: End, device: u64) {
        if !self.connects.remove(&from) {
            return;
        }
        let (here, handle) = from;
        let Some(sink) = self.nodes.get(&here).and_then(|node| node.sink.clone()) else {
            return;
        };
        let there = self.nodes[&here].seen.iter().find(|(_, seen)| seen.0 == device).map(|(id, _)| *id);
        let there =
            there.filter(|there| self.in_range && !self.nodes[there].is_off && !self.nodes[&here].is_off);
        let listener = there.and_then(|there| {
            let node = self.nodes.get_mut(&there)?;
            let sink = node.sink.clone()?;
            node.last_handle += 2;
            Some(((there, node.last_handle - 1), sink))
        });
        let Some((to, listener)) = listener else {
            let failed = Report::LinkFailed(handle, EndCode::Unreachable);
            self.later(None, Job::Report(sink, failed));
            return;
        };
        let link = |peer, sink| Link { peer, sink, under_way: 0, owes_writable: false, last_due: None };
        self.links.insert(from, link(to, sink));
        self.links.insert(to, link(from, listener));
        self.later_on(to, Report::Incoming(to));
        self.later_on(from, Report::LinkUp(from));
    }

    /// Ends both ends of a link, after what is under way.
    fn end_link(&mut self, end: End, here: EndCode, there: EndCode) {
        let Some(peer) = self.links.get(&end).map(|link| link.peer) else {
            return;
        };
        for (end, code) in [(end, here), (peer, there)] {
            self.later_on(end, Report::LinkDown(end.1, code));
            self.links.remove(&end);
        }
    }

    /// Ends everything of one radio.
    fn end_all(&mut self, id: NodeId, code: EndCode) {
        let there = if code == EndCode::ClosedHere { EndCode::ClosedThere } else { EndCode::Unreachable };
        let ends: Vec<End> = self.links.keys().filter(|end| end.0 == id).copied().collect();
        for end in ends {
            self.end_link(end, code, there);
        }
        let connects: Vec<End> = self.connects.iter().filter(|end| end.0 == id).copied().collect();
        for connect in connects {
            self.fail_connect(connect, code);
        }
    }

    fn fail_connect(&mut self, connect: End, code: EndCode) {
        if self.connects.remove(&connect)
            && let Some(sink) = self.nodes.get(&connect.0).and_then(|node| node.sink.clone())
        {
            self.later(None, Job::Report(sink, Report::LinkFailed(connect.1, code)));
        }
    }

    fn send(&mut self, from: End, bytes: &[u8]) -> SendResult {
        let config = self.config;
        let refuse = self.chance(config.busy);
        let Some(link) = self.links.get_mut(&from) else {
            return SendResult::Busy;
        };
        if bytes.is_empty() {
            return SendResult::Accepted { bytes: 0 };
        }
        let room = config.buffer.saturating_sub(link.under_way);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let needed = if config.kind.profile() == Profile::Packet { len } else { 1 };
        let to = link.peer;
        if room < needed {
            link.owes_writable = true;
            return SendResult::Busy;
        }
        if refuse {
            self.later_on(from, Report::Writable(from));
            return SendResult::Busy;
        }
        let mut take = len.min(room).min(config.max_write);
        if config.kind.profile() == Profile::Packet {
            // A packet that is too large is what a radio cuts the tail of. Nobody who keeps the contract sends one.
            if self.chance(config.drop) || len > config.max_write {
                return SendResult::Accepted { bytes: len };
            }
            self.transmit(from, to, bytes);
            return SendResult::Accepted { bytes: len };
        }
        if config.odd_pieces {
            take = 1 + self.below(take);
        }
        let mut rest = &bytes[..take as usize];
        while !rest.is_empty() {
            let piece =
                if config.odd_pieces { 1 + self.below(rest.len() as u32) as usize } else { rest.len() };
            let (piece, after) = rest.split_at(piece);
            self.transmit(from, to, piece);
            rest = after;
        }
        SendResult::Accepted { bytes: take }
    }

    fn transmit(&mut self, from: End, to: End, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&from) {
            link.under_way += bytes.len() as u32;
        }
        self.later_on(to, Report::Received { to, from, bytes: bytes.to_vec() });
    }
}

/// One radio of a [`LoopbackAir`].
struct LoopbackRadio {
    id: NodeId,
    shared: Arc<Shared>,
}

impl LoopbackRadio {
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let result = f(&mut self.shared.lock());
        self.shared.wake.notify_all();
        result
    }

    fn with_node(&self, f: impl FnOnce(&mut Node)) {
        self.with(|state| {
            if let Some(node) = state.nodes.get_mut(&self.id) {
                f(node);
                state.look_around();
            }
        });
    }
}

impl RadioShim for LoopbackRadio {
    fn start(&self, config: RadioConfig, sink: Arc<RadioSink>) -> Result<(), RadioError> {
        let mut outcome = Ok(());
        self.with_node(|node| {
            if node.is_off {
                outcome = Err(RadioError { code: ConditionCode::Off, text: "switched off".to_owned() });
                return;
            }
            node.sink = Some(sink);
            node.service = config.service_uuid;
            node.advertised = Some(config.payload);
            node.scans = false;
            node.seen.clear();
        });
        outcome
    }

    fn set_advertising(&self, payload: Option<Vec<u8>>) {
        self.with_node(|node| node.advertised = payload);
    }

    fn set_scanning(&self, mode: ScanMode) {
        self.with_node(|node| node.scans = mode != ScanMode::Off);
    }

    fn connect(&self, handle: u64, discovered: u64) {
        self.with(|state| {
            let from = (self.id, handle);
            if state.nodes.get(&self.id).is_some_and(|node| node.sink.is_some()) {
                state.connects.insert(from);
                state.later(None, Job::Connect { from, device: discovered });
            }
        });
    }

    fn send(&self, handle: u64, bytes: Vec<u8>) -> SendResult {
        self.with(|state| state.send((self.id, handle), &bytes))
    }

    fn close(&self, handle: u64) {
        let end = (self.id, handle);
        self.with(|state| {
            state.end_link(end, EndCode::ClosedHere, EndCode::ClosedThere);
            state.fail_connect(end, EndCode::ClosedHere);
        });
    }

    fn stop(&self) {
        self.with(|state| state.end_all(self.id, EndCode::ClosedHere));
        self.with_node(|node| {
            node.sink = None;
            node.advertised = None;
            node.scans = false;
            node.seen.clear();
        });
    }
}
