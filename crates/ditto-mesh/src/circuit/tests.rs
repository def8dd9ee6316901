//! Hops that lie, change, lose, double and reorder: circuits between sessions without links, so that what a relay
//! forwards can be changed where only a relay could.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_types::DatabaseId;
use ditto_types::wire::put_varint;

use super::wire::{Code, MAX_DATA, Message, join_datagram, split_datagram};
use super::*;
use crate::config::{Admission, MeshConfig};
use crate::frame::Frame;
use crate::identity::Identity;
use crate::peer_key::ShortId;
use crate::presence::Topology;
use crate::rope::Rope;
use crate::session::{Delivery, Service};

mod hostile;

/// What passes from one machine to a neighbour.
#[derive(Clone)]
enum Item {
    Message(Vec<u8>),
    Datagram(Vec<u8>),
}

struct Node {
    key: PeerKey,
    circuits: Circuits,
    greeter: Greeter,
    tls: TlsFactory,
    random: RandomBytes,
    topology: Topology,
    sessions: BTreeMap<usize, Session>,
    log: Vec<Action>,
    violations: Vec<String>,
}

impl Node {
    fn call<R>(&mut self, now: u64, f: impl FnOnce(&mut Circuits, &mut Context<'_>) -> R) -> R {
        let (topology, greeter, tls) = (&self.topology, &self.greeter, Some(&self.tls));
        let out =
            f(&mut self.circuits, &mut Context { now, topology, greeter, tls, random: &mut self.random });
        while let Some(action) = self.circuits.poll() {
            if let Action::CircuitMessage { circuit, bytes } = &action {
                self.circuits.consumed(*circuit, bytes.len());
            }
            self.log.push(action);
        }
        out
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let of = |a: &Action| match a {
            Action::CircuitMessage { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    fn datagrams(&self) -> Vec<Vec<u8>> {
        let of = |a: &Action| match a {
            Action::CircuitDatagram { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    fn end(&self) -> Option<CircuitEnd> {
        self.log.iter().find_map(|a| match a {
            Action::CircuitClosed { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    fn opened(&self) -> bool {
        self.log.iter().any(|a| matches!(a, Action::CircuitOpened { .. }))
    }
}

/// Sees everything from one machine to another and says what arrives instead.
type Hook = Box<dyn FnMut(usize, usize, Item) -> Vec<Item>>;

struct Net {
    now: u64,
    nodes: Vec<Node>,
    hook: Hook,
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::generate(&mut |out| out.fill(seed)))
}

fn topology(keys: &[PeerKey], local: usize, edges: &[(usize, usize)]) -> Topology {
    let edges: Vec<_> = edges.iter().map(|(a, b)| (keys[*a], keys[*b], LinkKind::AccessPoint)).collect();
    Topology::of(keys[local], keys, &edges)
}

impl Net {
    fn new(n: u8, edges: &[(usize, usize)]) -> Self {
        Self::keyed(n, edges, |_| Admission::Open)
    }

    fn keyed(n: u8, edges: &[(usize, usize)], admission: impl Fn(usize) -> Admission) -> Self {
        let keys: Vec<PeerKey> = (0..n).map(|i| identity(i + 1).peer_key()).collect();
        let limits = Limits::default();
        let node = |i: usize| {
            let id = identity(i as u8 + 1);
            let tls = TlsFactory::new(&id).unwrap();
            let mut config = MeshConfig::new(id, DatabaseId::DEFAULT, [i as u8; 16], [1; 8]);
            config.admission = admission(i);
            let mut state = i as u64 + 77;
            let random: RandomBytes = Box::new(move |out| {
                for b in out {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    *b = (state >> 33) as u8;
                }
            });
            let mut circuits = Circuits::new(keys[i], true, limits.clone());
            let mut sessions = BTreeMap::new();
            for (a, b) in edges.iter().filter(|(a, b)| *a == i || *b == i) {
                let other = if *a == i { *b } else { *a };
                circuits.peer_up(keys[other], LinkKind::AccessPoint);
                let controller = keys[i] < keys[other];
                let window = u64::from(limits.window);
                sessions.insert(
                    other,
                    Session::new([1; 8], Service::LINK, controller, &limits, limits.max_frame, window),
                );
            }
            Node {
                key: keys[i],
                circuits,
                greeter: Greeter::new(&config, &limits),
                tls,
                random,
                topology: topology(&keys, i, edges),
                sessions,
                log: Vec::new(),
                violations: Vec::new(),
            }
        };
        let nodes = (0..usize::from(n)).map(node).collect();
        Self { now: 1_000_000, nodes, hook: Box::new(|_, _, item| vec![item]) }
    }

    /// Moves what is there from `a` to `b`; whether anything moved.
    fn carry(&mut self, a: usize, b: usize) -> bool {
        let (now, to) = (self.now, self.nodes[b].key);
        let Some(mut session) = self.nodes[a].sessions.remove(&b) else { return false };
        self.nodes[a].circuits.feed(&to, &mut session, 8192, 8192, now);
        let (mut filled, mut fates) = (Rope::default(), Vec::new());
        session.fill(now, 64 << 10, 8192, &mut filled, &mut fates);
        let plain = filled.to_vec();
        self.nodes[a].sessions.insert(b, session);
        for f in fates {
            self.nodes[a].circuits.on_fate(f);
        }
        self.nodes[a].call(now, |_, _| ());
        let (mut at, from) = (0, self.nodes[a].key);
        while let Some((frame, used)) = Frame::decode(&plain[at..], 64 << 10).unwrap() {
            at += used;
            let mut out = Vec::new();
            if let Some(session) = self.nodes[b].sessions.get_mut(&a) {
                session.on_frame(frame, now, &mut out).unwrap();
            }
            for d in out {
                let item = match d {
                    Delivery::Message { service: Service::Circuits, bytes } => Item::Message(bytes),
                    Delivery::Datagram { service: Service::Circuits, bytes } => Item::Datagram(bytes),
                    _ => continue,
                };
                for item in (self.hook)(a, b, item) {
                    self.give(b, &from, item);
                }
            }
        }
        !plain.is_empty()
    }

    fn give(&mut self, to: usize, from: &PeerKey, item: Item) {
        let node = &mut self.nodes[to];
        match item {
            Item::Message(bytes) => {
                if let Err(Violation(text)) =
                    node.call(self.now, |c, cx| c.on_message(from, bytes.into(), cx))
                {
                    node.violations.push(text);
                }
            }
            Item::Datagram(bytes) => node.call(self.now, |c, cx| c.on_datagram(from, &bytes, cx)),
        }
    }

    fn run(&mut self, ms: u64) {
        let until = self.now + ms;
        let pairs: BTreeSet<(usize, usize)> =
            (0..self.nodes.len()).flat_map(|a| self.nodes[a].sessions.keys().map(move |b| (a, *b))).collect();
        loop {
            for n in &mut self.nodes {
                n.call(self.now, Circuits::advance);
            }
            let mut moved = false;
            for (a, b) in &pairs {
                moved |= self.carry(*a, *b);
            }
            if moved {
                continue;
            }
            if self.now >= until {
                return;
            }
            self.now += 10;
        }
    }

    fn open(&mut self, from: usize, to: usize) -> CircuitId {
        let (id, target) = (CircuitId(1), self.nodes[to].key);
        self.nodes[from].call(self.now, |c, cx| c.open(id, target, 3, cx));
        id
    }

    fn send(&mut self, node: usize, id: CircuitId, bytes: &[u8], tag: u64) {
        self.nodes[node].call(self.now, |c, _| c.send(id, bytes.to_vec(), tag));
    }

    fn dgram(&mut self, node: usize, id: CircuitId, bytes: &[u8], tag: u64) {
        self.nodes[node].call(self.now, |c, cx| c.send_datagram(id, bytes, tag, cx.now));
    }
}

const LINE: [(usize, usize); 2] = [(0, 1), (1, 2)];
const DIAMOND: [(usize, usize); 4] = [(0, 1), (1, 3), (0, 2), (2, 3)];

#[test]
fn relays_see_neither_content_nor_kind() {
    let mut net = Net::new(3, &LINE);
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = seen.clone();
    net.hook = Box::new(move |_, _, item| {
        let (Item::Message(b) | Item::Datagram(b)) = &item;
        log.borrow_mut().extend_from_slice(b);
        vec![item]
    });
    let id = net.open(0, 2);
    net.run(100);
    net.send(0, id, b"a very private message", 1);
    net.dgram(0, id, b"a very private datagram", 2);
    net.run(100);
    assert_eq!(net.nodes[2].messages(), [b"a very private message"]);
    assert_eq!(net.nodes[2].datagrams(), [b"a very private datagram"]);
    let seen = seen.borrow();
    for needle in [&b"private"[..], &net.nodes[0].key.as_bytes()[2..], &net.nodes[2].key.as_bytes()[2..]] {
        assert!(!seen.windows(needle.len()).any(|w| w == needle), "{}", String::from_utf8_lossy(needle));
    }
}

#[test]
fn a_relay_grants_less_to_each_when_many_pass() {
    let mut net = Net::new(3, &LINE);
    let granted = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let log = granted.clone();
    net.hook = Box::new(move |from, to, item| {
        if let ((1, 0), Item::Message(b)) = ((from, to), &item)
            && let Ok(Message::Ok { window, .. }) = Message::decode(b)
        {
            log.borrow_mut().push(window);
        }
        vec![item]
    });
    let (limits, target) = (Limits::default(), net.nodes[2].key);
    for i in 0..limits.max_wide_circuits as u64 + 3 {
        net.nodes[0].call(net.now, |c, cx| c.open(CircuitId(i), target, 3, cx));
        net.run(10);
    }
    let (wide, narrow) = (limits.circuit_window as usize, limits.circuit_window_many as usize);
    let (first, rest) = (vec![wide; limits.max_wide_circuits], [narrow; 3]);
    assert_eq!(*granted.borrow(), [&first[..], &rest].concat());
}

#[test]
fn a_relay_that_answers_in_the_targets_place_is_found_out() {
    // Machine 1 takes the circuit that should only pass, and speaks TLS with its own key.
    let mut net = Net::new(3, &LINE);
    let key = net.nodes[1].key.short_id();
    net.hook = Box::new(move |from, to, item| match (from, to, &item) {
        (0, 1, Item::Message(b)) => match Message::decode(b) {
            Ok(Message::Open { label, window, route, .. }) => {
                // As if the route ended here; made of three ids so that the other side expects TLS.
                let route = vec![[9; 8], route[0], key];
                vec![Item::Message(Message::Open { label, window, index: 2, route }.encode())]
            }
            _ => vec![item],
        },
        _ => vec![item],
    });
    let id = net.open(0, 2);
    net.send(0, id, b"for your eyes only", 1);
    net.run(35_000);
    assert_eq!(net.nodes[0].end(), Some(CircuitEnd::Untrusted));
    assert!(!net.nodes[0].opened());
    assert!(net.nodes[1].messages().is_empty() && net.nodes[2].messages().is_empty());
    assert!(
        net.nodes.iter().all(|n| n.circuits.stats()
            == CircuitStats { peak: n.circuits.stats().peak, ..CircuitStats::default() })
    );
}

#[test]
fn a_stranger_behind_a_relay_does_not_get_in() {
    // The opener does not hold the shared key; a member relays for it.
    let shared = |b: u8| Admission::SharedKey(zeroize::Zeroizing::new(vec![b; 32]));
    for stranger in [0, 2] {
        let mut net = Net::keyed(3, &LINE, |i| shared(if i == stranger { 1 } else { 2 }));
        let id = net.open(0, 2);
        net.send(0, id, b"let me in", 1);
        net.run(40_000);
        assert_eq!(net.nodes[0].end(), Some(CircuitEnd::Untrusted));
        assert!(net.nodes[2].log.is_empty());
    }
}

#[test]
fn changed_bytes_break_the_route_and_never_reach_an_app() {
    // One byte of DATA between machines 1 and 3 is changed; the stream goes on over machine 2, or over 1 again.
    for flip in 0..60 {
        let mut net = Net::new(4, &DIAMOND);
        let mut count = 0usize;
        net.hook = Box::new(move |from, to, item| {
            let Item::Message(mut b) = item else { return vec![item] };
            if (from == 1 || to == 1) && b[0] == 3 && b.len() > 10 {
                count += 1;
                if count == 1 + flip / 6 {
                    let at = 2 + (flip * 7) % (b.len() - 2);
                    b[at] ^= 1 << (flip % 8);
                }
            }
            vec![Item::Message(b)]
        });
        let id = net.open(0, 3);
        net.run(50);
        let sent: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; 3000]).collect();
        for (i, m) in sent.iter().enumerate() {
            net.send(0, id, m, i as u64);
            net.run(20);
        }
        net.run(30_000);
        assert_eq!(net.nodes[3].messages(), sent, "flip {flip}");
        assert_eq!(net.nodes[0].end(), None, "flip {flip}");
        assert!(net.nodes.iter().all(|n| n.violations.is_empty()));
    }
}

#[test]
fn datagrams_arrive_at_most_once_whatever_happens_to_them() {
    // Loss, copies, delay and changes between the machines, and a relay that keeps everything.
    let mut net = Net::new(3, &LINE);
    let (mut n, mut kept) = (0u32, Vec::new());
    net.hook = Box::new(move |from, to, item| {
        let Item::Datagram(b) = &item else { return vec![item] };
        if (from, to) != (1, 2) {
            return vec![item];
        }
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        kept.push(b.clone());
        match n >> 29 {
            0 => vec![],
            1 => vec![item.clone(), item],
            2 => {
                let mut b = b.clone();
                let at = (n >> 8) as usize % b.len();
                b[at] ^= 1;
                vec![Item::Datagram(b)]
            }
            3 => {
                let old = kept[(n >> 8) as usize % kept.len()].clone();
                vec![item, Item::Datagram(old)]
            }
            4 => {
                // Counters cannot be shifted, because they are the nonce.
                let (label, rest) = split_datagram(b).unwrap();
                let mut rest = rest.to_vec();
                rest[0] ^= 3;
                vec![item.clone(), Item::Datagram(join_datagram(label, &rest))]
            }
            _ => vec![item],
        }
    });
    let id = net.open(0, 2);
    net.run(50);
    for i in 0..3_000u64 {
        net.dgram(0, id, &i.to_le_bytes(), i);
        if i % 7 == 0 {
            net.run(0);
        }
    }
    net.run(500);
    let got: Vec<u64> =
        net.nodes[2].datagrams().iter().map(|b| u64::from_le_bytes(b[..].try_into().unwrap())).collect();
    let set: BTreeSet<u64> = got.iter().copied().collect();
    assert_eq!(set.len(), got.len(), "none twice");
    assert!(set.iter().all(|i| *i < 3_000));
    assert!((1_800..2_900).contains(&got.len()), "{}", got.len());
    assert_eq!(
        net.nodes[0].log.iter().filter(|a| matches!(a, Action::CircuitTransmitted { .. })).count(),
        3_000
    );
}
