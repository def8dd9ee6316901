//! What is refused, in which words and where.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{MAX_STATEMENT_BYTES, prepare, prepare_observer, prepare_subscription};
use ditto_types::ErrorKind;
use harness::{describe, error, error_with};

fn table(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        assert_eq!(error(text), *want, "{text}");
    }
}

#[test]
fn syntax() {
    table(&[
        ("", "query/invalid | expected a statement, found the end of the statement @1:1"),
        (";", "query/invalid | expected a statement, found ';' @1:1"),
        ("SELEC * FROM c", "query/invalid | expected a statement, found SELEC @1:1"),
        ("SELECT FROM c", "query/invalid | expected an expression, found reserved word FROM @1:8"),
        ("SELECT * FROM", "query/invalid | expected identifier, found the end of the statement @1:14"),
        ("SELECT * FROM select", "query/invalid | expected identifier, found reserved word SELECT @1:15"),
        ("SELECT * FROM all", "query/invalid | expected identifier, found reserved word ALL @1:15"),
        (
            "SELECT * FROM collection",
            "query/invalid | expected identifier, found the end of the statement @1:25",
        ),
        ("SELECT * FROM 'c'", "query/invalid | expected identifier, found string 'c' @1:15"),
        ("SELECT * FROM \"c\"", "query/invalid | expected identifier, found string \"c\" @1:15"),
        (
            "SELECT *\nFROM c\n  WHERE",
            "query/invalid | expected an expression, found the end of the statement @3:8",
        ),
        (
            "SELECT * FROM c WHERE a =",
            "query/invalid | expected an expression, found the end of the statement @1:26",
        ),
        ("SELECT * FROM c WHERE a = = 1", "query/invalid | expected an expression, found '=' @1:27"),
        (
            "SELECT * FROM c WHERE ORDER BY a",
            "query/invalid | expected an expression, found reserved word ORDER @1:23",
        ),
        (
            "SELECT * FROM c WHERE (a = 1",
            "query/invalid | expected ')', found the end of the statement @1:29",
        ),
        (
            "SELECT * FROM c WHERE a = - 9223372036854775809",
            "query/invalid | number - 9223372036854775809 is out of range @1:27",
        ),
        ("SELECT * FROM c WHERE a IN ()", "query/invalid | expected an expression, found ')' @1:29"),
        (
            "SELECT * FROM c WHERE a IN (1, 2",
            "query/invalid | expected ',' or ')', found the end of the statement @1:33",
        ),
        (
            "SELECT * FROM c WHERE a BETWEEN 1",
            "query/invalid | expected AND, found the end of the statement @1:34",
        ),
        (
            "SELECT * FROM c WHERE a IS 5",
            "query/invalid | expected NULL, UNKNOWN, MISSING, TRUE or FALSE, found number 5 @1:28",
        ),
        (
            "SELECT * FROM c WHERE a = 'it''s'",
            "query/invalid | expected the end of the statement, found string 's' @1:31",
        ),
        ("SELECT a b c FROM d", "query/invalid | expected FROM, found c @1:12"),
        (
            "SELECT *, a FROM c",
            "query/invalid | unqualified * with other projection elements is not supported @1:8",
        ),
        (
            "SELECT a, * FROM c",
            "query/invalid | unqualified * with other projection elements is not supported @1:11",
        ),
        ("SELECT d.* FROM c", "query/invalid | d is not c, the source of the rows @1:8"),
        ("SELECT c.* FROM c x", "query/invalid | c is not x, the source of the rows @1:8"),
        (
            "SELECT MISSING a FROM c",
            "query/invalid | MISSING in a projection must follow an element like c.* @1:8",
        ),
        ("SELECT items[0] FROM c", "query/invalid | expected FROM, found '[' @1:13"),
        ("SELECT items[:key] FROM c", "query/invalid | expected FROM, found '[' @1:13"),
        ("SELECT a.:p FROM c", "query/invalid | expected identifier, found ':' @1:10"),
        ("SELECT : p FROM c", "query/invalid | expected a parameter name after ':' @1:8"),
        ("SELECT {'a' 1} FROM c", "query/invalid | expected ':', found number 1 @1:13"),
        ("SELECT {'a': 1 FROM c", "query/invalid | expected ',' or '}', found reserved word FROM @1:16"),
        ("SELECT CASE a END FROM c", "query/invalid | expected WHEN, found reserved word END @1:15"),
        (
            "SELECT CASE WHEN a THEN 1 FROM c",
            "query/invalid | expected WHEN, ELSE or END, found reserved word FROM @1:27",
        ),
        ("SELECT CAST(a) FROM c", "query/invalid | expected AS or ',', found ')' @1:14"),
        (
            "SELECT CAST(a AS date) FROM c",
            "query/invalid | unknown type \"date\"; CAST knows string, integer, float, boolean and binary @1:18",
        ),
        (
            "SELECT a FROM c WHERE b LIKE 'x' ESCAPE 'ab'",
            "query/invalid | ESCAPE needs a string of one character @1:41",
        ),
        ("SELECT nope(a) FROM c", "query/invalid | unknown function nope @1:8"),
        ("SELECT a, lower(a, b) FROM c", "query/invalid | lower expects 1 argument, found 2 @1:11"),
        ("SELECT substr(a) FROM c", "query/invalid | substr expects 2 to 3 arguments, found 1 @1:8"),
        ("SELECT coalesce() FROM c", "query/invalid | coalesce expects at least 1 argument, found 0 @1:8"),
        ("SELECT lower(*) FROM c", "query/invalid | * is not an argument of lower @1:8"),
        ("SELECT lower(DISTINCT a) FROM c", "query/invalid | DISTINCT is for aggregates, not for lower @1:8"),
        (
            "SELECT * FROM c; SELECT * FROM d",
            "query/invalid | several statements in one text are not allowed @1:18",
        ),
        ("SELECT * FROM c;;", "query/invalid | several statements in one text are not allowed @1:17"),
        (
            "SELECT * FROM c LIMIT 1 LIMIT 2",
            "query/invalid | expected the end of the statement, found reserved word LIMIT @1:25",
        ),
        ("SELECT * FROM c LIMIT a", "query/invalid | LIMIT and OFFSET cannot depend on fields @1:23"),
        (
            "SELECT * FROM c LIMIT -1",
            "query/invalid | LIMIT must be an integer of at least 0, found -1 @1:23",
        ),
        (
            "SELECT * FROM c OFFSET 'x'",
            "query/invalid | OFFSET must be an integer of at least 0, found string @1:24",
        ),
        ("SELECT * FROM x:c", "query/invalid | unknown namespace \"x\" @1:15"),
        ("SELECT * FROM COLLECTION c", "query/invalid | expected '(', found the end of the statement @1:27"),
        (
            "SELECT * FROM COLLECTION c (a)",
            "query/invalid | expected REGISTER, MAP, COUNTER, PN_COUNTER or ATTACHMENT, found ')' @1:30",
        ),
        (
            "SELECT * FROM COLLECTION c (a MAP, a COUNTER)",
            "query/invalid | field \"a\" is declared twice @1:36",
        ),
        (
            "SELECT * FROM COLLECTION c (_id MAP)",
            "query/invalid | the document id `_id` cannot be declared @1:29",
        ),
        (
            "INSERT INTO c (SELECT * FROM d)",
            "query/invalid | expected DOCUMENTS, VALUES or SELECT, found '(' @1:15",
        ),
        (
            "INSERT INTO c DOCUMENTS (SELECT * FROM d)",
            "query/invalid | expected a document, found reserved word SELECT @1:26",
        ),
        ("INSERT INTO c DOCUMENTS ({a: 1})", "query/invalid | Cannot convert to a literal @1:27"),
        ("INSERT INTO c DOCUMENTS ({'a': b})", "query/invalid | Cannot convert to a literal @1:32"),
        ("INSERT INTO c DOCUMENTS (:a, :b)", "query/invalid | expected ')', found ',' @1:28"),
        ("INSERT INTO c DOCUMENTS :a", "query/invalid | expected '(', found ':' @1:25"),
        (
            "INSERT INTO c DOCUMENTS ({}) ON ID CONFLICT DO REPLACE",
            "query/invalid | expected FAIL, NOTHING, UPDATE or UPDATE_LOCAL_DIFF, found REPLACE @1:48",
        ),
        (
            "INSERT INTO c INITIAL DOCUMENTS ({}) ON ID CONFLICT DO NOTHING",
            "query/invalid | INITIAL cannot be combined with ON ID CONFLICT @1:38",
        ),
        (
            "INSERT INTO c INITIAL SELECT * FROM d",
            "query/invalid | expected DOCUMENTS or VALUES, found reserved word SELECT @1:23",
        ),
        ("UPDATE c SET a 1", "query/invalid | expected '=', found number 1 @1:16"),
        ("UPDATE c SET a + 1 = 2", "query/invalid | expected '=', found '+' @1:16"),
        (
            "UPDATE c APPLY a SET b = 1",
            "query/invalid | expected INCREMENT, RESTART or PN_INCREMENT, found SET @1:18",
        ),
        ("DELETE c", "query/invalid | expected FROM, found c @1:8"),
        ("EVICT FROM c SET a = 1", "query/invalid | expected the end of the statement, found SET @1:14"),
        ("DELETE FROM c x", "query/invalid | expected the end of the statement, found x @1:15"),
        ("SELECT * FROM `$TS_x`", "query/invalid | \"$TS_x\" cannot be the name of a collection @1:15"),
    ]);
}

