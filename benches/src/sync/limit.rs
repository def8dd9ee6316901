//! The limit: the same documents with the same two indexes from one table into another over a bare TCP connection.

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ditto::Durability;
use rusqlite::{Connection, params};

use crate::Outcome;
use crate::engine::limit::{insert, open, verify};

/// Documents of a batch that is sorted and committed.
const BATCH: usize = 10_000;

/// What is left after a copy: both files, full.
pub(super) struct Copied {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
}

/// Fills the table that is copied.
pub(super) fn fill(directory: &Path, documents: &[(String, String)]) -> Outcome<Copied> {
    let paths = Copied { from: directory.join("from.db"), to: directory.join("to.db") };
    insert(&mut open(&paths.from, Durability::Normal)?, documents, BATCH)?;
    Ok(paths)
}

/// Copies the documents as they are stored; returns when the other table has all of them.
pub(super) fn copy(paths: &Copied, n: usize) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let to = paths.to.clone();
    let writer = std::thread::spawn(move || -> Outcome<()> {
        let mut stream = BufReader::with_capacity(1 << 16, listener.accept()?.0);
        let mut connection = open(&to, Durability::Normal)?;
        let mut batch = Vec::new();
        loop {
            let id = read(&mut stream)?;
            let ended = id.is_none();
            if let Some(id) = id {
                batch.push((String::from_utf8(id)?, read(&mut stream)?.ok_or("ends inside a document")?));
            }
            if batch.len() == BATCH || ended {
                batch.sort_unstable();
                let transaction = connection.transaction()?;
                {
                    let mut insert = transaction.prepare_cached("INSERT INTO docs VALUES (?1, ?2)")?;
                    for (id, body) in batch.drain(..) {
                        insert.execute(params![id, body])?;
                    }
                }
                transaction.commit()?;
            }
            if ended {
                return verify(&connection, n);
            }
        }
    });
    let mut stream = BufWriter::with_capacity(1 << 16, TcpStream::connect(address)?);
    let connection = open(&paths.from, Durability::Normal)?;
    let mut statement = connection.prepare("SELECT id, body FROM docs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        write(&mut stream, row.get_ref(0)?.as_bytes()?)?;
        write(&mut stream, row.get_ref(1)?.as_blob()?)?;
    }
    stream.flush()?;
    drop(stream);
    writer.join().map_err(|_| "the writer panicked")?
}

/// Microseconds from the beginning of a commit on one side until the other side has confirmed that it has committed the
/// same, one field of one document at a time.
pub(super) fn updates(paths: &Copied, ids: &[String]) -> Outcome<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let to = paths.to.clone();
    let other = std::thread::spawn(move || -> Outcome<()> {
        let mut stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        let connection = open(&to, Durability::Normal)?;
        while let Some(id) = read(&mut stream)? {
            let note = read(&mut stream)?.ok_or("ends inside an update")?;
            update(&connection, &String::from_utf8(id)?, i64::from_le_bytes(note.as_slice().try_into()?))?;
            stream.write_all(&[1])?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let connection = open(&paths.from, Durability::Normal)?;
    let mut taken = Vec::new();
    for (note, id) in ids.iter().enumerate() {
        let start = Instant::now();
        update(&connection, id, note as i64)?;
        let mut message = Vec::new();
        write(&mut message, id.as_bytes())?;
        write(&mut message, &(note as i64).to_le_bytes())?;
        stream.write_all(&message)?;
        stream.read_exact(&mut [0])?;
        taken.push(start.elapsed().as_secs_f64() * 1e6);
    }
    drop(stream);
    other.join().map_err(|_| "the other side panicked")??;
    Ok(taken)
}

fn update(connection: &Connection, id: &str, note: i64) -> Outcome<()> {
    let sql = "UPDATE docs SET body = jsonb_set(body, '$.note', ?2) WHERE id = ?1";
    match connection.prepare_cached(sql)?.execute(params![id, note])? {
        1 => Ok(()),
        n => Err(format!("{n} rows updated").into()),
    }
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Outcome<()> {
    out.write_all(&(bytes.len() as u32).to_le_bytes())?;
    Ok(out.write_all(bytes)?)
}

fn read(stream: &mut impl Read) -> Outcome<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
