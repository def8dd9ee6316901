//! The rows of a result in the order of the statement, cut to its window; in files as far as memory does not hold them.

use std::sync::Arc;

use ditto_types::Value;

use super::{Poll, RunContext};
use crate::error::DqlError;
use crate::item::Item;
use crate::items::Items;
use crate::key::push_component;
use crate::sort::{Bar, Sorter, Window};
use crate::spill::{Collector, Runs, SharedSpill, put_item};
use crate::value_ref::ValueRef;

/// Takes rows with their sort keys and gives the result.
pub(super) struct Ranked<'c> {
    cx: RunContext<'c>,
    descending: Vec<bool>,
    window: Window,
    sorter: Sorter<Item>,
    /// What did not fit into the sorter.
    runs: Option<Runs<'c>>,
    /// The result, when nothing is sorted.
    result: Collector,
    /// Rows passed over by OFFSET, when nothing is sorted.
    skipped: u64,
}

impl<'c> Ranked<'c> {
    pub(super) fn new(descending: Vec<bool>, window: Window, cx: &RunContext<'c>) -> Self {
        let mut sorter = Sorter::new(descending.clone(), window);
        if cx.spill.is_some() {
            sorter.unbound();
        }
        let result = Collector::new(cx.spill.cloned());
        Self { cx: *cx, descending, window, sorter, runs: None, result, skipped: 0 }
    }

    /// Whether rows are sorted; otherwise they need no keys.
    pub(super) fn sorts(&self) -> bool {
        self.sorter.sorts()
    }

    /// Whether another row could change the result.
    pub(super) fn wants_more(&self) -> bool {
        match self.window.limit {
            Some(limit) if !self.sorts() => (self.result.len() as u64) < limit,
            _ => self.sorter.wants_more(),
        }
    }

    /// Whether a row with these sort keys could be in the result.
    pub(super) fn accepts(&self, keys: &[Option<Value>]) -> bool {
        if self.sorts() { self.sorter.accepts(keys) } else { self.wants_more() }
    }

    /// Whether a row with this first sort key could be in the result, before its other keys are known.
    pub(super) fn accepts_first(&self, first: Option<ValueRef<'_>>) -> bool {
        self.sorter.accepts_first(first)
    }

    /// What the first sort key of a row must not exceed. It falls while rows come.
    pub(super) fn bar(&mut self) -> Option<Arc<Bar>> {
        self.sorter.bar()
    }

    /// Adds a row with its sort keys.
    ///
    /// # Errors
    ///
    /// More would have to be held than memory has room for, or the temporary file fails.
    pub(super) fn push(&mut self, keys: Vec<Option<Value>>, row: Item) -> Result<(), DqlError> {
        if !self.sorts() {
            if self.skipped < self.window.offset {
                self.skipped += 1;
                return Ok(());
            }
            return if self.wants_more() { self.result.push(row) } else { Ok(()) };
        }
        let weight = row.weight();
        self.sorter.push(keys, row, weight)?;
        match self.cx.spill {
            Some(spill) if self.sorter.held() > spill.memory() => self.spill(spill),
            _ => Ok(()),
        }
    }

    /// Writes what the sorter holds.
    fn spill(&mut self, spill: &SharedSpill) -> Result<(), DqlError> {
        let runs = self.runs.get_or_insert_with(|| Runs::new(spill.clone(), Poll::new(&self.cx)));
        let rows = self.sorter.drain();
        let (mut key, mut payload) = (Vec::new(), Vec::new());
        runs.add(|push| {
            for (keys, row) in rows {
                key.clear();
                payload.clear();
                for (value, descending) in keys.iter().zip(&self.descending) {
                    push_component(value.as_ref(), *descending, &mut key);
                }
                put_item(&row, &mut payload);
                push(&key, &payload)?;
            }
            Ok(())
        })
    }

    /// The result.
    pub(super) fn finish(mut self) -> Result<Items, DqlError> {
        if !self.sorts() {
            return self.result.finish();
        }
        let (Some(spill), true) = (self.cx.spill, self.runs.is_some()) else {
            return Ok(Items::from(self.sorter.finish()));
        };
        self.spill(spill)?;
        let (mut result, mut skip) = (self.result, self.window.offset);
        let limit = self.window.limit.unwrap_or(u64::MAX);
        if let Some(runs) = self.runs {
            runs.finish(|record| {
                if skip > 0 {
                    skip -= 1;
                } else if (result.len() as u64) < limit {
                    result.push_bytes(&record.payload)?;
                }
                Ok((result.len() as u64) < limit)
            })?;
        }
        result.finish()
    }
}
