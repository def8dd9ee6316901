//! Sorting more records than memory holds: sorted runs in files, merged when they are read.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::{SharedSpill, SpillFile, damaged};
use crate::error::DqlError;
use crate::exec::Poll;

/// Runs of a level. As many become one run of the next level, so that the runs to merge in the end are few.
const FAN: usize = 64;

/// Bytes read or written at once.
const CHUNK: usize = 64 << 10;

/// Lengths of key and payload.
const HEAD: usize = 8;

/// A record: payloads come in the order of their keys, those of equal keys in the order in which they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Takes a record's key and payload.
pub(crate) type Push<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), DqlError>;

/// Records under way.
pub(crate) struct Runs<'c> {
    spill: SharedSpill,
    poll: Poll<'c>,
    held: Held,
    /// Runs of the same level are of about the same size, and older than those of the level before.
    levels: Vec<Level>,
}

/// The records in memory.
#[derive(Default)]
struct Held {
    /// Key and payload of each record.
    bytes: Vec<u8>,
    /// Where each begins, where its key ends, and where it ends.
    places: Vec<(usize, usize, usize)>,
}

impl Held {
    fn weight(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<(usize, usize, usize)>()
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.places.sort_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }
}

struct Level {
    file: Box<dyn SpillFile>,
    len: u64,
    /// The runs from the oldest, each from its first byte to its end.
    runs: Vec<(u64, u64)>,
}

impl<'c> Runs<'c> {
    pub(crate) fn new(spill: SharedSpill, poll: Poll<'c>) -> Self {
        Self { spill, poll, held: Held::default(), levels: Vec::new() }
    }

    /// Adds a record whose key and payload `write` appends; it says where the key ends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> usize) -> Result<(), DqlError> {
        let start = self.held.bytes.len();
        let key_end = write(&mut self.held.bytes);
        self.held.places.push((start, key_end, self.held.bytes.len()));
        // Half of it, because a vector that grows is there twice.
        if self.held.weight() > self.spill.memory() / 2 { self.flush() } else { Ok(()) }
    }

    /// Writes what is held in memory.
    fn flush(&mut self) -> Result<(), DqlError> {
        let mut held = std::mem::take(&mut self.held);
        if held.places.is_empty() {
            return Ok(());
        }
        held.sort();
        self.add(|push| {
            held.places.iter().try_for_each(|(start, key_end, end)| {
                push(&held.bytes[*start..*key_end], &held.bytes[*key_end..*end])
            })
        })?;
        held.clear();
        self.held = held;
        Ok(())
    }

    /// Adds records that are in order, and come after all earlier ones of the same key.
    pub(crate) fn add(
        &mut self,
        write: impl FnOnce(Push<'_>) -> Result<(), DqlError>,
    ) -> Result<(), DqlError> {
        self.flush()?;
        self.make_room(0)?;
        let poll = &mut self.poll;
        let mut writer = Writer::new(&mut self.levels[0]);
        write(&mut |key, payload| {
            poll.row()?;
            writer.push(key, payload)
        })?;
        writer.finish()
    }

    /// Makes sure that there is a level, and that it takes one run more.
    fn make_room(&mut self, level: usize) -> Result<(), DqlError> {
        if self.levels.len() == level {
            self.levels.push(Level { file: self.spill.create()?, len: 0, runs: Vec::new() });
        }
        if self.levels[level].runs.len() < FAN {
            return Ok(());
        }
        self.make_room(level + 1)?;
        let (below, above) = self.levels.split_at_mut(level + 1);
        let full = &mut below[level];
        let mut merge = Merge::new(std::slice::from_ref(full))?;
        let mut writer = Writer::new(&mut above[0]);
        while let Some(record) = merge.next()? {
            self.poll.row()?;
            writer.push(&record.key, &record.payload)?;
        }
        writer.finish()?;
        full.file.clear()?;
        full.len = 0;
        full.runs.clear();
        Ok(())
    }

    /// Hands over all records in order, until `each` says that it is enough.
    pub(crate) fn finish(
        mut self,
        mut each: impl FnMut(&Record) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        // What is left is one run more: memory is needed for what comes now.
        self.flush()?;
        let mut merge = Merge::new(&self.levels)?;
        while let Some(record) = merge.next()? {
            self.poll.row()?;
            if !each(record)? {
                break;
            }
        }
        Ok(())
    }
}

