//! Work that begins when it is asked for, and once.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use ditto::ErrorKind;

use crate::error::DittoError;

type Work<T> = Pin<Box<dyn Future<Output = Result<T, ditto::DittoError>> + Send>>;

pub(crate) struct Once<T> {
    work: Mutex<Option<Work<T>>>,
}

impl<T> Once<T> {
    pub(crate) fn new(work: impl Future<Output = Result<T, ditto::DittoError>> + Send + 'static) -> Self {
        Self { work: Mutex::new(Some(Box::pin(work))) }
    }

    /// Asks for it. `again` is the kind of error of a second time.
    pub(crate) async fn run(&self, again: ErrorKind) -> Result<T, DittoError> {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        match work {
            Some(work) => Ok(work.await?),
            None => Err(DittoError::new(again, "the completion was asked for before")),
        }
    }
}
