//! SELECT statements.

use ditto_types::Value;

use crate::reference::aggregate::Aggregate;
use crate::reference::expr::{Binary, Expr, Test};
use crate::reference::generate::expr::{Names, condition, value};
use crate::reference::generate::values::id;
use crate::reference::generate::{COLLECTIONS, Tape};
use crate::reference::select::{Item, Join, JoinKind, Projection, Select, SortKey, Term};

pub(crate) fn select(tape: &mut Tape) -> Select {
    let collection = (*tape.pick(&COLLECTIONS)).to_owned();
    let alias = tape.chance(1, 4).then(|| "q".to_owned());
    let ids = tape.chance(1, 12).then(|| (0..=tape.below(3)).map(|_| id(tape)).collect());
    let index = tape.chance(1, 16).then(String::new);
    let from = Term { collection, alias, ids, index };
    let mut select = Select {
        distinct: false,
        projection: Projection::All,
        from,
        joins: Vec::new(),
        filter: None,
        group_by: Vec::new(),
        having: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
    };
    let mut names = Names::bare();
    if tape.chance(1, 6) {
        names = join(tape, &mut select);
    } else if tape.chance(1, 4) {
        // Qualified or not is the same.
        names.sources.push(Some(select.from.name().to_owned()));
    }
    if tape.chance(5, 6) {
        select.filter = Some(condition(tape, &names, 2));
    }
    match tape.below(8) {
        0..=3 => plain(tape, &names, &mut select),
        4 => distinct(tape, &names, &mut select),
        5 | 6 => grouped(tape, &names, &mut select),
        _ => {
            select.projection = Projection::Items(aggregates(tape, &names));
            if tape.chance(1, 4) {
                select.having = Some(having(tape, &names));
            }
        }
    }
    if tape.chance(1, 3) {
        select.limit = Some(tape.below(8));
    }
    if tape.chance(1, 6) {
        select.offset = Some(tape.below(4));
    }
    select
}

/// One or two joins; returns the names that expressions may use then.
fn join(tape: &mut Tape, select: &mut Select) -> Names {
    select.from.alias = Some("q".to_owned());
    let mut known = vec!["q".to_owned()];
    for at in 0..=tape.below(2) {
        let alias = format!("j{at}");
        let kind = match tape.below(3) {
            0 => JoinKind::Inner,
            1 => JoinKind::Left,
            _ if at == 0 => JoinKind::Right,
            _ => JoinKind::Left,
        };
        let field = |source: &str, name: &str| Expr::Path(Some(source.to_owned()), vec![name.to_owned()]);
        let left = tape.pick(&known).clone();
        let by_id = tape.chance(1, 2);
        let mut index = None;
        let (a, b) = match (by_id, kind) {
            (true, JoinKind::Right) => (field(&left, "_id"), field(&alias, "r")),
            (true, _) => (field(&alias, "_id"), field(&left, "r")),
            (false, _) => {
                // Allows the scan where there is no index.
                index = Some(String::new());
                (field(&left, "a"), field(&alias, "a"))
            }
        };
        if kind == JoinKind::Right {
            select.from.index = index.clone();
        }
        let mut on = Expr::Binary(Binary::Equal, a.into(), b.into());
        known.push(alias.clone());
        if tape.chance(1, 4) {
            let names = Names { sources: known.iter().cloned().map(Some).collect(), bound: Vec::new() };
            on = Expr::Binary(Binary::And, on.into(), condition(tape, &names, 1).into());
        }
        let collection = (*tape.pick(&COLLECTIONS)).to_owned();
        select.joins.push(Join { kind, term: Term { collection, alias: Some(alias), ids: None, index }, on });
    }
    Names { sources: known.into_iter().map(Some).collect(), bound: Vec::new() }
}

fn path(tape: &mut Tape, names: &Names) -> Expr {
    const PATHS: [&[&str]; 9] =
        [&["a"], &["b"], &["n"], &["e"], &["t"], &["o", "x"], &["_id"], &["l"], &["o"]];
    let source = tape.pick(&names.sources).clone();
    Expr::Path(source, tape.pick(&PATHS).iter().map(|s| (*s).to_owned()).collect())
}

fn sort_key(tape: &mut Tape, names: &Names) -> SortKey {
    let by = if tape.chance(1, 4) { value(tape, names, 1) } else { path(tape, names) };
    // `ORDER BY 1` means something else in SQL and is refused.
    let by = if matches!(by, Expr::Literal(_) | Expr::Negate(_)) { path(tape, names) } else { by };
    SortKey { by, alias: None, descending: tape.chance(1, 2) }
}

