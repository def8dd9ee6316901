//! The files of a store, and what happens to them: a killed process, a power cut, a backup, a copy.
//!
//! In one process a store cannot be killed. Its files are read as they are at that moment, the store is closed, and the files
//! are put back into the same inodes, which is what a killed process leaves. A power cut also takes the end of the
//! write-ahead log, from a frame boundary on that is behind the last point at which the store forced it to disk.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::world::Broken;

const DB: &str = "store.db";
const WAL: &str = "store.db-wal";
const SHM: &str = "store.db-shm";
const SEAL: &str = "store.seal";

/// Sizes of the write-ahead log's format: its header, and what stands before each page.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The contents of the files of a store.
#[derive(Clone)]
pub(crate) struct Image {
    db: Vec<u8>,
    wal: Vec<u8>,
    /// What stands beside the database; a backup of the database leaves it out.
    seal: Vec<u8>,
}

/// The directory of one device.
pub(crate) struct Disk {
    directory: PathBuf,
    /// The files when the store had just been opened. That forces its log to disk, unless the store was closed cleanly: then
    /// the log is empty, and the first commit forces it.
    forced: Option<Image>,
}

fn failed(what: &str, e: &std::io::Error) -> Broken {
    format!("{what}: {e}")
}

impl Disk {
    pub(crate) fn new(root: &Path, name: &str) -> Result<Self, Broken> {
        let directory = root.join(name);
        fs::create_dir_all(&directory).map_err(|e| failed("directory", &e))?;
        Ok(Self { directory, forced: None })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The store was opened, and so everything up to here is on the disk.
    pub(crate) fn opened(&mut self) -> Result<(), Broken> {
        self.forced = Some(self.image()?);
        Ok(())
    }

    /// The files as they are.
    pub(crate) fn image(&self) -> Result<Image, Broken> {
        let read = |name: &str| match fs::read(self.directory.join(name)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|e| failed("read", &e)),
        };
        Ok(Image { db: read(DB)?, wal: read(WAL)?, seal: read(SEAL)? })
    }

    /// Puts contents into the files that are there, as if they had never been touched since.
    pub(crate) fn put_back(&self, image: &Image) -> Result<(), Broken> {
        for (name, bytes) in [(DB, &image.db), (WAL, &image.wal), (SEAL, &image.seal)] {
            let mut file = fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(self.directory.join(name));
            let written =
                file.as_mut().map_err(|e| std::io::Error::from(e.kind())).and_then(|f| f.write_all(bytes));
            written.map_err(|e| failed("write", &e))?;
        }
        self.forget_index()
    }

    /// Puts contents there as new files, as a restore or a copy does.
    pub(crate) fn replace(&self, image: &Image) -> Result<(), Broken> {
        for (name, bytes) in [(DB, &image.db), (WAL, &image.wal)] {
            let (fresh, place) = (self.directory.join("fresh"), self.directory.join(name));
            fs::write(&fresh, bytes).map_err(|e| failed("write", &e))?;
            fs::rename(&fresh, &place).map_err(|e| failed("rename", &e))?;
        }
        self.forget_index()
    }

    fn forget_index(&self) -> Result<(), Broken> {
        match fs::remove_file(self.directory.join(SHM)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &e)),
            _ => Ok(()),
        }
    }

    /// What a power cut leaves of `image`: of the frames that were not forced to disk the share `keep` of 1000. Says how many
    /// are lost.
    pub(crate) fn cut(&self, image: &Image, keep: u16) -> (Image, u64) {
        let Some(forced) = &self.forced else { return (image.clone(), 0) };
        let Some(frame) = frame_size(&image.wal) else { return (image.clone(), 0) };
        let same_log = forced.wal.get(..WAL_HEADER) == image.wal.get(..WAL_HEADER);
        let floor = match (same_log, forced.db == image.db) {
            (false, true) if forced.wal.len() <= WAL_HEADER => first_commit(&image.wal, frame),
            // Pages were moved, and whether the log began anew since is not known here.
            (false, false) if forced.wal.len() <= WAL_HEADER => image.wal.len(),
            (true, true) => forced.wal.len(),
            // Pages were moved into the file meanwhile, for which the log was forced; how far is not known here.
            (true, false) => image.wal.len(),
            (false, _) => WAL_HEADER,
        };
        let frames = |bytes: usize| bytes.saturating_sub(WAL_HEADER) / frame;
        let (first, all) = (frames(floor), frames(image.wal.len()));
        let kept = first + all.saturating_sub(first) * usize::from(keep) / 1000;
        let wal = image.wal[..(WAL_HEADER + kept * frame).min(image.wal.len())].to_vec();
        (Image { wal, ..image.clone() }, (all - kept) as u64)
    }
}

/// Where the first commit of a log ends: in the header of its last frame stands the size of the database.
fn first_commit(wal: &[u8], frame: usize) -> usize {
    let frames = wal.get(WAL_HEADER..).unwrap_or_default().chunks_exact(frame);
    let before = frames.clone().take_while(|f| f[4..8] == [0; 4]).count();
    WAL_HEADER + (before + 1).min(frames.len()) * frame
}

/// Bytes of one frame of a log, from its header.
fn frame_size(wal: &[u8]) -> Option<usize> {
    let page = wal.get(8..12)?;
    let page = u32::from_be_bytes([page[0], page[1], page[2], page[3]]) as usize;
    (512..=65_536).contains(&page).then_some(page + FRAME_HEADER)
}
