//! What is written while the disk fails, and what has to be there afterwards.

use std::collections::HashMap;
use std::path::Path;

use ditto_store::{Durability, Store, StoreError, StoreOptions, TransactionOptions};
use ditto_types::{DatabaseId, ErrorKind, Object, Value};

use crate::process::Run;

/// Steps of the script. After half of them the store is closed and opened again.
const STEPS: usize = 12;

fn open(dir: &Path, durability: Durability) -> Result<Store, StoreError> {
    Store::open(StoreOptions { durability, ..StoreOptions::new(dir, DatabaseId::DEFAULT) })
}

fn say(at: &str, result: Result<(), StoreError>) {
    match result {
        Ok(()) => println!("ack {at}"),
        Err(e) => println!("error {at} {} {}", e.kind().code(), e.to_string().replace('\n', " ")),
    }
}

/// Runs the steps and says of each how it ended. A store that cannot be opened is tried once more.
pub(crate) fn run(dir: &Path, durability: Durability) {
    for half in 0..2 {
        let mut store = None;
        for _ in 0..2 {
            match open(dir, durability) {
                Ok(opened) => {
                    store = Some(opened);
                    break;
                }
                Err(e) => say("open", Err(e)),
            }
        }
        let Some(store) = store else { continue };
        for step in half * STEPS / 2..(half + 1) * STEPS / 2 {
            say(&step.to_string(), write(&store, step));
        }
        store.close();
    }
}

/// A step writes the three documents of its number, or removes those of an earlier one, or both.
fn write(store: &Store, step: usize) -> Result<(), StoreError> {
    let ids = |step: usize| {
        let ids = ["a", "b", "c"].map(|part| Value::from(format!("{step}-{part}")));
        Object::from([("ids".into(), Value::Array(ids.to_vec()))])
    };
    let documents = |step: usize| {
        // Longer than a page, so that a document has pages of its own.
        let document = |part: &str| {
            Value::Object(Object::from([
                ("_id".into(), format!("{step}-{part}").into()),
                ("step".into(), Value::from(step as u64)),
                ("text".into(), part.repeat(3000 + step * 700).into()),
            ]))
        };
        Object::from([("d".into(), Value::Array(["a", "b", "c"].map(document).to_vec()))])
    };
    const INSERT: &str = "INSERT INTO c DOCUMENTS (:d)";
    const DELETE: &str = "DELETE FROM c WHERE _id IN :ids";
    match step % 4 {
        2 => {
            let t = store.begin(TransactionOptions::default())?;
            t.execute(INSERT, &documents(step))?;
            t.execute("UPDATE c SET text = 'short' WHERE _id IN :ids", &ids(step))?;
            t.execute(DELETE, &ids(step - 1))?;
            // One document a statement: whatever becomes of it, what is committed is whole.
            for part in ["a", "b", "c"] {
                let args = Object::from([("id".into(), format!("{step}-{part}").into())]);
                drop(t.execute("UPDATE c SET text = 'shorter' WHERE _id = :id", &args));
            }
            t.commit()?;
        }
        1 => {
            // Indexes as soon as there are any; without them the rest of the script is the same.
            match store.execute(&format!("CREATE INDEX IF NOT EXISTS i{step} ON c (step)"), &Object::new()) {
                Err(e) if e.kind() != ErrorKind::QueryUnsupported => return Err(e),
                _ => {}
            }
            store.execute(INSERT, &documents(step))?;
        }
        _ => drop(store.execute(INSERT, &documents(step))?),
    }
    Ok(())
}

/// What is known of the documents of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    There,
    Absent,
    Either,
}

