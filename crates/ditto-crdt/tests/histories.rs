//! Random histories of several replicas on the real codec: every state that is exchanged goes through bytes.
//!
//! The plan follows `models/crdt_model.py` of the design: convergence, delta completeness, lattice laws, and equality with
//! an oracle that is computed from the list of operations. `DITTO_HISTORIES` sets how many histories run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use ditto_crdt::{
    AttachmentToken, DictReader, DictWriter, Doc, FieldKind, LeafValue, Op, Slot, decode, encode,
};
use ditto_types::{Hlc, HlcClock, Path, SiteId, SmolStr, Stamp, Value};

/// SplitMix64: small, and the same everywhere, so that a seed is a history.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Default)]
struct Dict {
    names: Vec<SmolStr>,
    sites: Vec<SiteId>,
}

impl DictWriter for Dict {
    fn key_ref(&mut self, name: &str) -> u32 {
        let at = self.names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        at as u32
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        let at = self.sites.iter().position(|s| s == site).unwrap_or_else(|| {
            self.sites.push(*site);
            self.sites.len() - 1
        });
        at as u32
    }
}

impl DictReader for Dict {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.names.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        self.sites.get(number as usize).copied()
    }
}

/// Through the bytes of both forms.
fn through_bytes(doc: &Doc, dict: &mut Dict) -> Doc {
    let bytes = encode(doc, dict);
    let back = decode(&bytes, dict).unwrap();
    assert_eq!(&back, doc, "dictionary form");
    let kept = ditto_crdt::CanonicalDoc::read(&bytes, dict).unwrap();
    assert_eq!(kept, doc.into(), "carried over to the self-contained form");
    assert_eq!((kept.is_alive(), kept.max_hlc()), (doc.is_alive(), doc.max_hlc()));
    let mut again = Vec::new();
    kept.encode(dict, &mut again).unwrap();
    assert_eq!(again, bytes, "and back");
    let view = ditto_crdt::DocView::new(&bytes, dict).unwrap();
    assert_eq!(view.is_alive(), doc.is_alive());
    assert_eq!(view.to_object().unwrap(), doc.to_object(), "in-place reading of the document");
    for path in PATHS.iter().chain(REMOVABLE) {
        let path = names(path);
        assert_eq!(view.get(&path).unwrap(), doc.get(&path), "in-place reading of {path:?}");
    }
    Doc::from_canonical(&doc.canonical()).unwrap()
}

const PATHS: &[&[&str]] = &[&["a"], &["b"], &["m", "x"], &["m", "y"], &["m", "z", "q"]];
const REMOVABLE: &[&[&str]] = &[&["m"], &["a"], &["m", "x"], &["m", "z"]];

const KINDS: &[FieldKind] = &[
    FieldKind::Register,
    FieldKind::Map,
    FieldKind::Map,
    FieldKind::Counter,
    FieldKind::PnCounter,
    FieldKind::Attachment,
];

fn names(path: &[&str]) -> Vec<SmolStr> {
    path.iter().map(SmolStr::new).collect()
}

struct Peer {
    site: SiteId,
    clock: HlcClock,
    wall: u64,
    doc: Doc,
}

impl Peer {
    fn stamp(&mut self) -> Stamp {
        Stamp::new(self.clock.now(self.wall), self.site)
    }

    fn apply(&mut self, op: &Op, stamp: Stamp) {
        self.doc.apply(op, stamp).unwrap();
    }
}

/// What the oracle remembers of a local write.
enum Event {
    Wrote(Path, Slot, Stamp, LeafValue),
    Removed(Path, FieldKind, Stamp),
    Deleted(Stamp),
}

struct Run {
    rng: Rng,
    peers: Vec<Peer>,
    events: Vec<Event>,
    dict: Dict,
    evict: bool,
}

impl Run {
    fn new(seed: u64, evict: bool) -> Self {
        let mut rng = Rng(seed);
        let peers = (0..2 + rng.below(4))
            .map(|i| Peer {
                site: SiteId { id: [i as u8 + 1; 16], incarnation: 0 },
                clock: HlcClock::default(),
                wall: 1000 + rng.next() % 50,
                doc: Doc::default(),
            })
            .collect();
        Self { rng, peers, events: Vec::new(), dict: Dict::default(), evict }
    }

