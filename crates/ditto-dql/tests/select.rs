//! SELECT: projection, filter, order, window, DISTINCT, grouping.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use ditto_dql::{CollectionRef, DqlError, Plan, Row, RunContext, Source, TermScan};
use harness::{Doc, Docs, bind, docs, error, select};

fn cars() -> Vec<Doc> {
    docs(
        r#"[
        {"_id":"1","make":"A","color":"red","n":3,"o":{"x":1,"y":2}},
        {"_id":"2","make":"B","color":"blue","n":1,"o":{"x":5}},
        {"_id":"3","make":"A","color":"blue","n":2.0},
        {"_id":"4","make":"C","color":null,"n":10},
        {"_id":"5","make":"B","n":1}
    ]"#,
    )
}

fn run(text: &str) -> String {
    select(text, r#"{"n":2,"make":"A","makes":["B","C"],"zero":0}"#, &cars())
}

fn table(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        assert_eq!(run(text), *want, "{text}");
    }
}

#[test]
fn projection() {
    table(&[
        (
            "SELECT * FROM cars WHERE _id = '2'",
            r#"[{"_id":"2","color":"blue","make":"B","n":1,"o":{"x":5}}]"#,
        ),
        ("SELECT cars.* FROM cars WHERE _id = '5';", r#"[{"_id":"5","make":"B","n":1}]"#),
        ("SELECT c.* FROM cars AS c WHERE c._id = '5'", r#"[{"_id":"5","make":"B","n":1}]"#),
        ("SELECT make one, cars.make two FROM cars WHERE _id='1'", r#"[{"one":"A","two":"A"}]"#),
        // A path is named by its last segment, anything else by its place.
        ("SELECT o.x, n + 1, lower(make) FROM cars WHERE _id='1'", r#"[{"($2)":4,"($3)":"a","x":1}]"#),
        // MISSING is left out, NULL stays.
        (
            "SELECT _id, color FROM cars WHERE n = 1 OR n = 10",
            r#"[{"_id":"2","color":"blue"},{"_id":"4","color":null},{"_id":"5"}]"#,
        ),
        (
            "SELECT c.*, MISSING n, MISSING o FROM cars c WHERE _id='1'",
            r#"[{"_id":"1","color":"red","make":"A"}]"#,
        ),
        (
            "SELECT c.*, MISSING c.o.x FROM cars c WHERE _id='1'",
            r#"[{"_id":"1","color":"red","make":"A","n":3,"o":{"y":2}}]"#,
        ),
        (
            "SELECT c.*, 'v' AS extra, MISSING n FROM cars c WHERE _id='5'",
            r#"[{"_id":"5","extra":"v","make":"B"}]"#,
        ),
        ("SELECT c.*, n * 2 AS n FROM cars c WHERE _id='5'", r#"[{"_id":"5","make":"B","n":2}]"#),
        ("SELECT cars FROM cars WHERE _id='5'", r#"[{"cars":{"_id":"5","make":"B","n":1}}]"#),
        ("SELECT {'m': make, 'c': color} AS r FROM cars WHERE _id = '5'", r#"[{"r":{"m":"B"}}]"#),
        ("SELECT 1 FROM cars LIMIT 1", r#"[{"($1)":1}]"#),
        ("SELECT MISSING AS x, 1 AS y FROM cars LIMIT 1", r#"[{"y":1}]"#),
        ("SELECT make AS `from` FROM default:cars LIMIT 1", r#"[{"from":"A"}]"#),
        ("SELECT make FROM default:`cars` LIMIT 1", r#"[{"make":"A"}]"#),
        (
            "select make from COLLECTION cars (o MAP(x COUNTER, y REGISTER), p PN_COUNTER, at ATTACHMENT) c limit 1",
            r#"[{"make":"A"}]"#,
        ),
        ("SELECT /*+ {\"#disable_index_scan\":true} */ make FROM cars -- a\n LIMIT 1", r#"[{"make":"A"}]"#),
    ]);
}

#[test]
fn filter() {
    let ids = |cond: &str| {
        run(&format!("SELECT _id FROM cars WHERE {cond}")).replace(r#"{"_id":"#, "").replace('}', "")
    };
    for (cond, want) in [
        ("color = 'blue'", r#"["2","3"]"#),
        ("color != 'blue'", r#"["1"]"#),
        ("NOT (color = 'blue')", r#"["1"]"#),
        ("color IS NULL", r#"["4"]"#),
        ("color IS MISSING", r#"["5"]"#),
        ("color IS NOT NULL", r#"["1","2","3","5"]"#),
        ("color NOT IN ('blue')", r#"["1"]"#),
        ("coalesce(color, 'none') = 'none'", r#"["4","5"]"#),
        ("n = 2", r#"["3"]"#),
        ("n BETWEEN 2 AND 3", r#"["1","3"]"#),
        ("make = :make AND n > :n", r#"["1"]"#),
        ("make IN :makes", r#"["2","4","5"]"#),
        ("o.x > 0", r#"["1","2"]"#),
        ("make LIKE 'a'", "[]"),
        ("make ILIKE 'a'", r#"["1","3"]"#),
        ("n", "[]"),
        ("true", r#"["1","2","3","4","5"]"#),
        ("MISSING OR _id = '1'", r#"["1"]"#),
    ] {
        assert_eq!(ids(cond), want, "{cond}");
    }
}

#[test]
fn order_limit_offset() {
    let ids = |tail: &str| {
        run(&format!("SELECT _id, n AS m, make AS n FROM cars {tail}"))
            .split(r#""_id":""#)
            .skip(1)
            .map(|s| &s[..1])
            .collect::<String>()
    };
    for (tail, want) in [
        ("ORDER BY cars.n, _id", "25314"),
        ("ORDER BY cars.n DESC, _id", "41325"),
        ("ORDER BY cars.n DESC, _id DESC", "41352"),
        // Blue, red, null, missing; and the reverse.
        ("ORDER BY color, _id", "23145"),
        ("ORDER BY color DESC, _id", "54123"),
        ("ORDER BY color = 'blue', _id ASC", "12345"),
        // The alias wins over the field.
        ("ORDER BY n, m", "31254"),
        ("ORDER BY n || 'x' DESC, m", "42531"),
        ("LIMIT 2", "12"),
        ("LIMIT 0", ""),
        ("LIMIT :n OFFSET 1", "23"),
        ("OFFSET 3", "45"),
        ("OFFSET 1 LIMIT 2", "23"),
        ("ORDER BY _id DESC LIMIT 2 OFFSET :zero", "54"),
        ("ORDER BY _id DESC LIMIT 2 OFFSET 2", "32"),
        ("WHERE make = 'A' LIMIT 1 + 1 OFFSET 1", "3"),
        ("OFFSET 99", ""),
    ] {
        assert_eq!(ids(tail), want, "{tail}");
    }
}

#[test]
fn distinct() {
    table(&[
        ("SELECT DISTINCT make FROM cars", r#"[{"make":"A"},{"make":"B"},{"make":"C"}]"#),
        ("SELECT DISTINCT make FROM cars LIMIT 2", r#"[{"make":"A"},{"make":"B"}]"#),
        ("SELECT DISTINCT make FROM cars ORDER BY make DESC LIMIT 1 OFFSET 1", r#"[{"make":"B"}]"#),
        ("SELECT DISTINCT color FROM cars", r#"[{"color":"red"},{"color":"blue"},{"color":null},{}]"#),
        ("SELECT DISTINCT n = 1 AS x FROM cars", r#"[{"x":false},{"x":true}]"#),
    ]);
    // Numbers are the same by value.
    assert_eq!(
        select("SELECT DISTINCT a FROM c", "{}", &docs(r#"[{"a":1},{"a":1.0},{"a":"1"}]"#)),
        r#"[{"a":1},{"a":"1"}]"#
    );
}

#[test]
fn aggregates() {
    let data = docs(
        r#"[{"v":1,"g":"a"},{"v":2.5,"g":"a"},{"v":"x","g":"b"},{"v":null,"g":"b"},{"v":false,"g":"b"},{"g":"b"},{"v":1.0,"g":"c"}]"#,
    );
    for (expr, want) in [
        ("COUNT(*)", "7"),
        ("COUNT(v)", "4"),
        ("COUNT(DISTINCT v)", "3"),
        ("count(g)", "7"),
        ("SUM(v)", "4.5"),
        ("SUM(DISTINCT v)", "3.5"),
        ("AVG(v)", "1.5"),
        ("MIN(v)", "false"),
        ("MAX(v)", r#""x""#),
        ("MIN(g) || MAX(g)", r#""ac""#),
        ("COUNT(*) * 10 + COUNT(v)", "74"),
        ("CASE WHEN COUNT(*) > 5 THEN 'many' ELSE 'few' END", r#""many""#),
        ("SUM(char_length(g))", "7"),
        // Numbers only; of an even count what is halfway.
        ("MEDIAN(v)", "1.0"),
        ("MEDIAN(DISTINCT v)", "1.75"),
        ("MEDIAN(v) - MID(v)", "-0.75"),
        ("MID(v)", "1.75"),
        ("MID(DISTINCT v)", "1.75"),
        ("mid(char_length(g))", "1.0"),
        ("median(ANY x IN [v] SATISFIES x = 1 END) IS MISSING", "true"),
    ] {
        let text = format!("SELECT {expr} AS x FROM c");
        assert_eq!(select(&text, "{}", &data), format!(r#"[{{"x":{want}}}]"#), "{expr}");
    }
    // Without rows there still is one group.
    let none = "SELECT COUNT(*) AS n, SUM(v) AS s, AVG(v) AS a, MIN(v) AS lo, MAX(v) AS hi, MEDIAN(v) AS m, \
         MID(v) AS mid FROM c WHERE false";
    assert_eq!(select(none, "{}", &data), r#"[{"n":0}]"#);
    assert_eq!(select("SELECT COUNT(*) FROM c LIMIT 0", "{}", &data), "[]");
    assert_eq!(select("SELECT COUNT(*) FROM c", "{}", &data), r#"[{"($1)":7}]"#);
    // Integers sum exactly; a sum beyond them does not exist.
    let big = docs(r#"[{"v":9007199254740993},{"v":1},{"v":-1}]"#);
    assert_eq!(select("SELECT SUM(v) AS s FROM c", "{}", &big), r#"[{"s":9007199254740993}]"#);
    let odd = docs(r#"[{"v":5},{"v":1},{"v":9223372036854775807},{"v":"x"}]"#);
    assert_eq!(select("SELECT MEDIAN(v) AS m FROM c", "{}", &odd), r#"[{"m":5}]"#);
    let large = docs(r#"[{"v":1.7e308},{"v":1.7e308}]"#);
    assert_eq!(
        select("SELECT MEDIAN(v) AS m, MID(v) AS d FROM c", "{}", &large),
        r#"[{"d":1.7e+308,"m":1.7e+308}]"#
    );
    let beyond = docs(r#"[{"v":18446744073709551615},{"v":1}]"#);
    assert_eq!(select("SELECT SUM(v) AS s FROM c", "{}", &beyond), r#"[{"s":null}]"#);
    let floats = docs(r#"[{"v":1e100},{"v":1.0},{"v":-1e100}]"#);
    assert_eq!(select("SELECT SUM(v) AS s FROM c", "{}", &floats), r#"[{"s":1.0}]"#);
}

#[test]
fn grouping() {
    table(&[
        (
            "SELECT make, COUNT(*) AS n FROM cars GROUP BY make",
            r#"[{"make":"A","n":2},{"make":"B","n":2},{"make":"C","n":1}]"#,
        ),
        (
            "SELECT make, SUM(n) AS s FROM cars GROUP BY make ORDER BY s DESC",
            r#"[{"make":"C","s":10},{"make":"A","s":5.0},{"make":"B","s":2}]"#,
        ),
        ("SELECT make FROM cars GROUP BY make HAVING COUNT(*) > 1", r#"[{"make":"A"},{"make":"B"}]"#),
        (
            "SELECT make FROM cars GROUP BY make ORDER BY MAX(n) DESC LIMIT 2",
            r#"[{"make":"C"},{"make":"A"}]"#,
        ),
        (
            "SELECT lower(make) AS m, COUNT(*) AS n FROM cars GROUP BY lower(make) LIMIT 1",
            r#"[{"m":"a","n":2}]"#,
        ),
        (
            "SELECT upper(lower(make)) || '!' AS m FROM cars GROUP BY lower(cars.make) LIMIT 1",
            r#"[{"m":"A!"}]"#,
        ),
        ("SELECT o.x AS x, COUNT(*) AS n FROM cars GROUP BY o", r#"[{"n":1,"x":1},{"n":1,"x":5},{"n":3}]"#),
        (
            "SELECT color, COUNT(*) AS n FROM cars GROUP BY color",
            r#"[{"color":"blue","n":2},{"color":"red","n":1},{"color":null,"n":1},{"n":1}]"#,
        ),
        (
            "SELECT make, color FROM cars GROUP BY make, color ORDER BY make, color LIMIT 2",
            r#"[{"color":"blue","make":"A"},{"color":"red","make":"A"}]"#,
        ),
        ("SELECT COUNT(*) AS n FROM cars WHERE false GROUP BY make", "[]"),
        ("SELECT COUNT(*) AS n FROM cars HAVING COUNT(*) > 9", "[]"),
        ("SELECT n + :n AS x FROM cars GROUP BY n + :n ORDER BY x LIMIT 1", r#"[{"x":3}]"#),
        ("SELECT DISTINCT COUNT(*) AS n FROM cars GROUP BY make ORDER BY n", r#"[{"n":1},{"n":2}]"#),
    ]);
    for (text, want) in [
        (
            "SELECT make, n FROM c GROUP BY make",
            r#"query/invalid | Projection "n" must depend only on group keys or aggregates @1:14"#,
        ),
        (
            "SELECT lower(make) AS m, COUNT(*) FROM c GROUP BY m",
            r#"query/invalid | Projection "m" must depend only on group keys or aggregates @1:8"#,
        ),
        (
            "SELECT make, COUNT(*) FROM c",
            r#"query/invalid | Projection "make" must depend only on group keys or aggregates @1:8"#,
        ),
        (
            "SELECT n + 1, COUNT(*) FROM c",
            r#"query/invalid | Projection "($1)" must depend only on group keys or aggregates @1:8"#,
        ),
        (
            "SELECT * FROM c GROUP BY make",
            r#"query/invalid | Projection "*" must depend only on group keys or aggregates @1:8"#,
        ),
        (
            "SELECT c.*, COUNT(*) FROM c",
            r#"query/invalid | Projection "c.*" must depend only on group keys or aggregates @1:8"#,
        ),
        (
            "SELECT COUNT(*) AS n FROM c GROUP BY make HAVING n > 1",
            "query/invalid | HAVING clause terms must depend only on group keys or aggregates @1:50",
        ),
        (
            "SELECT COUNT(*) FROM c GROUP BY make ORDER BY n",
            "query/invalid | ORDER BY terms must depend only on group keys or aggregates @1:47",
        ),
        (
            "SELECT * FROM c WHERE COUNT(*) > 1",
            "query/invalid | aggregate COUNT is not allowed in WHERE @1:23",
        ),
        ("SELECT a FROM c GROUP BY SUM(a)", "query/invalid | aggregate SUM is not allowed in GROUP BY @1:26"),
        ("SELECT SUM(COUNT(*)) FROM c", "query/invalid | aggregates cannot be nested @1:12"),
        ("SELECT SUM(*) FROM c", "query/invalid | SUM expects 1 argument @1:8"),
        ("SELECT COUNT() FROM c", "query/invalid | COUNT expects 1 argument @1:8"),
        ("SELECT MEDIAN(MID(a)) FROM c", "query/invalid | aggregates cannot be nested @1:15"),
        (
            "SELECT * FROM c ORDER BY a LIMIT MID(1)",
            "query/invalid | aggregate MID is not allowed in LIMIT @1:34",
        ),
        (
            "SELECT a FROM c GROUP BY 1",
            "query/unsupported | Unsupported feature: GROUP BY the number of a column @1:26",
        ),
        (
            "SELECT a FROM c ORDER BY 2",
            "query/unsupported | Unsupported feature: ORDER BY the number of a column @1:26",
        ),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
}

#[test]
fn rows_stop_when_enough() {
    struct Counting<'a>(Docs<'a>, std::cell::Cell<usize>);
    impl Source for Counting<'_> {
        type Error = DqlError;
        fn visit(
            &self,
            scan: &TermScan<'_>,
            visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
        ) -> Result<(), DqlError> {
            self.0.visit(scan, &mut |row| {
                self.1.set(self.1.get() + 1);
                visit(row)
            })
        }
        fn count(&self, c: &CollectionRef) -> Result<u64, DqlError> {
            self.0.count(c)
        }
    }
    let Plan::Select(plan) = bind("SELECT * FROM c WHERE a > 1 LIMIT 2", "{}").unwrap() else { panic!() };
    let d = docs(r#"[{"a":1},{"a":2},{"a":3},{"a":4}]"#);
    let source = Counting(Docs(&d), Default::default());
    assert_eq!(plan.run(&source, &RunContext::default()).unwrap().len(), 2);
    assert_eq!(source.1.get(), 3);
}

#[test]
fn matches_and_whole_collection() {
    let plan = |text: &str| match bind(text, "{}").unwrap() {
        Plan::Select(p) => p,
        p => panic!("{p:?}"),
    };
    assert!(plan("SELECT * FROM c").is_whole_collection());
    assert!(plan("SELECT * FROM c WHERE TRUE").is_whole_collection());
    assert!(!plan("SELECT * FROM c WHERE a = 1").is_whole_collection());
    let p = plan("SELECT * FROM c WHERE a = 1");
    let d = docs(r#"[{"a":1},{"a":2},{"a":null},{}]"#);
    assert_eq!(d.iter().map(|d| p.matches(d).unwrap()).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(p.collection(), "c");
    assert!(p.declared().is_empty());
}
