//! Transactions: several statements that apply together or not at all.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use ditto_types::ErrorKind;

use crate::DittoError;
use crate::instance::Inner;
use crate::query::{IntoQuery, Query};
use crate::result::{QueryResult, State};
use crate::runtime::blocking;
use crate::store::Store;

/// What to do with a transaction when its body returns (API-107).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionCompletionAction {
    /// Apply all changes.
    Commit,
    /// Discard all changes.
    Rollback,
}

impl fmt::Display for TransactionCompletionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        })
    }
}

/// How a transaction is opened.
#[derive(Clone, Debug, Default)]
pub struct TransactionOptions {
    /// Free text for logs.
    pub hint: Option<String>,
    /// A read-only transaction sees one snapshot, runs beside others and refuses mutating statements.
    pub is_read_only: bool,
}

/// Facts about a transaction (API-105).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    /// Unique id, in the form of a UUID (API-111).
    pub id: String,
    /// The hint given when it was opened.
    pub hint: Option<String>,
    /// Whether it is read-only.
    pub is_read_only: bool,
}

/// A running transaction; valid until its body returns (API-103).
pub struct Transaction {
    store: Store,
    info: TransactionInfo,
    /// `None` once finished.
    state: Arc<Open>,
    /// What its results say about the store: the snapshot, or for one that writes the commit, once there is one.
    seen: State,
}

impl Transaction {
    /// Runs one statement; it sees the earlier changes of this transaction (API-104).
    ///
    /// A failing statement leaves no trace, and the transaction stays usable (API-118).
    pub async fn execute(&self, query: impl IntoQuery) -> Result<QueryResult, DittoError> {
        let query = query.into_query()?;
        let (state, seen) = (self.state.clone(), self.seen.clone());
        blocking(move || execute(&state, query, seen)).await
    }

    /// [`Transaction::execute`] for code that is not async. It blocks the calling thread, and saves the change of threads
    /// of each statement.
    pub fn execute_sync(&self, query: impl IntoQuery) -> Result<QueryResult, DittoError> {
        execute(&self.state, query.into_query()?, self.seen.clone())
    }

    /// Facts about this transaction.
    pub fn info(&self) -> &TransactionInfo {
        &self.info
    }

    /// The store that it belongs to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Commits or rolls back a transaction opened with [`Store::begin`].
    ///
    /// Every use after it is [`ErrorKind::TransactionClosed`]. A commit returns the commit id of a mutating transaction.
    pub async fn finish(&self, action: TransactionCompletionAction) -> Result<Option<u64>, DittoError> {
        let (state, seen) = (self.state.clone(), self.seen.clone());
        let head = self.store.inner.store().map(|store| store.head()).ok();
        blocking(move || {
            let txn = state.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(finished)?;
            match action {
                TransactionCompletionAction::Commit => {
                    let commit = txn.commit()?;
                    if let (State::Transaction(slot), Some(commit)) = (&seen, commit.or(head)) {
                        // Only one commit reaches this: the transaction was taken.
                        let _ = slot.set(commit);
                    }
                    Ok(commit)
                }
                TransactionCompletionAction::Rollback => {
                    txn.rollback()?;
                    Ok(None)
                }
            }
        })
        .await
    }
}

/// Behind a lock because statements may run on other threads.
type Open = Mutex<Option<ditto_store::Transaction>>;

fn execute(state: &Open, query: Query, seen: State) -> Result<QueryResult, DittoError> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let txn = state.as_mut().ok_or_else(finished)?;
    Ok(QueryResult::new(txn.execute_owned(&query.text, query.args)?, seen))
}

fn finished() -> DittoError {
    DittoError::new(ErrorKind::TransactionClosed, "the transaction is finished")
}

pub(crate) async fn begin(store: &Store, options: TransactionOptions) -> Result<Transaction, DittoError> {
    let inner = store.inner.store()?;
    let opened =
        ditto_store::TransactionOptions { read_only: options.is_read_only, hint: options.hint.clone() };
    let head = inner.head();
    let txn = blocking(move || Ok(inner.begin(opened)?)).await?;
    let seen = if options.is_read_only { State::At(head) } else { State::Transaction(Arc::default()) };
    let info = TransactionInfo { id: new_id(), hint: options.hint, is_read_only: options.is_read_only };
    tracing::debug!(id = info.id, number = txn.id(), hint = info.hint, "transaction begins");
    Ok(Transaction { store: store.clone(), info, state: Arc::new(Mutex::new(Some(txn))), seen })
}

/// A random UUID.
fn new_id() -> String {
    let mut bytes = [0; 16];
    crate::random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

pub(crate) async fn run<T, F>(
    store: &Store,
    options: TransactionOptions,
    body: F,
    action: impl FnOnce(&T) -> TransactionCompletionAction,
) -> Result<T, DittoError>
where
    F: AsyncFnOnce(&Transaction) -> Result<T, DittoError>,
{
    refuse_nested(&store.inner)?;
    let txn = begin(store, options).await?;
    match inside(&store.inner, body(&txn)).await {
        Ok(value) => {
            txn.finish(action(&value)).await?;
            Ok(value)
        }
        Err(e) => {
            // The error of the body matters more than one of the rollback, which dropping would do as well.
            let _ = txn.finish(TransactionCompletionAction::Rollback).await;
            Err(e)
        }
    }
}

thread_local! {
    /// Address of the instance whose transaction body is being polled on this thread; 0 for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

fn tag(inner: &Arc<Inner>) -> usize {
    Arc::as_ptr(inner) as usize
}

/// Polls `body` with the marker set, on whatever thread the host's executor uses.
async fn inside<F: Future>(inner: &Arc<Inner>, body: F) -> F::Output {
    let mut body = pin!(body);
    let tag = tag(inner);
    std::future::poll_fn(move |cx| {
        let before = CURRENT.replace(tag);
        let polled = body.as_mut().poll(cx);
        CURRENT.set(before);
        polled
    })
    .await
}

/// Waiting for the writer inside the body that holds it would never end, so it is an error at once (API-121).
pub(crate) fn refuse_nested(inner: &Arc<Inner>) -> Result<(), DittoError> {
    if CURRENT.get() == tag(inner) {
        return Err(DittoError::new(
            ErrorKind::NestedTransaction,
            "inside a transaction use the transaction's own execute",
        ));
    }
    Ok(())
}
