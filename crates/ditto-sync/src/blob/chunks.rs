//! Sets of chunks: a bit for each here, runs on the wire.

use ditto_types::{MAX_BLOB_BYTES, blob_chunk_len, blob_chunks};

use super::limits::MAX_RUNS;

/// Chunks of one blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSet {
    words: Vec<u64>,
    chunks: u64,
    count: u64,
}

impl ChunkSet {
    /// No chunk of a blob of `len` bytes; one that is too long for a blob is cut.
    pub fn new(len: u64) -> Self {
        let chunks = blob_chunks(len.min(MAX_BLOB_BYTES));
        Self { words: vec![0; usize::try_from(chunks.div_ceil(64)).unwrap_or(0)], chunks, count: 0 }
    }

    /// The chunks of a blob of `len` bytes whose bit is set, the lowest bit of the first byte first.
    pub fn from_bits(len: u64, bits: &[u8]) -> Self {
        let mut out = Self::new(len);
        for (at, byte) in bits.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            (0..8).filter(|bit| byte >> bit & 1 == 1).for_each(|bit| {
                out.insert(at as u64 * 8 + bit);
            });
        }
        out
    }

    /// All chunks of a blob of `len` bytes.
    pub fn full(len: u64) -> Self {
        let mut out = Self::new(len);
        (0..out.chunks).for_each(|index| {
            out.insert(index);
        });
        out
    }

    /// How many chunks the blob has.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// How many are in the set.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether all are.
    pub fn is_full(&self) -> bool {
        self.count == self.chunks
    }

    /// Whether a chunk is in the set.
    pub fn contains(&self, index: u64) -> bool {
        self.word(index).is_some_and(|w| w >> (index % 64) & 1 == 1)
    }

    /// Adds a chunk; `false` if it was there, or the blob has no such chunk.
    pub fn insert(&mut self, index: u64) -> bool {
        self.change(index, true)
    }

    /// Removes a chunk; `false` if it was not there.
    pub fn remove(&mut self, index: u64) -> bool {
        self.change(index, false)
    }

    /// Bytes of the chunks in the set.
    pub fn bytes(&self, len: u64) -> u64 {
        let last = self.chunks - 1;
        let size = |index| blob_chunk_len(len, index).unwrap_or(0) as u64;
        let ends = if self.contains(last) { size(last) } else { 0 };
        (self.count - u64::from(self.contains(last))) * size(0) + ends
    }

    /// The first chunk in `from..to` that is not in the set.
    pub fn next_missing(&self, from: u64, to: u64) -> Option<u64> {
        let (mut at, to) = (from, to.min(self.chunks));
        while at < to {
            let free = !self.word(at)? >> (at % 64);
            if free != 0 {
                let found = at + u64::from(free.trailing_zeros());
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The first chunk at or after `from` that is in the set; the number of chunks if there is none.
    fn next_present(&self, from: u64) -> u64 {
        let mut at = from;
        while let Some(word) = self.word(at) {
            let set = word >> (at % 64);
            if set != 0 {
                return at + u64::from(set.trailing_zeros());
            }
            at = (at / 64 + 1) * 64;
        }
        self.chunks
    }

    /// The set as runs, as many as a message takes.
    pub(crate) fn runs(&self) -> Runs {
        let (mut runs, mut at) = (Vec::new(), 0);
        while runs.len() < MAX_RUNS {
            let start = self.next_present(at);
            if start >= self.chunks {
                break;
            }
            let end = self.next_missing(start, self.chunks).unwrap_or(self.chunks);
            runs.push((start, end));
            at = end;
        }
        Runs(runs)
    }

    fn word(&self, index: u64) -> Option<u64> {
        let at = usize::try_from(index / 64).ok().filter(|_| index < self.chunks)?;
        self.words.get(at).copied()
    }

    fn change(&mut self, index: u64, to: bool) -> bool {
        if index >= self.chunks || self.contains(index) == to {
            return false;
        }
        let Some(word) = usize::try_from(index / 64).ok().and_then(|at| self.words.get_mut(at)) else {
            return false;
        };
        *word ^= 1 << (index % 64);
        if to {
            self.count += 1
        } else {
            self.count -= 1
        }
        true
    }
}

/// Runs of chunks: start and end, in order, neither touching nor empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs(pub(crate) Vec<(u64, u64)>);

impl Runs {
    pub(crate) fn contains(&self, index: u64) -> bool {
        let at = self.0.partition_point(|(start, _)| *start <= index);
        at.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|(_, end)| index < *end)
    }

    /// The first chunk of the runs, from `from` on and around, that is not in `taken`.
    pub(crate) fn first_without(&self, taken: &ChunkSet, from: u64) -> Option<u64> {
        let after = self.0.iter().filter(|(_, end)| *end > from);
        let after = after.filter_map(|(start, end)| taken.next_missing((*start).max(from), *end)).next();
        let before = || {
            let before = self.0.iter().filter(|(start, _)| *start < from);
            before.filter_map(|(start, end)| taken.next_missing(*start, (*end).min(from))).next()
        };
        after.or_else(before)
    }
}

/// What a peer says that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    Whole,
    Runs(Runs),
}

