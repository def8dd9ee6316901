//! Joins: kinds, names, composite rows, and the work they do.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/memory.rs"]
mod memory;

use ditto_dql::Plan;
use ditto_types::json;
use memory::Memory;

fn shop() -> Memory {
    Memory::default()
        .with(
            "customers",
            r#"[{"_id":"c1","name":"Ann","city":"X"},{"_id":"c2","name":"Bob"},{"_id":"c3","name":"Cyd","city":"X"}]"#,
        )
        .with(
            "orders",
            r#"[{"_id":"o1","customer":"c1","total":5,"items":["i1","i2"]},
                {"_id":"o2","customer":"c1","total":7},
                {"_id":"o3","customer":"c2","total":7},
                {"_id":"o4","customer":"gone","total":1},
                {"_id":"o5","total":2}]"#,
        )
        .with("items", r#"[{"_id":"i1","sku":"A"},{"_id":"i2","sku":"B"}]"#)
        .index("orders", "by_customer", &["customer"])
        .index("customers", "by_city", &["city"])
}

fn table(rows: &[(&str, &str)]) {
    let db = shop();
    for (text, want) in rows {
        assert_eq!(db.select(text, r#"{"min":6}"#), *want, "{text}");
    }
}

#[test]
fn kinds() {
    table(&[
        (
            "SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer = c._id ORDER BY o._id",
            r#"[{"name":"Ann","total":5},{"name":"Ann","total":7},{"name":"Bob","total":7}]"#,
        ),
        (
            "SELECT c.name, o.total FROM customers c INNER JOIN orders o ON c._id = o.customer AND o.total > :min ORDER BY o._id",
            r#"[{"name":"Ann","total":7},{"name":"Bob","total":7}]"#,
        ),
        (
            "SELECT c.name AS n, o._id AS o FROM customers c LEFT JOIN orders o ON o.customer = c._id ORDER BY n, o",
            r#"[{"n":"Ann","o":"o1"},{"n":"Ann","o":"o2"},{"n":"Bob","o":"o3"},{"n":"Cyd"}]"#,
        ),
        // ON belongs to the join, WHERE to what comes out of it.
        (
            "SELECT c.name AS n, o._id AS o FROM customers c LEFT OUTER JOIN orders o ON o.customer = c._id AND o.total > :min ORDER BY n, o",
            r#"[{"n":"Ann","o":"o2"},{"n":"Bob","o":"o3"},{"n":"Cyd"}]"#,
        ),
        (
            "SELECT c.name AS n, o._id AS o FROM customers c LEFT JOIN orders o ON o.customer = c._id WHERE o.total > :min ORDER BY n",
            r#"[{"n":"Ann","o":"o2"},{"n":"Bob","o":"o3"}]"#,
        ),
        (
            "SELECT c.name FROM customers c LEFT JOIN orders o ON o.customer = c._id WHERE o IS MISSING",
            r#"[{"name":"Cyd"}]"#,
        ),
        // RIGHT keeps the rows of the right side.
        (
            "SELECT c.name AS n, o._id AS o FROM customers c RIGHT JOIN orders o ON o.customer = c._id ORDER BY o",
            r#"[{"n":"Ann","o":"o1"},{"n":"Ann","o":"o2"},{"n":"Bob","o":"o3"},{"o":"o4"},{"o":"o5"}]"#,
        ),
        (
            "SELECT c.city AS city, COUNT(*) AS n, SUM(o.total) AS t FROM orders o JOIN customers c ON c._id = o.customer GROUP BY c.city",
            r#"[{"city":"X","n":2,"t":12},{"n":1,"t":7}]"#,
        ),
        (
            "SELECT DISTINCT c.name FROM orders o JOIN customers c ON c._id = o.customer ORDER BY c.name",
            r#"[{"name":"Ann"},{"name":"Bob"}]"#,
        ),
        // Ids of the inner term from an array of the outer one.
        (
            "SELECT o._id AS o, i.sku FROM orders o JOIN items i ON i._id IN o.items ORDER BY i.sku",
            r#"[{"o":"o1","sku":"A"},{"o":"o1","sku":"B"}]"#,
        ),
        // Three terms; the condition on the last one is tested when its row is there.
        (
            "SELECT c.name, i.sku FROM customers c JOIN orders o ON o.customer = c._id LEFT JOIN items i ON i._id IN o.items WHERE o.total = 5 ORDER BY i.sku LIMIT 1",
            r#"[{"name":"Ann","sku":"A"}]"#,
        ),
        // The same collection twice.
        (
            "SELECT a._id AS a, b._id AS b FROM orders a JOIN orders b ON b.customer = a.customer WHERE a._id < b._id",
            r#"[{"a":"o1","b":"o2"}]"#,
        ),
        // USE INDEX '' allows a scan.
        (
            "SELECT c.name, o._id AS o FROM orders o JOIN customers c USE INDEX '' ON c.name = 'Bob' AND o.total = 7 ORDER BY o",
            r#"[{"name":"Bob","o":"o2"},{"name":"Bob","o":"o3"}]"#,
        ),
    ]);
}

#[test]
fn rows_of_a_join() {
    table(&[
        (
            "SELECT * FROM orders o JOIN customers c ON c._id = o.customer WHERE o._id = 'o3'",
            r#"[{"c":{"_id":"c2","name":"Bob"},"o":{"_id":"o3","customer":"c2","total":7}}]"#,
        ),
        (
            "SELECT * FROM orders LEFT JOIN customers ON customers._id = orders.customer WHERE orders._id = 'o5'",
            r#"[{"orders":{"_id":"o5","total":2}}]"#,
        ),
        (
            "SELECT c.*, o.total FROM orders o JOIN customers c ON c._id = o.customer WHERE o._id = 'o3'",
            r#"[{"_id":"c2","name":"Bob","total":7}]"#,
        ),
        (
            "SELECT _id FROM orders o JOIN customers c ON c._id = o.customer WHERE o._id = 'o3'",
            r#"[{"_id":{"c":"c2","o":"o3"}}]"#,
        ),
        (
            "SELECT c FROM orders o JOIN customers c ON c._id = o.customer WHERE o._id = 'o3'",
            r#"[{"c":{"_id":"c2","name":"Bob"}}]"#,
        ),
    ]);
}

/// `#max_scans` counts for the statement: what the first term uses up, a later one has not, unless it needs it.
#[test]
fn index_scans_are_counted_for_the_whole_statement() {
    let db = Memory::default()
        .with("t", r#"[{"_id":"1","a":1,"b":2,"x":3},{"_id":"2","a":7,"b":2,"x":4}]"#)
        .with("u", r#"[{"_id":"9","x":3,"y":5,"z":6},{"_id":"8","x":4,"y":6,"z":6}]"#)
        .index("t", "ta", &["a"])
        .index("t", "tb", &["b"])
        .index("u", "ux", &["x"])
        .index("u", "uy", &["y"])
        .index("u", "uz", &["z"]);
    let scans = |max: &str, on: &str| {
        let text = format!(
            r##"SELECT /*+ {{"#max_scans": {max}}} */ t._id AS t, u._id AS u FROM t JOIN u ON {on} WHERE t.a = 1 OR t.b = 2 ORDER BY t, u"##
        );
        let rows = db.select(&text, "{}");
        let Plan::Explain(plan) = db.bind(&format!("EXPLAIN {text}"), "{}").unwrap() else {
            panic!("{text}")
        };
        (json::to_string(&plan.row).matches("\"indexScan\"").count(), rows)
    };
    // Both terms as they like; the inner one may intersect.
    let (both, rows) = scans("5", "u.x = t.x AND u.z = 6");
    assert_eq!(rows, r#"[{"t":"1","u":"9"},{"t":"2","u":"8"}]"#);
    assert_eq!(both, 4);
    // Two for the first term leave one.
    assert_eq!(scans("3", "u.x = t.x AND u.z = 6"), (3, rows.clone()));
    assert_eq!(scans("2", "u.x = t.x AND u.z = 6"), (3, rows));
    // It cannot do with one.
    let (needed, rows) = scans("2", "u.x = t.x OR u.y = t.x");
    assert_eq!((needed, rows.as_str()), (4, r#"[{"t":"1","u":"9"},{"t":"2","u":"8"}]"#));
}

/// The inner term is looked up, not scanned; LIMIT stops the outer one.
#[test]
fn work_of_a_join() {
    let db = shop();
    let visited = |text: &str| {
        db.visited.set(0);
        db.select(text, "{}");
        db.visited.get()
    };
    // Five orders, three customers found.
    assert_eq!(visited("SELECT * FROM orders o JOIN customers c ON c._id = o.customer"), 8);
    // Three customers, three orders found.
    assert_eq!(visited("SELECT * FROM customers c JOIN orders o ON o.customer = c._id"), 6);
    // One order and its customer, one order without.
    assert_eq!(visited("SELECT * FROM orders o JOIN customers c ON c._id = o.customer LIMIT 1"), 2);
    // The condition on the outer term is tested before the inner one is looked up.
    assert_eq!(visited("SELECT * FROM orders o JOIN customers c ON c._id = o.customer WHERE o.total = 1"), 5);
    // The outer term has an access path of its own.
    assert_eq!(
        visited("SELECT * FROM orders o JOIN customers c ON c._id = o.customer WHERE o.customer = 'c2'"),
        2
    );
}
