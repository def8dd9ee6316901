//! Live queries: what the app implements, and the handles it gets.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::DittoError;
use crate::json;
use crate::result::QueryResult;

/// What an app implements to get the results of a live query.
///
/// Calls come on a thread of the library, in order and never two at a time. Return quickly. The library holds the
/// observer until it is cancelled, so it should not hold the handle that cancels it.
#[uniffi::export(with_foreign)]
pub trait QueryObserver: Send + std::marker::Sync {
    /// Takes the current result. An error is logged and has no other effect.
    fn on_result(&self, result: Arc<QueryResult>) -> Result<(), DittoError>;
}

/// As the plain observer, with control over when the next result may come.
#[uniffi::export(with_foreign)]
pub trait QueryObserverWithSignalNext: Send + std::marker::Sync {
    /// Takes the current result. Nothing more comes until the signal is called, at any time and from any thread.
    fn on_result(&self, result: Arc<QueryResult>, signal: Arc<SignalNext>) -> Result<(), DittoError>;
}

/// Marks an observer as ready for the next result.
#[derive(uniffi::Object)]
pub struct SignalNext {
    inner: Mutex<Option<ditto::SignalNext>>,
}

impl SignalNext {
    pub(crate) fn new(inner: ditto::SignalNext) -> Self {
        Self { inner: Mutex::new(Some(inner)) }
    }
}

#[uniffi::export]
impl SignalNext {
    /// Asks for the next result. Repeating is harmless, also after the observer was cancelled.
    pub fn signal(&self) {
        let signal = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(signal) = signal {
            signal.call();
        }
    }
}

/// Handle of a live query. Freeing it does not end the observer.
#[derive(uniffi::Object)]
pub struct StoreObserver {
    inner: ditto::StoreObserver,
}

impl StoreObserver {
    pub(crate) fn new(inner: ditto::StoreObserver) -> Arc<Self> {
        Arc::new(Self { inner })
    }
}

#[uniffi::export]
impl StoreObserver {
    /// Ends the observer. After return no call starts and none is running, unless this call came from the observer
    /// itself. Repeating is harmless.
    pub fn cancel(&self) {
        self.inner.cancel();
    }

    /// Whether it has ended, by cancel or because the instance was shut down.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Text of the query.
    pub fn query_string(&self) -> String {
        self.inner.query_string().to_owned()
    }

    /// Arguments given at registration: the text of a JSON object.
    pub fn query_arguments_json(&self) -> String {
        json::object(self.inner.query_arguments())
    }
}

/// A callback that failed is the app's fault; the log is all there is to tell it. Without an outcome there was no call.
pub(crate) fn report(outcome: Option<Result<(), DittoError>>) {
    if let Some(Err(e)) = outcome {
        tracing::error!("an observer failed: {e}");
    }
}
