//! CREATE INDEX, DROP INDEX, ALTER SYSTEM, SHOW, and the deletion of the request history.

use ditto_types::{Path, SmolStr};

use super::Lower;
use super::expr::Scope;
use crate::ast;
use crate::catalog::{IndexKey, MAX_INDEX_KEYS};
use crate::error::DqlError;
use crate::lexer::Span;
use crate::plan::{AlterTemplate, CreateIndexPlan, DropIndexPlan, ShowPlan};
use crate::scalar::At;

/// Longest name of an index, in characters.
const MAX_INDEX_NAME: usize = 255;

/// The collection in the namespace `system` from which DELETE without conditions is possible, and its other name.
const HISTORY: [&str; 2] = ["request_history", "completed_requests"];

impl Lower<'_> {
    pub(super) fn create_index(&mut self, s: ast::CreateIndex) -> Result<CreateIndexPlan, DqlError> {
        let collection = self.indexed(&s.target)?;
        let name = self.index_name(&s.name)?;
        if let Some(key) = s.keys.get(MAX_INDEX_KEYS) {
            return self.fail(format!("an index of more than {MAX_INDEX_KEYS} keys"), start_of(&key.path));
        }
        let mut keys: Vec<IndexKey> = Vec::with_capacity(s.keys.len());
        for key in s.keys {
            let path = Path::from(self.field(&key.path));
            if path.is_empty() {
                return self.fail("a document as a whole cannot be the key of an index", start_of(&key.path));
            }
            if keys.iter().any(|k| k.path == path) {
                return self.fail(format!("{path} is a key of the index twice"), start_of(&key.path));
            }
            keys.push(IndexKey { path, descending: key.descending, include_missing: key.include_missing });
        }
        Ok(CreateIndexPlan { collection, name, if_absent: s.if_absent, keys })
    }

    pub(super) fn drop_index(&mut self, s: ast::DropIndex) -> Result<DropIndexPlan, DqlError> {
        let collection = self.indexed(&s.target)?;
        Ok(DropIndexPlan { collection, name: self.index_name(&s.name)?, if_present: s.if_present })
    }

    /// The collection of an index.
    fn indexed(&mut self, target: &ast::Target) -> Result<SmolStr, DqlError> {
        if let Some(namespace) = target.namespace.as_ref().filter(|n| n.text == "system") {
            return self.unsupported("an index on a system collection", namespace.span);
        }
        Ok(self.head(target, None, true)?.collection.name)
    }

    fn index_name(&self, name: &ast::Name) -> Result<SmolStr, DqlError> {
        if name.text.chars().count() > MAX_INDEX_NAME || name.text.contains('\0') {
            let message = format!(
                "the name of an index cannot be longer than {MAX_INDEX_NAME} characters or hold a zero character"
            );
            return self.fail(message, name.span);
        }
        Ok(name.text.clone())
    }

    pub(super) fn alter_system(&mut self, s: ast::AlterSystem) -> Result<AlterTemplate, DqlError> {
        Ok(match s {
            ast::AlterSystem::Set(name, Some(value)) => {
                let at = At(value.span.start as usize);
                let scope = Scope::constant("ALTER SYSTEM", "a setting cannot depend on fields");
                AlterTemplate::Set(name.text, self.expr(value, scope)?, at)
            }
            ast::AlterSystem::Set(name, None) | ast::AlterSystem::Reset(name) => {
                AlterTemplate::Reset(name.text)
            }
            ast::AlterSystem::ResetAll => AlterTemplate::ResetAll,
        })
    }

    /// Whether a DELETE is the one that clears the request history. It has no conditions.
    pub(super) fn clears_history(&self, s: &ast::Remove) -> Result<bool, DqlError> {
        let target = &s.from.target;
        let history = target.namespace.as_ref().is_some_and(|n| n.text == "system")
            && HISTORY.contains(&target.collection.text.as_str());
        if !history || s.evict {
            return Ok(false);
        }
        let ast::Remove { from, filter, tail, returning, .. } = s;
        let clause = filter
            .as_ref()
            .map(|f| f.span)
            .or(tail.order_by.as_ref().map(|o| o.span))
            .or(tail.limit.as_ref().map(|(_, span)| *span))
            .or(tail.offset.as_ref().map(|(_, span)| *span))
            .or(returning.as_ref().map(|r| r.span))
            .or(from.target.types.first().map(|t| t.name.span))
            .or((!from.uses.is_empty()).then_some(target.collection.span));
        match clause {
            Some(span) => self.unsupported("deleting a part of the request history", span),
            None => Ok(true),
        }
    }
}

pub(super) fn show(s: ast::Show) -> ShowPlan {
    match s {
        ast::Show::One(name) => ShowPlan::One(name.text),
        ast::Show::All(None) => ShowPlan::All,
        ast::Show::All(Some(ast::ShowFilter { pattern, fold_case })) => ShowPlan::Like { pattern, fold_case },
    }
}

fn start_of(path: &[ast::Name]) -> Span {
    path.first().map_or(Span::default(), |n| n.span)
}
