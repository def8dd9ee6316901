//! The one module that knows the storage engine's binding. Everything else speaks SQL through [`Db`].
//!
//! The binding is the libSQL project's synchronous one: its async wrapper costs 1.9 times as much on scans and has
//! no statement cache.

mod blocks;
mod groups;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql, ffi};

use crate::StoreError;

pub(crate) use blocks::{Keep, NO_DOCUMENT, Stored};
pub(crate) use groups::{GROUP, GroupInsert};

/// How long a connection waits for a lock. Only recovery after a crash and checkpoints ever make it wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Locks between the connections of the store, which holds its directory alone, are kept in memory: no call of the system for
/// a read (ADR 0037). Other systems than these have one way only.
#[cfg(unix)]
const VFS: &str = "unix-excl";

/// Prepared statements kept per connection.
const STATEMENT_CACHE: usize = 128;

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Param<'a> {
    Int(i64),
    Blob(&'a [u8]),
    Text(&'a str),
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Param::Int(i) => ValueRef::Integer(*i),
            Param::Blob(b) => ValueRef::Blob(b),
            Param::Text(s) => ValueRef::Text(s.as_bytes()),
        }))
    }
}

/// A row while the statement stands on it.
pub(crate) struct SqlRow<'a> {
    row: &'a rusqlite::Row<'a>,
    file: &'a Path,
}

impl SqlRow<'_> {
    /// Integer column `i`.
    pub(crate) fn int(&self, i: usize) -> Result<i64, StoreError> {
        match self.row.get_ref(i) {
            Ok(ValueRef::Integer(v)) => Ok(v),
            _ => Err(self.wrong(i, "an integer")),
        }
    }

    /// Non-negative integer column `i`.
    pub(crate) fn uint(&self, i: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(i)?).map_err(|_| self.wrong(i, "a non-negative integer"))
    }

    /// Dictionary ordinal in column `i`.
    pub(crate) fn ordinal(&self, i: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(i)?).map_err(|_| self.wrong(i, "an ordinal"))
    }

    /// Blob column `i`, in place.
    pub(crate) fn blob(&self, i: usize) -> Result<&[u8], StoreError> {
        match self.row.get_ref(i) {
            Ok(ValueRef::Blob(b)) => Ok(b),
            _ => Err(self.wrong(i, "a blob")),
        }
    }

    /// Blob column `i` of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&self, i: usize) -> Result<[u8; N], StoreError> {
        self.blob(i)?.try_into().map_err(|_| self.wrong(i, "a blob of the right length"))
    }

    /// Text column `i`.
    pub(crate) fn text(&self, i: usize) -> Result<&str, StoreError> {
        match self.row.get_ref(i) {
            Ok(ValueRef::Text(t)) => std::str::from_utf8(t).map_err(|_| self.wrong(i, "UTF-8 text")),
            _ => Err(self.wrong(i, "text")),
        }
    }

    /// Whether column `i` is NULL.
    pub(crate) fn is_null(&self, i: usize) -> bool {
        matches!(self.row.get_ref(i), Ok(ValueRef::Null))
    }

    fn wrong(&self, i: usize, expected: &str) -> StoreError {
        let name = self.row.as_ref().column_name(i).map_or_else(|_| format!("{i}"), ToString::to_string);
        wrong(self.file, &name, expected)
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Creates the file when it is missing.
    Create,
    /// Reads and writes an existing file.
    Write,
    /// Reads an existing file.
    Read,
}

/// A connection to a database file.
pub(crate) struct Db {
    conn: Connection,
    file: PathBuf,
}

impl Db {
    /// Opens a file.
    pub(crate) fn open(file: &Path, mode: Mode) -> Result<Self, StoreError> {
        // A reader opens for writing too, since the shared-memory index of the WAL may have to be created; it is
        // kept from writing by a pragma.
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if mode == Mode::Create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        #[cfg(unix)]
        let opened = Connection::open_with_flags_and_vfs(file, flags, VFS);
        #[cfg(not(unix))]
        let opened = Connection::open_with_flags(file, flags);
        let conn = opened.map_err(|e| map_error(file, &e))?;
        blocks::register(&conn).map_err(|e| map_error(file, &e))?;
        let db = Db { conn, file: file.to_path_buf() };
        db.wrap(db.conn.busy_timeout(BUSY_TIMEOUT))?;
        db.conn.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        if mode == Mode::Read {
            db.batch("PRAGMA query_only = ON")?;
        }
        Ok(db)
    }

