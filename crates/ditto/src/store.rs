//! The store handle: statements, observers and transactions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ditto_store::Cancellation;
use ditto_types::Object;

use crate::DittoError;
use crate::attachment::{
    self, AttachmentFetchEvent, AttachmentFetchOptions, AttachmentHolder, DittoAttachment,
    DittoAttachmentFetcher, DittoAttachmentToken, Source,
};
use crate::instance::Inner;
use crate::observer::{self, SignalNext, StoreObserver};
use crate::query::{IntoQuery, Query};
use crate::result::{QueryResult, State};
use crate::runtime::blocking;
use crate::transaction::{self, Transaction, TransactionCompletionAction, TransactionOptions};

/// Gateway to the local data (API-045). It never waits for peers; what others wrote arrives through
/// [subscriptions](crate::Sync::register_subscription) and is then here like any other document.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    /// Runs one DQL statement on the local store (API-046).
    ///
    /// The statement is atomic: on an error nothing of it is kept. Faults in the statement carry line and column;
    /// a missing argument is [`ErrorKind::QueryArguments`](crate::ErrorKind::QueryArguments). Inside a
    /// transaction of the same store use [`Transaction::execute`]; here it is
    /// [`ErrorKind::NestedTransaction`](crate::ErrorKind::NestedTransaction).
    ///
    /// Dropping the future before it is done cancels the statement: it then either leaves no trace, or was done already.
    pub async fn execute(&self, query: impl IntoQuery) -> Result<QueryResult, DittoError> {
        let cancellation = CancelOnDrop(Cancellation::new());
        self.execute_cancellable(query, &cancellation.0).await
    }

    /// As [`Store::execute`], but ended soon after `cancellation` is used, with
    /// [`ErrorKind::QueryCancelled`](crate::ErrorKind::QueryCancelled).
    pub async fn execute_cancellable(
        &self,
        query: impl IntoQuery,
        cancellation: &Cancellation,
    ) -> Result<QueryResult, DittoError> {
        transaction::refuse_nested(&self.inner)?;
        let query = query.into_query()?;
        let (store, cancellation) = (self.inner.store()?, cancellation.clone());
        blocking(move || run(&store, query, &cancellation)).await
    }

    /// [`Store::execute`] for code that is not async. It blocks the calling thread.
    pub fn execute_sync(&self, query: impl IntoQuery) -> Result<QueryResult, DittoError> {
        transaction::refuse_nested(&self.inner)?;
        run(&self.inner.store()?, query.into_query()?, &Cancellation::new())
    }

    /// Checks the text of a statement without running it: for editors and tools.
    ///
    /// The error is the one that running it would give, as far as it does not depend on arguments or data.
    pub fn check_syntax(&self, statement: &str) -> Result<(), DittoError> {
        Ok(self.inner.store()?.check_syntax(statement)?)
    }

    /// Calls `handler` with the current result of a SELECT soon after, and again whenever it has changed
    /// (API-072).
    ///
    /// Calls for one observer are in order and never overlap; changes in quick succession arrive as one. The
    /// handler runs on a thread of the library and should return quickly. The observer lives until
    /// [`StoreObserver::cancel`] or the instance closes; dropping the handle does not end it.
    pub fn register_observer(
        &self,
        query: impl IntoQuery,
        mut handler: impl FnMut(QueryResult) + Send + 'static,
    ) -> Result<StoreObserver, DittoError> {
        let query = query.into_query()?;
        let store = self.inner.store()?;
        let handle = store.observe(
            &query.text,
            &query.args,
            Box::new(move |r| handler(QueryResult::new(r, State::None))),
        )?;
        Ok(observer::register(&self.inner, handle, query))
    }

    /// As [`Store::register_observer`], but after one call the observer stays silent until the handler calls its
    /// signal; the next call folds everything in between into one result (API-073).
    pub fn register_observer_with_signal_next(
        &self,
        query: impl IntoQuery,
        mut handler: impl FnMut(QueryResult, SignalNext) + Send + 'static,
    ) -> Result<StoreObserver, DittoError> {
        let query = query.into_query()?;
        let store = self.inner.store()?;
        let handle = store.observe_with_signal(
            &query.text,
            &query.args,
            Box::new(move |r, signal| handler(QueryResult::new(r, State::None), SignalNext::new(signal))),
        )?;
        Ok(observer::register(&self.inner, handle, query))
    }

    /// The observers that are active now (API-053).
    pub fn observers(&self) -> Vec<StoreObserver> {
        observer::active(&self.inner)
    }

    /// Runs `body` with a read-write transaction and commits or rolls back as it says (API-101).
    ///
    /// All statements apply or none. An error that leaves `body` rolls back and is returned. At most one read-write
    /// transaction runs at a time; others wait their turn.
    pub async fn transaction<F>(&self, body: F) -> Result<TransactionCompletionAction, DittoError>
    where
        F: AsyncFnOnce(&Transaction) -> Result<TransactionCompletionAction, DittoError>,
    {
        self.transaction_with_options(TransactionOptions::default(), body).await
    }

    /// [`Store::transaction`] with a hint for logs or in read-only mode.
    pub async fn transaction_with_options<F>(
        &self,
        options: TransactionOptions,
        body: F,
    ) -> Result<TransactionCompletionAction, DittoError>
    where
        F: AsyncFnOnce(&Transaction) -> Result<TransactionCompletionAction, DittoError>,
    {
        transaction::run(self, options, body, |action| *action).await
    }

    /// Runs `body` in a transaction and returns its value; success commits, an error rolls back (API-102).
    pub async fn transaction_with_result<T, F>(
        &self,
        options: TransactionOptions,
        body: F,
    ) -> Result<T, DittoError>
    where
        F: AsyncFnOnce(&Transaction) -> Result<T, DittoError>,
    {
        transaction::run(self, options, body, |_| TransactionCompletionAction::Commit).await
    }

    /// Opens a transaction that is driven by hand: for bindings and tools that cannot pass a closure.
    ///
    /// Dropping it without [`Transaction::finish`] rolls back.
    pub async fn begin(&self, options: TransactionOptions) -> Result<Transaction, DittoError> {
        transaction::refuse_nested(&self.inner)?;
        transaction::begin(self, options).await
    }

    /// Keeps a copy of a file as an attachment (API-315). Put its token into a document, whose field is declared as
    /// `ATTACHMENT`; the metadata travels with the token.
    ///
    /// Fails with [`ErrorKind::AttachmentFileNotFound`](crate::ErrorKind::AttachmentFileNotFound),
    /// [`AttachmentFilePermissionDenied`](crate::ErrorKind::AttachmentFilePermissionDenied),
    /// [`SizeLimitExceeded`](crate::ErrorKind::SizeLimitExceeded) above 1 TiB, [`StoreFull`](crate::ErrorKind::StoreFull), and
    /// [`AttachmentCreateFailed`](crate::ErrorKind::AttachmentCreateFailed). Then nothing is left behind.
    pub async fn new_attachment(
        &self,
        path: impl Into<PathBuf>,
        metadata: BTreeMap<String, String>,
    ) -> Result<DittoAttachment, DittoError> {
        attachment::create(&self.inner, Source::Path(path.into()), metadata).await
    }

    /// [`Store::new_attachment`] of bytes.
    pub async fn new_attachment_from_bytes(
        &self,
        bytes: impl Into<Vec<u8>>,
        metadata: BTreeMap<String, String>,
    ) -> Result<DittoAttachment, DittoError> {
        attachment::create(&self.inner, Source::Bytes(bytes.into()), metadata).await
    }

    /// [`Store::new_attachment`] of what a stream gives until its end. It is never in memory as a whole.
    pub async fn new_attachment_from_reader(
        &self,
        reader: impl std::io::Read + Send + 'static,
        metadata: BTreeMap<String, String>,
    ) -> Result<DittoAttachment, DittoError> {
        attachment::create(&self.inner, Source::Reader(Box::new(reader)), metadata).await
    }

    /// Begins to fetch an attachment from whoever has it, and calls `handler` with what happens (API-316): progress, then
    /// exactly one event that ends it. One that is here already is completed soon.
    ///
    /// It survives disconnections and goes on where it was, also in another run of the app, with any peer that has some of it.
    /// Peers further off are reached through others, which need not hold it. It waits as long as it takes; see
    /// [`Store::fetch_attachment_with_options`].
    ///
    /// `token` is a token, an attachment, the value of a field, JSON text or bytes. Fails with
    /// [`ErrorKind::AttachmentTokenInvalid`](crate::ErrorKind::AttachmentTokenInvalid).
    pub fn fetch_attachment<T>(
        &self,
        token: T,
        handler: impl FnMut(AttachmentFetchEvent) + Send + 'static,
    ) -> Result<DittoAttachmentFetcher, DittoError>
    where
        T: TryInto<DittoAttachmentToken>,
        DittoError: From<T::Error>,
    {
        self.fetch_attachment_with_options(token, AttachmentFetchOptions::default(), handler)
    }

    /// [`Store::fetch_attachment`] that gives up by itself.
    pub fn fetch_attachment_with_options<T>(
        &self,
        token: T,
        options: AttachmentFetchOptions,
        handler: impl FnMut(AttachmentFetchEvent) + Send + 'static,
    ) -> Result<DittoAttachmentFetcher, DittoError>
    where
        T: TryInto<DittoAttachmentToken>,
        DittoError: From<T::Error>,
    {
        attachment::fetch(&self.inner, token.try_into()?, options, handler)
    }

    /// The fetches that run now.
    pub fn attachment_fetchers(&self) -> Vec<DittoAttachmentFetcher> {
        self.inner.fetches.running()
    }

    /// The attachment of a token, if all of it is here.
    pub fn attachment<T>(&self, token: T) -> Result<Option<DittoAttachment>, DittoError>
    where
        T: TryInto<DittoAttachmentToken>,
        DittoError: From<T::Error>,
    {
        attachment::local(&self.inner, token.try_into()?)
    }

    /// Asks the mesh who has an attachment, and waits `patience` for the answers: at most 32, of peers up to eight
    /// connections away. Nothing is fetched.
    pub async fn attachment_holders<T>(
        &self,
        token: T,
        patience: Duration,
    ) -> Result<Vec<AttachmentHolder>, DittoError>
    where
        T: TryInto<DittoAttachmentToken>,
        DittoError: From<T::Error>,
    {
        attachment::holders(&self.inner, token.try_into()?, patience).await
    }

    /// Deletes the attachments without handle and without a document here that refers to them, if the run before found them
    /// so too (API-378). It also runs by itself. Gives the number of those that went.
    pub async fn collect_attachments(&self) -> Result<usize, DittoError> {
        let store = self.inner.store()?;
        blocking(move || Ok(store.collect_blobs()?.deleted)).await
    }

    /// Recomputes every digest, index entry and sequence number and reports what does not fit.
    pub async fn check(&self) -> Result<ditto_store::CheckReport, DittoError> {
        let store = self.inner.store()?;
        blocking(move || Ok(store.check()?)).await
    }

    /// Compiles a query without running it, to find faults early.
    pub(crate) fn check_subscription(&self, text: &str, args: &Object) -> Result<(), DittoError> {
        self.inner.store()?.compile_subscription(text, args)?;
        Ok(())
    }
}

/// Ends a statement that nobody waits for any more.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn run(
    store: &ditto_store::Store,
    query: Query,
    cancellation: &Cancellation,
) -> Result<QueryResult, DittoError> {
    let before = store.head();
    let rows = store.execute_cancellable(&query.text, query.args, cancellation)?;
    Ok(QueryResult::new(rows, State::At(before)))
}
