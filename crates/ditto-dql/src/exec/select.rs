//! Running a SELECT: nested loops over the terms, then groups or rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ditto_types::{SmolStr, Value};

use super::distinct::Distinct;
use super::groups::Groups;
use super::output::{is_whole, names, project};
use super::ranked::Ranked;
use super::stats::{RunStats, TermStats, Terms};
use super::{Poll, REPORT_EVERY, RunContext};
use crate::bind::{Chosen, needs};
use crate::error::DqlError;
use crate::eval::Cx;
use crate::item::Item;
use crate::items::Items;
use crate::plan::{Output, SelectPlan, SelectTemplate, TailTemplate};
use crate::scalar::Scalar;
use crate::sort::Bar;
use crate::source::{Condition, Row, RowFilter, Source, TermScan};
use crate::truth::Truth;

/// Runs a plan on a snapshot.
pub(crate) fn select<S: Source>(
    plan: &SelectPlan,
    source: &S,
    cx: &RunContext<'_>,
) -> Result<(Items, RunStats), S::Error> {
    let mut run = Run::new(plan, cx);
    if run.sink.wants_more() {
        run.visit(source)?;
    }
    Ok(run.finish()?)
}

struct Run<'p, 'c> {
    plan: &'p SelectPlan,
    cx: &'c RunContext<'c>,
    poll: Poll<'c>,
    sink: Sink<'p, 'c>,
    stats: RunStats,
}

impl<'p, 'c> Run<'p, 'c> {
    fn new(plan: &'p SelectPlan, cx: &'c RunContext<'c>) -> Self {
        let terms = Terms::new(TermStats::default(), plan.inner.len());
        let stats = RunStats { terms, ..RunStats::default() };
        Self { plan, cx, poll: Poll::new(cx), sink: Sink::new(plan, cx), stats }
    }

    fn visit<S: Source>(&mut self, source: &S) -> Result<(), S::Error> {
        let chosen = &self.plan.chosen;
        let mut last = self.cx.nanos();
        if self.plan.is_count() {
            self.poll.row()?;
            let count = source.count(chosen.collection())?;
            self.sink.count = Some(count);
            self.stats.terms[0] = TermStats { visited: count, kept: count };
            self.stats.source_ns = self.cx.nanos().saturating_sub(last);
            return Ok(());
        }
        let timed = self.cx.measures();
        let alone = self.plan.inner.is_empty();
        let (narrowed, counted);
        let mut scan = chosen.scan();
        if timed {
            // The time of the rows that WHERE excludes is that of WHERE.
            scan.filter = None;
        } else if let Some(bar) = self.sink.bar() {
            narrowed = Narrowed { chosen, bar };
            scan.filter = Some(&narrowed);
        }
        let mut excluded = None;
        if let (Some(filter), Some(_)) = (scan.filter, self.cx.profiler) {
            counted = Counted { filter, excluded: Arc::default() };
            excluded = Some(&counted.excluded);
            scan.filter = Some(&counted);
        }
        source.visit(&scan, &mut |row| {
            if timed {
                let now = self.cx.nanos();
                self.stats.source_ns += now.saturating_sub(last);
                last = now;
            }
            self.poll.row()?;
            if let Some(profiler) = self.cx.profiler
                && self.stats.terms[0].visited % REPORT_EVERY == REPORT_EVERY - 1
            {
                profiler.report(self.stats.clone());
            }
            let go_on = if alone { self.row(row)? } else { self.outer_row(source, row)? };
            if timed {
                let now = self.cx.nanos();
                self.stats.rows_ns += now.saturating_sub(last);
                last = now;
            }
            Ok(go_on)
        })?;
        self.stats.source_ns += self.cx.nanos().saturating_sub(last);
        self.stats.terms[0].visited += excluded.map_or(0, |n| n.load(Ordering::Relaxed));
        Ok(())
    }

    /// A row of the only term.
    fn row(&mut self, row: &dyn Row) -> Result<bool, DqlError> {
        let plan = self.plan;
        let cx = Cx::row(row, &plan.chosen.bound);
        self.stats.terms[0].visited += 1;
        if let Some(filter) = &plan.chosen.template.choice.filter
            && filter.test(&cx)? != Truth::True
        {
            return Ok(true);
        }
        self.stats.terms[0].kept += 1;
        self.stats.matched += 1;
        self.sink.push(&cx, Some(row))?;
        Ok(self.sink.wants_more())
    }

