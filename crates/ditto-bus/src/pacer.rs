//! Unreliable messages that leave as datagrams: a few at a time, so that a large message does not drown itself, and
//! none that is too old.

use std::collections::VecDeque;

use crate::envelope::encode_fragments;

/// Datagrams that may wait at the first hop; less than it holds.
const MAX_OUTSTANDING: usize = 24;

/// A message on its way out.
#[derive(Debug)]
struct Item {
    number: u64,
    size: usize,
    parts: VecDeque<Vec<u8>>,
    /// Parts that the mesh has not answered.
    unanswered: usize,
    since: u64,
    dropped: bool,
}

/// A message that is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) number: u64,
    pub(crate) size: usize,
    pub(crate) sent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Pacer {
    items: VecDeque<Item>,
    unanswered: usize,
}

impl Pacer {
    /// Takes a message. Its number tells it from others, and is the id of its fragments.
    pub(crate) fn push(&mut self, number: u64, data: &[u8], now: u64) {
        let parts = encode_fragments(number, data).into();
        let size = data.len();
        self.items.push_back(Item { number, size, parts, unanswered: 0, since: now, dropped: false });
    }

    /// The next datagram, and the number of its message.
    pub(crate) fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.unanswered >= MAX_OUTSTANDING {
            return None;
        }
        let item = self.items.iter_mut().find(|i| !i.parts.is_empty())?;
        let part = item.parts.pop_front()?;
        item.unanswered += 1;
        self.unanswered += 1;
        Some((item.number, part))
    }

    /// What became of a datagram of a message. A lost part makes the others useless.
    pub(crate) fn answered(&mut self, number: u64, sent: bool) -> Option<Done> {
        let at = self.items.iter().position(|i| i.number == number)?;
        let item = self.items.get_mut(at)?;
        item.unanswered = item.unanswered.checked_sub(1)?;
        self.unanswered -= 1;
        if !sent {
            item.dropped = true;
            item.parts.clear();
        }
        self.finish(at)
    }

    /// Sheds messages with parts that have waited since before `oldest`.
    pub(crate) fn expire(&mut self, oldest: u64) -> Vec<Done> {
        let mut done = Vec::new();
        let mut at = 0;
        while let Some(item) = self.items.get_mut(at) {
            if item.since < oldest && !item.parts.is_empty() {
                item.dropped = true;
                item.parts.clear();
            }
            match self.finish(at) {
                Some(d) => done.push(d),
                None => at += 1,
            }
        }
        done
    }

    /// Removes a message of which nothing is left.
    fn finish(&mut self, at: usize) -> Option<Done> {
        self.items.get(at).filter(|i| i.parts.is_empty() && i.unanswered == 0)?;
        let item = self.items.remove(at)?;
        Some(Done { number: item.number, size: item.size, sent: !item.dropped })
    }

    /// Gives everything up; the numbers of what was not done with.
    pub(crate) fn drain(&mut self) -> Vec<u64> {
        let left = self.items.drain(..).map(|i| i.number).collect();
        self.unanswered = 0;
        left
    }

    /// Messages that are not done with.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Since when the oldest that can be shed has waited.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.items.iter().filter(|i| !i.parts.is_empty()).map(|i| i.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::MAX_UNRELIABLE;

    #[test]
    fn a_large_message_leaves_in_small_portions() {
        let mut p = Pacer::default();
        p.push(1, &vec![0; MAX_UNRELIABLE], 0);
        let mut sent = 0;
        loop {
            let batch = std::iter::from_fn(|| p.next()).count();
            assert!(batch <= MAX_OUTSTANDING);
            sent += batch;
            let done: Vec<Done> = (0..batch).filter_map(|_| p.answered(1, true)).collect();
            if let [done] = done[..] {
                assert_eq!(done, Done { number: 1, size: MAX_UNRELIABLE, sent: true });
                break;
            }
        }
        assert_eq!((sent, p.len(), p.oldest()), (110, 0, None));
        assert_eq!(p.answered(1, true), None);
    }

    #[test]
    fn a_lost_part_ends_its_message_and_no_other() {
        let mut p = Pacer::default();
        p.push(1, &[0; 5_000], 0);
        p.push(2, &[0; 10], 0);
        assert_eq!(p.next().map(|n| n.0), Some(1));
        assert_eq!(p.answered(1, false), Some(Done { number: 1, size: 5_000, sent: false }));
        assert_eq!(p.next().map(|n| n.0), Some(2));
        assert_eq!(p.answered(2, true), Some(Done { number: 2, size: 10, sent: true }));
    }

    #[test]
    fn what_waits_too_long_is_shed() {
        let mut p = Pacer::default();
        p.push(1, &[0; 100_000], 0);
        let on_the_way = std::iter::from_fn(|| p.next()).count();
        p.push(2, &[0; 10], 50);
        assert_eq!(p.expire(50), [], "parts of the first are unanswered");
        assert_eq!(p.oldest(), Some(50));
        let done: Vec<Done> = (0..on_the_way).filter_map(|_| p.answered(1, true)).collect();
        assert_eq!(done, [Done { number: 1, size: 100_000, sent: false }]);
        assert_eq!(p.expire(51), [Done { number: 2, size: 10, sent: false }]);
        assert_eq!(p.len(), 0);
    }
}
