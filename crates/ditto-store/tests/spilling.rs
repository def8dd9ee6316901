//! Statements that need temporary files, on a real store.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use ditto_store::{Store, StoreOptions, TransactionOptions};
use ditto_testkit::{temp_dir, workload_document};
use ditto_types::{DatabaseId, ErrorKind, Object, Value, json};

/// Folder of the temporary files.
const FOLDER: &str = "spill";

fn open(dir: &Path) -> Store {
    Store::open(StoreOptions::new(dir, DatabaseId::DEFAULT)).unwrap()
}

/// A store with documents of about 2 MB of JSON, and so little memory for statements as is allowed.
fn filled(dir: &Path) -> Store {
    let store = open(dir);
    let documents = (0..6000).map(|i| Value::Object(workload_document(i)));
    let args = Object::from([("d".into(), Value::Array(documents.collect()))]);
    store.execute("INSERT INTO docs DOCUMENTS (:d)", &args).unwrap();
    bound(&store, 65_536);
    store
}

fn bound(store: &Store, bytes: u64) {
    let args = Object::from([("n".into(), Value::from(bytes))]);
    store.execute("ALTER SYSTEM SET dql_spill_threshold_bytes = :n", &args).unwrap();
}

fn rows(store: &Store, text: &str) -> Vec<String> {
    store.execute(text, &Object::new()).unwrap().iter().map(|row| json::to_string(&row)).collect()
}

/// Names of what is in the folder, if there is one.
fn names(dir: &Path) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(dir.join(FOLDER)).ok()?;
    Some(entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect())
}

#[test]
fn a_large_statement_gives_the_same_from_files() {
    let dir = temp_dir();
    let store = filled(dir.path());
    for text in [
        "SELECT * FROM docs",
        "SELECT * FROM docs ORDER BY customer, _id DESC",
        "SELECT _id, customer FROM docs ORDER BY ts LIMIT 3000 OFFSET 2000",
        "SELECT DISTINCT _id, qty FROM docs ORDER BY qty, _id",
        "SELECT customer, COUNT(*) AS n, SUM(qty) AS s, COUNT(DISTINCT store) AS d FROM docs GROUP BY customer, _id",
        "SELECT MEDIAN(qty) AS m, COUNT(DISTINCT ts) AS n FROM docs",
    ] {
        bound(&store, 65_536);
        let from_files = rows(&store, text);
        bound(&store, 1 << 30);
        assert_eq!(from_files, rows(&store, text), "{text}");
    }
    // PROFILE adds its row behind those of the file.
    bound(&store, 65_536);
    let profiled = rows(&store, "PROFILE SELECT * FROM docs ORDER BY _id");
    assert_eq!(profiled[..6000], rows(&store, "SELECT * FROM docs ORDER BY _id"));
    assert!(profiled[6000].contains("~request_profile"), "{}", profiled[6000]);
    assert!(names(dir.path()).is_some(), "no statement used a file");
}

#[test]
fn files_have_no_name_and_results_outlive_the_store() {
    let dir = temp_dir();
    let store = filled(dir.path());
    assert_eq!(names(dir.path()), None, "there is a folder before it is needed");
    let result = store.execute("SELECT * FROM docs ORDER BY _id", &Object::new()).unwrap();
    if cfg!(unix) {
        assert_eq!(names(dir.path()), Some(vec![]));
    }
    let want = rows(&store, "SELECT * FROM docs ORDER BY _id LIMIT 100 OFFSET 5000");
    store.close();
    let item = result.lazy_items().get(5000).unwrap().into_owned();
    let got: Vec<String> =
        (5000..5100).map(|i| json::to_string(&result.lazy_items().get(i).unwrap().value())).collect();
    assert_eq!(got, want);
    drop(result);
    // A row lives on without the result.
    assert_eq!(json::to_string(&item.value()), want[0]);
}

