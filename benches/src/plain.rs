//! A plain table in the same storage engine.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::Outcome;

/// A table of JSON texts with the primary key, in WAL mode as ours.
pub(crate) fn open(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;
         CREATE TABLE docs(id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;",
    )?;
    Ok(connection)
}

/// Inserts documents in transactions of `batch`.
pub(crate) fn insert(
    connection: &mut Connection,
    documents: &[(String, String)],
    batch: usize,
) -> Outcome<()> {
    for chunk in documents.chunks(batch) {
        let transaction = connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached("INSERT INTO docs VALUES (?1, ?2)")?;
            for (id, body) in chunk {
                statement.execute(params![id, body])?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
