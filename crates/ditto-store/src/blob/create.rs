//! New blobs from bytes, a file or a stream, one chunk in memory at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ditto_types::{BLOB_CHUNK_BYTES, BlobId};

use super::files::{self, Kind, NEW, Name};
use super::{Blob, Blobs, check_length, tree};
use crate::StoreError;

impl Blobs {
    /// Keeps a copy of a file (API-315). Fails with [`StoreError::Io`] when the file cannot be read, and with one of kind
    /// `StoreFull` when there is no space for it; nothing is left behind then.
    pub fn create_from_path(&self, path: &Path) -> Result<Blob, StoreError> {
        let failed = |e: std::io::Error| StoreError::io("read", path, &e);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        check_length(meta.len())?;
        self.create(file, path)
    }

    /// Keeps a copy of bytes. Fails as [`Blobs::create_from_path`] does.
    pub fn create_from_bytes(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        self.create(bytes, Path::new("the bytes"))
    }

    /// Keeps what a stream gives until its end. Fails as [`Blobs::create_from_path`] does.
    pub fn create_from_reader(&self, reader: impl Read) -> Result<Blob, StoreError> {
        self.create(reader, Path::new("the stream"))
    }

    /// `source` is the name of what is read, for errors.
    fn create(&self, mut reader: impl Read, source: &Path) -> Result<Blob, StoreError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = &self.inner.directory;
        files::make(directory)?;
        // One process holds the directory, so a counter is enough.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = |what: &str| Leftover(directory.join(format!("{NEW}{number}.{what}")));
        let (data, nodes) = (new("data"), new("tree"));
        let (values, id, len) = {
            let mut out = data.create()?;
            let mut buffer = vec![0; BLOB_CHUNK_BYTES];
            let (mut values, mut len) = (Vec::new(), 0);
            let mut id = BlobId(*blake3::hash(&[]).as_bytes());
            loop {
                let n = fill(&mut reader, &mut buffer).map_err(|e| StoreError::io("read", source, &e))?;
                if n == 0 {
                    break;
                }
                let bytes = &buffer[..n];
                if values.is_empty() {
                    id = BlobId(*blake3::hash(bytes).as_bytes());
                }
                values.push(tree::chunk_value(values.len() as u64, bytes));
                len += n as u64;
                check_length(len)?;
                out.write_all(bytes).map_err(|e| StoreError::io("write", &data.0, &e))?;
            }
            out.sync_all().map_err(|e| StoreError::io("sync", &data.0, &e))?;
            if values.len() > 1 {
                (values, id) = tree::grow(values);
            } else {
                values.clear();
            }
            (values, id, len)
        };
        let name = Name { id, len };
        if let Some(blob) = self.get(id, len) {
            return Ok(blob);
        }
        {
            let mut out = nodes.create()?;
            let written = out.write_all(values.as_flattened()).and_then(|()| out.sync_all());
            written.map_err(|e| StoreError::io("write", &nodes.0, &e))?;
        }
        // Whoever fetches the same meanwhile writes the same values.
        files::rename(&nodes.0, &name.path(directory, Kind::Tree))?;
        files::rename(&data.0, &name.path(directory, Kind::Whole))?;
        files::sync_directory(directory)?;
        Ok(self.inner.whole(name))
    }
}

/// Reads until `out` is full or the stream ends.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < out.len() {
        match reader.read(&mut out[n..]) {
            Ok(0) => break,
            Ok(read) => n += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

/// A file under a name for the time being; what still has it in the end goes.
struct Leftover(PathBuf);

impl Leftover {
    fn create(&self) -> Result<File, StoreError> {
        File::create(&self.0).map_err(|e| StoreError::io("create", &self.0, &e))
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Err(e) = files::delete(&self.0) {
            tracing::warn!(error = %e, "a file of an unfinished blob stays until the next start");
        }
    }
}
