//! The cache of prepared statements, by text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ditto_dql::{DqlError, Prepared};

/// Statements kept.
const CAPACITY: usize = 256;

/// Longer texts are not kept: they carry their data as literals and so rarely come twice.
const MAX_TEXT: usize = 16 * 1024;

#[derive(Default)]
pub(crate) struct StatementCache(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Text to statement and the tick of its last use.
    statements: HashMap<Arc<str>, (Arc<Prepared>, u64)>,
    tick: u64,
}

impl StatementCache {
    /// The prepared form of `text`.
    pub(crate) fn get(&self, text: &str) -> Result<Arc<Prepared>, DqlError> {
        {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.tick += 1;
            let tick = inner.tick;
            if let Some((prepared, used)) = inner.statements.get_mut(text) {
                *used = tick;
                return Ok(prepared.clone());
            }
        }
        // Parsed outside of the lock; two threads may do it twice, which is harmless.
        let prepared = Arc::new(ditto_dql::prepare(text)?);
        if text.len() <= MAX_TEXT {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.statements.len() >= CAPACITY {
                // Half of the capacity at once, so that a stream of different texts does not search every time.
                let mut ticks: Vec<u64> = inner.statements.values().map(|(_, t)| *t).collect();
                ticks.sort_unstable();
                let limit = ticks[ticks.len() / 2];
                inner.statements.retain(|_, (_, t)| *t > limit);
            }
            let tick = inner.tick;
            inner.statements.insert(text.into(), (prepared.clone(), tick));
        }
        Ok(prepared)
    }
}
