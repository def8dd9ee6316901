//! The blobs of attachments: immutable, named by the BLAKE3 hash of their bytes, kept as files beside the database.
//!
//! | module | owns |
//! |---|---|
//! | `tree` | the hash tree: proofs of chunks |
//! | `files` | names and access of the files of one blob |
//! | `create` | from bytes, a file or a stream |
//! | `partial` | blobs that arrive chunk by chunk |
//! | `reader` | reading a blob, and copying it |
//! | `collector` | garbage: blobs without reference and without handle |
//!
//! A blob that is there is whole: its bytes and its tree were verified and synced to the disk before the file got its
//! name. Whoever holds a handle pins it.

mod collector;
mod create;
mod files;
mod partial;
mod reader;
mod tree;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_types::{BlobId, MAX_BLOB_BYTES};

use crate::StoreError;
use crate::check::CheckReport;
pub use collector::CollectReport;
pub(crate) use collector::{Known, Thread as CollectorThread, run as collect};
pub(crate) use files::FOLDER;
use files::{Kind, Name};
pub use partial::{PartialBlob, Received};
pub use reader::BlobReader;

/// What the blobs of a store take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUsage {
    /// Blobs that are there.
    pub blobs: usize,
    /// Blobs of which some chunks may be there.
    pub partial: usize,
    /// Bytes on the disk, of everything, as the file system counts them.
    pub bytes: u64,
}

/// What is here of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobHolding {
    /// Nothing, or chunks of an earlier run that nobody has taken up.
    Nothing,
    /// All of it.
    Whole,
    /// Some chunks: a bit for each, the lowest of the first byte first.
    Partial(Vec<u8>),
}

/// A chunk with the proof that it belongs to its blob.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvenChunk {
    /// Values of the hash tree, from the bottom.
    pub proof: Vec<[u8; 32]>,
    /// The content.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for ProvenChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvenChunk({} bytes, {} values)", self.bytes.len(), self.proof.len())
    }
}

/// The blobs of a store. Clones are handles of the same.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    entries: Mutex<BTreeMap<Name, Entry>>,
}

#[derive(Default)]
struct Entry {
    /// Handles.
    pins: usize,
    whole: bool,
    /// What arrives, while somebody holds it.
    partial: Option<Arc<Mutex<partial::State>>>,
    /// Whether the last collection found neither handle nor reference.
    marked: bool,
}

/// A blob that is there. While a handle lives, the blob stays.
#[derive(Clone)]
pub struct Blob {
    pin: Arc<Pin>,
}

/// Keeps the collector away.
struct Pin {
    inner: Arc<Inner>,
    name: Name,
}

