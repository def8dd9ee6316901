//! The store handle.

use std::sync::Arc;

use crate::app::{App, awaited};
use crate::error::DittoError;
use crate::json;
use crate::observer::{QueryObserver, QueryObserverWithSignalNext, SignalNext, StoreObserver, report};
use crate::result::QueryResult;
use crate::transaction::Transaction;

/// Gateway to the local data. It never waits for peers; what others wrote arrives through subscriptions.
#[derive(uniffi::Object)]
pub struct Store {
    pub(crate) inner: ditto::Store,
}

/// How a transaction is opened.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TransactionOptions {
    /// Free text for logs.
    pub hint: Option<String>,
    /// A read-only transaction sees one snapshot, runs beside others and refuses mutating statements.
    pub is_read_only: bool,
}

#[uniffi::export]
impl Store {
    /// Runs one statement on the local store. On an error nothing of it is kept.
    ///
    /// The arguments are the text of a JSON object of placeholder names without the colon.
    pub async fn execute(
        &self,
        query: String,
        arguments: Option<String>,
    ) -> Result<Arc<QueryResult>, DittoError> {
        awaited(async { Ok(QueryResult::new(self.inner.execute(json::query(query, arguments)?).await?)) })
            .await
    }

    /// Checks the text of a statement without running it, for editors and tools.
    pub fn check_syntax(&self, statement: String) -> Result<(), DittoError> {
        Ok(self.inner.check_syntax(&statement)?)
    }

    /// As execute, but blocks the calling thread.
    pub fn execute_sync(
        &self,
        query: String,
        arguments: Option<String>,
    ) -> Result<Arc<QueryResult>, DittoError> {
        Ok(QueryResult::new(self.inner.execute_sync(json::query(query, arguments)?)?))
    }

    /// Calls the observer with the current result of a SELECT soon after, and again whenever it has changed.
    ///
    /// Calls for one observer are in order, never overlap and come on a thread of the library; changes in quick
    /// succession arrive as one. It lives until it is cancelled or the instance is shut down.
    pub fn register_observer(
        &self,
        query: String,
        arguments: Option<String>,
        observer: Arc<dyn QueryObserver>,
    ) -> Result<Arc<StoreObserver>, DittoError> {
        let observer = App::new(observer);
        let handler = move |result: ditto::QueryResult| {
            report(observer.call(|o| o.on_result(QueryResult::new(result))));
        };
        Ok(StoreObserver::new(self.inner.register_observer(json::query(query, arguments)?, handler)?))
    }

    /// As register observer, but after one call the observer stays silent until its signal is called; the next call
    /// folds everything in between into one result.
    pub fn register_observer_with_signal_next(
        &self,
        query: String,
        arguments: Option<String>,
        observer: Arc<dyn QueryObserverWithSignalNext>,
    ) -> Result<Arc<StoreObserver>, DittoError> {
        let observer = App::new(observer);
        let handler = move |result: ditto::QueryResult, signal: ditto::SignalNext| {
            let signal = Arc::new(SignalNext::new(signal));
            report(observer.call(|o| o.on_result(QueryResult::new(result), signal)));
        };
        let query = json::query(query, arguments)?;
        Ok(StoreObserver::new(self.inner.register_observer_with_signal_next(query, handler)?))
    }

    /// Opens a transaction. At most one that writes runs at a time; others wait their turn.
    ///
    /// Finish it with commit or rollback; freeing it without either rolls back.
    pub async fn begin(&self, options: TransactionOptions) -> Result<Arc<Transaction>, DittoError> {
        awaited(async {
            let options =
                ditto::TransactionOptions { hint: options.hint, is_read_only: options.is_read_only };
            Ok(Arc::new(Transaction { inner: self.inner.begin(options).await? }))
        })
        .await
    }
}
