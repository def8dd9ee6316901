//! The writer: commits one piece of work, a group of them, or an interactive transaction.
//!
//! While one commit waits for the disk, work queues up at the [desk](crate::desk); the next commit takes it all, each
//! piece in its own savepoint and with its own sequence number. Nobody waits for company: an idle writer commits at
//! once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::StoreError;
use crate::commit::Commit;
use crate::core::{Core, panic_text};
use crate::lock::DirectoryLock;
use crate::meta::{self, State};
use crate::options::Durability;
use crate::schema;
use crate::shared::Shared;
use crate::unit::Unit;

/// Pieces of work of one group at most.
const GROUP_TASKS: usize = 512;

/// Time of one group at most; what has begun is finished.
const GROUP_TIME: Duration = Duration::from_millis(20);

/// Changed documents after which it is asked how large the file has become.
const DOCUMENTS_PER_LOOK: usize = 1000;

/// How long a store that is being closed waits for readers.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// A piece of work that waits in the queue.
pub(crate) trait Task: Send {
    /// Does it, in a savepoint of its own.
    fn run(&mut self, core: &mut Core, unit: &mut Unit) -> Result<(), StoreError>;
    /// Tells whoever waits how it ended; without an error it is durable.
    fn settle(self: Box<Self>, error: Option<StoreError>);
}

/// A [`Task`] made of a closure and the place where its caller waits.
pub(crate) struct Work<T, F> {
    f: Option<F>,
    out: Option<T>,
    reply: Sender<Result<T, StoreError>>,
}

impl<T, F> Work<T, F> {
    pub(crate) fn new(f: F, reply: Sender<Result<T, StoreError>>) -> Self {
        Self { f: Some(f), out: None, reply }
    }
}

