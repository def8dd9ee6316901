//! Handles of live queries.

use std::sync::{Arc, Weak};

use ditto_types::Object;

use crate::instance::Inner;
use crate::query::Query;
use crate::{Ditto, DittoError};

/// Handle of a live query (API-079). Clones refer to the same observer; dropping them does not end it.
#[derive(Clone)]
pub struct StoreObserver {
    inner: Weak<Inner>,
    handle: ditto_store::Observation,
    query: Arc<Query>,
}

impl StoreObserver {
    /// Ends the observer. After return its handler is not called again; repeating is harmless (API-080).
    ///
    /// It may be called from the handler itself, which then finishes its current call.
    pub fn cancel(&self) {
        self.handle.cancel();
        if let Some(inner) = self.inner.upgrade() {
            inner.observers().retain(|o| !o.handle.is_cancelled());
        }
    }

    /// Whether the observer has ended, by `cancel` or because the instance closed.
    pub fn is_cancelled(&self) -> bool {
        self.handle.is_cancelled()
    }

    /// Text of the query.
    pub fn query_string(&self) -> &str {
        &self.query.text
    }

    /// Arguments given at registration.
    pub fn query_arguments(&self) -> &Object {
        &self.query.args
    }

    /// The owning instance; an error once it is gone.
    pub fn ditto(&self) -> Result<Ditto, DittoError> {
        self.inner.upgrade().map(|inner| Ditto { inner }).ok_or_else(DittoError::closed)
    }
}

/// Marks a handler as ready for the next result (API-074). Calling it is harmless at any time and from any
/// thread; dropping it uncalled means that the observer stays silent.
pub struct SignalNext(Box<dyn FnOnce() + Send>);

impl SignalNext {
    pub(crate) fn new(signal: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(signal))
    }

    /// Asks for the next result.
    pub fn call(self) {
        (self.0)();
    }
}

pub(crate) fn register(inner: &Arc<Inner>, handle: ditto_store::Observation, query: Query) -> StoreObserver {
    let observer = StoreObserver { inner: Arc::downgrade(inner), handle, query: Arc::new(query) };
    inner.observers().push(observer.clone());
    observer
}

pub(crate) fn active(inner: &Arc<Inner>) -> Vec<StoreObserver> {
    inner.observers().iter().filter(|o| !o.is_cancelled()).cloned().collect()
}
