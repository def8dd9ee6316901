//! The limit: the least that does the same job in the same engine.

use std::path::Path;

use ditto::Durability;
use rusqlite::{Connection, params};

use crate::Outcome;

/// JSONB rows with the primary key and the two indexes; WAL and `synchronous` as ours.
pub(crate) fn open(path: &Path, durability: Durability) -> Outcome<Connection> {
    let connection = connect(path)?;
    connection.execute_batch(match durability {
        Durability::Full => "PRAGMA synchronous = FULL",
        _ => "PRAGMA synchronous = NORMAL",
    })?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS docs(id TEXT PRIMARY KEY, body BLOB NOT NULL);
         CREATE INDEX IF NOT EXISTS by_store ON docs(json_extract(body, '$.store'));
         CREATE INDEX IF NOT EXISTS by_status
           ON docs(json_extract(body, '$.status'), json_extract(body, '$.ts'));",
    )?;
    Ok(connection)
}

/// A connection with the settings of ours that cost or save time.
pub(super) fn connect(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;
         PRAGMA wal_autocheckpoint = 4000;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Inserts as many documents per transaction as `batch` says.
pub(crate) fn insert(
    connection: &mut Connection,
    documents: &[(String, String)],
    batch: usize,
) -> Outcome<()> {
    for (i, chunk) in documents.chunks(batch).enumerate() {
        if (i + 1) * batch % 1000 < batch {
            size_log(connection)?;
        }
        let transaction = connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached("INSERT INTO docs VALUES (?1, jsonb(?2))")?;
            for (id, body) in chunk {
                statement.execute(params![id, body])?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}

/// The log may become as long as ours.
fn size_log(connection: &Connection) -> Outcome<()> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    connection.execute_batch(&format!("PRAGMA wal_autocheckpoint = {}", pages.clamp(4_000, 16_000)))?;
    Ok(())
}

/// Rows of JSON text: (rows, bytes).
pub(super) fn rows_out(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Outcome<(usize, usize)> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = (0, 0);
    while let Some(row) = rows.next()? {
        // An owned text, as ours gives it.
        let text: String = row.get(0)?;
        found = (found.0 + 1, found.1 + text.len());
    }
    Ok(found)
}

/// Checks that all documents are there.
pub(crate) fn verify(connection: &Connection, n: usize) -> Outcome<()> {
    let found: usize = connection.query_row("SELECT count(*) FROM docs", [], |row| row.get(0))?;
    if found == n { Ok(()) } else { Err(format!("{found} of {n} rows").into()) }
}
