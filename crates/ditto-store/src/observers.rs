//! Live queries: which observers a commit concerns, and the threads that run them.
//!
//! A matcher thread marks the observers whose condition holds for the old or the new state of a changed document.
//! Marked observers run on a pool that grows when callbacks are slow: each observer is run by one thread at a time,
//! reads the newest snapshot, and calls back only when the result differs from the last one. Marks do not pile up,
//! so that an observer which falls behind skips to the newest result.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ditto_dql::SelectPlan;
use ditto_types::{HashKey, Object};

use crate::StoreError;
use crate::commit::{Change, Commit};
use crate::dict::Dict;
use crate::readers::ReaderPool;
use crate::replication::plan_matches;
use crate::result::QueryResult;
use crate::select::{StoreSource, select};

/// Receives the results of an observer.
pub type Callback = Box<dyn FnMut(QueryResult) + Send>;

/// Asks for the next result (API-074). May be called from any thread, at any time, or never.
pub type SignalNext = Box<dyn FnOnce() + Send>;

/// Receives the results of an observer with back-pressure.
pub type SignalCallback = Box<dyn FnMut(QueryResult, SignalNext) + Send>;

/// Threads that run observers at most. Only callbacks that block make more than a few of them.
const MAX_WORKERS: usize = 32;

/// How long a thread waits for work before it goes.
const IDLE: Duration = Duration::from_secs(10);

/// Commits that wait for the matcher at most; beyond that every observer of their collections is marked unseen.
const MAX_BACKLOG: usize = 256;

thread_local! {
    /// The observer whose callback runs on this thread; 0 for none.
    static RUNNING: Cell<u64> = const { Cell::new(0) };
}

/// Ids are unique in the process, since one callback may cancel observers of several stores.
static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// The observers of one store.
#[derive(Clone)]
pub(crate) struct Observers(Arc<Inner>);

struct Inner {
    dict: Arc<Dict>,
    hash_key: HashKey,
    readers: ReaderPool,
    state: Mutex<State>,
    changed: Condvar,
    /// Observers that are registered, for the writer to see without the lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    closed: bool,
    observers: BTreeMap<u64, Observer>,
    /// Marked observers in the order of their marks.
    runnable: VecDeque<u64>,
    /// Observers that are being run, also cancelled ones.
    running: HashMap<u64, ThreadId>,
    /// Which observer's callback waits in `cancel` for which other observer.
    waits: HashMap<u64, u64>,
    workers: usize,
    idle: usize,
    matcher: Option<Sender<Arc<Commit>>>,
}

struct Observer {
    handle: Arc<Handle>,
    plan: Arc<SelectPlan>,
    /// The result may differ from the last one.
    dirty: bool,
    /// The callback has asked for the next result.
    ready: bool,
    /// Whether it is in `runnable`.
    queued: bool,
    /// Absent while it is being run.
    task: Option<Task>,
}

struct Task {
    callback: SignalCallback,
    last: Option<QueryResult>,
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
    pub(crate) fn new(dict: Arc<Dict>, hash_key: HashKey, readers: ReaderPool) -> Self {
        Self(Arc::new(Inner {
            dict,
            hash_key,
            readers,
            state: Mutex::default(),
            changed: Condvar::new(),
            count: AtomicUsize::new(0),
        }))
    }

    /// Adds an observer; its first call follows soon.
    pub(crate) fn register(
        &self,
        plan: SelectPlan,
        text: &str,
        args: &Object,
        callback: SignalCallback,
    ) -> Result<Observation, StoreError> {
        let handle = Arc::new(Handle {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            text: text.to_string(),
            args: args.clone(),
            cancelled: AtomicBool::new(false),
            observers: Arc::downgrade(&self.0),
        });
        let mut state = self.0.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.matcher.is_none() {
            state.matcher = Some(self.start_matcher()?);
        }
        let id = handle.id;
        state.observers.insert(
            id,
            Observer {
                handle: handle.clone(),
                plan: Arc::new(plan),
                dirty: true,
                ready: true,
                queued: false,
                task: Some(Task { callback, last: None }),
            },
        );
        // From here on commits are matched; older ones are in the snapshot of the first run.
        self.0.count.store(state.observers.len(), Ordering::SeqCst);
        self.queue_if_due(&mut state, id);
        Ok(Observation(handle))
    }

