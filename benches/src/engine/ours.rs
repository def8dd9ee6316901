//! Our side: an instance with the documents and the two indexes.

use std::path::Path;

use ditto::types::{Object, Value, json};
use ditto::{Ditto, DittoConfig, Durability, ErrorKind, Query, QueryResult};

use crate::Outcome;
use crate::row::note;

/// The workload document as (id, JSON text).
pub(crate) fn documents(n: usize) -> Vec<(String, String)> {
    (0..n)
        .map(|i| {
            let document = ditto_testkit::workload_document(i as u64);
            let id = document.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            (id, json::to_string(&Value::Object(document)))
        })
        .collect()
}

/// An instance as applications open it.
pub(crate) async fn open(directory: &Path) -> Outcome<Ditto> {
    Ok(Ditto::open(DittoConfig::default().with_persistence_directory(directory)).await?)
}

/// An instance with the two indexes.
pub(crate) fn indexed(directory: &Path, durability: Durability) -> Outcome<Ditto> {
    let config = DittoConfig::default().with_persistence_directory(directory).with_durability(durability);
    let ditto = Ditto::open_sync(config)?;
    for text in [
        "CREATE INDEX IF NOT EXISTS by_store ON docs (store)",
        "CREATE INDEX IF NOT EXISTS by_status ON docs (status, ts)",
    ] {
        match ditto.store().execute_sync(text) {
            Err(e) if e.kind() == ErrorKind::QueryUnsupported => note(&format!("without an index: {e}")),
            other => drop(other?),
        }
    }
    Ok(ditto)
}

/// One statement with arguments.
pub(super) fn run<const N: usize>(
    ditto: &Ditto,
    text: &str,
    args: [(&str, Value); N],
) -> Outcome<QueryResult> {
    let args = args.map(|(name, value)| (name.into(), value));
    Ok(ditto.store().execute_sync(Query { text: text.to_owned(), args: Object::from(args) })?)
}

/// Inserts as many documents per transaction as `batch` says.
pub(super) fn insert(ditto: &Ditto, documents: &[(String, String)], batch: usize) -> Outcome<()> {
    for chunk in documents.chunks(batch) {
        let values: Result<Vec<_>, _> = chunk.iter().map(|(_, text)| json::from_str(text)).collect();
        run(ditto, "INSERT INTO docs DOCUMENTS (:d)", [("d", Value::Array(values?))])?;
    }
    Ok(())
}

/// The rows as JSON text: (rows, bytes).
pub(super) fn rows_out(result: &QueryResult) -> (usize, usize) {
    (result.item_count(), result.items().map(|item| item.json_string().len()).sum())
}

/// Checks that all documents are there.
pub(super) fn verify(ditto: &Ditto, n: usize) -> Outcome<()> {
    let result = run(ditto, "SELECT COUNT(*) AS n FROM docs", [])?;
    let found = result.get_item(0).and_then(|item| item.fields()?.get("n").cloned());
    if found == Some(Value::from(n as u64)) {
        Ok(())
    } else {
        Err(format!("{found:?} of {n} documents").into())
    }
}

/// Closes an instance outside of a runtime's worker.
pub(super) fn close(ditto: Ditto) -> Outcome<()> {
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(ditto.close())?;
            Ok(())
        });
        closing.join().map_err(|_| "closing panicked")?
    })
}