impl Held {
    pub(crate) fn contains(&self, index: u64) -> bool {
        match self {
            Held::Nothing => false,
            Held::Whole => true,
            Held::Runs(runs) => runs.contains(index),
        }
    }

    /// The first chunk that it has, from `from` on and around, that is not in `taken`.
    pub(crate) fn first_without(&self, taken: &ChunkSet, from: u64) -> Option<u64> {
        match self {
            Held::Nothing => None,
            Held::Whole => taken.next_missing(from, taken.chunks()).or_else(|| taken.next_missing(0, from)),
            Held::Runs(runs) => runs.first_without(taken, from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ditto_types::BLOB_CHUNK_BYTES;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_what_a_plain_set_says(
            chunks in 1u64..400,
            steps in proptest::collection::vec((any::<bool>(), 0u64..420), 0..300),
            from in 0u64..420,
        ) {
            let len = chunks * BLOB_CHUNK_BYTES as u64 - 7;
            let (mut set, mut plain) = (ChunkSet::new(len), BTreeSet::new());
            for (add, index) in steps {
                let changed = match add {
                    true => index < chunks && plain.insert(index),
                    false => plain.remove(&index),
                };
                prop_assert_eq!(if add { set.insert(index) } else { set.remove(index) }, changed);
            }
            prop_assert_eq!(set.count(), plain.len() as u64);
            prop_assert!((0..450).all(|i| set.contains(i) == plain.contains(&i)));
            let bytes: u64 = plain.iter().map(|i| blob_chunk_len(len, *i).unwrap() as u64).sum();
            prop_assert_eq!(set.bytes(len), bytes);
            let missing = (from..chunks).find(|i| !plain.contains(i));
            prop_assert_eq!(set.next_missing(from, u64::MAX), missing);
            let runs = set.runs();
            prop_assert!((0..450).all(|i| runs.contains(i) == plain.contains(&i)));
            let mut bits = vec![0u8; 60];
            plain.iter().for_each(|i| bits[*i as usize / 8] |= 1 << (i % 8));
            prop_assert_eq!(&ChunkSet::from_bits(len, &bits), &set);
            prop_assert_eq!(ChunkSet::full(len).count(), chunks);
            prop_assert!(runs.0.windows(2).all(|w| w[0].1 < w[1].0) && runs.0.iter().all(|r| r.0 < r.1));
        }

        #[test]
        fn the_next_chunk_of_a_holder_is_found_around_the_end(
            chunks in 1u64..200,
            held in proptest::collection::btree_set(0u64..200, 0..200),
            taken in proptest::collection::btree_set(0u64..200, 0..200),
            from in 0u64..200,
        ) {
            let len = chunks * BLOB_CHUNK_BYTES as u64;
            let set = |of: &BTreeSet<u64>| {
                let mut set = ChunkSet::new(len);
                of.iter().for_each(|i| { set.insert(*i); });
                set
            };
            let (mine, theirs) = (set(&taken), set(&held));
            let order = (from..chunks).chain(0..from.min(chunks));
            let wanted: Vec<u64> = order.filter(|i| !mine.contains(*i)).collect();
            let of_held = wanted.iter().copied().find(|i| theirs.contains(*i));
            prop_assert_eq!(Held::Runs(theirs.runs()).first_without(&mine, from), of_held);
            prop_assert_eq!(Held::Whole.first_without(&mine, from), wanted.first().copied());
            prop_assert_eq!(Held::Nothing.first_without(&mine, from), None);
        }
    }
}
