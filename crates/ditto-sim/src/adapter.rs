//! The store as the engine of a simulated peer sees it: the adapter of the SDK, and rules of it that can be broken on purpose.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto::wiring::StoreAdapter;
use ditto_crdt::{DictWriter, Doc};
use ditto_store::{CompiledQuery, Store};
use ditto_sync::{
    ApplyBatch, ApplyOutcome, ChangePage, Cursor, CursorKey, LocalChange, Newest, StoreIdentity, StoredDoc,
    SyncStore, SyncStoreError, ViewPage,
};
use ditto_types::{Digest, DocId, HashKey, KeyHash, Object};

/// A rule that is broken, to see that the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// R1: the epoch of a peer's store is ignored.
    Epoch,
    /// The store does not notice that the machine was down.
    Boot,
    /// R5: what changed here since the cursor is not told.
    Own,
    /// R6: the engine is not told of an EVICT.
    Evict,
    /// What came from one peer is not passed on to others.
    Relay,
    /// The documents of one commit are applied one by one.
    Split,
    /// What replication does for one session of a peer gets into the next.
    Session,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] =
        [Fault::Epoch, Fault::Boot, Fault::Own, Fault::Evict, Fault::Relay, Fault::Split, Fault::Session];
}

/// Rules that are broken in a run.
pub type Faults = BTreeSet<Fault>;

pub(crate) struct Adapter {
    inner: StoreAdapter,
    faults: Faults,
}

impl Adapter {
    pub(crate) fn new(store: Store, faults: Faults) -> Self {
        Self { inner: StoreAdapter::new(store), faults }
    }
}

impl SyncStore for Adapter {
    type Query = Arc<CompiledQuery>;

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    fn head(&self) -> u64 {
        self.inner.head()
    }

    fn hash_key(&self) -> &HashKey {
        self.inner.hash_key()
    }

    fn compile(&self, text: &str, args: &Object) -> Result<Self::Query, SyncStoreError> {
        self.inner.compile(text, args)
    }

    fn collection<'q>(&self, query: &'q Self::Query) -> &'q str {
        self.inner.collection(query)
    }

    fn is_whole_collection(&self, query: &Self::Query) -> bool {
        self.inner.is_whole_collection(query)
    }

    fn shortlist(&self, change: &LocalChange) -> Vec<u64> {
        self.inner.shortlist(change)
    }

    fn is_listed(&self, query: &Self::Query, list: &[u64]) -> bool {
        self.inner.is_listed(query, list)
    }

    fn matches(&self, query: &Self::Query, collection: &str, id: &DocId, doc: &Doc) -> bool {
        self.inner.matches(query, collection, id, doc)
    }

    fn changes(
        &self,
        query: &Self::Query,
        after: u64,
        max_docs: usize,
        max_bytes: usize,
    ) -> Result<ChangePage, SyncStoreError> {
        self.inner.changes(query, after, max_docs, max_bytes)
    }

    fn scan_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError> {
        self.inner.scan_view(query, each)
    }

    fn is_bounded(&self, query: &Self::Query) -> bool {
        self.inner.is_bounded(query)
    }

    fn first_view(
        &self,
        query: &Self::Query,
        each: &mut dyn FnMut(KeyHash, Digest),
    ) -> Result<u64, SyncStoreError> {
        self.inner.first_view(query, each)
    }

    fn count(&self, query: &Self::Query) -> Result<Option<u64>, SyncStoreError> {
        self.inner.count(query)
    }

    fn view_page(
        &self,
        query: &Self::Query,
        after: Option<u64>,
        limits: (usize, usize),
        dict: &mut dyn DictWriter,
    ) -> Result<ViewPage, SyncStoreError> {
        self.inner.view_page(query, after, limits, dict)
    }

    fn load(&self, key: KeyHash) -> Result<Option<StoredDoc>, SyncStoreError> {
        self.inner.load(key)
    }

    fn own_changes(
        &self,
        query: &Self::Query,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<(KeyHash, Digest)>>, SyncStoreError> {
        if self.faults.contains(&Fault::Own) {
            return Ok(Some(Vec::new()));
        }
        self.inner.own_changes(query, after, limit)
    }

    fn newest(&self, query: &Self::Query, limit: usize) -> Result<Vec<Newest>, SyncStoreError> {
        self.inner.newest(query, limit)
    }

    fn cursor(&self, key: &CursorKey) -> Result<Option<Cursor>, SyncStoreError> {
        self.inner.cursor(key)
    }

    fn delete_cursors(&self, query_hash: [u8; 16]) -> Result<(), SyncStoreError> {
        self.inner.delete_cursors(query_hash)
    }

    fn apply(&self, batch: ApplyBatch) -> Result<ApplyOutcome, SyncStoreError> {
        if !self.faults.contains(&Fault::Split) || batch.items.len() < 2 {
            return self.inner.apply(batch);
        }
        let mut whole = ApplyOutcome { seq: self.inner.head(), items: Vec::new() };
        let ApplyBatch { source, items, cursors, delete_cursors, seen_seq } = batch;
        for item in items {
            let (cursors, delete_cursors) = (cursors.clone(), delete_cursors.clone());
            let one = ApplyBatch { source, items: vec![item], cursors, delete_cursors, seen_seq };
            let outcome = self.inner.apply(one)?;
            whole.seq = outcome.seq;
            whole.items.extend(outcome.items);
        }
        Ok(whole)
    }
}
