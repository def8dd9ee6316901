//! What users and the world do in a run, as data: it can be printed, and steps can be left out to find those that matter.

use ditto_testkit::Rng;

/// The collections of a run. The last holds pairs of documents that change in one transaction.
pub(crate) const COLLECTIONS: [&str; 3] = ["c", "d", "p"];

/// What peers may subscribe to. The last three are the whole collections, in their order.
pub(crate) const QUERIES: [&str; 8] = [
    "SELECT * FROM c WHERE v = 0",
    "SELECT * FROM c WHERE v = 1",
    "SELECT * FROM c WHERE a = 1 OR v = 3",
    "SELECT * FROM d WHERE v > 1",
    "SELECT * FROM d WHERE n > 2",
    "SELECT * FROM c",
    "SELECT * FROM d",
    "SELECT * FROM p",
];

/// The first query of a whole collection.
pub(crate) const WHOLE: usize = QUERIES.len() - COLLECTIONS.len();

/// Documents per collection.
pub(crate) const IDS: u8 = 6;

/// A day and a year in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;
const YEAR: i64 = 365 * DAY;

/// What carries links between two peers, and how well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkClass {
    /// As the mesh sees it.
    pub kind: ditto_mesh::transport::LinkKind,
    /// One way, in microseconds.
    pub latency_us: u64,
    /// Bytes per second in each direction.
    pub rate: u64,
}

impl LinkClass {
    /// Wired or Wi-Fi: 100 MB/s, 0.3 ms.
    pub const LAN: Self =
        Self { kind: ditto_mesh::transport::LinkKind::AccessPoint, latency_us: 300, rate: 100_000_000 };
    /// Over the internet: 1 MB/s, 40 ms.
    pub const WEB_SOCKET: Self =
        Self { kind: ditto_mesh::transport::LinkKind::WebSocket, latency_us: 40_000, rate: 1_000_000 };
    /// Bluetooth LE: 20 kB/s, 30 ms.
    pub const BLUETOOTH: Self =
        Self { kind: ditto_mesh::transport::LinkKind::Bluetooth, latency_us: 30_000, rate: 20_000 };

    /// Any of them, sometimes as slow as 2 kB/s.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0..3 => Self::LAN,
            3 => Self::WEB_SOCKET,
            4 => Self::BLUETOOTH,
            _ => Self { rate: 2_000 * (1 + rng.below(10)), ..Self::BLUETOOTH },
        }
    }
}

/// One thing to do. Peers and documents are numbers, values are small.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Writes a whole document.
    Put { node: usize, coll: usize, id: u8, value: i64 },
    /// Sets one field.
    Set { node: usize, coll: usize, id: u8, field: &'static str, value: i64 },
    /// Removes one field.
    Unset { node: usize, coll: usize, id: u8, field: &'static str },
    /// Deletes a document.
    Delete { node: usize, coll: usize, id: u8 },
    /// Inserts a document that gives way to any other.
    Initial { node: usize, coll: usize, id: u8, value: i64 },
    /// Counts up, in a COUNTER or a PN_COUNTER.
    Count { node: usize, coll: usize, id: u8, pn: bool },
    /// Begins the COUNTER of a document anew.
    RestartCounter { node: usize, coll: usize, id: u8 },
    /// Writes several documents in one statement.
    PutMany { node: usize, coll: usize, value: i64 },
    /// Writes both documents of the pair in one transaction.
    Pair { node: usize, value: i64 },
    /// Forgets documents whose bit is set.
    Evict { node: usize, coll: usize, ids: u8 },
    /// Registers a subscription.
    Subscribe { node: usize, query: usize },
    /// Cancels it.
    Unsubscribe { node: usize, query: usize },
    /// The radios of two peers reach each other, or do not any more; with `silent` nobody is told.
    Reach { a: usize, b: usize, on: bool, silent: bool },
    /// Every link between two peers breaks, and both notice.
    Break { a: usize, b: usize },
    /// Links between two peers get another speed, in bytes per second.
    Rate { a: usize, b: usize, rate: u64 },
    /// A group of peers, by bits, is cut off from the others.
    Partition { group: u8 },
    /// Every radio reaches what it did at the beginning.
    Heal,
    /// A process is killed and comes back after some milliseconds.
    Crash { node: usize, down_ms: u64 },
    /// The power fails; of what was not yet forced to disk this share (of 1000) is kept.
    PowerLoss { node: usize, keep: u16, down_ms: u64 },
    /// The instance is closed and opened.
    Reopen { node: usize },
    /// The files are copied while the store is open.
    Backup { node: usize },
    /// The last copy takes the place of the store, as new files.
    Restore { node: usize },
    /// The store of one peer is copied over that of another.
    Clone { from: usize, to: usize },
    /// The wall clock is wrong by this much from now on.
    Clock { node: usize, skew_ms: i64 },
    /// Sync is stopped and started.
    StopStart { node: usize, down_ms: u64 },
    /// A Bus message.
    Bus { from: usize, to: usize, len: usize },
    /// Everything comes to rest, and the invariants are checked.
    Rest,
}

/// One step: when, after the one before, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Virtual milliseconds since the step before.
    pub after_ms: u64,
    /// What happens.
    pub what: What,
}

