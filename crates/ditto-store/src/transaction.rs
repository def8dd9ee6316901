//! Handles of interactive transactions.

use std::sync::Arc;

use crossbeam_channel::Sender;
use ditto_dql::Plan;
use ditto_types::Object;

use crate::StoreError;
use crate::readers::Reader;
use crate::result::QueryResult;
use crate::select::select;
use crate::store::{Inner, ask};
use crate::writer::Step;

/// Several statements that apply together or not at all. Dropping it rolls back.
///
/// A read-write transaction holds the writer: everything else that writes waits until it ends. Code that holds one
/// must not wait for another write of the same store; see [`crate::Store::active_transaction`].
pub struct Transaction {
    store: Arc<Inner>,
    id: u64,
    hint: Option<String>,
    kind: Kind,
}

enum Kind {
    /// Holds the writer.
    Write(Sender<Step>),
    /// Holds one connection with one snapshot.
    Read(Reader),
}

impl Transaction {
    pub(crate) fn write(store: Arc<Inner>, id: u64, hint: Option<String>, steps: Sender<Step>) -> Self {
        Self { store, id, hint, kind: Kind::Write(steps) }
    }

    pub(crate) fn read(store: Arc<Inner>, id: u64, hint: Option<String>, reader: Reader) -> Self {
        Self { store, id, hint, kind: Kind::Read(reader) }
    }

    /// Runs one statement; it sees the earlier changes of this transaction (API-104).
    ///
    /// A failing statement leaves no trace, and the transaction stays usable (API-118). A mutation in a read-only
    /// transaction is [`StoreError::ReadOnly`].
    pub fn execute(&self, text: &str, args: &Object) -> Result<QueryResult, StoreError> {
        let plan = self.store.plan(text, args)?;
        match (&self.kind, plan) {
            (Kind::Write(steps), plan) => {
                ask(&self.store.shared, |reply| steps.send(Step::Execute { plan, reply }).is_ok())
            }
            (Kind::Read(_), _) if self.store.shared.is_closed() => Err(StoreError::Closed),
            (Kind::Read(reader), Plan::Select(plan)) => Ok(QueryResult::rows(select(
                reader.db()?,
                &self.store.shared.dict,
                &self.store.shared.hash_key,
                &plan,
            )?)),
            (Kind::Read(_), _) => Err(StoreError::ReadOnly),
        }
    }

    /// Makes the changes durable. Returns the number of the commit, when there was a mutating statement.
    pub fn commit(self) -> Result<Option<u64>, StoreError> {
        match &self.kind {
            Kind::Write(steps) => ask(&self.store.shared, |reply| steps.send(Step::Commit { reply }).is_ok()),
            Kind::Read(_) => Ok(None),
        }
    }

    /// Discards the changes. When it returns the next in the queue may write.
    pub fn rollback(self) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Write(steps) => {
                ask(&self.store.shared, |reply| steps.send(Step::Rollback { reply }).is_ok())
            }
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

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("hint", &self.hint)
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}