    /// Applies a transaction, and notes what it did to the leaves by comparing before and after.
    fn write(&mut self, i: usize, ops: &[Op], stamp: Stamp) {
        let before = self.peers[i].doc.clone();
        ops.iter().for_each(|op| self.peers[i].apply(op, stamp));
        let after = &self.peers[i].doc;
        let had: Vec<_> = before.leaves().collect();
        for (path, slot, leaf) in after.leaves() {
            if !had.iter().any(|(p, s, l)| (p, *s, *l) == (&path, slot, leaf)) {
                // Of the transaction itself, or of what it hides in another kind.
                assert!(leaf.stamp == stamp || leaf.stamp == Stamp::new(stamp.hlc, SiteId::ZERO));
                self.events.push(Event::Wrote(path, slot, leaf.stamp, leaf.value.clone()));
            }
        }
        for (path, kind, tomb) in after.tombs() {
            if tomb.dot == stamp {
                self.events.push(Event::Removed(path, kind, tomb.obs));
            }
        }
        if let (true, Some(dead)) = (ops.contains(&Op::Delete), after.dead()) {
            self.events.push(Event::Deleted(dead));
        }
        let decoded = through_bytes(after, &mut self.dict);
        assert_eq!(decoded, *after);
    }

    /// A write to a document that is alive.
    fn any_op(&mut self) -> Op {
        if self.rng.chance(20) {
            let path = Path::new(REMOVABLE[self.rng.below(REMOVABLE.len())].iter().copied());
            if self.rng.chance(40) {
                return Op::UnsetKind { path, kind: KINDS[self.rng.below(KINDS.len())] };
            }
            return Op::Unset { path };
        }
        let path = Path::new(PATHS[self.rng.below(PATHS.len())].iter().copied());
        match self.rng.below(11) {
            0..5 => {
                let value = match self.rng.below(4) {
                    0 => Value::Object([("x".into(), Value::Int(1))].into()),
                    1 => Value::Object(Default::default()),
                    n => Value::Int(n as i64),
                };
                let kind = if self.rng.chance(20) { FieldKind::Register } else { FieldKind::Inferred };
                Op::Set { path, value, kind }
            }
            5..8 => Op::Increment { path, by: self.rng.below(9) as i64 - 4 },
            8 => Op::Restart { path, to: self.rng.below(100) as i64 },
            9 => {
                let hash = [self.rng.below(3) as u8; 32];
                let value = AttachmentToken { hash, len: 1, metadata: Default::default() }.to_value();
                Op::Set { path, value, kind: FieldKind::Attachment }
            }
            _ if self.rng.chance(50) => {
                let value = Value::Int(self.rng.below(9) as i64);
                Op::Set { path, value, kind: FieldKind::PnCounter }
            }
            _ => Op::PnIncrement { path, by: self.rng.below(9) as f64 },
        }
    }

    fn step(&mut self) {
        let i = self.rng.below(self.peers.len());
        if self.rng.chance(30) {
            self.peers[i].wall += self.rng.next() % 50;
        }
        if self.rng.chance(2) {
            // A clock that is set back.
            self.peers[i].wall /= 2;
        }
        let alive = self.peers[i].doc.is_alive();
        match self.rng.below(100) {
            0..48 if alive => {
                let mut ops = vec![self.any_op()];
                while self.rng.chance(30) {
                    if self.rng.chance(8) {
                        ops.extend([Op::Delete, Op::Create]);
                    }
                    ops.push(self.any_op());
                }
                let stamp = self.peers[i].stamp();
                self.write(i, &ops, stamp);
            }
            48..53 if alive => {
                let stamp = self.peers[i].stamp();
                self.write(i, &[Op::Delete], stamp);
            }
            53..60 if !alive => {
                let initial = self.rng.chance(40);
                if initial && !self.peers[i].doc.is_empty() {
                    return;
                }
                let stamp = if initial { Stamp::ZERO } else { self.peers[i].stamp() };
                // Seeds of different releases of an app differ.
                let seed = format!("init{}", self.rng.below(3));
                let set = |path: &[&str]| Op::Set {
                    path: Path::new(path.iter().copied()),
                    value: seed.as_str().into(),
                    kind: FieldKind::Inferred,
                };
                let second = PATHS[self.rng.below(PATHS.len())];
                self.write(i, &[Op::Create, set(&["a"]), set(second)], stamp);
            }
            60.. => self.exchange(i),
            _ => {}
        }
        if self.evict && self.rng.chance(3) {
            self.peers[i].doc = Doc::default();
            // Rule D3: forgetting needs a new author.
            self.peers[i].site.incarnation += 1;
        }
    }

