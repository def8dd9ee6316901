//! Whose turn it is to write.
//!
//! There is one [`Writer`]. While nobody uses it, whoever comes next takes it and writes on the calling thread: a
//! single statement costs no change of threads. Whoever finds it taken waits in one queue; a thread of the store
//! serves that queue in order and commits what has queued up together. An interactive transaction takes the writer
//! along until it ends.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::StoreError;
use crate::core::Core;
use crate::shared::Shared;
use crate::transaction::Held;
use crate::unit::Unit;
use crate::writer::{Task, Work, Writer};

/// How often a caller who waits for the writer looks whether its request is over.
const WAIT_STEP: Duration = Duration::from_millis(100);

/// How long a store that is being closed waits for the next statement of an open transaction.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const CLOSE_LOOK: Duration = Duration::from_millis(250);

/// Hands the writer out. Clones are handles of the same desk.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Wakes the thread of the store.
    work: Condvar,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct State {
    /// The writer, while nobody has it.
    idle: Option<Box<Writer>>,
    queue: VecDeque<Job>,
    /// The interactive transaction that has the writer, and when it is logged.
    held: Option<(Arc<Held>, Instant)>,
    /// Until when the thread sleeps that looks after `held`, if it does.
    watched: Option<Instant>,
    closing: bool,
}

enum Job {
    Task(Box<dyn Task>),
    Lend(Sender<Lease>),
}

impl Desk {
    pub(crate) fn new(writer: Writer, shared: Arc<Shared>) -> Self {
        let state = State { idle: Some(Box::new(writer)), ..State::default() };
        Self(Arc::new(Inner { state: Mutex::new(state), work: Condvar::new(), shared }))
    }

    /// Runs `f` with the writer, in a commit of its own or in one with others that wait. Returns when it is durable.
    ///
    /// An error of `f` leaves nothing of it. `f` puts what it does into the unit by [`Core::in_savepoint`].
    pub(crate) fn write<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_watched(f, || Ok(()))
    }

    /// As [`Desk::write`]; `watch` is called every [`WAIT_STEP`] while it waits in the queue and ends the wait by an
    /// error. The work stays in the queue then, so it is for `f` to see that nobody waits.
    pub(crate) fn write_watched<T, F>(
        &self,
        f: F,
        mut watch: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError> + Send + 'static,
    {
        let mut state = self.lock();
        if let Some(mut lease) = self.take(&mut state)? {
            drop(state);
            return lease.alone(f);
        }
        let (reply, answer) = bounded(1);
        state.queue.push_back(Job::Task(Box::new(Work::new(f, reply))));
        drop(state);
        loop {
            match answer.recv_timeout(WAIT_STEP) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => watch()?,
                Err(RecvTimeoutError::Disconnected) => return Err(stopped()),
            }
        }
    }

    /// The writer, when everything that was asked for before is done. Goes back when the lease is dropped.
    pub(crate) fn lend(&self) -> Result<Lease, StoreError> {
        let mut state = self.lock();
        if let Some(lease) = self.take(&mut state)? {
            return Ok(lease);
        }
        let (reply, answer) = bounded(1);
        state.queue.push_back(Job::Lend(reply));
        drop(state);
        answer.recv().map_err(|_| stopped())
    }

    /// The writer, if nobody has it and nobody waits for it.
    fn take(&self, state: &mut State) -> Result<Option<Lease>, StoreError> {
        if state.closing {
            return Err(StoreError::Closed);
        }
        let writer = if state.queue.is_empty() { state.idle.take() } else { None };
        Ok(writer.map(|writer| Lease { writer: Some(writer), desk: self.clone() }))
    }

    /// How many wait for the writer.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Has the thread finish what is queued and then close the file. Later calls are refused.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.0.work.notify_all();
    }

    /// Notes an interactive transaction that has taken the writer.
    pub(crate) fn hold(&self, held: Arc<Held>) {
        let patience = self.0.shared.requests.settings.snapshot().transaction_duration_before_logging_ms;
        let mut state = self.lock();
        let due = Instant::now() + Duration::from_millis(patience);
        state.held = Some((held, due));
        if state.watched.is_none_or(|until| due < until) {
            self.0.work.notify_all();
        }
    }

    /// The thread of the store: serves the queue until the store is closed, then closes the file.
    pub(crate) fn serve(&self) {
        let mut state = self.lock();
        loop {
            if state.idle.is_none() || (state.queue.is_empty() && !state.closing) {
                state = self.wait(state);
                continue;
            }
            let Some(writer) = state.idle.take() else { continue };
            let job = state.queue.pop_front();
            drop(state);
            let mut lease = Lease { writer: Some(writer), desk: self.clone() };
            match job {
                Some(Job::Task(first)) => {
                    lease.group(first);
                    // Before the lock is taken again: giving it back takes it.
                    drop(lease);
                }
                // Whoever has gone meanwhile drops it, and so gives it back.
                Some(Job::Lend(reply)) => drop(reply.send(lease)),
                None => {
                    if let Some(writer) = lease.writer.take() {
                        writer.finish();
                    }
                    return;
                }
            }
            state = self.lock();
        }
    }

    /// Waits for something to do; looks after a transaction that holds the writer meanwhile.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some((_, due)) = &state.held else {
            state.watched = None;
            return self.0.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let mut patience = due.saturating_duration_since(Instant::now());
        if state.closing {
            patience = patience.min(CLOSE_LOOK);
        }
        state.watched = Some(Instant::now() + patience);
        state = self.0.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        let again = self.0.shared.requests.settings.snapshot().transaction_trace_interval_ms;
        let (waiting, closing) = (state.queue.len(), state.closing);
        let Some((held, due)) = &mut state.held else { return state };
        if *due <= Instant::now() {
            *due += Duration::from_millis(again);
            held.warn(waiting);
        }
        if closing {
            let held = held.clone();
            // Without the lock: giving the writer back takes it.
            drop(state);
            held.end_if_idle(CLOSE_PATIENCE);
            state = self.lock();
        }
        state
    }

    /// The next task of the queue, if it can share a commit.
    fn next_task(&self) -> Option<Box<dyn Task>> {
        let mut state = self.lock();
        match state.queue.pop_front()? {
            Job::Task(task) => Some(task),
            lend => {
                state.queue.push_front(lend);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped() -> StoreError {
    StoreError::Internal("the writer has stopped".to_string())
}

/// The writer in somebody's hands. Dropping it rolls back what is open and gives the writer back.
pub(crate) struct Lease {
    /// `None` only while it is being given back.
    writer: Option<Box<Writer>>,
    desk: Desk,
}

impl Lease {
    /// The writer.
    pub(crate) fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        self.writer.as_deref_mut().ok_or_else(stopped)
    }

    /// The desk that it goes back to.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    fn alone<T>(
        &mut self,
        f: impl FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.writer()?.alone(f)
    }

    fn group(&mut self, first: Box<dyn Task>) {
        let desk = self.desk.clone();
        if let Some(writer) = &mut self.writer {
            writer.group(first, || desk.next_task());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        writer.rollback();
        let mut state = self.desk.lock();
        state.idle = Some(writer);
        state.held = None;
        if !state.queue.is_empty() || state.closing {
            self.desk.0.work.notify_all();
        }
    }
}
