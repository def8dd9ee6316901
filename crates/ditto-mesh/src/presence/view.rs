//! How records and sessions become the graph that apps see.

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_types::Value;

use super::graph::{PresenceConnection, PresenceGraph, PresencePeer, empty};
use super::record::{Edge, Record};
use super::topology::{Reach, Topology, reach};
use super::{About, Presence, some};
use crate::api::PeerInfo;
use crate::config::display_name;
use crate::hello::PROTOCOL;
use crate::peer_key::{PeerKey, ShortId};

/// What a graph says of one peer beside its connections. It changes rarely, so it is made once and shared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    name: String,
    os: Option<String>,
    connected_to_server: bool,
    compatible: bool,
    sdk: Option<String>,
    pub(super) metadata: Arc<Value>,
    group: u8,
}

impl Facts {
    pub(super) fn of_record(r: &Record, metadata: Arc<Value>) -> Self {
        Self {
            name: display_name(&r.name).to_owned(),
            os: some(&r.os),
            connected_to_server: r.connected_to_server,
            compatible: r.proto.0 <= PROTOCOL.1 && r.proto.1 >= PROTOCOL.0,
            sdk: some(&r.sdk),
            metadata,
            group: r.overlap_group,
        }
    }

    pub(super) fn of_own(about: &About, connected_to_server: bool, metadata: Arc<Value>) -> Self {
        Self {
            name: display_name(&about.name).to_owned(),
            os: some(&about.os),
            connected_to_server,
            compatible: true,
            sdk: some(&about.sdk),
            metadata,
            group: about.overlap_group,
        }
    }

    /// Before its record has come.
    pub(super) fn of_hello(info: &PeerInfo) -> Self {
        Self {
            name: info.device_name.clone(),
            os: some(&info.os),
            connected_to_server: false,
            compatible: true,
            sdk: some(&info.sdk_version),
            metadata: Arc::new(empty()),
            group: 0,
        }
    }
}

/// The mesh at one moment: peers and their connections, and what is known of each, by place. A copy costs nothing, and
/// texts are made only for whoever asks for the graph.
#[derive(Clone)]
pub struct PresenceView {
    pub(super) topology: Arc<Topology>,
    facts: Arc<[Arc<Facts>]>,
}

impl PresenceView {
    pub(super) fn alone(local: PeerKey, facts: Facts) -> Self {
        Self { topology: Arc::new(Topology::alone(local)), facts: [Arc::new(facts)].into() }
    }

    /// Whether this is a remote peer of the mesh.
    pub fn has_remote(&self, peer: &PeerKey) -> bool {
        *peer != self.topology.local() && self.topology.place(peer).is_some()
    }

    fn is(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Facts>, &Arc<Facts>)| Arc::ptr_eq(a, b) || a == b;
        self.topology == other.topology && self.facts.iter().zip(other.facts.iter()).all(same)
    }

    /// The query overlap group of each peer.
    pub(super) fn groups(&self) -> impl Iterator<Item = u8> + '_ {
        self.facts.iter().map(|f| f.group)
    }

    /// As apps see it.
    pub fn graph(&self) -> PresenceGraph {
        let peers = self.topology.peers();
        let texts: Vec<String> = peers.iter().map(PeerKey::to_string).collect();
        let mut all: Vec<PresencePeer> = Vec::with_capacity(peers.len());
        for (place, (key, facts)) in peers.iter().zip(self.facts.iter()).enumerate() {
            let between = |(to, kind): &(usize, _)| {
                let (one, two) = (place.min(*to), place.max(*to));
                PresenceConnection::named(peers[one], peers[two], *kind, &texts[one], &texts[two])
            };
            let mut connections: Vec<_> = self.topology.links(place).iter().map(between).collect();
            connections.sort();
            all.push(PresencePeer {
                peer_key: *key,
                device_name: facts.name.clone(),
                os: facts.os.clone(),
                is_connected_to_ditto_server: facts.connected_to_server,
                is_compatible: Some(facts.compatible),
                ditto_sdk_version: facts.sdk.clone(),
                peer_metadata: Value::clone(&facts.metadata),
                identity_service_metadata: empty(),
                query_overlap_group: facts.group,
                connections,
            });
        }
        let local = peers.partition_point(|key| *key < self.topology.local());
        PresenceGraph { local_peer: all.remove(local), remote_peers: all }
    }
}

