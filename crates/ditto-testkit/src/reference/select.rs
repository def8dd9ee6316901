//! SELECT: sources, joins as nested loops, grouping, DISTINCT, sorting.

use ditto_types::{Object, SmolStr, Value};

use crate::reference::database::Database;
use crate::reference::expr::{Expr, Row, Scope};
use crate::reference::operators::{equal, is_true};
use crate::reference::order::order;
use crate::reference::outcome::Rows;

/// A SELECT statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Whole rows are unique.
    pub distinct: bool,
    /// What a row shows.
    pub projection: Projection,
    /// The first source.
    pub from: Term,
    /// The others.
    pub joins: Vec<Join>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// GROUP BY.
    pub group_by: Vec<Expr>,
    /// HAVING.
    pub having: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<SortKey>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// OFFSET.
    pub offset: Option<u64>,
}

/// The list after SELECT or RETURNING.
#[derive(Clone, Debug, PartialEq)]
pub enum Projection {
    /// `*`
    All,
    /// Anything else.
    Items(Vec<Item>),
}

/// One element of a projection.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An expression and perhaps its alias.
    Value(Expr, Option<String>),
    /// `q.*, MISSING f, …`
    AllOf(String, Vec<String>),
}

/// A collection in FROM.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Name of the collection.
    pub collection: String,
    /// AS.
    pub alias: Option<String>,
    /// USE IDS LIST.
    pub ids: Option<Vec<Value>>,
    /// USE INDEX: changes the way, never the result.
    pub index: Option<String>,
}

/// A JOIN.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// INNER, LEFT or RIGHT.
    pub kind: JoinKind,
    /// The joined source.
    pub term: Term,
    /// ON.
    pub on: Expr,
}

/// Kinds of joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum JoinKind {
    Inner,
    Left,
    Right,
}

/// A key of ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub struct SortKey {
    /// An expression on the row.
    pub by: Expr,
    /// The alias of a projected value, instead of the expression.
    pub alias: Option<String>,
    /// DESC.
    pub descending: bool,
}

impl Term {
    /// The name that qualifies its fields.
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.collection)
    }
}

pub(crate) const PROJECTION: &str = "must depend only on group keys or aggregates";

impl Select {
    pub(crate) fn run(&self, db: &Database) -> Result<Rows, String> {
        self.check()?;
        let mut rows = self.rows(db);
        if let Some(filter) = &self.filter {
            rows.retain(|row| is_true(filter.value(&Scope::of_row(row)).as_ref()));
        }
        let mut found =
            project(&self.projection, &rows, &self.group_by, self.having.as_ref(), &self.order_by);
        if self.distinct {
            let mut kept: Vec<(Vec<Option<Value>>, Value)> = Vec::new();
            for row in found {
                if !kept.iter().any(|(_, k)| equal(k, &row.1)) {
                    kept.push(row);
                }
            }
            found = kept;
        }
        let descending: Vec<bool> = self.order_by.iter().map(|k| k.descending).collect();
        let loose =
            self.distinct || !self.group_by.is_empty() || has_aggregates(&self.projection, &self.having);
        Ok(Rows::new(found, &descending, self.limit, self.offset, loose))
    }

    fn check(&self) -> Result<(), String> {
        if self.joins.iter().skip(1).any(|j| j.kind == JoinKind::Right) {
            return Err("RIGHT OUTER join that isn't the first join is not supported".to_owned());
        }
        check_projection(&self.projection, &self.group_by, &self.having)?;
        if !self.group_by.is_empty() || has_aggregates(&self.projection, &self.having) {
            let of_group = |k: &SortKey| k.alias.is_some() || k.by.is_of_group(&self.group_by);
            if !self.order_by.iter().all(of_group) {
                return Err(format!("ORDER BY {PROJECTION}"));
            }
        } else if self.order_by.iter().any(|k| k.alias.is_none() && k.by.has_aggregate()) {
            return Err("an aggregate has no place there".to_owned());
        }
        Ok(())
    }

    /// The rows of FROM and its joins.
    fn rows(&self, db: &Database) -> Vec<Row> {
        let mut rows: Vec<Row> = documents(db, &self.from)
            .into_iter()
            .map(|d| vec![(self.from.name().to_owned(), Some(d))])
            .collect();
        for join in &self.joins {
            let name = join.term.name();
            let others = documents(db, &join.term);
            let joined = |row: &Row, other: &Value| {
                let mut row = row.clone();
                row.push((name.to_owned(), Some(other.clone())));
                is_true(join.on.value(&Scope::of_row(&row)).as_ref()).then_some(row)
            };
            let mut next = Vec::new();
            if join.kind == JoinKind::Right {
                for other in &others {
                    let found: Vec<Row> = rows.iter().filter_map(|row| joined(row, other)).collect();
                    if found.is_empty() {
                        next.push(vec![
                            (self.from.name().to_owned(), None),
                            (name.to_owned(), Some(other.clone())),
                        ]);
                    }
                    next.extend(found);
                }
            } else {
                for row in &rows {
                    let found: Vec<Row> = others.iter().filter_map(|other| joined(row, other)).collect();
                    if found.is_empty() && join.kind == JoinKind::Left {
                        let mut row = row.clone();
                        row.push((name.to_owned(), None));
                        next.push(row);
                    }
                    next.extend(found);
                }
            }
            rows = next;
        }
        rows
    }
}

