//! The stores that are compared.

use ditto_store::{QueryResult, Store, StoreError, StoreOptions, TransactionOptions};
use ditto_testkit::reference::{Answer, Text};
use ditto_testkit::{TempDir, temp_dir};
use ditto_types::{DatabaseId, DocId, Object, Value, json};

/// A store and how statements reach it.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) indexed: bool,
    pub(crate) in_transactions: bool,
    store: Store,
    _dir: TempDir,
}

impl Engine {
    pub(crate) fn new(name: &'static str, indexed: bool, in_transactions: bool) -> Self {
        let dir = memory_dir();
        let store = Store::open(StoreOptions::new(dir.path(), DatabaseId::DEFAULT)).unwrap();
        if in_transactions {
            // So little memory that sorts, groups and results of a few rows go through temporary files.
            store.execute("ALTER SYSTEM SET dql_spill_threshold_bytes = 1024", &Object::new()).unwrap();
        }
        Self { name, indexed, in_transactions, store, _dir: dir }
    }

    /// Runs statements of the set-up, which have to succeed.
    pub(crate) fn must(&self, text: &str) -> Result<(), String> {
        self.store.execute(text, &Object::new()).map(drop).map_err(|e| format!("{}: {text}: {e}", self.name))
    }

    /// The answers to a few statements, in one transaction where this engine uses them.
    pub(crate) fn run(&self, statements: &[Text]) -> Vec<Answer> {
        if !self.in_transactions {
            return statements.iter().map(|t| answer(self.store.execute(&t.text, &t.args))).collect();
        }
        let transaction = self.store.begin(TransactionOptions::default()).unwrap();
        let answers = statements.iter().map(|t| answer(transaction.execute(&t.text, &t.args))).collect();
        transaction.commit().unwrap();
        answers
    }

    /// Whether the plan of a statement uses an index.
    pub(crate) fn scans_index(&self, statement: &Text) -> bool {
        let plan = self.store.execute(&format!("EXPLAIN {}", statement.text), &statement.args);
        plan.is_ok_and(|plan| rows(&plan).iter().any(|row| json::to_string(row).contains("\"indexScan\"")))
    }

    /// What the store finds wrong with its file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let report = self.store.check().unwrap();
        if report.is_clean() { Ok(()) } else { Err(format!("{}: {:#?}", self.name, report.problems)) }
    }
}

/// In memory where there is such a place: nothing here is about the disk, and syncing it takes most of the time.
fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| temp_dir())
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.store.close();
    }
}

fn answer(result: Result<QueryResult, StoreError>) -> Answer {
    match result {
        Ok(result) => Answer::Result {
            ids: result.mutated_document_ids().iter().map(DocId::to_value).collect(),
            rows: rows(&result),
        },
        Err(e) => Answer::Error(e.to_string()),
    }
}

fn rows(result: &QueryResult) -> Vec<Value> {
    result.items().to_vec()
}
