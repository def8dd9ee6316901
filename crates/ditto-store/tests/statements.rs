//! Statements on one store: policies, limits, commit ids and that nothing is ever half written.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use ditto_store::{StoreError, WallClock};
use ditto_types::{ErrorKind, Hlc, SiteId, Stamp, Value};
use fixture::*;

#[test]
fn insert_and_select() {
    let mut f = Fixture::new();
    let r = f.insert("c", r#"{"_id":"a","n":1,"o":{"x":[1,2.5,null]},"b":true}"#);
    assert_eq!((ids(&r), r.commit_id(), r.item_count()), (vec![r#""a""#.to_string()], Some(1), 0));
    let expected = [r#"{"_id":"a","b":true,"n":1,"o":{"x":[1,2.5,null]}}"#];
    assert_eq!(f.rows("SELECT * FROM c"), expected);
    let r = f.run("SELECT n, o.x FROM c WHERE _id = 'a'");
    assert_eq!(rows(&r), [r#"{"n":1,"x":[1,2.5,null]}"#]);
    assert_eq!((r.commit_id(), r.mutated_document_ids().len()), (None, 0));
    assert!(f.rows("SELECT * FROM nowhere").is_empty());
    f.reopen();
    assert_eq!(f.rows("SELECT * FROM c"), expected);
    f.clean();
}

#[test]
fn scans_keep_the_order_of_arrival_and_collections_apart() {
    let f = Fixture::new();
    for i in [5, 3, 9, 1] {
        f.insert("c", &format!(r#"{{"_id":"{i}","n":{i}}}"#));
        f.insert("d", &format!(r#"{{"_id":"{i}","n":-{i}}}"#));
    }
    assert_eq!(f.rows("SELECT n FROM c"), [r#"{"n":5}"#, r#"{"n":3}"#, r#"{"n":9}"#, r#"{"n":1}"#]);
    assert_eq!(f.rows("SELECT n FROM d WHERE n < -3 ORDER BY n LIMIT 1"), [r#"{"n":-9}"#]);
    assert_eq!(f.rows("SELECT n FROM c WHERE _id IN ('9', '1', 'x')").len(), 2);
    f.clean();
}

#[test]
fn conflict_policies() {
    let f = Fixture::new();
    let insert = |policy: &str, doc: &str| {
        f.try_run(&format!("INSERT INTO c DOCUMENTS (:d) {policy}"), &format!(r#"{{"d":{doc}}}"#))
    };
    insert("", r#"{"_id":"a","n":1,"o":{"x":1}}"#).unwrap();
    let before = f.store.load(f.key("c", "a")).unwrap().unwrap();

    for policy in ["", "ON ID CONFLICT FAIL"] {
        let e = insert(policy, r#"{"_id":"a","n":2}"#).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryExecution);
        assert_eq!(e.to_string(), r#"Identifier conflict on document "a": using FAIL conflict policy"#);
    }
    let r = insert("ON ID CONFLICT DO NOTHING", r#"{"_id":"a","n":2}"#).unwrap();
    assert!(ids(&r).is_empty() && r.commit_id().is_some());
    assert_eq!(f.store.load(f.key("c", "a")).unwrap().unwrap(), before);

    // Equal values and only those: nothing is written.
    let diff = "ON ID CONFLICT DO UPDATE_LOCAL_DIFF";
    let r = insert(diff, r#"{"_id":"a","n":1,"o":{"x":1}}"#).unwrap();
    assert!(ids(&r).is_empty());
    assert_eq!(f.store.load(f.key("c", "a")).unwrap().unwrap(), before);

    // One leaf differs: only it is new in the change set.
    let commits = f.store.subscribe_commits();
    let r = insert(diff, r#"{"_id":"a","n":1,"o":{"x":1,"y":2}}"#).unwrap();
    assert_eq!(ids(&r), [r#""a""#]);
    let commit = commits.recv().unwrap();
    let delta = commit.changes[0].delta();
    assert_eq!(delta.get(&["o".into(), "y".into()]), Some(Value::Int(2)));
    assert_eq!(delta.get(&["n".into()]), None);

    // Every supplied leaf is new, also equal ones; others stay.
    let r = insert("ON ID CONFLICT DO UPDATE", r#"{"_id":"a","n":1}"#).unwrap();
    assert_eq!(ids(&r), [r#""a""#]);
    assert_eq!(commits.recv().unwrap().changes[0].delta().get(&["n".into()]), Some(Value::Int(1)));
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","n":1,"o":{"x":1,"y":2}}"#]);
    f.clean();
}

#[test]
fn initial_documents_are_the_same_write_everywhere() {
    let (f, g) = (Fixture::new(), Fixture::new());
    let seed = "INSERT INTO c INITIAL DOCUMENTS (:d)";
    let args = r#"{"d":{"_id":"a","n":1}}"#;
    assert_eq!(ids(&f.run_with(seed, args)).len(), 1);
    g.clock.set(T0 + 99_999);
    g.run_with(seed, args);
    let digest = |f: &Fixture| f.store.load(f.key("c", "a")).unwrap().unwrap().digest;
    assert_eq!(digest(&f), digest(&g));
    assert_eq!(f.store.load(f.key("c", "a")).unwrap().unwrap().doc.born(), Some(Stamp::ZERO));
    // Not over an edited document, and not over a deleted one.
    f.run("UPDATE c SET n = 2 WHERE _id = 'a'");
    assert!(ids(&f.run_with(seed, args)).is_empty());
    assert_eq!(f.rows("SELECT n FROM c"), [r#"{"n":2}"#]);
    f.run("DELETE FROM c");
    assert!(ids(&f.run_with(seed, args)).is_empty());
    assert!(f.rows("SELECT * FROM c").is_empty());
    // But after an eviction the device knows nothing, and seeds again.
    g.run("EVICT FROM c");
    assert_eq!(ids(&g.run_with(seed, args)).len(), 1);
    f.clean();
    g.clean();
}

#[test]
fn a_deleted_document_can_be_inserted_again_with_new_fields_only() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a","n":1,"m":1}"#);
    let r = f.run("DELETE FROM c WHERE n = 1");
    assert_eq!(ids(&r), [r#""a""#]);
    assert!(f.rows("SELECT * FROM c").is_empty());
    assert_eq!(f.clean().tombstones, 1);
    // The default policy does not see a conflict.
    f.insert("c", r#"{"_id":"a","k":2}"#);
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","k":2}"#]);
    assert_eq!(f.clean().tombstones, 0);
}

#[test]
fn ids_of_all_kinds() {
    let f = Fixture::new();
    for id in [r#""s""#, "1", "-7", "true", "[1,2]", r#"{"b":1,"a":"x"}"#] {
        let r = f.insert("c", &format!(r#"{{"_id":{id},"v":0}}"#));
        assert_eq!(r.mutated_document_ids()[0].to_value(), value(id));
        let found = f.run_with("SELECT _id FROM c WHERE _id = :id", &format!(r#"{{"id":{id}}}"#));
        assert_eq!(found.items()[0].get("_id"), Some(&value(id)));
    }
    assert_eq!(f.rows("SELECT v FROM c WHERE _id.a = 'x'").len(), 1);
    // Fields of a composite id in another order are the same id.
    let e = f.try_run("INSERT INTO c DOCUMENTS (:d)", r#"{"d":{"_id":{"a":"x","b":1}}}"#).unwrap_err();
    assert!(matches!(e, StoreError::IdConflict(_)));
    for (id, text) in [
        ("1.5", "Floats are not supported in document IDs"),
        ("[1.5]", "Floats are not supported in document IDs"),
        ("null", "Null document ID not allowed"),
    ] {
        let e = f.try_run("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":{{"_id":{id}}}}}"#)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DocumentId);
        assert!(e.to_string().starts_with(text), "{e}");
    }
    f.clean();
}

#[test]
fn missing_ids_are_generated_and_differ() {
    let f = Fixture::new();
    let r = f.run_with("INSERT INTO c DOCUMENTS (:d)", r#"{"d":[{"n":1},{"n":2}]}"#);
    let made: Vec<_> = r.mutated_document_ids().to_vec();
    assert_eq!(made.len(), 2);
    assert_ne!(made[0], made[1]);
    for id in made {
        let text = id.to_value().as_str().unwrap().to_string();
        assert_eq!(text.len(), 36, "{text}");
        assert_eq!(text.as_bytes()[14], b'4', "{text}");
    }
}

#[test]
fn a_failing_insert_writes_none_of_its_documents() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"b"}"#);
    let head = f.store.head();
    let commits = f.store.subscribe_commits();
    let e = f.try_run("INSERT INTO c DOCUMENTS (:d)", r#"{"d":[{"_id":"a"},{"_id":"b"}]}"#).unwrap_err();
    assert!(matches!(e, StoreError::IdConflict(_)));
    let e = f.try_run("INSERT INTO c DOCUMENTS (:d)", r#"{"d":[{"_id":"x"},{"_id":"x"}]}"#).unwrap_err();
    assert!(e.to_string().starts_with("Expected unique document identifiers"), "{e}");
    let e = f.try_run("INSERT INTO d DOCUMENTS (:d)", r#"{"d":[{"_id":"x"},{"_id":1.5}]}"#).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DocumentId);
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"b"}"#]);
    assert!(f.rows("SELECT * FROM d").is_empty());
    assert_eq!((f.store.head(), commits.len()), (head, 0));
    f.clean();
}

#[test]
fn update_set_unset_and_what_it_reports() {
    let f = Fixture::new();
    for i in 0..4 {
        f.insert("c", &format!(r#"{{"_id":"{i}","n":{i},"o":{{"a":1,"b":2}}}}"#));
    }
    let r = f.run("UPDATE c SET n = n + 10, o.a = n, x.y.z = 1 UNSET o.b WHERE n >= 2");
    assert_eq!(ids(&r), [r#""2""#, r#""3""#]);
    // Right-hand sides see the document before the statement.
    assert_eq!(
        f.rows("SELECT * FROM c WHERE n > 10 ORDER BY n"),
        [
            r#"{"_id":"2","n":12,"o":{"a":2},"x":{"y":{"z":1}}}"#,
            r#"{"_id":"3","n":13,"o":{"a":3},"x":{"y":{"z":1}}}"#,
        ]
    );
    // The same value is still a mutation.
    let commits = f.store.subscribe_commits();
    let r = f.run("UPDATE c SET n = 0 WHERE _id = '0'");
    assert_eq!(ids(&r).len(), 1);
    assert_eq!(commits.recv().unwrap().changes.len(), 1);
    // Nothing found is no error, and still has a number.
    let before = f.store.head();
    let r = f.run("UPDATE c SET n = 0 WHERE _id = 'none'");
    assert!(ids(&r).is_empty());
    assert_eq!(r.commit_id(), Some(before + 1));
    assert_eq!((f.store.head(), commits.recv().unwrap().changes.len()), (before + 1, 0));
    let e = f.try_run("UPDATE c SET _id = 'z'", "{}").unwrap_err();
    assert!(e.to_string().starts_with("The document id `_id` cannot be modified"), "{e}");
    f.clean();
}

#[test]
fn a_failing_update_changes_no_document() {
    let f = Fixture::new();
    let big = "x".repeat(3 * 1024 * 1024);
    f.insert("c", r#"{"_id":"a"}"#);
    f.insert("c", &format!(r#"{{"_id":"b","v":"{big}"}}"#));
    f.insert("c", r#"{"_id":"c"}"#);
    let e = f.try_run("UPDATE c SET w = :w", &format!(r#"{{"w":"{big}"}}"#)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    assert!(f.rows("SELECT w FROM c WHERE w IS NOT MISSING").is_empty());
    f.clean();
}

#[test]
fn size_limits() {
    let f = Fixture::new();
    let over = "x".repeat(5 * 1024 * 1024 + 1);
    let e = f
        .try_run("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":{{"_id":"a","v":"{over}"}}}}"#))
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    let text = e.to_string();
    assert!(text.starts_with(r#"Document `_id = "a"` size is 52"#), "{text}");
    assert!(text.ends_with("exceeds limit of 5242880 bytes"), "{text}");
    assert!(f.rows("SELECT _id FROM c").is_empty());

    // Merging may go over the limit; then only writes that shrink the document pass.
    let half = Value::from("x".repeat(3 * 1024 * 1024));
    let mut sent = doc("{}", stamp(T0, 1));
    set(&mut sent, "a", half.clone(), stamp(T0, 1));
    set(&mut sent, "b", half, stamp(T0 + 1, 2));
    f.store.apply(batch(vec![item("c", "m", ditto_store::ItemBody::full(&sent))])).unwrap();
    let e = f.try_run("UPDATE c SET z = 1 WHERE _id = 'm'", "{}").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SizeLimitExceeded);
    f.run("UPDATE c UNSET a WHERE _id = 'm'");
    f.run("UPDATE c SET z = 1 WHERE _id = 'm'");
    assert_eq!(f.rows("SELECT z FROM c"), [r#"{"z":1}"#]);
    f.clean();
}

#[test]
fn depth_limit() {
    let f = Fixture::new();
    let nested = |n: usize| format!(r#"{{"_id":"d{n}","v":{}1{}}}"#, "[".repeat(n), "]".repeat(n));
    let mut deepest = 0;
    for n in [10, 60, 61, 62, 63, 64, 65, 70] {
        let args = format!(r#"{{"d":{}}}"#, nested(n));
        let Ok(ditto_types::Value::Object(args)) = ditto_types::json::from_str(&args) else { continue };
        match f.store.execute("INSERT INTO c DOCUMENTS (:d)", &args) {
            Ok(_) => deepest = n,
            Err(e) => assert!(
                matches!(
                    e.kind(),
                    ErrorKind::DepthLimitExceeded | ErrorKind::QueryArguments | ErrorKind::QueryExecution
                ),
                "{e:?}"
            ),
        }
    }
    assert!(deepest >= 60, "{deepest}");
    // Whatever was accepted can be read again.
    assert!(!f.rows("SELECT * FROM c").is_empty());
    f.clean();
}

#[test]
fn evict_forgets_and_starts_a_new_incarnation() {
    let mut f = Fixture::new();
    for i in 0..3 {
        f.insert("c", &format!(r#"{{"_id":"{i}","n":{i}}}"#));
    }
    let commits = f.store.subscribe_commits();
    let author =
        |f: &Fixture, id: &str| f.store.load(f.key("c", id)).unwrap().unwrap().doc.born().unwrap().site;
    let first: SiteId = author(&f, "0");
    let r = f.run("EVICT FROM c WHERE n > 0 ORDER BY n DESC LIMIT 1");
    assert_eq!(ids(&r), [r#""2""#]);
    let commit = commits.recv().unwrap();
    assert_eq!(commit.evicted_collections, ["c"]);
    assert!(commit.changes[0].new_state().is_none() && commit.changes[0].old.is_some());
    assert_eq!(f.store.load(f.key("c", "2")).unwrap(), None);
    assert_eq!(f.clean().tombstones, 0);
    // Lazily: at the next write, also after a restart, and only once.
    f.reopen();
    f.insert("c", r#"{"_id":"2","n":20}"#);
    let second = author(&f, "2");
    assert_eq!((second.id, second.incarnation), (first.id, first.incarnation + 1));
    f.insert("c", r#"{"_id":"9"}"#);
    assert_eq!(author(&f, "9"), second);
    // An eviction that finds nothing is none.
    f.run("EVICT FROM c WHERE n = 12345");
    f.insert("c", r#"{"_id":"10"}"#);
    assert_eq!(author(&f, "10"), second);
    f.clean();
}

#[test]
fn counters_add_up() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    f.run("UPDATE c APPLY n INCREMENT BY 5 WHERE _id = 'a'");
    f.run("UPDATE c APPLY n INCREMENT BY -2 WHERE _id = 'a'");
    assert_eq!(f.rows("SELECT n FROM c"), [r#"{"n":3}"#]);
    f.run("UPDATE c APPLY n RESTART WITH 100");
    f.run("UPDATE c APPLY n INCREMENT BY 1");
    assert_eq!(f.rows("SELECT n FROM c"), [r#"{"n":101}"#]);
    f.clean();
}

#[test]
fn declared_kinds_of_nested_fields() {
    let f = Fixture::new();
    f.run_with(
        "INSERT INTO COLLECTION c (r REGISTER, hits COUNTER) DOCUMENTS (:d)",
        r#"{"d":{"_id":"a","r":{"x":1},"hits":7,"o":{"k":1}}}"#,
    );
    f.run("UPDATE COLLECTION c (hits COUNTER) APPLY hits INCREMENT BY 1");
    f.run("UPDATE COLLECTION c (r REGISTER) SET r = {'y': 2}");
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","hits":8,"o":{"k":1},"r":{"y":2}}"#]);
    f.clean();
}

#[test]
fn commits_are_dense_and_their_stamps_grow_even_when_the_clock_goes_back() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    for i in 0..20u64 {
        f.clock.set(T0 - i * 1000);
        f.insert("c", &format!(r#"{{"_id":"{i}"}}"#));
    }
    let mut last = Hlc::ZERO;
    for seq in 1..=20 {
        let commit = commits.recv().unwrap();
        assert_eq!(commit.seq, seq);
        let at = commit.changes[0].delta().max_hlc();
        assert!(at > last);
        last = at;
    }
    assert!(f.clock.now_ms() < T0);
}

#[test]
fn errors_have_kinds_and_places() {
    let f = Fixture::new();
    let e = f.try_run("SELEKT * FROM c", "{}").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryInvalid);
    let p = e.position().unwrap();
    assert_eq!((p.line, p.column), (1, 1));
    let e = f.try_run("SELECT *\nFROM c WHERE n = :n", "{}").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryArguments);
    let e = f.try_run("INSERT INTO `system:x` DOCUMENTS ({'_id':1})", "{}").unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::QueryInvalid | ErrorKind::QueryUnsupported), "{e:?}");
    let e =
        f.try_run(&format!("INSERT INTO `{}` DOCUMENTS ({{'_id':1}})", "x".repeat(256)), "{}").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryInvalid);
    assert_eq!(f.store.head(), 0);
}
