//! Which documents WHERE names by id.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{Access, Plan};
use ditto_types::{DocId, Value, json};
use harness::{bind, docs, select};

const ARGS: &str = r#"{"id":"x","ids":["a","b","a",1.0,null,2.5],"n":null,"obj":{"b":2,"a":1.0}}"#;

fn access(condition: &str) -> String {
    let shown = |a: &Access| match a {
        Access::Scan => "scan".to_owned(),
        Access::Ids(ids) => json::to_string(&Value::Array(ids.iter().map(DocId::to_value).collect())),
        a => format!("{a:?}"),
    };
    let of = |text: &str| match bind(text, ARGS).unwrap() {
        Plan::Select(p) => shown(p.access()),
        Plan::Update(p) => shown(p.access()),
        Plan::Delete(p) | Plan::Evict(p) => shown(p.access()),
        p => panic!("{p:?}"),
    };
    let all = ["SELECT * FROM c", "UPDATE c SET z = 1", "DELETE FROM c", "EVICT FROM c"]
        .map(|head| of(&format!("{head} WHERE {condition}")));
    assert!(all.iter().all(|a| *a == all[0]), "{condition}: {all:?}");
    all[0].clone()
}

#[test]
fn ids_of_conditions() {
    for (condition, want) in [
        ("_id = 'a'", r#"["a"]"#),
        ("'a' = _id", r#"["a"]"#),
        ("c._id = :id", r#"["x"]"#),
        ("_id = lower('A')", r#"["a"]"#),
        ("_id = 1", "[1]"),
        ("_id = 1.0", "[1]"),
        ("_id = -0.0", "[0]"),
        ("_id = 18446744073709551615", "[18446744073709551615]"),
        ("_id = true", "[true]"),
        ("_id = {'a': 1, 'b': 2}", r#"[{"a":1,"b":2}]"#),
        ("_id = :obj", r#"[{"a":1,"b":2}]"#),
        ("_id IN ('b', 'a', 'b')", r#"["a","b"]"#),
        ("_id IN :ids", r#"[1,"a","b"]"#),
        ("_id IN ['a', :id]", r#"["a","x"]"#),
        ("_id = 'a' AND n > 1", r#"["a"]"#),
        ("n > 1 AND (_id IN ('a', 'b') AND x = 1)", r#"["a","b"]"#),
        ("_id IN ('a', 'b') AND _id IN ('b', 'c')", r#"["b"]"#),
        ("_id = 'a' AND _id = 'b'", "[]"),
        ("_id = 'a' OR _id = 'b'", r#"["a","b"]"#),
        ("(_id = 'a' AND n = 1) OR _id = 'b'", r#"["a","b"]"#),
        // No document can have these.
        ("_id = 1.5", "[]"),
        ("_id = :n", "[]"),
        ("_id = MISSING", "[]"),
        ("_id IN :n", "[]"),
        // These do not name ids.
        ("_id = 'a' OR n = 1", "scan"),
        ("_id != 'a'", "scan"),
        ("NOT _id = 'a'", "scan"),
        ("_id NOT IN ('a')", "scan"),
        ("_id > 'a'", "scan"),
        ("_id = n", "scan"),
        ("_id IN (n)", "scan"),
        ("_id IN n", "scan"),
        ("_id.a = 1", "scan"),
        ("o._id = 'a'", "scan"),
        ("_id = 'a' XOR n = 1", "scan"),
        ("true", "scan"),
    ] {
        let got = access(condition);
        // Ids are ordered by their bytes, which is not the order of values; compare as sets.
        let sorted = |s: &str| match json::from_str(s) {
            Ok(Value::Array(mut a)) => {
                a.sort_by(|a, b| ditto_dql::compare(Some(a), Some(b)));
                json::to_string(&Value::Array(a))
            }
            _ => s.to_owned(),
        };
        assert_eq!(sorted(&got), sorted(want), "{condition}");
    }
}

/// The access path must never leave out a document that the filter keeps.
#[test]
fn ids_agree_with_the_filter() {
    let all = docs(r#"[{"_id":1},{"_id":"a"},{"_id":true},{"_id":{"a":1,"b":[2]}},{"_id":[1,2]},{"_id":0}]"#);
    for condition in [
        "_id = 1.0",
        "_id = {'b':[2.0],'a':1.0}",
        "_id = [1.0,2]",
        "_id = true",
        "_id = -0.0",
        "_id IN ('a', 1.0)",
    ] {
        let text = format!("SELECT _id FROM c WHERE {condition}");
        let Plan::Select(plan) = bind(&text, "{}").unwrap() else { panic!() };
        let Access::Ids(ids) = plan.access() else { panic!("{condition}") };
        let kept: Vec<DocId> = all
            .iter()
            .filter(|d| plan.matches(*d).unwrap())
            .map(|d| DocId::new(d.0.get("_id").unwrap()).unwrap())
            .collect();
        assert!(!kept.is_empty(), "{condition}");
        assert!(kept.iter().all(|k| ids.contains(k)), "{condition}");
        assert_ne!(select(&text, "{}", &all), "[]");
    }
}
