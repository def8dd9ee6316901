//! Handles of interactive transactions.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ditto_types::Object;

use crate::StoreError;
use crate::core::Core;
use crate::desk::Lease;
use crate::dict::Dict;
use crate::driver::Db;
use crate::index::{Indexes, catalogue};
use crate::readers::Reader;
use crate::request::{self, Place};
use crate::result::QueryResult;
use crate::store::Inner;
use crate::unit::Unit;

/// Several statements that apply together or not at all. Dropping it rolls back.
///
/// A read-write transaction holds the writer: everything else that writes waits until it ends. Code that holds one
/// must not wait for another write of the same store.
pub struct Transaction {
    store: Arc<Inner>,
    id: u64,
    hint: Option<String>,
    kind: Kind,
}

enum Kind {
    Write(Arc<Held>),
    Read(Snapshot),
}

/// A read-only transaction: one connection with one snapshot.
pub(crate) struct Snapshot {
    reader: Reader,
    /// Read when a statement first needs them: the snapshot may be older than the last commit, and never changes.
    indexes: OnceLock<Arc<Indexes>>,
}

impl Snapshot {
    pub(crate) fn db(&self) -> Result<&Db, StoreError> {
        self.reader.db()
    }

    /// The indexes that there are in the snapshot.
    pub(crate) fn indexes(&self, dict: &Dict) -> Result<Arc<Indexes>, StoreError> {
        if let Some(known) = self.indexes.get() {
            return Ok(known.clone());
        }
        let read = Arc::new(catalogue::load(self.db()?, dict)?);
        Ok(self.indexes.get_or_init(|| read).clone())
    }
}

/// A read-write transaction, as its handle and the desk see it.
pub(crate) struct Held {
    id: u64,
    hint: Option<String>,
    since: Instant,
    /// `None` once it has ended.
    open: Mutex<Option<Open>>,
}

struct Open {
    lease: Lease,
    unit: Unit,
    /// End of the last statement.
    used: Instant,
}

impl Transaction {
    /// Begins a read-write transaction with the writer that was lent for it.
    pub(crate) fn write(
        store: Arc<Inner>,
        id: u64,
        hint: Option<String>,
        mut lease: Lease,
    ) -> Result<Self, StoreError> {
        let unit = lease.writer()?.begin()?;
        let (desk, now) = (lease.desk().clone(), Instant::now());
        let open = Mutex::new(Some(Open { lease, unit, used: now }));
        let held = Arc::new(Held { id, hint: hint.clone(), since: now, open });
        desk.hold(held.clone());
        Ok(Self { store, id, hint, kind: Kind::Write(held) })
    }

    pub(crate) fn read(store: Arc<Inner>, id: u64, hint: Option<String>, reader: Reader) -> Self {
        Self { store, id, hint, kind: Kind::Read(Snapshot { reader, indexes: OnceLock::new() }) }
    }

    /// Runs one statement; it sees the earlier changes of this transaction (API-104).
    ///
    /// A failing statement leaves no trace, and the transaction stays usable (API-118). A mutation in a read-only
    /// transaction is [`StoreError::ReadOnly`].
    pub fn execute(&self, text: &str, args: &Object) -> Result<QueryResult, StoreError> {
        self.run(text, Cow::Borrowed(args))
    }

    /// As [`Transaction::execute`], with arguments that need not be copied.
    pub fn execute_owned(&self, text: &str, args: Object) -> Result<QueryResult, StoreError> {
        self.run(text, Cow::Owned(args))
    }

    fn run(&self, text: &str, args: Cow<'_, Object>) -> Result<QueryResult, StoreError> {
        let place = match &self.kind {
            Kind::Write(held) => Place::Write(held),
            Kind::Read(snapshot) => Place::Read(snapshot),
        };
        request::execute(&self.store, text, args, &place, None)
    }

    /// Makes the changes durable. Returns the number of the commit, when there was a mutating statement.
    pub fn commit(self) -> Result<Option<u64>, StoreError> {
        match &self.kind {
            Kind::Write(held) => {
                let Open { mut lease, unit, .. } = held.lock().take().ok_or(StoreError::Closed)?;
                lease.writer()?.commit(unit)
            }
            Kind::Read(_) => Ok(None),
        }
    }

    /// Discards the changes. When it returns the next in the queue may write.
    pub fn rollback(self) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Write(held) => held.lock().take().map(drop).ok_or(StoreError::Closed),
            Kind::Read(_) => Ok(()),
        }
    }

    /// Number of the transaction, unique while the store is open (API-111).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The hint given when it was opened.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether it is read-only.
    pub fn is_read_only(&self) -> bool {
        matches!(self.kind, Kind::Read(_))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Kind::Write(held) = &self.kind {
            // The desk may still know it, so the handle has to end it.
            let open = held.lock().take();
            drop(open);
        }
    }
}

impl Held {
    /// Runs a statement on the writer.
    pub(crate) fn run<T>(
        &self,
        f: impl FnOnce(&mut Core, &mut Unit) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut open = self.lock();
        let Open { lease, unit, used } = open.as_mut().ok_or(StoreError::Closed)?;
        let core = lease.writer()?.core();
        let result = if core.db.in_transaction() {
            f(core, unit)
        } else {
            Err(StoreError::Backend(
                "the storage engine rolled the transaction back after an earlier error".to_string(),
            ))
        };
        *used = Instant::now();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs that it holds the writer.
    pub(crate) fn warn(&self, waiting: usize) {
        tracing::warn!(
            transaction = self.id,
            hint = self.hint.as_deref().unwrap_or_default(),
            held_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            waiting,
            "a transaction holds the writer"
        );
    }

    /// Rolls back if it has not been used for `patience`. Its handle then finds it closed.
    pub(crate) fn end_if_idle(&self, patience: Duration) {
        let mut open = match self.open.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(p)) => p.into_inner(),
            // A statement is running.
            Err(TryLockError::WouldBlock) => return,
        };
        if open.as_ref().is_some_and(|o| o.used.elapsed() > patience) {
            tracing::warn!(
                transaction = self.id,
                "the store is being closed; an idle transaction is rolled back"
            );
            drop(open.take());
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("hint", &self.hint)
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}
