//! The grammar of statements (dql.md 1 and 2) by their one spelling: what is read as what, and what is no statement.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{StatementKind, normalize, prepare};
use harness::{describe, docs, try_select};
use proptest::prelude::*;

fn read(text: &str) -> String {
    normalize(text).unwrap_or_else(|e| describe(&e))
}

fn table(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        assert_eq!(read(text), *want, "{text}");
    }
}

/// Statements that are the same.
fn same(rows: &[(&str, &str)]) {
    for (text, like) in rows {
        let want = normalize(like).unwrap_or_else(|e| panic!("{like}: {e}"));
        assert_eq!(read(text), want, "{text}");
    }
}

#[test]
fn words_are_read_in_any_case_and_names_as_written() {
    same(&[
        ("select * from C where A is missing", "SELECT * FROM C WHERE A IS MISSING"),
        ("SELECT `a` FROM `c`", "SELECT a FROM c"),
        ("SELECT a FROM default:c", "SELECT a FROM `default`:`c`"),
        ("SELECT 'it\\'s' FROM c", "SELECT \"it's\" FROM c"),
        ("SELECT 0xFF FROM c", "SELECT 255 FROM c"),
        ("SELECT /* a */ a -- b\nFROM c", "SELECT a FROM c"),
        ("SELECT a FROM c;", "SELECT a FROM c"),
    ]);
    assert_ne!(read("SELECT a FROM c"), read("SELECT A FROM c"));
    table(&[
        ("SELECT a FROM default : c", "query/invalid | expected the end of the statement, found ':' @1:23"),
        (
            "SELECT a FROM c; SELECT b FROM c",
            "query/invalid | several statements in one text are not allowed @1:18",
        ),
        ("SELECT 'it''s' FROM c", "query/invalid | expected FROM, found string 's' @1:12"),
        (
            "SELECT 1abc FROM c",
            "query/invalid | malformed number 1abc; a name like this needs backticks @1:8",
        ),
    ]);
}

#[test]
fn only_ambiguous_words_are_reserved() {
    // Names of fields that occur in practice, although the language lists the words as reserved.
    for word in [
        "date",
        "time",
        "timestamp",
        "value",
        "text",
        "id",
        "mode",
        "language",
        "count",
        "user",
        "name",
        "key",
        "list",
        "index",
        "ids",
        "system",
        "session",
        "position",
        "array",
        "object",
        "map",
        "counter",
        "peers",
        "set",
        "use",
        "percent",
        "type",
        "status",
        "any",
        "every",
        "collection",
        "default",
        "restart",
        "increment",
        "for",
        "to",
    ] {
        let want =
            format!("SELECT `{word}`, `c`.`{word}` FROM `c` WHERE (`{word}` = 1) ORDER BY `{word}` ASC");
        assert_eq!(read(&format!("SELECT {word}, c.{word} FROM c WHERE {word} = 1 ORDER BY {word}")), want);
        let want = format!("UPDATE `c` SET `{word}` = 1 UNSET `a`.`{word}`");
        assert_eq!(read(&format!("UPDATE c SET {word} = 1 UNSET a.{word}")), want);
    }
    // After a dot every word is a name.
    same(&[("SELECT a.select.from.`where` FROM c", "SELECT a.`select`.`from`.`where` FROM c")]);
    table(&[(
        "SELECT a FROM c WHERE from = 1",
        "query/invalid | expected an expression, found reserved word FROM @1:23",
    )]);
}

