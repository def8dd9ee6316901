//! Which peers are worth a connection, and which link is missed least: the rules, without state of links or dials.
//!
//! Candidates come in this order: addresses that the app has named; peers of high priority; the own sync group; peers that
//! nobody of the mesh reaches, because they join two parts of it; the largest saving of route cost; then a hash of both
//! keys, which spreads choices and is the same on both sides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::peer_key::PeerKey;
use crate::presence::Topology;
use crate::transport::LinkKind;

/// How eagerly this device dials a peer (API-464). Most apps need nothing: the mesh forms itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionPriority {
    /// Never dial. The peer may still dial us, unless its app says the same.
    DontConnect,
    /// The default.
    #[default]
    Normal,
    /// Before normal peers, and in place of one of them when the number of links is at its limit. It matters only where
    /// more peers are near than can be connected at once.
    High,
}

impl ConnectionPriority {
    /// The number of API-465 to API-467.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The priority with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::DontConnect, Self::Normal, Self::High].into_iter().find(|p| p.code() == code)
    }
}

/// The peers that a [`ConnectionPriority`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerSelector {
    /// One peer. Goes before what is said of its group.
    Peer(PeerKey),
    /// Every peer of a query overlap group (API-469).
    QueryOverlapGroup(u8),
}

/// What the app has said about peers and groups.
#[derive(Debug, Default)]
pub(crate) struct Priorities(BTreeMap<PeerSelector, ConnectionPriority>);

impl Priorities {
    pub(crate) fn set(&mut self, selector: PeerSelector, priority: ConnectionPriority) {
        self.0.insert(selector, priority);
    }

    /// The priority of a peer, whose group is known once its presence record is.
    pub(crate) fn of(&self, peer: &PeerKey, group: Option<u8>) -> ConnectionPriority {
        let own = self.0.get(&PeerSelector::Peer(*peer));
        let of_group = || self.0.get(&PeerSelector::QueryOverlapGroup(group?));
        own.or_else(of_group).copied().unwrap_or_default()
    }
}

/// The place of a candidate in the order; the least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    discovered: bool,
    priority: Reverse<ConnectionPriority>,
    other_group: bool,
    reached: bool,
    saving: Reverse<u32>,
    spread: Reverse<u64>,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The app has named its address.
    pub(crate) is_explicit: bool,
    pub(crate) priority: ConnectionPriority,
    pub(crate) same_group: bool,
    /// Cost of the present route to it; `None` when nobody reaches it.
    pub(crate) cost: Option<u32>,
    /// What would carry the link.
    pub(crate) kind: LinkKind,
    /// See [`spread`].
    pub(crate) spread: u64,
}

impl Candidate {
    pub(crate) fn rank(&self) -> Rank {
        let saving = self.cost.map_or(0, |c| c.saturating_sub(self.kind.cost().into()));
        Rank {
            discovered: !self.is_explicit,
            priority: Reverse(self.priority),
            other_group: !self.same_group,
            reached: self.cost.is_some(),
            saving: Reverse(saving),
            spread: Reverse(self.spread),
        }
    }
}

/// Rendezvous hash of two names, in either order.
pub(crate) fn spread(a: &[u8], b: &[u8]) -> u64 {
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    let mut hash = [0; 8];
    hash.copy_from_slice(&blake3::derive_key("esync rendezvous v1", &[a, b].concat())[..8]);
    u64::from_le_bytes(hash)
}

/// The confirmed connections of the mesh, for questions about routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topology: Option<Arc<Topology>>,
    /// By place; `None` where there is no route.
    costs: Vec<Option<u32>>,
}

impl Routes {
    pub(crate) fn new(topology: Arc<Topology>) -> Self {
        let costs = search(&topology, None);
        Self { topology: Some(topology), costs }
    }

    /// Where a peer of the mesh is in [`Topology::peers`].
    pub(crate) fn place(&self, peer: &PeerKey) -> Option<usize> {
        self.topology.as_ref()?.place(peer)
    }

    /// Cost of the cheapest route to a peer; `None` when there is none.
    pub(crate) fn cost(&self, peer: &PeerKey) -> Option<u32> {
        self.costs.get(self.place(peer)?).copied()?
    }

    /// The same without the direct links to `neighbour`, for `neighbour` itself.
    fn cost_around(&self, neighbour: &PeerKey) -> Option<u32> {
        let topology = self.topology.as_ref()?;
        let place = topology.place(neighbour)?;
        search(topology, Some(place)).get(place).copied()?
    }
}

/// Dijkstra from the local peer. With `target` only as far as that, and not over the direct links to it.
fn search(topology: &Topology, target: Option<usize>) -> Vec<Option<u32>> {
    let mut costs = vec![None; topology.peers().len()];
    let local = topology.place(&topology.local());
    let mut queue = BinaryHeap::from_iter(local.map(|l| (Reverse(0), l)));
    while let Some((Reverse(cost), at)) = queue.pop() {
        if costs[at].is_some() {
            continue;
        }
        costs[at] = Some(cost);
        if Some(at) == target {
            break;
        }
        for (to, kind) in topology.links(at) {
            let is_left_out = Some(at) == local && Some(*to) == target;
            if !is_left_out && costs[*to].is_none() {
                queue.push((Reverse(cost + u32::from(kind.cost())), *to));
            }
        }
    }
    costs
}

