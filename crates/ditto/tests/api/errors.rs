//! ERR: API-413 to API-422, and API-044.

use std::error::Error;

use ditto::{DittoError, ErrorKind};

use crate::fixture::peer;

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
