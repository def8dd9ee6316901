//! The collector of blobs that nobody needs: what no document refers to and nobody holds (API-378).
//!
//! References are counted by reading the documents, so that writing them costs nothing. It happens only when there is a blob
//! without a handle, and not again while nothing was committed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, select};
use ditto_crdt::LeafValue;
use ditto_types::BlobId;

use super::Blobs;
use crate::StoreError;
use crate::dict::Dict;
use crate::driver::Db;
use crate::schema::FLAG_DEAD;
use crate::select::{damaged, doc_id};
use crate::shared::Shared;

/// What a run of the collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Blobs without a handle.
    pub examined: usize,
    /// Blobs that went.
    pub deleted: usize,
    /// Bytes on the disk that they took.
    pub bytes: u64,
}

/// References at a commit.
pub(crate) type Known = Mutex<Option<(u64, HashSet<BlobId>)>>;

/// Runs once.
pub(crate) fn run(shared: &Shared, blobs: &Blobs, known: &Known) -> Result<CollectReport, StoreError> {
    blobs.collect(|| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before the snapshot is taken: what it says may only be too little.
        let head = shared.head();
        if let Some((at, found)) = &*known
            && *at == head
        {
            return Ok(found.clone());
        }
        let found = shared.readers.get()?.snapshot(|db| references(db, &shared.dict))?;
        *known = Some((head, found.clone()));
        Ok(found)
    })
}

/// The blobs that living documents refer to, also in fields that another kind hides.
fn references(db: &Db, dict: &Dict) -> Result<HashSet<BlobId>, StoreError> {
    let mut out = HashSet::new();
    db.query(&format!("SELECT id, body FROM docs WHERE flags & {FLAG_DEAD} = 0"), &[], |row| {
        let body = row.blob(1)?;
        let doc = match ditto_crdt::decode(body, dict) {
            Ok(doc) => doc,
            Err(e) => return Err(damaged(db, &doc_id(db, row.blob(0)?)?, &e)),
        };
        for (_, _, leaf) in doc.leaves() {
            if let LeafValue::Attachment(token) = &leaf.value {
                out.insert(BlobId(token.hash));
            }
        }
        Ok(true)
    })?;
    Ok(out)
}

/// The thread that runs the collector every `attachment_gc_interval_seconds`. Ends when dropped.
pub(crate) struct Thread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// `None` when the system gives no thread; the store works without.
    pub(crate) fn start(shared: Arc<Shared>, blobs: Blobs, known: Arc<Known>) -> Option<Self> {
        let (stop, stopped) = bounded::<()>(0);
        let serve = move || {
            let settings = &shared.requests.settings;
            let changed = settings.subscribe();
            loop {
                let pause = Duration::from_secs(settings.snapshot().attachment_gc_interval_seconds);
                select! {
                    recv(stopped) -> _ => return,
                    recv(changed) -> _ => continue,
                    default(pause) => {}
                }
                match run(&shared, &blobs, &known) {
                    Ok(report) => tracing::debug!(?report, "blobs collected"),
                    Err(StoreError::Closed) => return,
                    Err(e) => tracing::warn!(error = %e, "blobs cannot be collected"),
                }
            }
        };
        match std::thread::Builder::new().name("ditto-blobs".to_string()).spawn(serve) {
            Ok(thread) => Some(Self { stop: Some(stop), thread: Some(thread) }),
            Err(e) => {
                tracing::error!(error = %e, "no thread for the collector; blobs stay");
                None
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the collector of blobs has panicked");
        }
    }
}
