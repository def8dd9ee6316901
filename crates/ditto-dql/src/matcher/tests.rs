#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use ditto_types::{DocId, Object, json};
use proptest::prelude::*;

use super::*;
use crate::plan::{Plan, SelectPlan};

#[derive(Debug)]
struct Doc(Value);

impl Row for Doc {
    /// Conditions read `_id` as a field.
    fn id(&self) -> &DocId {
        static NONE: LazyLock<DocId> = LazyLock::new(|| DocId::new(&Value::Int(0)).unwrap());
        &NONE
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        path.iter().try_fold(&self.0, |v, name| v.get(name)).cloned()
    }

    fn document(&self) -> Value {
        self.0.clone()
    }
}

fn doc(text: &str) -> Doc {
    Doc(json::from_str(text).unwrap())
}

fn plan(condition: &str, args: &str) -> SelectPlan {
    let Value::Object(args) = json::from_str(args).unwrap() else { panic!("{args}") };
    let text = format!("SELECT * FROM c WHERE {condition}");
    match crate::prepare(&text)
        .and_then(|p| p.bind(&args, &crate::BindContext::bare()))
        .unwrap_or_else(|e| panic!("{text}: {e}"))
    {
        Plan::Select(plan) => plan,
        other => panic!("{other:?}"),
    }
}

fn candidates(m: &Matcher, doc: &Doc) -> Vec<u64> {
    let mut out = Vec::new();
    m.candidates("c", doc, &mut out);
    Matcher::in_order(&mut out);
    out
}

/// Whether a condition, alone in a matcher, has each of the documents as candidate.
fn listed(condition: &str, args: &str, docs: &[&str]) -> Vec<bool> {
    let mut m = Matcher::new();
    m.insert(1, plan(condition, args).watches());
    docs.iter().map(|d| !candidates(&m, &doc(d)).is_empty()).collect()
}

