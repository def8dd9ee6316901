//! Finished requests (`system:request_history`, dql.md 8), in memory and bounded.

mod qualifiers;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use qualifiers::Qualifiers;

use crate::request::{Finished, Outcome};

/// Text and error texts that the history holds at most, in bytes. Older entries go before it is exceeded.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// One entry.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) request: Finished,
    /// The qualifier that kept it; `None` when everything is kept.
    pub(crate) qualifier: Option<&'static str>,
}

/// The newest finished requests that qualified.
#[derive(Default)]
pub(crate) struct History(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// In place: of the memory of an old entry nothing is in a cache any more when it goes.
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl History {
    /// Takes a finished request in, when it qualifies and the history may hold anything.
    pub(crate) fn add(&self, request: Finished, qualifiers: &Qualifiers, size: u64) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let qualifier = match qualifiers.matching(&request) {
            Some(q) => Some(q),
            None if qualifiers.is_empty() => None,
            None => return,
        };
        if size == 0 {
            return;
        }
        // What goes is dropped without the lock.
        let mut gone = Vec::new();
        {
            let mut inner = self.lock();
            inner.bytes += request.weight();
            inner.entries.push_back(Entry { request, qualifier });
            while inner.entries.len() > size || (inner.bytes > MAX_BYTES && inner.entries.len() > 1) {
                let Some(old) = inner.entries.pop_front() else { break };
                inner.bytes -= old.request.weight();
                gone.push(old);
            }
        }
        drop(gone);
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    /// Forgets everything; gives the number of entries.
    pub(crate) fn clear(&self) -> usize {
        let gone = std::mem::take(&mut *self.lock());
        gone.entries.len()
    }

    /// Forgets the oldest beyond a new size.
    pub(crate) fn shrink(&self, size: u64) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut inner = self.lock();
        while inner.entries.len() > size {
            let Some(old) = inner.entries.pop_front() else { break };
            inner.bytes -= old.request.weight();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// The word in the column `state`.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::Timeout => "timeout",
            Outcome::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests;
