//! DISTINCT: which rows are new. Those that memory cannot tell from the earlier ones wait until the end.

use std::collections::HashSet;

use ditto_types::Value;
use ditto_types::wire::Reader;

use super::{Poll, RunContext, check_buffer};
use crate::error::DqlError;
use crate::eval::ALLOCATION;
use crate::item::Item;
use crate::key::push_component;
use crate::spill::{Runs, damaged, get_item, get_values, put_item, put_values};

/// Result rows so far, when they must differ: equal rows have equal bytes.
pub(super) struct Distinct<'c> {
    cx: RunContext<'c>,
    seen: HashSet<Box<[u8]>>,
    held: usize,
    /// Rows that are not among those seen, and may be equal among themselves.
    later: Option<Runs<'c>>,
}

impl<'c> Distinct<'c> {
    pub(super) fn new(cx: &RunContext<'c>) -> Self {
        Self { cx: *cx, seen: HashSet::new(), held: 0, later: None }
    }

    /// Whether the row is known to be new. One of which that is not known comes from [`Distinct::finish`] if it is.
    pub(super) fn admit(&mut self, keys: &[Option<Value>], row: &Value) -> Result<bool, DqlError> {
        let mut bytes = Vec::new();
        push_component(Some(row), false, &mut bytes);
        if self.seen.contains(bytes.as_slice()) {
            return Ok(false);
        }
        if self.later.is_none() {
            // The set is half empty at times.
            self.held += bytes.len() + 2 * size_of::<Box<[u8]>>() + ALLOCATION;
            match self.cx.spill {
                Some(spill) if self.held > spill.memory() => {
                    self.later = Some(Runs::new(spill.clone(), Poll::new(&self.cx)));
                }
                Some(_) => {}
                None => check_buffer(self.held, "DISTINCT")?,
            }
        }
        match &mut self.later {
            None => Ok(self.seen.insert(bytes.into())),
            Some(later) => {
                later.push(|out| {
                    out.extend_from_slice(&bytes);
                    let end = out.len();
                    put_values(keys, out);
                    put_item(&Item::Value(row.clone()), out);
                    end
                })?;
                Ok(false)
            }
        }
    }

    /// The rows that waited, each once, with their `n` sort keys, until `each` wants no more.
    pub(super) fn finish(
        self,
        n: usize,
        mut each: impl FnMut(Vec<Option<Value>>, Item) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        let Self { cx, seen, later, .. } = self;
        drop(seen);
        let (Some(later), Some(spill)) = (later, cx.spill) else { return Ok(()) };
        let mut last: Option<Vec<u8>> = None;
        later.finish(|record| {
            // Of equal rows the first one counts, and comes first.
            if last.as_deref() == Some(record.key.as_slice()) {
                return Ok(true);
            }
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(&record.key);
            let mut r = Reader::new(&record.payload);
            let keys = get_values(n, &mut r)?;
            let row = record.payload.get(r.offset()..).ok_or_else(damaged)?;
            each(keys, get_item(row, &**spill)?)
        })
    }
}
