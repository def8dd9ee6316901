//! Choice of the documents of UPDATE, DELETE and EVICT.

use std::sync::Arc;

use ditto_types::{DocId, ErrorKind, Value};

use super::{Access, Head, Row, TailTemplate};
use crate::access::access;
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::scalar::Scalar;
use crate::sort::{Sorter, Window};
use crate::truth::Truth;

#[derive(Clone, Debug)]
pub(crate) struct RemoveTemplate {
    pub(crate) head: Head,
    pub(crate) filter: Option<Scalar>,
    pub(crate) tail: TailTemplate,
}

/// A bound DELETE or EVICT.
#[derive(Clone, Debug)]
pub struct DeletePlan {
    template: Arc<RemoveTemplate>,
    bound: Bound,
    access: Access,
    window: Window,
}

impl DeletePlan {
    pub(crate) fn bind(template: Arc<RemoveTemplate>, bound: Bound) -> Result<Self, DqlError> {
        let access = access(template.filter.as_ref(), &Cx::constant(&bound))?;
        let window = template.tail.window(&bound, ErrorKind::QueryArguments)?;
        Ok(Self { access, window, template, bound })
    }

    /// Name of the collection.
    pub fn collection(&self) -> &str {
        &self.template.head.collection
    }

    /// Where the rows come from.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Declared field kinds: a declared field is read as its kind.
    pub fn declared(&self) -> &TypeDecls {
        &self.template.head.declared
    }

    /// Whether all documents of the collection go: no WHERE and no LIMIT or OFFSET.
    pub fn is_whole_collection(&self) -> bool {
        matches!(self.template.filter, None | Some(Scalar::Const(Value::Bool(true))))
            && self.window == Window::default()
    }

    /// Starts choosing documents.
    pub fn targets(&self) -> TargetRun<'_> {
        let t = &*self.template;
        TargetRun::new(t.filter.as_ref(), &t.tail, &self.bound, self.window)
    }
}

/// Choice of the documents of a mutation: WHERE, ORDER BY, LIMIT, OFFSET.
pub struct TargetRun<'a> {
    filter: Option<&'a Scalar>,
    tail: &'a TailTemplate,
    bound: &'a Bound,
    ids: Sorter<DocId>,
}

impl<'a> TargetRun<'a> {
    pub(crate) fn new(
        filter: Option<&'a Scalar>,
        tail: &'a TailTemplate,
        bound: &'a Bound,
        window: Window,
    ) -> Self {
        Self { filter, tail, bound, ids: Sorter::new(tail.descending(), window) }
    }

    /// Offers a document, which counts if WHERE is true for it. `false` means that no more are needed.
    pub fn push(&mut self, id: DocId, row: &dyn Row) -> Result<bool, DqlError> {
        if !self.ids.wants_more() {
            return Ok(false);
        }
        let cx = Cx::row(row, self.bound);
        let matches = match self.filter {
            None => true,
            Some(f) => f.test(&cx)? == Truth::True,
        };
        if matches {
            self.ids.push(self.tail.keys(&cx)?, id);
        }
        Ok(self.ids.wants_more())
    }

    /// The chosen documents, in order.
    pub fn finish(self) -> Vec<DocId> {
        self.ids.finish()
    }
}
