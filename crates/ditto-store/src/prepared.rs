//! The cache of prepared statements, by text, with what each has done so far (`system:shared_statements`).
//!
//! Only the text is prepared here. Access paths are chosen when a statement is bound, so an index that comes or goes
//! takes effect at the next execution.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_dql::{Directives, DqlError, Prepared, StatementKind};

/// Statements kept.
const CAPACITY: usize = 512;

/// Longer texts are not kept: they carry their data as literals and so rarely come twice.
const MAX_TEXT: usize = 16 * 1024;

/// Text that is kept in all, in bytes. A prepared statement is a small multiple of its text.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// A prepared statement and its statistics.
pub(crate) struct Statement {
    pub(crate) text: Arc<str>,
    pub(crate) prepared: Prepared,
    /// Whether `request_info()` may be called; only then its answer is made.
    pub(crate) uses_request_info: bool,
    /// Unix milliseconds.
    pub(crate) prepared_ms: u64,
    pub(crate) stats: Stats,
}

/// Sums over the finished executions of a statement.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) executions: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) results: AtomicU64,
    pub(crate) total_ns: AtomicU64,
    pub(crate) longest_ns: AtomicU64,
    /// Unix milliseconds.
    pub(crate) last_ms: AtomicU64,
}

impl Statement {
    /// The word in the column `queryType`.
    pub(crate) fn query_type(&self) -> &'static str {
        match self.prepared.kind() {
            StatementKind::Select => "select",
            StatementKind::Insert => "insert",
            StatementKind::Update => "update",
            StatementKind::Delete => "delete",
            StatementKind::Evict => "evict",
            StatementKind::CreateIndex => "create_index",
            StatementKind::DropIndex => "drop_index",
            StatementKind::AlterSystem => "alter_system",
            StatementKind::Show => "show",
            StatementKind::ClearHistory => "clear_history",
        }
    }
}

