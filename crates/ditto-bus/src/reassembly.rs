//! Fragments that wait for the others, with bounded memory and time.

use std::collections::{BTreeMap, VecDeque};

use ditto_mesh::{CircuitId, PeerKey};

use crate::api::BusConfig;
use crate::envelope::Fragment;

/// Where fragments come from: each numbers its messages on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Peer(PeerKey),
    Circuit(CircuitId),
}

/// Messages of a source that are remembered as delivered, so that duplicates are dropped.
const REMEMBERED: usize = 256;

/// Cost of a fragment beside its bytes.
const FRAGMENT_COST: usize = 32;

#[derive(Debug)]
struct Partial {
    since: u64,
    total: usize,
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
    cost: usize,
}

#[derive(Debug, Default)]
struct Peer {
    partial: BTreeMap<u64, Partial>,
    delivered: VecDeque<u64>,
    cost: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    peers: BTreeMap<Source, Peer>,
    cost: usize,
}

/// The fragments of a message contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fragments of one message contradict each other")]
pub(crate) struct Contradiction;

impl Reassembly {
    /// Takes a fragment; the message that it completes.
    pub(crate) fn add(
        &mut self,
        peer: Source,
        f: Fragment<'_>,
        now: u64,
        config: &BusConfig,
    ) -> Result<Option<Vec<u8>>, Contradiction> {
        let p = self.peers.entry(peer).or_default();
        if p.delivered.contains(&f.id) {
            return Ok(None);
        }
        if f.count == 1 && !p.partial.contains_key(&f.id) {
            p.remember(f.id);
            return Ok(Some(f.data.to_vec()));
        }
        let partial = p.partial.entry(f.id).or_insert_with(|| {
            let cost = f.count * FRAGMENT_COST;
            p.cost += cost;
            self.cost += cost;
            Partial { since: now, total: f.total, parts: vec![None; f.count], missing: f.count, cost }
        });
        if partial.total != f.total || partial.parts.len() != f.count {
            self.forget_message(&peer, f.id);
            return Err(Contradiction);
        }
        let Some(slot) = partial.parts.get_mut(f.index).filter(|s| s.is_none()) else { return Ok(None) };
        *slot = Some(f.data.to_vec());
        partial.missing -= 1;
        partial.cost += f.data.len();
        p.cost += f.data.len();
        self.cost += f.data.len();
        if partial.missing > 0 {
            self.make_room(&peer, config);
            return Ok(None);
        }
        let Some(done) = self.forget_message(&peer, f.id) else { return Ok(None) };
        let data: Vec<u8> = done.parts.into_iter().flatten().flatten().collect();
        if data.len() != done.total {
            return Err(Contradiction);
        }
        if let Some(p) = self.peers.get_mut(&peer) {
            p.remember(f.id);
        }
        Ok(Some(data))
    }

    /// Drops the oldest incomplete messages while there is too much, of this peer or in all.
    fn make_room(&mut self, peer: &Source, config: &BusConfig) {
        while self.peers.get(peer).is_some_and(|p| p.cost > config.max_reassembly_per_peer) {
            let oldest = self.peers.get(peer).and_then(Peer::oldest);
            let Some((_, id)) = oldest else { return };
            self.forget_message(peer, id);
        }
        while self.cost > config.max_reassembly {
            let oldest = self.peers.iter().filter_map(|(k, p)| p.oldest().map(|(at, id)| (at, *k, id))).min();
            let Some((_, key, id)) = oldest else { return };
            self.forget_message(&key, id);
        }
    }

    fn forget_message(&mut self, peer: &Source, id: u64) -> Option<Partial> {
        let p = self.peers.get_mut(peer)?;
        let partial = p.partial.remove(&id)?;
        p.cost -= partial.cost;
        self.cost -= partial.cost;
        Some(partial)
    }

