//! The syntax tree as text: one spelling for every statement.
//!
//! Words are in capitals, every identifier stands in backticks, strings in double quotes, and every operator with its
//! operands in parentheses. Comments are gone, apart from directives. Parsing the text gives the same tree.

mod expr;

use std::fmt::Write;

use ditto_types::{Value, json};

use crate::ast::{
    Action, AlterSystem, Body, Change, CreateIndex, Directive, DropIndex, Expr, FromTerm, IndexKey, Insert,
    InsertSource, Join, JoinKind, Name, PrefixKind, Projection, ProjectionItem, Remove, Returning, Select,
    Show, ShowFilter, Statement, Tail, Target, TypeDef, Update, UseClause, UseIds,
};
use crate::plan::ConflictPolicy;

pub(crate) use expr::{expr_text, expr_text_with};

/// A statement in its one spelling.
pub(crate) fn statement_text(s: &Statement) -> String {
    let mut p = Printer { out: String::new() };
    p.statement(s);
    p.out
}

/// An identifier in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A string literal.
fn string_text(text: &str) -> String {
    json::to_string(&Value::from(text))
}

struct Printer {
    out: String,
}

impl Printer {
    fn add(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn name(&mut self, name: &str) {
        let name = quoted(name);
        self.add(&name);
    }

    fn path(&mut self, path: &[Name]) {
        self.list(path, ".", |p, n| p.name(&n.text));
    }

    fn string(&mut self, text: &str) {
        self.out.push_str(&string_text(text));
    }

    fn expr(&mut self, e: &Expr) {
        let text = expr_text(e);
        self.add(&text);
    }

    fn list<T>(&mut self, items: &[T], between: &str, mut f: impl FnMut(&mut Self, &T)) {
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.add(between);
            }
            f(self, item);
        }
    }

    fn statement(&mut self, s: &Statement) {
        match s.prefix.as_ref().map(|p| p.kind) {
            None => {}
            Some(PrefixKind::Explain) => self.add("EXPLAIN "),
            Some(PrefixKind::Profile) => self.add("PROFILE "),
            Some(PrefixKind::Advise { provision, explain }) => {
                self.add(if explain { "EXPLAIN ADVISE " } else { "ADVISE " });
                self.add(if provision { "AND PROVISION " } else { "" });
            }
        }
        for directive in &s.directives {
            self.directive(directive);
            self.add(" ");
        }
        match &s.body {
            Body::Select(s) => self.select(s),
            Body::Insert(s) => self.insert(s),
            Body::Update(s) => self.update(s),
            Body::Remove(s) => self.remove(s),
            Body::CreateIndex(s) => self.create_index(s),
            Body::DropIndex(s) => self.drop_index(s),
            Body::AlterSystem(s) => self.alter_system(s),
            Body::Show(s) => self.show(s),
        }
    }

    /// A comment that holds `*/` was written to the end of a line.
    fn directive(&mut self, d: &Directive) {
        let _ = if d.json.contains("*/") {
            writeln!(self.out, "--+ {}", d.json)
        } else {
            write!(self.out, "/*+ {} */", d.json)
        };
    }

    fn select(&mut self, s: &Select) {
        self.add("SELECT ");
        if s.distinct.is_some() {
            self.add("DISTINCT ");
        }
        self.projection(&s.projection);
        self.add(" FROM ");
        self.term(&s.from);
        for join in &s.joins {
            self.join(join);
        }
        self.filter(s.filter.as_ref());
        if let Some(group_by) = &s.group_by {
            self.add(" GROUP BY ");
            self.list(&group_by.keys, ", ", Self::expr);
        }
        if let Some(having) = &s.having {
            self.add(" HAVING ");
            self.expr(having);
        }
        self.tail(&s.tail);
    }

    fn projection(&mut self, projection: &Projection) {
        self.list(&projection.items, ", ", |p, item| match item {
            ProjectionItem::Wildcard(_) => p.add("*"),
            ProjectionItem::Spread(name) => {
                p.name(&name.text);
                p.add(".*");
            }
            ProjectionItem::Remove { path, .. } => {
                p.add("MISSING ");
                p.path(path);
            }
            ProjectionItem::Value { expr, alias } => {
                p.expr(expr);
                if let Some(alias) = alias {
                    p.add(" AS ");
                    p.name(&alias.text);
                }
            }
        });
    }

    fn target(&mut self, target: &Target) {
        if !target.types.is_empty() {
            self.add("COLLECTION ");
        }
        if let Some(namespace) = &target.namespace {
            self.name(&namespace.text);
            self.add(":");
        }
        self.name(&target.collection.text);
        if !target.types.is_empty() {
            self.add(" ");
            self.types(&target.types);
        }
    }

    fn types(&mut self, types: &[TypeDef]) {
        self.add("(");
        self.list(types, ", ", |p, def| {
            p.name(&def.name.text);
            p.add(" ");
            p.add(def.kind.keyword());
            if !def.fields.is_empty() {
                p.types(&def.fields);
            }
        });
        self.add(")");
    }

    fn term(&mut self, term: &FromTerm) {
        self.target(&term.target);
        if let Some(alias) = &term.alias {
            self.add(" AS ");
            self.name(&alias.text);
        }
        for use_clause in &term.uses {
            self.add(" USE ");
            self.use_clause(use_clause);
        }
        for directive in &term.directives {
            self.add(" ");
            self.directive(directive);
        }
    }

    fn use_clause(&mut self, clause: &UseClause) {
        match clause {
            UseClause::Ids { ids: UseIds::List(e), .. } => {
                self.add("IDS LIST ");
                self.expr(e);
            }
            UseClause::Ids { ids: UseIds::Each(ids), .. } => {
                self.add("IDS ");
                self.list(ids, ", ", Self::expr);
            }
            UseClause::Index { names, .. } => {
                self.add("INDEX ");
                match names.as_slice() {
                    [] => self.add("\"\""),
                    [name] => self.string(name),
                    names => {
                        self.add("(");
                        self.list(names, ", ", |p, name| p.name(name));
                        self.add(")");
                    }
                }
            }
            UseClause::Directives(d) => {
                self.add("DIRECTIVES ");
                self.string(&d.json);
            }
        }
    }

    fn join(&mut self, join: &Join) {
        self.add(match join.kind {
            JoinKind::Inner => " INNER JOIN ",
            JoinKind::Left => " LEFT JOIN ",
            JoinKind::Right => " RIGHT JOIN ",
        });
        self.term(&join.term);
        self.add(" ON ");
        self.expr(&join.on);
    }

    fn filter(&mut self, filter: Option<&Expr>) {
        if let Some(filter) = filter {
            self.add(" WHERE ");
            self.expr(filter);
        }
    }

    fn tail(&mut self, tail: &Tail) {
        if let Some(order_by) = &tail.order_by {
            self.add(" ORDER BY ");
            self.list(&order_by.keys, ", ", |p, key| {
                p.expr(&key.expr);
                p.add(if key.descending { " DESC" } else { " ASC" });
            });
        }
        if let Some((limit, _)) = &tail.limit {
            self.add(" LIMIT ");
            self.expr(limit);
        }
        if let Some((offset, _)) = &tail.offset {
            self.add(" OFFSET ");
            self.expr(offset);
        }
    }

    fn insert(&mut self, s: &Insert) {
        self.add("INSERT INTO ");
        self.target(&s.target);
        self.add(if s.initial { " INITIAL " } else { " " });
        match &s.source {
            InsertSource::Documents(documents) => {
                self.add("DOCUMENTS ");
                self.list(documents, ", ", |p, e| {
                    p.add("(");
                    p.expr(e);
                    p.add(")");
                });
            }
            InsertSource::Select(select) => self.select(select),
        }
        self.add(match s.policy {
            ConflictPolicy::Fail => "",
            ConflictPolicy::DoNothing => " ON ID CONFLICT DO NOTHING",
            ConflictPolicy::DoUpdate => " ON ID CONFLICT DO UPDATE",
            ConflictPolicy::DoUpdateLocalDiff => " ON ID CONFLICT DO UPDATE_LOCAL_DIFF",
        });
        self.returning(s.returning.as_ref());
    }

    fn returning(&mut self, returning: Option<&Returning>) {
        if let Some(returning) = returning {
            self.add(" RETURNING ");
            self.projection(&returning.projection);
        }
    }

    fn update(&mut self, s: &Update) {
        self.add("UPDATE ");
        self.term(&s.from);
        let apply = |c: &Change| {
            matches!(c.action, Action::Increment(_) | Action::Restart(_) | Action::PnIncrement(_))
        };
        // Removals behind the last assignment are its UNSET clause.
        let sets = s.changes.iter().rposition(|c| !matches!(c.action, Action::Unset)).map_or(0, |i| i + 1);
        let (written, unset) = s.changes.split_at(sets);
        let applies = written.iter().take_while(|c| apply(c)).count();
        let (applied, set) = written.split_at(applies);
        for (word, changes) in [(" APPLY ", applied), (" SET ", set), (" UNSET ", unset)] {
            if !changes.is_empty() {
                self.add(word);
                self.list(changes, ", ", |p, c| p.change(c, word == " SET "));
            }
        }
        self.filter(s.filter.as_ref());
        self.tail(&s.tail);
        self.returning(s.returning.as_ref());
    }

    fn change(&mut self, change: &Change, in_set: bool) {
        self.path(&change.path);
        match &change.action {
            Action::Set(e) => {
                self.add(" = ");
                self.expr(e);
            }
            Action::Unset => self.add(if in_set { " -> tombstone()" } else { "" }),
            Action::Default => self.add(" -> default()"),
            Action::Increment(e) => {
                self.add(" INCREMENT BY ");
                self.expr(e);
            }
            Action::Restart(None) => self.add(" RESTART"),
            Action::Restart(Some(e)) => {
                self.add(" RESTART WITH ");
                self.expr(e);
            }
            Action::PnIncrement(e) => {
                self.add(" PN_INCREMENT BY ");
                self.expr(e);
            }
        }
    }

    fn remove(&mut self, s: &Remove) {
        self.add(if s.evict { "EVICT FROM " } else { "DELETE FROM " });
        self.term(&s.from);
        self.filter(s.filter.as_ref());
        self.tail(&s.tail);
        self.returning(s.returning.as_ref());
    }

    fn create_index(&mut self, s: &CreateIndex) {
        self.add("CREATE INDEX ");
        self.add(if s.if_absent { "IF NOT EXISTS " } else { "" });
        self.name(&s.name.text);
        self.add(" ON ");
        self.target(&s.target);
        self.add(" (");
        self.list(&s.keys, ", ", |p, IndexKey { path, descending, include_missing }| {
            p.path(path);
            p.add(if *descending { " DESC" } else { " ASC" });
            p.add(if *include_missing { "" } else { " EXCLUDE MISSING" });
        });
        self.add(")");
    }

    fn drop_index(&mut self, s: &DropIndex) {
        self.add("DROP INDEX ");
        self.add(if s.if_present { "IF EXISTS " } else { "" });
        self.name(&s.name.text);
        self.add(" ON ");
        self.target(&s.target);
    }

    fn alter_system(&mut self, s: &AlterSystem) {
        self.add("ALTER SYSTEM ");
        match s {
            AlterSystem::Set(name, value) => {
                self.add("SET ");
                self.name(&name.text);
                self.add(" = ");
                match value {
                    Some(e) => self.expr(e),
                    None => self.add("DEFAULT"),
                }
            }
            AlterSystem::Reset(name) => {
                self.add("RESET ");
                self.name(&name.text);
            }
            AlterSystem::ResetAll => self.add("RESET ALL"),
        }
    }

    fn show(&mut self, s: &Show) {
        self.add("SHOW ");
        match s {
            Show::One(name) => self.name(&name.text),
            Show::All(None) => self.add("ALL"),
            Show::All(Some(ShowFilter { pattern, fold_case })) => {
                self.add(if *fold_case { "ALL ILIKE " } else { "ALL LIKE " });
                self.string(pattern);
            }
        }
    }
}

#[cfg(test)]
mod tests;
