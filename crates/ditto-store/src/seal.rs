//! Tells a store whose file was taken back in place: an old state written into the file that is there.
//!
//! A copy is another file, which its inode tells. A backup that is written into the old file leaves the inode. So a number that
//! grows whenever the file is marked as in use or as closed stands in the file and, after that commit, in a small file beside it. If the
//! number beside is ahead of the one inside, the database has gone back.
//!
//! Not noticed: a folder that was taken back as a whole and in place, and a backup of an open store that is taken back after its process was
//! killed in the same session.

use std::path::{Path, PathBuf};

/// Name of the file beside the database.
const FILE: &str = "store.seal";

fn path(database: &Path) -> PathBuf {
    database.with_file_name(FILE)
}

/// The number beside the database; 0 where there is none that can be read.
pub(crate) fn beside(database: &Path) -> u64 {
    let bytes = std::fs::read(path(database)).ok();
    bytes.and_then(|b| <[u8; 8]>::try_from(b).ok()).map_or(0, u64::from_le_bytes)
}

/// Notes the number that is now in the database. Where that fails the next taking back goes unnoticed, and nothing else.
pub(crate) fn note(database: &Path, number: u64) {
    let (fresh, place) = (path(database).with_extension("seal-new"), path(database));
    let written = std::fs::write(&fresh, number.to_le_bytes()).and_then(|()| std::fs::rename(&fresh, &place));
    if let Err(e) = written {
        tracing::warn!(file = %place.display(), error = %e, "the number beside the database cannot be written");
    }
}
