//! The threads that match commits and run observers.
//!
//! As many threads as there are processors work at the same time. One more waits: it steps in when callbacks block the
//! others, so that no callback can keep other observers from theirs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::matching::Moved;
use super::task::{Outcome, Query, Task};
use super::{Handle, Observers};
use crate::commit::Commit;

/// Threads at most. Only callbacks that block make more than there are processors.
const MAX_WORKERS: usize = 32;

/// How long a thread waits for work before it goes.
const IDLE: Duration = Duration::from_secs(10);

/// How long all working threads may be held up by their callbacks before another one steps in.
const PATIENCE: Duration = Duration::from_millis(5);

/// Time between two runs of a query that cannot follow single changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Changes that wait for an observer at most; beyond that its query runs again.
const MAX_WAITING: usize = 1024;

thread_local! {
    /// The observer whose callback runs on this thread; 0 for none.
    static RUNNING: Cell<u64> = const { Cell::new(0) };
}

/// The observer whose callback runs on this thread; 0 for none.
pub(super) fn running() -> u64 {
    RUNNING.get()
}

/// The idle threads that have something to do.
enum Wanted {
    Nobody,
    One,
    All,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) observers: BTreeMap<u64, Observer>,
    /// Commits that wait to be matched, and whether a thread is matching.
    pub(super) commits: VecDeque<Arc<Commit>>,
    pub(super) matching: bool,
    /// How many commits were ever put in the queue, and how many of them are matched.
    pub(super) queued: u64,
    pub(super) matched: u64,
    /// Observers whose callback asked for the next result while commits waited: its result has to have them.
    pub(super) asked: VecDeque<(u64, u64)>,
    /// Observers that have something to do, in the order in which it came.
    pub(super) runnable: VecDeque<u64>,
    /// Observers that are being run, also cancelled ones.
    pub(super) running: HashMap<u64, ThreadId>,
    /// Which observer's callback waits in `cancel` for which other observer.
    pub(super) waits: HashMap<u64, u64>,
    /// When to look at an observer again.
    pub(super) timers: BTreeSet<(Instant, u64)>,
    /// Threads that wait in `cancel`.
    pub(super) cancelling: usize,
    workers: usize,
    idle: usize,
    /// Runs of observers that have ended.
    ended: u64,
}

pub(super) struct Observer {
    pub(super) handle: Arc<Handle>,
    query: Arc<Query>,
    /// The query has to run: for the first time, or because changes are not known one by one.
    stale: bool,
    /// Whether there is a result that takes changes in.
    follows: bool,
    /// Changes since the last run, of whole commits.
    changes: Vec<Moved>,
    /// The callback has asked for the next result.
    pub(super) ready: bool,
    /// Whether it is in `runnable`.
    queued: bool,
    /// Its entry in the timers.
    pub(super) timer: Option<Instant>,
    /// When its query ran last.
    ran: Option<Instant>,
    /// Absent while it is being run.
    task: Option<Task>,
}

impl Observer {
    pub(super) fn new(handle: Arc<Handle>, query: Arc<Query>, task: Task) -> Self {
        Self {
            handle,
            query,
            stale: true,
            follows: true,
            changes: Vec::new(),
            ready: true,
            queued: false,
            timer: None,
            ran: None,
            task: Some(task),
        }
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// What is known of the result does not hold any more.
    pub(super) fn set_stale(&mut self) {
        self.stale = true;
        // The run that follows sees a later snapshot.
        self.changes = Vec::new();
    }

    /// Adds the changes of one commit.
    pub(super) fn add(&mut self, changes: Vec<Moved>) {
        if self.stale {
            return;
        }
        if !self.follows || self.changes.len() + changes.len() > MAX_WAITING {
            self.set_stale();
        } else {
            self.changes.extend(changes);
        }
    }
}

impl Observers {
    /// Puts an observer in the queue when it has something to do and nobody does it yet.
    pub(super) fn queue_if_due(&self, state: &mut State, id: u64) {
        let Some(o) = state.observers.get_mut(&id) else { return };
        let due = o.stale || !o.changes.is_empty();
        if !due || !o.ready || o.queued || o.task.is_none() {
            return;
        }
        if o.stale
            && let Some(next) = o.ran.map(|ran| ran + PAUSE)
            && next > Instant::now()
        {
            return set_timer(state, id, next);
        }
        o.queued = true;
        state.runnable.push_back(id);
    }

    /// Sees to it that somebody does what is to be done, while this thread goes on with the lock.
    pub(super) fn wake(&self, state: &mut State) {
        self.notify(self.wanted(state));
    }

    /// As [`Observers::wake`], and lets go of the lock first: who is woken needs it.
    pub(super) fn release(&self, mut state: MutexGuard<'_, State>) {
        let wanted = self.wanted(&mut state);
        drop(state);
        self.notify(wanted);
    }

    fn notify(&self, wanted: Wanted) {
        match wanted {
            Wanted::Nobody => {}
            Wanted::One => self.0.changed.notify_one(),
            Wanted::All => self.0.changed.notify_all(),
        }
    }

