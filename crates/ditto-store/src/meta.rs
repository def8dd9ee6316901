//! Facts about the store itself: identity, site, commit counter, clock and how it was last closed.

use std::path::Path;
use std::time::UNIX_EPOCH;

use ditto_types::wire::{Reader, WireError};
use ditto_types::{DatabaseId, Hlc, HlcClock, SiteId};

use crate::StoreError;
use crate::driver::{Db, Param};
use crate::options::{Durability, RandomSource, StoreOptions};
use crate::{schema, seal};

const DATABASE: &str = "database";
const STORE_ID: &str = "store_id";
const EPOCH: &str = "epoch";
const SITE: &str = "site";
/// 1 after an EVICT: the next local write begins a new incarnation of the site (rule D3 of design 1.4).
const SITE_STALE: &str = "site_stale";
/// Commit counter and clock, the only row that changes with every commit.
const STATE: &str = "state";
const BOOT: &str = "boot";
const CLEAN: &str = "clean";
const DURABILITY: &str = "durability";
const GUARD: &str = "guard";
/// The number of [`seal`].
const SEAL: &str = "seal";

/// Names a store and the history of its sequence numbers to its peers (design 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Random, for the life of the store.
    pub store_id: [u8; 16],
    /// Renewed when the sequence may have gone backwards.
    pub epoch: [u8; 8],
}

/// What every commit carries forward. Copied at the start of a commit, so that a failed one can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// Sequence number of the newest commit.
    pub(crate) head: u64,
    /// Source of stamps.
    pub(crate) clock: HlcClock,
    /// Author of local writes.
    pub(crate) site: SiteId,
    /// Whether the next local write must begin a new incarnation.
    pub(crate) site_stale: bool,
    /// Set until the file says that it is in use: how durable commits are. The first commit carries the [`mark`].
    pub(crate) unmarked: Option<Durability>,
}

/// Reads the meta rows of a file that was just opened, or makes them. Writes nothing to a file that was closed cleanly.
///
/// That a store is in use must be on the disk before anything else is: if a power cut could lose it together with
/// commits, the store would look cleanly closed and reuse sequence numbers. So the first commit carries the [`mark`]
/// and waits for the disk whatever the durability; until then there is nothing to lose, and opening costs no write.
/// A file whose last owner was killed is marked at once: what it left may be in the log and not on the disk, the mark of
/// that owner included, and peers are told of it.
pub(crate) fn open(db: &Db, options: &StoreOptions) -> Result<(StoreIdentity, State), StoreError> {
    match get(db, DATABASE)? {
        None => {
            let made = durably(db, options.durability, || create(db, options))?;
            note_seal(db);
            Ok(made)
        }
        Some(found) => reopen(db, options, &found),
    }
}

/// Runs `f` in a transaction that has reached the disk on return.
fn durably<T>(
    db: &Db,
    durability: Durability,
    f: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    schema::set_durability(db, Durability::Full)?;
    db.batch("BEGIN IMMEDIATE")?;
    match f().and_then(|out| db.batch("COMMIT").map(|()| out)) {
        Ok(out) => {
            schema::set_durability(db, durability)?;
            Ok(out)
        }
        Err(e) => {
            if db.in_transaction() {
                db.batch("ROLLBACK")?;
            }
            Err(e)
        }
    }
}

/// Writes what changes with every commit.
pub(crate) fn save(db: &Db, state: &State) -> Result<(), StoreError> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&state.head.to_le_bytes());
    bytes[8..].copy_from_slice(&state.clock.last().0.to_le_bytes());
    put(db, STATE, &bytes)
}

/// Writes the site, after it or its staleness changed.
pub(crate) fn save_site(db: &Db, state: &State) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(20);
    state.site.encode(&mut bytes);
    put(db, SITE, &bytes)?;
    put(db, SITE_STALE, &[u8::from(state.site_stale)])
}

