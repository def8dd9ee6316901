//! Blobs that arrive chunk by chunk, in any order, from anybody. What has arrived survives a restart.
//!
//! A chunk is written before it is noted as here, and what is noted is verified again when a blob is taken up in another
//! run. So neither a killed process nor a power cut makes a chunk that is not there count.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_types::{BLOB_CHUNK_BYTES, BlobId, blob_chunk_len};

use super::files::{self, Kind, Name, Places};
use super::tree::{NODE, Shape};
use super::{Blob, Blobs, Pin, ProvenChunk, check_length};
use crate::StoreError;

/// A blob that arrives. While a handle lives, what has arrived stays.
#[derive(Clone)]
pub struct PartialBlob {
    pin: Arc<Pin>,
    state: Arc<Mutex<State>>,
}

/// What became of a chunk.
#[derive(Clone, Debug)]
pub enum Received {
    /// It is kept, or was here before.
    Kept,
    /// It was the last one.
    Complete(Blob),
    /// It is no chunk of this blob: whoever sent it is at fault. Nothing was written.
    Refused,
}

/// The open files; `None` until they are needed, and once the blob is whole.
#[derive(Default)]
pub(super) struct State(Option<Open>);

struct Open {
    shape: Shape,
    data: Places,
    tree: Places,
    noted: Places,
    /// A bit for each chunk, the lowest of the first byte first.
    have: Vec<u8>,
    missing: u64,
}

impl Blobs {
    /// Takes a blob up that arrives, or begins. Chunks that arrived in an earlier run are verified, so the first call for
    /// a blob may read much.
    ///
    /// [`StoreError::BlobTooLarge`] for a length that no blob has.
    pub fn partial(&self, id: BlobId, len: u64) -> Result<PartialBlob, StoreError> {
        check_length(len)?;
        let name = Name { id, len };
        files::make(&self.inner.directory)?;
        let (pin, state) = {
            let mut entries = self.inner.lock();
            let entry = entries.entry(name).or_default();
            let pin = self.inner.pin(name, entry);
            (pin, entry.partial.get_or_insert_default().clone())
        };
        let partial = PartialBlob { pin, state };
        partial.missing()?;
        Ok(partial)
    }
}

impl PartialBlob {
    /// Number of chunks that are missing.
    pub fn missing(&self) -> Result<u64, StoreError> {
        self.with(|o| o.missing, |_| 0)
    }

    /// Bytes that are here.
    pub fn arrived(&self) -> Result<u64, StoreError> {
        let len = self.pin.name.len;
        let here = |o: &mut Open| {
            let chunks = (0..o.shape.chunks()).filter(|i| o.has(*i));
            chunks.filter_map(|i| blob_chunk_len(len, i)).map(|n| n as u64).sum()
        };
        self.with(here, |_| len)
    }

    /// The chunks that are here: a bit for each, the lowest of the first byte first.
    pub fn bits(&self) -> Result<Vec<u8>, StoreError> {
        let all = |chunks: u64| {
            let mut bits = vec![u8::MAX; usize::try_from(chunks.div_ceil(8)).unwrap_or(0)];
            if let (Some(last), rest @ 1..) = (bits.last_mut(), chunks % 8) {
                *last = (1 << rest) - 1;
            }
            bits
        };
        self.with(|o| o.have.clone(), all)
    }

    /// Whether a chunk is here.
    pub fn has(&self, index: u64) -> Result<bool, StoreError> {
        self.with(|o| o.has(index), |chunks| index < chunks)
    }

    /// The whole blob, if nothing is missing.
    pub fn complete(&self) -> Result<Option<Blob>, StoreError> {
        let mut state = lock(&self.state);
        if let Some(blob) = self.whole() {
            return Ok(Some(blob));
        }
        self.finish(&mut state)
    }

    /// Verifies a chunk and keeps it. An error leaves the blob as it was; without space it is one of kind `StoreFull`.
    pub fn put(&self, index: u64, chunk: &ProvenChunk) -> Result<Received, StoreError> {
        let name = self.pin.name;
        let mut state = lock(&self.state);
        if let Some(blob) = self.whole() {
            return Ok(Received::Complete(blob));
        }
        let open = state.ready(self.directory(), name)?;
        if !open.has(index) {
            let Some(proven) = open.shape.verify(&name.id, index, &chunk.bytes, &chunk.proof) else {
                return Ok(Received::Refused);
            };
            open.data.write(index * BLOB_CHUNK_BYTES as u64, &chunk.bytes)?;
            for (place, value) in proven {
                open.tree.write(place * NODE as u64, &value)?;
            }
            open.note(index)?;
        }
        Ok(self.finish(&mut state)?.map_or(Received::Kept, Received::Complete))
    }

