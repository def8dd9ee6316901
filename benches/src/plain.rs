//! The peers: plain tables in the same storage engine, and a bare TCP copy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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

/// Copies `bytes` over one loopback TCP connection to a thread that counts them.
pub(crate) fn tcp_copy(bytes: &[u8]) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(total),
                n => total += n,
            }
        }
    });
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(bytes)?;
    drop(stream);
    let total = reader.join().map_err(|_| "the reader panicked")??;
    if total == bytes.len() { Ok(()) } else { Err("the copy lost bytes".into()) }
}

/// Copies documents over TCP from one table into another, as the least work that still does the job of a first sync.
pub(crate) fn copy_database(from: &Path, to: &Path) -> Outcome<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let to = to.to_owned();
    let writer = std::thread::spawn(move || -> Outcome<usize> {
        let (stream, _) = listener.accept()?;
        let mut stream = std::io::BufReader::with_capacity(1 << 16, stream);
        let mut connection = open(&to)?;
        let mut batch = Vec::new();
        let mut total = 0;
        loop {
            let end = match read_text(&mut stream)? {
                Some(id) => {
                    let body = read_text(&mut stream)?.ok_or("the stream ends inside a document")?;
                    batch.push((id, body));
                    false
                }
                None => true,
            };
            if batch.len() == 10_000 || end {
                batch.sort();
                insert(&mut connection, &batch, batch.len().max(1))?;
                total += batch.len();
                batch.clear();
            }
            if end {
                return Ok(total);
            }
        }
    });
    let mut stream = std::io::BufWriter::with_capacity(1 << 16, TcpStream::connect(address)?);
    let connection = Connection::open(from)?;
    let mut statement = connection.prepare("SELECT id, body FROM docs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..2 {
            let text = row.get_ref(column)?.as_str()?;
            stream.write_all(&(text.len() as u32).to_le_bytes())?;
            stream.write_all(text.as_bytes())?;
        }
    }
    stream.flush()?;
    drop(stream);
    writer.join().map_err(|_| "the writer panicked")?
}

fn read_text(stream: &mut impl Read) -> Outcome<Option<String>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut text)?;
    Ok(Some(String::from_utf8(text)?))
}
