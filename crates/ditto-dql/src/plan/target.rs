//! Choice of the documents of UPDATE, DELETE and EVICT.

use std::sync::Arc;

use super::{Choice, SelectPlan, SelectTemplate, chosen_accessors};
use crate::bind::{BindContext, Chosen, Selecting};
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::{Poll, RunContext, RunStats, TermStats, Terms};
use crate::sort::{Sorter, Window};
use crate::source::{Access, Row, Source};
use crate::truth::Truth;

#[derive(Clone, Debug)]
pub(crate) struct RemoveTemplate {
    pub(crate) choice: Choice,
    pub(crate) returning: Option<Arc<SelectTemplate>>,
}

impl Selecting for RemoveTemplate {
    fn choice(&self) -> &Choice {
        &self.choice
    }
}

/// A bound DELETE or EVICT.
#[derive(Clone, Debug)]
pub struct DeletePlan {
    chosen: Chosen<RemoveTemplate>,
    returning: Option<SelectPlan>,
}

impl DeletePlan {
    pub(crate) fn bind(
        template: Arc<RemoveTemplate>,
        bound: Bound,
        context: &BindContext<'_>,
    ) -> Result<Self, DqlError> {
        let returning = returning(template.returning.as_ref(), &bound, context)?;
        Ok(Self { chosen: Chosen::new(template, bound, context)?, returning })
    }

    pub(crate) fn chosen(&self) -> &Chosen<RemoveTemplate> {
        &self.chosen
    }

    /// RETURNING: a SELECT to be run over the removed documents as they were.
    pub fn returning(&self) -> Option<&SelectPlan> {
        self.returning.as_ref()
    }

    /// Whether all documents of the collection go: no WHERE and no LIMIT or OFFSET.
    pub fn is_whole_collection(&self) -> bool {
        self.chosen.template.choice.keeps_all() && self.chosen.window == Window::default()
    }

    /// Chooses the documents, in order, and gives what `keep` makes of each.
    ///
    /// # Errors
    ///
    /// Those of the source, of the interrupt and of `keep`; a condition that builds values that are too large.
    pub fn targets<S: Source, T>(
        &self,
        source: &S,
        cx: &RunContext<'_>,
        keep: impl FnMut(&dyn Row) -> Result<T, S::Error>,
    ) -> Result<Vec<T>, S::Error> {
        targets(&self.chosen, source, cx, keep)
    }
}

chosen_accessors!(DeletePlan);

/// Binds the RETURNING of a mutation.
pub(super) fn returning(
    template: Option<&Arc<SelectTemplate>>,
    bound: &Bound,
    context: &BindContext<'_>,
) -> Result<Option<SelectPlan>, DqlError> {
    template.map(|t| SelectPlan::bind(t.clone(), bound.clone(), context)).transpose()
}

/// Chooses the documents of a mutation: WHERE, ORDER BY, LIMIT, OFFSET.
pub(super) fn targets<P: Selecting + 'static, S: Source, T>(
    chosen: &Chosen<P>,
    source: &S,
    cx: &RunContext<'_>,
    mut keep: impl FnMut(&dyn Row) -> Result<T, S::Error>,
) -> Result<Vec<T>, S::Error> {
    let choice = chosen.template.choice();
    // What an index gives in order is not sorted again.
    let mut rows = Sorter::new(chosen.sorting(), chosen.window);
    let mut poll = Poll::new(cx);
    if !rows.wants_more() {
        return Ok(Vec::new());
    }
    let (mut term, mut stats) = (TermStats::default(), RunStats::default());
    let mut scan = chosen.scan();
    if cx.profiler.is_some() {
        // Rows that WHERE excludes are counted too.
        scan.filter = None;
    }
    let run = cx;
    let mut last = run.nanos();
    source.visit(&scan, &mut |row| {
        poll.row()?;
        let now = run.nanos();
        stats.source_ns += now.saturating_sub(last);
        term.visited += 1;
        let cx = Cx::row(row, &chosen.bound);
        let matches = match &choice.filter {
            None => true,
            Some(f) => f.test(&cx)? == Truth::True,
        };
        if matches {
            term.kept += 1;
            let keys = if rows.sorts() { choice.tail.keys(&cx)? } else { Vec::new() };
            if rows.accepts(&keys) {
                rows.push(keys, keep(row)?, 0)?;
            }
        }
        last = run.nanos();
        stats.rows_ns += last.saturating_sub(now);
        Ok(rows.wants_more())
    })?;
    let before = run.nanos();
    stats.source_ns += before.saturating_sub(last);
    let chosen = rows.finish();
    if let Some(profiler) = run.profiler {
        stats.finish_ns = run.nanos().saturating_sub(before);
        (stats.matched, stats.projected, stats.rows) = (term.kept, term.kept, chosen.len() as u64);
        stats.terms = Terms::new(term, 0);
        profiler.report(stats);
    }
    Ok(chosen)
}
