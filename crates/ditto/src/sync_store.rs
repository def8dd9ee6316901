//! Lets the sync machine work on the store: the same shapes under the names of either crate.

use std::sync::Arc;

use ditto_crdt::{DictWriter, Doc, VersionVector};
use ditto_store::{CompiledQuery, Store, SyncScope};
use ditto_sync::{ChangedStates, LocalChange, LocalCommit, PeerId, SyncStore, SyncStoreError};
use ditto_types::{Digest, DocId, HashKey, KeyHash, Object};

/// The store as the sync machine sees it.
pub struct StoreAdapter {
    store: Store,
}

impl StoreAdapter {
    /// The machine works on this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

fn failed(e: ditto_store::StoreError) -> SyncStoreError {
    SyncStoreError(e.to_string())
}

/// The changes of a commit, which are put together when they are asked for.
#[derive(Debug)]
struct InCommit(Arc<ditto_store::Commit>);

impl ChangedStates for InCommit {
    fn id(&self, index: usize) -> &DocId {
        &self.0.changes[index].id
    }

    fn new_state(&self, index: usize) -> Option<&Arc<Doc>> {
        self.0.changes[index].new_state()
    }

    fn delta(&self, index: usize) -> &Arc<Doc> {
        self.0.changes[index].delta()
    }

    fn base(&self, index: usize) -> &Arc<VersionVector> {
        self.0.changes[index].base()
    }
}

/// A commit of the store in the words of the sync machine.
pub fn local_commit(commit: &Arc<ditto_store::Commit>) -> LocalCommit {
    let states = Arc::new(InCommit(commit.clone()));
    let change = |(index, c): (usize, &ditto_store::Change)| LocalChange {
        collection: c.collection.clone(),
        key: c.key,
        digest: c.digest,
        old: c.old.clone(),
        alive: c.is_alive(),
        states: states.clone(),
        index,
    };
    let source = commit.source.as_deref().and_then(|key| Some(PeerId(key.try_into().ok()?)));
    LocalCommit {
        seq: commit.seq,
        source,
        changes: commit.changes.iter().enumerate().map(change).collect(),
        evicted_collections: commit.evicted_collections.clone(),
    }
}

fn stored(d: ditto_store::StoredDoc) -> ditto_sync::StoredDoc {
    let ditto_store::StoredDoc { collection, id, key, digest, seq, doc } = d;
    ditto_sync::StoredDoc { collection, id, key, digest, seq, doc }
}

fn cursor_key(k: &ditto_sync::CursorKey) -> ditto_store::CursorKey {
    let ditto_sync::CursorKey { store_id, epoch, query_hash, perm_hash } = *k;
    ditto_store::CursorKey { store_id, epoch, query_hash, perm_hash }
}

fn cursor_write(w: &ditto_sync::CursorWrite) -> ditto_store::CursorWrite {
    ditto_store::CursorWrite {
        key: cursor_key(&w.key),
        collection: w.collection.clone(),
        cursor: ditto_store::Cursor { token: w.cursor.token, own_seq: w.cursor.own_seq },
    }
}

fn item(i: ditto_sync::ApplyItem) -> ditto_store::ApplyItem {
    let body = match i.body {
        ditto_sync::ItemBody::Full(doc) => ditto_store::ItemBody::Full(doc),
        ditto_sync::ItemBody::Delta { base, doc } => ditto_store::ItemBody::Delta { base, doc },
        ditto_sync::ItemBody::Tomb(doc) => ditto_store::ItemBody::Tomb(doc),
    };
    ditto_store::ApplyItem { collection: i.collection, id: i.id, body }
}

fn outcome(o: ditto_store::ItemOutcome) -> ditto_sync::ItemOutcome {
    use ditto_store::{ItemOutcome as From, RefusalCode as Code};
    use ditto_sync::{ItemOutcome as To, RefusalCode};
    match o {
        From::Changed { digest } => To::Changed { digest },
        From::Unchanged { digest } => To::Unchanged { digest },
        From::LocalNewer { digest } => To::LocalNewer { digest },
        From::NeedsBase { vv } => To::NeedsBase { vv },
        From::NotHeld => To::NotHeld,
        From::Refused(code) => To::Refused(match code {
            Code::Future => RefusalCode::Future,
            Code::TooLarge => RefusalCode::TooLarge,
            _ => RefusalCode::Other,
        }),
    }
}

impl SyncStore for StoreAdapter {
    type Query = Arc<CompiledQuery>;

    fn identity(&self) -> ditto_sync::StoreIdentity {
        let ditto_store::StoreIdentity { store_id, epoch } = self.store.identity();
        ditto_sync::StoreIdentity { store_id, epoch }
    }

    fn head(&self) -> u64 {
        self.store.head()
    }

    fn hash_key(&self) -> &HashKey {
        self.store.hash_key()
    }

