//! Indexes and statements that do not read the newest kind of each field: strict mode and declared kinds.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "each file uses its part")]
mod fixture;

use std::sync::atomic::{AtomicBool, Ordering};

use fixture::{Fixture, rows};
use proptest::prelude::*;

fn strict(f: &Fixture, on: bool) {
    f.run(&format!("ALTER SYSTEM SET dql_strict_mode = {on}"));
}

fn uses_index(f: &Fixture, text: &str) -> bool {
    let plan = f.rows(&format!("EXPLAIN {text}")).concat();
    plan.contains("indexScan")
}

const BY_A: &str = "SELECT _id FROM c WHERE a = 1";

#[test]
fn strict_mode_uses_an_index_of_registers() {
    let mut f = Fixture::new();
    strict(&f, true);
    f.run("CREATE INDEX ia ON c (a)");
    f.run("CREATE INDEX iab ON c (a.b)");
    assert!(uses_index(&f, BY_A), "nothing is against it in an empty collection");
    for i in 0..20 {
        f.run(&format!("INSERT INTO c DOCUMENTS ({{'_id': {i}, 'a': {}}})", i % 10));
    }
    f.run("INSERT INTO c DOCUMENTS ({'_id': 'o', 'a': {'b': 7}})");
    for _ in 0..2 {
        assert!(uses_index(&f, BY_A));
        assert_eq!(f.rows(BY_A), [r#"{"_id":1}"#, r#"{"_id":11}"#]);
        assert_eq!(f.rows("SELECT a FROM c WHERE a >= 8 ORDER BY a DESC LIMIT 3").len(), 3);
        // A register that is an object.
        let below = "SELECT _id FROM c WHERE a.b = 7";
        assert!(uses_index(&f, below));
        assert_eq!(f.rows(below), [r#"{"_id":"o"}"#]);
        f.reopen();
        strict(&f, true);
    }
    // A value of another kind: the index holds it, and strict mode does not see it.
    strict(&f, false);
    f.run("UPDATE c APPLY a INCREMENT BY 1 WHERE _id = 5");
    assert_eq!(f.rows(BY_A).len(), 3);
    strict(&f, true);
    assert!(!uses_index(&f, BY_A));
    assert_eq!(f.rows(BY_A).len(), 2);
    assert_eq!(f.rows("SELECT _id FROM c WHERE a = 5"), [r#"{"_id":5}"#, r#"{"_id":15}"#]);
    // What was written once is not forgotten, only an index that is made afterwards does not know of it.
    f.run("EVICT FROM c WHERE _id = 5");
    assert!(!uses_index(&f, BY_A));
    f.run("DROP INDEX ia ON c");
    f.run("CREATE INDEX ia ON c (a)");
    assert!(uses_index(&f, BY_A));
    f.clean();
}

#[test]
fn declared_kinds_use_an_index_of_values_of_these_kinds() {
    let f = Fixture::new();
    f.run("INSERT INTO COLLECTION c (n COUNTER) DOCUMENTS ({'_id': 1, 'n': 4, 'm': {'k': 1}})");
    f.run("CREATE INDEX i_n ON c (n)");
    f.run("CREATE INDEX i_k ON c (m.k)");
    f.run("INSERT INTO COLLECTION c (n COUNTER) DOCUMENTS ({'_id': 2, 'n': 5, 'm': {'k': 2}})");
    let counter = "SELECT _id FROM COLLECTION c (n COUNTER) WHERE n = 4";
    let map = "SELECT _id FROM COLLECTION c (m MAP) WHERE m.k = 2";
    for on in [false, true] {
        strict(&f, on);
        for (text, id) in [(counter, 1), (map, 2)] {
            assert!(uses_index(&f, text), "{on} {text}");
            assert_eq!(f.rows(text), [format!(r#"{{"_id":{id}}}"#)]);
        }
        for text in [
            "SELECT _id FROM COLLECTION c (n REGISTER) WHERE n = 4",
            "SELECT _id FROM COLLECTION c (m REGISTER) WHERE m.k = 2",
        ] {
            assert!(!uses_index(&f, text), "{on} {text}");
            assert!(f.rows(text).is_empty(), "{on} {text}");
        }
    }
    let undeclared = "SELECT _id FROM c WHERE m.k = 2";
    assert!(!uses_index(&f, undeclared) && f.rows(undeclared).is_empty(), "strict");
    strict(&f, false);
    assert!(uses_index(&f, undeclared) && f.rows(undeclared).len() == 1);
}

#[test]
fn a_kind_is_noted_with_the_document_that_has_it_or_not_at_all() {
    let mut f = Fixture::new();
    f.run("CREATE INDEX ia ON c (a)");
    f.run("INSERT INTO c DOCUMENTS ({'_id': 1, 'a': 1})");
    // A statement that fails, and a transaction that is taken back.
    let failing = "INSERT INTO c DOCUMENTS ({'_id': 2, 'a': {'x': 1}}), ({'_id': 1})";
    assert!(f.try_run(failing, "{}").is_err());
    let t = f.store.begin(ditto_store::TransactionOptions::default()).unwrap();
    t.execute("UPDATE c APPLY a INCREMENT BY 1", &fixture::object("{}")).unwrap();
    t.rollback().unwrap();
    strict(&f, true);
    assert!(uses_index(&f, BY_A));
    // Inside a transaction its own writes count, and a reader that began before does not see them.
    strict(&f, false);
    let reader = f.store.begin(ditto_store::TransactionOptions { read_only: true, hint: None }).unwrap();
    let none = fixture::object("{}");
    assert_eq!(reader.execute(BY_A, &none).unwrap().item_count(), 1);
    let t = f.store.begin(ditto_store::TransactionOptions::default()).unwrap();
    t.execute("UPDATE c APPLY a INCREMENT BY 5", &none).unwrap();
    strict(&f, true);
    let explained = rows(&t.execute(&format!("EXPLAIN {BY_A}"), &none).unwrap()).concat();
    assert!(!explained.contains("indexScan"), "{explained}");
    assert_eq!(t.execute(BY_A, &none).unwrap().item_count(), 1);
    t.commit().unwrap();
    let explained = rows(&reader.execute(&format!("EXPLAIN {BY_A}"), &none).unwrap()).concat();
    assert!(explained.contains("indexScan"), "{explained}");
    assert_eq!(reader.execute(BY_A, &none).unwrap().item_count(), 1);
    drop(reader);
    assert!(!uses_index(&f, BY_A));
    f.reopen();
    strict(&f, true);
    assert!(!uses_index(&f, BY_A) && f.rows(BY_A).len() == 1);
    f.clean();
}

/// A reader plans with an index, and a value of another kind comes before it reads: it must not miss what the index no longer
/// shows.
#[test]
fn readers_beside_the_first_value_of_another_kind_miss_nothing() {
    let f = Fixture::new();
    strict(&f, true);
    for round in 0..30 {
        let collection = format!("c{round}");
        f.run(&format!("CREATE INDEX i ON {collection} (a)"));
        f.run(&format!("INSERT INTO {collection} DOCUMENTS ({{'_id': 1, 'a': 1}}), ({{'_id': 2, 'a': 1}})"));
        let find = format!("SELECT _id FROM {collection} WHERE a = 1");
        let declared = format!("SELECT _id FROM COLLECTION {collection} (a REGISTER) WHERE a = 1");
        assert!(uses_index(&f, &find));
        let written = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                f.run(&format!("UPDATE COLLECTION {collection} (a COUNTER) APPLY a INCREMENT BY 5"));
                written.store(true, Ordering::Release);
            });
            let mut last = false;
            while !last {
                // Once more afterwards.
                last = written.load(Ordering::Acquire);
                assert_eq!(f.run(&find).item_count(), 2, "{round}");
                assert_eq!(f.run(&declared).item_count(), 2, "{round}");
            }
        });
        assert!(!uses_index(&f, &find));
    }
    f.clean();
}

const WRITES: &[&str] = &[
    "INSERT INTO c DOCUMENTS ({'_id': :i, 'a': :v, 'o': {'k': :v}}) ON ID CONFLICT DO UPDATE",
    "INSERT INTO c DOCUMENTS ({'_id': :i, 'a': :v, 'b': :v}) ON ID CONFLICT DO UPDATE",
    "INSERT INTO COLLECTION c (a COUNTER) DOCUMENTS ({'_id': :i, 'a': :v}) ON ID CONFLICT DO UPDATE",
    "INSERT INTO COLLECTION c (o REGISTER) DOCUMENTS ({'_id': :i, 'o': {'k': :v}}) ON ID CONFLICT DO UPDATE",
    "UPDATE c SET a = :v WHERE _id = :i",
    "UPDATE c SET a = :v WHERE b = :v",
    "UPDATE c SET o = {'k': :v} WHERE _id = :i",
    "UPDATE c APPLY b INCREMENT BY :v WHERE _id = :i",
    "UPDATE c UNSET a WHERE a = :v",
    "UPDATE c SET o.k = :v, b = {'x': 1} WHERE _id = :i",
    "UPDATE COLLECTION c (o MAP(k COUNTER)) APPLY o.k INCREMENT BY 1 WHERE _id = :i",
    "DELETE FROM c WHERE _id = :i",
    "EVICT FROM c WHERE a = :v",
];

const READS: &[&str] = &[
    "SELECT * FROM c WHERE a = :v",
    "SELECT a FROM c WHERE a > :v",
    "SELECT _id, b FROM c WHERE b = :v OR a = :v",
    "SELECT _id FROM c WHERE a = :v AND b = :v",
    "SELECT * FROM c WHERE o.k = :v",
    "SELECT o.k FROM c WHERE o.k >= :v",
    "SELECT * FROM c WHERE a IS MISSING",
    "SELECT * FROM COLLECTION c (a COUNTER) WHERE a = :v",
    "SELECT * FROM COLLECTION c (a REGISTER) WHERE a = :v",
    "SELECT * FROM COLLECTION c (o MAP) WHERE o.k = :v",
    "SELECT o.k FROM COLLECTION c (o MAP(k COUNTER)) WHERE o.k >= :v",
    "SELECT * FROM COLLECTION c (o REGISTER) WHERE o.k = :v",
    "SELECT * FROM COLLECTION c (b COUNTER) WHERE b = :v AND a < 3",
    "SELECT x._id AS x, y._id AS y FROM c x JOIN c y USE INDEX '' ON y.a = x.b",
    "SELECT COUNT(*) AS n, a FROM c WHERE a >= :v GROUP BY a",
];

/// What a statement says of strict mode, an id, a value and its text.
type Step = (bool, bool, u8, u8, usize);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// In strict mode and out of it, with declarations and without, indexes change no result.
    #[test]
    fn indexes_change_nothing_that_any_mode_sees(
        steps in prop::collection::vec(any::<Step>(), 1..40), late in any::<bool>(), mixed in 1usize..=13,
    ) {
        let (with, without) = (Fixture::new(), Fixture::new());
        let indexes = || ["ia ON c (a)", "ib ON c (b, a DESC)", "ik ON c (o.k)"].iter().for_each(|i| {
            with.run(&format!("CREATE INDEX {i}"));
        });
        if !late {
            indexes();
        }
        for (at, (write, is_strict, id, v, which)) in steps.iter().enumerate() {
            if late && at == steps.len() / 2 {
                indexes();
            }
            let args = format!(r#"{{"i":{},"v":{}}}"#, id % 6, v % 4);
            strict(&with, *is_strict);
            strict(&without, *is_strict);
            let text = if *write { WRITES[which % mixed] } else { READS[which % READS.len()] };
            let outcome = |f: &Fixture| match f.try_run(text, &args) {
                Ok(r) => {
                    let mut found = rows(&r);
                    found.extend(fixture::ids(&r));
                    found.sort();
                    Ok(found)
                }
                Err(e) => Err(e.to_string()),
            };
            prop_assert_eq!(outcome(&with), outcome(&without), "strict {}: {} {}", is_strict, text, args);
        }
        with.clean();
    }
}
