//! A fetch of an attachment: what the app holds of it, and what it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ditto_store::Blob;
use ditto_sync::blob::{BlobInput, BlobName, FetchId};
use tokio::sync::Notify;

use super::exchange::ToBlobs;
use super::{DittoAttachment, DittoAttachmentToken};
use crate::instance::Inner;
use crate::{DittoError, runtime};

/// When a fetch gives up by itself. By default it never does: it waits for peers that have the attachment, as long as
/// it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachmentFetchOptions {
    /// [`AttachmentFetchEvent::Failed`] when it is not here after this time.
    pub timeout: Option<Duration>,
    /// [`AttachmentFetchEvent::Deleted`] when other peers are there, all that can be asked were, and none has had any of it
    /// for this time. At least the 3 s that answers have are waited for.
    pub unavailable_after: Option<Duration>,
}

pub(super) type FetchOptions = AttachmentFetchOptions;

/// What happens to a fetch (API-356): progress, as often as it likes, then exactly one of the others.
#[derive(Clone, Debug)]
pub enum AttachmentFetchEvent {
    /// More of it is here (API-357).
    Progress {
        /// Bytes that are here.
        downloaded_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// All of it is here (API-358).
    Completed {
        /// The attachment.
        attachment: DittoAttachment,
    },
    /// It was not fetched (API-359). What has arrived is kept for the next fetch, for a while.
    Failed {
        /// Why.
        error: DittoError,
    },
    /// The app has cancelled it, or closed the instance (API-360).
    Cancelled,
    /// Nobody who can be asked has it: as far as can be told, it is gone from the mesh. Only with
    /// [`AttachmentFetchOptions::unavailable_after`].
    Deleted,
}

impl AttachmentFetchEvent {
    /// Whether nothing comes after it.
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Progress { .. })
    }

    /// The fraction that is here, 0 to 1, of a progress event (API-351).
    pub fn progress(&self) -> Option<f64> {
        match self {
            Self::Progress { downloaded_bytes, total_bytes } => {
                Some(fraction(*downloaded_bytes, *total_bytes))
            }
            Self::Completed { .. } => Some(1.0),
            _ => None,
        }
    }
}

fn fraction(bytes: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { bytes as f64 / total as f64 }
}

/// A running fetch (API-341). Clones are handles of the same.
///
/// Dropping it ends nothing: it goes on, and is in [`Store::attachment_fetchers`](crate::Store::attachment_fetchers), until it
/// has ended, [`DittoAttachmentFetcher::cancel`] is called, or the instance closes.
#[derive(Clone)]
pub struct DittoAttachmentFetcher {
    shared: Arc<Shared>,
}

/// What a fetch has come to.
#[derive(Clone)]
pub(super) enum Ending {
    Completed(Blob),
    Failed(DittoError),
    Cancelled,
    Deleted,
}

/// Shared by the handles, the thread of the exchange, and the task that calls the app.
pub(crate) struct Shared {
    pub(super) id: FetchId,
    token: DittoAttachmentToken,
    bytes: AtomicU64,
    ending: Mutex<Option<Ending>>,
    news: Notify,
    exchange: crossbeam_channel::Sender<ToBlobs>,
}

impl Shared {
    pub(super) fn name(&self) -> BlobName {
        BlobName { id: self.token.id, len: self.token.len }
    }

    fn ending(&self) -> MutexGuard<'_, Option<Ending>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Only the first counts.
    pub(super) fn end(&self, ending: Ending) {
        let mut mine = self.ending();
        if mine.is_none() {
            if matches!(ending, Ending::Completed(_)) {
                self.bytes.store(self.token.len, Ordering::Relaxed);
            }
            *mine = Some(ending);
        }
        drop(mine);
        self.news.notify_one();
    }

    fn event(&self, ending: Ending) -> AttachmentFetchEvent {
        match ending {
            Ending::Completed(blob) => AttachmentFetchEvent::Completed {
                attachment: DittoAttachment::new(blob, self.token.metadata.clone()),
            },
            Ending::Failed(error) => AttachmentFetchEvent::Failed { error },
            Ending::Cancelled => AttachmentFetchEvent::Cancelled,
            Ending::Deleted => AttachmentFetchEvent::Deleted,
        }
    }
}

impl DittoAttachmentFetcher {
    /// What is fetched (API-348).
    pub fn token(&self) -> &DittoAttachmentToken {
        &self.shared.token
    }

