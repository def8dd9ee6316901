//! SELECT: its template and plan. How it runs is in `exec`.

use std::sync::Arc;

use ditto_types::{ErrorKind, Path, SmolStr};

use super::{Choice, Head, Search, chosen_accessors};
use crate::aggregate::Aggregate;
use crate::bind::{BindContext, Chosen, Selecting, first_route, index_hint, route};
use crate::catalog::{CollectionRef, Namespace};
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::{RunContext, is_whole, project};
use crate::item::Item;
use crate::items::Items;
use crate::planner::{Cond, Route, Wish};
use crate::scalar::Scalar;
use crate::sort::Window;
use crate::source::{Access, Row, Source, TermScan};
use crate::truth::Truth;

#[derive(Clone, Debug)]
pub(crate) struct SelectTemplate {
    /// The first term of FROM, WHERE, and ORDER BY with LIMIT and OFFSET.
    pub(crate) choice: Choice,
    /// The terms behind it, in the order in which they are visited: numbers 1 and on.
    pub(crate) joins: Vec<JoinTemplate>,
    /// With joins: the conditions of which WHERE is the conjunction, by the last term that each one needs.
    pub(crate) filters: Vec<Vec<Scalar>>,
    pub(crate) output: Output,
    pub(crate) distinct: bool,
    pub(crate) grouping: Option<Grouping>,
}

/// A joined term.
#[derive(Clone, Debug)]
pub(crate) struct JoinTemplate {
    pub(crate) head: Head,
    pub(crate) on: Scalar,
    /// LEFT JOIN: a row without partner stays.
    pub(crate) outer: bool,
    /// What ON alone says about the term: there must be an access path for it.
    pub(crate) rule: Cond,
    pub(crate) search: Search,
}

/// With grouping, the expressions of output, HAVING and ORDER BY read slots: the keys, then the aggregates.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub(crate) keys: Vec<Scalar>,
    /// Whether GROUP BY was written; without it there is one group, also over no rows.
    pub(crate) explicit: bool,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) having: Option<Scalar>,
}

#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// `*`
    Wildcard,
    Items(Vec<OutputItem>),
}

#[derive(Clone, Debug)]
pub(crate) enum OutputItem {
    /// `c.*`: all fields of a term.
    Spread(usize),
    /// `MISSING path`: takes a field out again.
    Remove(Path),
    Value(SmolStr, Scalar),
}

impl Selecting for SelectTemplate {
    fn choice(&self) -> &Choice {
        &self.choice
    }

    fn tests_rows(&self) -> bool {
        self.joins.is_empty() && self.choice.filter.is_some()
    }

    fn regroups(&self) -> bool {
        self.grouping.is_some()
    }
}

impl SelectTemplate {
    /// Whether only the number of documents is wanted, so that no document has to be looked at.
    pub(crate) fn is_count(&self) -> bool {
        let counts = self.grouping.as_ref().is_some_and(|g| {
            g.keys.is_empty() && !g.explicit && g.aggregates.iter().all(Aggregate::is_count_of_rows)
        });
        self.choice.keeps_all() && counts && self.joins.is_empty() && self.choice.head.hints.ids.is_none()
    }

    /// The terms with what is looked for in each.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&Head, &Search)> {
        std::iter::once((&self.choice.head, &self.choice.search))
            .chain(self.joins.iter().map(|j| (&j.head, &j.search)))
    }

    /// The terms in the order of their numbers.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        std::iter::once(&self.choice.head).chain(self.joins.iter().map(|j| &j.head))
    }
}

/// A bound SELECT.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    pub(crate) chosen: Chosen<SelectTemplate>,
    /// Access paths of the joined terms, whose values are known when the rows before them are.
    pub(crate) inner: Arc<[Route]>,
}

impl SelectPlan {
    pub(crate) fn bind(
        template: Arc<SelectTemplate>,
        bound: Bound,
        context: &BindContext<'_>,
    ) -> Result<Self, DqlError> {
        let chosen = Chosen::new(template, bound, context)?;
        let inner = joined(&chosen, context)?;
        Ok(Self { chosen, inner })
    }

    /// The collections that it reads, in the order of FROM as it is carried out.
    pub fn collections(&self) -> impl Iterator<Item = &CollectionRef> {
        self.template().heads().map(|h| &h.collection)
    }

    /// Whether rows of several terms are joined.
    pub fn is_join(&self) -> bool {
        !self.template().joins.is_empty()
    }

    /// Whether the answer is the number of documents, which [`Source::count`] knows.
    pub fn is_count(&self) -> bool {
        self.template().is_count()
    }

    /// Whether LIMIT or OFFSET leave out rows that match.
    pub fn is_cut(&self) -> bool {
        self.chosen.window.limit.is_some() || self.chosen.window.offset > 0
    }

    /// The access paths, one for each term: whether each is a single read of the source is for the caller to see.
    pub fn is_single_scan(&self) -> bool {
        !self.is_join() && matches!(self.chosen.access, Access::Scan)
    }

    pub(super) fn template(&self) -> &SelectTemplate {
        &self.chosen.template
    }