fn plain(tape: &mut Tape, names: &Names, select: &mut Select) {
    match tape.below(6) {
        0 | 1 => {}
        2 => {
            let source = select.from.name().to_owned();
            let without = if tape.chance(1, 2) { vec!["a".to_owned(), "o".to_owned()] } else { Vec::new() };
            select.projection = Projection::Items(vec![Item::AllOf(source, without)]);
        }
        _ => {
            let mut items = Vec::new();
            for at in 0..=tape.below(3) {
                let e = if tape.chance(1, 2) { value(tape, names, 2) } else { path(tape, names) };
                // Without an alias the name is that of the path or of the place; two paths could share it.
                let alias = (at > 0 || tape.chance(1, 2)).then(|| format!("x{at}"));
                items.push(Item::Value(e, alias));
            }
            select.projection = Projection::Items(items);
        }
    }
    for _ in 0..tape.below(4) {
        select.order_by.push(sort_key(tape, names));
    }
    if tape.chance(1, 4) && select.joins.is_empty() {
        let id = Expr::Path(None, vec!["_id".to_owned()]);
        select.order_by.push(SortKey { by: id, alias: None, descending: tape.chance(1, 2) });
    }
}

fn by_alias(tape: &mut Tape, alias: &str) -> SortKey {
    let by = Expr::Literal(Value::Null);
    SortKey { by, alias: Some(alias.to_owned()), descending: tape.chance(1, 2) }
}

fn distinct(tape: &mut Tape, names: &Names, select: &mut Select) {
    select.distinct = true;
    let mut items = Vec::new();
    for at in 0..=tape.below(2) {
        items.push(Item::Value(path(tape, names), Some(format!("x{at}"))));
    }
    if tape.chance(1, 2) {
        select.order_by.push(by_alias(tape, "x0"));
    }
    select.projection = Projection::Items(items);
}

fn aggregate(tape: &mut Tape, names: &Names) -> Expr {
    let source = tape.pick(&names.sources).clone();
    let of = |name: &str| Some(Expr::Path(source.clone(), vec![name.to_owned()]));
    let (name, of) = match tape.below(8) {
        0 => ("COUNT", None),
        1 => ("COUNT", Some(path(tape, names))),
        // Sums of these are exact, whatever the order.
        2 | 3 => ("SUM", of(tape.pick::<&str>(&["n", "a"]))),
        4 => ("AVG", of("n")),
        5 => ("MIN", Some(path(tape, names))),
        6 => ("MAX", Some(path(tape, names))),
        _ => {
            let n = Expr::Path(source, vec!["n".to_owned()]);
            ("SUM", Some(Expr::Binary(Binary::Add, n.into(), Expr::Literal(Value::Int(1)).into())))
        }
    };
    let distinct = of.is_some() && tape.chance(1, 4);
    Expr::Aggregate(Box::new(Aggregate { name, distinct, of }))
}

fn aggregates(tape: &mut Tape, names: &Names) -> Vec<Item> {
    (0..=tape.below(3)).map(|at| Item::Value(aggregate(tape, names), Some(format!("g{at}")))).collect()
}

fn having(tape: &mut Tape, names: &Names) -> Expr {
    let op = *tape.pick(&[Binary::Greater, Binary::LessEqual, Binary::NotEqual]);
    let bound = Expr::Literal(Value::from(tape.below(4)));
    let count = aggregate(tape, names);
    if tape.chance(1, 8) {
        return Expr::Is(count.into(), Test::Missing, true);
    }
    Expr::Binary(op, count.into(), bound.into())
}

fn grouped(tape: &mut Tape, names: &Names, select: &mut Select) {
    let mut items = Vec::new();
    for at in 0..=tape.below(2) {
        let key = path(tape, names);
        if !select.group_by.contains(&key) {
            select.group_by.push(key.clone());
            items.push(Item::Value(key, Some(format!("x{at}"))));
        }
    }
    items.extend(aggregates(tape, names));
    // `a` and `c.a` are one key for the engine, and two expressions here.
    if names.sources.len() == 1 && tape.chance(1, 24) {
        // Refused, unless it happens to be a key.
        items.push(Item::Value(path(tape, names), Some("y".to_owned())));
    }
    if tape.chance(1, 3) {
        select.having = Some(having(tape, names));
    }
    match tape.below(4) {
        0 => select.order_by.push(by_alias(tape, "g0")),
        1 => {
            let by = select.group_by[0].clone();
            select.order_by.push(SortKey { by, alias: None, descending: tape.chance(1, 2) });
        }
        _ => {}
    }
    select.projection = Projection::Items(items);
}