/// The database that the file belongs to; `None` before its first open was completed.
pub(crate) fn database(db: &Db) -> Result<Option<DatabaseId>, StoreError> {
    let Some(id) = get(db, DATABASE)? else { return Ok(None) };
    let id = <[u8; 16]>::try_from(id).map_err(|_| damaged(db, DATABASE, &WireError::Truncated(0)))?;
    Ok(Some(id.into()))
}

/// Newest sequence number in the snapshot that the connection sees.
pub(crate) fn head(db: &Db) -> Result<u64, StoreError> {
    Ok(state_row(db)?.0)
}

/// Newest stamp that the store has given out or merged, in the snapshot that the connection sees.
pub(crate) fn clock(db: &Db) -> Result<Hlc, StoreError> {
    Ok(state_row(db)?.1)
}

/// Marks the store as cleanly closed, on the disk. A store that was not written to since is so already.
pub(crate) fn close(db: &Db) -> Result<(), StoreError> {
    schema::set_durability(db, Durability::Full)?;
    if array::<1>(db, CLEAN)? == [1] {
        return Ok(());
    }
    durably(db, Durability::Full, || {
        put(db, CLEAN, &[1])?;
        advance_seal(db)
    })?;
    note_seal(db);
    Ok(())
}

/// The number of [`seal`] in the file.
fn seal_inside(db: &Db) -> Result<u64, StoreError> {
    match get(db, SEAL)? {
        Some(bytes) => {
            let bytes = bytes.try_into().map_err(|_| damaged(db, SEAL, &WireError::Truncated(0)))?;
            Ok(u64::from_le_bytes(bytes))
        }
        // A file of an earlier release.
        None => Ok(0),
    }
}

fn advance_seal(db: &Db) -> Result<(), StoreError> {
    let next = seal_inside(db)?.max(seal::beside(db.file())).saturating_add(1);
    put(db, SEAL, &next.to_le_bytes())
}

/// To be called after a commit with [`mark`].
pub(crate) fn note_seal(db: &Db) {
    match seal_inside(db) {
        Ok(number) => seal::note(db.file(), number),
        Err(e) => tracing::warn!(error = %e, "the number of the database cannot be read"),
    }
}

fn create(db: &Db, options: &StoreOptions) -> Result<(StoreIdentity, State), StoreError> {
    let identity = StoreIdentity { store_id: random(&*options.random), epoch: random(&*options.random) };
    let state = State {
        head: 0,
        clock: HlcClock::default(),
        site: SiteId { id: random(&*options.random), incarnation: 0 },
        site_stale: false,
        unmarked: None,
    };
    put(db, DATABASE, options.database.as_bytes())?;
    put(db, STORE_ID, &identity.store_id)?;
    put(db, EPOCH, &identity.epoch)?;
    save_site(db, &state)?;
    save(db, &state)?;
    mark(db, options.durability, &options.clock.boot_id())?;
    Ok((identity, state))
}

fn reopen(db: &Db, options: &StoreOptions, database: &[u8]) -> Result<(StoreIdentity, State), StoreError> {
    if database != options.database.as_bytes() {
        return Err(StoreError::OtherDatabase {
            directory: db.file().parent().unwrap_or(Path::new("")).to_path_buf(),
            found: <[u8; 16]>::try_from(database)
                .map_or_else(|_| "?".to_string(), |b| DatabaseId::from(b).to_string()),
            expected: options.database.to_string(),
        });
    }
    let mut identity = StoreIdentity { store_id: array(db, STORE_ID)?, epoch: array(db, EPOCH)? };
    let (head, last) = state_row(db)?;
    let site_bytes = required(db, SITE)?;
    let mut r = Reader::new(&site_bytes);
    let site =
        SiteId::decode(&mut r).and_then(|s| r.finish().map(|()| s)).map_err(|e| damaged(db, SITE, &e))?;
    let mut state = State {
        head,
        clock: HlcClock::new(last),
        site,
        site_stale: array::<1>(db, SITE_STALE)? != [0],
        unmarked: None,
    };
    let guard = guard(db.file());
    let kept = get(db, GUARD)?.unwrap_or_default();
    let is_copy = !guard.is_empty() && !kept.is_empty() && guard != kept;
    if is_copy || seal::beside(db.file()) > seal_inside(db)? {
        // The file is a copy, a twin of one that is still in use, or an older state of itself. Two stores must never share
        // an author or a history of sequence numbers.
        tracing::info!(file = %db.file().display(), "the database file was copied or taken back; it continues as a new store");
        identity = StoreIdentity { store_id: random(&*options.random), epoch: random(&*options.random) };
        state.site = SiteId { id: random(&*options.random), incarnation: 0 };
        state.site_stale = false;
    } else if array::<1>(db, CLEAN)? == [1] {
        state.unmarked = Some(options.durability);
        return Ok((identity, state));
    } else if sequence_may_have_gone_back(db, &options.clock.boot_id())? {
        tracing::info!("the machine stopped while the store was open; its epoch is renewed");
        // Commits may be lost that peers have: their times must not be given out again under the same name (rule D3).
        state.site_stale = true;
        identity.epoch = random(&*options.random);
    }
    durably(db, options.durability, || {
        put(db, STORE_ID, &identity.store_id)?;
        put(db, EPOCH, &identity.epoch)?;
        save_site(db, &state)?;
        mark(db, options.durability, &options.clock.boot_id())
    })?;
    note_seal(db);
    Ok((identity, state))
}

