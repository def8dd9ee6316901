//! Number, fingerprint and size of differences of views.

use super::symbol::Entry;

/// Counters of a summary. The estimate's standard error is sqrt(2/64), 18 %.
pub(crate) const COUNTERS: usize = 64;

/// Of a summary what tells how much another view differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    pub(crate) count: u64,
    pub(crate) counters: Box<[i32; COUNTERS]>,
}

/// Sums over all entries of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    /// Sum of the entries' hashes, modulo 2^128.
    pub(crate) sum: u128,
    /// Each entry adds or subtracts 1, by a bit of its hash.
    pub(crate) counters: [i32; COUNTERS],
}

impl Default for Summary {
    fn default() -> Self {
        Self { count: 0, sum: 0, counters: [0; COUNTERS] }
    }
}

impl Summary {
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(entry.sum);
        for (i, counter) in self.counters.iter_mut().enumerate() {
            *counter = counter.wrapping_add(entry.sign(i));
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(entry.sum);
        for (i, counter) in self.counters.iter_mut().enumerate() {
            *counter = counter.wrapping_sub(entry.sign(i));
        }
    }

    /// About how many documents differ from a view with this sketch, if most differ in their version and not in being there.
    pub(crate) fn difference(&self, theirs: &Sketch) -> u64 {
        let squares = self.counters.iter().zip(&*theirs.counters).map(|(a, b)| {
            let d = i128::from(*a) - i128::from(*b);
            (d * d) as u128
        });
        // A changed document is two entries, one on either side.
        let changed = squares.sum::<u128>() / (2 * COUNTERS as u128);
        u64::try_from(changed).unwrap_or(u64::MAX).max(self.count.abs_diff(theirs.count)).max(1)
    }

    /// By what the counters differ from those of another view.
    pub(crate) fn signs_without(&self, theirs: &Sketch) -> [f64; COUNTERS] {
        std::array::from_fn(|i| f64::from(self.counters[i]) - f64::from(theirs.counters[i]))
    }

    /// What a peer needs to estimate the difference.
    pub(crate) fn sketch(&self) -> Sketch {
        Sketch { count: self.count, counters: Box::new(self.counters) }
    }
}
