//! The function tables.

#[path = "support/harness.rs"]
mod harness;

use harness::{check_table, describe, eval_with, try_select};

const DOC: &str = r#"{"n":null,"i":5,"s":"abc","a":[1,2,null],"o":{"a":1,"b":2},"b":{"$bytes":"YWI="},"bad":{"$bytes":"/w=="}}"#;

fn check(table: &[(&str, &str)]) {
    check_table(DOC, r#"{"arr":[5,6]}"#, table);
}

#[test]
fn numeric() {
    check(&[
        ("abs(-3)", "3"),
        ("ABS(-2.5)", "2.5"),
        ("abs(-9223372036854775808)", "9223372036854775808"),
        ("abs('a')", "MISSING"),
        ("abs(n)", "null"),
        ("abs(m)", "MISSING"),
        ("ceil(1.2)", "2.0"),
        ("ceil(3)", "3.0"),
        ("floor(-1.2)", "-2.0"),
        ("floor('x')", "MISSING"),
    ]);
}

#[test]
fn strings() {
    check(&[
        ("concat('a', s, 'c')", r#""aabcc""#),
        ("concat('a', 1)", "MISSING"),
        ("concat('a', n)", "MISSING"),
        ("contains('hello', 'ell')", "true"),
        ("contains('hello', 1)", "MISSING"),
        ("contains(n, 'a')", "null"),
        ("starts_with('a%b', 'a%')", "true"),
        ("starts_with('axb', 'a%')", "false"),
        ("ends_with('hello', 'llo')", "true"),
        ("byte_length('café')", "5"),
        ("char_length('café')", "4"),
        ("character_length('café')", "4"),
        ("char_length(1)", "MISSING"),
        ("lower('ÄB')", r#""äb""#),
        ("upper('straße')", r#""STRASSE""#),
        ("lower(1)", "MISSING"),
        ("lower(n)", "null"),
        ("substr('abcdef', 1, 3)", r#""bcd""#),
        ("substr('abcdef', 4)", r#""ef""#),
        ("substr('abcdef', 0, 0)", r#""""#),
        ("substr('abcdef', 9)", r#""""#),
        ("substr('abcdef', -2)", r#""ef""#),
        ("substr('abc', -9)", "MISSING"),
        ("substr('abc', 1, -1)", "MISSING"),
        ("substr('café!', 3, 1)", r#""é""#),
        ("pos('hello', 'l')", "2"),
        ("pos('hello', 'x')", "-1"),
        ("pos('ééa', 'a')", "2"),
        ("POSITION('l' IN 'hello')", "2"),
        ("split('a,b,,c', ',')", r#"["a","b","","c"]"#),
        ("split('aé', '')", r#"["a","é"]"#),
        ("joinstr('-', 'a', 'b')", r#""a-b""#),
        ("joinstr('-', ['a', 'b'], 'c')", r#""a-b-c""#),
        ("joinstr('-', 'a', n, m, 'b')", r#""a-b""#),
        ("joinstr('-', 'a', 1)", "MISSING"),
        ("ltrim('  a ')", r#""a ""#),
        ("rtrim('  a ')", r#""  a""#),
        ("`trim`('  a ')", r#""a""#),
        ("trim('  a ')", r#""a""#),
        ("trim('xxaxx', 'x')", r#""a""#),
        ("TRIM(BOTH 'x' FROM 'xxaxx')", r#""a""#),
        ("TRIM(LEADING 'x' FROM 'xxaxx')", r#""axx""#),
        ("TRIM(TRAILING 'x' FROM 'xxaxx')", r#""xxa""#),
        ("TRIM(BOTH FROM ' a ')", r#""a""#),
        ("TRIM('x' FROM 'xax')", r#""a""#),
        ("lpad('7', 3, '0')", r#""007""#),
        ("rpad('7', 3, 'ab')", r#""7ab""#),
        ("lpad('7', 3)", r#""  7""#),
        ("lpad('abcd', 2, 'x')", r#""ab""#),
        ("lpad('a', 3, '')", r#""a""#),
        ("lpad('a', -1, 'x')", r#""""#),
        ("repeat('ab', 3)", r#""ababab""#),
        ("repeat('ab', 0)", r#""""#),
        ("repeat('ab', -1)", r#""""#),
        ("repeat('', 18446744073709551615)", r#""""#),
    ]);
}

#[test]
fn types_and_conversion() {
    check(&[
        ("type(true)", r#""boolean""#),
        ("type('a')", r#""string""#),
        ("type(1)", r#""integer""#),
        ("type(18446744073709551615)", r#""integer""#),
        ("type(1.0)", r#""float""#),
        ("type(o)", r#""object""#),
        ("type(a)", r#""array""#),
        ("type(b)", r#""binary""#),
        ("type(n)", r#""null""#),
        ("type(m)", r#""missing""#),
        ("json_type(1)", r#""number""#),
        ("json_type(1.5)", r#""number""#),
        ("json_type(m)", r#""null""#),
        ("json_type(n)", r#""null""#),
        ("json_type('a')", r#""string""#),
        ("is_boolean(true)", "true"),
        ("is_boolean(1)", "false"),
        ("is_number(1.5)", "true"),
        ("is_number('1')", "false"),
        ("is_string('a')", "true"),
        ("is_string(n)", "null"),
        ("is_number(m)", "MISSING"),
        ("cast(1 AS string)", r#""1""#),
        ("cast(1.0, 'string')", r#""1.0""#),
        ("cast(true AS STRING)", r#""true""#),
        ("cast(b AS string)", r#""ab""#),
        ("cast(bad AS string)", "MISSING"),
        ("cast(a AS string)", "MISSING"),
        ("cast('12' AS integer)", "12"),
        ("cast(' 12 ' AS integer)", "12"),
        ("cast('1.5' AS integer)", "MISSING"),
        ("cast('x' AS integer)", "MISSING"),
        ("cast(1.9 AS integer)", "1"),
        ("cast(-1.9 AS integer)", "-1"),
        ("cast(1e30 AS integer)", "MISSING"),
        ("cast(true AS integer)", "1"),
        ("cast('18446744073709551615' AS integer)", "18446744073709551615"),
        ("cast('18446744073709551616' AS integer)", "MISSING"),
        ("cast('1.5' AS float)", "1.5"),
        ("cast(2 AS float)", "2.0"),
        ("cast('inf' AS float)", "MISSING"),
        ("cast('TRUE' AS boolean)", "true"),
        ("cast(0 AS boolean)", "false"),
        ("cast('yes' AS boolean)", "MISSING"),
        ("cast('ab' AS binary)", r#"{"$bytes":"YWI="}"#),
        ("cast(1 AS binary)", "MISSING"),
        ("cast(n AS integer)", "null"),
        ("cast(m AS integer)", "MISSING"),
        ("serialize_json({'a':[1]})", r#""{\"a\":[1]}""#),
        ("serialize_json(n)", r#""null""#),
        ("serialize_json(m)", "MISSING"),
        (r#"deserialize_json('{"a":[1,2.0]}')"#, r#"{"a":[1,2.0]}"#),
        ("deserialize_json('nope')", "MISSING"),
        ("deserialize_json(5)", "MISSING"),
    ]);
}

#[test]
fn conditional() {
    check(&[
        ("coalesce(m, n, 3, 4)", "3"),
        ("coalesce(m, n)", "null"),
        ("ifmissingornull(n, 1)", "1"),
        ("coalesce(m, false) = false", "true"),
        ("nvl(i, 9)", "5"),
        ("nvl(n, 9)", "9"),
        ("nvl(m, 9)", "9"),
        ("nvl(i, 'has', 'not')", r#""has""#),
        ("nvl(m, 'has', 'not')", r#""not""#),
        ("ifmissing(null, 0)", "null"),
        ("ifmissing(m, 0)", "0"),
        ("ifnull(m, 0)", "MISSING"),
        ("ifnull(n, 0)", "0"),
        ("ifnull(n, n)", "null"),
        ("ismissing(m)", "true"),
        ("ismissing(n)", "false"),
        ("isnull(n)", "true"),
        ("isnull(m)", "false"),
        ("ismissingornull(i)", "false"),
        ("ismissingornull(n)", "true"),
        ("ismissingornull(m)", "true"),
        ("nullif(1, 1.0)", "null"),
        ("nullif(1, 2)", "1"),
        ("nullif(1, 'a')", "1"),
        ("missingif(1, 1)", "MISSING"),
        ("missingif(1, 2)", "1"),
        ("decode('2', 1,'one', 2,'two','other')", r#""other""#),
        ("decode(2.0, 1,'one', 2,'two','other')", r#""two""#),
        ("decode(3, 1,'one', 2,'two')", "null"),
        ("decode(n, null, 'nil', 'other')", r#""nil""#),
        ("decode(m, null, 'nil', 'other')", r#""other""#),
    ]);
}

#[test]
fn arrays_and_objects() {
    check(&[
        ("array_contains(a, 1)", "true"),
        ("array_contains(:arr, i)", "true"),
        ("array_contains(:arr, 7)", "false"),
        ("array_contains(s, 1)", "MISSING"),
        ("array_contains_null(a)", "true"),
        ("array_contains_null([1])", "false"),
        ("array_length(a)", "3"),
        ("array_length(o)", "MISSING"),
        ("array_length(n)", "null"),
        ("object_length(o)", "2"),
        ("object_length({})", "0"),
        ("object_keys({'b':1,'a':2})", r#"["a","b"]"#),
        ("object_values({'b':1,'a':2})", "[2,1]"),
        ("object_keys(a)", "MISSING"),
        ("object_set(o, 'c', 3)", r#"{"a":1,"b":2,"c":3}"#),
        ("object_set(o, 'a', 3)", "MISSING"),
        ("object_set(o, 'a', 3, true)", r#"{"a":3,"b":2}"#),
        ("object_set(o, 'c', null)", r#"{"a":1,"b":2,"c":null}"#),
        ("object_set(o, 1, 3)", "MISSING"),
        ("object_set(o, 'c', m)", "MISSING"),
        ("object_unset(o, 'a')", r#"{"b":2}"#),
        ("object_unset(o, 'z')", "MISSING"),
        ("object_unset(o, 'z', true)", r#"{"a":1,"b":2}"#),
        ("object_concat(o, {'b':9}, {'c':1})", r#"{"a":1,"b":9,"c":1}"#),
        ("object_concat(o, 1)", "MISSING"),
        ("object_rename(o, 'a', 'z')", r#"{"b":2,"z":1}"#),
        ("object_rename(o, 'q', 'z')", "MISSING"),
        ("object_rename(o, 'a', 'b')", "MISSING"),
        ("object_size({}) > 0 AND object_size(o) > object_size({})", "true"),
        ("object_size(c) > object_size(o)", "true"),
        ("object_size(1)", "MISSING"),
    ]);
}

/// What would fill the memory is a typed error that names the place.
#[test]
fn results_are_bounded() {
    let too_large = [
        "repeat('abcdefgh', 100000000)",
        "lpad('a', 1000000000, 'x')",
        "repeat(repeat(repeat('a', 10000), 1000), 1000)",
    ];
    for expr in too_large {
        let text = format!("SELECT {expr} AS x FROM c");
        let e = try_select(&text, "{}", &harness::docs("[{}]")).expect_err(expr);
        let want = "validation/size-limit-exceeded | an expression builds more than 67108864 bytes @1:8";
        assert_eq!(describe(&e), want, "{expr}");
    }
    let doubling = format!("[{}]", vec!["repeat('a', 1000000)"; 80].join(","));
    let text = format!("SELECT {doubling} AS x FROM c");
    assert!(try_select(&text, "{}", &harness::docs("[{}]")).is_err());
}

/// What docs/dql.md decides where the reference is silent, against other parts of the language: the differential tests
/// cannot tell, because the reference evaluator was written after the same decision.
#[test]
fn decisions_agree_with_the_rest_of_the_language() {
    let doc = r#"{"nul":null,"f":false,"t":true,"zero":0,"one":1,"half":0.5,"nothing":0.0,"minus":-0.0,"big":18446744073709551615,
        "s":"x","e":"","a":[],"o":{}}"#;
    let values =
        ["gone", "nul", "f", "t", "zero", "one", "half", "nothing", "minus", "big", "s", "e", "a", "o"];
    let eval = |expr: &str| eval_with(expr, "{}", doc);
    // The first value that is not missing, and NULL when there is none.
    for a in values {
        for b in values {
            let case = format!("CASE WHEN {a} IS NOT MISSING THEN {a} WHEN {b} IS NOT MISSING THEN {b} END");
            assert_eq!(eval(&format!("ifmissing({a}, {b})")), eval(&case), "{a}, {b}");
            let case = format!(
                "CASE WHEN {a} IS NOT MISSING AND {a} IS NOT NULL THEN {a} WHEN {b} IS NOT MISSING AND {b} IS NOT NULL THEN {b} END"
            );
            assert_eq!(eval(&format!("coalesce({a}, {b})")), eval(&case), "{a}, {b}");
        }
    }
    assert_eq!(eval("ifmissing(gone, gone)"), "null");
    // A number casts to whether it is not zero, and everything that a boolean casts to casts back.
    for n in ["zero", "one", "half", "nothing", "minus", "big", "-1", "1e300"] {
        assert_eq!(eval(&format!("cast({n} AS boolean)")), eval(&format!("{n} != 0")), "{n}");
    }
    for b in ["t", "f"] {
        for kind in ["string", "integer", "float", "boolean"] {
            assert_eq!(eval(&format!("cast(cast({b} AS {kind}) AS boolean)")), eval(b), "{b} AS {kind}");
            assert_eq!(eval(&format!("type(cast({b} AS {kind}))")), format!("\"{kind}\""));
        }
        // Of the same value as the integer, so that they compare equal.
        assert_eq!(eval(&format!("cast({b} AS float) = cast({b} AS integer)")), "true");
        assert_eq!(eval(&format!("cast({b} AS binary)")), "MISSING");
    }
    // Nothing else is a boolean or a number, and NULL and MISSING stay what they are.
    for other in ["a", "o", "s", "e"] {
        for kind in ["boolean", "float", "integer"] {
            assert_eq!(eval(&format!("cast({other} AS {kind})")), "MISSING", "{other} AS {kind}");
        }
    }
    for kind in ["string", "integer", "float", "boolean", "binary"] {
        assert_eq!(eval(&format!("cast(nul AS {kind})")), "null");
        assert_eq!(eval(&format!("cast(gone AS {kind})")), "MISSING");
    }
}
