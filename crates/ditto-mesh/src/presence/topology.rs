//! Who is in the mesh and how they are connected, by place instead of by key: what routes and choices are made on.
//!
//! It is worked out again whenever somebody publishes a record, so it is numbers. The graph that apps see, with its texts, is
//! made from it when an app looks.

use std::collections::VecDeque;

use super::record::Edge;
use crate::peer_key::{PeerKey, ShortId};
use crate::transport::LinkKind;

/// The peers that are shown and the confirmed connections between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    local: PeerKey,
    /// Ordered by key; the local peer is one of them.
    peers: Vec<PeerKey>,
    /// For each peer its connections: the place of the other end and what carries it, ordered.
    links: Vec<Vec<(usize, LinkKind)>>,
}

impl Topology {
    /// `peers` must be ordered and hold `local`; `links` are by place and at both ends.
    pub(super) fn new(local: PeerKey, peers: Vec<PeerKey>, mut links: Vec<Vec<(usize, LinkKind)>>) -> Self {
        links.resize(peers.len(), Vec::new());
        links.iter_mut().for_each(|l| l.sort_unstable());
        Self { local, peers, links }
    }

    /// A mesh of one.
    pub(super) fn alone(local: PeerKey) -> Self {
        Self::new(local, vec![local], Vec::new())
    }

    /// For tests: a mesh of these peers and connections.
    #[cfg(test)]
    pub(crate) fn of(
        local: PeerKey,
        peers: &[PeerKey],
        connections: &[(PeerKey, PeerKey, LinkKind)],
    ) -> Self {
        let peers: std::collections::BTreeSet<PeerKey> = peers.iter().copied().chain([local]).collect();
        let peers: Vec<PeerKey> = peers.into_iter().collect();
        let mut links = vec![Vec::new(); peers.len()];
        for (a, b, kind) in connections {
            let place = |key| peers.binary_search(key).expect("a connection of somebody else");
            links[place(a)].push((place(b), *kind));
            links[place(b)].push((place(a), *kind));
        }
        Self::new(local, peers, links)
    }

    pub(crate) fn local(&self) -> PeerKey {
        self.local
    }

    /// Everybody, ordered by key.
    pub(crate) fn peers(&self) -> &[PeerKey] {
        &self.peers
    }

    /// Where a peer is in [`Topology::peers`].
    pub(crate) fn place(&self, peer: &PeerKey) -> Option<usize> {
        self.peers.binary_search(peer).ok()
    }

    /// The connections of the peer at a place.
    pub(crate) fn links(&self, place: usize) -> &[(usize, LinkKind)] {
        self.links.get(place).map_or(&[], Vec::as_slice)
    }
}

/// What follows from everybody's records, by place among them.
pub(super) struct Reach {
    /// Who can be reached from the local peer.
    pub(super) reached: Vec<bool>,
    /// The confirmed connections of each.
    pub(super) links: Vec<Vec<(usize, LinkKind)>>,
}

/// Follows confirmed edges from the local peer. Our own sessions need no confirmation; an edge between two others counts
/// only if both list it with the same kind, so nobody can invent neighbours.
///
/// `said` is what each peer says of its links, the local one nothing. `sessions` are ours.
pub(super) fn reach(
    local: usize,
    said: &[(ShortId, &[Edge])],
    sessions: impl IntoIterator<Item = (usize, LinkKind)>,
) -> Reach {
    let mut names: Vec<(ShortId, usize)> =
        said.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
    names.retain(|(_, place)| *place != local);
    names.sort_unstable();
    let place = |id: &ShortId| names.binary_search_by(|(name, _)| name.cmp(id)).ok().map(|at| names[at].1);
    let mut listed: Vec<(usize, usize, LinkKind)> = Vec::new();
    for (from, (_, edges)) in said.iter().enumerate() {
        let known = edges.iter().filter_map(|e| Some((from, place(&e.to)?, LinkKind::from_code(e.kind)?)));
        listed.extend(known.filter(|(from, to, _)| from != to));
    }
    listed.sort_unstable();
    listed.dedup();
    let mut links: Vec<Vec<(usize, LinkKind)>> = vec![Vec::new(); said.len()];
    for (from, to, kind) in &listed {
        if listed.binary_search(&(*to, *from, *kind)).is_ok() {
            links[*from].push((*to, *kind));
        }
    }
    for (peer, kind) in sessions {
        links[local].push((peer, kind));
        links[peer].push((local, kind));
    }
    let mut reached = vec![false; said.len()];
    let mut queue = VecDeque::from([local]);
    reached[local] = true;
    while let Some(at) = queue.pop_front() {
        for (to, _) in &links[at] {
            if !std::mem::replace(&mut reached[*to], true) {
                queue.push_back(*to);
            }
        }
    }
    Reach { reached, links }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const LAN: LinkKind = LinkKind::AccessPoint;

    fn key(i: u8) -> PeerKey {
        Identity::generate(&mut |out| out.fill(i)).peer_key()
    }

    fn edges(to: &[u8]) -> Vec<Edge> {
        to.iter().map(|i| Edge { to: key(*i).short_id(), kind: LAN.code(), cost: LAN.cost() }).collect()
    }

    #[test]
    fn only_edges_that_both_ends_list_count() {
        // 1 is local, linked to 2. 2-3 is confirmed. 3 claims 4, 4 does not claim 3. 5-6 is an island.
        let lists = [&[][..], &[1, 3], &[2, 4], &[], &[6], &[5]].map(edges);
        let said: Vec<(ShortId, &[Edge])> =
            (1..).zip(&lists).map(|(i, edges)| (key(i).short_id(), edges.as_slice())).collect();
        let r = reach(0, &said, [(1, LAN)]);
        assert_eq!(r.reached, [true, true, true, false, false, false]);
        let links: Vec<Vec<usize>> = r.links.iter().map(|l| l.iter().map(|(to, _)| *to).collect()).collect();
        assert_eq!(links, [&[1][..], &[2, 0], &[1], &[], &[5], &[4]]);
    }

    #[test]
    fn edges_of_two_kinds_are_two_connections_and_nobody_is_linked_to_itself() {
        let one = |to: u8, kind: LinkKind| Edge { to: key(to).short_id(), kind: kind.code(), cost: 1 };
        let ble = LinkKind::Bluetooth;
        // 2 and 3 have LAN and Bluetooth, but 3 lists Bluetooth only; 2 lists itself and an edge twice.
        let second = [one(3, LAN), one(3, ble), one(3, ble), one(2, LAN)];
        let third = [one(2, ble)];
        let said = [(key(1).short_id(), &[][..]), (key(2).short_id(), &second), (key(3).short_id(), &third)];
        let r = reach(0, &said, [(1, LAN)]);
        assert_eq!(r.links, [vec![(1, LAN)], vec![(2, ble), (0, LAN)], vec![(1, ble)]]);
    }
}