/// Valid in the language, not carried out here: named, with its place.
#[test]
fn unsupported() {
    table(&[
        (
            "DELETE FROM system:indexes",
            "query/unsupported | Unsupported feature: writing to a system collection @1:13",
        ),
        (
            "DELETE FROM __presence",
            "query/unsupported | Unsupported feature: writing to an internal collection @1:13",
        ),
        ("SELECT * FROM a CROSS JOIN b", "query/unsupported | Unsupported feature: CROSS JOIN @1:17"),
        ("SELECT * FROM a, b", "query/unsupported | Unsupported feature: Comma join @1:16"),
        ("SELECT * FROM c USE IDS ('a', 'b')", "query/invalid | ('a', 'b') is not supported @1:25"),
        (
            "SELECT * FROM c WHERE a IN (SELECT b FROM d)",
            "query/unsupported | Unsupported feature: a subquery @1:29",
        ),
        (
            "SELECT * FROM c WHERE a = (SELECT b FROM d)",
            "query/unsupported | Unsupported feature: a subquery @1:28",
        ),
        ("SELECT * FROM (SELECT * FROM c)", "query/unsupported | Unsupported feature: a subquery @1:15"),
        (
            "SELECT * FROM c WHERE EXISTS (SELECT b FROM d)",
            "query/unsupported | Unsupported feature: a subquery @1:23",
        ),
        ("SELECT * FROM c UNION SELECT * FROM d", "query/unsupported | Unsupported feature: UNION @1:17"),
        (
            "SELECT * FROM c ORDER BY a NULLS FIRST",
            "query/unsupported | Unsupported feature: NULLS FIRST and NULLS LAST @1:28",
        ),
    ]);
}

