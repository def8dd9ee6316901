//! Running a SELECT: nested loops over the terms, then groups or rows.

use std::collections::HashSet;
use std::sync::Arc;

use ditto_types::{SmolStr, Value};

use super::groups::Groups;
use super::output::{is_whole, names, project};
use super::stats::{Stats, TermStats};
use super::{Poll, Rows, RunContext, check_buffer};
use crate::bind::{Chosen, needs};
use crate::error::DqlError;
use crate::eval::{Cx, weight};
use crate::item::Item;
use crate::key::push_component;
use crate::plan::{Output, SelectPlan, SelectTemplate, TailTemplate};
use crate::scalar::Scalar;
use crate::sort::{Bar, Sorter};
use crate::source::{Condition, Row, RowFilter, Source, TermScan};
use crate::truth::Truth;

/// Runs a plan on a snapshot.
pub(crate) fn select<S: Source>(
    plan: &SelectPlan,
    source: &S,
    cx: &RunContext<'_>,
) -> Result<Rows, S::Error> {
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
    sink: Sink<'p>,
    stats: Stats,
}

impl<'p, 'c> Run<'p, 'c> {
    fn new(plan: &'p SelectPlan, cx: &'c RunContext<'c>) -> Self {
        let terms = vec![TermStats::default(); 1 + plan.inner.len()];
        let stats = Stats { terms, ..Stats::default() };
        Self { plan, cx, poll: Poll::new(cx), sink: Sink::new(plan), stats }
    }

    fn nanos(&self) -> u64 {
        match self.cx.nanos {
            Some(nanos) if self.cx.profile => nanos(),
            _ => 0,
        }
    }

    fn visit<S: Source>(&mut self, source: &S) -> Result<(), S::Error> {
        let chosen = &self.plan.chosen;
        let mut last = self.nanos();
        if self.plan.is_count() {
            self.poll.row()?;
            let count = source.count(chosen.collection())?;
            self.sink.count = Some(count);
            self.stats.terms[0] = TermStats { visited: count, kept: count };
            self.stats.source_ns = self.nanos().saturating_sub(last);
            return Ok(());
        }
        let timed = self.cx.profile && self.cx.nanos.is_some();
        let alone = self.plan.inner.is_empty();
        let narrowed;
        let mut scan = chosen.scan();
        if self.cx.profile {
            // It counts the rows that WHERE excludes.
            scan.filter = None;
        } else if let Some(bar) = self.sink.bar() {
            narrowed = Narrowed { chosen, bar };
            scan.filter = Some(&narrowed);
        }
        source.visit(&scan, &mut |row| {
            if timed {
                let now = self.nanos();
                self.stats.source_ns += now.saturating_sub(last);
                last = now;
            }
            self.poll.row()?;
            let go_on = if alone { self.row(row)? } else { self.outer_row(source, row)? };
            if timed {
                let now = self.nanos();
                self.stats.rows_ns += now.saturating_sub(last);
                last = now;
            }
            Ok(go_on)
        })?;
        self.stats.source_ns += self.nanos().saturating_sub(last);
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

    fn finish(mut self) -> Result<Rows, DqlError> {
        let before = self.nanos();
        let (groups, projected) = (self.sink.groups.as_ref().map_or(0, Groups::len), self.sink.projected);
        self.stats.groups = groups as u64;
        let sink = std::mem::replace(&mut self.sink, Sink::new(self.plan));
        let (items, emitted) = sink.finish()?;
        self.stats.projected = projected + emitted;
        self.stats.rows = items.len() as u64;
        self.stats.finish_ns = self.nanos().saturating_sub(before);
        let profile = self.cx.profile.then(|| crate::explain::select(self.plan, Some(&self.stats)));
        Ok(Rows { items, profile })
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

/// Where rows go that fulfil the conditions.
struct Sink<'p> {
    plan: &'p SelectPlan,
    names: Vec<&'p SmolStr>,
    groups: Option<Groups<'p>>,
    /// The number of documents, when that is all there is to know.
    count: Option<u64>,
    distinct: Option<Distinct>,
    rows: Sorter<Item>,
    projected: u64,
}

/// Result rows so far, when they must differ: equal rows have equal bytes.
#[derive(Default)]
struct Distinct {
    seen: HashSet<Box<[u8]>>,
    held: usize,
}

impl Distinct {
    /// Whether the row is new.
    fn insert(&mut self, row: &Value) -> Result<bool, DqlError> {
        let mut key = Vec::new();
        push_component(Some(row), false, &mut key);
        if self.seen.contains(key.as_slice()) {
            return Ok(false);
        }
        self.held += key.len() + size_of::<Box<[u8]>>();
        check_buffer(self.held, "DISTINCT")?;
        Ok(self.seen.insert(key.into()))
    }
}

impl<'p> Sink<'p> {
    fn new(plan: &'p SelectPlan) -> Self {
        let template: &'p SelectTemplate = &plan.chosen.template;
        Self {
            plan,
            names: names(&template.choice.head, &template.joins),
            groups: template.grouping.as_ref().map(Groups::new),
            count: None,
            distinct: template.distinct.then(Distinct::default),
            rows: Sorter::new(plan.chosen.sorting(), plan.chosen.window),
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
            let item = row.capture();
            let held = if self.rows.sorts() { item.weight() } else { 0 };
            return self.rows.push(keys, item, held);
        }
        let row = project(output, &self.names, cx)?;
        if let Some(distinct) = &mut self.distinct
            && !distinct.insert(&row)?
        {
            return Ok(());
        }
        let held = if self.rows.sorts() { weight(&row) } else { 0 };
        self.rows.push(keys, Item::Value(row), held)
    }

    /// The result rows, and how many groups became rows.
    fn finish(mut self) -> Result<(Vec<Item>, u64), DqlError> {
        let before = self.projected;
        let template: &'p SelectTemplate = &self.plan.chosen.template;
        if let (Some(grouping), Some(groups)) = (&template.grouping, self.groups.take()) {
            for mut slots in groups.finish() {
                if let Some(count) = self.count {
                    slots.iter_mut().for_each(|s| *s = Some(Value::from(count)));
                }
                let cx = Cx::group(&slots, &self.plan.chosen.bound);
                if let Some(having) = &grouping.having
                    && having.test(&cx)? != Truth::True
                {
                    continue;
                }
                self.emit(&cx, None)?;
            }
        }
        let emitted = self.projected - before;
        Ok((self.rows.finish(), emitted))
    }
}
