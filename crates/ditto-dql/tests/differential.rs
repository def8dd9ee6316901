//! Random statements over random documents give the same with any indexes as without.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/memory.rs"]
mod memory;

use ditto_types::{Object, SmolStr, Value, json};
use harness::Doc;
use memory::Memory;
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        12 => (0i64..4).prop_map(Value::Int),
        3 => (-3i32..6).prop_map(|i| Value::Float(f64::from(i) / 2.0)),
        1 => Just(Value::Float(f64::NAN)),
        1 => prop::sample::select(vec![i64::MAX, i64::MAX - 1, i64::MIN, 1 << 53, (1 << 53) + 1]).prop_map(Value::Int),
        1 => prop::sample::select(vec![9_007_199_254_740_992.0, 9_223_372_036_854_775_808.0, -0.0]).prop_map(Value::Float),
        5 => prop::sample::select(vec!["", "a", "ab", "abc", "b", "a%", "\u{0}", "é"]).prop_map(Value::from),
    ]
}

fn value() -> BoxedStrategy<Value> {
    prop_oneof![
        8 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::Array),
        1 => prop::collection::btree_map("[kl]".prop_map(SmolStr::from), scalar(), 0..3).prop_map(Value::Object),
    ]
    .boxed()
}

fn documents() -> BoxedStrategy<Vec<Object>> {
    let document = prop::collection::btree_map(
        prop::sample::select(vec!["a", "a", "a", "b", "b", "c", "o"]).prop_map(SmolStr::from),
        value(),
        0..6,
    );
    prop::collection::vec(document, 0..16)
        .prop_map(|docs| {
            let mut docs = docs;
            for (i, d) in docs.iter_mut().enumerate() {
                d.insert("_id".into(), Value::from(format!("d{i}")));
            }
            docs
        })
        .boxed()
}

fn field() -> impl Strategy<Value = String> {
    // Few names, so that conditions and indexes meet.
    prop::sample::select(vec!["a", "a", "a", "a", "b", "b", "b", "c", "o.k", "_id"]).prop_map(str::to_owned)
}

