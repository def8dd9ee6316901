//! SELECT: filter, projection, grouping, ordering.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_types::{Object, Path, SmolStr, Value};

use super::{Head, TailTemplate};
use crate::aggregate::{Accumulator, Aggregate};
use crate::bind::{BindContext, Chosen, Selecting};
use crate::catalog::Namespace;
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::{Poll, Rows, RunContext};
use crate::item::Item;
use crate::scalar::Scalar;
use crate::sort::{Keys, Sorter, Window};
use crate::source::{Access, Row, Source, TermScan};
use crate::truth::Truth;

#[derive(Clone, Debug)]
pub(crate) struct SelectTemplate {
    pub(crate) head: Head,
    pub(crate) filter: Option<Scalar>,
    pub(crate) output: Output,
    pub(crate) distinct: bool,
    pub(crate) grouping: Option<Grouping>,
    pub(crate) tail: TailTemplate,
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
    /// `c.*`: all fields.
    Spread,
    /// `MISSING path`: takes a field out again.
    Remove(Path),
    Value(SmolStr, Scalar),
}

impl Selecting for SelectTemplate {
    fn head(&self) -> &Head {
        &self.head
    }

    fn filter(&self) -> Option<&Scalar> {
        self.filter.as_ref()
    }

    fn tail(&self) -> &TailTemplate {
        &self.tail
    }
}

/// A bound SELECT.
#[derive(Clone, Debug)]
pub struct SelectPlan(Chosen<SelectTemplate>);

impl SelectPlan {
    pub(crate) fn bind(
        template: Arc<SelectTemplate>,
        bound: Bound,
        context: &BindContext<'_>,
    ) -> Result<Self, DqlError> {
        Chosen::new(template, bound, context).map(Self)
    }

    /// Name of the collection.
    pub fn collection(&self) -> &str {
        &self.0.collection().name
    }

    /// Where the rows come from.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// Declared field kinds: a declared field is read as its kind.
    pub fn declared(&self) -> &TypeDecls {
        self.0.declared()
    }

    pub(super) fn template(&self) -> &SelectTemplate {
        &self.0.template
    }

    pub(super) fn filter(&self) -> Option<&Scalar> {
        self.0.template.filter.as_ref()
    }

    pub(super) fn namespace(&self) -> Namespace {
        self.0.collection().namespace
    }

    /// Whether fields are read as certain kinds and not as what was written last.
    pub(super) fn reads_by_kind(&self) -> bool {
        self.0.strict || !self.declared().is_empty()
    }

    pub(super) fn window(&self) -> Window {
        self.0.window
    }

    /// How many of the ordered rows can be in the result, counting those before OFFSET; `None` for all.
    pub(super) fn wanted(&self) -> Option<usize> {
        let n = self.0.window.limit?.saturating_add(self.0.window.offset);
        Some(usize::try_from(n).unwrap_or(usize::MAX))
    }

    pub(super) fn scan(&self) -> TermScan<'_> {
        self.0.scan()
    }

    /// The row of the result that `row` makes, without grouping.
    pub(super) fn item(&self, row: &dyn Row) -> Result<Item, DqlError> {
        match &self.template().output {
            Output::Wildcard => Ok(row.capture()),
            output => Ok(Item::Value(project(output, &Cx::row(row, self.bound()))?)),
        }
    }

    pub(super) fn bound(&self) -> &Bound {
        &self.0.bound
    }

    /// Whether WHERE is exactly true for `row`; without WHERE it is.
    pub fn matches(&self, row: &dyn Row) -> Result<bool, DqlError> {
        match &self.0.template.filter {
            None => Ok(true),
            Some(f) => Ok(f.test(&Cx::row(row, &self.0.bound))? == Truth::True),
        }
    }

    /// Whether every document matches: there is no WHERE, or `WHERE true`.
    pub fn is_whole_collection(&self) -> bool {
        matches!(self.0.template.filter, None | Some(Scalar::Const(Value::Bool(true))))
    }

    /// Runs it on a snapshot.
    ///
    /// # Errors
    ///
    /// Those of the source and of the interrupt; an expression or a result that is too large.
    pub fn run<S: Source>(&self, source: &S, cx: &RunContext<'_>) -> Result<Rows, S::Error> {
        let mut run = self.start();
        let mut poll = Poll::new(cx);
        source.visit(&self.0.scan(), &mut |row| {
            poll.row()?;
            Ok(run.push(row)?)
        })?;
        Ok(Rows { items: run.finish()?, profile: None })
    }

    fn start(&self) -> SelectRun<'_> {
        let template = &*self.0.template;
        let groups = template.grouping.as_ref().map(|g| {
            let mut groups = BTreeMap::new();
            if !g.explicit {
                groups.insert(Keys(Vec::new()), accumulators(g));
            }
            groups
        });
        SelectRun {
            plan: self,
            groups,
            distinct: template.distinct.then(BTreeSet::new),
            rows: Sorter::new(template.tail.descending(), self.0.window),
        }
    }
}

