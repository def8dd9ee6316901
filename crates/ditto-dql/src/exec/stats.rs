//! What a run did, for PROFILE and the history of requests.

use std::ops::{Index, IndexMut};

/// Counts and times of one run. Times are in nanoseconds and 0 without a clock.
#[derive(Clone, Debug, Default)]
pub struct RunStats {
    pub(crate) terms: Terms,
    /// Rows that fulfil all conditions.
    pub(crate) matched: u64,
    /// Rows or groups that came to be projected.
    pub(crate) projected: u64,
    /// Groups before HAVING.
    pub(crate) groups: u64,
    /// Rows of the result, or documents that a mutation chose.
    pub(crate) rows: u64,
    /// Time in the source, for the first term.
    pub(crate) source_ns: u64,
    /// Time in everything that is done with its rows.
    pub(crate) rows_ns: u64,
    /// Time for groups, order and cutting after the last row.
    pub(crate) finish_ns: u64,
    /// Time in which the chosen documents were changed.
    pub(crate) write_ns: u64,
}

impl RunStats {
    /// With the time that it took to change the documents which were chosen.
    #[must_use]
    pub fn written_in(self, nanos: u64) -> Self {
        Self { write_ns: nanos, ..self }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TermStats {
    /// Rows that the source gave.
    pub(crate) visited: u64,
    /// Rows that the conditions which can be tested here kept.
    pub(crate) kept: u64,
}

/// By the number of the term. The one of most statements needs no memory of its own: histories keep thousands of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    first: Option<TermStats>,
    joined: Vec<TermStats>,
}

impl Terms {
    /// Of a first term and as many joined ones.
    pub(crate) fn new(first: TermStats, joined: usize) -> Self {
        Self { first: Some(first), joined: vec![TermStats::default(); joined] }
    }

    pub(crate) fn get(&self, term: usize) -> Option<&TermStats> {
        match term.checked_sub(1) {
            None => self.first.as_ref(),
            Some(joined) => self.joined.get(joined),
        }
    }
}

impl Index<usize> for Terms {
    type Output = TermStats;

    fn index(&self, term: usize) -> &TermStats {
        match (term, &self.first) {
            (0, Some(first)) => first,
            _ => &self.joined[term - 1],
        }
    }
}

impl IndexMut<usize> for Terms {
    fn index_mut(&mut self, term: usize) -> &mut TermStats {
        match term {
            0 => self.first.get_or_insert_default(),
            joined => &mut self.joined[joined - 1],
        }
    }
}
