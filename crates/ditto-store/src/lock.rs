//! Exclusive use of a persistence directory: by processes and by instances inside one process.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::StoreError;

/// The file whose lock stands for the directory. It is never removed: removing it would let two processes lock two
/// different files of that name.
pub(crate) const LOCK_FILE: &str = "store.lock";

/// Directories open in this process. File locks alone do not do, because on some file systems they belong to the
/// process and not to the open file.
static OPEN_HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Holds a directory until dropped.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    directory: PathBuf,
    file: Option<File>,
}

impl DirectoryLock {
    /// Creates the directory when it is missing and takes it, or fails at once with [`StoreError::Locked`].
    pub(crate) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(|e| StoreError::io("create directory", directory, &e))?;
        let directory =
            directory.canonicalize().map_err(|e| StoreError::io("resolve directory", directory, &e))?;
        if !OPEN_HERE.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.clone()) {
            return Err(StoreError::Locked(directory));
        }
        // From here on the entry is removed by Drop, also when the file cannot be locked.
        let mut lock = DirectoryLock { directory, file: None };
        let path = lock.directory.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| StoreError::io("open lock file", &path, &e))?;
        match file.try_lock() {
            Ok(()) => {
                lock.file = Some(file);
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(lock.directory.clone())),
            Err(TryLockError::Error(e)) => Err(StoreError::io("lock file", &path, &e)),
        }
    }

    /// The canonical directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // The file lock goes first: whoever finds no entry in the registry must also find the file free.
        drop(self.file.take());
        OPEN_HERE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_fails_by_any_spelling_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(dir.path()).unwrap();
        let spelled = dir.path().join(".").join("x").join("..");
        std::fs::create_dir(dir.path().join("x")).unwrap();
        assert!(matches!(DirectoryLock::acquire(dir.path()), Err(StoreError::Locked(_))));
        assert!(matches!(DirectoryLock::acquire(&spelled), Err(StoreError::Locked(_))));
        drop(first);
        DirectoryLock::acquire(&spelled).unwrap();
    }

    #[test]
    fn a_lock_of_another_process_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        // An independent open file stands for the other process.
        let other = File::create(dir.path().join(LOCK_FILE)).unwrap();
        other.lock().unwrap();
        assert!(matches!(DirectoryLock::acquire(dir.path()), Err(StoreError::Locked(_))));
        drop(other);
        DirectoryLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_an_input_output_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, b"x").unwrap();
        assert!(matches!(DirectoryLock::acquire(&file), Err(StoreError::Io { .. })));
    }
}
