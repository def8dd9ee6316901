//! Operators: the tables of precedence, arithmetic, comparison, logic, membership and patterns.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use harness::{check_table, eval, eval_with};

/// One field of each type; `m` is not there.
const DOC: &str = r#"{"t":true,"f":false,"n":null,"i":5,"fl":2.5,"s":"abc","a":[1,"x",null],"o":{"p":{"q":7},"order":1},
    "b":{"$bytes":"AQI="},"_id":"d1","spaced name":"v"}"#;

#[test]
fn literals() {
    check_table(
        DOC,
        "{}",
        &[
            ("42", "42"),
            ("0xFF", "255"),
            ("-7", "-7"),
            ("2.5", "2.5"),
            ("1e3", "1000.0"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            // The sign is an operator here, and belongs to the number in the test of errors.
            ("-(18446744073709551615)", "null"),
            ("TRUE", "true"),
            ("False", "false"),
            ("nUlL", "null"),
            ("MISSING", "MISSING"),
            ("'a'", r#""a""#),
            (r#""it's""#, r#""it's""#),
            (r"'it\'s \u00e9\q'", "\"it's éq\""),
            ("[1, 'a', [true]]", r#"[1,"a",[true]]"#),
            ("[]", "[]"),
            ("[1, m, 2]", "[1,null,2]"),
            ("{}", "{}"),
            ("{'a': 1, 'b': {'c': i}}", r#"{"a":1,"b":{"c":5}}"#),
            ("{'a':i,'b':m}", r#"{"a":5}"#),
            // An unquoted key is a field reference.
            ("{m: 1}", "{}"),
            ("{s: 1}", r#"{"abc":1}"#),
            ("{i: 1}", "{}"),
        ],
    );
}

#[test]
fn paths() {
    check_table(
        DOC,
        "{}",
        &[
            ("i", "5"),
            ("c.i", "5"),
            ("o.p.q", "7"),
            ("c.o.p.q", "7"),
            ("`o`.`p`.`q`", "7"),
            ("o.order", "1"),
            ("`spaced name`", r#""v""#),
            ("_id", r#""d1""#),
            ("m", "MISSING"),
            ("o.m", "MISSING"),
            ("i.x", "MISSING"),
            ("n.x", "MISSING"),
            ("a.x", "MISSING"),
            ("I", "MISSING"),
            ("object_length(c)", "11"),
        ],
    );
    // Words that are keywords elsewhere, as field names.
    let doc = r#"{"date":1,"time":2,"value":3,"text":4,"id":5,"count":6,"mode":7,"language":8,"user":9,"name":10,"key":11,
        "restart":12,"initial":13,"set":14,"use":15,"documents":16,"index":17,"array":18,"object":19,"any":20,"left":21,"order":22,"position":23,"trim":24,"cast":25,"collection":26,"every":27}"#;
    check_table(
        doc,
        "{}",
        &[
            ("date + time + value + text + id + count + mode + language + user + name + key", "66"),
            ("restart + initial + set + use + documents + index", "87"),
            ("array + object + any + left", "78"),
            ("position + trim + cast + collection + every", "125"),
            ("c.order", "22"),
            ("`order`", "22"),
            ("any = 20 AND array IN (18) AND every = 27", "true"),
        ],
    );
}

#[test]
fn parameters() {
    let args = r#"{"p":1,"P":2,"order":3,"arr":[1,2],"n":null,"b":{"$bytes":"AQI="}}"#;
    check_table(
        DOC,
        args,
        &[
            (":p", "1"),
            (":P", "2"),
            (":order", "3"),
            (":n", "null"),
            (":b", r#"{"$bytes":"AQI="}"#),
            ("b = :b", "true"),
            ("{'k'::p}", r#"{"k":1}"#),
            ("2 IN :arr", "true"),
            // A list of one element, the array.
            ("2 IN (:arr)", "false"),
            ("[1, 2] IN (:arr)", "true"),
        ],
    );
}

#[test]
fn precedence() {
    check_table(
        DOC,
        "{}",
        &[
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("10 - 2 - 3", "5"),
            ("100 / 10 / 2", "5"),
            ("7 % 4 * 2", "6"),
            ("1 + 1 << 2", "8"),
            ("1 << 2 + 1", "8"),
            ("-2 * 3", "-6"),
            ("- (2 + 3)", "-5"),
            ("+i", "5"),
            ("2 - -2", "4"),
            ("NOT 1 = 2", "true"),
            ("NOT true AND false", "false"),
            ("NOT NOT true", "true"),
            ("true OR false AND false", "true"),
            ("true XOR true OR true", "true"),
            ("true OR true XOR true", "true"),
            ("false AND true XOR true", "true"),
            ("1 = 1 AND 2 = 2 OR 1 = 2", "true"),
            ("1 + 1 = 2 AND 3 > 2", "true"),
            // IS binds looser than comparison.
            ("1 = m IS MISSING", "true"),
            ("n = 1 IS NULL", "true"),
            ("NOT m IS MISSING", "false"),
            ("'a' || 'b' = 'ab'", "true"),
            ("5 BETWEEN 1 AND 10 AND true", "true"),
            ("5 BETWEEN 2 + 2 AND 2 * 3", "true"),
            ("NOT 5 IN (1, 5)", "false"),
            ("'ab' LIKE 'a' || '%'", "true"),
            ("1 < 2 = true", "true"),
        ],
    );
}

#[test]
fn arithmetic() {
    check_table(
        DOC,
        "{}",
        &[
            ("5 / 2", "2"),
            ("-5 / 2", "-2"),
            ("7 % 3", "1"),
            ("-7 % 3", "-1"),
            ("5.0 / 2", "2.5"),
            ("5 / 2.0", "2.5"),
            ("1 + 1.0", "2.0"),
            ("2 * 3.5", "7.0"),
            ("5.5 % 2", "1.5"),
            ("1 << 4", "16"),
            ("256 >> 4", "16"),
            ("-8 >> 1", "-4"),
            ("1 << 64", "null"),
            ("1 << -1", "null"),
            ("1.0 << 1", "MISSING"),
            // The wrong type is MISSING, NULL is NULL.
            ("1 + 'a'", "MISSING"),
            ("true + 1", "MISSING"),
            ("[1] + 1", "MISSING"),
            ("1 + n", "null"),
            ("n * m", "MISSING"),
            ("m + 1", "MISSING"),
            ("-'a'", "MISSING"),
            ("-n", "null"),
            ("-m", "MISSING"),
            ("+'a'", "MISSING"),
            // What does not exist is NULL, never a wrong number.
            ("1 / 0", "null"),
            ("1 % 0", "null"),
            ("1.0 / 0", "null"),
            ("9223372036854775807 + 1", "9223372036854775808"),
            ("18446744073709551615 + 1", "null"),
            ("-9223372036854775808 - 1", "null"),
            ("9223372036854775807 * 9223372036854775807", "null"),
            ("18446744073709551615 * 18446744073709551615", "null"),
            ("1e308 * 10", "null"),
            ("-(18446744073709551615)", "null"),
            ("-9223372036854775808 / -1", "9223372036854775808"),
            ("'a' || 'b' || s", r#""ababc""#),
            ("'a' || 1", "MISSING"),
            ("'a' || n", "MISSING"),
            ("'a' || m", "MISSING"),
            ("'a' || cast(1 AS string)", r#""a1""#),
        ],
    );
}

#[test]
fn comparison() {
    check_table(
        DOC,
        "{}",
        &[
            ("1 = 1.0", "true"),
            ("1 == 1", "true"),
            ("1 <> 2", "true"),
            ("1 != 1", "false"),
            ("2 > 1.5", "true"),
            ("9007199254740993 = 9007199254740992.0", "false"),
            ("9007199254740993 > 9007199254740992.0", "true"),
            ("18446744073709551615 > 9223372036854775807", "true"),
            ("'a' < 'b'", "true"),
            ("'B' < 'a'", "true"),
            ("'2026-01-01T10:30:45Z' < '2026-01-01T10:30:45.123Z'", "false"),
            ("false < true", "true"),
            ("b = b", "true"),
            ("[0, 1] = [0, 1.0]", "true"),
            ("a = [1, 'x', null]", "true"),
            ("[1, 2] < [1, 3]", "true"),
            ("{'a': 1, 'b': 2} = {'b': 2, 'a': 1}", "true"),
            ("{'a': 1} != {'a': 2}", "true"),
            ("1 = 'a'", "MISSING"),
            ("1 != 'a'", "MISSING"),
            ("1 < 'a'", "MISSING"),
            ("[1] = {}", "MISSING"),
            ("NULL = NULL", "null"),
            ("NULL <> NULL", "null"),
            ("1 > NULL", "null"),
            ("n = 'x'", "null"),
            ("m = 1", "MISSING"),
            ("m = n", "MISSING"),
            ("m != m", "MISSING"),
        ],
    );
}

#[test]
fn is_tests() {
    let rows = [("t", "f", "n", "m")];
    for (t, f, n, m) in rows {
        let table = [
            ("IS NULL", [false, false, true, false]),
            ("IS UNKNOWN", [false, false, true, false]),
            ("IS NOT NULL", [true, true, false, true]),
            ("IS NOT UNKNOWN", [true, true, false, true]),
            ("IS MISSING", [false, false, false, true]),
            ("IS NOT MISSING", [true, true, true, false]),
            ("IS TRUE", [true, false, false, false]),
            ("IS NOT TRUE", [false, true, true, true]),
            ("IS FALSE", [false, true, false, false]),
            ("is not false", [true, false, true, true]),
        ];
        for (test, want) in table {
            for (field, want) in [t, f, n, m].iter().zip(want) {
                assert_eq!(
                    eval_with(&format!("{field} {test}"), "{}", DOC),
                    want.to_string(),
                    "{field} {test}"
                );
            }
        }
    }
}

#[test]
fn logic() {
    let operands = [("true", 'T'), ("false", 'F'), ("NULL", 'N'), ("MISSING", 'N')];
    let result = |c| match c {
        'T' => "true",
        'F' => "false",
        _ => "null",
    };
    for (a, ta) in operands {
        assert_eq!(
            eval(&format!("NOT {a}")),
            result(match ta {
                'T' => 'F',
                'F' => 'T',
                n => n,
            }),
            "NOT {a}"
        );
        for (b, tb) in operands {
            let and = match (ta, tb) {
                ('F', _) | (_, 'F') => 'F',
                ('T', 'T') => 'T',
                _ => 'N',
            };
            let or = match (ta, tb) {
                ('T', _) | (_, 'T') => 'T',
                ('F', 'F') => 'F',
                _ => 'N',
            };
            let xor = match (ta, tb) {
                ('N', _) | (_, 'N') => 'N',
                (x, y) => {
                    if x != y {
                        'T'
                    } else {
                        'F'
                    }
                }
            };
            for (op, want) in [("AND", and), ("OR", or), ("XOR", xor)] {
                let text = format!("{a} {op} {b}");
                assert_eq!(eval(&text), result(want), "{text}");
            }
        }
    }
    check_table(
        "{}",
        "{}",
        &[
            ("1 AND true", "MISSING"),
            ("1 AND false", "false"),
            ("'x' OR true", "true"),
            ("'x' OR false", "MISSING"),
            ("'x' OR NULL", "MISSING"),
            ("1 XOR true", "MISSING"),
            ("NOT 5", "MISSING"),
            ("true XOR true XOR true", "true"),
            ("1 = 'a' OR false", "null"),
        ],
    );
}

#[test]
fn membership_and_range() {
    check_table(
        DOC,
        "{}",
        &[
            ("5 IN (1, 5)", "true"),
            ("i IN (1, 5.0)", "true"),
            ("5 IN (1, 2)", "false"),
            ("5 IN (1, 'a')", "false"),
            ("5 IN (1, NULL)", "null"),
            ("5 IN (5, NULL)", "true"),
            ("5 IN (1, m)", "null"),
            ("1 IN a", "true"),
            ("'y' IN a", "null"),
            ("'x' IN [1, 'x']", "true"),
            ("'p' IN object_keys(o)", "true"),
            ("5 IN s", "MISSING"),
            ("5 IN n", "null"),
            ("5 IN m", "MISSING"),
            ("m IN (1)", "MISSING"),
            ("n IN (1, NULL)", "null"),
            ("5 NOT IN (1, 2)", "true"),
            ("5 NOT IN ('a')", "true"),
            ("m NOT IN (1)", "null"),
            ("n NOT IN (1)", "null"),
            ("5 BETWEEN 1 AND 5", "true"),
            ("5 BETWEEN 10 AND 1", "false"),
            ("5 NOT BETWEEN 1 AND 4", "true"),
            ("5 NOT BETWEEN 1 AND 5", "false"),
            ("m BETWEEN 1 AND 2", "null"),
            ("n BETWEEN 1 AND 2", "null"),
            ("5 BETWEEN 1 AND 'a'", "null"),
            ("5 BETWEEN 6 AND 'a'", "false"),
        ],
    );
}

#[test]
fn patterns() {
    check_table(
        DOC,
        r#"{"p":"a%"}"#,
        &[
            ("s LIKE 'a%'", "true"),
            ("s LIKE 'A%'", "false"),
            ("s ILIKE 'A_C'", "true"),
            ("s LIKE :p", "true"),
            ("s LIKE 'b'", "false"),
            ("s NOT LIKE 'b'", "true"),
            ("s NOT ILIKE 'ABC'", "false"),
            (r"'50%' LIKE '50\\%'", "true"),
            (r"'505' LIKE '50\\%'", "false"),
            ("'50%' LIKE '50!%' ESCAPE '!'", "true"),
            ("'505' LIKE '50!%' ESCAPE '!'", "false"),
            ("'日本' LIKE '__'", "true"),
            ("n LIKE 'a'", "null"),
            ("m LIKE 'a'", "MISSING"),
            ("i LIKE '5'", "MISSING"),
            ("s LIKE n", "null"),
        ],
    );
}

#[test]
fn similar_to() {
    check_table(
        DOC,
        r#"{"p":"(a|b)%"}"#,
        &[
            ("s SIMILAR TO '(abc|def)'", "true"),
            ("s SIMILAR TO 'a[bx]c'", "true"),
            ("s SIMILAR TO 'a[^b]c'", "false"),
            ("s SIMILAR TO '_b%'", "true"),
            ("s SIMILAR TO :p", "true"),
            ("s SIMILAR TO 'a' || '%'", "true"),
            ("'aaa' SIMILAR TO 'a{3}'", "true"),
            ("'ab' SIMILAR TO 'a+b?'", "true"),
            // Anchored at both ends, and a dot is a dot.
            ("s SIMILAR TO 'b'", "false"),
            ("s SIMILAR TO 'ab'", "false"),
            ("s SIMILAR TO 'a.c'", "false"),
            ("'a.c' SIMILAR TO 'a.c'", "true"),
            ("'a^$' SIMILAR TO 'a^$'", "true"),
            (r"'50%' SIMILAR TO '50\\%'", "true"),
            ("'50%' SIMILAR TO '50!%' ESCAPE '!'", "true"),
            ("'505' SIMILAR TO '50!%' ESCAPE '!'", "false"),
            ("s NOT SIMILAR TO 'x%'", "true"),
            ("n SIMILAR TO 'a'", "null"),
            ("s SIMILAR TO n", "null"),
            ("m SIMILAR TO 'a'", "MISSING"),
            ("i SIMILAR TO '5'", "MISSING"),
            ("s SIMILAR TO '('", "MISSING"),
            // Precedence as LIKE.
            ("'a' || 'b' SIMILAR TO 'a' || 'b' IS TRUE", "true"),
        ],
    );
}

#[test]
fn regexp_like() {
    check_table(
        DOC,
        r#"{"re":"^A","f":"i"}"#,
        &[
            // Found anywhere, unless anchored.
            ("regexp_like(s, 'b')", "true"),
            ("regexp_like(s, '^b')", "false"),
            ("regexp_like(s, '^a.c$')", "true"),
            (r"regexp_like('a1', '\\d')", "true"),
            ("regexp_like(s, 'B')", "false"),
            ("regexp_like(s, 'B', 'i')", "true"),
            ("regexp_like(s, 'B', 'c')", "false"),
            ("regexp_like(s, 'b', '')", "true"),
            ("regexp_like('x\na', '^a')", "false"),
            ("regexp_like('x\na', '^a', 'm')", "true"),
            ("regexp_like('x\na', 'x.a')", "false"),
            ("regexp_like('x\na', 'x.a', 's')", "true"),
            ("regexp_like(s, 'a b', 'x')", "true"),
            ("REGEXP_LIKE(s, :re, :f)", "true"),
            ("regexp_like(s, s)", "true"),
            ("regexp_like('É', 'é', 'i')", "true"),
            ("regexp_like(i, '5')", "MISSING"),
            ("regexp_like(m, 'a')", "MISSING"),
            ("regexp_like(n, 'a')", "null"),
            ("regexp_like(s, n)", "null"),
            ("regexp_like(s, 'a', n)", "null"),
            ("regexp_like(s, 'a', m)", "MISSING"),
            ("regexp_like(s, '(')", "MISSING"),
            ("regexp_like(s, 'a', 'z')", "MISSING"),
            ("regexp_like(s, 'a', 1)", "MISSING"),
            ("NOT regexp_like(s, 'x')", "true"),
        ],
    );
}

/// A list that is the same for all rows gives the same as one that is not.
#[test]
fn long_lists() {
    let list = "1, 2, 3, 4, 5.0, 'a', [1], {'k': 1}, 10, 11";
    let varying = format!("{list}, i");
    for (item, found) in [
        ("1", true),
        ("5", true),
        ("1.0", true),
        ("'a'", true),
        ("[1.0]", true),
        ("{'k': 1}", true),
        ("9", false),
        ("'b'", false),
        ("true", false),
        ("fl", false),
    ] {
        for list in [list, &varying] {
            assert_eq!(
                eval_with(&format!("{item} IN ({list})"), "{}", DOC),
                found.to_string(),
                "{item} in {list}"
            );
            assert_eq!(
                eval_with(&format!("{item} IN [{list}]"), "{}", DOC),
                found.to_string(),
                "{item} in {list}"
            );
        }
        let unknown = if found { "true" } else { "null" };
        assert_eq!(eval_with(&format!("{item} IN ({list}, NULL)"), "{}", DOC), unknown, "{item}");
        assert_eq!(eval_with(&format!("{item} IN ({list}, MISSING)"), "{}", DOC), unknown, "{item}");
    }
    assert_eq!(eval_with(&format!("n IN ({list})"), "{}", DOC), "null");
    assert_eq!(eval_with(&format!("m IN ({list})"), "{}", DOC), "MISSING");
    assert_eq!(eval_with("i IN :a", r#"{"a":[1,5]}"#, DOC), "true");
    assert_eq!(eval_with("i NOT IN :a", r#"{"a":[1,null]}"#, DOC), "null");
    assert_eq!(eval_with("i IN :a", r#"{"a":5}"#, DOC), "MISSING");
    assert_eq!(eval_with("i IN :a", r#"{"a":null}"#, DOC), "null");
    assert_eq!(eval_with("n IN :a", r#"{"a":[null]}"#, DOC), "null");
}

#[test]
fn case() {
    check_table(
        DOC,
        "{}",
        &[
            ("CASE WHEN i > 3 THEN 'big' ELSE 'small' END", r#""big""#),
            ("CASE WHEN i > 9 THEN 'big' END", "null"),
            ("CASE WHEN n THEN 1 WHEN m THEN 2 WHEN t THEN 3 END", "3"),
            ("CASE i WHEN 1 THEN 'one' WHEN 5.0 THEN 'five' END", r#""five""#),
            ("CASE i WHEN '5' THEN 1 ELSE 2 END", "2"),
            ("CASE n WHEN NULL THEN 1 ELSE 2 END", "2"),
            ("CASE WHEN true THEN m END", "MISSING"),
            ("CASE WHEN true THEN CASE WHEN false THEN 1 ELSE 2 END END + 1", "3"),
        ],
    );
}

/// Chains of one operator are as long as the text allows; everything else has a bounded depth.
#[test]
fn long_chains() {
    let chain = |op: &str, item: &str, n: usize| vec![item; n].join(op);
    assert_eq!(eval(&chain(" AND ", "true", 20_000)), "true");
    assert_eq!(eval(&chain(" OR ", "1 = 2", 20_000)), "false");
    assert_eq!(eval(&chain(" XOR ", "true", 20_001)), "true");
    assert_eq!(eval(&format!("char_length({})", chain("||", "'ab'", 20_000))), "40000");
    assert_eq!(eval(&chain(" + ", "1", 100)), "100");
    let list = chain(",", "1", 50_000);
    assert_eq!(eval(&format!("2 IN ({list}, 2)")), "true");
}
