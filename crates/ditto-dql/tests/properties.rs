//! Laws on random input: nothing panics, the sort order is total, the filter and the projection agree.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use std::cmp::Ordering;

use ditto_dql::{BindContext, Plan, Row, RunContext, compare, prepare, prepare_subscription};
use ditto_types::{DocId, Object, SmolStr, Value};
use harness::{Doc, Docs, run};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3i64..4).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        (-3i32..4).prop_map(|i| Value::Float(f64::from(i) / 2.0)),
        // Neighbours of integers that floats cannot tell apart.
        (0u32..64, -2i64..3).prop_map(|(p, d)| Value::Int((1i64 << (p % 63)).wrapping_add(d))),
        (0i32..66).prop_map(|p| Value::Float(2f64.powi(p))),
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)]
            .prop_map(Value::Float),
        "[abé%_]{0,3}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Bytes),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[abc]".prop_map(SmolStr::from), inner, 0..3).prop_map(Value::Object),
        ]
    })
}

fn document() -> impl Strategy<Value = Object> {
    prop::collection::btree_map("[abco]".prop_map(SmolStr::from), value(), 0..4)
}

/// Text that looks like expressions, and often is one.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "c",
            "o.a",
            "c.b",
            "_id",
            ":p",
            ":q",
            "1",
            "0",
            "2.5",
            "'ab'",
            "'%'",
            "'day'",
            "'2026-03-15T10:30:45.123+09:00'",
            "1773570645123",
            "v",
            "k",
            "NULL",
            "MISSING",
            "TRUE",
            "false",
            "[1, a]",
            "{'k': b}",
            "-1",
            "9223372036854775807",
            "18446744073709551615",
            "1e300",
        ])
        .prop_map(str::to_owned),
        (-5i64..5).prop_map(|i| i.to_string()),
    ];
    leaf.prop_recursive(4, 24, 3, |e| {
        prop_oneof![
            (e.clone(), prop::sample::select(OPERATORS), e.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (e.clone(), prop::sample::select(OPERATORS), e.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (prop::sample::select(vec!["NOT", "-", "+"]), e.clone())
                .prop_map(|(op, a)| format!("{op} ({a})")),
            (e.clone(), e.clone(), e.clone()).prop_map(|(a, b, c)| format!("({a} BETWEEN ({b}) AND ({c}))")),
            (e.clone(), e.clone(), e.clone()).prop_map(|(a, b, c)| format!("({a} NOT IN ({b}, {c}))")),
            (e.clone(), prop::sample::select(vec!["IS NULL", "IS NOT MISSING", "IS TRUE"]))
                .prop_map(|(a, t)| format!("({a} {t})")),
            (e.clone(), e.clone(), e.clone())
                .prop_map(|(a, b, c)| format!("CASE WHEN {a} THEN {b} ELSE {c} END")),
            (prop::sample::select(UNARY), e.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (prop::sample::select(BINARY), e.clone(), e.clone())
                .prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            (prop::sample::select(TERNARY), e.clone(), e.clone(), e.clone())
                .prop_map(|(f, a, b, c)| format!("{f}({a}, {b}, {c})")),
            (e.clone(), prop::sample::select(vec!["string", "integer", "float", "boolean", "binary"]))
                .prop_map(|(a, t)| format!("CAST({a} AS {t})")),
            (e.clone(), e.clone()).prop_map(|(a, b)| format!("TRIM(BOTH {a} FROM {b})")),
            (prop::sample::select(QUANTIFIERS), prop::sample::select(BINDERS), e.clone(), e.clone())
                .prop_map(|(q, b, src, c)| format!("({q} {b} ({src}) SATISFIES {c} END)")),
            (prop::sample::select(BINDERS), e.clone(), e.clone(), e.clone())
                .prop_map(|(b, v, src, c)| format!("(ARRAY ({v}) FOR {b} ({src}) WHEN {c} END)")),
            (prop::sample::select(BINDERS), e.clone(), e.clone(), e.clone())
                .prop_map(|(b, k, v, src)| format!("(OBJECT ({k}) : {v} FOR {b} ({src}) END)")),
            (prop::sample::select(PARTS), e.clone(), e.clone())
                .prop_map(|(p, a, b)| format!("date_diff({a}, date_add({b}, '{p}', 1), '{p}')")),
            (e.clone(), e.clone()).prop_map(|(a, b)| format!("regexp_like({a}, {b}, 'i')")),
        ]
    })
}

const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "<<",
    ">>",
    "=",
    "==",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "AND",
    "OR",
    "XOR",
    "LIKE",
    "ILIKE",
    "NOT LIKE",
    "SIMILAR TO",
    "NOT SIMILAR TO",
    "IN",
    "NOT IN",
];
const QUANTIFIERS: &[&str] = &["ANY", "EVERY", "ANY AND EVERY"];
/// Variables with the names of fields, too.
const BINDERS: &[&str] = &["a IN", "v IN", "b : a IN", "c WITHIN", "k : v WITHIN"];
/// An escape before anything else is where LIKE and SIMILAR TO differ.
const LIKE_ELEMENTS: &[&str] = &["a", "b", ".", "%", "_", r"\%", r"\_", r"\\"];
const PARTS: &[&str] = &["year", "month", "day", "hour", "ms", "week"];
const UNARY: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "lower",
    "upper",
    "byte_length",
    "char_length",
    "type",
    "json_type",
    "is_boolean",
    "is_number",
    "is_string",
    "serialize_json",
    "deserialize_json",
    "coalesce",
    "ismissing",
    "isnull",
    "ismissingornull",
    "array_contains_null",
    "array_length",
    "object_length",
    "object_keys",
    "object_values",
    "object_size",
    "ltrim",
    "rtrim",
    "trim",
];
const BINARY: &[&str] = &[
    "regexp_like",
    "date_part",
    "date_trunc",
    "date_format",
    "date_cast",
    "duration_cast",
    "duration_format",
    "tz_offset",
    "clock",
    "concat",
    "contains",
    "starts_with",
    "ends_with",
    "substr",
    "pos",
    "split",
    "joinstr",
    "lpad",
    "rpad",
    "repeat",
    "nvl",
    "ifmissing",
    "ifnull",
    "nullif",
    "missingif",
    "array_contains",
    "object_unset",
    "object_concat",
    "ltrim",
];
const TERNARY: &[&str] =
    &["substr", "lpad", "rpad", "nvl", "decode", "object_set", "object_rename", "object_unset", "joinstr"];