fn literal() -> BoxedStrategy<String> {
    prop_oneof![
        6 => scalar().prop_filter("a literal", |v| !matches!(v, Value::Float(f) if f.is_nan())).prop_map(|v| json::to_string(&v)),
        1 => prop::sample::select(vec!["[]", "[1]", "{'k': 1}", "'d1'", ":p", ":q", "MISSING"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn atom() -> BoxedStrategy<String> {
    let op = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let pattern = prop::sample::select(vec!["'a%'", "'ab'", "'%b'", "'_b%'", "'a\\\\%'", "''", ":p"]);
    let test = prop::sample::select(vec![
        "IS NULL",
        "IS MISSING",
        "IS NOT NULL",
        "IS NOT MISSING",
        "IS TRUE",
        "IS NOT FALSE",
    ]);
    prop_oneof![
        6 => (field(), op, literal()).prop_map(|(f, op, v)| format!("{f} {op} {v}")),
        1 => (literal(), field()).prop_map(|(v, f)| format!("{v} < {f}")),
        2 => (field(), any::<bool>(), literal(), literal()).prop_map(|(f, not, a, b)| format!("{f} {}IN ({a}, {b})", if not { "NOT " } else { "" })),
        1 => (field(), any::<bool>()).prop_map(|(f, not)| format!("{f} {}IN :q", if not { "NOT " } else { "" })),
        2 => (field(), any::<bool>(), literal(), literal()).prop_map(|(f, not, a, b)| format!("{f} {}BETWEEN {a} AND {b}", if not { "NOT " } else { "" })),
        2 => (field(), any::<bool>(), pattern).prop_map(|(f, not, p)| format!("{f} {}LIKE {p}", if not { "NOT " } else { "" })),
        2 => (field(), test).prop_map(|(f, t)| format!("{f} {t}")),
        1 => field(),
        1 => (field(), field()).prop_map(|(a, b)| format!("{a} = {b}")),
    ]
    .boxed()
}

fn condition() -> BoxedStrategy<String> {
    let several = atom().prop_recursive(3, 6, 2, |c| {
        prop_oneof![
            3 => (c.clone(), c.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            3 => (c.clone(), c.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            2 => c.clone().prop_map(|a| format!("NOT ({a})")),
            1 => (c.clone(), c).prop_map(|(a, b)| format!("({a} XOR {b})")),
        ]
    });
    prop_oneof![2 => atom(), 1 => (atom(), atom()).prop_map(|(a, b)| format!("({a} AND {b})")), 3 => several]
        .boxed()
}

fn indexes() -> BoxedStrategy<Vec<Vec<String>>> {
    let key = (field(), any::<bool>(), prop::bool::weighted(0.05)).prop_map(|(f, descending, exclude)| {
        format!("{}{f}{}", if descending { "-" } else { "" }, if exclude { "!" } else { "" })
    });
    prop::collection::vec(prop::collection::vec(key, 1..3), 1..5).boxed()
}

fn memory(docs: &[Object], indexes: &[Vec<String>]) -> Memory {
    let mut db = Memory::default();
    for collection in ["t", "u"] {
        db.add(collection, docs.iter().cloned().map(Doc::new).collect());
    }
    for (i, keys) in indexes.iter().enumerate() {
        // A field is a key once.
        let mut seen = Vec::new();
        let keys: Vec<&str> = keys
            .iter()
            .map(String::as_str)
            .filter(|k| {
                let name = k.trim_matches(['-', '!']);
                !seen.contains(&name) && {
                    seen.push(name);
                    true
                }
            })
            .collect();
        for collection in ["t", "u"] {
            db.add_index(collection, &format!("i{i}"), &keys);
        }
    }
    db
}

const ARGS: &str = r#"{"p":"a%","q":[1,null,"ab",2.5]}"#;

/// Rows as text, sorted unless their order counts.
fn rows(db: &Memory, text: &str, ordered: bool) -> Result<Vec<String>, String> {
    let rows = db.try_select(text, ARGS).map_err(|e| e.message().to_owned())?;
    let mut rows: Vec<String> = rows.iter().map(|v| format!("{v:?}")).collect();
    if !ordered {
        rows.sort();
    }
    Ok(rows)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn indexes_do_not_change_results(
        docs in documents(), indexes in indexes(), c in condition(),
        order in (field(), any::<bool>(), field(), any::<bool>()), limit in 0usize..6, offset in 0usize..3,
        prefer in any::<bool>(),
    ) {
        let (with, without) = (memory(&docs, &indexes), memory(&docs, &[]));
        let direction = |d: bool| if d { "DESC" } else { "ASC" };
        let (f, fd, g, gd) = order;
        // The id makes it a total order.
        let by = format!("ORDER BY {f} {}, {g} {}, _id", direction(fd), direction(gd));
        let hint = if prefer { r##"/*+ {"#prefer_order":true} */"## } else { "" };
        for (text, ordered) in [
            (format!("SELECT {hint} * FROM t WHERE {c}"), false),
            (format!("SELECT {hint} {f}, {g} FROM t WHERE {c}"), false),
            (format!("SELECT {hint} _id, {f} FROM t WHERE {c} {by} LIMIT {limit} OFFSET {offset}"), true),
            (format!("SELECT {hint} * FROM t WHERE {c} {by}"), true),
            (format!("SELECT {hint} * FROM t {by} LIMIT {limit}"), true),
            (format!("SELECT DISTINCT {f} FROM t WHERE {c}"), false),
            (format!("SELECT {f} AS k, COUNT(*) AS n, MAX({g}) AS m FROM t WHERE {c} GROUP BY {f} ORDER BY k"), true),
            (format!("SELECT COUNT(*) AS n FROM t WHERE {c}"), true),
        ] {
            // Which of equal values stands for all depends on the order of rows.
            let equal_values = text.contains("DISTINCT") || text.contains("GROUP BY");
            let (a, b) = (rows(&with, &text, ordered), rows(&without, &text, ordered));
            if equal_values {
                prop_assert_eq!(a.map(|r| r.len()), b.map(|r| r.len()), "{}", text);
            } else {
                prop_assert_eq!(a, b, "{}", text);
            }
        }
    }

    #[test]
    fn indexes_do_not_change_joins(
        docs in documents(), indexes in indexes(), c in condition(), on in field(), left in any::<bool>(),
    ) {
        let (with, without) = (memory(&docs, &indexes), memory(&docs, &[]));
        let qualified = |c: &str| ["a", "b", "c", "o.k", "_id"].iter().fold(format!(" {c}"), |c, f| {
            [" ", "("].iter().fold(c, |c, before| c.replace(&format!("{before}{f} "), &format!("{before}x.{f} ")))
        });
        let c = qualified(&format!("{c} "));
        let kind = if left { "LEFT" } else { "INNER" };
        let join = |hint: &str| format!("SELECT x._id AS x, y._id AS y FROM t x {kind} JOIN u y {hint} ON y.{on} = x.a WHERE {c}");
        let scanned = rows(&without, &join("USE INDEX ''"), false);
        prop_assert_eq!(rows(&with, &join("USE INDEX ''"), false), scanned.clone(), "{}", join(""));
        // Without an index for it a join is refused.
        match rows(&with, &join(""), false) {
            Err(e) if e.starts_with("Joining to") => {}
            found => prop_assert_eq!(found, scanned, "{}", join("")),
        }
    }
}

/// The generators have to come by all access paths, or the laws above say little.
#[test]
fn all_access_paths_occur() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let strategies = (documents(), indexes(), condition());
        let (docs, indexes, c) = strategies.new_tree(&mut runner).unwrap().current();
        let path = memory(&docs, &indexes).path(&format!("SELECT * FROM t WHERE {c}"), ARGS);
        let name = path.split([' ', '(']).next().unwrap().to_owned();
        *found.entry(name).or_insert(0) += 1;
    }
    for (name, least) in [("scan", 100), ("ids", 20), ("index", 300), ("union", 20), ("intersect", 2)] {
        assert!(found.get(name).is_some_and(|n| *n >= least), "{name}: {found:?}");
    }
}