    pub(super) fn filter(&self) -> Option<&Scalar> {
        self.template().choice.filter.as_ref()
    }

    /// Whether fields are read as certain kinds and not as what was written last.
    pub fn reads_by_kind(&self) -> bool {
        self.chosen.strict || !self.declared().is_empty()
    }

    pub(super) fn window(&self) -> Window {
        self.chosen.window
    }

    /// How many of the ordered rows can be in the result, counting those before OFFSET; `None` for all.
    pub(super) fn wanted(&self) -> Option<usize> {
        let n = self.chosen.window.limit?.saturating_add(self.chosen.window.offset);
        Some(usize::try_from(n).unwrap_or(usize::MAX))
    }

    pub(super) fn scan(&self) -> TermScan<'_> {
        self.chosen.scan()
    }

    /// The row of the result that `row` makes, without grouping.
    pub(super) fn item(&self, row: &dyn Row) -> Result<Item, DqlError> {
        match &self.template().output {
            output if is_whole(output) => Ok(row.capture()),
            output => Ok(Item::Value(project(output, &[], &Cx::row(row, self.bound()))?)),
        }
    }

    pub(super) fn bound(&self) -> &Bound {
        &self.chosen.bound
    }

    /// Whether WHERE is exactly true for `row`, which without WHERE it is, and USE IDS names it.
    pub fn matches(&self, row: &dyn Row) -> Result<bool, DqlError> {
        if let (Some(_), Access::Ids(ids)) = (&self.template().choice.head.hints.ids, self.access())
            && ids.binary_search(row.id()).is_err()
        {
            return Ok(false);
        }
        match self.filter() {
            None => Ok(true),
            Some(f) => Ok(f.test(&Cx::row(row, &self.chosen.bound))? == Truth::True),
        }
    }

    /// Whether every document matches: there is no WHERE, or `WHERE true`.
    pub fn is_whole_collection(&self) -> bool {
        self.template().choice.keeps_all()
    }

    /// Runs it on a snapshot.
    ///
    /// # Errors
    ///
    /// Those of the source and of the interrupt; [`ErrorKind::SizeLimitExceeded`] for an expression that builds too
    /// much, and for more than [`MAX_BUFFER_BYTES`](crate::MAX_BUFFER_BYTES) that have to be held.
    pub fn run<S: Source>(&self, source: &S, cx: &RunContext<'_>) -> Result<Items, S::Error> {
        let (items, stats) = crate::exec::select(self, source, cx)?;
        if let Some(profiler) = cx.profiler {
            profiler.report(stats);
        }
        Ok(items)
    }
}

chosen_accessors!(SelectPlan);

/// Chooses access paths for the joined terms; each needs one that ON gives, unless a scan is asked for.
fn joined(chosen: &Chosen<SelectTemplate>, context: &BindContext<'_>) -> Result<Arc<[Route]>, DqlError> {
    let template = &*chosen.template;
    if template.joins.is_empty() {
        return Ok(Arc::default());
    }
    let text = &chosen.bound.text;
    if let Some(join) = template.joins.get(chosen.limits.max_joins) {
        let message = "Too many joins: the number of joined terms exceeds the maximum permitted.";
        return Err(DqlError::at(ErrorKind::QueryInvalid, message, text, join.head.at.0));
    }
    let mut out = Vec::with_capacity(template.joins.len());
    let mut limits = chosen.limits;
    let mut left = limits.max_scans.saturating_sub(chosen.route.scans());
    for join in &template.joins {
        // The bound is one of the statement, but a join without an index would not run at all: what it needs it may have.
        limits.max_scans = left.max(1).min(chosen.limits.max_scans);
        let mut route = self::route(&join.head, &join.search, false, &limits, context);
        if matches!(route, Route::Scan) && left < chosen.limits.max_scans {
            route = self::route(&join.head, &join.search, false, &chosen.limits, context);
        }
        left = left.saturating_sub(route.scans());
        if !is_supported(join, &route, chosen, context) {
            let message = format!(
                "Joining to \"{}\" disallowed without appropriate index support. Please run ADVISE for recommendations.",
                join.head.name
            );
            return Err(DqlError::at(ErrorKind::QueryInvalid, message, text, join.head.at.0));
        }
        out.push(route);
    }
    Ok(out.into())
}

fn is_supported(
    join: &JoinTemplate,
    route: &Route,
    chosen: &Chosen<SelectTemplate>,
    context: &BindContext<'_>,
) -> bool {
    // System collections are small and have no indexes.
    let free = join.head.hints.ids.is_some() || join.head.collection.namespace == Namespace::System;
    if free || index_hint(&join.head, context).is_some_and(<[_]>::is_empty) {
        return true;
    }
    if matches!(route, Route::Scan) {
        return false;
    }
    let (condition, limits) = (&join.rule, &chosen.limits);
    let by_rule = first_route(&join.head, context, |indexes| {
        Wish { condition, indexes, order: &[], limited: false, needs: None, limits }.choose()
    });
    !matches!(by_rule, Route::Scan)
}