const NUMBERS: [&str; 5] = [r#"{"n":1}"#, r#"{"n":5}"#, r#"{"n":9.5}"#, r#"{"n":"5"}"#, "{}"];

#[test]
fn one_test_of_each_conjunction_is_indexed() {
    // Condition, and which of NUMBERS are candidates.
    let table = [
        ("n = 5", [false, true, false, false, false]),
        ("n = 5.0", [false, true, false, false, false]),
        ("n IN (1, '5', NULL)", [true, false, false, true, false]),
        ("n IN :list", [true, true, false, false, false]),
        ("n > 1", [true, true, true, false, false]),
        ("5 > n", [true, true, false, false, false]),
        ("n BETWEEN 2 AND 9", [false, true, false, false, false]),
        ("n > 2 AND n < 9", [false, true, false, false, false]),
        ("n > 9 AND n < 2", [false; 5]),
        ("NOT (n < 5)", [false, true, true, false, false]),
        ("NOT (n < 2 OR n > 9)", [false, true, false, false, false]),
        ("NOT (n != 5)", [false, true, false, false, false]),
        ("n = 1 OR n = 9.5", [true, false, true, false, false]),
        ("n = 1 OR other = 2", [true, false, false, false, false]),
        ("n = 5 AND upper(other) = 'X'", [false, true, false, false, false]),
        ("n IS MISSING", [false, false, false, false, true]),
        ("n LIKE '5%'", [false, false, false, true, false]),
        ("n = NULL", [false; 5]),
        ("n = :none", [false; 5]),
        ("n = 5 AND n = 1 OR false", [false, true, false, false, false]),
        // Without cover: everything is a candidate.
        ("upper(n) = 'X'", [true; 5]),
        ("n = 1 OR upper(n) = 'X'", [true; 5]),
        ("n != 5", [true; 5]),
        ("n = other", [true; 5]),
    ];
    for (condition, wanted) in table {
        let args = r#"{"list":[1,5],"none":null}"#;
        let got = listed(condition, args, &NUMBERS);
        // Of two equalities in one conjunction either may be chosen.
        if condition.starts_with("n = 5 AND n = 1") {
            assert_eq!(got.iter().filter(|hit| **hit).count(), 1, "{condition}");
        } else {
            assert_eq!(got, wanted, "{condition}");
        }
    }
}

#[test]
fn equality_is_preferred_to_ranges_and_ids_to_all() {
    let docs = [r#"{"_id":1,"n":5,"m":0}"#, r#"{"_id":2,"n":5,"m":9}"#, r#"{"_id":3,"n":0,"m":9}"#];
    assert_eq!(listed("m > 5 AND n = 5", "{}", &docs), [true, true, false]);
    assert_eq!(listed("n = 5 AND m > 5 AND _id = 2", "{}", &docs), [false, true, false]);
}

#[test]
fn long_lists_are_not_indexed_but_match() {
    let list: Vec<String> = (0..=cover::MAX_TESTS).map(|i| i.to_string()).collect();
    let args = format!(r#"{{"list":[{}]}}"#, list.join(","));
    assert_eq!(listed("n IN :list", &args, &NUMBERS), [true; 5]);
    assert!(!plan("n IN :list", &args).watches()[0].is_indexed());
}

#[test]
fn removing_leaves_nothing_behind() {
    let mut m = Matcher::new();
    for (i, (condition, args)) in conditions().into_iter().enumerate() {
        m.insert(i as u64, plan(&condition, args).watches());
    }
    // Giving a query other conditions forgets the first ones.
    m.insert(0, [Watch::all("other")]);
    assert!(m.watches("other"));
    for i in 0..m.len() as u64 {
        m.remove(i);
        m.remove(i);
    }
    assert!(m.is_empty() && m.collections.is_empty() && !m.watches("c"));
}

fn conditions() -> Vec<(String, &'static str)> {
    let args = r#"{"list":[1,2,3],"n":2,"s":"b"}"#;
    ["a = 1", "a IN :list", "a > :n OR b < :s", "a BETWEEN 1 AND 3", "a IS MISSING", "upper(a) = 'X'", "true"]
        .into_iter()
        .map(|c| (c.to_string(), args))
        .collect()
}

#[test]
fn ten_thousand_equalities_make_one_candidate() {
    let mut m = Matcher::new();
    for i in 0..10_000u64 {
        m.insert(i, plan("user = :u AND done = false", &format!(r#"{{"u":"user-{i}"}}"#)).watches());
    }
    assert_eq!(candidates(&m, &doc(r#"{"user":"user-77","done":false}"#)), [77]);
    assert_eq!(candidates(&m, &doc(r#"{"user":"nobody","done":false}"#)), Vec::<u64>::new());
    for i in 0..10_000 {
        m.remove(i);
    }
    assert!(m.collections.is_empty());
}

/// Texts of single tests over the fields a, b and o.x.
fn test() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec!["a", "b", "o.x", "_id", "o"]);
    let value = prop::sample::select(vec![
        "0",
        "1",
        "1.0",
        "2",
        "2.5",
        "-3",
        "'a'",
        "'b'",
        "'ab'",
        "'b%'",
        "true",
        "false",
        "NULL",
        "[1]",
        "[1.0, 'a']",
        "{'x': 1}",
        "9007199254740993",
        "9007199254740992.0",
        ":p",
        ":q",
        "''",
    ]);
    let op = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">=", "LIKE"]);
    prop_oneof![
        5 => (field.clone(), op.clone(), value.clone()).prop_map(|(f, o, v)| format!("{f} {o} {v}")),
        1 => (field.clone(), op, value.clone()).prop_map(|(f, o, v)| format!("{v} {o} {f}")),
        2 => (field.clone(), value.clone(), value.clone()).prop_map(|(f, a, b)| format!("{f} IN ({a}, {b})")),
        1 => (field.clone(), value.clone(), value.clone())
            .prop_map(|(f, a, b)| format!("{f} BETWEEN {a} AND {b}")),
        1 => (field.clone(), value).prop_map(|(f, v)| format!("{f} IN {v}")),
        1 => (field.clone(), prop::sample::select(vec!["NULL", "MISSING", "NOT NULL", "NOT MISSING"]))
            .prop_map(|(f, t)| format!("{f} IS {t}")),
        1 => field.prop_map(|f| f.to_string()),
        1 => Just("upper(a) = 'B'".to_string()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    test().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|c| format!("({})", c.join(" AND "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|c| format!("({})", c.join(" OR "))),
            inner.prop_map(|c| format!("NOT ({c})")),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "0", "1", "1.0", "2", "2.5", "-3", r#""a""#, r#""b""#, r#""ab""#, r#""ba""#, "true", "false", "null",
            "[1]", r#"[1,"a"]"#, r#"{"x":1}"#, r#"{"x":2.5}"#, "9007199254740993", "9007199254740992",
            "9007199254740992.0", r#""""#,
        ])
        .prop_map(|t| json::from_str(t).unwrap()),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0]).prop_map(Value::Float),
    ]
}

fn document() -> impl Strategy<Value = Doc> {
    let field = || prop::option::of(value());
    (field(), field(), field(), field()).prop_map(|(id, a, b, o)| {
        let fields = [("_id", id), ("a", a), ("b", b), ("o", o)];
        let fields = fields.into_iter().filter_map(|(n, v)| Some((SmolStr::from(n), v?)));
        Doc(Value::Object(fields.collect::<Object>()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn candidates_hold_all_matches(
        conditions in prop::collection::vec(condition(), 1..40),
        docs in prop::collection::vec(document(), 1..20),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        (p, q) in (value(), value()),
    ) {
        let args = Object::from([("p".into(), p), ("q".into(), q)]);
        let mut m = Matcher::new();
        let mut plans: std::collections::BTreeMap<u64, SelectPlan> = Default::default();
        for (i, c) in conditions.iter().enumerate() {
            let prepared = crate::prepare(&format!("SELECT * FROM c WHERE {c}")).unwrap();
            let Plan::Select(plan) = prepared.bind(&args, &crate::BindContext::bare()).unwrap() else { panic!("{c}") };
            m.insert(i as u64, plan.watches());
            plans.insert(i as u64, plan);
        }
        for at in removed {
            let id = at.index(conditions.len()) as u64;
            plans.remove(&id);
            m.remove(id);
        }
        for doc in &docs {
            let found = candidates(&m, doc);
            for (id, plan) in &plans {
                let matches = plan.matches(doc).unwrap();
                prop_assert!(!matches || found.contains(id), "{} on {:?}", conditions[*id as usize], doc.0);
            }
            prop_assert!(found.iter().all(|id| plans.contains_key(id)));
        }
    }

    #[test]
    fn intervals_hold_exactly_what_they_hold(
        ends in prop::collection::vec((prop::option::of(-20i64..20), prop::option::of(-20i64..20)), 0..60),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        probe in -22i64..22,
    ) {
        let mut tree = Intervals::default();
        let mut kept: Vec<_> = ends.iter().copied().enumerate().collect();
        for (i, (low, high)) in &kept {
            tree.insert(low.map(Value::Int), high.map(Value::Int), *i as u64);
        }
        for at in removed {
            if !kept.is_empty() {
                let (i, (low, _)) = kept.remove(at.index(kept.len()));
                tree.remove(low.map(Value::Int).as_ref(), i as u64);
            }
        }
        let mut found = Vec::new();
        tree.holding(&Value::Int(probe), &mut found);
        found.sort_unstable();
        let holds = |(_, (low, high)): &&(usize, (Option<i64>, Option<i64>))| {
            low.is_none_or(|l| l <= probe) && high.is_none_or(|h| probe <= h)
        };
        let wanted: Vec<u64> = kept.iter().filter(holds).map(|(i, _)| *i as u64).collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(tree.is_empty(), kept.is_empty());
    }
}
