//! Name resolution and static checks: the parsed statement becomes a template that arguments are bound to.

mod expr;
mod hints;
mod read;
mod search;
mod system;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_types::{ErrorKind, SmolStr};

use crate::aggregate::Aggregate;
use crate::ast::{self, Body, Statement};
use crate::catalog::{CollectionRef, Namespace, SYSTEM_COLLECTIONS};
use crate::decl::TypeDecls;
use crate::error::DqlError;
use crate::lexer::Span;
use crate::plan::{
    AlterTemplate, Choice, CreateIndexPlan, DropIndexPlan, Head, Hints, InsertTemplate, RemoveTemplate,
    SelectTemplate, ShowPlan, UpdateTemplate,
};
use crate::scalar::{At, Scalar};
use system::show;

/// Longest name of a collection, in characters.
const MAX_COLLECTION_NAME: usize = 99;

/// A checked statement without arguments.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Select(Arc<SelectTemplate>),
    Insert(Arc<InsertTemplate>),
    Update(Arc<UpdateTemplate>),
    Delete(Arc<RemoveTemplate>),
    Evict(Arc<RemoveTemplate>),
    CreateIndex(Arc<CreateIndexPlan>),
    DropIndex(Arc<DropIndexPlan>),
    AlterSystem(Arc<AlterTemplate>),
    Show(Arc<ShowPlan>),
    ClearHistory,
}

impl Template {
    /// How it chooses documents, if it does; INSERT of rows has a SELECT that does.
    pub(crate) fn choice(&self) -> Option<&Choice> {
        match self {
            Template::Select(t) => Some(&t.choice),
            Template::Update(t) => Some(&t.choice),
            Template::Delete(t) | Template::Evict(t) => Some(&t.choice),
            _ => None,
        }
    }
}

/// A checked statement with what its execution needs to know.
pub(crate) struct Lowered {
    pub(crate) prefix: Option<ast::PrefixKind>,
    pub(crate) template: Template,
    /// Parameters with the indexes of [`Scalar::Param`].
    pub(crate) params: BTreeMap<SmolStr, usize>,
    /// Number of [`Memo`](crate::scalar::Memo).
    pub(crate) memos: usize,
}

/// Resolves a statement.
pub(crate) fn lower(text: &Arc<str>, statement: Statement) -> Result<Lowered, DqlError> {
    let mut l = Lower::new(text);
    l.directives = statement.directives;
    let template = match statement.body {
        Body::Select(s) => Template::Select(Arc::new(l.select(*s)?)),
        Body::Insert(s) => Template::Insert(Arc::new(l.insert(*s)?)),
        Body::Update(s) => Template::Update(Arc::new(l.update(*s)?)),
        Body::Remove(s) if l.clears_history(&s)? => Template::ClearHistory,
        Body::Remove(s) => {
            let evict = s.evict;
            let t = Arc::new(l.remove(*s)?);
            if evict { Template::Evict(t) } else { Template::Delete(t) }
        }
        Body::CreateIndex(s) => Template::CreateIndex(Arc::new(l.create_index(s)?)),
        Body::DropIndex(s) => Template::DropIndex(Arc::new(l.drop_index(s)?)),
        Body::AlterSystem(s) => Template::AlterSystem(Arc::new(l.alter_system(s)?)),
        Body::Show(s) => Template::Show(Arc::new(show(s))),
    };
    Ok(Lowered { prefix: statement.prefix.map(|p| p.kind), template, params: l.params, memos: l.memos })
}

struct Lower<'t> {
    text: &'t Arc<str>,
    /// Directive comments for the whole statement.
    directives: Vec<ast::Directive>,
    /// What qualifies a field of each term of FROM: its alias, or else its collection.
    terms: Vec<SmolStr>,
    /// Variables of the quantifiers and transforms around, outermost first.
    locals: Vec<expr::Local>,
    /// Number of [`Memo`](crate::scalar::Memo) so far.
    memos: usize,
    params: BTreeMap<SmolStr, usize>,
    /// Aggregates seen so far, each once.
    aggregates: Vec<Aggregate>,
    /// Names given in the projection, for ORDER BY.
    aliases: Vec<(SmolStr, Scalar)>,
}

