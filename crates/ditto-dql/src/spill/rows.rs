//! The rows of a result: in memory as long as they are few, else in a file, from where they are read when somebody looks.

use std::sync::{Arc, Mutex, PoisonError};

use ditto_types::Value;
use ditto_types::wire::{Reader, put_varint};

use super::{SharedSpill, SpillFile, damaged, get_item, put_item};
use crate::error::DqlError;
use crate::item::Item;
use crate::items::Items;

/// Bytes of a block, which is read whole. A longer row has a block of its own.
const BLOCK: usize = 64 << 10;

/// Takes the rows of a result in order.
pub(crate) struct Collector {
    spill: Option<SharedSpill>,
    held: Vec<Item>,
    /// Memory that the rows take.
    weight: usize,
    file: Option<Writing>,
}

struct Writing {
    file: Box<dyn SpillFile>,
    len: u64,
    block: Vec<u8>,
    /// Rows, those of the block included.
    rows: usize,
    blocks: Vec<Block>,
    /// One row, before its length is known.
    row: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Block {
    at: u64,
    len: usize,
    /// Number of rows up to the end of this block.
    end: usize,
}

impl Collector {
    /// Without `spill` everything stays in memory.
    pub(crate) fn new(spill: Option<SharedSpill>) -> Self {
        Self { spill, held: Vec::new(), weight: 0, file: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.file.as_ref().map_or(self.held.len(), |f| f.rows)
    }

    pub(crate) fn push(&mut self, item: Item) -> Result<(), DqlError> {
        if let Some(file) = &mut self.file {
            return file.push(&item);
        }
        if self.spill.is_some() {
            self.weight = self.weight.saturating_add(size_of::<Item>() + item.weight());
        }
        self.held.push(item);
        self.spill_over()
    }

    /// Adds a row as [`put_item`] wrote it.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), DqlError> {
        match (&mut self.file, &self.spill) {
            (Some(file), _) => file.push_bytes(bytes),
            (None, Some(spill)) => {
                let item = get_item(bytes, &**spill)?;
                self.push(item)
            }
            (None, None) => Err(damaged()),
        }
    }

    fn spill_over(&mut self) -> Result<(), DqlError> {
        let Some(spill) = self.spill.as_ref().filter(|s| self.weight > s.memory()) else { return Ok(()) };
        let mut file = Writing {
            file: spill.create()?,
            len: 0,
            block: Vec::with_capacity(BLOCK),
            rows: 0,
            blocks: Vec::new(),
            row: Vec::new(),
        };
        std::mem::take(&mut self.held).iter().try_for_each(|item| file.push(item))?;
        self.file = Some(file);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Items, DqlError> {
        match (self.file, self.spill) {
            (Some(mut file), Some(spill)) => {
                file.write()?;
                let Writing { file, blocks, .. } = file;
                let cache = Mutex::default();
                Ok(Items::spilled(SpilledRows { file, blocks, spill, cache }))
            }
            _ => Ok(Items::from(self.held)),
        }
    }
}

impl Writing {
    fn push(&mut self, item: &Item) -> Result<(), DqlError> {
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        put_item(item, &mut row);
        let done = self.push_bytes(&row);
        self.row = row;
        done
    }

    fn push_bytes(&mut self, row: &[u8]) -> Result<(), DqlError> {
        if !self.block.is_empty() && self.block.len() + row.len() > BLOCK {
            self.write()?;
        }
        put_varint(&mut self.block, row.len() as u64);
        self.block.extend_from_slice(row);
        self.rows += 1;
        Ok(())
    }

    fn write(&mut self) -> Result<(), DqlError> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.file.append(&self.block)?;
        self.blocks.push(Block { at: self.len, len: self.block.len(), end: self.rows });
        self.len += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}

/// Rows in a file. The block that was looked at last stays in memory.
pub(crate) struct SpilledRows {
    file: Box<dyn SpillFile>,
    blocks: Vec<Block>,
    spill: SharedSpill,
    cache: Mutex<Option<(usize, Arc<[Item]>)>>,
}

impl SpilledRows {
    pub(crate) fn len(&self) -> usize {
        self.blocks.last().map_or(0, |b| b.end)
    }

    /// Row `index`. One that cannot be read back is null: results have no way to report it, so [`Spill::lost`](super::Spill::lost) is told.
    pub(crate) fn get(&self, index: usize) -> Item {
        self.try_get(index).unwrap_or_else(|e| {
            self.spill.lost(&e);
            Item::Value(Value::Null)
        })
    }

    fn try_get(&self, index: usize) -> Result<Item, DqlError> {
        let number = self.blocks.partition_point(|b| b.end <= index);
        let first = number.checked_sub(1).and_then(|n| self.blocks.get(n)).map_or(0, |b| b.end);
        let row = |items: &[Item]| items.get(index - first).cloned().ok_or_else(damaged);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, items)) = cache.as_ref().filter(|(cached, _)| *cached == number) {
            return row(items);
        }
        let items: Arc<[Item]> = self.read(*self.blocks.get(number).ok_or_else(damaged)?)?.into();
        let found = row(&items);
        *cache = Some((number, items));
        found
    }

    fn read(&self, block: Block) -> Result<Vec<Item>, DqlError> {
        let mut bytes = vec![0; block.len];
        self.file.read(block.at, &mut bytes)?;
        let mut r = Reader::new(&bytes);
        let mut items = Vec::new();
        while !r.is_empty() {
            let row = r.bytes(usize::MAX).map_err(|_| damaged())?;
            items.push(get_item(row, &*self.spill)?);
        }
        Ok(items)
    }
}