fn documents(db: &Database, term: &Term) -> Vec<Value> {
    let mut found = db.documents(&term.collection);
    if let Some(ids) = &term.ids {
        found.retain(|d| d.get("_id").is_some_and(|id| ids.iter().any(|i| equal(i, id))));
    }
    found
}

fn items(projection: &Projection) -> &[Item] {
    match projection {
        Projection::All => &[],
        Projection::Items(items) => items,
    }
}

fn has_aggregates(projection: &Projection, having: &Option<Expr>) -> bool {
    having.is_some() || items(projection).iter().any(|i| matches!(i, Item::Value(e, _) if e.has_aggregate()))
}

/// The rules of grouping (dql.md 2.2).
pub(crate) fn check_projection(
    projection: &Projection,
    group_by: &[Expr],
    having: &Option<Expr>,
) -> Result<(), String> {
    if group_by.is_empty() && !has_aggregates(projection, having) {
        return Ok(());
    }
    let fits = match projection {
        Projection::All => false,
        Projection::Items(items) => items.iter().all(|i| match i {
            Item::Value(e, _) => e.is_of_group(group_by),
            Item::AllOf(..) => false,
        }),
    };
    if !fits {
        return Err(format!("Projection {PROJECTION}"));
    }
    if having.as_ref().is_some_and(|h| !h.is_of_group(group_by)) {
        return Err(format!("HAVING clause terms {PROJECTION}"));
    }
    Ok(())
}

/// Sort keys and result of every row or group.
pub(crate) fn project(
    projection: &Projection,
    rows: &[Row],
    group_by: &[Expr],
    having: Option<&Expr>,
    order_by: &[SortKey],
) -> Vec<(Vec<Option<Value>>, Value)> {
    let grouped = !group_by.is_empty() || having.is_some() || has_aggregates(projection, &None);
    let mut found = Vec::new();
    if grouped {
        for group in groups(rows, group_by) {
            let first: &[(String, Option<Value>)] = group.first().map_or(&[], |row| row);
            let scope = Scope { row: first, group: Some(&group), variables: Vec::new() };
            if having.is_none_or(|h| is_true(h.value(&scope).as_ref())) {
                let shown = show(projection, &scope);
                found.push((keys(order_by, &scope, &shown), shown));
            }
        }
    } else {
        for row in rows {
            let scope = Scope::of_row(row);
            let shown = show(projection, &scope);
            found.push((keys(order_by, &scope, &shown), shown));
        }
    }
    found
}

/// Rows with equal keys together; without keys one group of all, even of none.
fn groups(rows: &[Row], group_by: &[Expr]) -> Vec<Vec<Row>> {
    if group_by.is_empty() {
        return vec![rows.to_vec()];
    }
    let mut groups: Vec<(Vec<Option<Value>>, Vec<Row>)> = Vec::new();
    for row in rows {
        let key: Vec<_> = group_by.iter().map(|e| e.value(&Scope::of_row(row))).collect();
        let same =
            |k: &Vec<Option<Value>>| k.iter().zip(&key).all(|(a, b)| order(a.as_ref(), b.as_ref()).is_eq());
        match groups.iter_mut().find(|(k, _)| same(k)) {
            Some((_, members)) => members.push(row.clone()),
            None => groups.push((key, vec![row.clone()])),
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn keys(order_by: &[SortKey], scope: &Scope<'_>, shown: &Value) -> Vec<Option<Value>> {
    order_by
        .iter()
        .map(|key| match &key.alias {
            Some(alias) => shown.get(alias).cloned(),
            None => key.by.value(scope),
        })
        .collect()
}

fn show(projection: &Projection, scope: &Scope<'_>) -> Value {
    let mut row = Object::new();
    match projection {
        Projection::All => match scope.row {
            [(_, document)] => return document.clone().unwrap_or(Value::Object(row)),
            sources => {
                for (name, document) in sources {
                    if let Some(document) = document {
                        row.insert(SmolStr::new(name), document.clone());
                    }
                }
            }
        },
        Projection::Items(items) => {
            for (at, item) in items.iter().enumerate() {
                match item {
                    Item::AllOf(source, without) => {
                        let document = Expr::Document(source.clone()).value(scope);
                        if let Some(Value::Object(mut fields)) = document {
                            fields.retain(|name, _| !without.iter().any(|w| w == name));
                            row.extend(fields);
                        }
                    }
                    Item::Value(e, alias) => {
                        let name = match (alias, e) {
                            (Some(alias), _) => alias.clone(),
                            (None, Expr::Path(_, names)) => names.last().cloned().unwrap_or_default(),
                            (None, _) => format!("(${})", at + 1),
                        };
                        if let Some(value) = e.value(scope) {
                            row.insert(name.into(), value);
                        }
                    }
                }
            }
        }
    }
    Value::Object(row)
}
