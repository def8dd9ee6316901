//! What binding a statement to its arguments needs from outside, and what every bound plan holds.

use std::sync::Arc;

use ditto_types::ErrorKind;

use crate::access::access;
use crate::catalog::{Catalog, CollectionRef, NoIndexes};
use crate::decl::TypeDecls;
use crate::directives::{Directives, NO_DIRECTIVES};
use crate::env::{Bound, Env};
use crate::error::DqlError;
use crate::eval::Cx;
use crate::plan::{Head, TailTemplate};
use crate::scalar::Scalar;
use crate::sort::Window;
use crate::source::{Access, Needs, TermScan};

/// What a statement is bound in.
#[derive(Clone)]
pub struct BindContext<'a> {
    /// The indexes that may be used.
    pub catalog: &'a dyn Catalog,
    /// Strict mode (`DQL_STRICT_MODE`).
    pub strict: bool,
    /// Default directives; those of the statement override them.
    pub directives: &'a Directives,
    /// Time and request.
    pub env: Arc<Env>,
}

impl BindContext<'static> {
    /// No indexes, not strict, no directives, time 0: for queries that are matched and not run.
    pub fn bare() -> Self {
        Self { catalog: &NoIndexes, strict: false, directives: &NO_DIRECTIVES, env: Arc::default() }
    }
}

/// The parts of a template that choose documents.
pub(crate) trait Selecting {
    fn head(&self) -> &Head;
    fn filter(&self) -> Option<&Scalar>;
    fn tail(&self) -> &TailTemplate;
}

/// A template with its arguments and what follows from them.
#[derive(Debug)]
pub(crate) struct Chosen<T> {
    pub(crate) template: Arc<T>,
    pub(crate) bound: Bound,
    pub(crate) strict: bool,
    pub(crate) access: Access,
    pub(crate) window: Window,
}

/// Not derived, since that would ask for `T: Clone`.
impl<T> Clone for Chosen<T> {
    fn clone(&self) -> Self {
        Self {
            template: self.template.clone(),
            bound: self.bound.clone(),
            strict: self.strict,
            access: self.access.clone(),
            window: self.window,
        }
    }
}

impl<T: Selecting> Chosen<T> {
    pub(crate) fn new(template: Arc<T>, bound: Bound, context: &BindContext<'_>) -> Result<Self, DqlError> {
        let access = access(template.filter(), &Cx::constant(&bound))?;
        let window = template.tail().window(&bound, ErrorKind::QueryArguments)?;
        Ok(Self { access, window, strict: context.strict, template, bound })
    }

    pub(crate) fn collection(&self) -> &CollectionRef {
        &self.template.head().collection
    }

    pub(crate) fn declared(&self) -> &TypeDecls {
        &self.template.head().declared
    }

    /// The pass over the documents.
    pub(crate) fn scan(&self) -> TermScan<'_> {
        TermScan {
            collection: self.collection(),
            access: &self.access,
            declared: self.declared(),
            strict: self.strict,
            needs: Needs::Document,
        }
    }
}