#[test]
fn arguments() {
    let args = r#"{"n":-1,"s":"x","f":1.5,"z":null,"extra":1}"#;
    for (text, want) in [
        (
            "SELECT * FROM c WHERE a = :status AND b = :n",
            "query/arguments-invalid | Parameter status was not provided",
        ),
        // Names are case-sensitive.
        ("SELECT * FROM c WHERE a = :N", "query/arguments-invalid | Parameter N was not provided"),
        ("INSERT INTO c DOCUMENTS (:d)", "query/arguments-invalid | Parameter d was not provided"),
        (
            "SELECT * FROM c LIMIT :n",
            "query/arguments-invalid | LIMIT must be an integer of at least 0, found -1 @1:23",
        ),
        (
            "SELECT * FROM c LIMIT :s",
            "query/arguments-invalid | LIMIT must be an integer of at least 0, found string @1:23",
        ),
        (
            "SELECT * FROM c OFFSET :f",
            "query/arguments-invalid | OFFSET must be an integer of at least 0, found 1.5 @1:24",
        ),
        (
            "DELETE FROM c LIMIT :z",
            "query/arguments-invalid | LIMIT must be an integer of at least 0, found null @1:21",
        ),
        ("SELECT * FROM c WHERE a = :n", "no error"),
    ] {
        assert_eq!(error_with(text, args), want, "{text}");
    }
}

