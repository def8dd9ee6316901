//! Fairness at a hop: what goes to one neighbour is shared between the peers it comes from.
//!
//! Each source has a count of what it has sent; the smallest goes next. A source that becomes busy starts where the
//! others are, so it saves nothing while it is idle. Data waits behind credit; datagrams wait here, and when there are
//! too many the longest queue loses its oldest.

use std::collections::{BTreeMap, VecDeque};

use crate::peer_key::ShortId;
use crate::session::DatagramTag;

/// Bytes of datagrams that wait for one neighbour.
const MAX_WAITING: usize = 64 << 10;

/// Sources remembered; with more, all start anew as equals.
const MAX_SOURCES: usize = 256;

/// Who has sent how much.
#[derive(Debug, Default)]
pub(super) struct Shares {
    sent: BTreeMap<ShortId, u64>,
    floor: u64,
}

impl Shares {
    /// The smaller, the sooner it is this source's turn.
    pub(super) fn of(&self, source: &ShortId) -> u64 {
        self.sent.get(source).copied().unwrap_or_default().max(self.floor)
    }

    pub(super) fn charge(&mut self, source: ShortId, bytes: usize) {
        self.floor = self.of(&source);
        self.sent.insert(source, self.floor + bytes as u64);
        if self.sent.len() > MAX_SOURCES {
            self.floor = self.sent.values().copied().max().unwrap_or(self.floor);
            self.sent.clear();
        }
    }
}

/// A datagram on its way to a neighbour, label included.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    pub(super) tag: DatagramTag,
    pub(super) since: u64,
}

/// Datagrams to one neighbour.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    queues: BTreeMap<ShortId, (usize, VecDeque<Datagram>)>,
    bytes: usize,
}

impl Datagrams {
    /// Adds one; the tags of those that had to go.
    pub(super) fn push(&mut self, source: ShortId, d: Datagram) -> Vec<DatagramTag> {
        let (bytes, queue) = self.queues.entry(source).or_default();
        *bytes += d.bytes.len();
        self.bytes += d.bytes.len();
        queue.push_back(d);
        let mut dropped = Vec::new();
        while self.bytes > MAX_WAITING {
            let Some(longest) = self.queues.iter().max_by_key(|(_, (bytes, _))| *bytes).map(|(s, _)| *s)
            else {
                break;
            };
            dropped.extend(self.take(&longest).map(|d| d.tag));
        }
        dropped
    }

    /// The oldest of the source whose turn it is.
    pub(super) fn pop(&mut self, shares: &mut Shares) -> Option<Datagram> {
        let source = self.queues.keys().copied().min_by_key(|s| shares.of(s))?;
        let d = self.take(&source)?;
        shares.charge(source, d.bytes.len());
        Some(d)
    }

    fn take(&mut self, source: &ShortId) -> Option<Datagram> {
        let (bytes, queue) = self.queues.get_mut(source)?;
        let d = queue.pop_front()?;
        *bytes -= d.bytes.len();
        self.bytes -= d.bytes.len();
        if queue.is_empty() {
            self.queues.remove(source);
        }
        Some(d)
    }

    /// Takes out those from before `oldest`.
    pub(super) fn expire(&mut self, oldest: u64) -> Vec<DatagramTag> {
        let late = |(s, (_, q)): (&ShortId, &(usize, VecDeque<Datagram>))| {
            q.front().is_some_and(|d| d.since < oldest).then_some(*s)
        };
        let mut dropped = Vec::new();
        while let Some(source) = self.queues.iter().find_map(late) {
            dropped.extend(self.take(&source).map(|d| d.tag));
        }
        dropped
    }

    /// When the oldest was queued.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.queues.values().filter_map(|(_, q)| q.front()).map(|d| d.since).min()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives up all.
    pub(super) fn drain(&mut self) -> Vec<DatagramTag> {
        self.bytes = 0;
        std::mem::take(&mut self.queues).into_values().flat_map(|(_, q)| q).map(|d| d.tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dgram(n: u64, len: usize) -> Datagram {
        Datagram { bytes: vec![0; len], tag: DatagramTag::App(n), since: n }
    }

    #[test]
    fn a_flood_drops_its_own_and_takes_turns() {
        let (mut q, mut shares) = (Datagrams::default(), Shares::default());
        for n in 0..10 {
            assert!(q.push([1; 8], dgram(n, 1000)).is_empty());
        }
        let mut dropped = Vec::new();
        for n in 100..300 {
            dropped.extend(q.push([2; 8], dgram(n, 1000)));
        }
        assert!(q.bytes() <= MAX_WAITING);
        assert!(dropped.iter().all(|t| matches!(t, DatagramTag::App(n) if *n >= 100)), "only its own");
        let first: Vec<u64> = (0..20).map(|_| q.pop(&mut shares).unwrap().since).collect();
        assert_eq!(first.iter().filter(|n| **n < 100).count(), 10, "{first:?}");
        let left = q.bytes() / 1000;
        assert_eq!(q.expire(u64::MAX).len(), left);
        assert_eq!((q.bytes(), q.oldest()), (0, None));
    }

    #[test]
    fn idle_time_is_not_saved() {
        let mut shares = Shares::default();
        for _ in 0..100 {
            shares.charge([1; 8], 1000);
        }
        // The floor follows whoever is served, so a newcomer is at most one turn ahead.
        assert_eq!(shares.of(&[2; 8]), 99_000);
        for i in 0..2000u64 {
            let mut id = [0; 8];
            id.copy_from_slice(&i.to_le_bytes());
            shares.charge(id, 10);
        }
        assert!(shares.sent.len() <= MAX_SOURCES + 1, "memory is bounded");
    }
}