impl Stats {
    pub(crate) fn add(&self, elapsed_ns: u64, results: u64, failed: bool, now_ms: u64) {
        self.executions.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(failed.into(), Ordering::Relaxed);
        self.results.fetch_add(results, Ordering::Relaxed);
        self.total_ns.fetch_add(elapsed_ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(elapsed_ns, Ordering::Relaxed);
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(crate) struct StatementCache(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Statement and the tick of its last use.
    statements: HashMap<Arc<str>, (Arc<Statement>, u64)>,
    tick: u64,
    bytes: usize,
}

impl StatementCache {
    /// The prepared form of `text`, and whether it was there already. `defaults` are the directives of the settings.
    pub(crate) fn get(
        &self,
        text: &str,
        now_ms: u64,
        defaults: &Directives,
    ) -> Result<(Arc<Statement>, bool), DqlError> {
        {
            let mut inner = self.lock();
            inner.tick += 1;
            let tick = inner.tick;
            if let Some((statement, used)) = inner.statements.get_mut(text)
                && !statement.prepared.asks_anew(defaults)
            {
                *used = tick;
                return Ok((statement.clone(), true));
            }
        }
        // Parsed outside of the lock; two threads may do it twice, which is harmless.
        let prepared = ditto_dql::prepare(text)?;
        let statement = Arc::new(Statement {
            text: text.into(),
            prepared,
            uses_request_info: contains_ignoring_case(text, "request_info"),
            prepared_ms: now_ms,
            stats: Stats::default(),
        });
        if text.len() <= MAX_TEXT {
            self.lock().insert(&statement);
        }
        Ok((statement, false))
    }

    /// What is kept, most recently used first.
    pub(crate) fn statements(&self) -> Vec<Arc<Statement>> {
        let mut all: Vec<(u64, Arc<Statement>)> =
            self.lock().statements.values().map(|(s, tick)| (*tick, s.clone())).collect();
        all.sort_unstable_by_key(|(tick, _)| std::cmp::Reverse(*tick));
        all.into_iter().map(|(_, s)| s).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, statement: &Arc<Statement>) {
        if self.statements.len() >= CAPACITY || self.bytes + statement.text.len() > MAX_BYTES {
            // Half of them at once, so that a stream of different texts does not search every time.
            let mut ticks: Vec<u64> = self.statements.values().map(|(_, t)| *t).collect();
            ticks.sort_unstable();
            let limit = ticks.get(ticks.len() / 2).copied().unwrap_or(u64::MAX);
            self.statements.retain(|_, (_, t)| *t > limit);
            self.bytes = self.statements.keys().map(|k| k.len()).sum();
        }
        let (tick, text) = (self.tick, statement.text.clone());
        if self.statements.insert(text, (statement.clone(), tick)).is_none() {
            self.bytes += statement.text.len();
        }
    }
}

fn contains_ignoring_case(text: &str, ascii: &str) -> bool {
    text.as_bytes().windows(ascii.len()).any(|w| w.eq_ignore_ascii_case(ascii.as_bytes()))
}

#[cfg(test)]
mod tests {
    use ditto_dql::NO_DIRECTIVES;
    use ditto_types::{Object, Value};

    use super::*;

    #[test]
    fn equal_texts_share_a_statement_until_it_is_pushed_out() {
        let cache = StatementCache::default();
        let (first, known) = cache.get("SELECT * FROM c", 5, &NO_DIRECTIVES).unwrap();
        assert!(!known);
        let (again, known) = cache.get("SELECT * FROM c", 6, &NO_DIRECTIVES).unwrap();
        assert!(known && Arc::ptr_eq(&first, &again));
        assert_eq!(again.prepared_ms, 5);
        for i in 0..CAPACITY * 2 {
            cache.get(&format!("SELECT * FROM c WHERE n = {i}"), 7, &NO_DIRECTIVES).unwrap();
            assert!(cache.statements().len() <= CAPACITY);
        }
        assert!(!cache.get("SELECT * FROM c", 8, &NO_DIRECTIVES).unwrap().1);
        assert_eq!(&*cache.statements()[0].text, "SELECT * FROM c");
    }

    #[test]
    fn the_cache_is_bounded_by_bytes_and_leaves_long_texts_out() {
        let cache = StatementCache::default();
        let long = |i: usize, len: usize| format!("SELECT * FROM c WHERE n = {i} -- {}", "x".repeat(len));
        for i in 0..300 {
            cache.get(&long(i, 12 * 1024), 0, &NO_DIRECTIVES).unwrap();
        }
        let bytes: usize = cache.statements().iter().map(|s| s.text.len()).sum();
        assert!(bytes <= MAX_BYTES && bytes > 0, "{bytes}");
        cache.get(&long(999, MAX_TEXT), 0, &NO_DIRECTIVES).unwrap();
        assert!(!cache.get(&long(999, MAX_TEXT), 0, &NO_DIRECTIVES).unwrap().1);
    }

    #[test]
    fn errors_are_not_kept() {
        let cache = StatementCache::default();
        assert!(cache.get("SELECT", 0, &NO_DIRECTIVES).is_err());
        assert!(cache.statements().is_empty());
    }

    #[test]
    fn a_statement_that_asks_for_it_is_prepared_anew() {
        let cache = StatementCache::default();
        let known = |text: &str, defaults: &Directives| {
            cache.get(text, 0, defaults).unwrap();
            cache.get(text, 0, defaults).unwrap().1
        };
        let on = Directives::from_object(&Object::from([("#reprepare".into(), Value::Bool(true))]));
        let asking = r##"SELECT /*+ {"#reprepare": true} */ * FROM c"##;
        let declining = r##"INSERT INTO d SELECT /*+ {"#reprepare": false} */ * FROM c"##;
        for (text, defaults, want) in [
            ("SELECT * FROM c", &NO_DIRECTIVES, true),
            ("SELECT * FROM c", &on, false),
            ("UPDATE c SET a = 1", &on, false),
            (asking, &NO_DIRECTIVES, false),
            (declining, &on, true),
        ] {
            assert_eq!(known(text, defaults), want, "{text}");
        }
        // The cache has each text once all the same.
        assert_eq!(cache.statements().len(), 4);
    }
}