    fn compile(&self, text: &str, args: &Object) -> Result<Self::Query, SyncStoreError> {
        self.store.compile_registered(text, args).map_err(failed)
    }

    fn collection<'q>(&self, query: &'q Self::Query) -> &'q str {
        query.collection()
    }

    fn is_whole_collection(&self, query: &Self::Query) -> bool {
        query.is_whole_collection()
    }

    fn shares(&self, collection: &str) -> bool {
        let settings = self.store.settings();
        // Every peer is a small one.
        match settings.user_collection_sync_scopes.get(collection).copied().unwrap_or_default() {
            SyncScope::AllPeers | SyncScope::SmallPeersOnly => true,
            SyncScope::BigPeerOnly | SyncScope::LocalPeerOnly => false,
        }
    }

    fn shortlist(&self, change: &LocalChange) -> Vec<u64> {
        let states = [change.old.as_ref(), change.new_state()];
        let states = states.into_iter().flatten().map(|d| &**d);
        self.store.concerned(&change.collection, change.id(), states)
    }

    fn is_listed(&self, query: &Self::Query, list: &[u64]) -> bool {
        query.is_in(list)
    }

    fn matches(&self, query: &Self::Query, collection: &str, id: &DocId, doc: &Doc) -> bool {
        query.collection() == collection && query.matches(id, doc)
    }

    fn changes(
        &self,
        query: &Self::Query,
        after: u64,
        max_docs: usize,
        max_bytes: usize,
    ) -> Result<ditto_sync::ChangePage, SyncStoreError> {
        let page = self.store.changes(query, after, max_docs, max_bytes).map_err(failed)?;
        Ok(ditto_sync::ChangePage {
            docs: page.docs.into_iter().map(stored).collect(),
            others: page.others,
            scanned_to: page.scanned_to,
            done: page.done,
        })
    }

    fn scan_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError> {
        self.store.scan_view(query, each).map_err(failed)
    }

    fn is_bounded(&self, query: &Self::Query) -> bool {
        query.is_bounded()
    }

    fn first_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError> {
        self.store.first_view(query, each).map_err(failed)
    }

    fn count(&self, query: &Self::Query) -> Result<Option<u64>, SyncStoreError> {
        self.store.count(query).map_err(failed)
    }

    fn view_page(
        &self,
        query: &Self::Query,
        after: Option<u64>,
        limits: (usize, usize),
        dict: &mut dyn DictWriter,
    ) -> Result<ditto_sync::ViewPage, SyncStoreError> {
        let ditto_store::ViewPage { docs, next } =
            self.store.view_page(query, after, limits, dict).map_err(failed)?;
        let doc = |d: ditto_store::ViewDoc| {
            let ditto_store::ViewDoc { id, key, digest, body } = d;
            ditto_sync::ViewDoc { id, key, digest, body }
        };
        Ok(ditto_sync::ViewPage { docs: docs.into_iter().map(doc).collect(), next })
    }

    fn load(&self, key: KeyHash) -> Result<Option<ditto_sync::StoredDoc>, SyncStoreError> {
        Ok(self.store.load(key).map_err(failed)?.map(stored))
    }

    fn own_changes(
        &self,
        query: &Self::Query,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<(KeyHash, Digest)>>, SyncStoreError> {
        self.store.own_changes(query, after, limit).map_err(failed)
    }

    fn newest(&self, query: &Self::Query, limit: usize) -> Result<Vec<ditto_sync::Newest>, SyncStoreError> {
        let newest = self.store.newest(query, limit).map_err(failed)?.into_iter();
        let newest = newest.map(|n| {
            let ditto_store::Newest { seq, key, digest, bytes } = n;
            ditto_sync::Newest { seq, key, digest, bytes }
        });
        Ok(newest.collect())
    }

    fn cursor(&self, key: &ditto_sync::CursorKey) -> Result<Option<ditto_sync::Cursor>, SyncStoreError> {
        let cursor = self.store.cursor(&cursor_key(key)).map_err(failed)?;
        Ok(cursor.map(|c| ditto_sync::Cursor { token: c.token, own_seq: c.own_seq }))
    }

    fn delete_cursors(&self, query_hash: [u8; 16]) -> Result<(), SyncStoreError> {
        self.store.delete_cursors(query_hash).map_err(failed)
    }

    fn apply(&self, batch: ditto_sync::ApplyBatch) -> Result<ditto_sync::ApplyOutcome, SyncStoreError> {
        let applied = self.store.apply(ditto_store::ApplyBatch {
            source: batch.source.0.to_vec(),
            items: batch.items.into_iter().map(item).collect(),
            cursors: batch.cursors.iter().map(cursor_write).collect(),
            delete_cursors: batch.delete_cursors.iter().map(cursor_key).collect(),
            seen_seq: batch.seen_seq,
        });
        let applied = applied.map_err(failed)?;
        Ok(ditto_sync::ApplyOutcome {
            seq: applied.seq,
            items: applied.items.into_iter().map(outcome).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