#[test]
fn prefixes() {
    same(&[
        ("explain select a from c", "EXPLAIN SELECT a FROM c"),
        ("EXPLAIN CREATE INDEX i ON c (a)", "EXPLAIN CREATE INDEX `i` ON `c` (`a` ASC)"),
        ("EXPLAIN DROP INDEX i ON c", "EXPLAIN DROP INDEX `i` ON `c`"),
        ("EXPLAIN ADVISE AND PROVISION DELETE FROM c", "explain advise and provision delete from c"),
        ("PROFILE DELETE FROM c", "profile DELETE FROM c"),
        ("ADVISE SHOW ALL", "ADVISE SHOW ALL"),
        ("ADVISE ALTER SYSTEM RESET x", "ADVISE ALTER SYSTEM RESET x"),
    ]);
    for text in ["EXPLAIN INSERT INTO c DOCUMENTS ({})", "EXPLAIN UPDATE c UNSET a", "EXPLAIN EVICT FROM c"] {
        assert!(read(text).starts_with(&text[..14]), "{text}");
        let profiled = text.replace("EXPLAIN", "PROFILE");
        assert!(read(&profiled).starts_with(&profiled[..14]), "{profiled}");
    }
    table(&[
        ("EXPLAIN SHOW ALL", "query/invalid | EXPLAIN does not apply to SHOW @1:1"),
        ("EXPLAIN ALTER SYSTEM RESET ALL", "query/invalid | EXPLAIN does not apply to ALTER SYSTEM @1:1"),
        ("PROFILE SHOW ALL", "query/invalid | PROFILE does not apply to SHOW @1:1"),
        ("PROFILE CREATE INDEX i ON c (a)", "query/invalid | PROFILE does not apply to CREATE INDEX @1:1"),
        ("PROFILE DROP INDEX i ON c", "query/invalid | PROFILE does not apply to DROP INDEX @1:1"),
        (
            "EXPLAIN PROFILE SELECT * FROM c",
            "query/invalid | PROFILE cannot follow another EXPLAIN, PROFILE or ADVISE @1:9",
        ),
        (
            "ADVISE EXPLAIN SELECT * FROM c",
            "query/invalid | EXPLAIN cannot follow another EXPLAIN, PROFILE or ADVISE @1:8",
        ),
        (
            "ADVISE ADVISE SELECT * FROM c",
            "query/invalid | ADVISE cannot follow another EXPLAIN, PROFILE or ADVISE @1:8",
        ),
        (
            "ADVISE AND SELECT * FROM c",
            "query/invalid | expected PROVISION, found reserved word SELECT @1:12",
        ),
        ("EXPLAIN", "query/invalid | expected a statement, found the end of the statement @1:8"),
    ]);
}

#[test]
fn directive_comments_count_at_the_start_after_select_and_after_the_collection() {
    same(&[
        ("SELECT /*+ {\"#x\": 1} */ a FROM c", "/*+ {\"#x\": 1} */ SELECT a FROM c"),
        ("--+ {\"#x\": 1}\nSELECT a FROM c", "/*+ {\"#x\": 1} */ SELECT a FROM c"),
        ("EXPLAIN /*+ {} */ SELECT a FROM c", "/*+ {} */ EXPLAIN SELECT a FROM c"),
        ("SELECT a FROM c x /*+ {} */ WHERE b", "SELECT a FROM c /*+ {} */ x WHERE b"),
        ("DELETE FROM c --+ {}\nWHERE a", "DELETE FROM c /*+ {} */ WHERE a"),
        // Elsewhere they are comments.
        ("SELECT a FROM c WHERE b /*+ {} */ LIMIT 1", "SELECT a FROM c WHERE b LIMIT 1"),
        ("SELECT a /*+ {} */ FROM c", "SELECT a FROM c"),
    ]);
    assert_eq!(
        read("SELECT a FROM c /*+ {} */ JOIN d /*+ {1} */ ON a"),
        "SELECT `a` FROM `c` /*+ {} */ INNER JOIN `d` /*+ {1} */ ON `a`"
    );
}