/// Tokens in any order.
fn token_soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "*",
        "FROM",
        "c",
        "WHERE",
        "GROUP",
        "BY",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "DISTINCT",
        "INSERT",
        "INTO",
        "INITIAL",
        "DOCUMENTS",
        "VALUES",
        "ON",
        "ID",
        "CONFLICT",
        "DO",
        "UPDATE",
        "SET",
        "UNSET",
        "APPLY",
        "INCREMENT",
        "RESTART",
        "WITH",
        "PN_INCREMENT",
        "DELETE",
        "EVICT",
        "COLLECTION",
        "MAP",
        "COUNTER",
        "REGISTER",
        "RETURNING",
        "USE",
        "IDS",
        "LIST",
        "INDEX",
        "JOIN",
        "LEFT",
        "AS",
        "AND",
        "OR",
        "XOR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "MISSING",
        "LIKE",
        "ESCAPE",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "CAST",
        "TRIM",
        "BOTH",
        "POSITION",
        "COUNT",
        "SUM",
        "lower",
        "ANY",
        "EVERY",
        "ARRAY",
        "OBJECT",
        "FOR",
        "SATISFIES",
        "EXPLAIN",
        "ADVISE",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ":",
        ";",
        "=",
        "<",
        ">>",
        "+",
        "-",
        "/",
        "%",
        "||",
        "->",
        "1",
        "2.5",
        "'s'",
        "\"d\"",
        "`q`",
        "a",
        "b",
        ":p",
        "_id",
        "é",
        "'",
        "`",
        "/*",
        "--",
    ]);
    (prop::collection::vec(words, 0..25), any::<bool>())
        .prop_map(|(w, blanks)| w.join(if blanks { " " } else { "" }))
}

