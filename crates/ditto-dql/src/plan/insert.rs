//! INSERT.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_types::{DocId, ErrorKind, MAX_DEPTH, Object, Value};

use super::{ConflictPolicy, Head, check_kind, shown};
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::scalar::{At, Scalar};

#[derive(Clone, Debug)]
pub(crate) struct InsertTemplate {
    pub(crate) head: Head,
    pub(crate) documents: Vec<(Scalar, At)>,
    pub(crate) policy: ConflictPolicy,
    pub(crate) initial: bool,
}

/// A bound INSERT.
#[derive(Clone, Debug)]
pub struct InsertPlan {
    template: Arc<InsertTemplate>,
    bound: Bound,
}

impl InsertPlan {
    pub(crate) fn bind(template: Arc<InsertTemplate>, bound: Bound) -> Self {
        Self { template, bound }
    }

    /// Name of the collection.
    pub fn collection(&self) -> &str {
        &self.template.head.collection.name
    }

    /// What to do with a document that exists.
    pub fn policy(&self) -> ConflictPolicy {
        self.template.policy
    }

    /// Whether the documents are written at time zero.
    pub fn is_initial(&self) -> bool {
        self.template.initial
    }

    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        &self.template.head.declared
    }

    /// The documents in the order written; each may lack `_id`.
    ///
    /// # Errors
    ///
    /// A document that is no object or is nested too deeply, an `_id` that is not allowed or occurs twice, a value that
    /// does not fit the declared kind of its field.
    pub fn documents(&self) -> Result<Vec<Object>, DqlError> {
        let mut out = Vec::new();
        let mut ids = BTreeSet::new();
        for (e, at) in &self.template.documents {
            // Each document has its own budget.
            let cx = Cx::constant(&self.bound);
            let value = e.eval(&cx)?;
            match value.map(|v| v.into_owned()) {
                Some(Value::Object(o)) => self.add(o, *at, &cx, &mut ids, &mut out)?,
                Some(Value::Array(items)) => {
                    for item in items {
                        match item {
                            Value::Object(o) => self.add(o, *at, &cx, &mut ids, &mut out)?,
                            other => return no_document(Some(&other), *at, &cx),
                        }
                    }
                }
                other => return no_document(other.as_ref(), *at, &cx),
            }
        }
        Ok(out)
    }

    fn add(
        &self,
        document: Object,
        at: At,
        cx: &Cx<'_>,
        ids: &mut BTreeSet<DocId>,
        out: &mut Vec<Object>,
    ) -> Result<(), DqlError> {
        if document.values().any(|v| v.depth() >= MAX_DEPTH) {
            let message = format!("document is nested deeper than {MAX_DEPTH} levels");
            return cx.fail(ErrorKind::DepthLimitExceeded, message, at);
        }
        if let Some(id) = document.get("_id") {
            let id = DocId::new(id);
            let id = id.or_else(|e| cx.fail(ErrorKind::DocumentId, e.to_string(), at))?;
            if !ids.insert(id) {
                return cx.fail(ErrorKind::QueryExecution, "Expected unique document identifiers", at);
            }
        }
        check_fields(&document, self.declared(), at, cx)?;
        out.push(document);
        Ok(())
    }
}

fn no_document<T>(v: Option<&Value>, at: At, cx: &Cx<'_>) -> Result<T, DqlError> {
    let message = format!("expected a document or an array of documents, found {}", shown(v));
    cx.fail(ErrorKind::QueryEvaluation, message, at)
}

/// Checks the declared fields that the object has. Declarations are few, so they lead.
pub(super) fn check_fields(o: &Object, declared: &TypeDecls, at: At, cx: &Cx<'_>) -> Result<(), DqlError> {
    for (name, kind, below) in declared.iter() {
        let Some(v) = o.get(name) else { continue };
        check_kind(v, kind, at, cx)?;
        if let Value::Object(inner) = v {
            check_fields(inner, below, at, cx)?;
        }
    }
    Ok(())
}