    /// Drops messages whose fragments have not arrived in time.
    pub(crate) fn expire(&mut self, now: u64, config: &BusConfig) {
        let late: Vec<(Source, u64)> = self
            .peers
            .iter()
            .flat_map(|(k, p)| p.partial.iter().map(move |(id, m)| (*k, *id, m.since)))
            .filter(|(_, _, since)| since + config.reassembly_timeout <= now)
            .map(|(k, id, _)| (k, id))
            .collect();
        for (peer, id) in late {
            self.forget_message(&peer, id);
        }
    }

    /// The peer is gone; its next session begins anew.
    pub(crate) fn forget(&mut self, peer: &Source) {
        if let Some(p) = self.peers.remove(peer) {
            self.cost -= p.cost;
        }
    }

    pub(crate) fn next_deadline(&self, config: &BusConfig) -> Option<u64> {
        self.peers.values().filter_map(Peer::oldest).map(|(since, _)| since + config.reassembly_timeout).min()
    }

    #[cfg(test)]
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }
}

impl Peer {
    fn oldest(&self) -> Option<(u64, u64)> {
        self.partial.iter().map(|(id, m)| (m.since, *id)).min()
    }

    fn remember(&mut self, id: u64) {
        if self.delivered.len() == REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{MAX_FRAGMENTS, encode_fragments};
    use ditto_mesh::Identity;
    use proptest::prelude::*;

    fn key(i: u8) -> Source {
        Source::Peer(Identity::generate(&mut |out| out.fill(i)).peer_key())
    }

    fn feed(r: &mut Reassembly, from: Source, bytes: &[u8], now: u64) -> Option<Vec<u8>> {
        r.add(from, Fragment::decode(bytes).unwrap().unwrap(), now, &BusConfig::default()).unwrap()
    }

    proptest! {
        #[test]
        fn any_order_with_duplicates_gives_the_message_once(
            len in 0usize..9000,
            order in proptest::collection::vec(any::<usize>(), 30..60),
        ) {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let parts = encode_fragments(7, &data);
            let (mut r, from) = (Reassembly::default(), key(1));
            let mut got = Vec::new();
            for i in order.iter().map(|o| o % parts.len()).chain(0..parts.len()) {
                got.extend(feed(&mut r, from, &parts[i], 0));
            }
            prop_assert_eq!(got, vec![data]);
            prop_assert_eq!(r.cost(), 0);
        }
    }

    #[test]
    fn incomplete_messages_expire_and_are_bounded() {
        let config = BusConfig::default();
        let (mut r, first) = (Reassembly::default(), key(1));
        for id in 0..10_000 {
            let f = Fragment { id, total: 131_072, count: MAX_FRAGMENTS, index: 0, data: &[0; 1000] };
            assert_eq!(r.add(first, f, 10, &config), Ok(None));
            assert!(r.cost() <= config.max_reassembly_per_peer + 40_000);
        }
        for peer in (2..30).map(key) {
            for id in 0..40 {
                let f = Fragment { id, total: 131_072, count: MAX_FRAGMENTS, index: 0, data: &[0; 1000] };
                assert_eq!(r.add(peer, f, 10, &config), Ok(None));
                assert!(r.cost() <= config.max_reassembly + 40_000);
            }
        }
        assert_eq!(r.next_deadline(&config), Some(5010));
        r.expire(5009, &config);
        assert!(r.cost() > 0);
        r.expire(5010, &config);
        assert_eq!(r.cost(), 0);
        assert_eq!(r.next_deadline(&config), None);
    }

    #[test]
    fn contradictions_are_noticed() {
        let config = BusConfig::default();
        let mut r = Reassembly::default();
        let f = |total, count, index, data| Fragment { id: 1, total, count, index, data };
        assert_eq!(r.add(key(1), f(10, 2, 0, &[0; 5]), 0, &config), Ok(None));
        assert_eq!(r.add(key(1), f(11, 2, 1, &[0; 5]), 0, &config), Err(Contradiction));
        assert_eq!(r.add(key(1), f(10, 2, 0, &[0; 5]), 0, &config), Ok(None));
        assert_eq!(r.add(key(1), f(10, 2, 1, &[0; 6]), 0, &config), Err(Contradiction));
        assert_eq!(r.cost(), 0);
        r.forget(&key(1));
    }
}