    /// A row of the first of several terms.
    fn outer_row<S: Source>(&mut self, source: &S, row: &dyn Row) -> Result<bool, S::Error> {
        self.stats.terms[0].visited += 1;
        let rows = [Some(row)];
        if !self.keeps(0, &Cx::joined(&rows, &self.plan.chosen.bound))? {
            return Ok(true);
        }
        self.stats.terms[0].kept += 1;
        self.join(source, &rows)
    }

    /// Whether the conditions hold that can be tested once `term` has a row.
    fn keeps<'a>(&self, term: usize, cx: &Cx<'a>) -> Result<bool, DqlError>
    where
        'p: 'a,
    {
        let filters: &'p [Vec<Scalar>] = &self.plan.chosen.template.filters;
        for f in filters.get(term).into_iter().flatten() {
            if f.test(cx)? != Truth::True {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds the rows of the next term to those of the terms before it. `false` when no more rows are needed.
    fn join<S: Source>(&mut self, source: &S, rows: &[Option<&dyn Row>]) -> Result<bool, S::Error> {
        let term = rows.len();
        let plan = self.plan;
        let chosen = &plan.chosen;
        let (Some(join), Some(route)) = (chosen.template.joins.get(term - 1), plan.inner.get(term - 1))
        else {
            self.stats.matched += 1;
            self.sink.push(&Cx::joined(rows, &chosen.bound), None)?;
            return Ok(self.sink.wants_more());
        };
        let access = route.open(&Cx::joined(rows, &chosen.bound), &chosen.limits)?;
        let scan = TermScan {
            collection: &join.head.collection,
            access: &access,
            declared: &join.head.declared,
            strict: chosen.strict,
            needs: needs(&join.search),
            enough: None,
            filter: None,
        };
        let (mut partner, mut go_on) = (false, true);
        source.visit(&scan, &mut |row| {
            self.poll.row()?;
            self.stats.terms[term].visited += 1;
            let mut with: Vec<Option<&dyn Row>> = Vec::with_capacity(term + 1);
            with.extend_from_slice(rows);
            with.push(Some(row));
            let cx = Cx::joined(&with, &chosen.bound);
            if join.on.test(&cx)? != Truth::True {
                return Ok(true);
            }
            partner = true;
            if self.keeps(term, &cx)? {
                self.stats.terms[term].kept += 1;
                go_on = self.join(source, &with)?;
            }
            Ok(go_on)
        })?;
        if join.outer && !partner {
            let mut with: Vec<Option<&dyn Row>> = rows.to_vec();
            with.push(None);
            if self.keeps(term, &Cx::joined(&with, &chosen.bound))? {
                go_on = self.join(source, &with)?;
            }
        }
        Ok(go_on)
    }

    fn finish(mut self) -> Result<(Items, RunStats), DqlError> {
        let before = self.cx.nanos();
        let sink = std::mem::replace(&mut self.sink, Sink::new(self.plan, self.cx));
        let items;
        (items, self.stats.groups, self.stats.projected) = sink.finish()?;
        self.stats.rows = items.len() as u64;
        self.stats.finish_ns = self.cx.nanos().saturating_sub(before);
        Ok((items, self.stats))
    }
}

/// The condition of a statement, and the bar of its ORDER BY with LIMIT.
#[derive(Debug)]
struct Narrowed<'p> {
    chosen: &'p Chosen<SelectTemplate>,
    bar: Arc<Bar>,
}

impl Condition for Narrowed<'_> {
    fn to_filter(&self) -> RowFilter {
        self.chosen.to_filter().below(self.bar.clone())
    }
}

/// A condition that counts the rows which a source leaves out because of it.
#[derive(Debug)]
struct Counted<'f> {
    filter: &'f dyn Condition,
    excluded: Arc<AtomicU64>,
}

impl Condition for Counted<'_> {
    fn to_filter(&self) -> RowFilter {
        self.filter.to_filter().counting(self.excluded.clone())
    }
}

