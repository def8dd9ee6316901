//! Groups in files. A group is one record for each time it was written, with its keys and what its aggregates have come to,
//! and one record for each value that an aggregate has to keep: those of DISTINCT and of MEDIAN.
//!
//! Records are sorted by the bytes of the group, then by kind, aggregate and value. So a group comes in one piece, equal
//! values of DISTINCT are neighbours, and the numbers of MEDIAN come in order.

use ditto_types::Value;
use ditto_types::wire::{Reader, put_varint};

use super::Group;
use crate::aggregate::{Accumulator, AggregateFn, middle};
use crate::error::DqlError;
use crate::key::push_component;
use crate::plan::Grouping;
use crate::spill::{
    Push, Record, Runs, SharedSpill, SpillFile, damaged, get_value, get_values, put_value, put_values,
};

/// Kinds of records, behind the bytes of the group.
const PARTIAL: u8 = 0;
const KEPT: u8 = 1;

/// Writes a group as it is now, its records in order.
pub(super) fn write(
    grouping: &Grouping,
    key: &[u8],
    mut group: Group,
    push: Push<'_>,
) -> Result<(), DqlError> {
    let (mut record, mut payload) = (key.to_vec(), Vec::new());
    record.push(PARTIAL);
    put_varint(&mut payload, key.len() as u64);
    put_values(&group.keys, &mut payload);
    for (aggregate, accumulator) in grouping.aggregates.iter().zip(&group.accumulators) {
        if !aggregate.keeps_values() {
            accumulator.put_partial(&mut payload);
        }
    }
    push(&record, &payload)?;
    for (number, accumulator) in group.accumulators.iter_mut().enumerate() {
        for value in accumulator.take_kept() {
            record.truncate(key.len());
            record.push(KEPT);
            record.extend((number as u32).to_be_bytes());
            push_component(Some(&value), false, &mut record);
            payload.clear();
            put_varint(&mut payload, key.len() as u64);
            put_value(Some(&value), &mut payload);
            push(&record, &payload)?;
        }
    }
    Ok(())
}

/// Hands over the slots of each group in the order of the keys. Gives the number of groups.
pub(super) fn read(
    grouping: &Grouping,
    runs: Runs<'_>,
    spill: &SharedSpill,
    mut each: impl FnMut(Vec<Option<Value>>) -> Result<(), DqlError>,
) -> Result<u64, DqlError> {
    let mut current: Option<Merging<'_>> = None;
    let mut number = 0;
    runs.finish(|record| {
        let mut r = Reader::new(&record.payload);
        let len = r.len(record.key.len()).map_err(|_| damaged())?;
        let (key, rest) = record.key.split_at(len);
        if current.as_ref().is_none_or(|c| c.key != key)
            && let Some(done) = current.replace(Merging::new(grouping, key, spill))
        {
            number += 1;
            each(done.slots()?)?;
        }
        let Some(group) = &mut current else { return Err(damaged()) };
        group.take(record, rest, &mut r)?;
        Ok(true)
    })?;
    if let Some(done) = current {
        number += 1;
        each(done.slots()?)?;
    }
    Ok(number)
}

/// A group that is put together.
struct Merging<'g> {
    grouping: &'g Grouping,
    key: Vec<u8>,
    keys: Vec<Option<Value>>,
    aggregates: Vec<Part>,
    /// Key of the last value that was kept.
    last: Vec<u8>,
}

enum Part {
    Accumulator(Accumulator),
    Median(Numbers),
}

impl<'g> Merging<'g> {
    fn new(grouping: &'g Grouping, key: &[u8], spill: &SharedSpill) -> Self {
        let aggregates = grouping.aggregates.iter().map(|a| match a.function {
            AggregateFn::Median => Part::Median(Numbers::new(spill.clone())),
            _ => Part::Accumulator(Accumulator::plain(a)),
        });
        Self {
            grouping,
            key: key.to_vec(),
            keys: Vec::new(),
            aggregates: aggregates.collect(),
            last: Vec::new(),
        }
    }

