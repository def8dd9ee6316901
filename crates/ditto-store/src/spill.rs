//! Temporary files of statements, for what ORDER BY, GROUP BY, DISTINCT and results do not hold in memory.
//!
//! They lie in a folder of their own and have no name there, so that the system deletes them with their last handle, also
//! when the process is killed. Where it cannot do that, the next open does.

use std::fs::{self, File};
use std::io::{ErrorKind as IoError, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_dql::{DqlError, Item, SharedSpill, Spill, SpillFile};
use ditto_types::ErrorKind;

use crate::dict::Dict;
use crate::row;
use crate::settings::Settings;

/// Folder of the temporary files inside the store's directory.
const FOLDER: &str = "spill";

/// Where statements of a store put their temporary files.
#[derive(Clone)]
pub(crate) struct SpillFolder(Arc<Folder>);

struct Folder {
    path: PathBuf,
    dict: Arc<Dict>,
}

impl SpillFolder {
    /// The folder in the directory of a store, which is locked. Removes what an earlier process has left; one that cannot be
    /// removed is only of its size a problem, so the store opens all the same.
    pub(crate) fn open(directory: &Path, dict: &Arc<Dict>) -> Self {
        let path = directory.join(FOLDER);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != IoError::NotFound => {
                tracing::warn!(path = %path.display(), error = %e, "old temporary files cannot be deleted");
            }
            _ => {}
        }
        Self(Arc::new(Folder { path, dict: dict.clone() }))
    }

    /// Space for one run, as the settings have it.
    pub(crate) fn for_run(&self, settings: &Settings) -> SharedSpill {
        let memory = usize::try_from(settings.dql_spill_threshold_bytes).unwrap_or(usize::MAX);
        Arc::new(Space { folder: self.0.clone(), memory })
    }
}

struct Space {
    folder: Arc<Folder>,
    memory: usize,
}

impl Spill for Space {
    fn memory(&self) -> usize {
        self.memory
    }

    fn create(&self) -> Result<Box<dyn SpillFile>, DqlError> {
        let path = &self.folder.path;
        let failed = |e: std::io::Error| failure("create", path, &e);
        fs::create_dir_all(path).map_err(failed)?;
        let file = tempfile::tempfile_in(path).map_err(failed)?;
        tracing::debug!(folder = %path.display(), "a statement uses a temporary file");
        Ok(Box::new(Temporary { folder: self.folder.clone(), file: Mutex::new(file) }))
    }

    fn restore(&self, stored: &[u8]) -> Option<Item> {
        row::restore(stored, &self.folder.dict)
    }

    fn lost(&self, error: &DqlError) {
        tracing::error!(error = %error, "a row of a result cannot be read back and is shown as null");
    }
}

struct Temporary {
    folder: Arc<Folder>,
    /// Its position is moved by whoever uses it.
    file: Mutex<File>,
}

impl Temporary {
    fn with(
        &self,
        action: &str,
        f: impl FnOnce(MutexGuard<'_, File>) -> std::io::Result<()>,
    ) -> Result<(), DqlError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        f(file).map_err(|e| failure(action, &self.folder.path, &e))
    }
}

impl SpillFile for Temporary {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DqlError> {
        self.with("write", |mut file| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(bytes)
        })
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), DqlError> {
        self.with("read", |mut file| {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(out)
        })
    }

    fn clear(&mut self) -> Result<(), DqlError> {
        self.with("truncate", |file| file.set_len(0))
    }
}

fn failure(action: &str, folder: &Path, e: &std::io::Error) -> DqlError {
    let message = format!("failed to {action} a temporary file in {}: {e}", folder.display());
    DqlError::new(ErrorKind::of_io(e), message)
}
