//! What the handles of a store, its writer and its observers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ditto_types::HashKey;

use crate::commit::{Commit, FeedSender};
use crate::dict::Dict;
use crate::index::{Indexes, SharedIndexes};
use crate::meta::StoreIdentity;
use crate::observers::Observers;
use crate::readers::ReaderPool;
use crate::replication::Subscriptions;
use crate::request::Requests;
use crate::spill::SpillFolder;
use crate::system::{Samples, SystemProvider};

pub(crate) struct Shared {
    pub(crate) identity: StoreIdentity,
    pub(crate) hash_key: HashKey,
    pub(crate) dict: Arc<Dict>,
    pub(crate) readers: ReaderPool,
    pub(crate) requests: Requests,
    pub(crate) spill: SpillFolder,
    pub(crate) observers: Observers,
    pub(crate) subscriptions: Arc<Subscriptions>,
    /// The indexes of the last commit.
    pub(crate) indexes: SharedIndexes,
    head: AtomicU64,
    groups: AtomicU64,
    closed: AtomicBool,
    subscribers: Mutex<Vec<FeedSender>>,
    provider: Mutex<Option<Arc<dyn SystemProvider>>>,
    /// What `system:system_info` has seen.
    pub(crate) samples: Samples,
}

impl Shared {
    pub(crate) fn new(
        this: Weak<Self>,
        (identity, head): (StoreIdentity, u64),
        hash_key: HashKey,
        dict: Arc<Dict>,
        readers: ReaderPool,
        (requests, spill): (Requests, SpillFolder),
        indexes: Indexes,
    ) -> Self {
        Self {
            identity,
            observers: Observers::new(this),
            subscriptions: Arc::default(),
            hash_key,
            dict,
            readers,
            requests,
            spill,
            indexes: SharedIndexes::new(Arc::new(indexes)),
            head: AtomicU64::new(head),
            groups: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            subscribers: Mutex::default(),
            provider: Mutex::default(),
            samples: Samples::default(),
        }
    }

    /// Newest durable commit.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Notes a commit of the engine and the newest of our commits in it.
    pub(crate) fn committed(&self, head: u64) {
        self.head.store(head, Ordering::Release);
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    /// Commits of the engine since the store was opened.
    pub(crate) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses calls from now on. Returns whether it was open.
    pub(crate) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Sets what adds to the system collections.
    pub(crate) fn set_provider(&self, provider: Arc<dyn SystemProvider>) {
        *lock(&self.provider) = Some(provider);
    }

    /// What adds to the system collections.
    pub(crate) fn provider(&self) -> Option<Arc<dyn SystemProvider>> {
        lock(&self.provider).clone()
    }

    /// Adds a reader of commits.
    pub(crate) fn subscribe(&self, sender: FeedSender) {
        // After closing, the sender goes at once and the receiver reports the end.
        if !self.is_closed() {
            lock(&self.subscribers).push(sender);
        }
    }

    /// Whether anybody listens to commits.
    pub(crate) fn is_heard(&self) -> bool {
        !lock(&self.subscribers).is_empty() || self.observers.any()
    }

    /// Hands durable commits to everyone who listens. Only the writer calls it, so their order is kept.
    pub(crate) fn publish(&self, commits: &[Arc<Commit>]) {
        if commits.is_empty() {
            return;
        }
        lock(&self.subscribers).retain(|s| commits.iter().all(|c| s.send(c)));
        for commit in commits {
            self.observers.on_commit(commit);
        }
    }

    /// Ends the streams of commits.
    pub(crate) fn end_subscriptions(&self) {
        lock(&self.subscribers).clear();
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