impl<T, F> Task for Work<T, F>
where
    T: Send,
    F: FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, core: &mut Core, unit: &mut Unit) -> Result<(), StoreError> {
        if let Some(f) = self.f.take() {
            self.out = Some(f(core, unit)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, error: Option<StoreError>) {
        let out = match (error, self.out) {
            (None, Some(out)) => Ok(out),
            (Some(e), _) => Err(e),
            (None, None) => Err(StoreError::Internal("work without a result".to_string())),
        };
        // Nobody may be waiting any more.
        drop(self.reply.send(out));
    }
}

pub(crate) struct Writer {
    core: Core,
    shared: Arc<Shared>,
    /// State before the transaction of the engine that is open.
    before: Option<State>,
    /// Documents changed since the log was last fitted to the file.
    changed: usize,
    /// Kept until the file is closed.
    lock: DirectoryLock,
}

impl Writer {
    pub(crate) fn new(core: Core, shared: Arc<Shared>, lock: DirectoryLock) -> Self {
        Self { core, shared, before: None, changed: 0, lock }
    }

    /// What statements run on.
    pub(crate) fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Begins a transaction of the engine and the unit of what will be done in it.
    pub(crate) fn begin(&mut self) -> Result<Unit, StoreError> {
        if self.core.state.unmarked.is_some() {
            // The commit that marks the file as in use waits for the disk.
            schema::set_durability(&self.core.db, Durability::Full)?;
        }
        self.core.db.exec("BEGIN IMMEDIATE", &[])?;
        self.before = Some(self.core.state);
        Ok(Unit::new(self.core.state.head + 1))
    }

    /// Takes back what is open, if anything is.
    pub(crate) fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.core.rollback(before);
        }
    }

    /// Makes what is open durable and publishes it. Returns its sequence number, if it takes one.
    pub(crate) fn commit(&mut self, unit: Unit) -> Result<Option<u64>, StoreError> {
        self.advance(&unit);
        self.commit_engine()?;
        let seq = unit.counts().then_some(unit.seq);
        if let Some(commit) = self.published(unit) {
            self.shared.publish(&[commit]);
        }
        Ok(seq)
    }

    /// Runs `f` in a commit of its own. Nothing of it is left when it fails.
    pub(crate) fn alone<T>(
        &mut self,
        f: impl FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut unit = self.begin()?;
        self.core.alone = true;
        let core = &mut self.core;
        let out = catch_unwind(AssertUnwindSafe(|| f(core, &mut unit)))
            .unwrap_or_else(|p| Err(StoreError::Internal(panic_text(&*p))));
        self.core.alone = false;
        let out = out.and_then(|out| self.commit(unit).map(|_| out));
        if out.is_err() {
            self.rollback();
        }
        out
    }

    /// Runs `first` and whatever else is waiting, and commits once.
    pub(crate) fn group(&mut self, first: Box<dyn Task>, mut more: impl FnMut() -> Option<Box<dyn Task>>) {
        let started = Instant::now();
        let mut done: Vec<(Box<dyn Task>, Unit)> = Vec::new();
        let mut unit = match self.begin() {
            Ok(unit) => unit,
            Err(e) => return first.settle(Some(e)),
        };
        let mut next = Some(first);
        while let Some(mut task) = next.take() {
            match task.run(&mut self.core, &mut unit) {
                Ok(()) => {
                    self.advance(&unit);
                    let new = Unit::new(self.core.state.head + 1);
                    done.push((task, std::mem::replace(&mut unit, new)));
                }
                Err(e) => {
                    task.settle(Some(e.clone()));
                    if !self.core.db.in_transaction() {
                        // The engine has given everything up, as it does when the disk is full.
                        return self.fail(done, &e);
                    }
                    unit = Unit::new(self.core.state.head + 1);
                }
            }
            if done.len() < GROUP_TASKS && started.elapsed() < GROUP_TIME {
                next = more();
            }
        }
        match self.commit_engine() {
            Ok(()) => self.settle(done),
            Err(e) => self.fail(done, &e),
        }
    }

    /// Counts a unit that is going to commit.
    fn advance(&mut self, unit: &Unit) {
        if unit.counts() {
            self.core.state.head = self.core.state.head.max(unit.seq);
        }
        self.changed += unit.touched();
    }

    fn commit_engine(&mut self) -> Result<(), StoreError> {
        let before = self.before.unwrap_or(self.core.state);
        if self.changed >= DOCUMENTS_PER_LOOK {
            // Counts for this very commit: pages move at its end.
            schema::size_log(&self.core.db)?;
            self.changed = 0;
        }
        self.core.commit(before)?;
        self.before = None;
        self.shared.committed(self.core.state.head);
        Ok(())
    }

    /// Takes a group back and tells everyone in it.
    fn fail(&mut self, done: Vec<(Box<dyn Task>, Unit)>, e: &StoreError) {
        self.rollback();
        done.into_iter().for_each(|(task, _)| task.settle(Some(e.clone())));
    }

    /// Publishes what a committed group did and answers everyone in it, in this order: who subscribes after an
    /// answer must not hear of it again.
    fn settle(&mut self, done: Vec<(Box<dyn Task>, Unit)>) {
        let (tasks, units): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let commits: Vec<_> = units.into_iter().filter_map(|unit| self.published(unit)).collect();
        self.shared.publish(&commits);
        tasks.into_iter().for_each(|task| task.settle(None));
    }

    /// The change set of a committed unit, if anybody wants it. Whoever begins to listen after this was asked begins after
    /// the commit.
    fn published(&self, unit: Unit) -> Option<Arc<Commit>> {
        if !unit.counts() {
            return None;
        }
        unit.number();
        self.shared.is_heard().then(|| Arc::new(unit.into_commit(self.core.dict.shared())))
    }

    /// Leaves the file in one piece, marked as cleanly closed.
    pub(crate) fn finish(self) {
        let Writer { core, shared, lock, .. } = self;
        let alone = shared.readers.close(READER_PATIENCE);
        if let Err(e) = meta::close(&core.db) {
            tracing::error!(error = %e, "the store cannot be marked as closed");
        }
        let checkpoint =
            if alone { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        if let Err(e) = core.db.batch(checkpoint) {
            tracing::warn!(error = %e, "the write-ahead log stays, and is used at the next open");
        }
        drop(core);
        drop(lock);
    }
}

#[cfg(test)]
mod tests;
