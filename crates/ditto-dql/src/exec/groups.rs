//! GROUP BY by hashing: rows of a group have the same key bytes, since equal values have equal bytes.

mod spilled;

use std::collections::HashMap;

use ditto_types::Value;

use super::{Poll, RunContext, check_buffer};
use crate::aggregate::Accumulator;
use crate::error::DqlError;
use crate::eval::{ALLOCATION, Cx, memory};
use crate::key::push_component;
use crate::plan::Grouping;
use crate::spill::{Runs, SharedSpill};

/// Groups under way.
pub(super) struct Groups<'p, 'c> {
    grouping: &'p Grouping,
    cx: RunContext<'c>,
    by_key: HashMap<Box<[u8]>, Group>,
    /// Key of the current row.
    key: Vec<u8>,
    held: usize,
    /// Parts of groups that memory had no room for.
    runs: Option<Runs<'c>>,
}

struct Group {
    keys: Vec<Option<Value>>,
    accumulators: Vec<Accumulator>,
}

impl Group {
    fn new(grouping: &Grouping, keys: Vec<Option<Value>>) -> Self {
        Self { keys, accumulators: grouping.aggregates.iter().map(Accumulator::new).collect() }
    }

    /// The keys and then the aggregates.
    fn slots(self) -> Vec<Option<Value>> {
        let mut slots = self.keys;
        slots.extend(self.accumulators.into_iter().map(Accumulator::finish));
        slots
    }
}

impl<'p, 'c> Groups<'p, 'c> {
    pub(super) fn new(grouping: &'p Grouping, cx: &RunContext<'c>) -> Self {
        let mut by_key = HashMap::new();
        if !grouping.explicit {
            by_key.insert(Box::default(), Group::new(grouping, Vec::new()));
        }
        Self { grouping, cx: *cx, by_key, key: Vec::new(), held: 0, runs: None }
    }

    /// Adds a row to its group.
    pub(super) fn push<'a>(&mut self, cx: &Cx<'a>) -> Result<(), DqlError>
    where
        'p: 'a,
    {
        let grouping = self.grouping;
        self.key.clear();
        for e in &grouping.keys {
            push_component(e.eval(cx)?.as_deref(), false, &mut self.key);
        }
        let group = match self.by_key.get_mut(self.key.as_slice()) {
            Some(group) => group,
            None => {
                let mut keys = Vec::with_capacity(grouping.keys.len());
                for e in &grouping.keys {
                    keys.push(e.eval(cx)?.map(|v| v.into_owned()));
                }
                let aggregates = grouping.aggregates.len() * size_of::<Accumulator>();
                // Its place in the table, which is half empty at times or else in the list that is sorted; the key, its values and
                // the aggregates.
                self.held +=
                    2 * size_of::<(Box<[u8]>, Group)>() + self.key.len() + aggregates + 3 * ALLOCATION;
                self.held += keys.iter().flatten().map(memory).sum::<usize>();
                self.by_key.entry(self.key.as_slice().into()).or_insert(Group::new(grouping, keys))
            }
        };
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut group.accumulators) {
            match &aggregate.arg {
                None => accumulator.push_row(),
                Some(e) => self.held += accumulator.push(e.eval(cx)?.as_deref()),
            }
        }
        match self.cx.spill {
            Some(spill) if self.held > spill.memory() => self.spill(spill),
            Some(_) => Ok(()),
            None => check_buffer(self.held, "GROUP BY"),
        }
    }

    /// Writes all groups as they are now; rows that come begin them anew.
    fn spill(&mut self, spill: &SharedSpill) -> Result<(), DqlError> {
        let runs = self.runs.get_or_insert_with(|| Runs::new(spill.clone(), Poll::new(&self.cx)));
        let mut groups: Vec<(Box<[u8]>, Group)> = self.by_key.drain().collect();
        groups.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.held = 0;
        runs.add(|push| {
            groups.into_iter().try_for_each(|(key, group)| spilled::write(self.grouping, &key, group, push))
        })
    }

    /// The slots of each group, keys and then aggregates, in the order of the keys. Gives the number of groups.
    pub(super) fn finish(
        mut self,
        mut each: impl FnMut(Vec<Option<Value>>) -> Result<(), DqlError>,
    ) -> Result<u64, DqlError> {
        if let (Some(spill), true) = (self.cx.spill, self.runs.is_some()) {
            self.spill(spill)?;
            if let Some(runs) = self.runs {
                return spilled::read(self.grouping, runs, spill, each);
            }
        }
        let mut groups: Vec<(Box<[u8]>, Group)> = self.by_key.into_iter().collect();
        groups.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let number = groups.len() as u64;
        groups.into_iter().try_for_each(|(_, group)| each(group.slots()))?;
        Ok(number)
    }
}