/// Appends a run to a level.
struct Writer<'l> {
    level: &'l mut Level,
    start: u64,
    buffer: Vec<u8>,
}

impl<'l> Writer<'l> {
    fn new(level: &'l mut Level) -> Self {
        Self { start: level.len, level, buffer: Vec::with_capacity(CHUNK) }
    }

    fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<(), DqlError> {
        // Budgets bound rows far below 4 GiB.
        let len = |b: &[u8]| u32::try_from(b.len()).map(u32::to_le_bytes).map_err(|_| damaged());
        self.buffer.extend(len(key)?);
        self.buffer.extend(len(payload)?);
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= CHUNK { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), DqlError> {
        self.level.file.append(&self.buffer)?;
        self.level.len += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), DqlError> {
        self.write()?;
        self.level.runs.push((self.start, self.level.len));
        Ok(())
    }
}

/// Reads a run.
struct Reader<'l> {
    file: &'l dyn SpillFile,
    /// What has not been read from the file.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    done: usize,
}

impl<'l> Reader<'l> {
    /// Puts the next record into `record`; `false` at the end.
    fn next(&mut self, record: &mut Record) -> Result<bool, DqlError> {
        if self.done == self.buffer.len() && self.at == self.end {
            return Ok(false);
        }
        self.fill(HEAD)?;
        let len = |b: &[u8]| b.try_into().map(u32::from_le_bytes).map(|n| n as usize).map_err(|_| damaged());
        let head = &self.buffer[self.done..self.done + HEAD];
        let (key, payload) = (len(&head[..4])?, len(&head[4..])?);
        let whole = HEAD.checked_add(key).and_then(|n| n.checked_add(payload)).ok_or_else(damaged)?;
        self.fill(whole)?;
        let body = &self.buffer[self.done + HEAD..self.done + whole];
        record.key.clear();
        record.key.extend_from_slice(&body[..key]);
        record.payload.clear();
        record.payload.extend_from_slice(&body[key..]);
        self.done += whole;
        Ok(true)
    }

    /// Makes sure that the buffer has `n` bytes more.
    fn fill(&mut self, n: usize) -> Result<(), DqlError> {
        let held = self.buffer.len() - self.done;
        if held >= n {
            return Ok(());
        }
        if (n - held) as u64 > self.end - self.at {
            return Err(damaged());
        }
        self.buffer.drain(..self.done);
        self.done = 0;
        let more = ((n - held).max(CHUNK) as u64).min(self.end - self.at);
        self.buffer.resize(held + more as usize, 0);
        self.file.read(self.at, &mut self.buffer[held..])?;
        self.at += more;
        Ok(())
    }
}

/// The next record of a run, and where it comes from: older runs have smaller numbers.
struct Head {
    record: Record,
    run: usize,
}

impl Ord for Head {
    /// The first one is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        self.record.key.cmp(&other.record.key).then(self.run.cmp(&other.run)).reverse()
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// The records of several runs in order.
struct Merge<'l> {
    runs: Vec<Reader<'l>>,
    heads: BinaryHeap<Head>,
    current: Record,
}

impl<'l> Merge<'l> {
    fn new(levels: &'l [Level]) -> Result<Self, DqlError> {
        // A higher level was filled from runs that are older than those that the level below has now.
        let runs = levels.iter().rev().flat_map(|level| {
            level.runs.iter().map(|(at, end)| Reader {
                file: &*level.file,
                at: *at,
                end: *end,
                buffer: Vec::new(),
                done: 0,
            })
        });
        let mut merge = Self { runs: runs.collect(), heads: BinaryHeap::new(), current: Record::default() };
        for (run, reader) in merge.runs.iter_mut().enumerate() {
            let mut record = Record::default();
            if reader.next(&mut record)? {
                merge.heads.push(Head { record, run });
            }
        }
        Ok(merge)
    }

    fn next(&mut self) -> Result<Option<&Record>, DqlError> {
        let Some(mut first) = self.heads.peek_mut() else { return Ok(None) };
        std::mem::swap(&mut self.current, &mut first.record);
        let head = &mut *first;
        if !self.runs[head.run].next(&mut head.record)? {
            PeekMut::pop(first);
        }
        Ok(Some(&self.current))
    }
}