#[test]
fn sources() {
    same(&[
        ("SELECT * FROM a x INNER JOIN b AS y ON x.i = y.i", "SELECT * FROM a AS x JOIN b y ON x.i = y.i"),
        ("SELECT * FROM a LEFT JOIN b ON c", "SELECT * FROM a LEFT OUTER JOIN b ON c"),
        ("SELECT * FROM a RIGHT JOIN b ON c", "SELECT * FROM a RIGHT OUTER JOIN b ON c"),
        ("SELECT * FROM a USE INDEX (i)", "SELECT * FROM a USE INDEX 'i'"),
        ("SELECT * FROM a USE IDS ('a')", "SELECT * FROM a USE IDS 'a'"),
        (
            "SELECT * FROM a WHERE x ORDER BY y LIMIT 1 OFFSET 2",
            "SELECT * FROM a WHERE x LIMIT 1 OFFSET 2 ORDER BY y",
        ),
    ]);
    table(&[
        (
            "SELECT * FROM COLLECTION system:data_sync_info (documents MAP(x MAP(y COUNTER)))",
            "SELECT * FROM COLLECTION `system`:`data_sync_info` (`documents` MAP(`x` MAP(`y` COUNTER)))",
        ),
        ("SELECT * FROM a USE IDS ('a', 'b')", "query/invalid | ('a', 'b') is not supported @1:25"),
        ("SELECT * FROM a JOIN b", "query/invalid | expected ON, found the end of the statement @1:23"),
        ("SELECT * FROM a LEFT b", "query/invalid | expected JOIN, found b @1:22"),
        (
            "SELECT * FROM a JOIN b USE INDEX 'i' ON c USE INDEX 'i'",
            "query/invalid | expected the end of the statement, found USE @1:43",
        ),
        ("SELECT * FROM a USE x", "query/invalid | expected IDS, INDEX or DIRECTIVES, found x @1:21"),
        ("SELECT * FROM a USE DIRECTIVES :d", "query/invalid | expected a string, found ':' @1:32"),
        ("SELECT * FROM a USE INDEX i", "query/invalid | expected a string, found i @1:27"),
        (
            "SELECT * FROM a FULL OUTER JOIN b ON c",
            "query/unsupported | Unsupported feature: FULL JOIN @1:17",
        ),
        ("SELECT * FROM a CROSS JOIN b", "query/unsupported | Unsupported feature: CROSS JOIN @1:17"),
        ("SELECT * FROM a, b", "query/unsupported | Unsupported feature: Comma join @1:16"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "query/unsupported | Unsupported feature: WITH @1:1"),
    ]);
}

#[test]
fn updates() {
    same(&[
        (
            "UPDATE c SET f -> (a = 1, g -> (b = 2), h -> tombstone())",
            "UPDATE c SET f.a = 1, f.g.b = 2 UNSET f.h",
        ),
        ("UPDATE c SET f -> tombstone()", "UPDATE c UNSET f"),
        (
            "UPDATE COLLECTION c (f MAP) APPLY n RESTART UNSET a, b",
            "UPDATE COLLECTION c (f MAP) APPLY n RESTART UNSET a, b",
        ),
        (
            "UPDATE c SET a = 1 WHERE b OFFSET 2 LIMIT 1 RETURNING a",
            "UPDATE c SET a = 1 WHERE b LIMIT 1 OFFSET 2 RETURNING a",
        ),
        ("UPDATE c USE IDS 'a', 'b' SET a = 1", "UPDATE c USE IDS \"a\", \"b\" SET a = 1"),
    ]);
    table(&[
        ("UPDATE c WHERE a = 1", "query/invalid | Missing SET and/or UNSET clause @1:10"),
        (
            "UPDATE c (f COUNTER) APPLY f INCREMENT BY 1",
            "query/invalid | Missing SET and/or UNSET clause @1:10",
        ),
        ("UPDATE c", "query/invalid | Missing SET and/or UNSET clause @1:9"),
        ("UPDATE c SET a[0] = 1", "query/invalid | expected '=', found '[' @1:15"),
        ("UPDATE c SET a -> b()", "query/invalid | expected '(', tombstone() or default(), found b @1:19"),
        ("UPDATE c SET a -> tombstone", "query/invalid | expected '(', found the end of the statement @1:28"),
        (
            "UPDATE c SET a -> (b = 1",
            "query/invalid | expected ',' or ')', found the end of the statement @1:25",
        ),
        ("UPDATE c UNSET a SET b = 1", "query/invalid | the order of the clauses is APPLY, SET, UNSET @1:18"),
        (
            "UPDATE c SET b = 1 APPLY n RESTART",
            "query/invalid | the order of the clauses is APPLY, SET, UNSET @1:20",
        ),
        ("UPDATE a JOIN b ON x SET y = 1", "query/invalid | Missing SET and/or UNSET clause @1:10"),
    ]);
    // However deep the notation nests, the error is that of a path.
    let nested = format!("UPDATE c SET {}a = 1{}", "f -> (".repeat(5_000), ")".repeat(5_000));
    assert_eq!(read(&nested), "validation/depth-limit-exceeded | path of more than 64 names @1:404");
}

