//! Routes over the confirmed edges of the presence graph.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::MAX_HOPS;
use crate::peer_key::PeerKey;
use crate::presence::Topology;

/// What a route must not use: it has failed a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Avoid {
    /// A peer that does not relay.
    Peer(PeerKey),
    /// A connection that is not there any more.
    Edge(PeerKey, PeerKey),
}

/// The cheapest route of at most [`MAX_HOPS`] hops from the local peer to `target`, both included. Cost is that of the
/// classes of its links; among equals fewer hops win, then smaller keys, so that the choice is the same every time.
pub(crate) fn find(mesh: &Topology, target: &PeerKey, avoid: &BTreeSet<Avoid>) -> Option<Vec<PeerKey>> {
    let peers = mesh.peers();
    let (local, target) = (mesh.place(&mesh.local())?, mesh.place(target)?);
    if local == target {
        return None;
    }
    let is_avoided = |from: usize, to: usize| {
        avoid.contains(&Avoid::Edge(peers[from], peers[to]))
            || (to != target && avoid.contains(&Avoid::Peer(peers[to])))
    };
    // Dijkstra over (peer, hops): a dear route of few hops stays in the race with a cheap one of too many.
    let mut queue = BTreeSet::from([(0u32, 0usize, local)]);
    let mut fewest: BTreeMap<usize, usize> = BTreeMap::new();
    let mut back: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut best: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    while let Some((cost, hops, at)) = queue.pop_first() {
        if fewest.get(&at).is_some_and(|h| *h <= hops) {
            continue;
        }
        fewest.insert(at, hops);
        if at == target {
            let mut route = vec![peers[at]];
            let mut here = at;
            for h in (1..=hops).rev() {
                here = *back.get(&(here, h))?;
                route.push(peers[here]);
            }
            route.reverse();
            return Some(route);
        }
        if hops == MAX_HOPS {
            continue;
        }
        for (to, kind) in mesh.links(at) {
            let (cost, state) = (cost + u32::from(kind.cost()), (*to, hops + 1));
            if is_avoided(at, *to) || best.get(&state).is_some_and(|c| *c <= cost) {
                continue;
            }
            best.insert(state, cost);
            back.insert(state, at);
            queue.insert((cost, hops + 1, *to));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::transport::LinkKind;
    use crate::transport::LinkKind::{AccessPoint, Bluetooth, WebSocket};

    fn keys(n: u8) -> Vec<PeerKey> {
        (1..=n).map(|i| Identity::generate(&mut |out| out.fill(i)).peer_key()).collect()
    }

    fn graph(keys: &[PeerKey], edges: &[(usize, usize, LinkKind)]) -> Topology {
        let edges: Vec<_> = edges.iter().map(|(a, b, kind)| (keys[*a], keys[*b], *kind)).collect();
        Topology::of(keys[0], keys, &edges)
    }

    fn route(g: &Topology, keys: &[PeerKey], to: usize, avoid: &[Avoid]) -> Option<Vec<usize>> {
        let avoid = avoid.iter().copied().collect();
        let found = find(g, &keys[to], &avoid)?;
        Some(found.iter().map(|k| keys.iter().position(|x| x == k).unwrap()).collect())
    }

    #[test]
    fn the_cheapest_links_win_then_fewer_hops() {
        let k = keys(5);
        // One Bluetooth hop costs more than three over the LAN; one WebSocket hop less than five.
        let g =
            graph(&k, &[(0, 3, Bluetooth), (0, 1, AccessPoint), (1, 2, AccessPoint), (2, 3, AccessPoint)]);
        assert_eq!(route(&g, &k, 3, &[]), Some(vec![0, 1, 2, 3]));
        assert_eq!(route(&g, &k, 3, &[Avoid::Peer(k[2])]), Some(vec![0, 3]));
        assert_eq!(route(&g, &k, 3, &[Avoid::Edge(k[1], k[2])]), Some(vec![0, 3]));
        assert_eq!(route(&g, &k, 4, &[]), None);
        assert_eq!(route(&g, &k, 0, &[]), None);
        let g = graph(&k, &[(0, 4, WebSocket), (0, 1, WebSocket), (1, 4, AccessPoint)]);
        assert_eq!(route(&g, &k, 4, &[]), Some(vec![0, 4]));
        // An avoided peer may still be the target.
        assert_eq!(route(&g, &k, 1, &[Avoid::Peer(k[1])]), Some(vec![0, 1]));
    }

    #[test]
    fn eight_hops_and_no_more_even_where_a_longer_way_is_cheaper() {
        let k = keys(10);
        let line: Vec<_> = (0..9).map(|i| (i, i + 1, AccessPoint)).collect();
        let g = graph(&k, &line);
        assert_eq!(route(&g, &k, 8, &[]), Some((0..=8).collect()));
        assert_eq!(route(&g, &k, 9, &[]), None);
        // A dear short cut makes the ninth reachable, though the cheapest way to each of its hops is another.
        let mut with = line;
        with.push((0, 2, Bluetooth));
        let g = graph(&k, &with);
        assert_eq!(route(&g, &k, 9, &[]), Some(vec![0, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(route(&g, &k, 8, &[]), Some((0..=8).collect()));
    }
}
