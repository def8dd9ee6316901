//! Many peers without stores: random places, random links, devices that come and go. Who can reach each other must become one
//! mesh, and everybody must see the same one (T4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use cpu_time::ThreadTime;
use ditto_mesh::{Limits, PeerKey};
use ditto_testkit::Rng;

use crate::schedule::LinkClass;
use crate::world::{Broken, Event, World};

/// Time after the last disturbance in which whoever can reach each other must be connected, in milliseconds.
const JOIN_LIMIT_MS: u64 = 20_000;

/// Time after the last change of a session in which everybody must see the same, true graph (T4.1): over LAN, and when
/// records pass Bluetooth, in milliseconds.
const AGREE_LAN_MS: u64 = 3_000;
const AGREE_ANY_MS: u64 = 15_000;

/// No session begins or ends for this long before the swarm counts as quiet, in milliseconds.
const QUIET_MS: u64 = 20_000;

/// Sessions must come to rest within this time after the last disturbance, in milliseconds.
const REST_LIMIT_MS: u64 = 180_000;

/// A swarm.
#[derive(Clone, Copy, Debug)]
pub struct SwarmOptions {
    /// Number of the run.
    pub seed: u64,
    /// 2 to 200 peers.
    pub peers: usize,
    /// Virtual seconds in which devices come and go.
    pub churn_seconds: u64,
    /// Only LAN links, or of every class.
    pub lan_only: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct SwarmReport {
    /// Virtual milliseconds from the last disturbance until whoever can reach each other was connected.
    pub joined_ms: u64,
    /// Virtual milliseconds from the last change of a session until everybody saw the same, true graph.
    pub agreed_ms: u64,
    /// Virtual milliseconds from the last disturbance until the last session began or ended.
    pub rest_ms: u64,
    /// Why sessions ended in that time, counted at both ends.
    pub ended: BTreeMap<String, u64>,
    /// Sessions at the end.
    pub sessions: usize,
    /// Most sessions of one peer at any time.
    pub most_sessions: usize,
    /// Processor time per peer and virtual second.
    pub cpu_per_peer_second: Duration,
    /// Bytes per peer and virtual second on its links, sent.
    pub bytes_per_peer_second: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// Hash of everything that happened.
    pub trace: String,
}

/// Runs a swarm. The error says which promise was broken.
pub fn swarm(options: &SwarmOptions) -> Result<SwarmReport, Broken> {
    let cpu = ThreadTime::now();
    let mut world = World::new(options.seed, false);
    let mut rng = Rng::new(options.seed ^ 0x0005_3a7e);
    for _ in 0..options.peers {
        world.add(None);
    }
    place(&mut world, &mut rng, options);
    for node in 0..options.peers {
        world.boot(node)?;
        world.run_for(rng.below(100))?;
    }
    churn(&mut world, &mut rng, options)?;

    let begun = world.now;
    world.ended.clear();
    let joined = world.run_until(JOIN_LIMIT_MS, 250, |w| components(w, true) == components(w, false))?;
    if !joined {
        return Err(format!("not one mesh after {JOIN_LIMIT_MS} ms: {}", missing(&world)));
    }
    let joined_ms = (world.now - begun) / 1000;

    // From here on the graph must follow within its limit; what still changes begins the time anew.
    let mut wrong_at = world.now;
    let every = 250;
    let mut views = Views::default();
    loop {
        if views.disagreement(&world).is_some() {
            wrong_at = world.now + every * 1000;
        }
        if world.now > world.last_session + QUIET_MS * 1000 {
            break;
        }
        if world.now > begun + (REST_LIMIT_MS + QUIET_MS) * 1000 {
            return Err(format!("sessions do not come to rest in {REST_LIMIT_MS} ms: {:?}", world.ended));
        }
        world.run_for(every)?;
    }
    let agreed_ms = wrong_at.saturating_sub(world.last_session) / 1000;
    let limit = if options.lan_only { AGREE_LAN_MS } else { AGREE_ANY_MS };
    if agreed_ms > limit {
        let how = views.disagreement(&world).unwrap_or_else(|| "they do now".into());
        return Err(format!(
            "graphs differ {agreed_ms} ms after the last change, allowed are {limit}: {how}"
        ));
    }
    let most_sessions = world.stats.most_sessions;
    if most_sessions > Limits::default().max_sessions {
        return Err(format!("{most_sessions} sessions at one peer"));
    }
    let seconds = (world.now / 1000 - crate::clock::START_MS) / 1000;
    let peer_seconds = options.peers as u64 * seconds.max(1);
    Ok(SwarmReport {
        joined_ms,
        agreed_ms,
        rest_ms: world.last_session.saturating_sub(begun) / 1000,
        ended: world.ended,
        sessions: world
            .nodes
            .iter()
            .filter_map(|n| n.process.as_ref())
            .map(|p| p.connected.len())
            .sum::<usize>()
            / 2,
        most_sessions,
        cpu_per_peer_second: cpu.elapsed() / u32::try_from(peer_seconds).unwrap_or(u32::MAX),
        bytes_per_peer_second: world.stats.link_bytes / peer_seconds,
        seconds,
        trace: world.trace.hash().to_hex().to_string(),
    })
}

/// Puts the devices on a plane. Each reaches those around it, about ten.
fn place(world: &mut World, rng: &mut Rng, options: &SwarmOptions) {
    let places: Vec<(f64, f64)> = (0..options.peers).map(|_| (rng.unit(), rng.unit())).collect();
    let radius = (10.0 / (std::f64::consts::PI * options.peers as f64)).sqrt();
    for b in 0..options.peers {
        for a in 0..b {
            let (dx, dy) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
            if dx * dx + dy * dy <= radius * radius {
                let class = match rng.below(5) {
                    _ if options.lan_only => LinkClass::LAN,
                    0..3 => LinkClass::LAN,
                    3 => LinkClass::WEB_SOCKET,
                    _ => LinkClass::BLUETOOTH,
                };
                world.network.connect(a, b, class);
            }
        }
    }
}

/// Devices stop, die and come back, links break, and radios lose each other.
fn churn(world: &mut World, rng: &mut Rng, options: &SwarmOptions) -> Result<(), Broken> {
    let end = world.now + options.churn_seconds * 1_000_000;
    let pairs = world.network.pairs();
    while world.now < end {
        world.run_for(rng.below(20_000) / options.peers as u64 + 1)?;
        let node = rng.index(options.peers);
        match rng.below(10) {
            0..3 => {
                let down = rng.below(10_000_000);
                world.kill(node, true);
                let life = world.nodes[node].life;
                world.at(world.now + down, Event::Boot { node, life });
            }
            3..5 => {
                world.stop(node);
                let life = world.nodes[node].life;
                world.at(world.now + rng.below(5_000_000), Event::Start { node, life });
            }
            _ if pairs.is_empty() => {}
            5..8 => {
                let (a, b) = *rng.pick(&pairs);
                world.break_links(a, b);
            }
            _ => {
                let (a, b) = *rng.pick(&pairs);
                let on = world.network.is_on(a, b);
                world.set_reach(a, b, !on, false);
            }
        }
    }
    // Who is down comes back, so that the last disturbance is now.
    for node in 0..options.peers {
        world.boot(node)?;
        world.start(node);
    }
    Ok(())
}

/// For each peer the smallest of those that it can get to, by sessions or by radio.
fn components(world: &World, by_session: bool) -> Vec<usize> {
    let n = world.nodes.len();
    let mut smallest: Vec<usize> = (0..n).collect();
    let edges: Vec<(usize, usize)> = world
        .network
        .pairs()
        .into_iter()
        .filter(|(a, b)| if by_session { world.connected(*a, *b) } else { world.network.is_on(*a, *b) })
        .collect();
    loop {
        let before = smallest.clone();
        for (a, b) in &edges {
            let low = smallest[*a].min(smallest[*b]);
            (smallest[*a], smallest[*b]) = (low, low);
        }
        if smallest == before {
            return smallest;
        }
    }
}

fn missing(world: &World) -> String {
    let (is, should) = (components(world, true), components(world, false));
    let apart: Vec<usize> = (0..is.len()).filter(|n| is[*n] != should[*n]).collect();
    format!("peers {apart:?} are apart")
}

/// The connections of one part of the mesh, ordered.
type Edges = Vec<(PeerKey, PeerKey)>;

/// Compares what peers see with what is, and remembers who was right: in a quiet swarm nobody has to be asked again.
#[derive(Default)]
struct Views {
    component: Vec<usize>,
    edges: BTreeMap<usize, Edges>,
    /// [`crate::world::Node::views`] of those who were right.
    right: Vec<Option<u64>>,
}

impl Views {
    /// A peer that does not see the mesh as it is.
    fn disagreement(&mut self, world: &World) -> Option<String> {
        let component = components(world, true);
        let mut edges: BTreeMap<usize, Edges> = BTreeMap::new();
        for (a, b) in world.network.pairs() {
            if world.connected(a, b) {
                let (a_key, b_key) = (world.nodes[a].key, world.nodes[b].key);
                edges.entry(component[a]).or_default().push((a_key.min(b_key), a_key.max(b_key)));
            }
        }
        edges.values_mut().for_each(|e| e.sort_unstable());
        if (&component, &edges) != (&self.component, &self.edges) {
            (self.component, self.edges) = (component, edges);
            self.right = vec![None; world.nodes.len()];
        }
        for (node, n) in world.nodes.iter().enumerate() {
            if self.right[node] != Some(n.views) {
                if let Some(wrong) = self.look(world, node) {
                    return Some(wrong);
                }
                self.right[node] = Some(n.views);
            }
        }
        None
    }

    fn look(&self, world: &World, node: usize) -> Option<String> {
        let graph = world.nodes[node].process.as_ref()?.mesh.graph();
        let members = self.component.iter().filter(|c| **c == self.component[node]).count();
        if graph.remote_peers.len() + 1 != members {
            return Some(format!("peer {node} sees {} of {members} peers", graph.remote_peers.len() + 1));
        }
        let peers = std::iter::once(&graph.local_peer).chain(&graph.remote_peers);
        let mut seen: Edges = peers.flat_map(|p| &p.connections).map(|c| (c.peer1, c.peer2)).collect();
        seen.sort_unstable();
        seen.dedup();
        let real = self.edges.get(&self.component[node]).map_or(&[][..], Vec::as_slice);
        if seen == real {
            return None;
        }
        let more = seen.iter().filter(|e| real.binary_search(e).is_err()).count();
        let less = real.iter().filter(|e| seen.binary_search(e).is_err()).count();
        Some(format!("peer {node} sees {more} connections that are none, and not {less} that are"))
    }
}
