//! INSERT, UPDATE, DELETE and EVICT.

use ditto_types::{Object, Value};

use crate::reference::aggregate::Aggregate;
use crate::reference::expr::Expr;
use crate::reference::generate::expr::{Names, condition, value};
use crate::reference::generate::values::{document, field, id, number};
use crate::reference::generate::{COLLECTIONS, Tape};
use crate::reference::select::{Item, Projection, Select, SortKey, Term};
use crate::reference::write::{Apply, Delete, Insert, InsertSource, Policy, Tail, Update};

fn collection(tape: &mut Tape) -> String {
    (*tape.pick(&COLLECTIONS)).to_owned()
}

fn returning(tape: &mut Tape, collection: &str) -> Option<Projection> {
    let field = |name: &str| Expr::Path(None, vec![name.to_owned()]);
    match tape.below(8) {
        0..=4 => None,
        5 => Some(Projection::All),
        6 => Some(Projection::Items(vec![
            Item::Value(field("_id"), None),
            Item::Value(field("a"), Some("x".to_owned())),
            Item::AllOf(collection.to_owned(), vec!["o".to_owned()]),
        ])),
        _ => {
            let count = Expr::Aggregate(Box::new(Aggregate { name: "COUNT", distinct: false, of: None }));
            let sum = Aggregate { name: "SUM", distinct: false, of: Some(field("n")) };
            Some(Projection::Items(vec![
                Item::Value(count, Some("g0".to_owned())),
                Item::Value(Expr::Aggregate(Box::new(sum)), Some("g1".to_owned())),
            ]))
        }
    }
}

pub(crate) fn insert(tape: &mut Tape) -> Insert {
    let collection = collection(tape);
    let policy = *tape.pick(&[Policy::Update, Policy::Nothing, Policy::UpdateLocalDiff, Policy::Fail]);
    let source = if tape.chance(1, 4) {
        InsertSource::Select(Box::new(copy(tape)))
    } else {
        let mut list = Vec::new();
        for _ in 0..=tape.below(3) {
            list.push(match tape.below(8) {
                6 => Expr::Argument(Value::Array(vec![document(tape), document(tape)])),
                7 => Expr::Object(vec![
                    ("_id".to_owned(), Expr::Argument(id(tape))),
                    ("a".to_owned(), Expr::Literal(number(tape))),
                ]),
                _ => Expr::Argument(document(tape)),
            });
        }
        if tape.chance(1, 16) {
            let bad = tape.pick(&[Value::Null, Value::Float(1.5)]).clone();
            list.push(Expr::Argument(Object::from([("_id".into(), bad)]).into()));
        }
        InsertSource::Documents(list)
    };
    let returning = returning(tape, &collection);
    Insert { collection, source, policy, returning }
}

/// A SELECT whose rows are documents.
fn copy(tape: &mut Tape) -> Select {
    let from = Term { collection: collection(tape), alias: None, ids: None, index: None };
    let names = Names::bare();
    let field = |name: &str| Expr::Path(None, vec![name.to_owned()]);
    let projection = if tape.chance(1, 2) {
        Projection::All
    } else {
        Projection::Items(vec![
            Item::Value(field("_id"), None),
            Item::Value(field(tape.pick::<&str>(&["a", "n", "b", "o"])), Some("a".to_owned())),
            Item::Value(value(tape, &names, 1), Some("w".to_owned())),
        ])
    };
    Select {
        distinct: false,
        projection,
        from,
        joins: Vec::new(),
        filter: Some(condition(tape, &names, 1)),
        group_by: Vec::new(),
        having: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    }
}

fn tail(tape: &mut Tape) -> Tail {
    let names = Names::bare();
    let mut tail = Tail::default();
    if tape.chance(1, 10) {
        tail.ids = Some((0..=tape.below(3)).map(|_| id(tape)).collect());
    }
    if tape.chance(9, 10) {
        tail.filter = Some(condition(tape, &names, 2));
    }
    if tape.chance(1, 4) {
        let field = |name: &str| Expr::Path(None, vec![name.to_owned()]);
        let key = |by, descending| SortKey { by, alias: None, descending };
        if tape.chance(1, 2) {
            tail.order_by.push(key(field(tape.pick::<&str>(&["a", "n", "b"])), tape.chance(1, 2)));
        }
        // Unique, so that it is clear which documents are meant.
        tail.order_by.push(key(field("_id"), tape.chance(1, 2)));
        tail.limit = Some(1 + tape.below(4));
        tail.offset = tape.chance(1, 4).then(|| tape.below(3));
    }
    tail
}

pub(crate) fn update(tape: &mut Tape) -> Update {
    let collection = collection(tape);
    let names = Names::bare();
    let path = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let mut update = Update {
        collection,
        apply: Vec::new(),
        set: Vec::new(),
        unset: Vec::new(),
        tail: Tail::default(),
        returning: None,
    };
    if tape.chance(1, 5) {
        let apply = match tape.below(4) {
            0 | 1 => Apply::Increment(Expr::Literal(Value::Int(tape.below(9) as i64 - 4))),
            2 => Apply::Restart(tape.chance(1, 2).then(|| Expr::Literal(Value::from(tape.below(9))))),
            _ => Apply::Increment(Expr::Literal(Value::Float(1.5))),
        };
        update.apply.push((path(&["cnt"]), apply));
    }
    // Each field once: what assignments to a field and to one below it do together is nowhere said.
    for name in ["a", "b", "n", "e", "t", "r"] {
        if tape.chance(1, 6) {
            let e = match tape.below(3) {
                0 => value(tape, &names, 2),
                _ => Expr::Argument(field(tape, name).unwrap_or(Value::Null)),
            };
            update.set.push((path(&[name]), e));
        } else if tape.chance(1, 12) {
            update.unset.push(path(&[name]));
        }
    }
    match tape.below(8) {
        0 => {
            let object = Expr::Object(vec![
                ("x".to_owned(), value(tape, &names, 1)),
                ("w".to_owned(), Expr::Literal(number(tape))),
            ]);
            update.set.push((path(&["o"]), object));
        }
        1 => update.set.push((path(&["o"]), Expr::Argument(field(tape, "o").unwrap_or(Value::Int(0))))),
        2 => update.set.push((path(&["o", "x"]), value(tape, &names, 1))),
        3 => update.set.push((path(&["o", "y", "z"]), Expr::Literal(number(tape)))),
        4 => update.unset.push(path(&["o"])),
        5 => update.unset.push(path(&["o", "x"])),
        _ => {}
    }
    if tape.chance(1, 24) {
        update.set.push((path(&["a"]), Expr::Literal(Value::Int(1))));
    }
    update.tail = tail(tape);
    update.returning = returning(tape, &update.collection);
    update
}

pub(crate) fn delete(tape: &mut Tape) -> Delete {
    let collection = collection(tape);
    let mut tail = tail(tape);
    if tail.limit.is_none() && tail.ids.is_none() && !tape.chance(1, 8) {
        // Leaves something to look at.
        tail.order_by =
            vec![SortKey { by: Expr::Path(None, vec!["_id".to_owned()]), alias: None, descending: false }];
        tail.limit = Some(1 + tape.below(4));
    }
    let returning = returning(tape, &collection);
    Delete { evict: tape.chance(1, 4), collection, tail, returning }
}
