//! Live queries: which documents concern a SELECT, and its result kept up to date change by change.

mod ordered;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ditto_types::Value;

use super::SelectPlan;
use super::select::{Output, OutputItem};
use crate::catalog::Namespace;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::{Poll, RunContext};
use crate::item::Item;
use crate::items::Items;
use crate::matcher::Watch;
use crate::scalar::Scalar;
use crate::source::{Access, Row, Source};
use ordered::{Arrival, Entry, First, Ordered};

/// How much more than a run may hold before it uses files a result that follows changes may hold in memory.
const HELD: usize = 8;

/// Rows beyond LIMIT that are kept, so that not each row that leaves makes it necessary to ask the store again.
const SPARE: usize = 16;

impl SelectPlan {
    /// The documents whose change can alter the result, for a [`Matcher`](crate::Matcher).
    pub fn watches(&self) -> Vec<Watch> {
        if self.is_join() {
            let user = self.collections().filter(|c| c.namespace == Namespace::Default);
            return user.map(|c| Watch::all(c.name.clone())).collect();
        }
        if self.reads_system() {
            return Vec::new();
        }
        vec![match self.filter() {
            // A matcher sees fields as a query without declarations does.
            Some(filter) if !self.reads_by_kind() => {
                Watch::condition(self.collection(), filter, self.bound())
            }
            _ => Watch::all(self.collection()),
        }]
    }

    /// Whether a [`LiveResult`] can be kept of it: each row is made of one document, whatever the others are, and is
    /// the same at any time.
    pub fn is_incremental(&self) -> bool {
        let template = self.template();
        !self.is_join()
            && !self.reads_system()
            && template.grouping.is_none()
            && !template.distinct
            && !self.is_volatile()
    }

    /// Whether an expression depends on time or request, so that the result can change without any document.
    pub fn is_volatile(&self) -> bool {
        let template = self.template();
        let output = match &template.output {
            Output::Wildcard => [].as_slice(),
            Output::Items(items) => items.as_slice(),
        };
        let output = output.iter().filter_map(|item| match item {
            OutputItem::Value(_, e) => Some(e),
            OutputItem::Spread(_) | OutputItem::Remove(_) => None,
        });
        let grouping = template.grouping.iter().flat_map(|g| {
            let arguments = g.aggregates.iter().filter_map(|a| a.arg.as_ref());
            g.keys.iter().chain(&g.having).chain(arguments)
        });
        let order = template.choice.tail.order.iter().map(|t| &t.key);
        let on = template.joins.iter().map(|j| &j.on);
        template.choice.filter.iter().chain(on).chain(output).chain(grouping).chain(order).any(is_volatile)
    }

    /// Whether it reads a system collection, whose rows change without commits.
    pub fn reads_system(&self) -> bool {
        self.collections().any(|c| c.namespace == Namespace::System)
    }

    fn sort_keys(&self, row: &dyn Row) -> Result<Vec<Option<Value>>, DqlError> {
        self.template().choice.tail.keys(&Cx::row(row, self.bound()))
    }

    /// The row of the result that a document makes, in a form that is cheap to share.
    fn live_item(&self, row: &dyn Row) -> Result<Item, DqlError> {
        Ok(match self.item(row)? {
            Item::Value(v) => Item::shared(v),
            lazy => lazy,
        })
    }
}

fn is_volatile(e: &Scalar) -> bool {
    let mut volatile = matches!(e, Scalar::Call(f, ..) if matches!(f.name, "clock" | "request_info"));
    e.parts(&mut |part| volatile = volatile || is_volatile(part));
    volatile
}

/// The result of a SELECT that follows the changes of documents without running again.
///
/// Rows that ORDER BY does not tell apart, and all rows without ORDER BY, are in the order of [`Row::position`].
pub struct LiveResult {
    plan: Arc<SelectPlan>,
    rows: Ordered,
    /// Whether `rows` are all there are; otherwise they are the first ones.
    complete: bool,
    /// Memory that the rows may take.
    bound: usize,
}