    fn exchange(&mut self, to: usize) {
        let from = self.rng.below(self.peers.len());
        if from == to {
            return;
        }
        let source = self.peers[from].doc.clone();
        let sent = if self.rng.chance(80) { source.delta(&self.peers[to].doc.vv()) } else { source.clone() };
        let sent = through_bytes(&sent, &mut self.dict);
        let mut whole = self.peers[to].doc.clone();
        whole.merge(&source);
        let peer = &mut self.peers[to];
        peer.clock.see(source.max_hlc());
        peer.doc.merge(&sent);
        assert_eq!(peer.doc, whole, "a delta lacked something");
    }

    fn converge(&mut self) {
        for _ in 0..3 {
            for to in 0..self.peers.len() {
                for from in 0..self.peers.len() {
                    let delta = self.peers[from].doc.delta(&self.peers[to].doc.vv());
                    self.peers[to].doc.merge(&delta);
                }
            }
        }
        let first = self.peers[0].doc.clone();
        assert!(self.peers.iter().all(|p| p.doc == first), "replicas differ");
        let bytes = first.canonical();
        assert!(self.peers.iter().all(|p| p.doc.canonical() == bytes), "equal states, different bytes");
    }

    /// The leaves that must be there, from the list of operations alone.
    fn oracle(&self) -> BTreeMap<(Path, Slot), (Stamp, Vec<u8>)> {
        let dead =
            self.events.iter().filter_map(|e| if let Event::Deleted(s) = e { Some(*s) } else { None }).max();
        let mut want: BTreeMap<(Path, Slot), (Stamp, Vec<u8>)> = BTreeMap::new();
        for event in &self.events {
            let Event::Wrote(path, slot, stamp, value) = event else { continue };
            let removed = self
                .events
                .iter()
                .any(|e| matches!(e, Event::Removed(p, kind, obs) if removes(p, *kind, path, *slot) && stamp <= obs));
            if removed || dead.is_some_and(|d| *stamp <= d) {
                continue;
            }
            let entry = (*stamp, format!("{value:?}").into_bytes());
            let old = want.entry((path.clone(), *slot)).or_insert_with(|| entry.clone());
            // Seeds share a stamp and have values of one length, whose texts are in the order of their bytes.
            if entry > *old {
                *old = entry;
            }
        }
        want
    }
}

/// Whether a removal of this kind at `at` is about a slot at `path`.
fn removes(at: &Path, kind: FieldKind, path: &Path, slot: Slot) -> bool {
    let below = at != path;
    at.is_prefix_of(path)
        && match kind {
            FieldKind::Inferred => true,
            FieldKind::Map => below || slot.kind() == FieldKind::Map,
            kind => !below && slot.kind() == kind,
        }
}

fn laws(pool: &[Doc]) {
    let merged = |a: &Doc, b: &Doc| {
        let mut out = a.clone();
        out.merge(b);
        out
    };
    for a in pool {
        assert_eq!(&merged(a, a), a, "not idempotent");
        for b in pool {
            let ab = merged(a, b);
            assert_eq!(ab, merged(b, a), "not commutative");
            for c in pool.iter().take(3) {
                assert_eq!(merged(&ab, c), merged(a, &merged(b, c)), "not associative");
            }
        }
    }
}

fn history(seed: u64, evict: bool) {
    let mut run = Run::new(seed, evict);
    for _ in 0..5 + run.rng.below(65) {
        run.step();
    }
    let pool: Vec<Doc> = run.peers.iter().map(|p| p.doc.clone()).collect();
    run.converge();
    laws(&pool);
    if !evict {
        let got: BTreeMap<_, _> = run.peers[0]
            .doc
            .leaves()
            .map(|(p, s, l)| ((p.clone(), s), (l.stamp, format!("{:?}", l.value).into_bytes())))
            .collect();
        assert_eq!(got, run.oracle(), "the oracle disagrees");
    }
}

