//! Tables, pragmas and format version of the database file, and how the file is created and recognised.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::StoreError;
use crate::counts;
use crate::driver::{Db, Mode};
use crate::options::Durability;

/// Name of the database file inside the directory.
pub(crate) const DB_FILE: &str = "store.db";

/// "dtto" in the file header: tells our files from other SQLite files.
const APPLICATION_ID: u32 = 0x6474_746f;

/// Version of tables and encodings. A file with a higher one is refused, one with a lower one is upgraded at open.
pub(crate) const FORMAT: u32 = 4;

/// The oldest version that is upgraded.
const OLDEST: u32 = 1;

/// Bits that a collection's ordinal is shifted by in a row id, so that the rows of a collection are neighbours and a
/// scan of one collection is a range of the table.
pub(crate) const RID_SHIFT: u32 = 40;

/// Bit of `docs.flags`: the document is deleted.
pub(crate) const FLAG_DEAD: i64 = 1;

/// Pragmas of every connection, in order. The first column is the name, then the value and why.
const PRAGMAS: &[(&str, &str, &str)] = &[
    ("temp_store", "MEMORY", "Android has no usable directory for temporary files"),
    ("foreign_keys", "OFF", "rows refer to dictionaries that are only ever appended to"),
    ("trusted_schema", "OFF", "a damaged schema must not run functions"),
    ("cell_size_check", "ON", "a damaged page is found when it is read"),
    ("mmap_size", "0", "a read error must be an error code and not a signal"),
];

/// Further pragmas of the one writing connection.
const WRITER_PRAGMAS: &[(&str, &str, &str)] = &[
    ("journal_mode", "WAL", "readers see a snapshot while the writer commits"),
    ("cache_size", "-8192", "8 MiB"),
    ("journal_size_limit", "67108864", "the log shrinks to 64 MiB after a peak"),
];

/// Pages of the log at which they move into the file, see [`size_log`]: 16 and 64 MiB.
const LOG_PAGES: (i64, i64) = (4_000, 16_000);

/// Further pragmas of the reading connection that is used before the others.
const FIRST_READER_PRAGMAS: &[(&str, &str, &str)] =
    &[("cache_size", "-8192", "8 MiB, as the writer: the pages of a query that comes again are there")];

/// Further pragmas of the other reading connections.
const READER_PRAGMAS: &[(&str, &str, &str)] = &[(
    "cache_size",
    "-512",
    "the inner pages of the tables; leaves come from the cache of the operating system",
)];

