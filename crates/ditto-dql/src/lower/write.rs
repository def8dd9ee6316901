//! INSERT, UPDATE, DELETE and EVICT.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_types::{Object, Path, SmolStr, Value};

use super::Lower;
use super::expr::Scope;
use crate::ast;
use crate::decl::{FieldKind, TypeDecls};
use crate::error::DqlError;
use crate::lexer::Span;
use crate::plan::{
    Change, ChangeAction, Choice, InsertSource, InsertTemplate, RemoveTemplate, Search, SelectTemplate,
    UpdateTemplate,
};
use crate::scalar::{At, Scalar};

impl Lower<'_> {
    pub(super) fn insert(&mut self, s: ast::Insert) -> Result<InsertTemplate, DqlError> {
        let head = self.head(&s.target, None, true)?;
        let source = match s.source {
            ast::InsertSource::Select(select) => {
                let at = At(select.span.start as usize);
                InsertSource::Rows(self.inner_select(*select)?, at)
            }
            ast::InsertSource::Documents(documents) => {
                let scope = Scope::constant("a document", "Cannot convert to a literal");
                let mut out = Vec::with_capacity(documents.len());
                for e in documents {
                    let at = At(e.span.start as usize);
                    out.push((self.expr(e, scope)?, at));
                }
                InsertSource::Documents(out)
            }
        };
        let returning = self.returning(s.returning, &s.target)?;
        Ok(InsertTemplate { head, source, policy: s.policy, initial: s.initial, returning })
    }

    pub(super) fn update(&mut self, s: ast::Update) -> Result<UpdateTemplate, DqlError> {
        let mut head = self.head(&s.from.target, None, true)?;
        head.hints = self.hints(s.from.uses, &s.from.directives)?;
        let mut changes: Vec<Change> = Vec::with_capacity(s.changes.len());
        let mut seen = BTreeSet::new();
        for change in s.changes {
            let change = self.change(change, &head.declared)?;
            if let Some(path) = modified_before(&seen, change.path.names()) {
                let message = format!("More than one modification specified for the path {path}");
                let span = Span { start: change.at.0 as u32, end: change.at.0 as u32 };
                return self.fail(message, span);
            }
            seen.insert(change.path.names().to_vec());
            changes.push(change);
        }
        let filter = s.filter.map(|e| self.expr(e, Scope::fields("WHERE"))).transpose()?;
        let tail = self.tail(s.tail, Scope::fields("ORDER BY"))?;
        let returning = self.returning(s.returning, &s.from.target)?;
        let search = Search::documents(filter.as_ref(), &tail);
        let choice = Choice { head, filter, tail, search };
        Ok(UpdateTemplate { choice, changes, returning })
    }

    fn change(&mut self, change: ast::Change, declared: &TypeDecls) -> Result<Change, DqlError> {
        let span = change.path.first().map_or(Span::default(), |n| n.span);
        let path = Path::from(self.field(&change.path));
        let names = path.names();
        if names.first().is_some_and(|n| n == "_id") {
            return self.fail("The document id `_id` cannot be modified", span);
        }
        if names.len() > ditto_types::MAX_DEPTH - 1 {
            return self.fail(format!("path of more than {} names", ditto_types::MAX_DEPTH - 1), span);
        }
        let refused = |kind: FieldKind, path: &Path| {
            self.fail::<()>(format!("Unsupported DML operation on {} field \"{path}\"", kind.keyword()), span)
        };
        // Only a map has fields of its own.
        if let Some((depth, kind)) = declared.ancestor_of(names)
            && kind != FieldKind::Map
        {
            refused(kind, &Path::new(names.iter().take(depth).cloned()))?;
        }
        let kind = declared.kind_of(names);
        let fits = match change.action {
            ast::Action::Set(_) | ast::Action::Unset => true,
            ast::Action::Default => {
                matches!(kind, FieldKind::Inferred | FieldKind::Register | FieldKind::Map)
            }
            ast::Action::Increment(_) | ast::Action::Restart(_) => {
                matches!(kind, FieldKind::Inferred | FieldKind::Counter)
            }
            ast::Action::PnIncrement(_) => matches!(kind, FieldKind::Inferred | FieldKind::PnCounter),
        };
        if !fits {
            refused(kind, &path)?;
        }
        let mut value = |e: ast::Expr, clause: &'static str| {
            let at = At(e.span.start as usize);
            Ok::<_, DqlError>((self.expr(e, Scope::fields(clause))?, at))
        };
        let action = match change.action {
            ast::Action::Set(e) => {
                let (e, at) = value(e, "SET")?;
                ChangeAction::Set(e, kind, at)
            }
            ast::Action::Unset => ChangeAction::Unset,
            ast::Action::Default => {
                let empty = match kind {
                    FieldKind::Map => Value::Object(Object::new()),
                    _ => Value::Null,
                };
                ChangeAction::Set(Scalar::Const(empty), kind, At(span.start as usize))
            }
            ast::Action::Increment(e) => {
                let (e, at) = value(e, "APPLY")?;
                ChangeAction::Increment(e, at)
            }
            ast::Action::Restart(e) => ChangeAction::Restart(e.map(|e| value(e, "APPLY")).transpose()?),
            ast::Action::PnIncrement(e) => {
                let (e, at) = value(e, "APPLY")?;
                ChangeAction::PnIncrement(e, at)
            }
        };
        Ok(Change { path, action, at: At(span.start as usize) })
    }

    pub(super) fn remove(&mut self, s: ast::Remove) -> Result<RemoveTemplate, DqlError> {
        let mut head = self.head(&s.from.target, None, true)?;
        head.hints = self.hints(s.from.uses, &s.from.directives)?;
        let filter = s.filter.map(|e| self.expr(e, Scope::fields("WHERE"))).transpose()?;
        let tail = self.tail(s.tail, Scope::fields("ORDER BY"))?;
        let returning = self.returning(s.returning, &s.from.target)?;
        let search = Search::documents(filter.as_ref(), &tail);
        let choice = Choice { head, filter, tail, search };
        Ok(RemoveTemplate { choice, returning })
    }

    /// RETURNING is a SELECT over the documents that the statement is about.
    fn returning(
        &mut self,
        returning: Option<ast::Returning>,
        target: &ast::Target,
    ) -> Result<Option<Arc<SelectTemplate>>, DqlError> {
        let Some(ast::Returning { projection, span }) = returning else { return Ok(None) };
        let from =
            ast::FromTerm { target: target.clone(), alias: None, uses: Vec::new(), directives: Vec::new() };
        let select = ast::Select {
            span,
            distinct: None,
            projection,
            from,
            joins: Vec::new(),
            filter: None,
            group_by: None,
            having: None,
            tail: ast::Tail::default(),
        };
        self.inner_select(select).map(Some)
    }
}

/// The path that a change of `path` would modify a second time: `path` itself, one above it that was changed, or `path`
/// when something below was changed.
fn modified_before(seen: &BTreeSet<Vec<SmolStr>>, path: &[SmolStr]) -> Option<Path> {
    let above = (1..=path.len()).filter_map(|n| path.get(..n)).find(|p| seen.contains(*p));
    // What lies below a path comes right after it in the order of the set.
    let below = || seen.range(path.to_vec()..).next().filter(|p| p.starts_with(path)).map(|_| path);
    above.or_else(below).map(|names| Path::new(names.iter().cloned()))
}
