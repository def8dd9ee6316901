//! The writer thread: one queue, group commit, interactive transactions.
//!
//! While one commit waits for the disk, statements and batches queue up; the next commit takes them all, each in its
//! own savepoint and with its own sequence number. Nobody waits for company: an idle writer commits at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ditto_dql::Plan;

use crate::StoreError;
use crate::apply;
use crate::commit::Commit;
use crate::core::Core;
use crate::lock::DirectoryLock;
use crate::meta;
use crate::mutate;
use crate::replication::{ApplyBatch, ApplyOutcome};
use crate::result::QueryResult;
use crate::shared::Shared;
use crate::unit::Unit;

/// Jobs of one group at most.
const GROUP_JOBS: usize = 512;

/// Work of one group at most; a job that has begun is finished.
const GROUP_TIME: Duration = Duration::from_millis(20);

/// A transaction that holds the writer longer than this is logged, and again every [`HELD_AGAIN`].
const HELD_FIRST: Duration = Duration::from_secs(10);
const HELD_AGAIN: Duration = Duration::from_secs(5);

/// How long a store that is being closed waits for the next statement of an open transaction.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits for readers.
const READER_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Reply<T> = Sender<Result<T, StoreError>>;

/// Work for the writer.
pub(crate) enum Job {
    /// A statement with its own commit.
    Statement { plan: Plan, reply: Reply<QueryResult> },
    /// A batch from a peer.
    Apply { batch: ApplyBatch, reply: Reply<ApplyOutcome> },
    /// Deletes the cursors of a query.
    DeleteCursors { query_hash: [u8; 16], reply: Reply<()> },
    /// An interactive transaction; it holds the writer until it ends.
    Begin { id: u64, hint: Option<String>, reply: Reply<Sender<Step>> },
    /// Ends the thread after everything before it.
    Close,
    /// Reaches into the writer.
    #[cfg(test)]
    Test(Box<dyn FnOnce(&mut Core) + Send>),
}

/// Work inside an interactive transaction.
pub(crate) enum Step {
    Execute { plan: Plan, reply: Reply<QueryResult> },
    Commit { reply: Reply<Option<u64>> },
    Rollback { reply: Reply<()> },
}

/// What a finished job of a group still owes its caller once the group has committed.
enum Owed {
    Statement(Reply<QueryResult>, QueryResult, Unit),
    Apply(Reply<ApplyOutcome>, ApplyOutcome, Unit),
    Done(Reply<()>),
}

pub(crate) struct Writer {
    core: Core,
    shared: Arc<Shared>,
    queue: Receiver<Job>,
    /// Kept until the file is closed.
    lock: DirectoryLock,
}

impl Writer {
    pub(crate) fn new(core: Core, shared: Arc<Shared>, queue: Receiver<Job>, lock: DirectoryLock) -> Self {
        Self { core, shared, queue, lock }
    }