/// One of those that something is known of.
struct Known<'a> {
    key: PeerKey,
    short: ShortId,
    facts: Arc<Facts>,
    edges: &'a [Edge],
}

impl Presence {
    /// The mesh now.
    pub(crate) fn view(&self) -> &PresenceView {
        &self.shown
    }

    /// The same without its texts.
    pub(crate) fn topology(&self) -> &Arc<Topology> {
        &self.shown.topology
    }

    /// The query overlap group of each peer of [`Presence::topology`].
    pub(crate) fn groups(&self) -> Vec<u8> {
        self.shown.groups().collect()
    }

    /// Works out the graph again; whether it has changed.
    pub(super) fn rebuild(&mut self, now: u64) -> bool {
        let (shown, lost) = self.look(now);
        let changed = !shown.is(&self.shown);
        (self.shown, self.lost) = (shown, lost);
        changed
    }

    /// Everybody, ordered by key.
    fn known(&self) -> Vec<Known<'_>> {
        let others = self.records.iter().filter(|(k, _)| **k != self.local);
        let mut known: Vec<Known<'_>> = others
            .map(|(key, s)| Known {
                key: *key,
                short: s.short,
                facts: s.facts.clone(),
                edges: &s.signed.record.edges,
            })
            .collect();
        let silent = self.neighbours.iter().filter(|(k, _)| !self.records.contains_key(*k));
        known.extend(silent.map(|(key, n)| Known {
            key: *key,
            short: n.short,
            facts: n.facts.clone(),
            edges: &[],
        }));
        known.push(Known {
            key: self.local,
            short: self.local.short_id(),
            facts: Arc::new(self.own_facts()),
            edges: &[],
        });
        known.sort_unstable_by_key(|k| k.key);
        known
    }

    pub(super) fn own_facts(&self) -> Facts {
        let connected_to_server = self.neighbours.values().any(|n| n.info.is_server);
        Facts::of_own(&self.about, connected_to_server, self.metadata.1.clone())
    }

    /// What is to be shown, and since when those are lost who are shown without connections.
    fn look(&self, now: u64) -> (PresenceView, BTreeMap<PeerKey, u64>) {
        let known = self.known();
        let place = |key: &PeerKey| known.binary_search_by(|k| k.key.cmp(key)).ok();
        let said: Vec<(ShortId, &[Edge])> = known.iter().map(|k| (k.short, k.edges)).collect();
        let sessions = self.neighbours.iter().filter_map(|(k, n)| Some((place(k)?, n.info.link_kind)));
        // The local peer is known.
        let local = place(&self.local).unwrap_or_default();
        let Reach { reached, links } = reach(local, &said, sessions);

        let mut peers: Vec<(PeerKey, Arc<Facts>, Option<usize>)> = Vec::with_capacity(known.len());
        for (place, k) in known.iter().enumerate().filter(|(place, _)| reached[*place]) {
            peers.push((k.key, k.facts.clone(), Some(place)));
        }
        // Peers that were shown stay a moment without connections, so that a change of links is no departure.
        let grace = if self.running { self.limits.grace } else { 0 };
        let mut lost = BTreeMap::new();
        for (key, facts) in self.shown.topology.peers().iter().zip(self.shown.facts.iter()) {
            let known = place(key).map(|at| (at, &known[at]));
            if known.as_ref().is_some_and(|(at, _)| reached[*at]) {
                continue;
            }
            let since = self.lost.get(key).copied().unwrap_or(now);
            if since + grace > now {
                lost.insert(*key, since);
                peers.push((*key, known.map_or(facts, |(_, k)| &k.facts).clone(), None));
            }
        }
        peers.sort_unstable_by_key(|(key, ..)| *key);

        let mut place_of = vec![None; known.len()];
        for (place, (_, _, was)) in peers.iter().enumerate() {
            if let Some(was) = was {
                place_of[*was] = Some(place);
            }
        }
        let moved = |(to, kind): &(usize, _)| Some((place_of[*to]?, *kind));
        let links_of =
            |was: &Option<usize>| was.map_or(Vec::new(), |w| links[w].iter().filter_map(moved).collect());
        let links = peers.iter().map(|(_, _, was)| links_of(was)).collect();
        let keys = peers.iter().map(|(key, ..)| *key).collect();
        let topology = Arc::new(Topology::new(self.local, keys, links));
        let facts = peers.into_iter().map(|(_, facts, _)| facts).collect();
        (PresenceView { topology, facts }, lost)
    }
}
