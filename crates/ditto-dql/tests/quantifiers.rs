//! Quantifiers and transforms: variables over the elements of arrays and objects.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use harness::{check_table, describe, docs, error, eval_with, select, try_select};

const DOC: &str = r#"{"n":null,"i":5,"s":"abc","v":"field","k":"key","a":[1,2,3],"e":[],"eo":{},"mixed":[1,"x",null,[2]],
    "o":{"p":1,"q":2},"tree":{"x":[1,{"y":7}],"z":"leaf"},
    "items":[{"sku":"a","qty":2,"tags":["red"]},{"sku":"b","qty":5,"tags":["red","blue"]},{"sku":"c","tags":[]}]}"#;
const ARGS: &str = r#"{"arr":[4,5,6],"none":[],"obj":{"x":1,"y":null},"n":null,"three":3}"#;

fn check(table: &[(&str, &str)]) {
    check_table(DOC, ARGS, table);
}

#[test]
fn any_every_any_and_every() {
    check(&[
        ("ANY x IN a SATISFIES x = 2 END", "true"),
        ("ANY x IN a SATISFIES x = 9 END", "false"),
        ("ANY x IN e SATISFIES true END", "false"),
        ("EVERY x IN a SATISFIES x > 0 END", "true"),
        ("EVERY x IN a SATISFIES x > 1 END", "false"),
        ("EVERY x IN e SATISFIES false END", "true"),
        ("ANY AND EVERY x IN a SATISFIES x > 0 END", "true"),
        ("ANY AND EVERY x IN a SATISFIES x > 1 END", "false"),
        ("ANY AND EVERY x IN e SATISFIES true END", "false"),
        ("any and every x in a satisfies x > 0 end", "true"),
        // Only exactly true satisfies.
        ("ANY x IN mixed SATISFIES x END", "false"),
        ("EVERY x IN mixed SATISFIES x = 1 END", "false"),
        ("ANY x IN mixed SATISFIES x IS NULL END", "true"),
        ("ANY x IN mixed SATISFIES x.y IS MISSING END", "true"),
        // What has no elements.
        ("ANY x IN m SATISFIES true END", "MISSING"),
        ("EVERY x IN m SATISFIES true END", "MISSING"),
        ("ANY AND EVERY x IN o.m SATISFIES true END", "MISSING"),
        ("ANY x IN n SATISFIES true END", "null"),
        ("EVERY x IN i SATISFIES true END", "null"),
        ("ANY x IN s SATISFIES true END", "null"),
        ("ANY x WITHIN i SATISFIES true END", "null"),
        // Objects have their values as elements.
        ("ANY x IN o SATISFIES x = 2 END", "true"),
        ("EVERY x IN eo SATISFIES false END", "true"),
        ("NOT ANY x IN a SATISFIES x = 9 END", "true"),
        ("(ANY x IN a SATISFIES x = 2 END) AND EVERY x IN a SATISFIES x < 9 END", "true"),
        ("ANY x IN a SATISFIES x = 2 END = true", "true"),
    ]);
}

/// The source may be anything with elements, not only a field.
#[test]
fn sources() {
    check(&[
        ("ANY x IN :arr SATISFIES x = 5 END", "true"),
        ("EVERY x IN :arr SATISFIES x > 3 END", "true"),
        ("ANY x IN :none SATISFIES true END", "false"),
        ("ANY x IN :n SATISFIES true END", "null"),
        ("ANY x IN [1, i, 7] SATISFIES x = 5 END", "true"),
        ("ANY x IN ['a', 'b'] SATISFIES x = 'b' END", "true"),
        ("EVERY x IN [] SATISFIES false END", "true"),
        ("ANY AND EVERY x IN [] SATISFIES true END", "false"),
        ("ANY x IN :obj SATISFIES x IS NULL END", "true"),
        ("ANY x IN object_keys(o) SATISFIES x = 'q' END", "true"),
        ("ANY x IN split('a,b', ',') SATISFIES x = 'b' END", "true"),
        ("ANY x IN CASE WHEN i = 5 THEN a ELSE e END SATISFIES x = 3 END", "true"),
        ("ARRAY x + i FOR x IN :arr END", "[9,10,11]"),
        ("ARRAY x * :three FOR x IN [1, 2] END", "[3,6]"),
        ("ANY d IN [c] SATISFIES d.i = 5 END", "true"),
    ]);
}

