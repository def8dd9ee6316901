//! GROUP BY by hashing: rows of a group have the same key bytes, since equal values have equal bytes.

use std::collections::HashMap;

use ditto_types::Value;

use super::check_buffer;
use crate::aggregate::Accumulator;
use crate::error::DqlError;
use crate::eval::{Cx, weight};
use crate::key::push_component;
use crate::plan::Grouping;

/// Groups under way.
pub(super) struct Groups<'p> {
    grouping: &'p Grouping,
    by_key: HashMap<Box<[u8]>, Group>,
    /// Key of the current row.
    key: Vec<u8>,
    held: usize,
}

struct Group {
    keys: Vec<Option<Value>>,
    accumulators: Vec<Accumulator>,
}

impl Group {
    fn new(grouping: &Grouping, keys: Vec<Option<Value>>) -> Self {
        Self { keys, accumulators: grouping.aggregates.iter().map(Accumulator::new).collect() }
    }
}

impl<'p> Groups<'p> {
    pub(super) fn new(grouping: &'p Grouping) -> Self {
        let mut by_key = HashMap::new();
        if !grouping.explicit {
            by_key.insert(Box::default(), Group::new(grouping, Vec::new()));
        }
        Self { grouping, by_key, key: Vec::new(), held: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
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
                self.held += 2 * self.key.len() + size_of::<Group>() + aggregates;
                self.held += keys.iter().flatten().map(weight).sum::<usize>();
                check_buffer(self.held, "GROUP BY")?;
                self.by_key.entry(self.key.as_slice().into()).or_insert(Group::new(grouping, keys))
            }
        };
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut group.accumulators) {
            match &aggregate.arg {
                None => accumulator.push_row(),
                Some(e) => self.held += accumulator.push(e.eval(cx)?.as_deref()),
            }
        }
        check_buffer(self.held, "the aggregates")
    }

    /// The slots of each group, keys and then aggregates, in the order of the keys.
    pub(super) fn finish(self) -> impl Iterator<Item = Vec<Option<Value>>> {
        let mut groups: Vec<(Box<[u8]>, Group)> = self.by_key.into_iter().collect();
        groups.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        groups.into_iter().map(|(_, group)| {
            let mut slots = group.keys;
            slots.extend(group.accumulators.into_iter().map(Accumulator::finish));
            slots
        })
    }
}
