//! What statements read: declared kinds and strict mode, counts, rows in their stored form.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use ditto_store::{QueryResult, TransactionOptions};
use ditto_types::{Object, Value};
use fixture::*;

fn count(result: &QueryResult) -> i64 {
    result.items()[0].get("($1)").and_then(Value::as_i64).unwrap()
}

/// A field with a register, a map and a counter, of which the register is the newest.
fn three_kinds() -> Fixture {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1,"f":{"x":1},"plain":7,"m":{"k":"v"}}"#);
    f.clock.set(T0 + 10);
    f.run("UPDATE c APPLY f PN_INCREMENT BY 2.0 WHERE _id = 1");
    f.clock.set(T0 + 20);
    f.run(r#"UPDATE COLLECTION c (f REGISTER) SET f = {"z":9} WHERE _id = 1"#);
    f
}

#[test]
fn a_declared_field_is_read_as_its_kind() {
    let f = three_kinds();
    for (declared, all, one, filter) in [
        ("c", r#"{"z":9}"#, r#"{"z":9}"#, "f.z = 9"),
        ("COLLECTION c (f REGISTER)", r#"{"z":9}"#, r#"{"z":9}"#, "f.z = 9"),
        ("COLLECTION c (f MAP)", r#"{"x":1}"#, r#"{"x":1}"#, "f.x = 1 AND f.z IS MISSING"),
        ("COLLECTION c (f PN_COUNTER)", "2.0", "2.0", "f > 1.5 AND f.z IS MISSING"),
    ] {
        let rows = f.rows(&format!("SELECT * FROM {declared}"));
        assert_eq!(rows, [format!(r#"{{"_id":1,"f":{all},"m":{{"k":"v"}},"plain":7}}"#)], "{declared}");
        assert_eq!(f.rows(&format!("SELECT f FROM {declared}")), [format!(r#"{{"f":{one}}}"#)], "{declared}");
        assert_eq!(f.rows(&format!("SELECT plain FROM {declared} WHERE {filter}")), [r#"{"plain":7}"#]);
        let by_id = f.rows(&format!("SELECT f FROM {declared} WHERE _id = 1 AND {filter}"));
        assert_eq!(by_id, [format!(r#"{{"f":{one}}}"#)]);
    }
    // Nothing of that kind: MISSING.
    assert_eq!(f.rows("SELECT f, plain FROM COLLECTION c (f COUNTER)"), [r#"{"plain":7}"#]);
    assert_eq!(f.rows("SELECT plain FROM COLLECTION c (f COUNTER) WHERE f IS MISSING").len(), 1);
    let all = f.rows("SELECT * FROM COLLECTION c (f COUNTER)");
    assert_eq!(all, [r#"{"_id":1,"m":{"k":"v"},"plain":7}"#]);
}

#[test]
fn strict_mode_sees_registers_and_what_is_declared() {
    let f = three_kinds();
    f.run("ALTER SYSTEM SET dql_strict_mode = true");
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":1,"f":{"z":9},"plain":7}"#]);
    assert_eq!(f.rows("SELECT plain FROM c WHERE m IS MISSING AND m.k IS MISSING"), [r#"{"plain":7}"#]);
    let declared = "COLLECTION c (m MAP(k REGISTER), f PN_COUNTER)";
    assert_eq!(
        f.rows(&format!("SELECT * FROM {declared}")),
        [r#"{"_id":1,"f":2.0,"m":{"k":"v"},"plain":7}"#]
    );
    assert_eq!(f.rows(&format!("SELECT m.k FROM {declared} WHERE m.k = 'v'")), [r#"{"k":"v"}"#]);
    // An index that has values of several kinds cannot answer for one of them.
    f.run("CREATE INDEX ix ON c (f)");
    assert_eq!(f.rows(&format!("SELECT plain FROM {declared} WHERE f = 2.0")), [r#"{"plain":7}"#]);
    f.run("ALTER SYSTEM SET dql_strict_mode = false");
    assert_eq!(f.rows("SELECT plain FROM COLLECTION c (f PN_COUNTER) WHERE f = 2.0"), [r#"{"plain":7}"#]);
    assert!(f.rows("SELECT plain FROM c WHERE f = 2.0").is_empty());
    f.clean();
}

#[test]
fn counts_follow_every_way_that_documents_come_and_go() {
    let mut f = Fixture::new();
    let counted = |f: &Fixture| count(&f.run("SELECT COUNT(*) FROM c"));
    assert_eq!(counted(&f), 0);
    for i in 0..5 {
        f.insert("c", &format!(r#"{{"_id":{i},"n":{i}}}"#));
    }
    f.insert("other", r#"{"_id":1}"#);
    assert_eq!(counted(&f), 5);
    f.clock.set(T0 + 10);
    f.run("DELETE FROM c WHERE n = 1");
    f.run("DELETE FROM c WHERE n = 1");
    f.run("EVICT FROM c WHERE n = 2");
    assert_eq!(counted(&f), 3);
    // Again, after its deletion, and a tombstone that is evicted.
    f.clock.set(T0 + 20);
    f.insert("c", r#"{"_id":1,"n":1}"#);
    assert_eq!(counted(&f), 4);
    assert!(f.try_run("INSERT INTO c DOCUMENTS ({'_id': 50}), ({'_id': 0})", "{}").is_err());
    assert_eq!(counted(&f), 4);
    let t = f.store.begin(TransactionOptions::default()).unwrap();
    t.execute("INSERT INTO c DOCUMENTS ({'_id': 60}), ({'_id': 61})", &Object::new()).unwrap();
    assert!(t.execute("INSERT INTO c DOCUMENTS ({'_id': 62}), ({'_id': 60})", &Object::new()).is_err());
    t.execute("DELETE FROM c WHERE _id = 0", &Object::new()).unwrap();
    let inside = t.execute("SELECT COUNT(*) FROM c", &Object::new()).unwrap();
    assert_eq!((count(&inside), counted(&f)), (5, 4));
    t.rollback().unwrap();
    assert_eq!(counted(&f), 4);
    let old = f.store.begin(TransactionOptions { read_only: true, hint: None }).unwrap();
    let new = doc(r#"{"n":9}"#, stamp(T0 + 30, 7));
    f.store.apply(batch(vec![item("c", "remote", ditto_store::ItemBody::full(&new))])).unwrap();
    assert_eq!(counted(&f), 5);
    assert_eq!(count(&old.execute("SELECT COUNT(*) FROM c", &Object::new()).unwrap()), 4, "its snapshot");
    drop(old);
    f.clean();
    f.reopen();
    assert_eq!(counted(&f), 5);
    f.clean();
}

#[test]
fn rows_can_be_kept_beyond_their_result_and_their_store() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":{"k":1},"a":[1,{"b":1.0}],"s":"\"é\n","big":18446744073709551615}"#);
    let result = f.run("SELECT * FROM c");
    let item = result.lazy_items().get(0).unwrap().into_owned();
    let expected = r#"{"_id":{"k":1},"a":[1,{"b":1.0}],"big":18446744073709551615,"s":"\"é\n"}"#;
    // CBOR too comes from the stored form, and is that of the value.
    let mut cbor = Vec::new();
    item.write_cbor(&mut cbor);
    assert_eq!(cbor, ditto_types::cbor::to_vec(&item.value()));
    drop(result);
    f.run("DELETE FROM c");
    f.store.close();
    let mut text = String::new();
    item.write_json(&mut text);
    assert_eq!(text, expected);
    assert_eq!(item.value(), value(expected));
    assert!(item.weight() > 0);
}