fn args() -> Object {
    Object::from([("p".into(), Value::Int(2)), ("q".into(), Value::Array(vec![Value::Int(1), Value::Null]))])
}

/// Prepares and, when that works, runs on two documents.
fn exercise(text: &str, docs: &[Object]) {
    let _ = prepare_subscription(text, true);
    let Ok(prepared) = prepare(text) else { return };
    assert_eq!(prepared.text(), text);
    let Ok(plan) = prepared.bind(&args(), &BindContext::bare()) else { return };
    let rows: Vec<Doc> = docs.iter().cloned().map(Doc::new).collect();
    let (source, cx) = (Docs(&rows), RunContext::default());
    let keep = |row: &dyn Row| Ok(row.id().clone());
    match &plan {
        Plan::Select(p) => {
            for d in &rows {
                let _ = p.matches(d);
            }
            let _ = p.run(&source, &cx);
        }
        Plan::Insert(p) => drop(p.documents(&source, &cx)),
        Plan::Update(p) => {
            for d in &rows {
                let _ = p.ops(d);
            }
            let _ = p.targets(&source, &cx, keep);
        }
        Plan::Delete(p) | Plan::Evict(p) => drop(p.targets(&source, &cx, keep)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compare_is_a_total_order(a in prop::option::weighted(0.9, value()), b in prop::option::weighted(0.9, value()), c in prop::option::weighted(0.9, value())) {
        let cmp = |x: &Option<Value>, y: &Option<Value>| compare(x.as_ref(), y.as_ref());
        prop_assert_eq!(cmp(&a, &a), Ordering::Equal);
        prop_assert_eq!(cmp(&a, &b), cmp(&b, &a).reverse());
        if cmp(&a, &b) != Ordering::Greater && cmp(&b, &c) != Ordering::Greater {
            prop_assert_ne!(cmp(&a, &c), Ordering::Greater);
        }
        if cmp(&a, &b) == Ordering::Equal {
            prop_assert_eq!(cmp(&a, &c), cmp(&b, &c));
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        exercise(&text, &[]);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        exercise(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn any_tokens_are_parsed_or_refused(text in token_soup(), doc in document()) {
        exercise(&text, &[doc, Object::new()]);
    }

    #[test]
    fn expressions_run_everywhere(e in expression(), f in expression(), docs in prop::collection::vec(document(), 0..4)) {
        // What the generator writes is an expression, so that the rest of the test is not about errors.
        let text = format!("SELECT {e} AS x FROM c WHERE {f}");
        prop_assert!(prepare(&text).is_ok(), "{:?}: {}", prepare(&text).err(), text);
        for text in [
            text,
            format!("SELECT DISTINCT {e} AS x, {f} AS y FROM c ORDER BY x DESC, {f} LIMIT 2 OFFSET 1"),
            format!("SELECT {e} AS x, COUNT({f}) AS n, SUM(DISTINCT {f}) AS s, MAX({f}) AS m FROM c GROUP BY {e} HAVING COUNT(*) > 0 ORDER BY {e}"),
            format!("UPDATE c APPLY k INCREMENT BY {f} SET z.y = {e} WHERE {f} ORDER BY {e} LIMIT 1"),
            format!("DELETE FROM c WHERE {e} OR {f}"),
            format!("INSERT INTO c DOCUMENTS ({{'a': {e}, '_id': {f}}})"),
        ] {
            exercise(&text, &docs);
        }
    }

    /// WHERE keeps a row exactly when the projected condition is true.
    #[test]
    fn filter_and_projection_agree(e in expression(), doc in document()) {
        let row = [Doc::new(doc)];
        let run_one = |text: String| {
            let Plan::Select(p) = prepare(&text).unwrap().bind(&args(), &BindContext::bare()).unwrap() else { panic!() };
            run(&p, &row)
        };
        let projected = run_one(format!("SELECT {e} AS x FROM c"));
        let kept = run_one(format!("SELECT 1 AS x FROM c WHERE {e}"));
        match (projected, kept) {
            (Ok(p), Ok(k)) => prop_assert_eq!(p[0].get("x") == Some(&Value::Bool(true)), !k.is_empty(), "{}", e),
            // `repeat` and its like may be refused for their size, in both places.
            (Err(a), Err(b)) => prop_assert_eq!(a.message(), b.message()),
            (p, k) => prop_assert!(false, "{}: {:?} {:?}", e, p, k),
        }
    }

    /// Different ways to say the same.
    #[test]
    fn laws(e in expression(), f in expression(), g in expression(), doc in document()) {
        let row = [Doc::new(doc)];
        let value = |e: &str| {
            let Plan::Select(p) =
                prepare(&format!("SELECT {e} AS x FROM c")).unwrap().bind(&args(), &BindContext::bare()).unwrap()
            else {
                panic!()
            };
            run(&p, &row).map(|rows| rows[0].get("x").cloned())
        };
        let array = format!("[{e}, {f}]");
        // An operand that is no boolean gives MISSING or, in a longer chain, NULL. Neither is true or false.
        for (one, other) in [
            (format!("({e}) AND ({f})"), format!("({f}) AND ({e})")),
            (format!("({e}) OR ({f})"), format!("({f}) OR ({e})")),
            (format!("({e}) XOR ({f})"), format!("({f}) XOR ({e})")),
            (format!("NOT (({e}) AND ({f}))"), format!("NOT ({e}) OR NOT ({f})")),
            (format!("NOT (({e}) OR ({f}))"), format!("NOT ({e}) AND NOT ({f})")),
        ] {
            if let (Ok(a), Ok(b)) = (value(&one), value(&other)) {
                let truth = |v: Option<Value>| v.as_ref().and_then(Value::as_bool);
                prop_assert_eq!(truth(a), truth(b), "{}\n{}", one, other);
            }
        }
        for (one, other) in [
            (format!("({e}) BETWEEN ({f}) AND ({g})"), format!("({e}) >= ({f}) AND ({e}) <= ({g})")),
            (format!("({e}) NOT BETWEEN ({f}) AND ({g})"), format!("NOT (({e}) BETWEEN ({f}) AND ({g}))")),
            (format!("({g}) IN ({e}, {f})"), format!("({g}) IN {array}")),
            (format!("array_contains({array}, {g})"), format!("({g}) IN {array}")),
            // The variable is a name that no expression has.
            (format!("(({g}) IN {array}) IS TRUE"), format!("ANY zz IN {array} SATISFIES zz = ({g}) END")),
            (
                format!("EVERY zz IN {array} SATISFIES zz = ({g}) END"),
                format!("NOT ANY zz IN {array} SATISFIES (zz = ({g})) IS NOT TRUE END"),
            ),
            (array.clone(), format!("ARRAY zz FOR zz IN {array} END")),
            (format!("({e}) = ({f})"), format!("({f}) = ({e})")),
            (format!("({e}) < ({f})"), format!("({f}) > ({e})")),
            (format!("nvl({e}, {f})"), format!("coalesce({e}, {f}, null)")),
            (format!("CASE WHEN {e} THEN 1 ELSE 2 END"), format!("CASE ({e}) IS TRUE WHEN true THEN 1 ELSE 2 END")),
        ] {
            // `nvl` without a value gives its last argument as it is, MISSING too.
            if one.starts_with("nvl") && value(&f).is_ok_and(|f| f.is_none()) {
                continue;
            }
            match (value(&one), value(&other)) {
                (Ok(a), Ok(b)) => prop_assert!(compare(a.as_ref(), b.as_ref()).is_eq(), "{one}: {a:?}\n{other}: {b:?}"),
                // One may take more than the other.
                (a, b) => prop_assert!(a.is_err() || b.is_err()),
            }
        }
    }

    /// What is the same for all rows gives what it gives when it comes with the row.
    #[test]
    fn constants_and_fields_agree(doc in document(), e in expression()) {
        let literal = |name: &str| doc.get(name).cloned().map_or_else(|| "MISSING".to_owned(), |v| dql(&v));
        let Some((head, tail)) = e.split_once(":p") else { return Ok(()) };
        let (with_field, with_literal) = (format!("{head} a {tail}"), format!("{head} {} {tail}", literal("a")));
        let row = [Doc::new(doc.clone())];
        let value = |e: &str| {
            let plan = prepare(&format!("SELECT ({e}) AS x FROM c")).unwrap().bind(&args(), &BindContext::bare());
            let Ok(Plan::Select(p)) = plan else { panic!() };
            run(&p, &row).map(|rows| rows[0].get("x").cloned())
        };
        // A field can be hidden by a variable.
        if e.contains("FOR a IN") || e.contains(" a IN") || e.contains(": a") {
            return Ok(());
        }
        if let (Ok(a), Ok(b)) = (value(&with_field), value(&with_literal)) {
            prop_assert!(compare(a.as_ref(), b.as_ref()).is_eq(), "{with_field}: {a:?}\n{with_literal}: {b:?}");
        }
    }

    /// Without what only SIMILAR TO has, it is LIKE.
    #[test]
    fn similar_to_is_like(s in "[ab%_.]{0,6}", p in prop::collection::vec(prop::sample::select(LIKE_ELEMENTS), 0..6)) {
        let p = p.concat();
        let args = Object::from([("s".into(), Value::from(s.as_str())), ("p".into(), Value::from(p.as_str()))]);
        let Plan::Select(plan) = prepare("SELECT (:s LIKE :p) = (:s SIMILAR TO :p) AS x FROM c").unwrap().bind(&args, &BindContext::bare()).unwrap() else { panic!() };
        let rows = run(&plan, &[Doc::new(Object::new())]).unwrap();
        prop_assert_eq!(rows[0].get("x"), Some(&Value::Bool(true)), "{:?} {:?}", s, p);
    }

    /// The access path never loses a document that the filter keeps.
    #[test]
    fn access_keeps_what_the_filter_keeps(id in value(), probe in value(), other in value(), form in 0usize..5) {
        let Ok(doc_id) = DocId::new(&id) else { return Ok(()) };
        let condition = ["_id = :p", "_id IN (:o, :p)", "_id IN :list", "_id = :p AND a = 1", "_id = :o OR :p = _id"][form];
        // Half of the time the probe equals the id, as floats instead of integers where that can be.
        let probe = if form % 2 == 0 { as_floats(&id) } else { probe };
        let args = Object::from([
            ("list".into(), Value::Array(vec![other.clone(), probe.clone()])),
            ("p".into(), probe),
            ("o".into(), other),
        ]);
        let Plan::Select(p) = prepare(&format!("SELECT * FROM c WHERE {condition}")).unwrap().bind(&args, &BindContext::bare()).unwrap() else { panic!() };
        let doc = Doc::new(Object::from([("_id".into(), doc_id.to_value()), ("a".into(), Value::Int(1))]));
        if p.matches(&doc).unwrap() {
            let ditto_dql::Access::Ids(ids) = p.access() else { panic!("{condition}") };
            prop_assert!(ids.contains(&doc_id), "{} {:?}", condition, doc_id);
        }
    }
}

/// A value as a literal, as far as there are literals for it.
fn dql(v: &Value) -> String {
    match v {
        Value::Float(f) if !f.is_finite() => "MISSING".to_owned(),
        Value::Float(f) => format!("({f:?})"),
        Value::Int(i) => format!("({i})"),
        Value::Array(a) => format!("[{}]", a.iter().map(dql).collect::<Vec<_>>().join(", ")),
        Value::Object(o) => {
            let fields: Vec<String> = o.iter().map(|(k, v)| format!("'{k}': {}", dql(v))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Bytes(_) => "MISSING".to_owned(),
        v => ditto_types::json::to_string(v),
    }
}

fn as_floats(v: &Value) -> Value {
    match v {
        Value::Int(i) if (*i as f64) as i128 == i128::from(*i) => Value::Float(*i as f64),
        Value::Array(a) => Value::Array(a.iter().map(as_floats).collect()),
        Value::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), as_floats(v))).collect()),
        v => v.clone(),
    }
}
