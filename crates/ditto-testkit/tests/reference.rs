//! The reference evaluator against rows of the language reference, by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_testkit::reference::{
    Aggregate, Answer, Apply, Binary, Database, Delete, Expr, Insert, InsertSource, Item, Outcome, Policy,
    Projection, Select, SortKey, Statement, Tail, Term, Update,
};
use ditto_types::{Value, json};

fn value(text: &str) -> Value {
    json::from_str(text).unwrap()
}

fn path(text: &str) -> Expr {
    Expr::Path(None, text.split('.').map(str::to_owned).collect())
}

fn names(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn insert(document: &str, policy: Policy) -> Statement {
    let source = InsertSource::Documents(vec![Expr::Argument(value(document))]);
    Statement::Insert(Insert { collection: "c".into(), source, policy, returning: None })
}

fn update(
    apply: Vec<(Vec<String>, Apply)>,
    set: Vec<(Vec<String>, Expr)>,
    unset: Vec<Vec<String>>,
) -> Statement {
    let (collection, tail) = ("c".to_owned(), Tail::default());
    Statement::Update(Update { collection, apply, set, unset, tail, returning: None })
}

fn set(path: &str, to: &str) -> Statement {
    update(Vec::new(), vec![(names(path), Expr::Argument(value(to)))], Vec::new())
}

fn select(projection: Projection) -> Select {
    Select {
        distinct: false,
        projection,
        from: Term { collection: "c".into(), alias: None, ids: None, index: None },
        joins: Vec::new(),
        filter: None,
        group_by: Vec::new(),
        having: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    }
}

fn rows(db: &mut Database, select: Select) -> Vec<String> {
    match db.run(&Statement::Select(select)) {
        Outcome::Rows(rows) => rows.any().iter().map(json::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn all(db: &mut Database) -> Vec<String> {
    rows(db, select(Projection::All))
}

/// dql.md 7.3 and 3.5.
#[test]
fn objects_merge_and_kinds_hide_each_other() {
    for (statements, expected) in [
        (vec![set("obj.a", "10")], r#"{"a":10,"b":2}"#),
        (vec![set("obj", r#"{"c":3}"#)], r#"{"a":1,"b":2,"c":3}"#),
        (vec![set("obj", "{}")], r#"{"a":1,"b":2}"#),
        (vec![update(vec![], vec![], vec![names("obj.b")])], r#"{"a":1}"#),
        (vec![set("obj", "5")], "5"),
        (vec![set("obj", "5"), set("obj", r#"{"w":1}"#)], r#"{"a":1,"b":2,"w":1}"#),
        (vec![update(vec![], vec![], vec![names("obj")]), set("obj", r#"{"w":1}"#)], r#"{"w":1}"#),
        (vec![set("obj.x.y.z", "1")], r#"{"a":1,"b":2,"x":{"y":{"z":1}}}"#),
    ] {
        let mut db = Database::default();
        db.run(&insert(r#"{"_id":"1","obj":{"a":1,"b":2}}"#, Policy::Fail));
        for statement in &statements {
            assert!(matches!(db.run(statement), Outcome::Mutation { .. }), "{}", statement.text().text);
        }
        assert_eq!(all(&mut db), [format!(r#"{{"_id":"1","obj":{expected}}}"#)]);
    }
    let mut db = Database::default();
    db.run(&insert(r#"{"_id":"1","cnt":10}"#, Policy::Fail));
    let increment = |by: &str| Apply::Increment(Expr::Literal(value(by)));
    db.run(&update(vec![(names("cnt"), increment("1"))], vec![], vec![]));
    assert_eq!(all(&mut db), [r#"{"_id":"1","cnt":1}"#]);
    let fraction = db.run(&update(vec![(names("cnt"), increment("1.5"))], vec![], vec![]));
    assert!(matches!(fraction, Outcome::Error(_)));
}

/// dql.md 7.2 and 3.2.
#[test]
fn conflicts_follow_their_policy() {
    let mut db = Database::default();
    db.run(&insert(r#"{"_id":"1","a":1,"b":1}"#, Policy::Fail));
    let ids = |outcome: Outcome| match outcome {
        Outcome::Mutation { ids, .. } => ids.len(),
        Outcome::Error(e) => panic!("{e}"),
        Outcome::Rows(_) => panic!("rows"),
    };
    assert!(matches!(db.run(&insert(r#"{"_id":"1","a":2}"#, Policy::Fail)), Outcome::Error(_)));
    assert_eq!(ids(db.run(&insert(r#"{"_id":"1","a":2}"#, Policy::Nothing))), 0);
    assert_eq!(all(&mut db), [r#"{"_id":"1","a":1,"b":1}"#]);
    assert_eq!(ids(db.run(&insert(r#"{"_id":"1","a":1}"#, Policy::UpdateLocalDiff))), 0);
    assert_eq!(ids(db.run(&insert(r#"{"_id":"1","a":1}"#, Policy::Update))), 1);
    assert_eq!(ids(db.run(&insert(r#"{"_id":"1","a":2}"#, Policy::UpdateLocalDiff))), 1);
    assert_eq!(all(&mut db), [r#"{"_id":"1","a":2,"b":1}"#]);
    for id in ["null", "1.5", r#"{"a":[1.5]}"#] {
        assert!(matches!(db.run(&insert(&format!(r#"{{"_id":{id}}}"#), Policy::Fail)), Outcome::Error(_)));
    }
    let everything = Delete { evict: false, collection: "c".into(), tail: Tail::default(), returning: None };
    assert_eq!(ids(db.run(&Statement::Delete(everything))), 1);
    assert!(all(&mut db).is_empty());
}

fn aggregate(name: &'static str, of: &str) -> Item {
    let of = Some(path(of));
    Item::Value(Expr::Aggregate(Box::new(Aggregate { name, distinct: false, of })), Some(name.into()))
}

/// dql.md 4.9 and 5.8.
#[test]
fn values_sort_and_aggregate_as_the_reference_says() {
    let mut db = Database::default();
    for (at, v) in [r#""s""#, "null", "2", "false", "[1]", "1.5", r#"{"k":1}"#, "true"].iter().enumerate() {
        db.run(&insert(&format!(r#"{{"_id":"{at}","v":{v}}}"#), Policy::Fail));
    }
    db.run(&insert(r#"{"_id":"8"}"#, Policy::Fail));
    let shown = |db: &mut Database, descending| {
        let mut s = select(Projection::Items(vec![Item::Value(path("_id"), None)]));
        s.order_by.push(SortKey { by: path("v"), alias: None, descending });
        rows(db, s).concat().replace(r#"{"_id":""#, "").replace(r#""}"#, "")
    };
    assert_eq!(shown(&mut db, false), "375204618");
    assert_eq!(shown(&mut db, true), "816402573");
    let of = ["COUNT", "SUM", "AVG", "MIN", "MAX"].map(|name| aggregate(name, "v"));
    let s = select(Projection::Items(of.to_vec()));
    assert_eq!(rows(&mut db, s), [r#"{"AVG":1.75,"COUNT":6,"MAX":{"k":1},"MIN":false,"SUM":3.5}"#]);
    // One group also of nothing; only COUNT has a value then.
    let mut none = select(Projection::Items(of.to_vec()));
    none.filter = Some(Expr::Literal(Value::Bool(false)));
    assert_eq!(rows(&mut db, none), [r#"{"COUNT":0}"#]);
    let mut grouped = select(Projection::Items(vec![Item::Value(path("v"), None)]));
    grouped.group_by = vec![path("_id")];
    assert!(matches!(db.run(&Statement::Select(grouped)), Outcome::Error(_)));
}

/// dql.md 4.2 and 4.3.
#[test]
fn operators_give_null_and_missing() {
    use Binary::{Add, Concat, Divide, Equal, Less, NotEqual, Remainder};
    let mut db = Database::default();
    db.run(&insert(r#"{"_id":"1"}"#, Policy::Fail));
    for (op, a, b, expected) in [
        (Divide, "5", "2", "2"),
        (Divide, "5.0", "2", "2.5"),
        (Remainder, "7", "3", "1"),
        (Divide, "1", "0", "null"),
        (Add, "1", r#""a""#, "-"),
        (Add, "1", "null", "null"),
        (Concat, r#""a""#, "1", "-"),
        (Equal, "1", "1.0", "true"),
        (Equal, "1", r#""a""#, "-"),
        (NotEqual, "1", r#""a""#, "-"),
        (Equal, "null", "null", "null"),
        (Less, "false", "true", "true"),
        (Equal, "[0,1]", "[0,1]", "true"),
        (Less, r#""…45Z""#, r#""…45.123Z""#, "false"),
    ] {
        let [a, b] = [a, b].map(|v| Box::new(Expr::Argument(value(v))));
        let s = select(Projection::Items(vec![Item::Value(Expr::Binary(op, a, b), Some("x".into()))]));
        let text = Statement::Select(s.clone()).text();
        let expected = if expected == "-" { "{}".to_owned() } else { format!(r#"{{"x":{expected}}}"#) };
        assert_eq!(rows(&mut db, s), [expected], "{text:?}");
    }
}

/// Statements are printed as the language writes them.
#[test]
fn statements_are_printed() {
    let statement = update(
        vec![(names("cnt"), Apply::Restart(None))],
        vec![(names("from.a b"), Expr::Literal(value("-1")))],
        vec![names("o.x")],
    );
    assert_eq!(statement.text().text, "UPDATE c APPLY cnt RESTART SET `from`.`a b` = (-1) UNSET o.x");
    let text = insert(r#"{"_id":"1"}"#, Policy::Nothing).text();
    assert_eq!(text.text, "INSERT INTO c DOCUMENTS (:p0) ON ID CONFLICT DO NOTHING");
    assert_eq!(text.args["p0"], value(r#"{"_id":"1"}"#));
    let answer = Answer::Error("whatever".into());
    assert!(Outcome::Error("why".into()).agree(&answer).is_ok());
}