    /// The database file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether a transaction is open. The engine ends it by itself on some errors, as when the disk is full.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.conn.is_autocommit()
    }

    /// Runs statements without parameters and ignores their rows.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.wrap(self.conn.execute_batch(sql))
    }

    /// Runs one statement and returns the number of rows changed. The compiled statement is cached.
    pub(crate) fn exec(&self, sql: &str, params: &[Param<'_>]) -> Result<usize, StoreError> {
        let mut statement = self.wrap(self.conn.prepare_cached(sql))?;
        self.wrap(statement.execute(rusqlite::params_from_iter(params)))
    }

    /// Calls `f` for each row until it returns `false`. The compiled statement is cached.
    pub(crate) fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
        mut f: impl FnMut(&SqlRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.wrap(self.conn.prepare_cached(sql))?;
        let mut rows = self.wrap(statement.query(rusqlite::params_from_iter(params)))?;
        while let Some(row) = self.wrap(rows.next())? {
            if !f(&SqlRow { row, file: &self.file })? {
                break;
            }
        }
        Ok(())
    }

    /// The first row, mapped by `f`.
    pub(crate) fn query_one<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        f: impl FnOnce(&SqlRow<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.wrap(self.conn.prepare_cached(sql))?;
        let mut rows = self.wrap(statement.query(rusqlite::params_from_iter(params)))?;
        match self.wrap(rows.next())? {
            Some(row) => f(&SqlRow { row, file: &self.file }).map(Some),
            None => Ok(None),
        }
    }

    /// A statement to be run many times. It comes from the cache and goes back when it is dropped.
    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement<'_>, StoreError> {
        Ok(Statement { statement: self.wrap(self.conn.prepare_cached(sql))?, file: &self.file })
    }

    /// Sets a pragma; whatever it answers is ignored.
    pub(crate) fn set_pragma(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.batch(&format!("PRAGMA {name} = {value}"))
    }

    /// Reads a pragma that answers with one integer.
    pub(crate) fn int_pragma(&self, name: &str) -> Result<i64, StoreError> {
        let sql = format!("PRAGMA {name}");
        self.wrap(self.conn.query_row(&sql, (), |r| r.get(0)))
    }

    /// Rows of text that a pragma answers with.
    pub(crate) fn text_pragma(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let mut statement = self.wrap(self.conn.prepare(&format!("PRAGMA {name}")))?;
        let rows = self.wrap(statement.query_map((), |r| r.get::<_, String>(0)))?;
        rows.map(|r| self.wrap(r)).collect()
    }

    /// An entry of an index that is not one of a living document.
    pub(crate) fn wrong_entry(&self, rid: i64, what: &str) -> StoreError {
        let detail = format!("an index has an entry for {what} (row {rid})");
        StoreError::Corrupt { file: self.file.clone(), detail }
    }

    fn wrong(&self, column: &str, expected: &str) -> StoreError {
        wrong(&self.file, column, expected)
    }

    fn wrap<T>(&self, r: rusqlite::Result<T>) -> Result<T, StoreError> {
        r.map_err(|e| map_error(&self.file, &e))
    }
}

fn wrong(file: &Path, column: &str, expected: &str) -> StoreError {
    StoreError::Corrupt {
        file: file.to_path_buf(),
        detail: format!("column {column} does not hold {expected}"),
    }
}

/// A compiled statement.
pub(crate) struct Statement<'a> {
    statement: CachedStatement<'a>,
    file: &'a Path,
}

impl Statement<'_> {
    /// Begins to read its rows.
    pub(crate) fn rows(&mut self, params: &[Param<'_>]) -> Result<Rows<'_>, StoreError> {
        let file = self.file;
        let rows = self.statement.query(rusqlite::params_from_iter(params));
        Ok(Rows { rows: rows.map_err(|e| map_error(file, &e))?, file })
    }

    /// Runs it and returns the number of rows changed.
    pub(crate) fn exec<'p>(
        &mut self,
        params: impl Iterator<Item = &'p Param<'p>>,
    ) -> Result<usize, StoreError> {
        self.statement.execute(rusqlite::params_from_iter(params)).map_err(|e| map_error(self.file, &e))
    }
}

/// Rows that are read one by one.
pub(crate) struct Rows<'s> {
    rows: rusqlite::Rows<'s>,
    file: &'s Path,
}

impl Rows<'_> {
    /// The next row; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<SqlRow<'_>>, StoreError> {
        let row = self.rows.next().map_err(|e| map_error(self.file, &e))?;
        Ok(row.map(|row| SqlRow { row, file: self.file }))
    }
}

fn map_error(file: &Path, e: &rusqlite::Error) -> StoreError {
    match e.sqlite_error_code() {
        Some(ffi::ErrorCode::DatabaseCorrupt | ffi::ErrorCode::NotADatabase) => {
            StoreError::Corrupt { file: file.to_path_buf(), detail: e.to_string() }
        }
        Some(ffi::ErrorCode::DiskFull) => StoreError::Full(file.to_path_buf()),
        // The tables of indexes are the only ones that ever go.
        _ if e.to_string().contains("no such table: idx_") => StoreError::IndexGone,
        _ => StoreError::Backend(format!("{e} ({})", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or one long read would take their pages from the writer: see `.cargo/config.toml` and ADR 0030.
    #[test]
    fn the_engine_is_built_with_a_page_cache_for_each_connection() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("any.db"), Mode::Create).unwrap();
        let options = db.text_pragma("compile_options").unwrap();
        assert!(options.iter().any(|o| o == "THREADSAFE=1"), "{options:?}");
        assert!(!options.iter().any(|o| o == "ENABLE_MEMORY_MANAGEMENT"), "{options:?}");
    }
}
