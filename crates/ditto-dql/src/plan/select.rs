//! SELECT: filter, projection, grouping, ordering.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_types::{ErrorKind, Object, Path, SmolStr, Value};

use super::{Access, Head, Row, TailTemplate};
use crate::access::access;
use crate::aggregate::{Accumulator, Aggregate};
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::scalar::Scalar;
use crate::sort::{Keys, Sorter, Window};
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

/// A bound SELECT.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    template: Arc<SelectTemplate>,
    bound: Bound,
    access: Access,
    window: Window,
}

impl SelectPlan {
    pub(crate) fn bind(template: Arc<SelectTemplate>, bound: Bound) -> Result<Self, DqlError> {
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

    pub(super) fn filter(&self) -> Option<&Scalar> {
        self.template.filter.as_ref()
    }

    pub(super) fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Whether WHERE is exactly true for `row`; without WHERE it is.
    pub fn matches(&self, row: &dyn Row) -> Result<bool, DqlError> {
        match &self.template.filter {
            None => Ok(true),
            Some(f) => Ok(f.test(&Cx::row(row, &self.bound))? == Truth::True),
        }
    }

    /// Whether every document matches: there is no WHERE, or `WHERE true`.
    pub fn is_whole_collection(&self) -> bool {
        matches!(self.template.filter, None | Some(Scalar::Const(Value::Bool(true))))
    }

    /// Starts a run.
    pub fn start(&self) -> SelectRun<'_> {
        let groups = self.template.grouping.as_ref().map(|g| {
            let mut groups = BTreeMap::new();
            if !g.explicit {
                groups.insert(Keys(Vec::new()), accumulators(g));
            }
            groups
        });
        SelectRun {
            plan: self,
            groups,
            distinct: self.template.distinct.then(BTreeSet::new),
            rows: Sorter::new(self.template.tail.descending(), self.window),
        }
    }
}

fn accumulators(g: &Grouping) -> Vec<Accumulator> {
    g.aggregates.iter().map(Accumulator::new).collect()
}

/// One run of a SELECT.
pub struct SelectRun<'a> {
    plan: &'a SelectPlan,
    groups: Option<BTreeMap<Keys, Vec<Accumulator>>>,
    /// Result rows so far, when they must differ.
    distinct: Option<BTreeSet<Keys>>,
    rows: Sorter<Value>,
}

impl SelectRun<'_> {
    /// Offers a row, which counts if WHERE is true for it. `false` means that no more rows are needed.
    pub fn push(&mut self, row: &dyn Row) -> Result<bool, DqlError> {
        if !self.rows.wants_more() {
            return Ok(false);
        }
        if !self.plan.matches(row)? {
            return Ok(true);
        }
        let template = &*self.plan.template;
        let cx = Cx::row(row, &self.plan.bound);
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
            _ => emit(template, &mut self.rows, &mut self.distinct, &cx)?,
        }
        Ok(self.rows.wants_more())
    }

    /// The result rows, as objects.
    pub fn finish(mut self) -> Result<Vec<Value>, DqlError> {
        let template = &*self.plan.template;
        if let (Some(grouping), Some(groups)) = (&template.grouping, self.groups.take()) {
            for (keys, accumulators) in groups {
                let mut slots = keys.0;
                slots.extend(accumulators.into_iter().map(Accumulator::finish));
                let cx = Cx::group(&slots, &self.plan.bound);
                if let Some(having) = &grouping.having
                    && having.test(&cx)? != Truth::True
                {
                    continue;
                }
                emit(template, &mut self.rows, &mut self.distinct, &cx)?;
            }
        }
        Ok(self.rows.finish())
    }
}

/// Adds the result row of a document or group.
fn emit<'a>(
    template: &'a SelectTemplate,
    rows: &mut Sorter<Value>,
    distinct: &mut Option<BTreeSet<Keys>>,
    cx: &Cx<'a>,
) -> Result<(), DqlError> {
    let keys = template.tail.keys(cx)?;
    // Of equal rows the first one counts with its sort keys, so DISTINCT has to see them all.
    if distinct.is_none() && !rows.accepts(&keys) {
        return Ok(());
    }
    let row = project(&template.output, cx)?;
    if let Some(seen) = distinct
        && !seen.insert(Keys(vec![Some(row.clone())]))
    {
        return Ok(());
    }
    rows.push(keys, row);
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