    pub(crate) fn active(&self) -> Vec<Observation> {
        self.0.lock().observers.values().map(|o| Observation(o.handle.clone())).collect()
    }

    /// Takes note of a durable commit. Called by the writer, so it only hands the commit over.
    pub(crate) fn on_commit(&self, commit: &Arc<Commit>) {
        if self.0.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut state = self.0.lock();
        match &state.matcher {
            Some(matcher) if matcher.len() < MAX_BACKLOG => drop(matcher.send(commit.clone())),
            _ => {
                let hit = |o: &Observer| commit.changes.iter().any(|c| c.collection == o.plan.collection());
                let ids: Vec<u64> =
                    state.observers.iter().filter(|(_, o)| hit(o)).map(|(id, _)| *id).collect();
                self.mark(&mut state, &ids);
            }
        }
    }

    /// Ends one observer.
    fn cancel(&self, handle: &Handle) {
        let mut state = self.0.lock();
        handle.cancelled.store(true, Ordering::Release);
        let removed = state.observers.remove(&handle.id);
        self.0.count.store(state.observers.len(), Ordering::SeqCst);
        let me = RUNNING.get();
        if me != 0 {
            state.waits.insert(me, handle.id);
        }
        while state.running.get(&handle.id).is_some_and(|t| *t != std::thread::current().id())
            && !(me != 0 && waits_for(&state.waits, handle.id, me))
        {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waits.remove(&me);
        drop(state);
        // The callback may own anything, so it is dropped without the lock.
        drop(removed);
    }

    /// Ends all observers and refuses new ones.
    pub(crate) fn cancel_all(&self) {
        let handles: Vec<Arc<Handle>> = {
            let mut state = self.0.lock();
            state.closed = true;
            state.matcher = None;
            self.0.changed.notify_all();
            state.observers.values().map(|o| o.handle.clone()).collect()
        };
        for handle in handles {
            self.cancel(&handle);
        }
    }

    /// Marks observers whose result may have changed.
    fn mark(&self, state: &mut State, ids: &[u64]) {
        for id in ids {
            if let Some(o) = state.observers.get_mut(id) {
                o.dirty = true;
                self.queue_if_due(state, *id);
            }
        }
    }

    /// Gives an observer to the pool when it has something to do and nobody does it yet.
    fn queue_if_due(&self, state: &mut State, id: u64) {
        let Some(o) = state.observers.get_mut(&id) else { return };
        if !o.dirty || !o.ready || o.queued || o.task.is_none() {
            return;
        }
        o.queued = true;
        state.runnable.push_back(id);
        if state.idle >= state.runnable.len() {
            self.0.changed.notify_all();
        } else if state.workers < MAX_WORKERS {
            let observers = self.clone();
            let spawned = std::thread::Builder::new()
                .name("ditto-observer".to_string())
                .spawn(move || observers.work());
            match spawned {
                Ok(_) => state.workers += 1,
                Err(e) => tracing::error!(error = %e, "no thread for observers"),
            }
        }
    }

    /// One thread of the pool.
    fn work(&self) {
        let mut state = self.0.lock();
        loop {
            if let Some(id) = state.runnable.pop_front() {
                state = self.run_one(state, id);
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let (s, timeout) =
                self.0.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = s;
            state.idle -= 1;
            if timeout.timed_out() && state.runnable.is_empty() {
                break;
            }
        }
        state.workers -= 1;
    }

    /// Runs one observer once, without the lock while its query and callback run.
    fn run_one<'a>(&'a self, mut state: MutexGuard<'a, State>, id: u64) -> MutexGuard<'a, State> {
        let Some(o) = state.observers.get_mut(&id) else { return state };
        o.queued = false;
        let Some(mut task) = o.task.take() else { return state };
        // Before the query: a commit after its snapshot marks the observer again.
        o.dirty = false;
        let (plan, handle) = (o.plan.clone(), o.handle.clone());
        state.running.insert(id, std::thread::current().id());
        drop(state);

        RUNNING.set(id);
        let survived = catch_unwind(AssertUnwindSafe(|| self.deliver(&plan, &handle, &mut task))).is_ok();
        if !survived {
            tracing::error!(query = %handle.text, "an observer's callback has panicked; the observer is ended");
        }
        let mut state = self.0.lock();
        let mut left = None;
        match state.observers.get_mut(&id) {
            Some(o) if survived => {
                o.task = Some(task);
                self.queue_if_due(&mut state, id);
            }
            _ => {
                handle.cancelled.store(true, Ordering::Release);
                left = Some((state.observers.remove(&id), task));
                self.0.count.store(state.observers.len(), Ordering::SeqCst);
            }
        }
        if left.is_some() {
            // The callback may own anything, so it is dropped without the lock. It still counts as running, and may
            // cancel others while it goes.
            drop(state);
            drop(catch_unwind(AssertUnwindSafe(|| drop(left))));
            state = self.0.lock();
        }
        RUNNING.set(0);
        state.running.remove(&id);
        self.0.changed.notify_all();
        state
    }

    /// Evaluates the query and calls back when the result is new.
    fn deliver(&self, plan: &SelectPlan, handle: &Arc<Handle>, task: &mut Task) {
        let rows = self.0.readers.get().and_then(|r| {
            r.snapshot(|db| select(&StoreSource::snapshot(db, &self.0.dict, &self.0.hash_key), plan))
        });
        let result = match rows {
            Ok(rows) => QueryResult::rows(rows),
            Err(StoreError::Closed) => return,
            Err(e) => {
                tracing::warn!(query = %handle.text, error = %e, "an observer's query cannot be evaluated");
                return;
            }
        };
        if task.last.as_ref().is_some_and(|last| last.same_rows(&result)) {
            return;
        }
        task.last = Some(result.clone());
        {
            // Decided under the lock, so that a cancel that has returned, or that will not wait for this thread, is
            // seen.
            let mut state = self.0.lock();
            match state.observers.get_mut(&handle.id) {
                Some(o) => o.ready = false,
                None => return,
            }
        }
        let (observers, id) = (Arc::downgrade(&self.0), handle.id);
        (task.callback)(
            result,
            Box::new(move || {
                if let Some(inner) = observers.upgrade() {
                    Observers(inner).signalled(id);
                }
            }),
        );
    }

    /// The callback of an observer asks for the next result.
    fn signalled(&self, id: u64) {
        let mut state = self.0.lock();
        if let Some(o) = state.observers.get_mut(&id) {
            o.ready = true;
            self.queue_if_due(&mut state, id);
        }
    }

    fn start_matcher(&self) -> Result<Sender<Arc<Commit>>, StoreError> {
        let (sender, commits) = unbounded();
        let observers = self.clone();
        std::thread::Builder::new()
            .name("ditto-matcher".to_string())
            .spawn(move || observers.match_all(&commits))
            .map_err(|e| StoreError::Backend(format!("cannot start the matcher thread: {e}")))?;
        Ok(sender)
    }

    /// The matcher thread; ends when the store is closed.
    fn match_all(&self, commits: &Receiver<Arc<Commit>>) {
        for commit in commits {
            let candidates: Vec<(u64, Arc<SelectPlan>)> = {
                let state = self.0.lock();
                // What is marked already needs no second reason.
                let open = state.observers.iter().filter(|(_, o)| !o.dirty);
                open.map(|(id, o)| (*id, o.plan.clone())).collect()
            };
            let hit: Vec<u64> = candidates
                .into_iter()
                .filter(|(_, plan)| commit.changes.iter().any(|c| concerns(plan, c)))
                .map(|(id, _)| id)
                .collect();
            if !hit.is_empty() {
                self.mark(&mut self.0.lock(), &hit);
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `from` waits, over others, for `me`: waiting for it would never end.
fn waits_for(waits: &HashMap<u64, u64>, from: u64, me: u64) -> bool {
    let mut at = from;
    // No more steps than edges: a circle of others does not concern `me`.
    for _ in 0..waits.len() {
        match waits.get(&at) {
            Some(next) if *next == me => return true,
            Some(next) => at = *next,
            None => return false,
        }
    }
    false
}

/// Whether a change may alter the result: the document was or is among the rows.
fn concerns(plan: &SelectPlan, change: &Change) -> bool {
    change.collection == plan.collection()
        && [&change.old, &change.new]
            .into_iter()
            .flatten()
            .any(|doc| doc.is_alive() && (plan.is_whole_collection() || plan_matches(plan, &change.id, doc)))
}
