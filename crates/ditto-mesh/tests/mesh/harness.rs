//! Several machines, in-memory pipes between them, and one virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_mesh::RandomBytes;
use ditto_mesh::transport::{ACCEPTED_LINK_BIT, DialTarget, LinkId, LinkKind, NetEvent, Role};
use ditto_mesh::{
    Action, Admission, CircuitEnd, CircuitId, ConnectionEvent, Identity, Input, Lane, Mesh, MeshConfig,
    PeerKey, Refusal,
};
use ditto_types::DatabaseId;

pub(crate) const START: u64 = 1_790_000_000_000;

/// A pipe end: which node, which link.
type End = (usize, LinkId);

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) mesh: Mesh,
    pub(crate) key: PeerKey,
    /// Everything the machine reported, oldest first.
    pub(crate) log: Vec<Action>,
    /// Whether messages are consumed as they arrive.
    pub(crate) consumes: bool,
    /// Bytes given to the transport and not written, and the most there ever were.
    pub(crate) outstanding: usize,
    pub(crate) peak: usize,
    pub(crate) dials: Vec<(u64, DialTarget)>,
    /// Milliseconds by which its clock is wrong.
    pub(crate) skew: i64,
}

struct Pipe {
    to: End,
    kind: LinkKind,
    free_at: u64,
}

