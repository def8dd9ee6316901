//! Documents, indexes and statements made from random numbers, and running them everywhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use ditto_testkit::reference::generate::{self, COLLECTIONS, Tape};
use ditto_testkit::reference::{
    Answer, Database, Expr, Insert, InsertSource, Outcome, Policy, Projection, Select, Statement, Term, Text,
};
use ditto_types::{Value, json};
use proptest::prelude::*;

use crate::engine::Engine;

/// Numbers for the indexes, for each document and for each statement.
pub(crate) type Tapes = (Vec<u32>, Vec<Vec<u32>>, Vec<Vec<u32>>);

pub(crate) fn strategy() -> impl Strategy<Value = Tapes> {
    let tape = |len| prop::collection::vec(any::<u32>(), len);
    (tape(20..40), prop::collection::vec(tape(30..50), 0..30), prop::collection::vec(tape(20..80), 1..24))
}

/// What was compared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) statements: usize,
    pub(crate) errors: usize,
    pub(crate) rows: usize,
    /// Queries that the store with indexes answers with one.
    pub(crate) index_scans: usize,
    /// Statements that were left out, by the text of the refusal.
    pub(crate) unsupported: BTreeMap<String, usize>,
}

impl Tally {
    fn leave_out(&mut self, error: &str) {
        let feature = error.split("Unsupported feature").last().unwrap_or(error);
        let feature = feature.split(" (line").next().unwrap_or(feature);
        *self.unsupported.entry(feature.to_owned()).or_default() += 1;
    }
}

/// What happens to a database.
pub(crate) struct History {
    indexes: Vec<(String, String)>,
    statements: Vec<Statement>,
}

/// Statements per transaction, where there are any.
const GROUP: usize = 3;

impl History {
    pub(crate) fn new((indexes, documents, statements): &Tapes) -> Self {
        let mut list: Vec<Statement> = Vec::new();
        for (at, tape) in documents.iter().enumerate() {
            let document = generate::document(&mut Tape::new(tape.clone()));
            list.push(Statement::Insert(Insert {
                collection: COLLECTIONS[at % 2].to_owned(),
                source: InsertSource::Documents(vec![Expr::Argument(document)]),
                policy: Policy::Update,
                returning: None,
            }));
        }
        list.extend(statements.iter().map(|tape| generate::statement(&mut Tape::new(tape.clone()))));
        list.extend(COLLECTIONS.map(everything));
        Self { indexes: generate::indexes(&mut Tape::new(indexes.clone())), statements: list }
    }

    pub(crate) fn run(&self, tally: &mut Tally) -> Result<(), String> {
        let engines = [
            Engine::new("no index", false, false),
            Engine::new("indexes", true, false),
            Engine::new("indexes and transactions", true, true),
        ];
        for engine in &engines {
            self.create_indexes(engine, 0, tally)?;
        }
        let mut reference = Database::default();
        let mut log = String::new();
        for (at, group) in self.statements.chunks(GROUP).enumerate() {
            // Half of the indexes are made on what is already there.
            if at == 3 {
                for engine in &engines {
                    self.create_indexes(engine, 1, tally)?;
                }
            }
            let group = supported(&engines[0], group, &mut reference, tally);
            let group = group.map_err(|e| self.failure(&log, &e))?;
            for (statement, expected) in &group {
                let text = statement.text();
                let _ = writeln!(log, "  {}; -- {}", text.text, json::to_string(&Value::Object(text.args)));
                tally.statements += 1;
                match expected {
                    Outcome::Error(_) => tally.errors += 1,
                    Outcome::Rows(rows) => tally.rows += rows.any().len(),
                    Outcome::Mutation { ids, .. } => tally.rows += ids.len(),
                }
            }
            for (statement, _) in &group {
                tally.index_scans += usize::from(engines[1].scans_index(&statement.text_for(false)));
            }
            for engine in &engines[1..] {
                let texts: Vec<Text> = group.iter().map(|(s, _)| s.text_for(!engine.indexed)).collect();
                for ((_, expected), (text, answer)) in group.iter().zip(texts.iter().zip(engine.run(&texts)))
                {
                    compare(engine, text, expected, &answer).map_err(|e| self.failure(&log, &e))?;
                }
            }
        }
        engines.iter().try_for_each(Engine::check).map_err(|e| self.failure(&log, &e))
    }

    fn create_indexes(&self, engine: &Engine, turn: usize, tally: &mut Tally) -> Result<(), String> {
        if !engine.indexed {
            return Ok(());
        }
        for (at, (name, keys)) in self.indexes.iter().enumerate() {
            for (which, collection) in COLLECTIONS.iter().enumerate() {
                // Joins need the first one from the start.
                let when = if at == 0 { 0 } else { (at + which) % 2 };
                if when == turn {
                    match engine.must(&format!("CREATE INDEX {name} ON {collection} ({keys})")) {
                        Err(e) if e.contains("Unsupported feature") => tally.leave_out(&e),
                        other => other?,
                    }
                }
            }
        }
        Ok(())
    }

    fn failure(&self, log: &str, what: &str) -> String {
        format!("{what}\nindexes: {:?}\nstatements:\n{log}", self.indexes)
    }
}

/// Runs statements on the first engine and the reference; leaves out what the engine does not know as a whole.
fn supported<'a>(
    engine: &Engine,
    group: &'a [Statement],
    reference: &mut Database,
    tally: &mut Tally,
) -> Result<Vec<(&'a Statement, Outcome)>, String> {
    let mut kept = Vec::new();
    for statement in group {
        let text = statement.text();
        let answer = engine.run(std::slice::from_ref(&text)).remove(0);
        if let Answer::Error(e) = &answer
            && e.contains("Unsupported feature")
        {
            tally.leave_out(e);
            continue;
        }
        let expected = reference.run(statement);
        compare(engine, &text, &expected, &answer)?;
        kept.push((statement, expected));
    }
    Ok(kept)
}

fn compare(engine: &Engine, text: &Text, expected: &Outcome, answer: &Answer) -> Result<(), String> {
    expected.agree(answer).map_err(|e| {
        let shown = match expected {
            Outcome::Rows(rows) | Outcome::Mutation { rows, .. } => format!("{:?}", rows.any()),
            Outcome::Error(e) => e.clone(),
        };
        format!(
            "{}: {e}\nstatement: {}\narguments: {:?}\nexpected:  {shown}\nanswer:    {answer:?}",
            engine.name, text.text, text.args
        )
    })
}

fn everything(collection: &str) -> Statement {
    Statement::Select(Select {
        distinct: false,
        projection: Projection::All,
        from: Term { collection: collection.to_owned(), alias: None, ids: None, index: None },
        joins: Vec::new(),
        filter: None,
        group_by: Vec::new(),
        having: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    })
}