    /// Bytes that are here (API-344).
    pub fn bytes_downloaded(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Bytes in all (API-345).
    pub fn total_bytes(&self) -> u64 {
        self.shared.token.len
    }

    /// The fraction that is here, from 0 to 1 (API-346).
    pub fn progress(&self) -> f64 {
        if self.is_completed() { 1.0 } else { fraction(self.bytes_downloaded(), self.total_bytes()) }
    }

    /// Whether all of it is here (API-347): not after a failure, nor when it was cancelled.
    pub fn is_completed(&self) -> bool {
        matches!(&*self.shared.ending(), Some(Ending::Completed(_)))
    }

    /// Whether it has ended, in any way.
    pub fn is_ended(&self) -> bool {
        self.shared.ending().is_some()
    }

    /// Ends it (API-343). Its handler gets [`AttachmentFetchEvent::Cancelled`], unless it has ended before. Repeating it is
    /// harmless. What has arrived is kept for the next fetch, for a while.
    pub fn cancel(&self) {
        self.shared.end(Ending::Cancelled);
        let input = BlobInput::Cancel { fetch: self.shared.id };
        // A closed instance has no exchange.
        let _ = self.shared.exchange.send(ToBlobs::Exchange(input));
    }
}

impl fmt::Debug for DittoAttachmentFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DittoAttachmentFetcher({}, {:.0} %)", self.token().id(), 100.0 * self.progress())
    }
}

/// The fetches of an instance that have not ended.
#[derive(Default)]
pub(crate) struct Fetches {
    running: Mutex<BTreeMap<FetchId, DittoAttachmentFetcher>>,
    last: AtomicU64,
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FetchId, DittoAttachmentFetcher>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that run, the oldest first.
    pub(crate) fn running(&self) -> Vec<DittoAttachmentFetcher> {
        self.lock().values().filter(|f| !f.is_ended()).cloned().collect()
    }

    /// Ends all; their handlers are told.
    pub(crate) fn cancel_all(&self) {
        let running: Vec<_> = self.lock().values().cloned().collect();
        running.iter().for_each(DittoAttachmentFetcher::cancel);
    }
}

/// Begins a fetch.
pub(crate) fn fetch(
    inner: &Arc<Inner>,
    token: DittoAttachmentToken,
    options: FetchOptions,
    handler: impl FnMut(AttachmentFetchEvent) + Send + 'static,
) -> Result<DittoAttachmentFetcher, DittoError> {
    let store = inner.store()?;
    let fetches = &inner.fetches;
    let shared = Arc::new(Shared {
        id: FetchId(fetches.last.fetch_add(1, Ordering::Relaxed)),
        token,
        bytes: AtomicU64::new(0),
        ending: Mutex::new(None),
        news: Notify::new(),
        exchange: inner.node.blob_sender(),
    });
    let fetcher = DittoAttachmentFetcher { shared: shared.clone() };
    let name = shared.name();
    match store.blobs()?.get(name.id, name.len) {
        Some(blob) => shared.end(Ending::Completed(blob)),
        None => {
            let message = ToBlobs::Fetch { fetch: shared.clone(), options };
            shared.exchange.send(message).map_err(|_| DittoError::closed())?;
        }
    }
    fetches.lock().insert(shared.id, fetcher.clone());
    if inner.is_closed() {
        // Closed in between: nobody else would end it.
        fetcher.cancel();
    }
    runtime::handle()?.spawn(tell(shared, Arc::downgrade(inner), handler));
    Ok(fetcher)
}

/// Calls the handler, until it has heard the last. Progress that it has no time for is left out.
async fn tell(
    shared: Arc<Shared>,
    inner: Weak<Inner>,
    mut handler: impl FnMut(AttachmentFetchEvent) + Send + 'static,
) {
    let mut told = None;
    loop {
        shared.news.notified().await;
        let (ending, bytes) = (shared.ending().clone(), shared.bytes.load(Ordering::Relaxed));
        // The handler belongs to the app and may block.
        if told != Some(bytes) && (ending.is_none() || matches!(ending, Some(Ending::Completed(_)))) {
            told = Some(bytes);
            let total_bytes = shared.token.len;
            let progress = AttachmentFetchEvent::Progress { downloaded_bytes: bytes, total_bytes };
            tokio::task::block_in_place(|| handler(progress));
        }
        let Some(ending) = ending else { continue };
        if let Some(inner) = inner.upgrade() {
            inner.fetches.lock().remove(&shared.id);
        }
        return tokio::task::block_in_place(|| handler(shared.event(ending)));
    }
}