    /// Which of the idle threads have something to do. Adds a thread where they are too few.
    fn wanted(&self, state: &mut State) -> Wanted {
        let waiting = state.runnable.len() + usize::from(!state.matching && !state.commits.is_empty());
        if waiting == 0 && state.timers.is_empty() {
            return Wanted::Nobody;
        }
        let wanted = match state.idle {
            0 => Wanted::Nobody,
            _ if waiting > 1 => Wanted::All,
            _ => Wanted::One,
        };
        let add = if state.workers < processors() { state.idle < waiting.max(1) } else { state.idle == 0 };
        if add && state.workers < MAX_WORKERS {
            let observers = self.clone();
            let spawned = std::thread::Builder::new()
                .name("ditto-observer".to_string())
                .spawn(move || observers.work());
            match spawned {
                Ok(_) => state.workers += 1,
                Err(e) => tracing::error!(error = %e, "no thread for observers"),
            }
        }
        wanted
    }

    /// One thread of the pool.
    fn work(&self) {
        let mut state = self.0.lock();
        // The runs that had ended when this thread began to wait for others.
        let mut held_up: Option<u64> = None;
        loop {
            self.expire(&mut state);
            if !state.matching && !state.commits.is_empty() {
                state = self.match_commits(state);
                continue;
            }
            let mut wait = IDLE;
            if !state.runnable.is_empty() {
                if state.running.len() < processors() || held_up == Some(state.ended) {
                    held_up = None;
                    state = self.run_one(state);
                    continue;
                }
                wait = PATIENCE;
            } else if state.closed {
                break;
            }
            if let Some((at, _)) = state.timers.first() {
                wait = wait.min(at.saturating_duration_since(Instant::now()));
            }
            let ended = state.ended;
            state.idle += 1;
            let (s, timeout) =
                self.0.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = s;
            state.idle -= 1;
            if !timeout.timed_out() {
                continue;
            }
            if wait == PATIENCE {
                held_up = Some(ended);
            } else if wait == IDLE && state.runnable.is_empty() && state.commits.is_empty() {
                break;
            }
        }
        state.workers -= 1;
    }

    /// Looks at the observers whose time has come.
    fn expire(&self, state: &mut State) {
        let Some((first, _)) = state.timers.first() else { return };
        let now = Instant::now();
        if *first > now {
            return;
        }
        while let Some((at, id)) = state.timers.first().copied().filter(|(at, _)| *at <= now) {
            state.timers.remove(&(at, id));
            if let Some(o) = state.observers.get_mut(&id) {
                o.timer = None;
                if o.query.refresh {
                    o.set_stale();
                }
                self.queue_if_due(state, id);
            }
        }
        self.wake(state);
    }

    /// Runs one observer once, without the lock while its query and callback run.
    fn run_one<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(id) = state.runnable.pop_front() else { return state };
        let Some(o) = state.observers.get_mut(&id) else { return state };
        o.queued = false;
        let Some(mut task) = o.task.take() else { return state };
        // Before the query: a commit after its snapshot is marked again.
        let stale = std::mem::take(&mut o.stale);
        let changes = std::mem::take(&mut o.changes);
        let (query, handle) = (o.query.clone(), o.handle.clone());
        state.running.insert(id, std::thread::current().id());
        // Whatever else there is to do is for others.
        self.wake(&mut state);
        drop(state);

        RUNNING.set(id);
        let run = || match self.0.shared.upgrade() {
            Some(shared) => {
                let outcome = self.deliver(&shared, &query, &handle, &mut task, (stale, &changes));
                (outcome, query.refresh_interval(&shared))
            }
            // The store is going.
            None => (Outcome::Followed, None),
        };
        let outcome = catch_unwind(AssertUnwindSafe(run)).ok();
        if outcome.is_none() {
            tracing::error!(query = %handle.text, "an observer's callback has panicked; the observer is ended");
        }
        drop(changes);
        let mut state = self.0.lock();
        let mut left = None;
        match (state.observers.get_mut(&id), outcome) {
            (Some(o), Some((outcome, refresh))) => {
                o.follows = task.follows();
                o.task = Some(task);
                if let Outcome::Ran(at) = outcome {
                    o.ran = Some(at);
                }
                if let Some(interval) = refresh {
                    set_timer(&mut state, id, Instant::now() + interval);
                }
                self.queue_if_due(&mut state, id);
            }
            _ => {
                handle.cancelled.store(true, Ordering::Release);
                left = Some((self.forget(&mut state, id), task));
            }
        }
        if left.is_some() {
            // The callback may own anything, so it is dropped without the lock. It still counts as running, and may
            // cancel others while it goes.
            drop(state);
            self.0.index_mut().remove(id);
            drop(catch_unwind(AssertUnwindSafe(|| drop(left))));
            state = self.0.lock();
        }
        RUNNING.set(0);
        state.running.remove(&id);
        state.ended += 1;
        if state.cancelling > 0 {
            self.0.ended.notify_all();
        }
        state
    }

    /// Decided under the lock, so that a cancel that has returned, or that will not wait for this thread, is seen:
    /// whether the callback may be called now. It has to ask for the next result then.
    pub(super) fn may_call(&self, id: u64) -> bool {
        self.0.lock().observers.get_mut(&id).map(|o| o.ready = false).is_some()
    }
}

/// Looks at an observer again at `at`, or earlier if that was arranged.
fn set_timer(state: &mut State, id: u64, at: Instant) {
    let Some(o) = state.observers.get_mut(&id) else { return };
    match o.timer {
        Some(earlier) if earlier <= at => return,
        Some(later) => drop(state.timers.remove(&(later, id))),
        None => {}
    }
    o.timer = Some(at);
    state.timers.insert((at, id));
}

fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
}

/// Whether `from` waits, over others, for `me`: waiting for it would never end.
pub(super) fn waits_for(waits: &HashMap<u64, u64>, from: u64, me: u64) -> bool {
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