/// Changes bytes on the way; `None` drops the chunk.
type Tamper = Box<dyn FnMut(usize, usize, &mut Vec<u8>)>;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pipes: BTreeMap<End, Pipe>,
    events: BTreeMap<(u64, u64), (usize, NetEvent)>,
    seq: u64,
    next_accepted: u64,
    pub(crate) latency: u64,
    /// Bytes per millisecond of each direction; 0 for no limit.
    pub(crate) rate: u64,
    pub(crate) kind: LinkKind,
    /// Pairs that cannot talk: dials fail, and bytes vanish.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Nodes whose bytes over links of a kind get stuck, and those that are.
    stalled: BTreeSet<(usize, LinkKind)>,
    held: Vec<(usize, NetEvent)>,
    /// Everything that was on a wire.
    pub(crate) wire: Vec<u8>,
    pub(crate) tamper: Option<Tamper>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: START,
            nodes: Vec::new(),
            pipes: BTreeMap::new(),
            events: BTreeMap::new(),
            seq: 0,
            next_accepted: 0,
            latency: 1,
            rate: 0,
            kind: LinkKind::Memory,
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            held: Vec::new(),
            wire: Vec::new(),
            tamper: None,
        }
    }

    /// Adds a machine called `name`; `setup` changes its configuration. It is not started.
    pub(crate) fn add(&mut self, name: &str, setup: impl FnOnce(&mut MeshConfig)) -> usize {
        let i = self.nodes.len();
        let config = config(name, i as u8, setup);
        self.add_config(name, config)
    }

    pub(crate) fn add_config(&mut self, name: &str, config: MeshConfig) -> usize {
        let i = self.nodes.len();
        let key = config.identity.peer_key();
        let mesh = Mesh::new(config, rng(i as u64 + 1));
        self.nodes.push(Node {
            name: name.into(),
            mesh,
            key,
            log: Vec::new(),
            consumes: true,
            outstanding: 0,
            peak: 0,
            dials: Vec::new(),
            skew: 0,
        });
        i
    }

    pub(crate) fn start_all(&mut self) {
        for i in 0..self.nodes.len() {
            self.input(i, Input::Start);
        }
    }

    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let now = self.clock(node);
        self.nodes[node].mesh.handle(input, now);
        self.drain(node);
    }

    fn at(&mut self, when: u64, node: usize, event: NetEvent) {
        self.seq += 1;
        self.events.insert((when, self.seq), (node, event));
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    /// What the clock of a node shows.
    fn clock(&self, node: usize) -> u64 {
        self.now.saturating_add_signed(self.nodes[node].skew)
    }

    fn drain(&mut self, node: usize) {
        let now = self.clock(node);
        while let Some(action) = self.nodes[node].mesh.poll() {
            match action {
                Action::Dial { link, target } => self.dial(node, link, target),
                Action::Write { link, bytes } => self.write(node, link, bytes),
                Action::Close { link } => self.close(node, link),
                action => {
                    let consumed = match &action {
                        Action::Message { peer, lane, bytes } => {
                            Some(Input::Consumed { peer: *peer, lane: *lane, bytes: bytes.len() })
                        }
                        Action::CircuitMessage { circuit, bytes } => {
                            Some(Input::CircuitConsumed { circuit: *circuit, bytes: bytes.len() })
                        }
                        _ => None,
                    };
                    self.nodes[node].log.push(action);
                    if let Some(input) = consumed.filter(|_| self.nodes[node].consumes) {
                        self.nodes[node].mesh.handle(input, now);
                    }
                }
            }
        }
    }

    fn dial(&mut self, node: usize, link: LinkId, target: DialTarget) {
        self.nodes[node].dials.push((self.now, target.clone()));
        let name = match &target {
            // What follows a slash tells several addresses of one node apart.
            DialTarget::Memory(name) => name.split('/').next().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        let to = self.nodes.iter().position(|n| n.name == name);
        let Some(to) = to.filter(|to| !self.is_cut(node, *to)) else {
            let reason = "unreachable".into();
            return self.at(self.now + self.latency, node, NetEvent::DialFailed { link, reason });
        };
        self.next_accepted += 1;
        let accepted = LinkId(ACCEPTED_LINK_BIT | self.next_accepted);
        let kind = self.kind;
        self.pipes.insert((node, link), Pipe { to: (to, accepted), kind, free_at: 0 });
        self.pipes.insert((to, accepted), Pipe { to: (node, link), kind, free_at: 0 });
        let up = |link, role, remote: &str| NetEvent::LinkUp { link, kind, role, remote: remote.into() };
        let (here, there) = (self.nodes[node].name.clone(), self.nodes[to].name.clone());
        self.at(self.now + self.latency, to, up(accepted, Role::Acceptor, &here));
        self.at(self.now + 2 * self.latency, node, up(link, Role::Dialer, &there));
    }

    fn write(&mut self, node: usize, link: LinkId, bytes: Vec<u8>) {
        self.wire.extend_from_slice(&bytes);
        let n = &mut self.nodes[node];
        n.outstanding += bytes.len();
        n.peak = n.peak.max(n.outstanding);
        let rate = self.rate;
        let chunk = if rate == 0 { 64 << 10 } else { rate as usize * 512usize.div_ceil(rate as usize) };
        for part in bytes.chunks(chunk) {
            let Some(to) = self.pipes.get(&(node, link)).map(|p| p.to) else { return };
            let alive = self.pipes.contains_key(&to);
            let Some(pipe) = self.pipes.get_mut(&(node, link)) else { return };
            let cost = if rate == 0 { 0 } else { (part.len() as u64).div_ceil(rate) };
            pipe.free_at = pipe.free_at.max(self.now) + cost;
            let (free_at, is_stalled) = (pipe.free_at, self.stalled.contains(&(node, pipe.kind)));
            let mut part = part.to_vec();
            let written = part.len();
            if let Some(t) = self.tamper.as_mut() {
                t(node, to.0, &mut part);
            }
            self.at(free_at, node, NetEvent::Written { link, bytes: written });
            if is_stalled {
                self.held.push((to.0, NetEvent::Bytes { link: to.1, bytes: part }));
            } else if alive && !self.is_cut(node, to.0) && !part.is_empty() {
                self.at(free_at + self.latency, to.0, NetEvent::Bytes { link: to.1, bytes: part });
            }
        }
    }

    fn close(&mut self, node: usize, link: LinkId) {
        let Some(pipe) = self.pipes.remove(&(node, link)) else { return };
        let when = pipe.free_at.max(self.now);
        self.at(when, node, NetEvent::LinkDown { link, reason: "closed here".into() });
        if self.pipes.remove(&pipe.to).is_some() && !self.is_cut(node, pipe.to.0) {
            let reason = "closed by peer".into();
            self.at(when + self.latency, pipe.to.0, NetEvent::LinkDown { link: pipe.to.1, reason });
        }
    }

    /// From now on what these nodes send over links of a kind gets stuck on the way.
    pub(crate) fn stall(&mut self, nodes: &[usize], kind: LinkKind) {
        self.stalled.extend(nodes.iter().map(|node| (*node, kind)));
    }

    /// What got stuck goes on.
    pub(crate) fn flow(&mut self) {
        self.stalled.clear();
        for (node, event) in std::mem::take(&mut self.held) {
            self.at(self.now + self.latency, node, event);
        }
    }

    /// Breaks every link between two nodes; both notice.
    pub(crate) fn break_links(&mut self, a: usize, b: usize) {
        self.break_some(a, b, |_| true);
    }

    /// Breaks the links of one kind between two nodes; both notice.
    pub(crate) fn break_kind(&mut self, a: usize, b: usize, kind: LinkKind) {
        self.break_some(a, b, |k| k == kind);
    }

    fn break_some(&mut self, a: usize, b: usize, of: impl Fn(LinkKind) -> bool) {
        let is_meant = |((n, _), p): &(&End, &Pipe)| *n == a && p.to.0 == b && of(p.kind);
        let ends: Vec<End> = self.pipes.iter().filter(is_meant).map(|(e, _)| *e).collect();
        for end in ends {
            let Some(pipe) = self.pipes.remove(&end) else { continue };
            self.pipes.remove(&pipe.to);
            for (node, link) in [end, pipe.to] {
                self.at(self.now + 1, node, NetEvent::LinkDown { link, reason: "broken".into() });
            }
        }
    }

    /// Open links between two nodes.
    pub(crate) fn links(&self, a: usize, b: usize) -> usize {
        self.pipes.iter().filter(|((n, _), p)| *n == a && p.to.0 == b).count()
    }

    /// Links between two nodes that the first has dialled.
    pub(crate) fn dialled_links(&self, from: usize, to: usize) -> usize {
        self.pipes.iter().filter(|((n, link), p)| *n == from && !link.is_accepted() && p.to.0 == to).count()
    }

    /// One end loses its links to another; the other end notices nothing.
    pub(crate) fn lose_link_at(&mut self, node: usize, other: usize) {
        let ends: Vec<End> =
            self.pipes.iter().filter(|((n, _), p)| *n == node && p.to.0 == other).map(|(e, _)| *e).collect();
        for end in ends {
            self.pipes.remove(&end);
            self.at(self.now + 1, node, NetEvent::LinkDown { link: end.1, reason: "lost".into() });
        }
    }

    /// The process of a node dies without a word, and a new machine takes its place.
    pub(crate) fn replace(&mut self, node: usize, config: MeshConfig) {
        self.pipes.retain(|(n, _), _| *n != node);
        self.events.retain(|_, (n, _)| *n != node);
        let fresh = Mesh::new(config, rng(1000 + self.seq));
        self.nodes[node].mesh = fresh;
        self.nodes[node].log.clear();
        self.nodes[node].outstanding = 0;
    }

    /// One event or deadline. `false` when nothing is left before `until`.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let tick = (0..self.nodes.len())
            .filter_map(|i| {
                Some((self.nodes[i].mesh.next_deadline()?.saturating_add_signed(-self.nodes[i].skew), i))
            })
            .min()
            .filter(|(at, _)| event.is_none_or(|e| *at < e));
        match (tick, event) {
            (Some((at, i)), _) if at <= until => {
                self.now = self.now.max(at);
                self.input(i, Input::Tick);
                true
            }
            (None, Some(at)) if at <= until => {
                self.now = self.now.max(at);
                if let Some((_, (node, event))) = self.events.pop_first() {
                    if let NetEvent::Written { bytes, .. } = &event {
                        self.nodes[node].outstanding -= bytes;
                    }
                    self.input(node, Input::Net(event));
                }
                true
            }
            _ => {
                self.now = until;
                false
            }
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        let mut steps = 0u64;
        while self.step(until) {
            steps += 1;
            assert!(steps < 3_000_000, "the machines do not come to rest");
        }
    }

    /// Runs until `done` holds; fails after `ms`.
    pub(crate) fn run_until(&mut self, ms: u64, done: impl Fn(&World) -> bool) {
        let until = self.now + ms;
        let mut steps = 0u64;
        while !done(self) {
            assert!(self.step(until), "not reached within {ms} ms");
            steps += 1;
            assert!(steps < 3_000_000, "the machines do not come to rest");
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, lane: Lane, bytes: Vec<u8>, tag: u64) {
        let peer = self.nodes[to].key;
        self.input(from, Input::Send { peer, lane, bytes: bytes.into(), tag });
    }

    /// Opens a circuit; `id` tells circuits of one node apart.
    pub(crate) fn open(&mut self, from: usize, to: usize, id: u64, purpose: u8) -> CircuitId {
        let (circuit, target) = (CircuitId(id), self.nodes[to].key);
        self.input(from, Input::CircuitOpen { circuit, target, purpose });
        circuit
    }

    pub(crate) fn circuit_send(&mut self, node: usize, circuit: CircuitId, bytes: Vec<u8>, tag: u64) {
        self.input(node, Input::CircuitSend { circuit, bytes, tag });
    }

    pub(crate) fn discover(&mut self, node: usize, token: &str, targets: &[&str]) {
        let targets = targets.iter().map(|t| DialTarget::Memory((*t).into())).collect();
        self.input(node, Input::Net(NetEvent::Discovered { token: token.into(), targets }));
    }
}

impl Node {
    /// Who is connected, checking that connects and disconnects alternate.
    pub(crate) fn connected(&self) -> BTreeSet<PeerKey> {
        let mut out = BTreeSet::new();
        for a in &self.log {
            match a {
                Action::PeerConnected(info) => assert!(out.insert(info.peer), "connected twice"),
                Action::PeerDisconnected { peer, .. } => {
                    assert!(out.remove(peer), "disconnected without connection")
                }
                _ => {}
            }
        }
        out
    }

    pub(crate) fn connects(&self) -> usize {
        self.log.iter().filter(|a| matches!(a, Action::PeerConnected(_))).count()
    }

    pub(crate) fn messages(&self, on: Lane) -> Vec<&[u8]> {
        let of = |a: &'_ Action| matches!(a, Action::Message { lane, .. } if *lane == on);
        self.log
            .iter()
            .filter(|a| of(a))
            .map(|a| if let Action::Message { bytes, .. } = a { &bytes[..] } else { &[] })
            .collect()
    }

    pub(crate) fn transmitted(&self) -> Vec<u64> {
        let tags =
            self.log.iter().map(|a| if let Action::Transmitted { tag, .. } = a { Some(*tag) } else { None });
        tags.flatten().collect()
    }

    pub(crate) fn failed(&self) -> Vec<u64> {
        self.log
            .iter()
            .filter_map(|a| if let Action::SendFailed { tag, .. } = a { Some(*tag) } else { None })
            .collect()
    }

    /// Messages of a circuit.
    pub(crate) fn circuit_messages(&self, on: CircuitId) -> Vec<&[u8]> {
        self.log
            .iter()
            .filter_map(|a| match a {
                Action::CircuitMessage { circuit, bytes } if *circuit == on => Some(&bytes[..]),
                _ => None,
            })
            .collect()
    }

    /// Circuits that others have opened to it, with opener and purpose.
    pub(crate) fn incoming(&self) -> Vec<(CircuitId, PeerKey, u8)> {
        let of = |a: &Action| match a {
            Action::CircuitIncoming { circuit, peer, purpose } => Some((*circuit, *peer, *purpose)),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    pub(crate) fn is_open(&self, id: CircuitId) -> bool {
        self.log.iter().any(|a| matches!(a, Action::CircuitOpened { circuit } if *circuit == id))
    }

    /// How a circuit ended, checking that it did so once and that nothing came after.
    pub(crate) fn end_of(&self, id: CircuitId) -> Option<CircuitEnd> {
        let mut end = None;
        for a in &self.log {
            let of = match a {
                Action::CircuitOpened { circuit }
                | Action::CircuitIncoming { circuit, .. }
                | Action::CircuitMessage { circuit, .. }
                | Action::CircuitDatagram { circuit, .. }
                | Action::CircuitTransmitted { circuit, .. }
                | Action::CircuitSendFailed { circuit, .. }
                | Action::CircuitQueued { circuit, .. }
                | Action::CircuitClosed { circuit, .. } => *circuit,
                _ => continue,
            };
            if of == id {
                assert_eq!(end, None, "{a:?} after the end");
                if let Action::CircuitClosed { reason, .. } = a {
                    end = Some(*reason);
                }
            }
        }
        end
    }

    /// Tags of a circuit that were transmitted, in order.
    pub(crate) fn circuit_transmitted(&self, on: CircuitId) -> Vec<u64> {
        let of = |a: &Action| match a {
            Action::CircuitTransmitted { circuit, tag } if *circuit == on => Some(*tag),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    /// Tags of a circuit that failed, in order.
    pub(crate) fn circuit_failed(&self, on: CircuitId) -> Vec<u64> {
        let of = |a: &Action| match a {
            Action::CircuitSendFailed { circuit, tag, .. } if *circuit == on => Some(*tag),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &ConnectionEvent> {
        self.log.iter().filter_map(|a| if let Action::Event(e) = a { Some(e) } else { None })
    }

    /// Refusals: whether by us, and why.
    pub(crate) fn refusals(&self) -> Vec<(bool, Refusal)> {
        let of = |e: &ConnectionEvent| match e {
            ConnectionEvent::Refused { by_us, reason, .. } => Some((*by_us, reason.clone())),
            _ => None,
        };
        self.events().filter_map(of).collect()
    }
}

pub(crate) fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::generate(&mut |out| {
        for (i, b) in out.iter_mut().enumerate() {
            *b = seed.wrapping_mul(31).wrapping_add(i as u8 ^ 0x5a);
        }
    }))
}

pub(crate) fn config(name: &str, seed: u8, setup: impl FnOnce(&mut MeshConfig)) -> MeshConfig {
    let mut c = MeshConfig::new(identity(seed), DatabaseId::DEFAULT, [seed; 16], [1; 8]);
    c.device_name = name.into();
    c.os = "Linux".into();
    c.sdk_version = "0.1.0".into();
    setup(&mut c);
    c
}

/// A small deterministic generator (splitmix64).
pub(crate) fn rng(seed: u64) -> RandomBytes {
    let mut state = seed;
    Box::new(move |out| {
        for b in out {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *b = (z ^ (z >> 31)) as u8;
        }
    })
}

pub(crate) fn shared(secret: &[u8]) -> Admission {
    Admission::SharedKey(zeroize::Zeroizing::new(secret.to_vec()))
}

pub(crate) fn target(name: &str) -> DialTarget {
    DialTarget::Memory(name.into())
}

/// Two machines of which the first dials the second.
pub(crate) fn pair(setup: impl Fn(&mut MeshConfig)) -> World {
    let mut w = World::new();
    w.add("a", |c| {
        c.static_targets = vec![target("b")];
        setup(c);
    });
    w.add("b", |c| setup(c));
    w.start_all();
    w
}

pub(crate) fn both_connected(w: &World) -> bool {
    w.nodes[0].connected().contains(&w.nodes[1].key) && w.nodes[1].connected().contains(&w.nodes[0].key)
}

/// Two connected machines.
pub(crate) fn connected_pair(setup: impl Fn(&mut MeshConfig)) -> World {
    let mut w = pair(setup);
    w.run_until(1000, both_connected);
    w
}