/// Where rows go that fulfil the conditions.
struct Sink<'p, 'c> {
    plan: &'p SelectPlan,
    names: Vec<&'p SmolStr>,
    groups: Option<Groups<'p, 'c>>,
    /// The number of documents, when that is all there is to know.
    count: Option<u64>,
    distinct: Option<Distinct<'c>>,
    rows: Ranked<'c>,
    projected: u64,
}

impl<'p, 'c> Sink<'p, 'c> {
    fn new(plan: &'p SelectPlan, cx: &RunContext<'c>) -> Self {
        let template: &'p SelectTemplate = &plan.chosen.template;
        Self {
            plan,
            names: names(&template.choice.head, &template.joins),
            groups: template.grouping.as_ref().map(|g| Groups::new(g, cx)),
            count: None,
            distinct: template.distinct.then(|| Distinct::new(cx)),
            rows: Ranked::new(plan.chosen.sorting(), plan.chosen.window, cx),
            projected: 0,
        }
    }

    /// Whether another row could change the result.
    fn wants_more(&self) -> bool {
        self.rows.wants_more()
    }

    /// The bar for the rows of the only term, where they are what is ordered and cut.
    fn bar(&mut self) -> Option<Arc<Bar>> {
        let template = &self.plan.chosen.template;
        let ordered = template.joins.is_empty() && template.grouping.is_none() && !template.distinct;
        if ordered { self.rows.bar() } else { None }
    }

    fn push<'a>(&mut self, cx: &Cx<'a>, row: Option<&dyn Row>) -> Result<(), DqlError>
    where
        'p: 'a,
    {
        match &mut self.groups {
            Some(groups) => groups.push(cx),
            None => self.emit(cx, row),
        }
    }

    /// Adds the result row of a row or group.
    fn emit<'a>(&mut self, cx: &Cx<'a>, row: Option<&dyn Row>) -> Result<(), DqlError>
    where
        'p: 'a,
    {
        let template: &'p SelectTemplate = &self.plan.chosen.template;
        let tail: &'p TailTemplate = &template.choice.tail;
        // Most rows that LIMIT cuts off are known by their first key where it lies.
        if self.distinct.is_none()
            && let Some(first) = tail.order.first().filter(|_| self.rows.sorts())
            && !first.key.look(cx, &mut |key| Ok(self.rows.accepts_first(key)))?
        {
            return Ok(());
        }
        let keys = if self.rows.sorts() { tail.keys(cx)? } else { Vec::new() };
        // Of equal rows the first one counts with its sort keys, so DISTINCT has to see them all.
        if self.distinct.is_none() && !self.rows.accepts(&keys) {
            return Ok(());
        }
        self.projected += 1;
        let output: &'p Output = &template.output;
        // A whole document stays as it is stored.
        if let (None, Some(row)) = (&self.distinct, row)
            && is_whole(output)
        {
            return self.rows.push(keys, row.capture());
        }
        let row = project(output, &self.names, cx)?;
        if let Some(distinct) = &mut self.distinct
            && !distinct.admit(&keys, &row)?
        {
            return Ok(());
        }
        self.rows.push(keys, Item::Value(row))
    }

    /// The result rows; the number of groups, and how many rows were projected.
    fn finish(mut self) -> Result<(Items, u64, u64), DqlError> {
        let template: &'p SelectTemplate = &self.plan.chosen.template;
        let mut number = 0;
        if let (Some(grouping), Some(groups)) = (&template.grouping, self.groups.take()) {
            number = groups.finish(|mut slots| {
                if let Some(count) = self.count {
                    slots.iter_mut().for_each(|s| *s = Some(Value::from(count)));
                }
                let cx = Cx::group(&slots, &self.plan.chosen.bound);
                match &grouping.having {
                    Some(having) if having.test(&cx)? != Truth::True => Ok(()),
                    _ => self.emit(&cx, None),
                }
            })?;
        }
        let rows = &mut self.rows;
        if let Some(distinct) = self.distinct {
            distinct.finish(template.choice.tail.order.len(), |keys, row| {
                rows.push(keys, row)?;
                Ok(rows.wants_more())
            })?;
        }
        Ok((self.rows.finish()?, number, self.projected))
    }
}