/// Whether commits that peers have heard of may be gone: the last owner did not close the store, its commits did not
/// wait for the disk, and the machine may have been down since.
fn sequence_may_have_gone_back(db: &Db, now: &[u8]) -> Result<bool, StoreError> {
    let clean = array::<1>(db, CLEAN)? == [1];
    let full = array::<1>(db, DURABILITY)? == [1];
    let boot = get(db, BOOT)?.unwrap_or_default();
    let same_boot = !boot.is_empty() && boot == now;
    Ok(!clean && !full && !same_boot)
}

/// Says in the file that it is in use, inside the transaction that is open; after its commit comes [`note_seal`]. `boot`: see
/// [`WallClock::boot_id`](crate::WallClock::boot_id).
pub(crate) fn mark(db: &Db, durability: Durability, boot: &[u8]) -> Result<(), StoreError> {
    put(db, CLEAN, &[0])?;
    put(db, DURABILITY, &[u8::from(durability == Durability::Full)])?;
    put(db, BOOT, boot)?;
    advance_seal(db)?;
    put(db, GUARD, &guard(db.file()))
}

/// Tells a file from its copies; empty where the file system does not say. The device number is left out, since it
/// is not stable over restarts of the machine.
fn guard(file: &Path) -> Vec<u8> {
    let Ok(meta) = std::fs::metadata(file) else { return Vec::new() };
    let mut out = inode(&meta);
    if let Some(born) = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()) {
        out.extend_from_slice(&born.as_nanos().to_le_bytes());
    }
    out
}