/// A link that could be given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) peer: PeerKey,
    pub(crate) kind: LinkKind,
    /// The app has named its address.
    pub(crate) is_explicit: bool,
    pub(crate) priority: ConnectionPriority,
}

/// The peer whose link is missed least: others reach it, the app did not ask for it, and the way around costs the
/// least more than the link. A link without a way around is never given up.
pub(crate) fn spare(routes: &Routes, held: impl IntoIterator<Item = Held>) -> Option<PeerKey> {
    let local = routes.topology.as_ref()?.local();
    let free = held.into_iter().filter(|h| !h.is_explicit && h.priority != ConnectionPriority::High);
    let priced = free.filter_map(|h| {
        let around = routes.cost_around(&h.peer)?;
        let loss = i64::from(around) - i64::from(h.kind.cost());
        Some(((loss, spread(local.as_bytes(), h.peer.as_bytes())), h.peer))
    });
    priced.min_by_key(|(rank, _)| *rank).map(|(_, peer)| peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn key(i: u8) -> PeerKey {
        Identity::generate(&mut |out| out.fill(i)).peer_key()
    }

    /// A graph seen from peer 1.
    fn routes(links: &[(u8, u8, LinkKind)]) -> Routes {
        let peers: Vec<PeerKey> = (1..=9).map(key).collect();
        let links: Vec<_> = links.iter().map(|(a, b, kind)| (key(*a), key(*b), *kind)).collect();
        Routes::new(Arc::new(Topology::of(key(1), &peers, &links)))
    }

    fn held(i: u8, kind: LinkKind) -> Held {
        Held { peer: key(i), kind, is_explicit: false, priority: ConnectionPriority::Normal }
    }

    const LAN: LinkKind = LinkKind::AccessPoint;
    const BLE: LinkKind = LinkKind::Bluetooth;

    #[test]
    fn candidates_come_in_the_documented_order() {
        let least = Candidate {
            is_explicit: false,
            priority: ConnectionPriority::Normal,
            same_group: false,
            cost: Some(2),
            kind: LAN,
            spread: 1,
        };
        // Each is better than all before it, whatever else is worse.
        let ordered = [
            least,
            Candidate { spread: 2, ..least },
            Candidate { cost: Some(17), ..least },
            Candidate { cost: None, ..least },
            Candidate { same_group: true, ..least },
            Candidate { priority: ConnectionPriority::High, ..least },
            Candidate { is_explicit: true, ..least },
        ];
        assert!(ordered.windows(2).all(|w| w[1].rank() < w[0].rank()));
        // A link that costs more saves less.
        let ble = Candidate { cost: Some(17), kind: BLE, ..least };
        assert!(Candidate { cost: Some(17), ..least }.rank() < ble.rank());
        assert_eq!(spread(b"a", b"b"), spread(b"b", b"a"));
        assert_ne!(spread(b"a", b"b"), spread(b"a", b"c"));
    }

    #[test]
    fn routes_take_the_cheapest_way() {
        let r = routes(&[(1, 2, BLE), (1, 3, LAN), (3, 2, LAN), (2, 4, LinkKind::P2PWiFi), (6, 7, LAN)]);
        assert_eq!(r.cost(&key(1)), Some(0));
        assert_eq!(r.cost(&key(2)), Some(2));
        assert_eq!(r.cost(&key(4)), Some(4));
        assert_eq!(r.cost(&key(6)), None);
        assert_eq!(r.cost_around(&key(3)), Some(17));
    }

    #[test]
    fn the_link_that_is_missed_least_is_given_up() {
        // 2 is reached over 3 for less than Bluetooth costs; 3 only over that Bluetooth link; 4 not otherwise.
        let r = routes(&[(1, 2, BLE), (1, 3, LAN), (3, 2, LAN), (1, 4, LAN)]);
        let all = [held(2, BLE), held(3, LAN), held(4, LAN)];
        assert_eq!(spare(&r, all), Some(key(2)));
        assert_eq!(spare(&r, [held(3, LAN), held(4, LAN)]), Some(key(3)));
        assert_eq!(spare(&r, [held(4, LAN)]), None, "nobody else reaches it");
        let kept = [
            Held { is_explicit: true, ..held(2, BLE) },
            Held { priority: ConnectionPriority::High, ..held(3, LAN) },
        ];
        assert_eq!(spare(&r, kept), None);
    }

    #[test]
    fn a_peer_goes_before_its_group() {
        let mut p = Priorities::default();
        assert_eq!(p.of(&key(1), None), ConnectionPriority::Normal);
        p.set(PeerSelector::QueryOverlapGroup(3), ConnectionPriority::High);
        assert_eq!(p.of(&key(1), Some(3)), ConnectionPriority::High);
        assert_eq!(p.of(&key(1), Some(4)), ConnectionPriority::Normal);
        p.set(PeerSelector::Peer(key(1)), ConnectionPriority::DontConnect);
        assert_eq!(p.of(&key(1), Some(3)), ConnectionPriority::DontConnect);
        for code in 0..3 {
            assert_eq!(ConnectionPriority::from_code(code).map(ConnectionPriority::code), Some(code));
        }
        assert_eq!(ConnectionPriority::from_code(3), None);
    }
}