fn count() -> u64 {
    std::env::var("DITTO_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

fn run_all(evict: bool) {
    for seed in 0..count() / 2 {
        if let Err(e) = std::panic::catch_unwind(|| history(seed, evict)) {
            println!("history failed: seed {seed}, evict {evict}");
            std::panic::resume_unwind(e);
        }
    }
}

#[test]
fn histories_converge() {
    run_all(false);
}

#[test]
fn histories_with_eviction_converge() {
    run_all(true);
}

/// Rule D3 is not decoration: without a new incarnation some history must break.
#[test]
fn eviction_without_a_new_incarnation_diverges() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let broken = (0..3_000).any(|seed| {
        std::panic::catch_unwind(|| {
            let mut run = Run::new(seed, true);
            for _ in 0..60 {
                run.step();
                run.peers.iter_mut().for_each(|p| p.site.incarnation = 0);
            }
            run.converge();
        })
        .is_err()
    });
    std::panic::set_hook(hook);
    assert!(broken, "the rule made no difference");
}

#[test]
fn a_counter_total_wider_than_64_bits_survives_the_codec() {
    let site = SiteId { id: [1; 16], incarnation: 0 };
    let mut doc = Doc::default();
    doc.apply(&Op::Create, Stamp::new(Hlc::from_ms(1), site)).unwrap();
    for ms in 2..5 {
        let op = Op::Increment { path: Path::new(["c"]), by: i64::MAX };
        doc.apply(&op, Stamp::new(Hlc::from_ms(ms), site)).unwrap();
    }
    assert_eq!(doc.get(&names(&["c"])), Some(Value::Int(i64::MAX)));
    assert_eq!(through_bytes(&doc, &mut Dict::default()), doc);
}

/// Counters against the list of operations alone: the newest restart, and the increments whose author had seen it.
#[test]
fn counters_add_up_what_the_operations_say() {
    for seed in 0..count() / 4 {
        let mut rng = Rng(seed);
        let site = |i: usize| SiteId { id: [i as u8 + 1; 16], incarnation: 0 };
        let path = Path::new(["m", "c"]);
        let mut docs = vec![Doc::fresh(&Default::default(), Stamp::new(Hlc(1), site(0))); 3];
        // What each replica has heard of: restarts and increments, by number.
        let mut heard: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); 3];
        let mut ops: Vec<(Stamp, Op)> = Vec::new();
        // The restart that each increment counts on.
        let mut counts_on: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let newest = |heard: &BTreeSet<usize>, ops: &[(Stamp, Op)]| {
            let restarts = heard.iter().filter(|n| matches!(ops[**n].1, Op::Restart { .. }));
            // Of restarts with one stamp the last was given last.
            restarts.copied().max_by_key(|n| (ops[*n].0, *n))
        };
        for time in 0..30u64 {
            let i = rng.below(3);
            if rng.chance(40) {
                let from = rng.below(3);
                let delta = docs[from].delta(&docs[i].vv());
                docs[i].merge(&delta);
                let theirs = heard[from].clone();
                heard[i].extend(theirs);
                continue;
            }
            let stamp = Stamp::new(Hlc(time + 10), site(i));
            for _ in 0..1 + rng.below(3) {
                let op = match rng.below(4) {
                    0 => Op::Restart { path: path.clone(), to: rng.below(100) as i64 },
                    _ => Op::Increment { path: path.clone(), by: rng.below(9) as i64 - 4 },
                };
                docs[i].apply(&op, stamp).unwrap();
                counts_on.insert(ops.len(), newest(&heard[i], &ops));
                heard[i].insert(ops.len());
                ops.push((stamp, op));
            }
        }
        let mut all = docs[0].clone();
        docs[1..].iter().for_each(|d| all.merge(d));
        heard.push((0..ops.len()).collect());
        docs.push(all);
        for (doc, heard) in docs.iter().zip(&heard) {
            let base = newest(heard, &ops);
            let start = base.map_or(0, |n| if let Op::Restart { to, .. } = ops[n].1 { to } else { 0 });
            let sum: i64 = heard
                .iter()
                .filter(|n| counts_on[n] == base)
                .map(|n| if let Op::Increment { by, .. } = ops[*n].1 { by } else { 0 })
                .sum();
            let want = (!heard.is_empty()).then_some(Value::Int(start + sum));
            assert_eq!(doc.get(path.names()), want, "seed {seed}");
        }
    }
}