#[test]
fn index_and_key_variables() {
    check(&[
        ("ANY p:x IN a SATISFIES p = 0 AND x = 1 END", "true"),
        ("ANY p : x IN a SATISFIES p = 3 END", "false"),
        ("ANY key:x IN o SATISFIES key = 'q' AND x = 2 END", "true"),
        ("EVERY key:x IN o SATISFIES type(key) = 'string' END", "true"),
        ("ARRAY [p, x] FOR p:x IN a END", "[[0,1],[1,2],[2,3]]"),
        ("ARRAY key FOR key:x IN o END", r#"["p","q"]"#),
    ]);
}

#[test]
fn within_walks_everything_below() {
    check(&[
        ("ANY x WITHIN tree SATISFIES x = 7 END", "true"),
        ("ANY x IN tree SATISFIES x = 7 END", "false"),
        ("ANY x WITHIN tree SATISFIES x = 'leaf' END", "true"),
        ("ANY p:x WITHIN tree SATISFIES p = 'y' AND x = 7 END", "true"),
        ("ANY p:x WITHIN tree SATISFIES p = 1 AND x.y = 7 END", "true"),
        ("ANY x WITHIN mixed SATISFIES x = 2 END", "true"),
        ("EVERY x WITHIN [1, [2, [3]]] SATISFIES type(x) = 'array' OR x > 0 END", "true"),
        // An element comes before the elements in it.
        ("ARRAY x FOR x WITHIN [1, [2, [3]], 4] END", "[1,[2,[3]],2,[3],3,4]"),
        ("ARRAY x FOR x WITHIN tree WHEN type(x) = 'integer' END", "[1,7]"),
        ("ARRAY x FOR x WITHIN [[], {}, [[]]] END", "[[],{},[[]],[]]"),
    ]);
}

#[test]
fn array_transforms() {
    check(&[
        ("ARRAY x * 2 FOR x IN a END", "[2,4,6]"),
        ("ARRAY x FOR x IN a WHEN x > 1 END", "[2,3]"),
        ("ARRAY x FOR x IN e END", "[]"),
        ("ARRAY item.sku FOR item IN items END", r#"["a","b","c"]"#),
        // MISSING is left out, NULL is not.
        ("ARRAY item.qty FOR item IN items END", "[2,5]"),
        ("ARRAY coalesce(item.qty, null) FOR item IN items END", "[2,5,null]"),
        ("ARRAY x FOR x IN a WHEN null END", "[]"),
        ("ARRAY x FOR x IN a WHEN m END", "[]"),
        ("ARRAY x FOR x IN m END", "MISSING"),
        ("ARRAY x FOR x IN n END", "null"),
        ("ARRAY x FOR x IN i END", "null"),
        ("array_length(ARRAY x FOR x IN a WHEN x != 2 END)", "2"),
        (
            "ARRAY {'s': x.sku, 'n': array_length(x.tags)} FOR x IN items WHEN x.qty > 2 END",
            r#"[{"n":2,"s":"b"}]"#,
        ),
        ("ARRAY (-x) FOR x IN a END", "[-1,-2,-3]"),
    ]);
}

#[test]
fn object_transforms() {
    check(&[
        ("OBJECT item.sku : item.qty FOR item IN items END", r#"{"a":2,"b":5}"#),
        ("OBJECT key : x * 10 FOR key:x IN o END", r#"{"p":10,"q":20}"#),
        ("OBJECT upper(key) : x FOR key:x IN o WHEN x > 1 END", r#"{"Q":2}"#),
        // Keys are strings.
        ("OBJECT x : x FOR x IN a END", "{}"),
        ("OBJECT cast(x AS string) : x FOR x IN a END", r#"{"1":1,"2":2,"3":3}"#),
        // Of the same key the last counts.
        ("OBJECT 'same' : x FOR x IN a END", r#"{"same":3}"#),
        ("OBJECT key : x FOR key:x IN m END", "MISSING"),
        ("OBJECT key : x FOR key:x IN s END", "null"),
        ("OBJECT key : x FOR key:x IN eo END", "{}"),
    ]);
}

#[test]
fn variables_hide_fields_and_end_with_their_form() {
    check(&[
        ("v", r#""field""#),
        ("ANY v IN a SATISFIES v = 2 END", "true"),
        ("(ANY v IN a SATISFIES v = 2 END) AND v = 'field'", "true"),
        ("[ANY v IN a SATISFIES v = 2 END, v]", r#"[true,"field"]"#),
        ("c.v = 'field' AND ANY v IN a SATISFIES v = 2 AND c.v = 'field' END", "true"),
        // The source is outside of the reach.
        ("ARRAY a FOR a IN a END", "[1,2,3]"),
        ("ARRAY c FOR c IN c.a END", "[1,2,3]"),
        // Fields stay visible inside.
        ("ARRAY x + i FOR x IN a END", "[6,7,8]"),
        // Inner variables hide outer ones.
        ("ARRAY (ARRAY x FOR x IN [x, x + 10] END) FOR x IN a END", "[[1,11],[2,12],[3,13]]"),
        (
            "ANY item IN items SATISFIES ANY tag IN item.tags SATISFIES tag = 'blue' AND item.qty = 5 END END",
            "true",
        ),
        ("EVERY item IN items SATISFIES EVERY tag IN item.tags SATISFIES tag != 'green' END END", "true"),
        ("ARRAY [x, (ARRAY y FOR y IN a WHEN y < x END)] FOR x IN a END", "[[1,[]],[2,[1]],[3,[1,2]]]"),
    ]);
    assert_eq!(
        eval_with("ARRAY (ARRAY [p, q, x, y] FOR q:y IN [x] END) FOR p:x IN ['a', 'b'] END", "{}", "{}"),
        r#"[[[0,0,"a","a"]],[[1,0,"b","b"]]]"#
    );
}

#[test]
fn in_every_clause() {
    let rows = docs(r#"[{"_id":1,"t":[1,2]},{"_id":2,"t":[3]},{"_id":3,"t":[]},{"_id":4}]"#);
    let table = [
        ("SELECT _id FROM c WHERE ANY x IN t SATISFIES x > 1 END ORDER BY _id", r#"[{"_id":1},{"_id":2}]"#),
        ("SELECT _id FROM c WHERE EVERY x IN t SATISFIES x > 1 END ORDER BY _id", r#"[{"_id":2},{"_id":3}]"#),
        ("SELECT _id FROM c WHERE ANY AND EVERY x IN t SATISFIES x > 1 END", r#"[{"_id":2}]"#),
        (
            "SELECT count(*) AS n, ANY x IN t SATISFIES x = 3 END AS three FROM c GROUP BY ANY x IN t SATISFIES x = 3 END
             ORDER BY n, three",
            r#"[{"n":1,"three":true},{"n":1},{"n":2,"three":false}]"#,
        ),
        ("SELECT sum(array_length(ARRAY x FOR x IN t WHEN x > 1 END)) AS s FROM c", r#"[{"s":2}]"#),
        (
            "SELECT _id FROM c ORDER BY ANY x IN t SATISFIES x = 3 END DESC, _id LIMIT 2",
            r#"[{"_id":4},{"_id":2}]"#,
        ),
        ("SELECT max(_id) AS top FROM c HAVING ANY x IN [max(_id)] SATISFIES x = 4 END", r#"[{"top":4}]"#),
        (
            "SELECT array_length(t) AS n, ARRAY x FOR x IN [array_length(t)] END AS l FROM c WHERE _id = 1
             GROUP BY array_length(t)",
            r#"[{"l":[2],"n":2}]"#,
        ),
    ];
    for (text, want) in table {
        assert_eq!(select(text, "{}", &rows), want, "{text}");
    }
}

#[test]
fn faults() {
    for (text, want) in [
        (
            "SELECT ANY x IN a SATISFIES x END",
            "query/invalid | expected FROM, found the end of the statement @1:34",
        ),
        (
            "SELECT ANY x SATISFIES x END FROM c",
            "query/invalid | expected IN or WITHIN, found SATISFIES @1:14",
        ),
        ("SELECT ANY x IN a END FROM c", "query/invalid | expected SATISFIES, found reserved word END @1:19"),
        (
            "SELECT ANY x IN a SATISFIES x FROM c",
            "query/invalid | expected END, found reserved word FROM @1:31",
        ),
        ("SELECT ANY x:x IN a SATISFIES x END FROM c", "query/invalid | variable x is given twice @1:14"),
        (
            "SELECT ARRAY x FOR x IN a WHEN END FROM c",
            "query/invalid | expected an expression, found reserved word END @1:32",
        ),
        (
            "SELECT ANY x IN a SATISFIES count(*) > 1 END FROM c",
            "query/invalid | aggregate count is not allowed in a quantifier or transform @1:29",
        ),
        (
            "SELECT * FROM c LIMIT array_length(ARRAY y FOR x IN [1] END)",
            "query/invalid | LIMIT and OFFSET cannot depend on fields @1:42",
        ),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
}

/// Nested variables multiply; what would take too long is an error.
#[test]
fn the_work_is_bounded() {
    let hundred = format!("[{}]", vec!["1"; 100].join(","));
    let nest = |n: usize| {
        let mut inner = "false".to_owned();
        for i in 0..n {
            inner = format!("ANY x{i} IN a SATISFIES {inner} END");
        }
        inner
    };
    let doc = format!(r#"{{"a":{hundred}}}"#);
    assert_eq!(eval_with(&nest(3), "{}", &doc), "false");
    let text = format!("SELECT {} AS x FROM c", nest(4));
    let e = try_select(&text, "{}", &docs(&format!("[{doc}]"))).expect_err("too many steps");
    assert_eq!(
        describe(&e),
        "validation/size-limit-exceeded | an expression takes more than 10000000 steps @1:30"
    );
    // So does copying.
    let text = "SELECT ARRAY s FOR x IN a END AS x FROM c";
    let doc = format!(r#"[{{"s":"{}","a":{hundred}}}]"#, "s".repeat(1_000_000));
    let e = try_select(text, "{}", &docs(&doc)).expect_err("too large");
    assert_eq!(
        describe(&e),
        "validation/size-limit-exceeded | an expression builds more than 67108864 bytes @1:8"
    );
    // Each row has its own budget.
    let text = format!("SELECT {} AS x FROM c", nest(3));
    let doc = format!(r#"{{"a":{hundred}}}"#);
    let rows = try_select(&text, "{}", &docs(&format!("[{}]", vec![doc; 12].join(",")))).unwrap();
    assert_eq!(rows.len(), 12);
}

/// Values as deep as they may be, inside quantifiers as deep as they may be, on the small stack of a thread.
#[test]
fn depth_does_not_exhaust_the_stack() {
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let mut inner = "x0 = 1".to_owned();
    for i in 0..60 {
        inner = format!("ANY x{i} WITHIN [a] SATISFIES {inner} END");
    }
    let text = format!("SELECT {inner} AS x FROM c");
    let doc = format!(r#"[{{"a":{deep}}}]"#);
    let result = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || try_select(&text, "{}", &docs(&doc)).map(|rows| rows.len()).map_err(|e| e.kind()))
        .unwrap()
        .join()
        .unwrap();
    // Whether it is found within the budget does not matter here.
    assert!(result == Ok(1) || result == Err(ditto_types::ErrorKind::SizeLimitExceeded), "{result:?}");
}
