//! Reading a blob, copying it, verifying it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ditto_types::{BLOB_CHUNK_BYTES, BlobId};

use super::files::{self, Kind, Places};
use super::tree::{self, NODE, Shape};
use super::{Blob, Pin};
use crate::StoreError;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 64 * 1024;

/// Reads a blob from any place. Keeps it while it lives.
pub struct BlobReader {
    file: File,
    _pin: std::sync::Arc<Pin>,
}

impl Blob {
    /// Opens it for reading (API-329).
    pub fn open(&self) -> Result<BlobReader, StoreError> {
        let path = self.path();
        let file = File::open(&path).map_err(|e| StoreError::io("open", &path, &e))?;
        Ok(BlobReader { file, _pin: self.pin.clone() })
    }

    /// The whole content in memory (API-321).
    pub fn data(&self) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::new();
        let read = self.open()?.read_to_end(&mut out);
        read.map_err(|e| StoreError::io("read", &self.path(), &e))?;
        Ok(out)
    }

    /// Copies the content to a file (API-318). Its folder must exist; an existing file is replaced, at once and only when
    /// the copy is complete, so a failure leaves it as it was.
    pub fn copy_to_path(&self, destination: &Path) -> Result<(), StoreError> {
        let failed = |e: io::Error| StoreError::io("write", destination, &e);
        let Some(name) = destination.file_name() else {
            return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        if destination.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| failed(io::Error::other(e.to_string())))?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{:016x}.tmp", u64::from_le_bytes(random)));
        let copy = Unfinished(destination.with_file_name(beside));
        let mut reader = self.open()?;
        let mut out = fs::OpenOptions::new().write(true).create_new(true).open(&copy.0).map_err(failed)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let n = reader.read(&mut buffer).map_err(|e| StoreError::io("read", &self.path(), &e))?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(failed)?;
        }
        out.sync_all().map_err(failed)?;
        drop(out);
        files::rename(&copy.0, destination)
    }

    /// Compares every byte, and the tree, with the name.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        let (id, len, path) = (self.id(), self.len(), self.path());
        let wrong = |detail: &str| StoreError::Corrupt { file: path.clone(), detail: detail.to_string() };
        let mut reader = self.open()?;
        let mut buffer = vec![0; BLOB_CHUNK_BYTES];
        let (mut values, mut left, mut only) = (Vec::new(), len, *blake3::hash(&[]).as_bytes());
        while left > 0 {
            let n = usize::try_from(left).map_or(BLOB_CHUNK_BYTES, |n| n.min(BLOB_CHUNK_BYTES));
            reader.read_exact(&mut buffer[..n]).map_err(|_| wrong("the file is too short"))?;
            if len <= BLOB_CHUNK_BYTES as u64 {
                only = *blake3::hash(&buffer[..n]).as_bytes();
            }
            values.push(tree::chunk_value(values.len() as u64, &buffer[..n]));
            left -= n as u64;
        }
        if reader.read(&mut buffer[..1]).map_err(|e| StoreError::io("read", &path, &e))? != 0 {
            return Err(wrong("the file is too long"));
        }
        let (nodes, root) = match values.len() {
            0 | 1 => (Vec::new(), BlobId(only)),
            _ => tree::grow(values),
        };
        if root != id {
            return Err(wrong("the content does not belong to the name"));
        }
        let limit = (Shape::new(len).nodes() + 1) * NODE as u64;
        let tree = Places::read_only(self.pin.name.path(self.directory(), Kind::Tree))?.read_all(limit)?;
        if tree != nodes.as_flattened() {
            return Err(wrong("the hash tree beside it does not belong to the content"));
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A copy under way; goes unless it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(e) = files::delete(&self.0) {
            tracing::warn!(error = %e, "an unfinished copy stays");
        }
    }
}
