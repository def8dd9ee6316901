//! What strict mode refuses in writes (dql.md 3.4); what it reads and stores is for the store to test.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{BindContext, prepare};
use ditto_types::Object;
use harness::describe;

fn bind(text: &str, strict: bool) -> String {
    let context = BindContext { strict, ..BindContext::bare() };
    prepare(text)
        .and_then(|p| p.bind(&Object::new(), &context))
        .map_or_else(|e| describe(&e), |_| "ok".to_owned())
}

#[test]
fn nothing_is_written_below_what_is_not_declared() {
    for (text, want) in [
        ("UPDATE c SET a = {'b': 1}", "ok"),
        ("UPDATE c UNSET a", "ok"),
        ("UPDATE c SET a.b = 1", "query/invalid | Unsupported DML operation on REGISTER field \"a\" @1:14"),
        (
            "UPDATE c SET x = 1 UNSET a.b.c",
            "query/invalid | Unsupported DML operation on REGISTER field \"a\" @1:26",
        ),
        ("UPDATE COLLECTION c (a MAP) SET a.b = 1, a.c = {'d': 2}", "ok"),
        (
            "UPDATE COLLECTION c (a MAP) SET a.b.c = 1",
            "query/invalid | Unsupported DML operation on REGISTER field \"a.b\" @1:33",
        ),
        ("UPDATE COLLECTION c (a MAP(b MAP)) SET a.b.c = 1 UNSET a.b.d", "ok"),
        (
            "UPDATE c APPLY n INCREMENT BY 1",
            "query/invalid | Unsupported DML operation on REGISTER field \"n\" @1:16",
        ),
        (
            "UPDATE c APPLY n RESTART",
            "query/invalid | Unsupported DML operation on REGISTER field \"n\" @1:16",
        ),
        (
            "UPDATE c APPLY n PN_INCREMENT BY 1",
            "query/invalid | Unsupported DML operation on REGISTER field \"n\" @1:16",
        ),
        ("UPDATE COLLECTION c (n COUNTER, p PN_COUNTER) APPLY n INCREMENT BY 1, p PN_INCREMENT BY 1", "ok"),
        ("INSERT INTO c DOCUMENTS ({'a': {'b': 1}})", "ok"),
        ("DELETE FROM c WHERE a.b = 1", "ok"),
    ] {
        assert_eq!(bind(text, true), want, "{text}");
        assert_eq!(bind(text, false), "ok", "{text}");
    }
}

#[test]
fn a_declared_register_is_one_in_both_modes() {
    let text = "UPDATE COLLECTION c (f REGISTER) SET f.x = 1";
    let want = "query/invalid | Unsupported DML operation on REGISTER field \"f\" @1:38";
    assert_eq!((bind(text, true), bind(text, false)), (want.to_owned(), want.to_owned()));
}