    /// Gives the file its name once nothing is missing.
    fn finish(&self, state: &mut State) -> Result<Option<Blob>, StoreError> {
        let (name, directory) = (self.pin.name, self.directory());
        let open = state.ready(directory, name)?;
        if open.missing > 0 {
            return Ok(None);
        }
        let synced = open.data.sync().and_then(|()| open.tree.sync());
        // After a failure nothing that is open can be relied on; the next use reads and verifies again.
        state.0 = None;
        synced?;
        files::rename(&name.path(directory, Kind::Part), &name.path(directory, Kind::Whole))?;
        files::sync_directory(directory)?;
        files::delete(&name.path(directory, Kind::Have))?;
        Ok(Some(self.pin.inner.whole(name)))
    }

    /// The blob, once the last chunk has come or the same content was created here.
    fn whole(&self) -> Option<Blob> {
        Blobs { inner: self.pin.inner.clone() }.get(self.pin.name.id, self.pin.name.len)
    }

    fn directory(&self) -> &Path {
        &self.pin.inner.directory
    }

    /// Asks the open files, or says it of a whole blob with so many chunks.
    fn with<T>(
        &self,
        open: impl FnOnce(&mut Open) -> T,
        whole: impl FnOnce(u64) -> T,
    ) -> Result<T, StoreError> {
        let mut state = lock(&self.state);
        if self.whole().is_some() {
            return Ok(whole(Shape::new(self.pin.name.len).chunks()));
        }
        Ok(open(state.ready(self.directory(), self.pin.name)?))
    }
}

impl fmt::Debug for PartialBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartialBlob({}, {} bytes)", self.pin.name.id, self.pin.name.len)
    }
}

/// The chunks that are here, if somebody has taken the blob up.
pub(super) fn bits(state: &Mutex<State>) -> Option<Vec<u8>> {
    lock(state).0.as_ref().map(|open| open.have.clone())
}

/// A chunk of a blob that arrives, if it is here.
pub(super) fn chunk(name: Name, state: &Mutex<State>, index: u64) -> Result<Option<ProvenChunk>, StoreError> {
    match &mut lock(state).0 {
        Some(open) if open.has(index) => {
            files::chunk_of(&mut open.data, &mut open.tree, name.len, &open.shape, index)
        }
        _ => Ok(None),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn ready(&mut self, directory: &Path, name: Name) -> Result<&mut Open, StoreError> {
        let open = match self.0.take() {
            Some(open) => open,
            None => Open::load(directory, name)?,
        };
        Ok(self.0.insert(open))
    }
}

impl Open {
    fn load(directory: &Path, name: Name) -> Result<Self, StoreError> {
        let shape = Shape::new(name.len);
        let file = |kind| Places::open(name.path(directory, kind));
        let (data, tree, mut noted) = (file(Kind::Part)?, file(Kind::Tree)?, file(Kind::Have)?);
        let bytes = shape.chunks().div_ceil(8);
        let mut claimed = noted.read_all(bytes)?;
        claimed.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        let missing = shape.chunks();
        let mut open = Self { shape, data, tree, noted, have: vec![0; claimed.len()], missing };
        for index in (0..missing).filter(|i| bit(&claimed, *i)) {
            let chunk = files::chunk_of(&mut open.data, &mut open.tree, name.len, &open.shape, index);
            // What cannot be read has to come again, as what is wrong has.
            if let Ok(Some(c)) = chunk
                && open.shape.verify(&name.id, index, &c.bytes, &c.proof).is_some()
            {
                open.set(index);
            }
        }
        Ok(open)
    }

    fn has(&self, index: u64) -> bool {
        bit(&self.have, index)
    }

    fn set(&mut self, index: u64) {
        if let Some(byte) = self.have.get_mut((index / 8) as usize) {
            *byte |= 1 << (index % 8);
            self.missing -= 1;
        }
    }

    /// Notes a chunk that was written and was not here before.
    fn note(&mut self, index: u64) -> Result<(), StoreError> {
        let byte = self.have.get((index / 8) as usize).copied().unwrap_or_default() | 1 << (index % 8);
        self.noted.write(index / 8, &[byte])?;
        self.set(index);
        Ok(())
    }
}

fn bit(bits: &[u8], index: u64) -> bool {
    usize::try_from(index / 8).ok().and_then(|at| bits.get(at)).is_some_and(|b| b >> (index % 8) & 1 == 1)
}
