//! `ditto import` and `ditto export`: JSON lines in and out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ditto::types::{Object, SmolStr, Value, json};
use ditto::{Ditto, DittoError, Query};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output;

/// Longest line, in bytes: above the hard limit of a document.
const MAX_LINE: u64 = 16 << 20;

/// Text of one transaction, in bytes, give or take one line: others that write wait for it.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Collection to insert into.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// What to do with a line that is no valid document.
    #[arg(long, value_enum, default_value_t = OnError::Fail)]
    on_error: OnError,
    /// What to do with a document whose `_id` is there already.
    #[arg(long, value_enum, default_value_t = OnConflict::Update)]
    on_conflict: OnConflict,
    /// Documents per transaction at most; one that reaches 4 MiB of text ends earlier.
    ///
    /// Few large transactions are cheaper than many: their keys hit the same pages of the indexes.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// Write a JSON line to stdout for every committed batch: `{"committed":documents,"line":n,"commitId":n}`.
    #[arg(long)]
    acknowledge: bool,
    /// Leave out this many lines at the start, to go on after an interruption.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_lines: u64,
    /// File with one JSON object a line; `-` is stdin.
    file: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Report it with its number and go on.
    Skip,
    /// Report it with its number and stop; batches before it stay.
    Fail,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnConflict {
    /// Treat it as a bad line.
    Fail,
    /// Keep what is there.
    Nothing,
    /// Write every field of the line.
    Update,
    /// Write only the fields that differ.
    UpdateLocalDiff,
}

impl OnConflict {
    fn clause(self) -> &'static str {
        match self {
            OnConflict::Fail => "FAIL",
            OnConflict::Nothing => "DO NOTHING",
            OnConflict::Update => "DO UPDATE",
            OnConflict::UpdateLocalDiff => "DO UPDATE_LOCAL_DIFF",
        }
    }
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Collection to write.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// File to write; stdout when absent.
    file: Option<PathBuf>,
}

/// A document with the number of its line.
struct Line {
    number: u64,
    document: Value,
}

struct Import<'a> {
    ditto: &'a Ditto,
    statement: String,
    on_error: OnError,
    acknowledge: bool,
    imported: u64,
    skipped: u64,
}

pub(crate) async fn import(args: ImportArgs) -> Result<(), Failure> {
    let mut input = open(&args.file)?;
    let instance = Instance::open(&args.database, None).await?;
    let bar = ProgressBar::new(input.size);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let mut import = Import {
        ditto: &instance.ditto,
        statement: format!(
            "INSERT INTO {} DOCUMENTS (:documents) ON ID CONFLICT {}",
            quote(&args.collection),
            args.on_conflict.clause()
        ),
        on_error: args.on_error,
        acknowledge: args.acknowledge,
        imported: 0,
        skipped: 0,
    };
    let outcome = import.all(&mut input, &args, &bar).await;
    bar.finish_and_clear();
    let (imported, skipped) = (import.imported, import.skipped);
    instance.close().await?;
    output::line(&object([("imported", Value::from(imported)), ("skipped", Value::from(skipped))]));
    outcome
}