#[test]
fn mutations_use_files_too() {
    let dir = temp_dir();
    let store = filled(dir.path());
    // Something has to be sorted before it is inserted.
    let copy = store
        .execute("INSERT INTO copies SELECT * FROM docs ORDER BY customer, _id", &Object::new())
        .unwrap();
    assert!(names(dir.path()).is_some(), "no file was used");
    assert_eq!((copy.mutated_document_ids().len(), copy.item_count()), (6000, 0));
    assert_eq!(
        rows(&store, "SELECT * FROM copies ORDER BY _id"),
        rows(&store, "SELECT * FROM docs ORDER BY _id")
    );
    std::fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
    for (text, after) in [
        ("UPDATE copies SET qty = qty + 1 RETURNING *", "SELECT * FROM copies"),
        ("INSERT INTO more SELECT * FROM docs RETURNING *", "SELECT * FROM more"),
    ] {
        let mut returned = rows(&store, text);
        let mut after = rows(&store, after);
        assert!(names(dir.path()).is_some(), "{text}: no file was used");
        returned.sort_unstable();
        after.sort_unstable();
        assert_eq!(returned, after, "{text}");
        std::fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
    }
    // Its rows outlive what they show.
    let deleted = store.execute("DELETE FROM more RETURNING _id, ts", &Object::new()).unwrap();
    let mut shown: Vec<String> = deleted.iter().map(|row| json::to_string(&row)).collect();
    let mut expected = rows(&store, "SELECT _id, ts FROM docs");
    shown.sort_unstable();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    assert_eq!(rows(&store, "SELECT COUNT(*) AS n FROM more"), [r#"{"n":0}"#]);
    assert!(store.check().unwrap().is_clean());
}

/// More rows than are decoded at a time: they are inserted in batches, all or none.
#[test]
fn many_rows_are_inserted_in_batches() {
    let dir = temp_dir();
    let store = filled(dir.path());
    let none = Object::new();
    let insert = |text: &str| store.execute(text, &none);
    let written = |text: &str| insert(text).unwrap().mutated_document_ids().len();
    let wide = "SELECT _id, qty, store, repeat(customer, 200) AS text FROM docs";
    assert_eq!(written(&format!("INSERT INTO a {wide}")), 6000);
    assert_eq!(rows(&store, "SELECT * FROM a"), rows(&store, wide));
    // Ids that are equal far from each other.
    let e = insert("INSERT INTO b SELECT store AS _id, qty, text FROM a").unwrap_err();
    assert_eq!((e.kind().code(), e.to_string().contains("unique")), ("query/execution", true), "{e}");
    // A conflict in the last batch takes back the first.
    let last = rows(&store, "SELECT _id FROM a")[5999].clone();
    let id = json::from_str(&last).unwrap().get("_id").cloned().unwrap();
    store.execute("INSERT INTO b DOCUMENTS ({'_id': :id})", &Object::from([("id".into(), id)])).unwrap();
    let e = insert("INSERT INTO b SELECT * FROM a").unwrap_err();
    assert!(e.to_string().contains("Identifier conflict"), "{e}");
    assert_eq!(rows(&store, "SELECT COUNT(*) AS n FROM b"), [r#"{"n":1}"#]);
    assert_eq!(written("INSERT INTO b SELECT * FROM a ON ID CONFLICT DO NOTHING"), 5999);
    let merged = insert("INSERT INTO b SELECT * FROM a ON ID CONFLICT DO UPDATE RETURNING *").unwrap();
    let returned: Vec<String> = merged.iter().map(|row| json::to_string(&row)).collect();
    assert_eq!(returned, rows(&store, "SELECT * FROM a"));
    assert!(store.check().unwrap().is_clean());
}

#[test]
fn what_a_crash_left_is_deleted_by_the_next_open() {
    let dir = temp_dir();
    open(dir.path()).close();
    let folder = dir.path().join(FOLDER);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("left"), vec![0; 1000]).unwrap();
    let store = filled(dir.path());
    assert_eq!(names(dir.path()), None);
    assert_eq!(rows(&store, "SELECT * FROM docs").len(), 6000);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_of_large_statements_only() {
    let dir = temp_dir();
    let store = filled(dir.path());
    std::fs::write(dir.path().join(FOLDER), b"in the way").unwrap();
    let error = store.execute("SELECT * FROM docs ORDER BY qty", &Object::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IoAlreadyExists, "{error}");
    assert_eq!(rows(&store, "SELECT * FROM docs ORDER BY qty LIMIT 10").len(), 10);
    std::fs::remove_file(dir.path().join(FOLDER)).unwrap();
    assert_eq!(rows(&store, "SELECT * FROM docs ORDER BY qty").len(), 6000);
}

/// An observer whose result is too large to be held gets it from a file, and follows changes again when there is room.
#[test]
fn an_observer_of_everything_holds_nothing() {
    let dir = temp_dir();
    let store = filled(dir.path());
    let none = Object::new();
    let (sender, results) = channel();
    let callback = Box::new(move |result| sender.send(result).unwrap_or(()));
    let observer = store.observe("SELECT * FROM docs ORDER BY _id", &none, callback).unwrap();
    let next = || results.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(next().item_count(), 6000);
    assert!(names(dir.path()).is_some(), "no file was used");
    let delete = |n: u64| {
        let id = workload_document(n)["_id"].clone();
        store.execute("DELETE FROM docs WHERE _id = :id", &Object::from([("id".into(), id)])).unwrap()
    };
    for n in 0..3 {
        let commit = delete(n).commit_id();
        let result = next();
        assert_eq!((result.item_count(), result.commit_id()), (5999 - n as usize, commit));
    }
    bound(&store, 1 << 30);
    for n in 3..6 {
        let commit = delete(n).commit_id();
        let result = next();
        assert_eq!((result.item_count(), result.commit_id()), (5999 - n as usize, commit));
    }
    observer.cancel();
}

#[test]
fn transactions_and_observers_use_files_too() {
    let dir = temp_dir();
    let store = filled(dir.path());
    let none = Object::new();
    for read_only in [true, false] {
        let t = store.begin(TransactionOptions { read_only, hint: None }).unwrap();
        assert_eq!(t.execute("SELECT * FROM docs ORDER BY ts", &none).unwrap().item_count(), 6000);
        t.commit().unwrap();
    }
    let (sender, results) = channel();
    let callback = Box::new(move |result| sender.send(result).unwrap_or(()));
    let text = "SELECT DISTINCT _id, qty FROM docs ORDER BY _id";
    let observer = store.observe(text, &none, callback).unwrap();
    let next = || results.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(next().item_count(), 6000);
    store
        .execute(
            "DELETE FROM docs WHERE _id = :id",
            &Object::from([("id".into(), workload_document(0)["_id"].clone())]),
        )
        .unwrap();
    assert_eq!(next().item_count(), 5999);
    observer.cancel();
}
