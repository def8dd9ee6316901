//! From the difference of two prefixes of symbols to the documents that differ.

use std::collections::BTreeMap;

use ditto_types::KeyHash;

use super::field::{invert_all, sub};
use super::symbol::{Places, Symbol};

/// A document that differs: the sender's weight minus ours, where a side without it counts as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) key: KeyHash,
    weight: u64,
}

impl Difference {
    /// Whether the sender has nothing, if our entry has this weight.
    pub(crate) fn is_ours_alone(&self, weight: u64) -> bool {
        self.weight == sub(0, weight)
    }
}

/// Takes symbols as they come. Its work and memory are bounded by their number, whatever they contain.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The sender's symbols minus ours, minus what was found.
    cells: Vec<Symbol>,
    /// What was found, with the place from which it is not yet taken out.
    found: BTreeMap<KeyHash, (Symbol, Places)>,
    /// Cells in which the two views differed.
    unequal: usize,
    /// Set when a key was found a second time: the symbols are not those of any set.
    broken: bool,
}

impl Decoder {
    /// Symbols taken in.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Takes the next symbols of both sides and finds what can be found. `ours` starts at the same place as `theirs`.
    pub(crate) fn extend(&mut self, theirs: &[Symbol], ours: &[Symbol]) {
        let start = self.cells.len();
        self.cells.extend(theirs.iter().zip(ours).map(|(theirs, ours)| theirs.minus(ours)));
        self.unequal += self.cells[start..].iter().filter(|c| !c.is_zero()).count();
        for (part, places) in self.found.values_mut() {
            while let Some(cell) = self.cells.get_mut(places.at()) {
                *cell = cell.minus(part);
                places.advance();
            }
        }
        self.peel((start..self.cells.len()).collect());
    }

    /// What differs; `None` while that cannot be told.
    pub(crate) fn differences(&self) -> Option<Vec<Difference>> {
        let complete = !self.broken && !self.cells.is_empty() && self.cells.iter().all(Symbol::is_zero);
        complete.then(|| {
            self.found.iter().map(|(key, (part, _))| Difference { key: *key, weight: part.weight }).collect()
        })
    }

    /// Symbols that would probably suffice, all in all; `None` if more will not help.
    pub(crate) fn needed(&self) -> Option<usize> {
        if self.broken {
            return None;
        }
        let len = self.cells.len();
        if self.unequal == len {
            return Some(len * 2);
        }
        // With d differences, cell i is equal by chance with probability exp(-d/(1 + i/2)).
        let expected = |d: f64| (0..len).map(|i| 1.0 - (-d / (1.0 + i as f64 / 2.0)).exp()).sum::<f64>();
        let (mut low, mut high) = (0.0, len as f64 * 4.0);
        for _ in 0..32 {
            let middle = (low + high) / 2.0;
            if expected(middle) < self.unequal as f64 { low = middle } else { high = middle }
        }
        Some(((high * 1.38 + 3.0) as usize).max(len + len / 24 + 2))
    }

    /// Finds keys that are alone in a cell, takes them out of their other cells, and so on. Inverses are computed for
    /// all candidates of a round together.
    fn peel(&mut self, mut candidates: Vec<usize>) {
        while !candidates.is_empty() && !self.broken {
            candidates.sort_unstable();
            candidates.dedup();
            candidates.retain(|i| self.cells[*i].weight != 0);
            let mut inverses: Vec<_> = candidates.iter().map(|i| self.cells[*i].weight).collect();
            let weights = inverses.clone();
            invert_all(&mut inverses);
            let mut touched = Vec::new();
            // The later cells first: fewer keys fall into them.
            for ((i, inverse), weight) in candidates.iter().zip(inverses).zip(weights).rev() {
                let cell = self.cells[*i];
                if cell.weight != weight {
                    continue;
                }
                let Some(key) = cell.only_key(inverse).filter(|key| is_in(*key, *i)) else { continue };
                if self.found.contains_key(&key) {
                    self.broken = true;
                    return;
                }
                let mut places = Places::new(key);
                while let Some(other) = self.cells.get_mut(places.at()) {
                    *other = other.minus(&cell);
                    touched.push(places.at());
                    places.advance();
                }
                self.found.insert(key, (cell, places));
            }
            candidates = touched;
        }
    }
}

/// Whether a key belongs into a cell.
fn is_in(key: KeyHash, cell: usize) -> bool {
    let mut places = Places::new(key);
    while places.at() < cell {
        places.advance();
    }
    places.at() == cell
}