/// A run as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Whose schedule it is; also decides everything that the schedule leaves open.
    pub seed: u64,
    /// Number of peers.
    pub peers: usize,
    /// Which peers reach each other, and how.
    pub links: Vec<(usize, usize, LinkClass)>,
    /// Whether limits of replication are tiny, so that pages and fall-backs occur with few documents.
    pub small: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn generate(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let peers = 2 + rng.index(4);
        let links = topology(peers, &mut rng);
        let mut steps = Vec::new();
        // First subscriptions, so that most runs replicate from the beginning.
        for node in 0..peers {
            for query in 0..QUERIES.len() {
                if rng.chance(2, 5) {
                    steps.push(Step { after_ms: 0, what: What::Subscribe { node, query } });
                }
            }
        }
        let backwards = rng.chance(1, 2);
        for i in 0..60 + rng.below(120) {
            let after_ms = match rng.below(10) {
                0..6 => rng.below(20),
                6..9 => rng.below(600),
                _ => rng.below(8_000),
            };
            let what = if i % 40 == 39 { What::Rest } else { random(&mut rng, peers, &links, backwards) };
            steps.push(Step { after_ms, what });
        }
        Self { seed, peers, links, small: rng.chance(1, 2), steps }
    }

    /// A schedule about what power cuts take: a peer writes, others receive, its power fails and it has forgotten. Before
    /// anybody talks to it again it writes about as much again, so that it gives out the same numbers for other commits.
    pub fn power_cuts(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0f0f);
        let peers = 2 + rng.index(2);
        let mut links = Vec::new();
        for b in 1..peers {
            links.extend((0..b).map(|a| (a, b, LinkClass::LAN)));
        }
        let mut steps = Vec::new();
        let mut then = |after_ms, what| steps.push(Step { after_ms, what });
        for node in 0..peers {
            for query in WHOLE..QUERIES.len() {
                then(0, What::Subscribe { node, query });
            }
        }
        let put = |rng: &mut Rng, node| {
            let (coll, id) = (usize::from(rng.chance(1, 3)), rng.below(u64::from(IDS)) as u8);
            What::Put { node, coll, id, value: rng.below(1_000) as i64 }
        };
        for _ in 0..6 {
            let node = rng.index(peers);
            then(0, What::Rest);
            let lost = 1 + rng.below(4);
            for _ in 0..lost {
                then(rng.below(30), put(&mut rng, node));
            }
            then(1_500, What::Set { node: (node + 1) % peers, coll: 0, id: 0, field: "b", value: 1 });
            // Too long for others to hold on to the old session, so that the next one begins anew.
            for other in (0..peers).filter(|other| *other != node) {
                then(0, What::Reach { a: node.min(other), b: node.max(other), on: false, silent: false });
            }
            then(0, What::PowerLoss { node, keep: 0, down_ms: 0 });
            for _ in 0..lost + rng.below(3) {
                then(rng.below(30), put(&mut rng, node));
            }
            then(rng.below(3_000), What::Heal);
        }
        then(0, What::Rest);
        Self { seed, peers, links, small: false, steps }
    }

    /// Only the steps with these numbers.
    pub fn only(&self, keep: &[usize]) -> Self {
        let kept = |i: &usize| self.steps.get(*i).cloned();
        Self { steps: keep.iter().filter_map(kept).collect(), ..self.clone() }
    }
}