    /// Works until the store is closed.
    pub(crate) fn run(mut self) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.queue.recv().ok()) {
            match job {
                Job::Close => break,
                Job::Begin { id, hint, reply } => self.interactive(id, hint.as_deref(), &reply),
                #[cfg(test)]
                Job::Test(f) => f(&mut self.core),
                job => next = self.group(job),
            }
        }
        self.finish();
    }

    /// Runs `first` and whatever else is waiting, and commits once. Returns the job that ended the group.
    fn group(&mut self, first: Job) -> Option<Job> {
        let started = Instant::now();
        let before = self.core.state;
        let mut owed = Vec::new();
        let mut next = Some(first);
        if let Err(e) = self.core.db.exec("BEGIN IMMEDIATE", &[]) {
            refuse(next.take()?, &e);
            return None;
        }
        while let Some(job) = next.take() {
            if !matches!(job, Job::Statement { .. } | Job::Apply { .. } | Job::DeleteCursors { .. }) {
                next = Some(job);
                break;
            }
            if let Err(e) = self.job(job, &mut owed) {
                // The engine has given the whole transaction up, as it does when the disk is full.
                self.fail(owed, before, &e);
                return None;
            }
            if owed.len() < GROUP_JOBS && started.elapsed() < GROUP_TIME {
                next = self.queue.try_recv().ok();
            }
        }
        match self.core.commit(before) {
            Ok(()) => self.settle(owed),
            Err(e) => self.fail(owed, before, &e),
        }
        next
    }

    /// Runs one job in its savepoint. An error means that the transaction as a whole is lost.
    fn job(&mut self, job: Job, owed: &mut Vec<Owed>) -> Result<(), StoreError> {
        let core = &mut self.core;
        let mut unit = Unit::new(core.state.head + 1);
        match job {
            Job::Statement { plan, reply } => match mutate::run(core, &mut unit, &plan) {
                Ok(result) => owed.push(Owed::Statement(reply, result, unit)),
                Err(e) => return refused(core, &reply, e),
            },
            Job::Apply { batch, reply } => match apply::apply(core, &mut unit, batch) {
                Ok(items) => {
                    let seq = if unit.counts() { unit.seq } else { core.state.head };
                    owed.push(Owed::Apply(reply, ApplyOutcome { seq, items }, unit));
                }
                Err(e) => return refused(core, &reply, e),
            },
            Job::DeleteCursors { query_hash, reply } => {
                let deleted =
                    core.in_savepoint(&mut unit, |core, _, _| apply::delete_cursors_of(core, &query_hash));
                match deleted {
                    Ok(()) => owed.push(Owed::Done(reply)),
                    Err(e) => return refused(core, &reply, e),
                }
            }
            // Not for a group.
            _ => {}
        }
        if let Some(Owed::Statement(_, _, unit) | Owed::Apply(_, _, unit)) = owed.last()
            && unit.counts()
        {
            core.state.head = core.state.head.max(unit.seq);
        }
        Ok(())
    }

    /// Takes a group back and tells everyone in it.
    fn fail(&mut self, owed: Vec<Owed>, before: crate::meta::State, e: &StoreError) {
        self.core.rollback(before);
        for o in owed {
            match o {
                Owed::Statement(reply, ..) => drop(reply.send(Err(e.clone()))),
                Owed::Apply(reply, ..) => drop(reply.send(Err(e.clone()))),
                Owed::Done(reply) => drop(reply.send(Err(e.clone()))),
            }
        }
    }

    /// Publishes what a committed group did and answers everyone in it.
    ///
    /// In this order, so that who subscribes after an answer does not hear of it again.
    fn settle(&mut self, owed: Vec<Owed>) {
        self.shared.committed(self.core.state.head);
        let mut commits = Vec::with_capacity(owed.len());
        let mut answers: Vec<Box<dyn FnOnce()>> = Vec::with_capacity(owed.len());
        for o in owed {
            match o {
                Owed::Statement(reply, result, unit) => {
                    commits.extend(self.published(unit));
                    answers.push(Box::new(move || drop(reply.send(Ok(result)))));
                }
                Owed::Apply(reply, outcome, unit) => {
                    commits.extend(self.published(unit));
                    answers.push(Box::new(move || drop(reply.send(Ok(outcome)))));
                }
                Owed::Done(reply) => answers.push(Box::new(move || drop(reply.send(Ok(()))))),
            }
        }
        self.shared.publish(&commits);
        answers.into_iter().for_each(|answer| answer());
    }

    fn published(&self, unit: Unit) -> Option<Arc<Commit>> {
        unit.counts().then(|| Arc::new(unit.into_commit(self.core.dict.shared())))
    }

    /// Serves one transaction until it commits, rolls back or is dropped.
    fn interactive(&mut self, id: u64, hint: Option<&str>, reply: &Reply<Sender<Step>>) {
        let before = self.core.state;
        if let Err(e) = self.core.db.exec("BEGIN IMMEDIATE", &[]) {
            drop(reply.send(Err(e)));
            return;
        }
        let (sender, steps) = crossbeam_channel::bounded(1);
        if reply.send(Ok(sender)).is_err() {
            return self.core.rollback(before);
        }
        self.shared.set_active(Some((id, hint)));
        let mut unit = Unit::new(before.head + 1);
        let ended = loop {
            match self.next_step(&steps, id, hint) {
                Some(Step::Execute { plan, reply }) => {
                    let result = if self.core.db.in_transaction() {
                        mutate::run(&mut self.core, &mut unit, &plan)
                    } else {
                        Err(StoreError::Backend(
                            "the storage engine rolled the transaction back after an earlier error"
                                .to_string(),
                        ))
                    };
                    drop(reply.send(result));
                }
                Some(Step::Commit { reply }) => break Some(reply),
                Some(Step::Rollback { reply }) => {
                    self.core.rollback(before);
                    drop(reply.send(Ok(())));
                    break None;
                }
                None => {
                    self.core.rollback(before);
                    break None;
                }
            }
        };
        self.shared.set_active(None);
        let Some(reply) = ended else { return };
        let counts = unit.counts();
        if counts {
            self.core.state.head = unit.seq;
        }
        match self.core.commit(before) {
            Ok(()) => {
                self.shared.committed(self.core.state.head);
                let commit = self.published(unit);
                self.shared.publish(commit.as_slice());
                drop(reply.send(Ok(commit.map(|c| c.seq))));
            }
            Err(e) => {
                self.core.rollback(before);
                drop(reply.send(Err(e)));
            }
        }
    }

    /// The next step of a transaction; `None` when its handle is gone, or idle while the store is being closed.
    fn next_step(&self, steps: &Receiver<Step>, id: u64, hint: Option<&str>) -> Option<Step> {
        let idle_since = Instant::now();
        loop {
            let held = self.shared.active_for().unwrap_or_default();
            let due = if held < HELD_FIRST {
                HELD_FIRST - held
            } else {
                let over = (held - HELD_FIRST).as_millis() % HELD_AGAIN.as_millis();
                HELD_AGAIN - Duration::from_millis(u64::try_from(over).unwrap_or(0))
            };
            // Woken often enough to notice that the store is being closed.
            match steps.recv_timeout(due.min(Duration::from_millis(250))) {
                Ok(step) => return Some(step),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now_held = self.shared.active_for().unwrap_or_default();
            if held + due <= now_held {
                tracing::warn!(
                    transaction = id,
                    hint = hint.unwrap_or_default(),
                    held_ms = u64::try_from(now_held.as_millis()).unwrap_or(u64::MAX),
                    waiting = self.queue.len(),
                    "a transaction holds the writer"
                );
            }
            if self.shared.is_closed() && idle_since.elapsed() > CLOSE_PATIENCE {
                tracing::warn!(
                    transaction = id,
                    "the store is being closed; an idle transaction is rolled back"
                );
                return None;
            }
        }
    }

    /// Leaves the file in one piece, marked as cleanly closed.
    fn finish(self) {
        let Writer { core, shared, queue, lock } = self;
        // Whoever came after Close learns of it when the queue is dropped.
        drop(queue);
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

fn refused<T>(core: &Core, reply: &Reply<T>, e: StoreError) -> Result<(), StoreError> {
    let lost = !core.db.in_transaction();
    drop(reply.send(Err(e.clone())));
    if lost { Err(e) } else { Ok(()) }
}

fn refuse(job: Job, e: &StoreError) {
    match job {
        Job::Statement { reply, .. } => drop(reply.send(Err(e.clone()))),
        Job::Apply { reply, .. } => drop(reply.send(Err(e.clone()))),
        Job::DeleteCursors { reply, .. } => drop(reply.send(Err(e.clone()))),
        Job::Begin { reply, .. } => drop(reply.send(Err(e.clone()))),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