#[cfg(unix)]
fn inode(meta: &std::fs::Metadata) -> Vec<u8> {
    std::os::unix::fs::MetadataExt::ino(meta).to_le_bytes().to_vec()
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> Vec<u8> {
    Vec::new()
}

fn state_row(db: &Db) -> Result<(u64, Hlc), StoreError> {
    let bytes: [u8; 16] = array(db, STATE)?;
    let half = |i: usize| {
        let mut b = [0; 8];
        b.copy_from_slice(&bytes[i..i + 8]);
        u64::from_le_bytes(b)
    };
    Ok((half(0), Hlc(half(8))))
}

/// Value of a meta row.
pub(crate) fn get(db: &Db, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    db.query_one("SELECT value FROM meta WHERE key = ?1", &[Param::Text(key)], |r| Ok(r.blob(0)?.to_vec()))
}

fn required(db: &Db, key: &str) -> Result<Vec<u8>, StoreError> {
    get(db, key)?.ok_or_else(|| damaged(db, key, &"missing"))
}

fn array<const N: usize>(db: &Db, key: &str) -> Result<[u8; N], StoreError> {
    required(db, key)?.try_into().map_err(|_| damaged(db, key, &WireError::Truncated(0)))
}

/// Writes a row. Nearly always it is there already.
pub(crate) fn put(db: &Db, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let params = [Param::Text(key), Param::Blob(value)];
    if db.exec("UPDATE meta SET value = ?2 WHERE key = ?1", &params)? == 0 {
        db.exec("INSERT INTO meta(key, value) VALUES(?1, ?2)", &params)?;
    }
    Ok(())
}

fn damaged(db: &Db, key: &str, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { file: db.file().to_path_buf(), detail: format!("meta row {key}: {why}") }
}

fn random<const N: usize>(source: &dyn RandomSource) -> [u8; N] {
    let mut out = [0; N];
    source.fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{DB_FILE, open_file};
    use ditto_types::DatabaseId;

    const DB: &str = "07070707-0707-0707-0707-070707070707";

    fn options(dir: &Path, durability: Durability) -> StoreOptions {
        StoreOptions { durability, ..StoreOptions::new(dir, DB.parse().unwrap()) }
    }

    fn open_in(dir: &Path, durability: Durability) -> (Db, StoreIdentity, State) {
        let db = open_file(&dir.join(DB_FILE), durability).unwrap();
        let (identity, state) = open(&db, &options(dir, durability)).unwrap();
        (db, identity, state)
    }

    /// As after the first commit.
    fn open_and_commit(dir: &Path, durability: Durability) -> (Db, StoreIdentity, State) {
        let (db, identity, state) = open_in(dir, durability);
        if let Some(durability) = state.unmarked {
            mark(&db, durability, &options(dir, durability).clock.boot_id()).unwrap();
        }
        (db, identity, state)
    }

    #[test]
    fn epoch_changes_only_when_commits_may_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (db, first, _) = open_and_commit(dir.path(), Durability::Normal);
        drop(db);
        // A killed process on a machine that stayed up lost nothing.
        let (db, second, kept) = open_and_commit(dir.path(), Durability::Normal);
        if cfg!(target_os = "linux") {
            assert_eq!(second, first);
            assert!(!kept.site_stale);
        }
        put(&db, BOOT, b"another boot").unwrap();
        drop(db);
        let (db, third, renewed) = open_and_commit(dir.path(), Durability::Normal);
        assert_eq!(third.store_id, second.store_id);
        assert_ne!(third.epoch, second.epoch);
        assert!(renewed.site_stale, "lost commits must not have their stamps given out again");
        // Closed cleanly, a restart of the machine is harmless.
        close(&db).unwrap();
        put(&db, BOOT, b"another boot").unwrap();
        drop(db);
        let (db, fourth, _) = open_and_commit(dir.path(), Durability::Full);
        assert_eq!(fourth, third);
        // And so is a crash when every commit waited for the disk.
        put(&db, BOOT, b"another boot").unwrap();
        drop(db);
        let (_, fifth, _) = open_and_commit(dir.path(), Durability::Normal);
        assert_eq!(fifth, fourth);
    }

    #[test]
    fn only_a_cleanly_closed_file_is_marked_later() {
        let dir = tempfile::tempdir().unwrap();
        let (db, first, state) = open_in(dir.path(), Durability::Normal);
        assert_eq!(state.unmarked, None, "a new file is marked at once");
        close(&db).unwrap();
        drop(db);
        // Closed cleanly, opened, and then the machine stops before anything was written.
        let (db, _, state) = open_in(dir.path(), Durability::Normal);
        assert_eq!(state.unmarked, Some(Durability::Normal));
        assert_eq!(array::<1>(&db, CLEAN).unwrap(), [1]);
        put(&db, BOOT, b"another boot").unwrap();
        drop(db);
        let (db, second, _) = open_and_commit(dir.path(), Durability::Normal);
        assert_eq!(second, first);
        drop(db);
        // Killed: what there is may not have reached the disk, so it is marked again at once.
        let (db, _, state) = open_in(dir.path(), Durability::Full);
        assert_eq!(state.unmarked, None);
        assert_eq!((array(&db, CLEAN).unwrap(), array(&db, DURABILITY).unwrap()), ([0], [1]));
        close(&db).unwrap();
        assert_eq!(array::<1>(&db, CLEAN).unwrap(), [1]);
    }

    #[test]
    fn state_and_site_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (db, _, mut state) = open_in(dir.path(), Durability::Normal);
        state.head = 9;
        state.clock.see(Hlc(77));
        state.site.incarnation = 3;
        state.site_stale = true;
        save(&db, &state).unwrap();
        save_site(&db, &state).unwrap();
        assert_eq!(head(&db).unwrap(), 9);
        drop(db);
        let (_, _, again) = open_in(dir.path(), Durability::Normal);
        assert_eq!((again.head, again.clock.last(), again.site), (9, Hlc(77), state.site));
        assert!(again.site_stale);
    }

    #[cfg(unix)]
    #[test]
    fn a_copied_file_becomes_another_store() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (db, first, state) = open_in(a.path(), Durability::Full);
        close(&db).unwrap();
        drop(db);
        std::fs::copy(a.path().join(DB_FILE), b.path().join(DB_FILE)).unwrap();
        let (_, copy, copy_state) = open_in(b.path(), Durability::Full);
        assert_ne!(copy.store_id, first.store_id);
        assert_ne!(copy_state.site.id, state.site.id);
        let (_, original, original_state) = open_in(a.path(), Durability::Full);
        assert_eq!(original, first);
        assert_eq!(original_state.site, state.site);
    }

    /// Opens, writes and closes as a process does.
    fn session(dir: &Path, seq: u64) -> (StoreIdentity, SiteId) {
        let (db, identity, mut state) = open_in(dir, Durability::Full);
        state.head = seq;
        if state.unmarked.is_some() {
            mark(&db, Durability::Full, b"boot").unwrap();
            note_seal(&db);
        }
        save(&db, &state).unwrap();
        close(&db).unwrap();
        (identity, state.site)
    }

    #[test]
    fn an_older_state_in_the_same_file_becomes_another_store() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(DB_FILE);
        let (first, site) = session(dir.path(), 5);
        let backup = std::fs::read(&file).unwrap();
        assert_eq!(session(dir.path(), 9), (first, site), "sessions do not change who it is");
        let newest = std::fs::read(&file).unwrap();
        // Written into the file that is there: its inode and birth stay.
        std::fs::write(&file, &backup).unwrap();
        let (restored, other_site) = session(dir.path(), 6);
        assert_ne!(restored.store_id, first.store_id);
        assert_ne!(restored.epoch, first.epoch);
        assert_ne!(other_site.id, site.id);
        assert_eq!(session(dir.path(), 7).0, restored, "once is enough");
        // What it was before is older than what it is now.
        std::fs::write(&file, &newest).unwrap();
        assert_ne!(session(dir.path(), 10).0, first);
    }

    #[test]
    fn a_lost_note_beside_the_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = session(dir.path(), 5);
        let seal = dir.path().join("store.seal");
        let old = std::fs::read(&seal).unwrap();
        session(dir.path(), 6);
        for state in [&old[..], b"", b"far more than eight bytes"] {
            std::fs::write(&seal, state).unwrap();
            assert_eq!(session(dir.path(), 7).0, first);
        }
        std::fs::remove_file(&seal).unwrap();
        assert_eq!(session(dir.path(), 8).0, first);
        // A process that was killed between its commit and the note.
        let (db, _, mut state) = open_in(dir.path(), Durability::Full);
        assert!(state.unmarked.take().is_some());
        mark(&db, Durability::Full, b"boot").unwrap();
        drop(db);
        assert_eq!(open_in(dir.path(), Durability::Full).1, first);
    }

    #[test]
    fn another_database_id_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (db, first, _) = open_in(dir.path(), Durability::Normal);
        close(&db).unwrap();
        let other = StoreOptions::new(dir.path(), DatabaseId::DEFAULT);
        assert!(matches!(open(&db, &other), Err(StoreError::OtherDatabase { .. })));
        assert_eq!(array::<1>(&db, CLEAN).unwrap(), [1]);
        drop(db);
        assert_eq!(open_in(dir.path(), Durability::Normal).1, first);
    }
}