#[test]
fn inserts_and_removals() {
    same(&[
        ("INSERT INTO c VALUES (:a), (:b)", "INSERT INTO c DOCUMENTS (:a), (:b)"),
        ("INSERT INTO c DOCUMENTS {'a': 1}", "INSERT INTO c DOCUMENTS ({'a': 1})"),
        ("INSERT INTO c VALUES (:a) ON ID CONFLICT DO FAIL", "INSERT INTO c VALUES (:a) ON ID CONFLICT FAIL"),
        (
            "INSERT INTO c VALUES (:a) ON ID CONFLICT DO MERGE",
            "INSERT INTO c VALUES (:a) ON ID CONFLICT DO UPDATE",
        ),
        (
            "INSERT INTO c SELECT a, b AS x FROM d ON ID CONFLICT DO NOTHING",
            "insert into c select a, b x from d on id conflict do nothing",
        ),
        ("TOMBSTONE FROM c WHERE a", "DELETE FROM c WHERE a"),
        (
            "DELETE FROM c WHERE a ORDER BY b LIMIT 1 OFFSET 2 RETURNING *",
            "DELETE FROM c WHERE a LIMIT 1 OFFSET 2 ORDER BY b RETURNING *",
        ),
        ("DELETE FROM system:request_history", "DELETE FROM system:request_history"),
    ]);
    table(&[
        (
            "INSERT INTO c INITIAL SELECT * FROM d",
            "query/invalid | expected DOCUMENTS or VALUES, found reserved word SELECT @1:23",
        ),
        (
            "INSERT INTO c INITIAL VALUES (:a) ON ID CONFLICT FAIL",
            "query/invalid | INITIAL cannot be combined with ON ID CONFLICT @1:35",
        ),
        (
            "INSERT INTO c (SELECT * FROM d)",
            "query/invalid | expected DOCUMENTS, VALUES or SELECT, found '(' @1:15",
        ),
        (
            "INSERT INTO c VALUES (:a) RETURNING",
            "query/invalid | expected an expression, found the end of the statement @1:36",
        ),
        (
            "DELETE FROM c RETURNING * LIMIT 1",
            "query/invalid | expected the end of the statement, found reserved word LIMIT @1:27",
        ),
        (
            "SYNC CONTEXT (PEERS WHERE peerKeyString = 'a') SELECT * FROM c",
            "query/unsupported | Unsupported feature: SYNC CONTEXT, which only a server carries out @1:1",
        ),
    ]);
}

#[test]
fn indexes() {
    table(&[
        ("CREATE INDEX i ON c (a)", "CREATE INDEX `i` ON `c` (`a` ASC)"),
        (
            "create index if not exists `my i` on default:c (a.b desc, _id.x asc, c include missing, d desc exclude missing)",
            "CREATE INDEX IF NOT EXISTS `my i` ON `default`:`c` (`a`.`b` DESC, `_id`.`x` ASC, `c` ASC, `d` DESC EXCLUDE MISSING)",
        ),
        ("DROP INDEX i ON c", "DROP INDEX `i` ON `c`"),
        ("DROP INDEX IF EXISTS i ON c;", "DROP INDEX IF EXISTS `i` ON `c`"),
        ("DROP INDEX i", "query/invalid | expected ON, found the end of the statement @1:13"),
        ("CREATE INDEX i ON c", "query/invalid | expected '(', found the end of the statement @1:20"),
        ("CREATE INDEX i ON c ()", "query/invalid | expected identifier, found ')' @1:22"),
        ("CREATE INDEX i ON c (lower(a))", "query/invalid | expected ',' or ')', found '(' @1:27"),
        (
            "CREATE INDEX i ON c (a) WHERE b = 1",
            "query/invalid | expected the end of the statement, found reserved word WHERE @1:25",
        ),
        ("CREATE UNIQUE INDEX i ON c (a)", "query/invalid | expected INDEX, found UNIQUE @1:8"),
        ("CREATE INDEX IF NOT i ON c (a)", "query/invalid | expected EXISTS, found i @1:21"),
    ]);
}

