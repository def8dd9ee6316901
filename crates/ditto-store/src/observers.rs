//! Live queries: which observers a commit concerns, and the threads that keep their results up to date.
//!
//! The [`Matcher`](ditto_dql::Matcher) says which observers the changed documents of a commit concern. The writer asks it
//! itself about a small commit, and gives the changes to the few observers that it concerns; any other commit it hands over
//! to a thread of the pool, and goes on. An observer is run by one thread at a time: its result takes the changes in, or its query runs again on the newest
//! snapshot where that is not possible, and its callback is called when the result differs from the last one. Changes
//! of an observer that falls behind are folded into one result.

mod matching;
mod pool;
mod task;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use ditto_dql::Prepared;
use ditto_types::Object;

use crate::StoreError;
use crate::result::QueryResult;
use crate::shared::Shared;
use matching::Index;
use pool::{Observer, State};
use task::{Query, Task};

/// Receives the results of an observer.
pub type Callback = Box<dyn FnMut(QueryResult) + Send>;

/// Asks for the next result (API-074). May be called from any thread, at any time, or never.
pub type SignalNext = Box<dyn FnOnce() + Send>;

/// Receives the results of an observer with back-pressure.
pub type SignalCallback = Box<dyn FnMut(QueryResult, SignalNext) + Send>;

/// Ids are unique in the process, since one callback may cancel observers of several stores.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The observers of one store.
#[derive(Clone)]
pub(crate) struct Observers(Arc<Inner>);

struct Inner {
    shared: Weak<Shared>,
    /// Locked before `state` by those who need both.
    index: RwLock<Index>,
    state: Mutex<State>,
    /// Wakes the threads of the pool.
    changed: Condvar,
    /// Wakes who waits in `cancel` for the end of a run.
    ended: Condvar,
    /// Observers that are registered, for the writer to see without the lock.
    count: AtomicUsize,
}

struct Handle {
    id: u64,
    text: String,
    args: Object,
    cancelled: AtomicBool,
    observers: Weak<Inner>,
}

/// Handle of an active observer (API-079). Clones refer to the same one; dropping them does not end it.
#[derive(Clone)]
pub struct Observation(Arc<Handle>);

impl Observation {
    /// Ends the observer. After return its callback is not called again; repeating it is harmless (API-080).
    ///
    /// Waits for a call that is running, unless it comes from inside that call. Two callbacks that cancel each other
    /// do not wait for each other.
    pub fn cancel(&self) {
        if let Some(inner) = self.0.observers.upgrade() {
            Observers(inner).cancel(&self.0);
        }
        self.0.cancelled.store(true, Ordering::Release);
    }

    /// Whether it has ended, by [`Observation::cancel`] or because the store was closed.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Text of the query.
    pub fn query_string(&self) -> &str {
        &self.0.text
    }

    /// Arguments given at registration.
    pub fn query_arguments(&self) -> &Object {
        &self.0.args
    }
}

impl std::fmt::Debug for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observation")
            .field("query", &self.0.text)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Observers {
    pub(crate) fn new(shared: Weak<Shared>) -> Self {
        Self(Arc::new(Inner {
            shared,
            index: RwLock::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            count: AtomicUsize::new(0),
        }))
    }

    /// Adds an observer; its first call follows soon.
    pub(crate) fn register(
        &self,
        prepared: Prepared,
        args: &Object,
        callback: SignalCallback,
    ) -> Result<Observation, StoreError> {
        let shared = self.0.shared.upgrade().ok_or(StoreError::Closed)?;
        let text = prepared.text().to_string();
        let query = Arc::new(Query::new(&shared, prepared, args)?);
        let handle = Arc::new(Handle {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            text,
            args: args.clone(),
            cancelled: AtomicBool::new(false),
            observers: Arc::downgrade(&self.0),
        });
        let id = handle.id;
        // From here on commits are matched; older ones are in the snapshot of the first run.
        self.0.index_mut().insert(id, &query);
        let mut state = self.0.lock();
        if state.closed {
            drop(state);
            self.0.index_mut().remove(id);
            return Err(StoreError::Closed);
        }
        state.observers.insert(id, Observer::new(handle.clone(), query, Task::new(callback)));
        self.0.count.store(state.observers.len(), Ordering::SeqCst);
        self.queue_if_due(&mut state, id);
        self.release(state);
        Ok(Observation(handle))
    }

    pub(crate) fn active(&self) -> Vec<Observation> {
        self.0.lock().observers.values().map(|o| Observation(o.handle.clone())).collect()
    }

    /// Ends one observer.
    fn cancel(&self, handle: &Handle) {
        let mut state = self.0.lock();
        handle.cancelled.store(true, Ordering::Release);
        let removed = self.forget(&mut state, handle.id);
        let me = pool::running();
        if me != 0 {
            state.waits.insert(me, handle.id);
        }
        while state.running.get(&handle.id).is_some_and(|t| *t != std::thread::current().id())
            && !(me != 0 && pool::waits_for(&state.waits, handle.id, me))
        {
            state.cancelling += 1;
            state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.cancelling -= 1;
        }
        state.waits.remove(&me);
        drop(state);
        self.0.index_mut().remove(handle.id);
        // The callback may own anything, so it is dropped without the lock.
        drop(removed);
    }

    /// Ends all observers and refuses new ones.
    pub(crate) fn cancel_all(&self) {
        let handles: Vec<Arc<Handle>> = {
            let mut state = self.0.lock();
            state.closed = true;
            state.commits.clear();
            self.0.changed.notify_all();
            state.observers.values().map(|o| o.handle.clone()).collect()
        };
        for handle in handles {
            self.cancel(&handle);
        }
    }

    /// Takes an observer out of the books.
    fn forget(&self, state: &mut State, id: u64) -> Option<Observer> {
        let removed = state.observers.remove(&id);
        if let Some(at) = removed.as_ref().and_then(|o| o.timer) {
            state.timers.remove(&(at, id));
        }
        self.0.count.store(state.observers.len(), Ordering::SeqCst);
        removed
    }

    /// The callback of an observer asks for the next result.
    fn signalled(&self, id: u64) {
        let mut state = self.0.lock();
        if state.matched < state.queued {
            let until = state.queued;
            state.asked.push_back((until, id));
        } else {
            self.make_ready(&mut state, id);
        }
        self.release(state);
    }

    fn make_ready(&self, state: &mut State, id: u64) {
        if let Some(o) = state.observers.get_mut(&id) {
            o.ready = true;
            self.queue_if_due(state, id);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
