//! ERR: API-413 to API-422, and API-044.

use std::error::Error;

use ditto::{Ditto, DittoConfig, DittoError, ErrorKind};

use crate::fixture::{DATABASE, peer};

#[test]
fn api_413_to_418_one_type_with_kind_text_and_cause() {
    let cause = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left");
    let e = DittoError::with_source(ErrorKind::Io, "cannot write the file", cause);
    assert_eq!((e.kind(), e.reason()), (ErrorKind::Io, "cannot write the file"));
    assert_eq!(e.to_string(), "DittoError(io/operation-failed): cannot write the file: no space left");
    let source = e.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(e.clone().source().is_some());
    let other = DittoError::new(ErrorKind::Io, "another text");
    assert!(other.source().is_none());
    assert_eq!(e.kind(), other.kind(), "the kind is what compares");
}

#[tokio::test]
async fn api_419_and_044_closed_is_a_kind_of_its_own() {
    let p = peer().await;
    let store = p.ditto.store();
    p.ditto.close().await.unwrap();
    for e in [
        store.execute("SELECT * FROM c").await.unwrap_err(),
        store.execute_sync("SELECT * FROM c").unwrap_err(),
        store.register_observer("SELECT * FROM c", |_| {}).err().unwrap(),
        store.begin(Default::default()).await.err().unwrap(),
        store.check_syntax("SELECT * FROM c").unwrap_err(),
        p.ditto.sync().register_subscription("SELECT * FROM c").err().unwrap(),
    ] {
        assert_eq!((e.kind(), e.kind().code()), (ErrorKind::Closed, "lifecycle/closed"));
    }
    assert!(store.observers().is_empty());
}

#[tokio::test]
async fn api_421_positions() {
    let p = peer().await;
    let e = p.ditto.store().execute("SELECT *\n  FROM c WHERE 'é' = = 1").await.unwrap_err();
    assert_eq!((e.kind().code(), e.position().map(|p| (p.line, p.column))), ("query/invalid", Some((2, 22))));
    assert!(e.to_string().contains("(line 2, column 22)"), "{e}");
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn api_422_each_code_has_a_call_that_gives_it() {
    let p = peer().await;
    let store = p.ditto.store();
    store.execute("INSERT INTO c DOCUMENTS ({'_id': 'a', 'n': 1})").await.unwrap();
    for (code, statement) in [
        ("query/invalid", "SELECT FROM c"),
        ("query/arguments-invalid", "SELECT * FROM c WHERE n = :missing"),
        ("query/evaluation", "UPDATE c APPLY n INCREMENT BY 1.5"),
        ("query/execution", "INSERT INTO c DOCUMENTS ({'_id': 'a'})"),
        ("query/parameter", "ALTER SYSTEM SET no_such_setting = 1"),
        ("query/parameter", "ALTER SYSTEM SET dql_request_timeout_seconds = 'soon'"),
        ("store/document-id", "INSERT INTO c DOCUMENTS ({'_id': null})"),
        ("validation/not-an-object", "INSERT INTO c DOCUMENTS ([{'_id': 'b'}, 5])"),
    ] {
        let e = store.execute(statement).await.unwrap_err();
        assert_eq!(e.kind().code(), code, "{statement}: {e}");
    }
    let insert = "INSERT INTO c DOCUMENTS (:d)";
    let e = store.execute((insert, serde_json::json!({"d": "text"}))).await.unwrap_err();
    assert_eq!(e.kind().code(), "validation/not-an-object", "{e}");
    let deep = (0..64).fold(serde_json::json!(1), |v, _| serde_json::json!([v]));
    let e = store.execute((insert, serde_json::json!({"d": {"_id": "b", "x": deep}}))).await.unwrap_err();
    assert_eq!(e.kind().code(), "validation/depth-limit-exceeded", "{e}");
    assert_eq!(store.execute("SELECT * FROM c").await.unwrap().item_count(), 1, "nothing was inserted");
    let e = p.ditto.sync().register_subscription("SELECT * FROM c LIMIT 1 OFFSET 1").err().unwrap();
    assert_eq!(e.kind().code(), "query/unsupported", "{e}");
    let second = DittoConfig::new(DATABASE).with_persistence_directory(p.directory.path());
    let e = Ditto::open(second).await.err().unwrap();
    assert_eq!(e.kind().code(), "store/persistence-directory-locked", "{e}");
    p.ditto.close().await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |path: &std::path::Path| {
        let e = Ditto::open(DittoConfig::new(DATABASE).with_persistence_directory(path)).await.err().unwrap();
        assert!(e.to_string().contains(path.to_str().unwrap()), "{e}");
        e.kind()
    };
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    assert_eq!(open(&file).await, ErrorKind::IoAlreadyExists);
    // The database is no database.
    let p = peer().await;
    p.ditto.close().await.unwrap();
    let database = std::fs::read_dir(p.directory.path()).unwrap().map(|e| e.unwrap().path());
    let database = database.filter(|p| p.extension().is_some_and(|e| e == "db")).last().unwrap();
    std::fs::write(&database, vec![7; 8192]).unwrap();
    assert_eq!(open(p.directory.path()).await, ErrorKind::StoreCorrupt);
    assert_eq!(std::fs::read(&database).unwrap(), vec![7; 8192], "a damaged file is left as it is");
}