impl LiveResult {
    /// Runs an incremental plan on a snapshot. `None` when the result takes more memory than one that follows changes may,
    /// which is eight times what a run holds before it uses [files](crate::Spill::memory); without them there is no bound.
    ///
    /// # Errors
    ///
    /// Those of the source and of the interrupt; an expression that is too large.
    pub fn run<S: Source>(
        plan: Arc<SelectPlan>,
        source: &S,
        cx: &RunContext<'_>,
    ) -> Result<Option<Self>, S::Error> {
        let bound = cx.spill.map_or(usize::MAX, |spill| spill.memory().saturating_mul(HELD));
        let wanted = plan.wanted();
        let kept = wanted.map(|n| n.saturating_add(SPARE));
        let descending = plan.template().choice.tail.descending();
        let arrival = match plan.access() {
            Access::Scan if descending.is_empty() => Arrival::InOrder,
            _ if plan.chosen.is_ordered() => Arrival::ByKeys,
            _ => Arrival::Any,
        };
        let mut too_large = false;
        let mut first = First::new(descending, kept, arrival);
        if wanted != Some(0) {
            let mut poll = Poll::new(cx);
            source.visit(&plan.scan(), &mut |row| {
                poll.row()?;
                if !plan.matches(row)? {
                    return Ok(true);
                }
                let keys = plan.sort_keys(row)?;
                if first.accepts(&keys, row.position()) {
                    first.push(Entry::new(keys, row.position(), plan.live_item(row)?));
                }
                if first.weight() > bound {
                    first.cut();
                }
                // Half of it, so that rows which LIMIT cuts off are not sorted over and over.
                too_large = first.weight() > if first.is_cut() { bound / 2 } else { bound };
                Ok(!first.is_full() && !too_large)
            })?;
        }
        if too_large {
            return Ok(None);
        }
        let (rows, complete) = first.finish();
        Ok(Some(Self { plan, rows, complete, bound }))
    }

    /// Takes note of a change of one document: its rows before and after, where it matches the condition.
    ///
    /// `false` means that the result is not known any more and has to be [run](LiveResult::run) again.
    ///
    /// # Errors
    ///
    /// An expression that is too large; the result is not known then either.
    pub fn change(&mut self, old: Option<&dyn Row>, new: Option<&dyn Row>) -> Result<bool, DqlError> {
        let wanted = self.plan.wanted();
        if wanted == Some(0) {
            return Ok(true);
        }
        if let Some(row) = old {
            match self.rows.find(&self.plan.sort_keys(row)?, row.position()) {
                Ok(at) => self.rows.remove(at),
                // Behind the last row that is kept.
                Err(at) if !self.complete && self.rows.is_end(at) => {}
                Err(_) => return Ok(false),
            }
        }
        if let Some(row) = new {
            let keys = self.plan.sort_keys(row)?;
            match self.rows.find(&keys, row.position()) {
                Ok(_) => return Ok(false),
                Err(at) if !self.complete && self.rows.is_end(at) => {}
                Err(at) => {
                    let item = self.plan.live_item(row)?;
                    self.rows.insert(at, Entry::new(keys, row.position(), item));
                    if self.rows.weight() > self.bound {
                        return Ok(false);
                    }
                }
            }
        }
        let Some(wanted) = wanted else { return Ok(true) };
        if self.rows.len() > wanted.saturating_add(2 * SPARE) {
            self.rows.truncate(wanted + SPARE);
            self.complete = false;
        }
        Ok(self.complete || self.rows.len() >= wanted)
    }

    /// The result as it is now.
    pub fn items(&mut self) -> Items {
        let window = self.plan.window();
        let from = usize::try_from(window.offset).unwrap_or(usize::MAX);
        let to = self.plan.wanted().unwrap_or(usize::MAX);
        Items::window(self.rows.parts(), from, to)
    }
}
