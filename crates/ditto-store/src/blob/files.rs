//! The files of one blob: `ID-LENGTH.data` when it is whole, `.part` while it arrives, with `.have` for the chunks that
//! are here; `.tree` in both cases. `new-*` are creations under way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ditto_types::{BLOB_CHUNK_BYTES, BlobId, MAX_BLOB_BYTES, blob_chunk_len};

use super::ProvenChunk;
use super::tree::{NODE, Shape};
use crate::StoreError;

/// Folder of the blobs inside the store's directory.
pub(crate) const FOLDER: &str = "attachments";

/// How the files of creations begin.
pub(super) const NEW: &str = "new-";

/// A blob's name and length. A token whose length is wrong names another blob, of which there is no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) id: BlobId,
    pub(super) len: u64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Part,
    Have,
    Tree,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Whole, Kind::Part, Kind::Have, Kind::Tree];

    fn suffix(self) -> &'static str {
        match self {
            Kind::Whole => "data",
            Kind::Part => "part",
            Kind::Have => "have",
            Kind::Tree => "tree",
        }
    }
}

impl Name {
    pub(super) fn path(&self, directory: &Path, kind: Kind) -> PathBuf {
        directory.join(format!("{}-{}.{}", self.id, self.len, kind.suffix()))
    }

    fn parse(file: &str) -> Option<(Self, Kind)> {
        let (stem, suffix) = file.rsplit_once('.')?;
        let (id, len) = stem.split_once('-')?;
        let kind = Kind::ALL.into_iter().find(|k| k.suffix() == suffix)?;
        let name = Name { id: id.parse().ok()?, len: len.parse().ok()? };
        (name.len <= MAX_BLOB_BYTES && len == name.len.to_string()).then_some((name, kind))
    }
}

/// The blobs in a directory, and which of them are whole. Removes what interrupted work has left.
pub(super) fn list(directory: &Path) -> Result<BTreeMap<Name, bool>, StoreError> {
    let failed = |e: std::io::Error| StoreError::io("list the directory", directory, &e);
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut out = BTreeMap::new();
    for file in files {
        let file = file.map_err(failed)?;
        let text = file.file_name();
        let Some(text) = text.to_str() else { continue };
        if text.starts_with(NEW) {
            delete(&file.path())?;
        } else if let Some((name, kind)) = Name::parse(text) {
            *out.entry(name).or_default() |= kind == Kind::Whole;
        }
    }
    for name in out.iter().filter(|(_, whole)| **whole).map(|(name, _)| name) {
        delete(&name.path(directory, Kind::Have))?;
        delete(&name.path(directory, Kind::Part))?;
    }
    Ok(out)
}

/// Makes the directory.
pub(super) fn make(directory: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(directory).map_err(|e| StoreError::io("create the directory", directory, &e))
}

/// Deletes a file, if there is one.
pub(super) fn delete(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("delete", path, &e)),
        _ => Ok(()),
    }
}

/// Deletes every file of a blob. Gives the bytes that it took.
pub(super) fn remove(directory: &Path, name: Name) -> Result<u64, StoreError> {
    let mut bytes = 0;
    for kind in Kind::ALL {
        let path = name.path(directory, kind);
        bytes += fs::metadata(&path).map_or(0, |m| on_disk(&m));
        delete(&path)?;
    }
    Ok(bytes)
}

/// Bytes that a file takes: files of blobs that arrive have holes.
#[cfg(unix)]
fn on_disk(m: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(m) * 512
}

#[cfg(not(unix))]
fn on_disk(m: &fs::Metadata) -> u64 {
    m.len()
}

pub(super) fn disk_usage(directory: &Path) -> Result<u64, StoreError> {
    let failed = |e: std::io::Error| StoreError::io("list the directory", directory, &e);
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = 0;
    for file in files {
        // One that has gone meanwhile takes nothing.
        bytes += file.map_err(failed)?.metadata().map_or(0, |m| on_disk(&m));
    }
    Ok(bytes)
}

/// Gives a finished file its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|e| StoreError::io("name", to, &e))
}

/// Makes the names of a directory durable, where the system can.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|d| d.sync_all());
        synced.map_err(|e| StoreError::io("sync", directory, &e))?;
    }
    Ok(())
}

/// A file that is read and written at places.
pub(super) struct Places {
    file: File,
    path: PathBuf,
}

impl Places {
    /// Opens a file for reading and writing; makes it when it is missing.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| StoreError::io("open", &path, &e))?;
        Ok(Self { file, path })
    }

    /// Opens a file for reading.
    pub(super) fn read_only(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(|e| StoreError::io("open", &path, &e))?;
        Ok(Self { file, path })
    }

    pub(super) fn read(&mut self, at: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(out));
        read.map_err(|e| StoreError::io("read", &self.path, &e))
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|e| StoreError::io("write", &self.path, &e))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|e| StoreError::io("sync", &self.path, &e))
    }

    pub(super) fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::new();
        let read =
            self.file.seek(SeekFrom::Start(0)).and_then(|_| (&self.file).take(limit).read_to_end(&mut out));
        read.map_err(|e| StoreError::io("read", &self.path, &e))?;
        Ok(out)
    }
}

/// Reads a chunk and its proof of a blob that is whole.
pub(super) fn read_chunk(
    directory: &Path,
    name: Name,
    index: u64,
) -> Result<Option<ProvenChunk>, StoreError> {
    let mut data = Places::read_only(name.path(directory, Kind::Whole))?;
    let mut tree = Places::read_only(name.path(directory, Kind::Tree))?;
    chunk_of(&mut data, &mut tree, name.len, &Shape::new(name.len), index)
}

pub(super) fn chunk_of(
    data: &mut Places,
    tree: &mut Places,
    len: u64,
    shape: &Shape,
    index: u64,
) -> Result<Option<ProvenChunk>, StoreError> {
    let Some(length) = blob_chunk_len(len, index) else { return Ok(None) };
    let mut bytes = vec![0; length];
    data.read(index * BLOB_CHUNK_BYTES as u64, &mut bytes)?;
    let mut proof = Vec::new();
    for place in shape.proof(index) {
        let mut node = [0; NODE];
        tree.read(place * NODE as u64, &mut node)?;
        proof.push(node);
    }
    Ok(Some(ProvenChunk { proof, bytes }))
}