/// Tables of format 1; those of the later formats go on from there, also in a new file, so that an upgraded file is like
/// any other. Documents are found by `khash` and then compared by `id`: an index on the ids would be the largest of all
/// (ADR 0005). `seq`: commit counter of the last change. `khash`: key hash with its top bit flipped, so that the order of
/// integers is the order of hashes. `src`: ordinal of the peer the last change came from, 0 for local.
/// `cursor.coll`: collection of the query; an EVICT there deletes the cursor.
const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE coll(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE field(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE site(id INTEGER PRIMARY KEY, site BLOB NOT NULL UNIQUE);
CREATE TABLE peer(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
CREATE TABLE docs(
  rid INTEGER PRIMARY KEY,
  coll INTEGER NOT NULL,
  id BLOB NOT NULL,
  khash INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  digest BLOB NOT NULL,
  src INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX docs_seq ON docs(coll, seq);
CREATE INDEX docs_khash ON docs(coll, khash);
CREATE TABLE cursor(
  store_id BLOB NOT NULL,
  epoch BLOB NOT NULL,
  query_hash BLOB NOT NULL,
  perm_hash BLOB NOT NULL,
  coll INTEGER NOT NULL,
  token INTEGER NOT NULL,
  own_seq INTEGER NOT NULL,
  PRIMARY KEY(store_id, epoch, query_hash, perm_hash)
) WITHOUT ROWID;
CREATE TABLE grave(
  coll INTEGER NOT NULL,
  khash INTEGER NOT NULL,
  hlc INTEGER NOT NULL,
  site INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY(coll, khash)
) WITHOUT ROWID;
";

/// What format 2 added, and the gravestones that no release with format 1 ever wrote. Each index has a table of its own
/// besides, see [`index_table`]. `idx.def`: the keys; `idx.state`: 0 while the index is being built, 1 when every
/// document is in it. `grave.at`: unix milliseconds of the deletion; `grave.body`: what is left of the document, as in
/// `docs` (ADR 0011).
const TABLES_2: &str = "
CREATE TABLE idx(
  id INTEGER PRIMARY KEY,
  coll INTEGER NOT NULL,
  name TEXT NOT NULL,
  def BLOB NOT NULL,
  state INTEGER NOT NULL,
  UNIQUE(coll, name)
);
DROP TABLE grave;
CREATE TABLE grave(
  coll INTEGER NOT NULL,
  khash INTEGER NOT NULL,
  id BLOB NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY(coll, khash)
) WITHOUT ROWID;
CREATE INDEX grave_seq ON grave(coll, seq);
CREATE INDEX docs_dead ON docs(rid) WHERE flags & 1;
";

/// What format 3 changed (ADR 0014). `docs.born`: commit that made the row, 0 in a row that is older than this column.
/// Within a collection it grows with the row id, so that `docs_seq` needs only the documents that were changed since.
/// `key`: where the document with a key hash is. `key.twin`: 0, or a number that tells apart documents whose ids have the
/// same hash.
const TABLES_3: &str = "
ALTER TABLE docs ADD COLUMN born INTEGER NOT NULL DEFAULT 0;
CREATE TABLE key(
  coll INTEGER NOT NULL,
  khash INTEGER NOT NULL,
  twin INTEGER NOT NULL,
  rid INTEGER NOT NULL,
  PRIMARY KEY(coll, khash, twin)
) WITHOUT ROWID;
INSERT INTO key(coll, khash, twin, rid)
  SELECT coll, khash, row_number() OVER (PARTITION BY coll, khash ORDER BY rid) - 1, rid FROM docs;
DROP INDEX docs_khash;
DROP INDEX docs_seq;
CREATE INDEX docs_seq ON docs(coll, seq) WHERE seq <> born;
";

/// What format 4 added (ADR 0028). `idx.kinds`: kinds of values on the paths of the keys, one byte for each name; NULL for
/// an index of an older format, of which they are not known.
const TABLES_4: &str = "ALTER TABLE idx ADD COLUMN kinds BLOB;";

/// A SELECT of columns of `docs` for one document: its collection, key hash and id are the parameters.
macro_rules! by_id {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM key CROSS JOIN docs USING (rid) WHERE key.coll = ?1 AND key.khash = ?2 AND docs.id = ?3"
        )
    };
}
pub(crate) use by_id;

/// Name of the table of an index: its entries, each the key of a document and the row id of the document.
pub(crate) fn index_table(id: u32) -> String {
    format!("idx_{id}")
}

/// The statement that makes the table of an index.
pub(crate) fn create_index_table(id: u32) -> String {
    let table = index_table(id);
    format!(
        "CREATE TABLE {table}(key BLOB NOT NULL, rid INTEGER NOT NULL, PRIMARY KEY(key, rid)) WITHOUT ROWID"
    )
}

/// Opens the file for writing; creates it, with its tables but without any meta rows, when there is none.
///
/// A file that is no database of ours is refused before anything is written.
pub(crate) fn open_file(file: &Path, durability: Durability) -> Result<Db, StoreError> {
    let db = match recognise(file)? {
        Found::Nothing => create(file)?,
        Found::Ours => Db::open(file, Mode::Write)?,
        // Only the engine can tell what a half-written file was before its journal is rolled back.
        Found::Journaled => {
            let db = Db::open(file, Mode::Write)?;
            match (db.int_pragma("application_id")?, db.int_pragma("schema_version")?) {
                (0, 0) => create(file)?,
                (id, _) if id == i64::from(APPLICATION_ID) => db,
                (id, _) => return Err(foreign(file, id)),
            }
        }
    };
    let version = db.int_pragma("user_version")?;
    let found = u32::try_from(version).unwrap_or(u32::MAX);
    if !(OLDEST..=FORMAT).contains(&found) {
        return Err(StoreError::Version { file: file.to_path_buf(), found, supported: FORMAT });
    }
    apply_pragmas(&db, WRITER_PRAGMAS)?;
    if found < FORMAT {
        upgrade(&db, found)?;
    }
    size_log(&db)?;
    set_durability(&db, durability)?;
    Ok(db)
}

/// Opens the file for reading alone, whatever its version; `None` when there is nothing in it.
pub(crate) fn peek(file: &Path) -> Result<Option<Db>, StoreError> {
    match recognise(file)? {
        Found::Ours => Db::open(file, Mode::Read).map(Some),
        Found::Nothing | Found::Journaled => Ok(None),
    }
}

/// Opens the file for reading beside the writer; `first` for the connection that is used before all others.
pub(crate) fn open_reader(file: &Path, first: bool) -> Result<Db, StoreError> {
    let db = Db::open(file, Mode::Read)?;
    apply_pragmas(&db, if first { FIRST_READER_PRAGMAS } else { READER_PRAGMAS })?;
    Ok(db)
}

/// Sets how long the log may grow before its pages move into the file: to as many pages as the file has, within bounds.
///
/// A large file has its keys and index entries on many pages, nearly all of which every bulk write changes. The longer
/// the log, the more of these changes move at once. A small file must not have a large log beside it.
pub(crate) fn size_log(db: &Db) -> Result<(), StoreError> {
    let (least, most) = LOG_PAGES;
    let pages = db.int_pragma("page_count")?.clamp(least, most);
    db.set_pragma("wal_autocheckpoint", &pages.to_string())
}

/// Sets what a commit waits for.
pub(crate) fn set_durability(db: &Db, durability: Durability) -> Result<(), StoreError> {
    db.set_pragma(
        "synchronous",
        match durability {
            Durability::Normal => "NORMAL",
            Durability::Full => "FULL",
        },
    )
}

fn apply_pragmas(db: &Db, more: &[(&str, &str, &str)]) -> Result<(), StoreError> {
    PRAGMAS.iter().chain(more).try_for_each(|(name, value, _)| db.set_pragma(name, value))
}

fn create(file: &Path) -> Result<Db, StoreError> {
    let db = Db::open(file, Mode::Create)?;
    db.set_pragma("page_size", "4096")?;
    // One transaction under the rollback journal: a crash leaves an empty file or a complete one, and the main
    // file's header carries our id from the start, whatever the log holds.
    db.set_pragma("journal_mode", "DELETE")?;
    db.set_pragma("synchronous", "FULL")?;
    let sql = format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {TABLES} {TABLES_2} {TABLES_3} {TABLES_4} COMMIT;"
    );
    if let Err(e) = db.batch(&sql) {
        if db.in_transaction() {
            db.batch("ROLLBACK")?;
        }
        return Err(e);
    }
    Ok(db)
}

/// Brings a file of an older format to the present one, in one transaction that has reached the disk on return. A
/// crash leaves the old format.
fn upgrade(db: &Db, from: u32) -> Result<(), StoreError> {
    set_durability(db, Durability::Full)?;
    db.batch("BEGIN IMMEDIATE")?;
    let step = || {
        if from < 2 {
            db.batch(TABLES_2)?;
            counts::recompute(db)?;
        }
        if from < 3 {
            db.batch(TABLES_3)?;
        }
        db.batch(TABLES_4)?;
        db.set_pragma("user_version", &FORMAT.to_string())?;
        db.batch("COMMIT")
    };
    match step() {
        Ok(()) => {
            tracing::info!(file = %db.file().display(), from, to = FORMAT, "the database file was upgraded");
            Ok(())
        }
        Err(e) => {
            if db.in_transaction() {
                db.batch("ROLLBACK")?;
            }
            Err(e)
        }
    }
}

enum Found {
    Nothing,
    Ours,
    Journaled,
}

/// Looks at the raw header, so that the engine never touches a file that is not ours.
fn recognise(file: &Path) -> Result<Found, StoreError> {
    let mut header = [0u8; 100];
    let len = match File::open(file) {
        Ok(mut f) => {
            let len = f.metadata().map_err(|e| StoreError::io("read", file, &e))?.len();
            if len >= 100 {
                f.read_exact(&mut header).map_err(|e| StoreError::io("read", file, &e))?;
            }
            len
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(StoreError::io("read", file, &e)),
    };
    let corrupt =
        |detail: &str| Err(StoreError::Corrupt { file: file.to_path_buf(), detail: detail.to_string() });
    if sibling_has_bytes(file, "-journal") {
        return Ok(Found::Journaled);
    }
    if len == 0 {
        // The engine would throw the log of a vanished file away, and with it the only copy of the data.
        return if sibling_has_bytes(file, "-wal") {
            corrupt("the file is missing or empty but its write-ahead log is not")
        } else {
            Ok(Found::Nothing)
        };
    }
    if len < 100 {
        return corrupt("the file is too short for a database");
    }
    if &header[..16] != b"SQLite format 3\0" {
        return corrupt("it is not a database file");
    }
    let at = |i: usize| u32::from_be_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let (version, id) = (at(60), at(68));
    if id != APPLICATION_ID {
        return Err(foreign(file, id.into()));
    }
    if version > FORMAT {
        return Err(StoreError::Version { file: file.to_path_buf(), found: version, supported: FORMAT });
    }
    Ok(Found::Ours)
}

fn foreign(file: &Path, id: i64) -> StoreError {
    StoreError::Corrupt {
        file: file.to_path_buf(),
        detail: format!("it is a database of another application (application id {id:#x})"),
    }
}

fn sibling_has_bytes(file: &Path, suffix: &str) -> bool {
    let mut name = file.as_os_str().to_os_string();
    name.push(suffix);
    std::fs::metadata(name).is_ok_and(|m| m.len() > 0)
}

/// A key hash as the integer column that sorts like it.
pub(crate) fn khash_to_sql(key: ditto_types::KeyHash) -> i64 {
    (key.0 ^ (1 << 63)) as i64
}

/// Inverse of [`khash_to_sql`].
pub(crate) fn khash_from_sql(v: i64) -> ditto_types::KeyHash {
    ditto_types::KeyHash(v as u64 ^ (1 << 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_types::KeyHash;

    #[test]
    fn key_hashes_sort_as_unsigned() {
        let mut hashes = [0, 1, i64::MAX as u64, 1 << 63, u64::MAX];
        hashes.sort_unstable();
        let sql: Vec<i64> = hashes.iter().map(|h| khash_to_sql(KeyHash(*h))).collect();
        assert!(sql.is_sorted());
        for h in hashes {
            assert_eq!(khash_from_sql(khash_to_sql(KeyHash(h))), KeyHash(h));
        }
    }

    #[test]
    fn files_that_are_not_ours_are_refused_and_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(DB_FILE);
        for content in [vec![b'x'; 50], vec![b'x'; 5000], b"SQLite format 3\0".repeat(20)] {
            std::fs::write(&file, &content).unwrap();
            match open_file(&file, Durability::Normal) {
                Err(StoreError::Corrupt { file: f, .. }) => assert_eq!(f, file),
                other => panic!("{:?}", other.map(|_| ())),
            }
            assert_eq!(std::fs::read(&file).unwrap(), content);
        }
    }

    #[test]
    fn an_orphaned_log_is_not_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(DB_FILE);
        let wal = dir.path().join(format!("{DB_FILE}-wal"));
        std::fs::write(&wal, b"the only copy").unwrap();
        assert!(matches!(open_file(&file, Durability::Normal), Err(StoreError::Corrupt { .. })));
        assert_eq!(std::fs::read(&wal).unwrap(), b"the only copy");
        assert!(!file.exists());
    }

    #[test]
    fn newer_formats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(DB_FILE);
        let db = open_file(&file, Durability::Normal).unwrap();
        db.set_pragma("user_version", "99").unwrap();
        // Once while the new version is only in the log, once when it is in the file.
        let found = |r: Result<Db, StoreError>| match r {
            Err(StoreError::Version { found, supported, .. }) => (found, supported),
            other => panic!("{:?}", other.map(|_| ())),
        };
        assert_eq!(found(open_file(&file, Durability::Normal)), (99, FORMAT));
        drop(db);
        assert_eq!(found(open_file(&file, Durability::Normal)), (99, FORMAT));
    }
}
