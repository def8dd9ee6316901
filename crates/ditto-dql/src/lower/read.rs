//! SELECT: projection, grouping, and the clauses shared with the writing statements.

use ditto_types::{ErrorKind, Path, SmolStr};

use super::expr::{Scope, is_ordinal};
use super::{Lower, search};
use crate::ast::{self, ExprKind, JoinKind, ProjectionItem};
use crate::error::DqlError;
use crate::lexer::Span;
use crate::plan::{
    Choice, Grouping, Head, JoinTemplate, Output, OutputItem, Search, SelectTemplate, SortTerm, TailTemplate,
};
use crate::planner::{Cond, conditions};
use crate::scalar::{At, Scalar};

/// Most keys of GROUP BY and of ORDER BY.
const MAX_KEYS: usize = 64;

const NO_FIELDS_IN_LIMIT: &str = "LIMIT and OFFSET cannot depend on fields";

impl Lower<'_> {
    pub(super) fn select(&mut self, s: ast::Select) -> Result<SelectTemplate, DqlError> {
        let (head, mut joins) = self.from(s.from, s.joins)?;
        let filter = s.filter.map(|e| self.expr(e, Scope::fields("WHERE"))).transpose()?;
        let mut output = self.output(s.projection)?;
        let group_by = s.group_by;
        let keys = match &group_by {
            Some(g) => self.group_keys(g)?,
            None => Vec::new(),
        };
        let having_span = s.having.as_ref().map(|e| e.span);
        let mut having = s.having.map(|e| self.expr(e, Scope::aggregates("HAVING"))).transpose()?;
        let mut tail = self.tail(s.tail, Scope::aggregates("ORDER BY").and_aliases())?;
        let grouped = group_by.is_some() || having.is_some() || !self.aggregates.is_empty();
        let grouping = if grouped {
            self.group(&keys, &mut output, &mut having, having_span, &mut tail)?;
            Some(Grouping {
                keys,
                explicit: group_by.is_some(),
                aggregates: std::mem::take(&mut self.aggregates),
                having,
            })
        } else {
            None
        };
        let output = match output {
            Projected::Wildcard(_) => Output::Wildcard,
            Projected::Items(items) => Output::Items(items.into_iter().map(|(item, _)| item).collect()),
        };
        let filters =
            if joins.is_empty() { Vec::new() } else { search::by_term(filter.as_ref(), joins.len()) };
        let order = if grouping.is_some() { Vec::new() } else { tail.fields() };
        let mut search = Search { condition: Cond::Open, order, needs: None };
        match filters.first() {
            Some(first) => search.condition = conditions(first, 0),
            None => search.condition = conditions(&filter, 0),
        }
        for (i, join) in joins.iter_mut().enumerate() {
            // Of an outer join WHERE must not take away rows before it is known whether there is one.
            let known: &[Vec<Scalar>] = if join.outer { &[] } else { filters.get(..i + 2).unwrap_or(&[]) };
            let all = std::iter::once(&join.on).chain(known.iter().flatten());
            join.search.condition = conditions(all, i + 1);
        }
        let distinct = s.distinct.is_some();
        let choice = Choice { head, filter, tail, search };
        let mut template = SelectTemplate { choice, joins, filters, output, distinct, grouping };
        search::note_needs(&mut template);
        Ok(template)
    }

    /// The terms of FROM in the order in which they are visited.
    fn from(
        &mut self,
        first: ast::FromTerm,
        mut joins: Vec<ast::Join>,
    ) -> Result<(Head, Vec<JoinTemplate>), DqlError> {
        if let Some(join) = joins.iter().skip(1).find(|j| j.kind == JoinKind::Right) {
            let message = "RIGHT OUTER join that isn't the first join is not supported";
            let at = join.span.start as usize;
            return Err(DqlError::at(ErrorKind::QueryUnsupported, message, self.text, at));
        }
        let mut first = first;
        if let Some(join) = joins.first_mut().filter(|j| j.kind == JoinKind::Right) {
            // Keeps the rows of the right side: the same as a LEFT JOIN with the sides exchanged.
            std::mem::swap(&mut first, &mut join.term);
            join.kind = JoinKind::Left;
        }
        let head = self.term_head(first)?;
        let mut out = Vec::with_capacity(joins.len());
        for join in joins {
            let head = self.term_head(join.term)?;
            let on = self.expr(join.on, Scope::fields("ON"))?;
            let rule = conditions([&on], self.terms.len() - 1);
            let outer = join.kind == JoinKind::Left;
            out.push(JoinTemplate { head, on, outer, rule, search: Search::default() });
        }
        Ok((head, out))
    }

    fn term_head(&mut self, term: ast::FromTerm) -> Result<Head, DqlError> {
        let mut head = self.head(&term.target, term.alias.as_ref(), false)?;
        head.hints = self.hints(term.uses, &term.directives)?;
        Ok(head)
    }

    fn output(&mut self, projection: ast::Projection) -> Result<Projected, DqlError> {
        let wildcard = projection.items.iter().find_map(|i| match i {
            ProjectionItem::Wildcard(span) => Some(*span),
            _ => None,
        });
        if let Some(span) = wildcard {
            if projection.items.len() > 1 {
                return self.fail("unqualified * with other projection elements is not supported", span);
            }
            return Ok(Projected::Wildcard(span));
        }
        let mut items = Vec::with_capacity(projection.items.len());
        let mut spread = false;
        for (i, item) in projection.items.into_iter().enumerate() {
            items.push(match item {
                ProjectionItem::Wildcard(span) => return Ok(Projected::Wildcard(span)),
                ProjectionItem::Spread(name) => {
                    if self.term(&name.text).is_none() {
                        let message = format!(
                            "{} is not {}, the source of the rows",
                            name.text,
                            self.terms.join(" or ")
                        );
                        return self.fail(message, name.span);
                    }
                    spread = true;
                    (OutputItem::Spread(self.term(&name.text).unwrap_or(0)), name.span)
                }
                ProjectionItem::Remove { path, span } => {
                    if !spread {
                        return self.fail("MISSING in a projection must follow an element like c.*", span);
                    }
                    (OutputItem::Remove(Path::from(self.field(&path))), span)
                }
                ProjectionItem::Value { expr, alias } => {
                    let span = expr.span;
                    let name = match (&alias, &expr.kind) {
                        (Some(alias), _) => alias.text.clone(),
                        (None, ExprKind::Path(path)) => {
                            path.last().map(|n| n.text.clone()).unwrap_or_default()
                        }
                        (None, _) => SmolStr::from(format!("(${})", i + 1)),
                    };
                    let scalar = self.expr(expr, Scope::aggregates("the projection"))?;
                    if let Some(alias) = alias {
                        self.aliases.push((alias.text, scalar.clone()));
                    }
                    (OutputItem::Value(name, scalar), span)
                }
            });
        }
        Ok(Projected::Items(items))
    }

    fn group_keys(&mut self, group_by: &ast::GroupBy) -> Result<Vec<Scalar>, DqlError> {
        if group_by.keys.len() > MAX_KEYS {
            return self.fail(format!("GROUP BY of more than {MAX_KEYS} keys"), group_by.span);
        }
        let mut keys = Vec::with_capacity(group_by.keys.len());
        for e in &group_by.keys {
            if is_ordinal(e) {
                return self.unsupported("GROUP BY the number of a column", e.span);
            }
            keys.push(self.expr(e.clone(), Scope::fields("GROUP BY"))?);
        }
        Ok(keys)
    }

    /// Replaces group keys and aggregates by slots in everything that is evaluated per group.
    fn group(
        &self,
        keys: &[Scalar],
        output: &mut Projected,
        having: &mut Option<Scalar>,
        having_span: Option<Span>,
        tail: &mut TailTemplate,
    ) -> Result<(), DqlError> {
        let projection = |name: &str, span: Span| {
            let message = format!("Projection \"{name}\" must depend only on group keys or aggregates");
            self.fail::<()>(message, span)
        };
        match output {
            Projected::Wildcard(span) => return projection("*", *span),
            Projected::Items(items) => {
                for (item, span) in items {
                    match item {
                        OutputItem::Value(name, scalar) => {
                            match to_slots(std::mem::replace(scalar, Scalar::Missing), keys) {
                                Some(s) => *scalar = s,
                                None => return projection(name, *span),
                            }
                        }
                        OutputItem::Spread(_) | OutputItem::Remove(_) => {
                            return projection(&format!("{}.*", self.terms.concat()), *span);
                        }
                    }
                }
            }
        }
        if let Some(h) = having.take() {
            match to_slots(h, keys) {
                Some(h) => *having = Some(h),
                None => {
                    let message = "HAVING clause terms must depend only on group keys or aggregates";
                    return self.fail(message, having_span.unwrap_or_default());
                }
            }
        }
        for term in &mut tail.order {
            match to_slots(std::mem::replace(&mut term.key, Scalar::Missing), keys) {
                Some(s) => term.key = s,
                None => {
                    let span = Span { start: term.at.0 as u32, end: term.at.0 as u32 };
                    return self.fail("ORDER BY terms must depend only on group keys or aggregates", span);
                }
            }
        }
        Ok(())
    }

    pub(super) fn tail(&mut self, tail: ast::Tail, scope: Scope) -> Result<TailTemplate, DqlError> {
        let mut order = Vec::new();
        if let Some(order_by) = tail.order_by {
            if order_by.keys.len() > MAX_KEYS {
                return self.fail(format!("ORDER BY of more than {MAX_KEYS} keys"), order_by.span);
            }
            for key in order_by.keys {
                if is_ordinal(&key.expr) {
                    return self.unsupported("ORDER BY the number of a column", key.expr.span);
                }
                let at = At(key.expr.span.start as usize);
                order.push(SortTerm { key: self.expr(key.expr, scope)?, descending: key.descending, at });
            }
        }
        let mut bound = |clause: &'static str, bound: Option<(ast::Expr, Span)>| match bound {
            None => Ok(None),
            Some((e, _)) => {
                let at = At(e.span.start as usize);
                let scalar = self.expr(e, Scope::constant(clause, NO_FIELDS_IN_LIMIT))?;
                Ok::<_, DqlError>(Some((scalar, at)))
            }
        };
        let limit = bound("LIMIT", tail.limit)?;
        let offset = bound("OFFSET", tail.offset)?;
        Ok(TailTemplate { order, limit, offset })
    }
}

/// A projection with the places of its elements, for messages.
enum Projected {
    Wildcard(Span),
    Items(Vec<(OutputItem, Span)>),
}

/// Rewrites an expression to run on a group; `None` if it needs anything but its keys and aggregates.
fn to_slots(s: Scalar, keys: &[Scalar]) -> Option<Scalar> {
    if let Some(i) = keys.iter().position(|k| *k == s) {
        return Some(Scalar::Slot(i));
    }
    match s {
        Scalar::Aggregate(i) => Some(Scalar::Slot(keys.len() + i)),
        Scalar::Field(term, path) => keys.iter().enumerate().find_map(|(i, key)| {
            let rest = match key {
                Scalar::Field(t, prefix) if *t == term => path.strip_prefix(&**prefix)?,
                Scalar::Document(t) if *t == term => &path,
                _ => return None,
            };
            Some(Scalar::Get(Box::new(Scalar::Slot(i)), rest.into()))
        }),
        Scalar::Document(_) => None,
        other => other.try_map(&mut |s| to_slots(s, keys).ok_or(())).ok(),
    }
}