#[test]
fn subscriptions() {
    let fault = |text: &str| {
        prepare_subscription(text, true).map_or_else(|e| describe(&e), |p| format!("ok {}", p.collection()))
    };
    for (text, want) in [
        ("SELECT * FROM c", "ok c"),
        ("SELECT * FROM c x WHERE x.a = :p AND coalesce(b, 1) = 1;", "ok c"),
        ("SELECT * FROM COLLECTION c (n COUNTER) WHERE n > 1", "ok c"),
        (
            "SELECT a FROM c",
            "query/unsupported | Unsupported feature: A projection other than wildcard (*) @1:8",
        ),
        (
            "SELECT c.* FROM c",
            "query/unsupported | Unsupported feature: A projection other than wildcard (*) @1:8",
        ),
        (
            "SELECT COUNT(*) FROM c",
            "query/unsupported | Unsupported feature: A projection other than wildcard (*) @1:8",
        ),
        ("SELECT DISTINCT * FROM c", "query/unsupported | Unsupported feature: DISTINCT @1:8"),
        ("SELECT * FROM c GROUP BY a", "query/unsupported | Unsupported feature: Grouping @1:17"),
        ("SELECT * FROM c JOIN d ON c.a = d.a", "query/unsupported | Unsupported feature: Joining @1:17"),
        ("SELECT * FROM c USE IDS 'a'", "query/unsupported | Unsupported feature: USE IDS @1:17"),
        ("SELECT * FROM c LIMIT 1", "query/unsupported | Unsupported feature: Limit or Order by @1:17"),
        (
            "SELECT * FROM c ORDER BY a LIMIT 1",
            "query/unsupported | Unsupported feature: Limit or Order by @1:17",
        ),
        ("SELECT * FROM c OFFSET 1", "query/unsupported | Unsupported feature: Limit or Order by @1:17"),
        (
            "DELETE FROM c",
            "query/unsupported | Unsupported feature: non-SELECT statement in sync subscription @1:1",
        ),
        (
            "EXPLAIN SELECT * FROM c",
            "query/unsupported | Unsupported feature: non-SELECT statement in sync subscription @1:1",
        ),
        (
            "SHOW ALL",
            "query/unsupported | Unsupported feature: non-SELECT statement in sync subscription @1:1",
        ),
        (
            " INSERT INTO c SELECT * FROM d",
            "query/unsupported | Unsupported feature: non-SELECT statement in sync subscription @1:2",
        ),
        ("SELECT * FROM c HAVING true", "query/unsupported | Unsupported feature: Grouping @1:24"),
        (
            "SELECT * FROM c LEFT JOIN d ON c.a = d.a",
            "query/unsupported | Unsupported feature: Joining @1:17",
        ),
        // Inert, and irrelevant.
        ("SELECT * FROM system:data_sync_info", "ok data_sync_info"),
        ("SELECT /*+ {\"#max_scans\": 1} */ * FROM c", "ok c"),
        ("SELECT * FORM c", "query/invalid | expected FROM, found FORM @1:10"),
    ] {
        assert_eq!(fault(text), want, "{text}");
    }
}

#[test]
fn observers() {
    assert!(prepare_observer("SELECT a, COUNT(*) FROM c GROUP BY a ORDER BY a LIMIT 1").is_ok());
    for text in ["DELETE FROM c", "  UPDATE c SET a = 1", "EXPLAIN SELECT * FROM c", "SHOW ALL"] {
        let e = prepare_observer(text).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryUnsupported);
        assert_eq!(e.message(), "Unsupported feature: non-SELECT statement in observer");
        assert_eq!(e.position().unwrap().column, 1 + text.len() - text.trim_start().len());
    }
}

/// Positions count characters, not bytes, and lines.
#[test]
fn positions() {
    let e = prepare("SELECT 'äöü' AS `ß`,\n  'é' AS x, nope(1) FROM c").unwrap_err();
    let p = e.position().unwrap();
    assert_eq!((p.line, p.column), (2, 13));
    assert_eq!(e.to_string(), "unknown function nope (line 2, column 13)");
}

/// Nothing in a text can exhaust the stack, whatever is nested in what.
#[test]
fn nesting_is_bounded() {
    let n = 10_000;
    let wrap = |open: &str, inner: &str, close: &str, n: usize| open.repeat(n) + inner + &close.repeat(n);
    let deep = [
        wrap("(", "1", ")", n),
        wrap("[", "1", "]", n),
        wrap("{'a':", "1", "}", n),
        wrap("- ", "a", "", n),
        wrap("NOT ", "a", "", n),
        wrap("lower(", "a", ")", n),
        wrap("CASE WHEN a THEN ", "1", " END", n),
        wrap("1 + (", "1", ")", n),
        wrap("a OR b XOR c AND NOT d = 1 << 2 + 3 * (", "1", ")", n / 10),
        wrap("a LIKE (", "1", ")", n),
        wrap("a IN (", "1", ")", n),
        wrap("CAST(", "1", " AS string)", n),
        wrap("", "1", " + 1", n),
        wrap("", "a", " = 1", n),
        wrap("", "a", " IS NULL", n),
    ];
    for expr in deep {
        let text = format!("SELECT * FROM c WHERE {expr}");
        let e = prepare(&text).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DepthLimitExceeded, "{}", &expr[..20]);
        assert!(e.position().is_some());
    }
    let path = vec!["a"; n].join(".");
    assert_eq!(prepare(&format!("SELECT {path} FROM c")).unwrap_err().kind(), ErrorKind::DepthLimitExceeded);
    let types = wrap("a MAP(", "b COUNTER", ")", n);
    assert!(prepare(&format!("SELECT * FROM COLLECTION c ({types})")).is_err());
}

