//! What binding a statement to its arguments needs from outside, and what every bound plan holds.

use std::sync::Arc;

use ditto_types::{ErrorKind, SmolStr};

use crate::catalog::{Catalog, CollectionRef, IndexDef, Namespace, NoIndexes};
use crate::decl::TypeDecls;
use crate::directives::{Directives, NO_DIRECTIVES};
use crate::env::{Bound, Env};
use crate::error::DqlError;
use crate::eval::Cx;
use crate::plan::{Choice, Head, Search};
use crate::planner::{IdTest, Limits, Route, Wish};
use crate::sort::Window;
use crate::source::{Access, Condition, Needs, RowFilter, TermScan};

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

/// A template of a statement that chooses documents.
pub(crate) trait Selecting: std::fmt::Debug + Send + Sync {
    fn choice(&self) -> &Choice;
    /// Whether WHERE is about the rows of the first term alone.
    fn tests_rows(&self) -> bool {
        self.choice().filter.is_some()
    }
    /// Whether the rows are made into others before they are ordered and cut.
    fn regroups(&self) -> bool {
        false
    }
}

/// A template with its arguments and what follows from them.
#[derive(Debug)]
pub(crate) struct Chosen<T> {
    pub(crate) template: Arc<T>,
    pub(crate) bound: Bound,
    pub(crate) strict: bool,
    pub(crate) limits: Limits,
    pub(crate) route: Route,
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
            limits: self.limits,
            route: self.route.clone(),
            access: self.access.clone(),
            window: self.window,
        }
    }
}

impl<T: Selecting + 'static> Condition for Chosen<T> {
    fn to_filter(&self) -> RowFilter {
        RowFilter::new(self.template.clone(), self.bound.clone())
    }
}

impl<T: Selecting + 'static> Chosen<T> {
    pub(crate) fn new(template: Arc<T>, bound: Bound, context: &BindContext<'_>) -> Result<Self, DqlError> {
        let Choice { head, tail, search, .. } = template.choice();
        let window = tail.window(&bound, ErrorKind::QueryArguments)?;
        let limits = Limits::of(&[&head.hints.directives, context.directives]);
        let limited = window.limit.is_some() && !template.regroups();
        let route = route(head, search, limited, &limits, context);
        let access = route.open(&Cx::constant(&bound), &limits)?;
        Ok(Self { access, route, limits, window, strict: context.strict, template, bound })
    }

    pub(crate) fn collection(&self) -> &CollectionRef {
        &self.template.choice().head.collection
    }

    pub(crate) fn declared(&self) -> &TypeDecls {
        &self.template.choice().head.declared
    }

    /// Whether the rows come in the order of ORDER BY.
    pub(crate) fn is_ordered(&self) -> bool {
        !self.template.regroups() && matches!(&self.route, Route::Index(i) if i.ordered)
    }

    /// The directions of the keys that the rows still have to be sorted by.
    pub(crate) fn sorting(&self) -> Vec<bool> {
        if self.is_ordered() { Vec::new() } else { self.template.choice().tail.descending() }
    }

    /// Rows after which nothing can change any more, if all fulfil the conditions.
    fn enough(&self) -> Option<usize> {
        let sorts = !self.is_ordered() && !self.template.choice().tail.order.is_empty();
        let limit = self.window.limit.filter(|_| !sorts && !self.template.regroups())?;
        usize::try_from(limit.saturating_add(self.window.offset)).ok()
    }

    /// The pass over the documents.
    pub(crate) fn scan(&self) -> TermScan<'_> {
        TermScan {
            collection: self.collection(),
            access: &self.access,
            declared: self.declared(),
            strict: self.strict,
            needs: needs(&self.template.choice().search),
            enough: self.enough(),
            filter: self.template.tests_rows().then_some(self as &dyn Condition),
        }
    }
}

/// What a term reads, for its source.
pub(crate) fn needs(search: &Search) -> Needs<'_> {
    search.needs.as_deref().map_or(Needs::Document, Needs::Paths)
}

/// The access path of a term of FROM.
pub(crate) fn route(
    head: &Head,
    search: &Search,
    limited: bool,
    limits: &Limits,
    context: &BindContext<'_>,
) -> Route {
    if let Some(ids) = &head.hints.ids {
        return Route::Ids(IdTest::Written(ids.clone()));
    }
    first_route(head, context, |indexes| {
        let (condition, order) = (&search.condition, &search.order);
        Wish { condition, indexes, order, limited, needs: search.needs.as_deref(), limits }.choose()
    })
}

/// The access path among the indexes that directives name. Names that are of no use are ignored (dql.md 12): when none of them
/// is, it is the one among all indexes.
pub(crate) fn first_route(
    head: &Head,
    context: &BindContext<'_>,
    choose: impl Fn(&[Arc<IndexDef>]) -> Route,
) -> Route {
    let all = usable_indexes(head, context);
    let Some(names) = index_hint(head, context) else { return choose(&all) };
    let named: Vec<_> = all.iter().filter(|i| names.contains(&i.name)).cloned().collect();
    match choose(&named) {
        Route::Scan if !names.is_empty() => choose(&all),
        route => route,
    }
}

/// The indexes that may serve a term.
fn usable_indexes(head: &Head, context: &BindContext<'_>) -> Vec<Arc<IndexDef>> {
    if head.collection.namespace != Namespace::Default {
        return Vec::new();
    }
    let mut indexes = context.catalog.indexes(&head.collection.name);
    indexes.retain(|index| index.serves(&head.declared, context.strict));
    indexes
}

/// The indexes to which directives restrict a term: its own, those of the statement, the defaults.
pub(crate) fn index_hint<'a>(head: &'a Head, context: &BindContext<'a>) -> Option<&'a [SmolStr]> {
    let of = |d: &'a Directives| d.index.get(&head.name).or_else(|| d.index.get(&head.collection.name));
    let hint = head.hints.indexes.as_ref().or_else(|| of(&head.hints.directives));
    hint.or_else(|| of(context.directives)).map(Vec::as_slice)
}