impl Import<'_> {
    async fn all(&mut self, input: &mut Input, args: &ImportArgs, bar: &ProgressBar) -> Result<(), Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((number, text)) = input.next()? {
            if number <= args.skip_lines {
                continue;
            }
            bytes += text.len();
            match parse(&text) {
                Ok(None) => {}
                Ok(Some(document)) => batch.push(Line { number, document }),
                Err(reason) => self.bad_line(number, &reason)?,
            }
            if batch.len() == args.batch_size as usize || bytes >= BATCH_BYTES {
                self.commit(std::mem::take(&mut batch)).await?;
                bytes = 0;
                bar.set_position(input.read);
                bar.set_message(format!("{} documents", self.imported));
            }
        }
        self.commit(batch).await
    }

    /// Inserts a batch as one transaction. When a document of it is refused, finds out which.
    async fn commit(&mut self, batch: Vec<Line>) -> Result<(), Failure> {
        let Some(last) = batch.last().map(|l| l.number) else { return Ok(()) };
        match self.insert(batch.iter().map(|l| l.document.clone()).collect()).await {
            Ok(commit) => self.acknowledge(batch.len() as u64, last, commit),
            Err(e) if is_about_a_document(&e) => self.one_by_one(batch).await?,
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    async fn one_by_one(&mut self, batch: Vec<Line>) -> Result<(), Failure> {
        for Line { number, document } in batch {
            match self.insert(vec![document]).await {
                Ok(commit) => self.acknowledge(1, number, commit),
                Err(e) if is_about_a_document(&e) => self.bad_line(number, e.reason())?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    async fn insert(&self, documents: Vec<Value>) -> Result<Option<u64>, DittoError> {
        let args = Object::from([(SmolStr::new_static("documents"), Value::Array(documents))]);
        let result = self.ditto.store().execute(Query { text: self.statement.clone(), args }).await?;
        Ok(result.commit_id())
    }

    fn acknowledge(&mut self, documents: u64, line: u64, commit: Option<u64>) {
        self.imported += documents;
        if self.acknowledge {
            output::line(&object([
                ("committed", Value::from(documents)),
                ("line", Value::from(line)),
                ("commitId", commit.map_or(Value::Null, Value::from)),
            ]));
        }
    }

    fn bad_line(&mut self, number: u64, reason: &str) -> Result<(), Failure> {
        if self.on_error == OnError::Fail {
            return Err(Failure::query(format!("line {number}: {reason}")));
        }
        self.skipped += 1;
        output::note(format_args!("line {number} skipped: {reason}"));
        Ok(())
    }
}

/// Whether the fault is in a document, so that the others of its batch may go in without it.
fn is_about_a_document(e: &DittoError) -> bool {
    use ditto::ErrorKind as Kind;
    !matches!(
        e.kind(),
        Kind::Io
            | Kind::Closed
            | Kind::Internal
            | Kind::StoreBackend
            | Kind::StoreCorrupt
            | Kind::QueryInvalid
            | Kind::PersistenceDirectoryLocked
    )
}

/// A line's document; `None` for a blank line.
fn parse(text: &[u8]) -> Result<Option<Value>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    match json::from_str(text) {
        Ok(v @ Value::Object(_)) => Ok(Some(v)),
        Ok(other) => Err(format!("a document is an object, not {}", other.type_name())),
        Err(e) => Err(e.to_string()),
    }
}

struct Input {
    reader: Box<dyn BufRead + Send>,
    size: u64,
    read: u64,
    line: u64,
}

fn open(path: &PathBuf) -> Result<Input, Failure> {
    let (reader, size): (Box<dyn BufRead + Send>, u64) = if path.as_os_str() == "-" {
        (Box::new(BufReader::new(io::stdin())), 0)
    } else {
        let file = File::open(path).map_err(|e| Failure::environment(format!("{}: {e}", path.display())))?;
        let size = file.metadata().map_or(0, |m| m.len());
        (Box::new(BufReader::with_capacity(1 << 18, file)), size)
    };
    Ok(Input { reader, size, read: 0, line: 0 })
}

impl Input {
    /// The next line with its number, from 1.
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        let mut text = Vec::new();
        let read = (&mut self.reader).take(MAX_LINE + 1).read_until(b'\n', &mut text);
        let read = read.map_err(|e| Failure::environment(format!("line {}: {e}", self.line + 1)))? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.read += read;
        if read > MAX_LINE {
            return Err(Failure::query(format!("line {}: longer than 16 MiB", self.line)));
        }
        Ok(Some((self.line, text)))
    }
}

pub(crate) async fn export(args: ExportArgs) -> Result<(), Failure> {
    let instance = Instance::open(&args.database, None).await?;
    let statement = format!("SELECT * FROM {} ORDER BY _id", quote(&args.collection));
    let result = instance.ditto.store().execute(statement).await?;
    let write = |mut out: Box<dyn Write>| -> io::Result<()> {
        for item in result.items() {
            writeln!(out, "{}", item.json_string())?;
        }
        out.flush()
    };
    let written = match &args.file {
        Some(path) => {
            let file =
                File::create(path).map_err(|e| Failure::environment(format!("{}: {e}", path.display())))?;
            write(Box::new(io::BufWriter::new(file)))
        }
        None => write(Box::new(io::BufWriter::new(io::stdout()))),
    };
    let count = result.item_count();
    instance.close().await?;
    match written {
        Ok(()) => {}
        // The reader had enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(e) => return Err(Failure::environment(format!("cannot write: {e}"))),
    }
    output::note(format_args!("{count} documents"));
    Ok(())
}

/// A collection name in quotes, whatever it holds.
fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn object<const N: usize>(members: [(&'static str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(k, v)| (SmolStr::new_static(k), v)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_objects() {
        assert!(matches!(parse(b" \n"), Ok(None)));
        assert!(parse(b"{\"a\":1}\n").unwrap().is_some());
        assert!(parse(b"[1]").unwrap_err().contains("array"));
        assert!(parse(b"{").is_err());
        assert!(parse(&[0xff]).unwrap_err().contains("UTF-8"));
        assert_eq!(quote("a`b"), "`a``b`");
    }
}