#[test]
fn system_statements() {
    table(&[
        ("ALTER SYSTEM SET x = 1", "ALTER SYSTEM SET `x` = 1"),
        ("alter system set X to :v", "ALTER SYSTEM SET `X` = :v"),
        ("ALTER SYSTEM SET x = {'a': [true]}", "ALTER SYSTEM SET `x` = {\"a\": [TRUE]}"),
        ("ALTER SYSTEM SET x = DEFAULT", "ALTER SYSTEM SET `x` = DEFAULT"),
        ("ALTER SYSTEM RESET x", "ALTER SYSTEM RESET `x`"),
        ("ALTER SYSTEM RESET ALL", "ALTER SYSTEM RESET ALL"),
        ("SHOW ALL;", "SHOW ALL"),
        ("SHOW x", "SHOW `x`"),
        ("SHOW ALL LIKE 'dql%'", "SHOW ALL LIKE \"dql%\""),
        ("show all ilike \"%X\"", "SHOW ALL ILIKE \"%X\""),
        ("SHOW", "query/invalid | expected identifier, found the end of the statement @1:5"),
        (
            "SHOW x LIKE 'a'",
            "query/invalid | expected the end of the statement, found reserved word LIKE @1:8",
        ),
        ("SHOW ALL LIKE :p", "query/invalid | expected a string, found ':' @1:15"),
        ("ALTER SYSTEM x = 1", "query/invalid | expected SET or RESET, found x @1:14"),
        ("ALTER SYSTEM SET x 1", "query/invalid | expected '=' or TO, found number 1 @1:20"),
        ("ALTER TABLE x", "query/invalid | expected SYSTEM, found TABLE @1:7"),
    ]);
}

/// Pieces of statements, so that a random row of them often is one.
const PIECES: &[&str] = &[
    "a",
    "b.c",
    "`x y`",
    ":p",
    "1",
    "-2",
    "1.5",
    "'s'",
    "\"t\"",
    "*",
    "+",
    "-",
    "/",
    "||",
    "=",
    "<>",
    "(",
    ")",
    "[",
    "]",
    "{'k':",
    "}",
    ",",
    ",",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "ESCAPE",
    "IS",
    "NULL",
    "MISSING",
    "TRUE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "count(*)",
    "lower(",
    "CAST(",
    "AS",
    "ANY",
    "EVERY",
    "SATISFIES",
    "ARRAY",
    "OBJECT",
    "FOR",
    "WITHIN",
    ":",
    ".",
    "->",
    "tombstone()",
    "DISTINCT",
    "FROM",
    "c",
    "d",
    "JOIN",
    "LEFT",
    "ON",
    "USE",
    "IDS",
    "LIST",
    "INDEX",
    "DIRECTIVES",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "DESC",
    "LIMIT",
    "OFFSET",
    "RETURNING",
    "SET",
    "UNSET",
    "APPLY",
    "INCREMENT",
    "RESTART",
    "WITH",
    "COLLECTION",
    "MAP",
    "COUNTER",
    "/*+ {} */",
    "--+ {}\n",
    "-- c\n",
    ";",
    "system:",
    "default:",
    "position(",
    "trim(",
    "FROM c WHERE",
    "FROM c ORDER BY",
    "SET a =",
];

const BEGINNINGS: &[&str] = &[
    "SELECT",
    "SELECT a,",
    "SELECT * FROM c",
    "SELECT * FROM c WHERE",
    "EXPLAIN",
    "PROFILE",
    "ADVISE",
    "INSERT INTO c",
    "INSERT INTO c DOCUMENTS (",
    "UPDATE c SET a =",
    "UPDATE c",
    "DELETE FROM c",
    "EVICT FROM c",
    "CREATE INDEX i ON c (",
    "DROP INDEX",
    "ALTER SYSTEM SET x =",
    "SHOW",
    "",
];