    /// Takes a record, of which `rest` is the key behind that of the group and `r` the payload.
    fn take(&mut self, record: &Record, rest: &[u8], r: &mut Reader<'_>) -> Result<(), DqlError> {
        match rest.split_first() {
            Some((&PARTIAL, _)) => {
                let keys = get_values(self.grouping.keys.len(), r)?;
                // The first spelling counts: 1 and 1.0 are one group.
                if self.keys.is_empty() {
                    self.keys = keys;
                }
                for (aggregate, part) in self.grouping.aggregates.iter().zip(&mut self.aggregates) {
                    if let (false, Part::Accumulator(accumulator)) = (aggregate.keeps_values(), part) {
                        accumulator.absorb_partial(r)?;
                    }
                }
                Ok(())
            }
            Some((&KEPT, rest)) => {
                let number = rest.first_chunk().map(|n| u32::from_be_bytes(*n)).ok_or_else(damaged)?;
                let aggregate = self.grouping.aggregates.get(number as usize).ok_or_else(damaged)?;
                if aggregate.distinct && self.last == record.key {
                    return Ok(());
                }
                self.last.clear();
                self.last.extend_from_slice(&record.key);
                let value = get_value(r)?.ok_or_else(damaged)?;
                match self.aggregates.get_mut(number as usize) {
                    Some(Part::Accumulator(accumulator)) => {
                        accumulator.push(Some(&value));
                        Ok(())
                    }
                    Some(Part::Median(numbers)) => numbers.push(&value),
                    None => Err(damaged()),
                }
            }
            _ => Err(damaged()),
        }
    }

    fn slots(self) -> Result<Vec<Option<Value>>, DqlError> {
        let mut slots = self.keys;
        for part in self.aggregates {
            slots.push(match part {
                Part::Accumulator(accumulator) => accumulator.finish(),
                Part::Median(numbers) => numbers.median()?,
            });
        }
        Ok(slots)
    }
}

/// Numbers in order, of which in the end the middle is wanted.
struct Numbers {
    spill: SharedSpill,
    file: Option<Box<dyn SpillFile>>,
    /// How many are in the file.
    written: u64,
    /// The ones behind them.
    tail: Vec<u8>,
}

/// Bytes of a number: which kind it is, and its bits.
const NUMBER: usize = 9;
/// Bytes of numbers that are written at once.
const CHUNK: usize = NUMBER * 8192;

impl Numbers {
    fn new(spill: SharedSpill) -> Self {
        Self { spill, file: None, written: 0, tail: Vec::new() }
    }

    fn push(&mut self, value: &Value) -> Result<(), DqlError> {
        let (kind, bits) = match value {
            Value::Int(i) => (0, i.to_le_bytes()),
            Value::UInt(u) => (1, u.to_le_bytes()),
            Value::Float(f) => (2, f.to_bits().to_le_bytes()),
            _ => return Err(damaged()),
        };
        self.tail.push(kind);
        self.tail.extend(bits);
        if self.tail.len() >= CHUNK {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(self.spill.create()?),
            };
            file.append(&self.tail)?;
            self.written += (self.tail.len() / NUMBER) as u64;
            self.tail.clear();
        }
        Ok(())
    }

    fn get(&self, index: u64) -> Result<Value, DqlError> {
        let mut bytes = [0; NUMBER];
        match (&self.file, index.checked_sub(self.written)) {
            (Some(file), None) => file.read(index * NUMBER as u64, &mut bytes)?,
            (_, Some(at)) => {
                let at = at as usize * NUMBER;
                bytes.copy_from_slice(self.tail.get(at..at + NUMBER).ok_or_else(damaged)?);
            }
            (None, None) => return Err(damaged()),
        }
        let [kind, bits @ ..] = bytes;
        match kind {
            0 => Ok(Value::Int(i64::from_le_bytes(bits))),
            1 => Ok(Value::UInt(u64::from_le_bytes(bits))),
            2 => Ok(Value::Float(f64::from_bits(u64::from_le_bytes(bits)))),
            _ => Err(damaged()),
        }
    }

    fn median(self) -> Result<Option<Value>, DqlError> {
        let len = self.written + (self.tail.len() / NUMBER) as u64;
        let Some(below) = len.checked_sub(1).map(|last| last / 2) else { return Ok(None) };
        let at = self.get(len / 2)?;
        if below == len / 2 {
            return Ok(Some(at));
        }
        Ok(Some(middle(&self.get(below)?, &at)))
    }
}