impl Blobs {
    /// Opens the blobs in a directory, which is made when the first blob comes. Leftovers of creations that were
    /// interrupted go.
    pub(crate) fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let entries = files::list(&directory)?;
        let entries = entries.into_iter().map(|(name, whole)| (name, Entry { whole, ..Entry::default() }));
        let entries = Mutex::new(entries.collect());
        Ok(Self { inner: Arc::new(Inner { directory, entries }) })
    }

    /// The blob of this name and length, if all of it is here.
    pub fn get(&self, id: BlobId, len: u64) -> Option<Blob> {
        let name = Name { id, len };
        let mut entries = self.inner.lock();
        let entry = entries.get_mut(&name).filter(|e| e.whole)?;
        Some(Blob { pin: self.inner.pin(name, entry) })
    }

    /// What is here of a blob.
    pub fn holding(&self, id: BlobId, len: u64) -> Result<BlobHolding, StoreError> {
        let name = Name { id, len };
        let partial = match self.inner.lock().get(&name) {
            None => return Ok(BlobHolding::Nothing),
            Some(entry) if entry.whole => return Ok(BlobHolding::Whole),
            Some(entry) => entry.partial.clone(),
        };
        Ok(partial.and_then(|p| partial::bits(&p)).map_or(BlobHolding::Nothing, BlobHolding::Partial))
    }

    /// Chunk `index` of a blob with its proof, for a peer. Also of one that is still arriving, if that chunk is here.
    pub fn chunk(&self, id: BlobId, len: u64, index: u64) -> Result<Option<ProvenChunk>, StoreError> {
        let name = Name { id, len };
        let (whole, partial) = {
            let entries = self.inner.lock();
            match entries.get(&name) {
                Some(entry) => (entry.whole, entry.partial.clone()),
                None => return Ok(None),
            }
        };
        if whole && let Some(blob) = self.get(id, len) {
            // The handle keeps the files while they are read.
            return files::read_chunk(blob.directory(), name, index);
        }
        match partial {
            Some(partial) => partial::chunk(name, &partial, index),
            None => Ok(None),
        }
    }

    /// What they take on the disk.
    pub fn usage(&self) -> Result<BlobUsage, StoreError> {
        let mut usage =
            BlobUsage { bytes: files::disk_usage(&self.inner.directory)?, ..BlobUsage::default() };
        for entry in self.inner.lock().values() {
            if entry.whole { usage.blobs += 1 } else { usage.partial += 1 }
        }
        Ok(usage)
    }

    /// Deletes what has no handle and no reference, if the call before found it so too. So what was created and not yet
    /// put into a document has the time between two calls.
    ///
    /// `referenced` is called once, if there is anything without a handle.
    pub(crate) fn collect(
        &self,
        referenced: impl FnOnce() -> Result<HashSet<BlobId>, StoreError>,
    ) -> Result<CollectReport, StoreError> {
        let free: Vec<Name> =
            self.inner.lock().iter().filter(|(_, e)| e.pins == 0).map(|(name, _)| *name).collect();
        let mut report = CollectReport { examined: free.len(), ..CollectReport::default() };
        if free.is_empty() {
            return Ok(report);
        }
        let referenced = referenced()?;
        for name in free {
            let mut entries = self.inner.lock();
            // A handle that was there in between has taken the mark away.
            let Some(entry) = entries.get_mut(&name).filter(|e| e.pins == 0) else { continue };
            let marked = std::mem::replace(&mut entry.marked, !referenced.contains(&name.id));
            if marked && entry.marked {
                report.deleted += 1;
                report.bytes += files::remove(&self.inner.directory, name)?;
                entries.remove(&name);
            }
        }
        Ok(report)
    }

    /// Verifies every byte of the blobs that are whole.
    pub(crate) fn check(&self, report: &mut CheckReport) {
        let names: Vec<Name> = self.inner.lock().iter().filter(|(_, e)| e.whole).map(|(n, _)| *n).collect();
        for name in names {
            let Some(blob) = self.get(name.id, name.len) else { continue };
            report.blobs += 1;
            if let Err(e) = blob.verify() {
                report.problem(format!("blob {}: {e}", name.id));
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(self: &Arc<Self>, name: Name, entry: &mut Entry) -> Arc<Pin> {
        entry.pins += 1;
        entry.marked = false;
        Arc::new(Pin { inner: self.clone(), name })
    }

    /// Notes that a blob is whole. The file has its name already.
    fn whole(self: &Arc<Self>, name: Name) -> Blob {
        let mut entries = self.lock();
        let entry = entries.entry(name).or_default();
        entry.whole = true;
        entry.partial = None;
        Blob { pin: self.pin(name, entry) }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut entries = self.inner.lock();
        if let Some(entry) = entries.get_mut(&self.name) {
            entry.pins = entry.pins.saturating_sub(1);
            if entry.pins == 0 {
                entry.partial = None;
            }
        }
    }
}

impl Blob {
    /// The BLAKE3 hash of the content.
    pub fn id(&self) -> BlobId {
        self.pin.name.id
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.pin.name.len
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file that holds the content. It must not be changed.
    pub fn path(&self) -> PathBuf {
        self.pin.name.path(self.directory(), Kind::Whole)
    }

    fn directory(&self) -> &Path {
        &self.pin.inner.directory
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.id(), self.len())
    }
}

/// Bytes that the blobs beside a database file take on the disk.
pub(crate) fn disk_usage(database: &Path) -> Result<u64, StoreError> {
    database.parent().map_or(Ok(0), |d| files::disk_usage(&d.join(FOLDER)))
}

fn check_length(len: u64) -> Result<(), StoreError> {
    if len > MAX_BLOB_BYTES { Err(StoreError::BlobTooLarge { limit: MAX_BLOB_BYTES }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
