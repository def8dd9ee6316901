//! The clauses of a statement as text, with every field qualified by its term.

use ditto_types::{Object, Value};

use crate::ast::{
    Body, Expr, ExprKind, InsertSource, JoinKind, Name, Projection, ProjectionItem, Select, Tail,
};
use crate::parser::parse;
use crate::plan::Head;
use crate::print::{expr_text_with, quoted};

/// Texts by clause.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) filter: Option<String>,
    /// Conditions of the joins, in the order in which they are carried out.
    pub(super) on: Vec<String>,
    pub(super) group: Vec<Value>,
    pub(super) having: Option<String>,
    pub(super) projection: Vec<Value>,
    /// Sort keys with their directions.
    pub(super) order: Vec<Value>,
}

impl Texts {
    /// Those of a statement that was prepared from this text before.
    pub(super) fn of(text: &str, heads: &[&Head]) -> Self {
        let Ok(statement) = parse(text) else { return Self::default() };
        let printer = Printer { heads, aliases: Vec::new() };
        match statement.body {
            Body::Select(s) => printer.select(&s),
            Body::Insert(s) => match &s.source {
                InsertSource::Select(s) => printer.select(s),
                InsertSource::Documents(_) => Self::default(),
            },
            Body::Update(s) => printer.write(s.filter.as_ref(), &s.tail),
            Body::Remove(s) => printer.write(s.filter.as_ref(), &s.tail),
            _ => Self::default(),
        }
    }
}

struct Printer<'a> {
    heads: &'a [&'a Head],
    /// Names given in the projection, where they are known.
    aliases: Vec<&'a str>,
}

impl<'a> Printer<'a> {
    fn select(mut self, s: &'a Select) -> Texts {
        let mut out = Texts {
            filter: s.filter.as_ref().map(|e| self.text(e)),
            on: s.joins.iter().map(|j| self.text(&j.on)).collect(),
            group: s.group_by.iter().flat_map(|g| &g.keys).map(|e| self.text(e).into()).collect(),
            having: s.having.as_ref().map(|e| self.text(e)),
            projection: self.projection(&s.projection),
            order: Vec::new(),
        };
        debug_assert!(s.joins.iter().skip(1).all(|j| j.kind != JoinKind::Right), "refused before");
        self.aliases = s
            .projection
            .items
            .iter()
            .filter_map(|i| match i {
                ProjectionItem::Value { alias: Some(alias), .. } => Some(alias.text.as_str()),
                _ => None,
            })
            .collect();
        out.order = self.order(&s.tail);
        out
    }

    fn write(self, filter: Option<&Expr>, tail: &Tail) -> Texts {
        Texts { filter: filter.map(|e| self.text(e)), order: self.order(tail), ..Texts::default() }
    }

    fn text(&self, e: &Expr) -> String {
        expr_text_with(e, &|path| self.path(path))
    }

    fn path(&self, path: &[Name]) -> String {
        let written = path.iter().map(|n| quoted(&n.text)).collect::<Vec<_>>().join(".");
        let known = path.first().is_some_and(|first| {
            self.heads.iter().any(|h| h.name == first.text) || self.aliases.contains(&first.text.as_str())
        });
        match self.heads {
            [only] if !known => format!("{}.{written}", quoted(&only.name)),
            _ => written,
        }
    }

    fn projection(&self, p: &Projection) -> Vec<Value> {
        let mut out = Vec::with_capacity(p.items.len());
        let mut add = |expression: String, member: Option<(&'static str, Value)>| {
            let mut o = Object::from([("expression".into(), Value::from(expression))]);
            o.extend(member.map(|(name, v)| (name.into(), v)));
            out.push(Value::Object(o));
        };
        for item in &p.items {
            match item {
                ProjectionItem::Wildcard(_) => {
                    for head in self.heads {
                        add(quoted(&head.name), Some(("wildcard", Value::Bool(true))));
                    }
                }
                ProjectionItem::Spread(name) => {
                    add(quoted(&name.text), Some(("wildcard", Value::Bool(true))));
                }
                ProjectionItem::Remove { path, .. } => {
                    add(self.path(path), Some(("missing", Value::Bool(true))));
                }
                ProjectionItem::Value { expr, alias } => {
                    let name = match (alias, &expr.kind) {
                        (Some(alias), _) => Some(&alias.text),
                        (None, ExprKind::Path(path)) => path.last().map(|n| &n.text),
                        _ => None,
                    };
                    add(self.text(expr), name.map(|n| ("alias", Value::from(n.as_str()))));
                }
            }
        }
        out
    }

    fn order(&self, tail: &Tail) -> Vec<Value> {
        let key = |k: &crate::ast::SortKey| {
            let direction = if k.descending { "desc" } else { "asc" };
            Value::Object(Object::from([
                ("expression".into(), Value::from(self.text(&k.expr))),
                ("direction".into(), Value::from(direction)),
            ]))
        };
        tail.order_by.iter().flat_map(|o| &o.keys).map(key).collect()
    }
}
