//! What the writing statements do to documents, as tables of statements and outcomes (dql.md 3.5 and 7).
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use fixture::*;

/// What a statement gave: of a mutation the ids it lists, then the rows; or the error.
fn outcome(f: &Fixture, text: &str, args: &str) -> String {
    match f.try_run(text, args) {
        Ok(r) => {
            let mut parts = rows(&r);
            if r.commit_id().is_some() {
                parts.insert(0, format!("[{}]", ids(&r).join(",")));
            }
            parts.join(" ")
        }
        Err(e) => format!("error: {e}"),
    }
}

/// Runs statements one after the other on a new store.
fn script(args: &str, steps: &[(&str, &str)]) {
    let f = Fixture::new();
    for (i, (text, want)) in steps.iter().enumerate() {
        assert_eq!(outcome(&f, text, args), *want, "step {}: {text}", i + 1);
    }
    f.clean();
}

const ALL: &str = "SELECT * FROM c";

/// dql.md 3.5.
#[test]
fn kinds_of_value_under_one_name() {
    script(
        "{}",
        &[
            ("INSERT INTO c DOCUMENTS ({'_id': 1, 'cnt': 10})", "[1]"),
            ("UPDATE c APPLY cnt INCREMENT BY 1", "[1]"),
            // A new counter from 0 hides the register.
            (ALL, r#"{"_id":1,"cnt":1}"#),
            ("SELECT cnt FROM COLLECTION c (cnt REGISTER)", r#"{"cnt":10}"#),
            (
                "UPDATE COLLECTION c (cnt REGISTER) SET x = cnt WHERE cnt = 10 RETURNING cnt, x",
                r#"[1] {"cnt":10,"x":10}"#,
            ),
            ("DELETE FROM c WHERE cnt = 10", "[]"),
            (
                "EVICT FROM COLLECTION c (cnt REGISTER) WHERE cnt = 10 RETURNING *",
                r#"[1] {"_id":1,"cnt":10,"x":10}"#,
            ),
        ],
    );
    script(
        "{}",
        &[
            ("INSERT INTO c DOCUMENTS ({'_id': 1})", "[1]"),
            ("UPDATE c APPLY pn PN_INCREMENT BY 4", "[1]"),
            ("UPDATE c APPLY pn PN_INCREMENT BY 4", "[1]"),
            (ALL, r#"{"_id":1,"pn":8.0}"#),
            ("UPDATE c APPLY pn INCREMENT BY 1", "[1]"),
            (ALL, r#"{"_id":1,"pn":1}"#),
        ],
    );
    script(
        "{}",
        &[
            (
                "INSERT INTO COLLECTION c (obj REGISTER) DOCUMENTS ({'_id': 1, 'obj': {'a': 1, 'b': 2}})",
                "[1]",
            ),
            ("UPDATE c SET obj.a = 11", "[1]"),
            (ALL, r#"{"_id":1,"obj":{"a":11}}"#),
            ("SELECT obj FROM COLLECTION c (obj REGISTER)", r#"{"obj":{"a":1,"b":2}}"#),
        ],
    );
    script(
        "{}",
        &[
            ("INSERT INTO c DOCUMENTS ({'_id': 1, 'obj': {'a': 1, 'b': 2}})", "[1]"),
            ("UPDATE c SET obj = 5", "[1]"),
            (ALL, r#"{"_id":1,"obj":5}"#),
            ("UPDATE c SET obj = {'w': 1}", "[1]"),
            (ALL, r#"{"_id":1,"obj":{"a":1,"b":2,"w":1}}"#),
        ],
    );
    // Copies hold values only: the counter becomes a number, unless both statements declare it.
    script(
        "{}",
        &[
            ("INSERT INTO COLLECTION c (n COUNTER) DOCUMENTS ({'_id': 1, 'n': 5})", "[1]"),
            ("INSERT INTO d SELECT * FROM c", "[1]"),
            ("SELECT n FROM COLLECTION d (n COUNTER)", "{}"),
            ("SELECT n FROM d", r#"{"n":5}"#),
            ("INSERT INTO COLLECTION e (n COUNTER) SELECT * FROM COLLECTION c (n COUNTER)", "[1]"),
            ("UPDATE e APPLY n INCREMENT BY 1", "[1]"),
            ("SELECT n FROM COLLECTION e (n COUNTER)", r#"{"n":6}"#),
        ],
    );
}

#[test]
fn unset_and_set_in_one_transaction() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1,"obj":{"a":1,"b":2}}"#);
    let tx = f.store.begin(ditto_store::TransactionOptions::default()).unwrap();
    tx.execute("UPDATE c UNSET obj", &object("{}")).unwrap();
    tx.execute("UPDATE c SET obj = {'w': 1}", &object("{}")).unwrap();
    tx.commit().unwrap();
    assert_eq!(f.rows(ALL), [r#"{"_id":1,"obj":{"w":1}}"#]);
    f.clean();
}

/// dql.md 7.3, each row on `{obj: {a: 1, b: 2}}`.
#[test]
fn update_of_objects() {
    for (text, want) in [
        ("UPDATE c SET obj.a = 10", r#"{"_id":1,"obj":{"a":10,"b":2}}"#),
        ("UPDATE c SET obj = {'c': 3}", r#"{"_id":1,"obj":{"a":1,"b":2,"c":3}}"#),
        ("UPDATE c SET obj = {}", r#"{"_id":1,"obj":{"a":1,"b":2}}"#),
        ("UPDATE c UNSET obj.b", r#"{"_id":1,"obj":{"a":1}}"#),
        ("UPDATE c UNSET obj", r#"{"_id":1}"#),
        ("UPDATE c SET x.y.z = 1", r#"{"_id":1,"obj":{"a":1,"b":2},"x":{"y":{"z":1}}}"#),
        ("UPDATE COLLECTION c (obj REGISTER) SET obj = {'c': 3}", r#"{"_id":1,"obj":{"c":3}}"#),
        // The right side is evaluated before anything is written.
        ("UPDATE c SET obj.a = obj.b, obj.b = obj.a", r#"{"_id":1,"obj":{"a":2,"b":1}}"#),
        // The older notation.
        ("UPDATE COLLECTION c (obj MAP) SET obj -> (a = 7, b -> tombstone())", r#"{"_id":1,"obj":{"a":7}}"#),
        ("UPDATE c SET obj -> tombstone()", r#"{"_id":1}"#),
        ("UPDATE COLLECTION c (obj REGISTER) SET obj -> default()", r#"{"_id":1,"obj":null}"#),
    ] {
        script(
            "{}",
            &[
                ("INSERT INTO c DOCUMENTS ({'_id': 1, 'obj': {'a': 1, 'b': 2}})", "[1]"),
                (text, "[1]"),
                (ALL, want),
            ],
        );
    }
    // A declared kind below an assigned map counts.
    script(
        "{}",
        &[
            ("INSERT INTO c DOCUMENTS ({'_id': 1})", "[1]"),
            (
                "UPDATE COLLECTION c (m MAP(n COUNTER, r REGISTER)) SET m = {'n': 5, 'r': {'a': 1}, 'x': {'b': 1}}",
                "[1]",
            ),
            ("UPDATE c APPLY m.n INCREMENT BY 1 SET m.x.c = 2", "[1]"),
            (ALL, r#"{"_id":1,"m":{"n":6,"r":{"a":1},"x":{"b":1,"c":2}}}"#),
            // A statement knows the kind it declares: a value of another kind stays.
            ("UPDATE COLLECTION c (m MAP(n REGISTER)) UNSET m.n", "[1]"),
            ("SELECT m.n FROM c", r#"{"n":6}"#),
            ("UPDATE COLLECTION c (m MAP(n COUNTER)) UNSET m.n", "[1]"),
            ("SELECT m.n FROM c", "{}"),
        ],
    );
}

#[test]
fn update_writes_also_what_is_the_same() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":1,"obj":{"a":1}}"#);
    let commits = f.store.subscribe_commits();
    for text in ["UPDATE c SET obj.a = 1", "UPDATE c SET obj = {}"] {
        let r = f.run(text);
        assert_eq!(ids(&r), ["1"], "{text}");
        let commit = commits.recv().unwrap();
        assert_eq!((commit.changes.len(), Some(commit.seq)), (1, r.commit_id()), "{text}");
    }
    // Matching nothing is no error, and takes a commit number all the same.
    let before = f.run("UPDATE c SET a = 1 WHERE false").commit_id().unwrap();
    assert_eq!(f.run("DELETE FROM c WHERE false").commit_id(), Some(before + 1));
    assert_eq!(f.run("EVICT FROM nowhere").commit_id(), Some(before + 2));
    assert_eq!(f.run(ALL).commit_id(), None);
    f.clean();
}

/// dql.md 7.4.
#[test]
fn counters() {
    script(
        "{}",
        &[
            ("INSERT INTO COLLECTION c (n COUNTER) DOCUMENTS ({'_id': 1, 'n': 5})", "[1]"),
            ("UPDATE c APPLY n INCREMENT BY -7", "[1]"),
            (ALL, r#"{"_id":1,"n":-2}"#),
            ("UPDATE c APPLY m INCREMENT BY 3, n RESTART", "[1]"),
            (ALL, r#"{"_id":1,"m":3,"n":0}"#),
            ("UPDATE c APPLY n RESTART WITH m + 4", "[1]"),
            (ALL, r#"{"_id":1,"m":3,"n":7}"#),
            (
                "UPDATE c APPLY n INCREMENT BY 1.5",
                "error: Expected 1.5 to be an integer value (line 1, column 31)",
            ),
            (ALL, r#"{"_id":1,"m":3,"n":7}"#),
        ],
    );
}

/// dql.md 7.2.
#[test]
fn insert_policies_and_forms() {
    script(
        r#"{"one":{"_id":"a","v":1},"many":[{"_id":"b"},{"_id":"c"}]}"#,
        &[
            ("INSERT INTO c DOCUMENTS (:one)", r#"["a"]"#),
            (
                "INSERT INTO c VALUES (:many), ({'_id': 'd', 'v': :one.v})",
                "error: expected ',' or '}', found '.' (line 1, column 54)",
            ),
            ("INSERT INTO c VALUES (:many), ({'_id': 'd'})", r#"["b","c","d"]"#),
            (
                "INSERT INTO c VALUES ({'_id': 'e'}), (:one)",
                r#"error: Identifier conflict on document "a": using FAIL conflict policy"#,
            ),
            ("SELECT count(*) AS n FROM c", r#"{"n":4}"#),
            (
                "INSERT INTO c VALUES ({'_id': 'e'}), ({'_id': 'e'})",
                "error: Expected unique document identifiers (line 1, column 39)",
            ),
            // Only what is written is listed.
            ("INSERT INTO c VALUES ({'_id': 'e'}), (:one) ON ID CONFLICT DO NOTHING", r#"["e"]"#),
            (
                "INSERT INTO c VALUES ({'_id': 'a', 'v': 1, 'o': {'x': 1}}) ON ID CONFLICT DO UPDATE_LOCAL_DIFF",
                r#"["a"]"#,
            ),
            ("INSERT INTO c VALUES ({'_id': 'a', 'v': 1}) ON ID CONFLICT DO UPDATE_LOCAL_DIFF", "[]"),
            ("INSERT INTO c VALUES ({'_id': 'a', 'o': {'y': 2}}) ON ID CONFLICT DO UPDATE", r#"["a"]"#),
            ("SELECT * FROM c WHERE _id = 'a'", r#"{"_id":"a","o":{"x":1,"y":2},"v":1}"#),
            // A register is replaced.
            (
                "INSERT INTO COLLECTION c (o REGISTER) VALUES ({'_id': 'a', 'o': {'z': 3}}) ON ID CONFLICT DO MERGE",
                r#"["a"]"#,
            ),
            ("SELECT o FROM c WHERE _id = 'a'", r#"{"o":{"z":3}}"#),
            ("INSERT INTO c DOCUMENTS {'_id': 'f'}", r#"["f"]"#),
            ("INSERT INTO c INITIAL VALUES ({'_id': 'f', 'v': 2}), ({'_id': 'g'})", r#"["g"]"#),
            (
                "INSERT INTO c VALUES ({'_id': 1.5})",
                "error: Floats are not supported in document IDs (line 1, column 23)",
            ),
            (
                "INSERT INTO c VALUES ({'_id': null})",
                "error: Null document ID not allowed (line 1, column 23)",
            ),
        ],
    );
}

#[test]
fn insert_of_rows() {
    script(
        r#"{"min":2}"#,
        &[
            (
                "INSERT INTO c VALUES ({'_id': 1, 'v': 1}), ({'_id': 2, 'v': 2}), ({'_id': 3, 'v': 3})",
                "[1,2,3]",
            ),
            ("INSERT INTO d SELECT _id, v * 10 AS w FROM c WHERE v >= :min ORDER BY v DESC", "[3,2]"),
            ("SELECT * FROM d ORDER BY _id", r#"{"_id":2,"w":20} {"_id":3,"w":30}"#),
            (
                "INSERT INTO d SELECT * FROM c",
                "error: Identifier conflict on document 2: using FAIL conflict policy",
            ),
            ("SELECT count(*) AS n FROM d", r#"{"n":2}"#),
            ("INSERT INTO d SELECT * FROM c ON ID CONFLICT DO NOTHING", "[1]"),
            (
                "INSERT INTO d SELECT * FROM c ON ID CONFLICT DO UPDATE RETURNING _id, v, w",
                r#"[1,2,3] {"_id":1,"v":1} {"_id":2,"v":2,"w":20} {"_id":3,"v":3,"w":30}"#,
            ),
            (
                "INSERT INTO j SELECT c._id AS _id, d.w AS w FROM c JOIN d ON d._id = c._id WHERE d.w > 0 RETURNING *",
                r#"[2,3] {"_id":2,"w":20} {"_id":3,"w":30}"#,
            ),
            ("INSERT INTO e SELECT 1 AS _id, sum(v) AS total FROM c", "[1]"),
            ("SELECT * FROM e", r#"{"_id":1,"total":6}"#),
            // It does not meet its own rows.
            ("INSERT INTO c SELECT _id + 10 AS _id, v FROM c", "[11,12,13]"),
            ("SELECT count(*) AS n FROM c", r#"{"n":6}"#),
            (
                "INSERT INTO c SELECT 1 AS _id FROM c LIMIT 2",
                "error: Expected unique document identifiers (line 1, column 15)",
            ),
        ],
    );
    // Without an id each row gets one.
    let f = Fixture::new();
    f.insert("c", r#"[{"v":1},{"v":1}]"#);
    let r = f.run("INSERT INTO d SELECT v FROM c");
    assert_eq!(r.mutated_document_ids().len(), 2);
    assert_eq!(f.rows("SELECT v FROM d"), [r#"{"v":1}"#, r#"{"v":1}"#]);
}

#[test]
fn returning() {
    script(
        "{}",
        &[
            (
                "INSERT INTO c VALUES ({'_id': 1, 'v': 1, 'o': {'a': 1}}), ({'_id': 2, 'v': 2}) RETURNING *",
                r#"[1,2] {"_id":1,"o":{"a":1},"v":1} {"_id":2,"v":2}"#,
            ),
            // The state after an UPDATE and before a removal.
            ("UPDATE c SET v = v + 10 WHERE v = 2 RETURNING _id, v", r#"[2] {"_id":2,"v":12}"#),
            (
                "UPDATE c SET w = 1 RETURNING c.*, MISSING o, v * 2 AS x",
                r#"[1,2] {"_id":1,"v":1,"w":1,"x":2} {"_id":2,"v":12,"w":1,"x":24}"#,
            ),
            ("UPDATE c SET w = 2 WHERE false RETURNING *", "[]"),
            ("UPDATE c SET w = 2 RETURNING count(*) AS n, sum(v) AS s", r#"[1,2] {"n":2,"s":13}"#),
            ("UPDATE c SET w = 2 WHERE false RETURNING count(*) AS n", r#"[] {"n":0}"#),
            // What was skipped or stayed the same is not written.
            (
                "INSERT INTO c VALUES ({'_id': 1, 'v': 1}), ({'_id': 3}) ON ID CONFLICT DO UPDATE_LOCAL_DIFF RETURNING _id",
                r#"[3] {"_id":3}"#,
            ),
            // The document as it is then, not as it was given.
            (
                "INSERT INTO c VALUES ({'_id': 1, 'o': {'b': 2}}) ON ID CONFLICT DO UPDATE RETURNING o",
                r#"[1] {"o":{"a":1,"b":2}}"#,
            ),
            ("DELETE FROM c WHERE v = 12 RETURNING *", r#"[2] {"_id":2,"v":12,"w":2}"#),
            ("EVICT FROM c ORDER BY _id DESC LIMIT 1 RETURNING _id AS gone", r#"[3] {"gone":3}"#),
            ("DELETE FROM c RETURNING max(v) AS m", r#"[1] {"m":1}"#),
            (ALL, ""),
            (
                "DELETE FROM c RETURNING *, v",
                "error: unqualified * with other projection elements is not supported (line 1, column 25)",
            ),
        ],
    );
}

/// dql.md 7.6 and 7.7.
#[test]
fn removals() {
    script(
        r#"{"ids":["a","d"]}"#,
        &[
            (
                "INSERT INTO c VALUES ({'_id':'a','n':3}), ({'_id':'b','n':1}), ({'_id':'c','n':2}), ({'_id':'d'})",
                r#"["a","b","c","d"]"#,
            ),
            ("DELETE FROM c WHERE n > 0 ORDER BY n LIMIT 1 OFFSET 1", r#"["c"]"#),
            ("EVICT FROM c WHERE n > 0 LIMIT 1 OFFSET 0 ORDER BY n", r#"["b"]"#),
            ("DELETE FROM c USE IDS 'nothing', 'a' WHERE n = 4", "[]"),
            ("DELETE FROM c USE IDS LIST :ids", r#"["a","d"]"#),
            (ALL, ""),
            ("UPDATE c SET x = 1", "[]"),
            ("DELETE FROM c", "[]"),
            // The same id again is a new document.
            ("INSERT INTO c VALUES ({'_id':'a','m':1}), ({'_id':'b'}), ({'_id':'x'})", r#"["a","b","x"]"#),
            ("SELECT * FROM c WHERE _id = 'a'", r#"{"_id":"a","m":1}"#),
            ("UPDATE c USE IDS 'a', 'b' SET m = 2", r#"["a","b"]"#),
            ("EVICT FROM c USE IDS 'b'", r#"["b"]"#),
            ("TOMBSTONE FROM c WHERE m = 2", r#"["a"]"#),
            ("EVICT FROM c", r#"["x"]"#),
            (ALL, ""),
        ],
    );
}

/// Targets are chosen before the first one is written: a statement never meets its own work, whatever way it finds its
/// documents.
#[test]
fn statements_do_not_meet_their_own_writes() {
    for index in ["", "CREATE INDEX i ON c (n)", "CREATE INDEX i ON c (n DESC)"] {
        let f = Fixture::new();
        if !index.is_empty() {
            f.run(index);
        }
        let documents: Vec<String> = (0..500).map(|i| format!(r#"{{"_id":{i},"n":{i}}}"#)).collect();
        f.insert("c", &format!("[{}]", documents.join(",")));
        assert_eq!(f.run("UPDATE c SET n = n + 1000 WHERE n >= 0").mutated_document_ids().len(), 500);
        assert_eq!(f.rows("SELECT min(n) AS a, max(n) AS b FROM c"), [r#"{"a":1000,"b":1499}"#]);
        // Upwards and downwards, and over two parts of the index.
        assert_eq!(
            f.run("UPDATE c SET n = n - 1 WHERE n < 1250 OR n > 1260").mutated_document_ids().len(),
            489
        );
        assert_eq!(f.rows("SELECT sum(n) AS s FROM c"), [format!(r#"{{"s":{}}}"#, 500 * 1249 + 250 - 489)]);
        let r = f.run("UPDATE c SET n = n * 2 WHERE n > 0 ORDER BY n DESC LIMIT 3 RETURNING n");
        assert_eq!(rows(&r), [r#"{"n":2996}"#, r#"{"n":2994}"#, r#"{"n":2992}"#], "{index}");
        assert_eq!(
            f.run("INSERT INTO c SELECT _id + 10000 AS _id, n FROM c WHERE n > 0")
                .mutated_document_ids()
                .len(),
            500
        );
        assert_eq!(f.run("DELETE FROM c WHERE n >= 999").mutated_document_ids().len(), 1000);
        assert!(f.rows("SELECT * FROM c WHERE n > 0").is_empty());
        f.clean();
    }
}

/// The matrix of dql.md 3.4, both columns.
#[test]
fn strict_mode() {
    const STRICT: (&str, &str) = ("ALTER SYSTEM SET dql_strict_mode = true", r#"{"dql_strict_mode":true}"#);
    const LOOSE: (&str, &str) = ("ALTER SYSTEM SET dql_strict_mode = false", r#"{"dql_strict_mode":false}"#);
    // An undeclared object is a register as a whole, also inside of a declared map.
    script(
        "{}",
        &[
            STRICT,
            ("INSERT INTO c DOCUMENTS ({'_id': 1, 'o': {'a': 1, 'b': {'c': 2}}})", "[1]"),
            (ALL, r#"{"_id":1,"o":{"a":1,"b":{"c":2}}}"#),
            ("UPDATE c SET o = {'x': 1}", "[1]"),
            (ALL, r#"{"_id":1,"o":{"x":1}}"#),
            (
                "UPDATE c SET o.x = 2",
                r#"error: Unsupported DML operation on REGISTER field "o" (line 1, column 14)"#,
            ),
            ("UPDATE COLLECTION c (m MAP) SET m = {'r': {'a': 1}}", "[1]"),
            ("UPDATE COLLECTION c (m MAP) SET m.r = {'b': 2}", "[1]"),
            ("SELECT m FROM COLLECTION c (m MAP)", r#"{"m":{"r":{"b":2}}}"#),
            // DO UPDATE replaces a register.
            ("INSERT INTO c DOCUMENTS ({'_id': 1, 'o': {'y': 1}}) ON ID CONFLICT DO UPDATE", "[1]"),
            ("SELECT o FROM c", r#"{"o":{"y":1}}"#),
        ],
    );
    // The same with strict mode off: everything merges.
    script(
        "{}",
        &[
            LOOSE,
            ("INSERT INTO c DOCUMENTS ({'_id': 1, 'o': {'a': 1}})", "[1]"),
            ("UPDATE c SET o = {'x': 1}, p.q.r = 2", "[1]"),
            (ALL, r#"{"_id":1,"o":{"a":1,"x":1},"p":{"q":{"r":2}}}"#),
        ],
    );
    // Maps and counters that are not declared are invisible, and an UNSET leaves them in place.
    script(
        "{}",
        &[
            (
                "INSERT INTO COLLECTION c (n COUNTER) DOCUMENTS ({'_id': 1, 'm': {'a': 1}, 'n': 5, 's': 'x'})",
                "[1]",
            ),
            STRICT,
            (ALL, r#"{"_id":1,"s":"x"}"#),
            ("SELECT _id FROM c WHERE n = 5 OR m.a = 1", ""),
            ("SELECT _id FROM c WHERE n IS MISSING AND m IS MISSING", r#"{"_id":1}"#),
            ("SELECT * FROM COLLECTION c (n COUNTER, m MAP)", r#"{"_id":1,"m":{"a":1},"n":5,"s":"x"}"#),
            ("UPDATE c UNSET n, m, s RETURNING *", r#"[1] {"_id":1}"#),
            ("UPDATE COLLECTION c (n COUNTER) APPLY n INCREMENT BY 1", "[1]"),
            LOOSE,
            (ALL, r#"{"_id":1,"m":{"a":1},"n":6}"#),
        ],
    );
}

/// dql.md 3.3 and 3.4: a statement writes only the kind that it declares, also where a field holds several.
#[test]
fn unset_removes_the_kind_that_is_meant() {
    let kinds = |n: &str| format!("INSERT INTO COLLECTION c (f {n}) DOCUMENTS (:d) ON ID CONFLICT DO UPDATE");
    let fill = [
        (kinds("REGISTER"), r#"{"_id":1,"f":"r"}"#),
        (kinds("MAP"), r#"{"_id":1,"f":{"a":1,"b":{"c":2}}}"#),
        (kinds("COUNTER"), r#"{"_id":1,"f":5}"#),
        (kinds("PN_COUNTER"), r#"{"_id":1,"f":2}"#),
        (
            kinds("ATTACHMENT"),
            r#"{"_id":1,"f":{"id":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","len":1,"metadata":{}}}"#,
        ),
    ];
    let all = ["REGISTER", "MAP", "COUNTER", "PN_COUNTER", "ATTACHMENT"];
    let left = |f: &Fixture| -> Vec<&str> {
        let has = |kind: &&str| {
            !f.rows(&format!("SELECT _id FROM COLLECTION c (f {kind}) WHERE f IS NOT MISSING")).is_empty()
        };
        all.into_iter().filter(has).collect()
    };
    for kind in all {
        let mut f = Fixture::new();
        f.run("CREATE INDEX i ON c (f)");
        for (text, document) in &fill {
            f.run_with(text, &format!(r#"{{"d":{document}}}"#));
        }
        assert_eq!(left(&f), all);
        f.run(&format!("UPDATE COLLECTION c (f {kind}) UNSET f"));
        let others: Vec<&str> = all.into_iter().filter(|k| *k != kind).collect();
        assert_eq!(left(&f), others, "{kind}");
        f.clean();
        f.reopen();
        // The newest of the others shows, and what was removed can be written again.
        let shown = match kind {
            "ATTACHMENT" => 2.0.into(),
            _ => fixture::value(fill[4].1).get("f").unwrap().clone(),
        };
        assert_eq!(f.run("SELECT f FROM c").items()[0].get("f"), Some(&shown), "{kind}");
        let again = all.iter().position(|k| *k == kind).unwrap();
        f.run_with(&fill[again].0, &format!(r#"{{"d":{}}}"#, fill[again].1));
        assert_eq!(left(&f), all, "{kind}");
        // Without a declaration everything goes.
        f.run("UPDATE c UNSET f");
        assert!(left(&f).is_empty(), "{kind}");
        assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":1}"#]);
        f.clean();
    }
    // Strict mode: an undeclared field is a register, so an attachment stays where it is.
    let f = Fixture::new();
    for (text, document) in &fill {
        f.run_with(text, &format!(r#"{{"d":{document}}}"#));
    }
    f.run("ALTER SYSTEM SET dql_strict_mode = true");
    f.run("UPDATE c UNSET f");
    assert_eq!(left(&f), &all[1..]);
    f.run("UPDATE COLLECTION c (f ATTACHMENT) UNSET f");
    assert_eq!(left(&f), &all[1..4]);
}

/// More than the choice of documents keeps in memory is read a second time.
#[test]
fn documents_that_take_much_memory_are_read_again() {
    let f = Fixture::new();
    let text = "x".repeat(4_000_000);
    for i in 0..18 {
        f.insert("c", &format!(r#"{{"_id":{i},"v":"{text}"}}"#));
    }
    assert_eq!(f.run("UPDATE c SET n = _id + 1").mutated_document_ids().len(), 18);
    assert_eq!(f.rows("SELECT count(*) AS k, sum(n) AS s FROM c"), [r#"{"k":18,"s":171}"#]);
    assert_eq!(f.run("DELETE FROM c WHERE _id >= 0 RETURNING _id").item_count(), 18);
}