/// Expressions without more parentheses than they need, so that precedence decides.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a", "b", "o.x", "c.a", "list", "_id", ":p", "0", "1", "2.5", "'s'", "\"a\"", "null", "TRUE",
        "missing", "[]",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 24, 3, |inner| {
        let e = inner.clone();
        let binary = prop::sample::select(vec![
            "=", "!=", "<", ">=", "+", "-", "*", "/", "%", "||", "<<", "and", "OR", "xor", "IN", "NOT IN",
            "LIKE", "not like", "ILIKE",
        ]);
        prop_oneof![
            4 => (e.clone(), binary, e.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            2 => e.clone().prop_map(|a| format!("({a})")),
            1 => e.clone().prop_map(|a| format!("NOT {a}")),
            1 => e.clone().prop_map(|a| format!("- {a}")),
            1 => e.clone().prop_map(|a| format!("{a} IS NOT MISSING")),
            1 => (e.clone(), e.clone(), e.clone()).prop_map(|(a, b, c)| format!("{a} between {b} and {c}")),
            1 => (e.clone(), e.clone(), e.clone()).prop_map(|(a, b, c)| format!("{a} IN ({b}, {c})")),
            1 => (e.clone(), e.clone()).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
            1 => (e.clone(), e.clone()).prop_map(|(a, b)| format!("[{a}, {{'k': {b}}}]")),
            1 => (e.clone(), e.clone(), e.clone())
                .prop_map(|(a, b, c)| format!("CASE {a} WHEN {b} THEN {c} ELSE {a} END")),
            1 => (e.clone(), e.clone()).prop_map(|(a, b)| format!("any v in {a} satisfies v = {b} end")),
            1 => (e.clone(), e).prop_map(|(a, b)| format!("array i : v for i:v in {a} when {b} end")),
        ]
    })
}

/// Statements around two expressions.
const STATEMENTS: &[&str] = &[
    "select {a} as x, {b} from c where {a} order by {b} desc limit 3;",
    "SELECT count(*), max({a}) AS m FROM c -- comment\n WHERE {b} GROUP BY {a} HAVING count(*) > 0",
    "update c set q = {a}, r.s = {b} unset t where {a} order by {b} limit 2 returning *, {a}",
    "UPDATE c SET q -> (r = {a}, s -> tombstone()) WHERE {b}",
    "delete from c where {a} offset 1 limit :p returning {b} as z",
    "insert into d select {a} as k, {b} from c",
    "INSERT INTO d VALUES ({'k': 1, 'v': {a}}) RETURNING {b}",
    "SELECT * FROM c x JOIN d ON {a} WHERE {b}",
    "alter system set x = {a}",
];

/// What a statement that can be prepared is.
fn prepared(text: &str) -> Option<(StatementKind, std::collections::BTreeSet<ditto_types::SmolStr>)> {
    prepare(text).map(|p| (p.kind(), p.parameters().clone())).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// A statement keeps its normal form, and what is no statement is an error and no panic.
    #[test]
    fn the_normal_form_is_its_own(
        beginning in prop::sample::select(BEGINNINGS),
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14),
    ) {
        let text = format!("{beginning} {}", pieces.join(" "));
        if let Ok(normal) = normalize(&text) {
            prop_assert_eq!(normalize(&normal), Ok(normal.clone()), "{}", text);
            prop_assert_eq!(prepared(&text), prepared(&normal), "{}", text);
        }
    }

    /// The normal form means what the statement means.
    #[test]
    fn the_normal_form_means_the_same(
        statement in prop::sample::select(STATEMENTS),
        a in expression(),
        b in expression(),
    ) {
        let text = statement.replace("{a}", &a).replace("{b}", &b);
        if let Ok(normal) = normalize(&text) {
            prop_assert_eq!(normalize(&normal), Ok(normal.clone()), "{}", text);
            prop_assert_eq!(prepared(&text), prepared(&normal), "{} is {}", text, normal);
        }
        let text = format!("SELECT {a} AS x FROM c WHERE {b} OR true");
        if let Ok(normal) = normalize(&text) {
            let rows = docs(r#"[{"_id":1,"a":1,"b":"s","o":{"x":2.5},"list":[1,"a",null]},{"_id":"z","a":null}]"#);
            let run = |text: &str| try_select(text, r#"{"p":[1,2.5]}"#, &rows).map_err(|e| e.message().to_owned());
            let (given, normal_rows) = (run(&text), run(&normal));
            prop_assert_eq!(format!("{given:?}"), format!("{normal_rows:?}"), "{} is {}", text, normal);
        }
    }
}