/// Checks a store after a run. `forgets`: the last acknowledged commits may be lost, but none before a kept one.
pub(crate) fn verify(dir: &Path, run: &Run, forgets: bool, what: &str) {
    let clean = forgets && says_clean(dir);
    let store = open(dir, Durability::Normal).unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = store.check().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.is_clean(), "{what}: {:#?}", report.problems);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    let rows = store.execute("SELECT step FROM c", &Object::new()).unwrap();
    for row in rows.items().iter() {
        *counts.entry(row.get("step").and_then(Value::as_i64).unwrap() as u64).or_default() += 1;
    }
    let there = |step: usize| match counts.get(&(step as u64)).copied().unwrap_or(0) {
        0 => false,
        3 => true,
        n => panic!("{what}: step {step} left {n} of 3 documents"),
    };
    if forgets {
        // The steps that are kept are the first ones.
        let survived = |step: &usize| there(*step) || (step % 4 == 1 && there(step + 1));
        let acknowledged: Vec<usize> = run.steps.iter().filter(|(_, ack)| *ack).map(|(s, _)| *s).collect();
        let kept = acknowledged.iter().take_while(|s| survived(s)).count();
        let later: Vec<_> = acknowledged[kept..].iter().filter(|s| there(**s)).collect();
        assert!(later.is_empty(), "{what}: kept {kept} of {acknowledged:?}, and then {later:?}");
        // Else the next start of the machine would keep the epoch, and peers would see numbers used twice.
        assert!(
            kept == acknowledged.len() || !clean,
            "{what}: kept {kept} of {acknowledged:?}, marked as closed"
        );
    } else {
        let mut known = [Known::Absent; STEPS + 1];
        for (step, ack) in &run.steps {
            known[*step] = if *ack { Known::There } else { Known::Either };
            if step % 4 == 2 {
                let before = known[step - 1];
                known[step - 1] = match (ack, before) {
                    (true, _) | (false, Known::Absent) => Known::Absent,
                    (false, _) => Known::Either,
                };
            }
        }
        // The step during which the power went off.
        let next = run.steps.last().map_or(0, |(s, _)| s + 1);
        if !run.finished && next < STEPS {
            known[next] = Known::Either;
            if next % 4 == 2 {
                known[next - 1] = Known::Either;
            }
        }
        for (step, known) in known.iter().enumerate() {
            let fits = *known == Known::Either || there(step) == (*known == Known::There);
            assert!(fits, "{what}: step {step} is {known:?}, found {counts:?}, steps {:?}", run.steps);
        }
    }
    // It works on.
    store.execute("INSERT INTO c DOCUMENTS ({'_id': 'after', 'step': 99})", &Object::new()).unwrap();
    store.close();
}

/// Whether the file says that it was closed cleanly; looked up in a copy.
fn says_clean(dir: &Path) -> bool {
    let copy = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        if dir.join(name).exists() {
            std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
        }
    }
    let Ok(db) = rusqlite::Connection::open(copy.path().join("store.db")) else { return false };
    let row = db.query_row("SELECT value FROM meta WHERE key = 'clean'", (), |r| r.get::<_, Vec<u8>>(0));
    row.is_ok_and(|value| value == [1])
}

/// Writes until the file system is full, makes room, and writes on.
pub(crate) fn fill(dir: &Path, ballast: &Path) {
    std::fs::write(ballast, vec![7; 1 << 20]).unwrap();
    let store = open(dir, Durability::Normal).unwrap();
    let insert = |n: usize| {
        let text = "x".repeat(20_000);
        let document = Object::from([("_id".into(), Value::from(n as u64)), ("text".into(), text.into())]);
        let args = Object::from([("d".into(), document.into())]);
        store.execute("INSERT INTO c DOCUMENTS (:d)", &args).map(drop)
    };
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    for n in 0..1000 {
        match insert(n) {
            Ok(()) => acknowledged.push(n),
            Err(e) => {
                say("full", Err(e));
                failed += 1;
            }
        }
        if failed == 3 {
            break;
        }
    }
    let all_there = || {
        let rows = store.execute("SELECT _id FROM c", &Object::new()).unwrap();
        let mut ids: Vec<i64> = rows.items().iter().filter_map(|r| r.get("_id")?.as_i64()).collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(acknowledged.iter().map(|n| *n as i64).collect::<Vec<_>>().iter()), "{ids:?}");
    };
    // Reading goes on while there is no space; only what needs a temporary file fails.
    all_there();
    let none = Object::new();
    store.execute("ALTER SYSTEM SET dql_spill_threshold_bytes = 65536", &none).unwrap();
    const LARGE: &str = "SELECT * FROM c ORDER BY text";
    match store.execute(LARGE, &none) {
        Ok(_) => panic!("there is room for a temporary file of all documents"),
        Err(e) => say("large", Err(e)),
    }
    store.execute("ALTER SYSTEM RESET dql_spill_threshold_bytes", &none).unwrap();
    assert_eq!(store.execute(LARGE, &none).unwrap().item_count(), acknowledged.len());
    std::fs::remove_file(ballast).unwrap();
    insert(5000).unwrap();
    store.execute("DELETE FROM c WHERE _id = 5000", &Object::new()).unwrap();
    all_there();
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
    store.close();
}