/// The deepest text that is accepted also runs, on a small stack.
#[test]
fn the_deepest_expressions_run() {
    let run = || {
        let mut ran = 0;
        for (open, inner, close) in [
            ("(", "a", ")"),
            ("[", "1", "]"),
            ("{'a':", "1", "}"),
            ("- ", "a", ""),
            ("NOT ", "a", ""),
            ("coalesce(", "a", ")"),
            ("lower(", "a", ")"),
            ("CASE WHEN a THEN ", "1", " END"),
            ("1 + (", "1", ")"),
            ("a OR b XOR c AND NOT d = 1 << 2 + 3 * (", "1", ")"),
            ("a IN (", "1", ")"),
            ("", "1", " + 1"),
        ] {
            let mut deepest = 0;
            for n in 1..300 {
                let e = format!("{}{inner}{}", open.repeat(n), close.repeat(n));
                let text = format!("SELECT {e} AS x FROM c GROUP BY {e} ORDER BY x || x");
                if prepare(&text).is_err() {
                    break;
                }
                deepest = n;
                let text = format!("SELECT {e} AS x FROM c ORDER BY x");
                harness::select(&text, "{}", &harness::docs(r#"[{"a":true}]"#));
            }
            assert!(deepest >= 10, "{open}: {deepest}");
            ran += deepest;
        }
        ran
    };
    let ran = std::thread::Builder::new().stack_size(1536 << 10).spawn(run).unwrap().join().unwrap();
    assert!(ran > 500, "{ran}");
}

#[test]
fn the_length_is_limited() {
    let text = format!("SELECT * FROM c WHERE a = '{}'", "x".repeat(MAX_STATEMENT_BYTES));
    assert_eq!(prepare(&text).unwrap_err().kind(), ErrorKind::SizeLimitExceeded);
    let long = "c".repeat(100);
    assert!(error(&format!("SELECT * FROM {long}")).contains("cannot be longer than 99 characters"));
    assert_eq!(error(&format!("SELECT * FROM {}", &long[1..])), "no error");
}

#[test]
fn joins() {
    for (text, want) in [
        (
            "SELECT * FROM a JOIN b ON a.x = b.x",
            "query/invalid | Joining to \"b\" disallowed without appropriate index support. Please run ADVISE for recommendations. @1:22",
        ),
        (
            "SELECT * FROM a x LEFT OUTER JOIN b y ON x.x = y.x WHERE x.z = 1",
            "query/invalid | Joining to \"y\" disallowed without appropriate index support. Please run ADVISE for recommendations. @1:35",
        ),
        // The sides are exchanged, so that the left one needs the index.
        (
            "SELECT * FROM a RIGHT JOIN b ON a.x = b._id",
            "query/invalid | Joining to \"a\" disallowed without appropriate index support. Please run ADVISE for recommendations. @1:15",
        ),
        (
            "SELECT * FROM a JOIN b ON a.x = b._id RIGHT JOIN c ON c._id = a.y",
            "query/unsupported | RIGHT OUTER join that isn't the first join is not supported @1:39",
        ),
        ("SELECT x FROM a JOIN b ON a.x = b._id", "query/invalid | Ambiguous reference to field: x @1:8"),
        ("SELECT * FROM a JOIN b ON x = b._id", "query/invalid | Ambiguous reference to field: x @1:27"),
        ("SELECT * FROM a JOIN a ON true", "query/invalid | a stands for more than one term of FROM @1:22"),
        (
            "SELECT c.* FROM a JOIN b ON a.x = b._id",
            "query/invalid | c is not a or b, the source of the rows @1:8",
        ),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
    let join = |i: usize| format!(" JOIN b b{i} ON b{i}._id = a.x");
    let joins = |n: usize| format!("SELECT * FROM a{}", (0..n).map(join).collect::<String>());
    assert_eq!(error(&joins(10)), "no error");
    let too_many =
        "query/invalid | Too many joins: the number of joined terms exceeds the maximum permitted.";
    assert!(error(&joins(11)).starts_with(too_many), "{}", error(&joins(11)));
    let fewer = joins(2).replace("SELECT *", r##"SELECT /*+ {"#max_joins":1} */ *"##);
    assert!(error(&fewer).starts_with(too_many));
}