impl<'t> Lower<'t> {
    fn new(text: &'t Arc<str>) -> Self {
        Self {
            text,
            directives: Vec::new(),
            terms: Vec::new(),
            locals: Vec::new(),
            memos: 0,
            params: BTreeMap::new(),
            aggregates: Vec::new(),
            aliases: Vec::new(),
        }
    }

    /// Resolves a SELECT inside of another statement. What they share is what belongs to one execution.
    fn inner_select(&mut self, s: ast::Select) -> Result<Arc<SelectTemplate>, DqlError> {
        let params = std::mem::take(&mut self.params);
        let directives = self.directives.clone();
        let mut inner = Lower { params, directives, memos: self.memos, ..Lower::new(self.text) };
        let template = inner.select(s);
        (self.params, self.memos) = (inner.params, inner.memos);
        Ok(Arc::new(template?))
    }

    fn head(
        &mut self,
        target: &ast::Target,
        alias: Option<&ast::Name>,
        write: bool,
    ) -> Result<Head, DqlError> {
        let name = &target.collection;
        let mut namespace = Namespace::Default;
        match target.namespace.as_ref().map(|n| (n.text.as_str(), n.span)) {
            None | Some(("default", _)) => {}
            Some(("system", span)) if write => {
                return self.unsupported("writing to a system collection", span);
            }
            Some(("system", _)) => {
                if !SYSTEM_COLLECTIONS.contains(&name.text.as_str()) {
                    return self.fail(format!("unknown system collection 'system:{}'", name.text), name.span);
                }
                namespace = Namespace::System;
            }
            Some((other, span)) => return self.fail(format!("unknown namespace {other:?}"), span),
        }
        let text = name.text.as_str();
        if text.chars().count() > MAX_COLLECTION_NAME {
            let message =
                format!("the name of a collection cannot be longer than {MAX_COLLECTION_NAME} characters");
            return self.fail(message, name.span);
        }
        if text.contains('\0') || text.starts_with("$TS_") {
            return self.fail(format!("{text:?} cannot be the name of a collection"), name.span);
        }
        if write && text.starts_with("__") {
            return self.unsupported("writing to an internal collection", name.span);
        }
        let alias = alias.unwrap_or(name);
        if self.terms.contains(&alias.text) {
            return self.fail(format!("{} stands for more than one term of FROM", alias.text), alias.span);
        }
        self.terms.push(alias.text.clone());
        Ok(Head {
            name: alias.text.clone(),
            hints: Hints::default(),
            at: At(name.span.start as usize),
            collection: CollectionRef { namespace, name: name.text.clone() },
            declared: self.type_decls(&target.types)?,
        })
    }

    fn type_decls(&self, defs: &[ast::TypeDef]) -> Result<TypeDecls, DqlError> {
        let mut out = TypeDecls::default();
        for def in defs {
            let fields = self.type_decls(&def.fields)?;
            if !out.insert(def.name.text.clone(), def.kind, fields) {
                return self.fail(format!("field {:?} is declared twice", def.name.text), def.name.span);
            }
        }
        if let Some(def) = defs.iter().find(|d| d.name.text == "_id") {
            return self.fail("the document id `_id` cannot be declared", def.name.span);
        }
        Ok(out)
    }

    fn fail<T>(&self, message: impl Into<String>, span: Span) -> Result<T, DqlError> {
        Err(DqlError::at(ErrorKind::QueryInvalid, message, self.text, span.start as usize))
    }

    fn unsupported<T>(&self, construct: &str, span: Span) -> Result<T, DqlError> {
        Err(DqlError::unsupported(construct, self.text, span))
    }
}
