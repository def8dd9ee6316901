//! Every row of dql.md section 12: what is an error, in which words, and what is none.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use ditto_store::TransactionOptions;
use ditto_types::ErrorKind;
use fixture::*;

fn store() -> Fixture {
    let f = Fixture::new();
    f.insert("c", r#"[{"_id":"a","n":1,"s":"x"},{"_id":"b","n":2}]"#);
    f.insert("d", r#"{"_id":"d1","n":1}"#);
    f.run("CREATE INDEX by_n ON c (n)");
    f
}

#[test]
fn errors() {
    use ErrorKind::*;
    let f = store();
    let joins: String = (0..11).map(|i| format!(" JOIN c AS j{i} ON j{i}._id = c._id")).collect();
    let too_many = format!("SELECT count(*) FROM c{joins}");
    for (text, kind, message) in [
        // Syntax.
        ("SELECT from FROM c", QueryInvalid, "expected an expression, found reserved word FROM"),
        ("SELECT * FROM select", QueryInvalid, "expected identifier"),
        ("DROP INDEX by_n", QueryInvalid, "expected ON"),
        ("SELECT * FROM c; DELETE FROM c", QueryInvalid, "several statements"),
        // Arguments.
        ("SELECT * FROM c WHERE n = :x", QueryArguments, "Parameter x was not provided"),
        // Projections and groups.
        ("SELECT *, n FROM c", QueryInvalid, "unqualified * with other projection elements is not supported"),
        (
            "SELECT n AS x, s FROM c GROUP BY n",
            QueryInvalid,
            "Projection \"s\" must depend only on group keys or aggregates",
        ),
        (
            "SELECT n + 1 AS x, count(*) FROM c GROUP BY x",
            QueryInvalid,
            "Projection \"x\" must depend only on group keys or aggregates",
        ),
        (
            "SELECT count(*) AS k FROM c GROUP BY n HAVING k > 1",
            QueryInvalid,
            "HAVING clause terms must depend only on group keys or aggregates",
        ),
        // Joins.
        ("SELECT n FROM c JOIN d ON c._id = d._id", QueryInvalid, "Ambiguous reference to field: n"),
        (
            "SELECT c.n FROM c JOIN d AS e ON c.n = e.n",
            QueryInvalid,
            "Joining to \"e\" disallowed without appropriate index support. Please run ADVISE for recommendations.",
        ),
        (
            "SELECT c.n FROM d JOIN c ON c._id = d._id RIGHT JOIN c AS e ON e._id = d._id",
            QueryUnsupported,
            "RIGHT OUTER join that isn't the first join is not supported",
        ),
        (
            &too_many,
            QueryInvalid,
            "Too many joins: the number of joined terms exceeds the maximum permitted.",
        ),
        ("SELECT * FROM c USE IDS ('a', 'b')", QueryInvalid, "('a', 'b') is not supported"),
        // INSERT.
        ("INSERT INTO c DOCUMENTS ({k: 1})", QueryInvalid, "Cannot convert to a literal"),
        (
            "INSERT INTO c DOCUMENTS ({'_id': 'a'})",
            QueryExecution,
            "Identifier conflict on document \"a\": using FAIL conflict policy",
        ),
        (
            "INSERT INTO c DOCUMENTS ({'_id': 'z'}), ({'_id': 'z'})",
            QueryExecution,
            "Expected unique document identifiers",
        ),
        ("INSERT INTO c DOCUMENTS ({'_id': 1.5})", DocumentId, "Floats are not supported in document IDs"),
        ("INSERT INTO c DOCUMENTS ({'_id': null})", DocumentId, "Null document ID not allowed"),
        // UPDATE.
        ("UPDATE c SET _id = 1", QueryInvalid, "The document id `_id` cannot be modified"),
        ("UPDATE c SET n = 1, n = 2", QueryInvalid, "More than one modification specified for the path n"),
        ("UPDATE c WHERE n = 1", QueryInvalid, "Missing SET and/or UNSET clause"),
        ("UPDATE c (f COUNTER) APPLY f RESTART", QueryInvalid, "Missing SET and/or UNSET clause"),
        (
            "UPDATE COLLECTION c (f REGISTER) SET f.g = 1",
            QueryInvalid,
            "Unsupported DML operation on REGISTER field \"f\"",
        ),
        ("UPDATE c APPLY k INCREMENT BY 1.5", QueryEvaluation, "Expected 1.5 to be an integer value"),
        // Indexes and settings.
        (
            "CREATE INDEX by_n ON c (s)",
            QueryExecution,
            "an index with the given name already exists on the given collection",
        ),
        ("SHOW no_such_setting", QueryParameter, "unknown parameter 'no_such_setting'"),
        ("ALTER SYSTEM SET no_such_setting = 1", QueryParameter, "unknown parameter 'no_such_setting'"),
        ("ALTER SYSTEM SET dql_strict_mode = 'x'", QueryParameter, "dql_strict_mode"),
        // System collections.
        (
            "INSERT INTO system:indexes DOCUMENTS ({'a': 1})",
            QueryUnsupported,
            "writing to a system collection",
        ),
        ("UPDATE system:indexes SET a = 1", QueryUnsupported, "writing to a system collection"),
        ("DELETE FROM system:indexes", QueryUnsupported, "writing to a system collection"),
        ("EVICT FROM system:request_history", QueryUnsupported, "writing to a system collection"),
    ] {
        let e = f.try_run(text, "{}").map(|r| rows(&r)).unwrap_err();
        assert!(e.to_string().contains(message), "{text}: {e}");
        assert_eq!(e.kind(), kind, "{text}: {e}");
    }
    // Nothing of all this left a trace.
    assert_eq!(f.rows("SELECT _id, n FROM c ORDER BY n"), [r#"{"_id":"a","n":1}"#, r#"{"_id":"b","n":2}"#]);
    f.clean();
}

#[test]
fn sizes() {
    let f = store();
    f.run("ALTER SYSTEM SET document_size_hard_limit_bytes = 100000");
    let big = "y".repeat(200_000);
    let e = f
        .try_run("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":{{"_id":"x","v":"{big}"}}}}"#))
        .unwrap_err();
    let text = e.to_string();
    assert!(text.contains("Document `_id = \"x\"` size is 2000"), "{text}");
    assert!(text.contains("bytes and exceeds limit of 100000 bytes"), "{text}");
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
}

#[test]
fn read_only_transactions_refuse_mutations() {
    let f = store();
    let tx = f.store.begin(TransactionOptions { read_only: true, hint: None }).unwrap();
    for text in ["INSERT INTO c DOCUMENTS ({})", "UPDATE c SET n = 1", "DELETE FROM c", "EVICT FROM c"] {
        let e = tx.execute(text, &object("{}")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TransactionReadOnly, "{text}: {e}");
    }
}

/// What fails in silence, and is meant to.
#[test]
fn no_errors() {
    let f = store();
    for (text, want) in [
        ("SELECT upper(n) AS u, n FROM c WHERE n = 1", vec![r#"{"n":1}"#]),
        ("SELECT n FROM c USE INDEX 'no_such_index' WHERE n = 2", vec![r#"{"n":2}"#]),
        ("DELETE FROM c WHERE n = 99", vec![]),
        ("UPDATE c SET n = 1 WHERE n = 99", vec![]),
        ("EVICT FROM nowhere WHERE n = 99", vec![]),
        ("INSERT INTO c INITIAL DOCUMENTS ({'_id': 'a'})", vec![]),
        ("INSERT INTO c DOCUMENTS ({'_id': 'a'}) ON ID CONFLICT DO NOTHING", vec![]),
    ] {
        let r = f.run(text);
        assert_eq!(rows(&r), want, "{text}");
        assert!(r.mutated_document_ids().is_empty(), "{text}");
    }
    f.clean();
}