/// A connected graph: a random tree and some more links.
fn topology(peers: usize, rng: &mut Rng) -> Vec<(usize, usize, LinkClass)> {
    let mut links = Vec::new();
    for b in 1..peers {
        links.push((rng.index(b), b, LinkClass::random(rng)));
    }
    for b in 1..peers {
        for a in 0..b {
            if rng.chance(2, 5) && !links.iter().any(|l| (l.0, l.1) == (a, b)) {
                links.push((a, b, LinkClass::random(rng)));
            }
        }
    }
    links
}

/// The mix of design 6: writes, leaving and entering of views, forgetting, links, clocks, crashes.
fn random(rng: &mut Rng, peers: usize, links: &[(usize, usize, LinkClass)], backwards: bool) -> What {
    let node = rng.index(peers);
    let coll = usize::from(rng.chance(1, 3));
    let id = rng.below(u64::from(IDS)) as u8;
    let value = rng.below(4) as i64;
    let field = *rng.pick(&["v", "a", "b"]);
    let (a, b, _) = *rng.pick(links);
    let down_ms = *rng.pick(&[0, 50, 2_000, 70_000]);
    match rng.below(100) {
        0..16 => What::Put { node, coll, id, value },
        16..26 => What::Set { node, coll, id, field, value },
        26..29 => What::Unset { node, coll, id, field },
        29..34 => What::Delete { node, coll, id },
        34..36 => What::Initial { node, coll, id, value },
        36..40 => What::Count { node, coll, id, pn: rng.chance(1, 2) },
        40 => What::RestartCounter { node, coll, id },
        41..43 => What::PutMany { node, coll, value },
        43..47 => What::Pair { node, value },
        47..55 => What::Evict { node, coll, ids: rng.below(1 << IDS) as u8 },
        55..60 => What::Subscribe { node, query: rng.index(QUERIES.len()) },
        60..64 => What::Unsubscribe { node, query: rng.index(QUERIES.len()) },
        64..70 => What::Reach { a, b, on: rng.chance(3, 5), silent: rng.chance(1, 4) },
        70..74 => What::Break { a, b },
        74 => What::Rate { a, b, rate: 2_000 << rng.below(15) },
        75 => What::Partition { group: rng.below(1 << peers) as u8 },
        76..78 => What::Heal,
        78..82 => What::Crash { node, down_ms },
        82..86 => What::PowerLoss { node, keep: rng.below(1001) as u16, down_ms },
        86 => What::Reopen { node },
        87..89 => What::Backup { node },
        89 => What::Restore { node },
        90 => What::Clone { from: node, to: (node + 1) % peers },
        91..94 => {
            let far = if backwards { -YEAR } else { YEAR };
            What::Clock { node, skew_ms: *rng.pick(&[0, 0, 40, -40, 5_000, -5_000, far / 365, far]) }
        }
        94..96 => What::StopStart { node, down_ms },
        96..99 => What::Bus { from: node, to: (node + 1) % peers, len: *rng.pick(&[1, 100, 5_000, 60_000]) },
        _ => What::Rest,
    }
}
