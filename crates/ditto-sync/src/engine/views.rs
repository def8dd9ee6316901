//! Sums over views, kept up to date with every commit, so that comparing equal views walks over no documents.
//!
//! The first use of a view scans it; from then on commits change the sums in place. Views of one query are one entry,
//! whoever asked: an app's own subscription and the same one of all its peers. Symbols are made when views are first
//! found to differ. What does not fit into [`crate::SyncConfig::view_cache_bytes`] is dropped, the longest unused first,
//! and scanned again.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::Core;
use super::commit::Matches;
use crate::sketch::{Entry, Summary, Symbol, add_entry, remove_entry};
use crate::store::{LocalCommit, SyncStore, SyncStoreError};

/// Symbols made at once, so that small differences need no second scan.
pub(crate) const MIN_SYMBOLS: usize = 1_024;

/// The cached views by query hash.
pub(crate) struct Views<Q> {
    entries: BTreeMap<[u8; 16], View<Q>>,
    clock: u64,
    #[cfg(test)]
    pub(crate) scans: u64,
}

struct View<Q> {
    query: Q,
    collection: SmolStr,
    /// Commits up to this one are in the sums.
    seq: u64,
    summary: Summary,
    symbols: Arc<Vec<Symbol>>,
    used: u64,
}

impl<Q> View<Q> {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.symbols.len() * size_of::<Symbol>()
    }
}

impl<Q> Default for Views<Q> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            clock: 0,
            #[cfg(test)]
            scans: 0,
        }
    }
}

impl<Q: Clone> Views<Q> {
    /// Forgets everything, because commits were missed.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Drops what exceeds the limit, but not the view used last.
    fn shrink(&mut self, limit: usize) {
        let mut bytes: usize = self.entries.values().map(View::bytes).sum();
        while bytes > limit && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, v)| v.used).map(|(hash, _)| *hash);
            let Some(dropped) = oldest.and_then(|hash| self.entries.remove(&hash)) else { break };
            bytes -= dropped.bytes();
        }
    }
}

impl<S: SyncStore> Core<S> {
    /// Number and fingerprint of a view.
    pub(crate) fn summary(&mut self, hash: [u8; 16], query: &S::Query) -> Result<&Summary, SyncStoreError> {
        Ok(&self.view(hash, query, 0)?.summary)
    }

    /// Number of documents in a view.
    pub(crate) fn count(&mut self, hash: [u8; 16], query: &S::Query) -> Result<u64, SyncStoreError> {
        match self.store.count(query)? {
            Some(count) => Ok(count),
            None => Ok(self.summary(hash, query)?.count),
        }
    }

    /// The first symbols of a view, at least `n`, as they are now.
    pub(crate) fn symbols(
        &mut self,
        hash: [u8; 16],
        query: &S::Query,
        n: usize,
    ) -> Result<Arc<Vec<Symbol>>, SyncStoreError> {
        Ok(self.view(hash, query, n.max(MIN_SYMBOLS))?.symbols.clone())
    }

    fn view(
        &mut self,
        hash: [u8; 16],
        query: &S::Query,
        symbols: usize,
    ) -> Result<&View<S::Query>, SyncStoreError> {
        self.views.clock += 1;
        let used = self.views.clock;
        if self.views.entries.get(&hash).is_none_or(|v| v.symbols.len() < symbols) {
            let view = self.scan(query, symbols)?;
            self.views.entries.insert(hash, view);
        }
        if let Some(view) = self.views.entries.get_mut(&hash) {
            view.used = used;
        }
        self.views.shrink(self.config.view_cache_bytes);
        // The view used last is never dropped.
        self.views.entries.get(&hash).ok_or_else(|| SyncStoreError("the view is not cached".into()))
    }

    fn scan(&mut self, query: &S::Query, symbols: usize) -> Result<View<S::Query>, SyncStoreError> {
        #[cfg(test)]
        {
            self.views.scans += 1;
        }
        let mut summary = Summary::default();
        let mut cells = vec![Symbol::default(); symbols];
        let seq = self.store.scan_view(query, &mut |key, digest| {
            let entry = Entry::new(key, &digest);
            summary.add(&entry);
            add_entry(&mut cells, &entry);
        })?;
        let (collection, query) = (SmolStr::new(self.store.collection(query)), query.clone());
        Ok(View { query, collection, seq, summary, symbols: Arc::new(cells), used: 0 })
    }

    /// Carries a commit over to the cached views.
    pub(crate) fn update_views(&mut self, commit: &LocalCommit, matches: &mut Matches<'_>) {
        let mut views = std::mem::take(&mut self.views);
        for (hash, view) in &mut views.entries {
            if view.seq >= commit.seq {
                continue;
            }
            view.seq = commit.seq;
            for (i, change) in commit.changes.iter().enumerate() {
                if change.collection != view.collection {
                    continue;
                }
                let (before, after) = matches.get(self, hash, &view.query, i);
                if !before && !after {
                    continue;
                }
                // Copies only if a comparison still reads the symbols as they were.
                let cells = Arc::make_mut(&mut view.symbols);
                if let Some(old) = change.old.as_ref().filter(|_| before) {
                    let entry = Entry::new(change.key, &old.digest(self.store.hash_key()));
                    view.summary.remove(&entry);
                    remove_entry(cells, &entry);
                }
                if after {
                    let entry = Entry::new(change.key, &change.digest);
                    view.summary.add(&entry);
                    add_entry(cells, &entry);
                }
            }
        }
        self.views = views;
    }
}