fn accumulators(g: &Grouping) -> Vec<Accumulator> {
    g.aggregates.iter().map(Accumulator::new).collect()
}

/// One run of a SELECT.
struct SelectRun<'a> {
    plan: &'a SelectPlan,
    groups: Option<BTreeMap<Keys, Vec<Accumulator>>>,
    /// Result rows so far, when they must differ.
    distinct: Option<BTreeSet<Keys>>,
    rows: Sorter<Item>,
}

impl SelectRun<'_> {
    /// Offers a row, which counts if WHERE is true for it. `false` means that no more rows are needed.
    fn push(&mut self, row: &dyn Row) -> Result<bool, DqlError> {
        if !self.rows.wants_more() {
            return Ok(false);
        }
        let template = &*self.plan.0.template;
        let cx = Cx::row(row, &self.plan.0.bound);
        if let Some(filter) = &template.filter
            && filter.test(&cx)? != Truth::True
        {
            return Ok(true);
        }
        match (&template.grouping, &mut self.groups) {
            (Some(grouping), Some(groups)) => {
                let keys = grouping
                    .keys
                    .iter()
                    .map(|k| Ok(k.eval(&cx)?.map(|v| v.into_owned())))
                    .collect::<Result<_, DqlError>>()?;
                let group = groups.entry(Keys(keys)).or_insert_with(|| accumulators(grouping));
                for (aggregate, accumulator) in grouping.aggregates.iter().zip(group) {
                    match &aggregate.arg {
                        None => accumulator.push_row(),
                        Some(e) => accumulator.push(e.eval(&cx)?.as_deref()),
                    }
                }
            }
            _ => emit(template, &mut self.rows, &mut self.distinct, &cx, Some(row))?,
        }
        Ok(self.rows.wants_more())
    }

    /// The result rows, as objects.
    fn finish(mut self) -> Result<Vec<Item>, DqlError> {
        let template = &*self.plan.0.template;
        if let (Some(grouping), Some(groups)) = (&template.grouping, self.groups.take()) {
            for (keys, accumulators) in groups {
                let mut slots = keys.0;
                slots.extend(accumulators.into_iter().map(Accumulator::finish));
                let cx = Cx::group(&slots, &self.plan.0.bound);
                if let Some(having) = &grouping.having
                    && having.test(&cx)? != Truth::True
                {
                    continue;
                }
                emit(template, &mut self.rows, &mut self.distinct, &cx, None)?;
            }
        }
        Ok(self.rows.finish())
    }
}

/// Adds the result row of a document or group.
fn emit<'a>(
    template: &'a SelectTemplate,
    rows: &mut Sorter<Item>,
    distinct: &mut Option<BTreeSet<Keys>>,
    cx: &Cx<'a>,
    row: Option<&dyn Row>,
) -> Result<(), DqlError> {
    let keys = template.tail.keys(cx)?;
    // Of equal rows the first one counts with its sort keys, so DISTINCT has to see them all.
    if distinct.is_none() && !rows.accepts(&keys) {
        return Ok(());
    }
    // A whole document stays as it is stored.
    if let (Output::Wildcard, None, Some(row)) = (&template.output, &distinct, row) {
        rows.push(keys, row.capture());
        return Ok(());
    }
    let row = project(&template.output, cx)?;
    if let Some(seen) = distinct
        && !seen.insert(Keys(vec![Some(row.clone())]))
    {
        return Ok(());
    }
    rows.push(keys, Item::Value(row));
    Ok(())
}

fn project<'a>(output: &'a Output, cx: &Cx<'a>) -> Result<Value, DqlError> {
    let items = match output {
        Output::Wildcard => return Ok(cx.document(0).unwrap_or(Value::Object(Object::new()))),
        Output::Items(items) => items,
    };
    let mut out = Object::new();
    for item in items {
        match item {
            OutputItem::Spread => {
                if let Some(Value::Object(fields)) = cx.document(0) {
                    out.extend(fields);
                }
            }
            OutputItem::Remove(path) => remove(&mut out, path.names()),
            OutputItem::Value(name, e) => match e.eval(cx)? {
                Some(v) => {
                    out.insert(name.clone(), v.into_owned());
                }
                None => {
                    // A later element of the same name stands for an earlier one, also when it is MISSING.
                    out.remove(name);
                }
            },
        }
    }
    Ok(Value::Object(out))
}

fn remove(object: &mut Object, path: &[SmolStr]) {
    match path {
        [] => {}
        [name] => {
            object.remove(name);
        }
        [name, rest @ ..] => {
            if let Some(Value::Object(inner)) = object.get_mut(name) {
                remove(inner, rest);
            }
        }
    }
}
