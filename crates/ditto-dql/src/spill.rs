//! What a run does not hold in memory: records in temporary files, which whoever runs the statement supplies.
//!
//! A record is made and read by this crate alone, within one run or one result. Files are not trusted all the same: what
//! does not fit is an error, and no length is believed before it is compared with what was written.

mod rows;
mod runs;

use std::sync::Arc;

use ditto_types::wire::Reader;
use ditto_types::{ErrorKind, Value, codec};

use crate::error::DqlError;
use crate::item::Item;

pub(crate) use rows::{Collector, SpilledRows};
pub(crate) use runs::{Push, Record, Runs};

/// Deepest nesting of a row: an expression nests 128 levels, and values below it as deep as documents.
const MAX_ROW_DEPTH: usize = 256;

/// Temporary space for statements.
///
/// An implementation deletes a file when it is dropped, and after a crash before it hands out new ones.
pub trait Spill: Send + Sync {
    /// Bytes that ORDER BY, GROUP BY, DISTINCT and the result may each hold before they use a file.
    fn memory(&self) -> usize;

    /// An empty file.
    ///
    /// # Errors
    ///
    /// It cannot be made; [`ErrorKind::StoreFull`] when there is no space.
    fn create(&self) -> Result<Box<dyn SpillFile>, DqlError>;

    /// The row for which [`LazyItem::store`](crate::LazyItem::store) wrote these bytes; `None` when they are none of its own.
    fn restore(&self, stored: &[u8]) -> Option<Item>;

    /// Takes note that a row of a result could not be read back and is shown as null. There is nobody else to tell.
    fn lost(&self, error: &DqlError);
}

/// A temporary file. Results keep theirs as long as they live.
pub trait SpillFile: Send + Sync {
    /// Writes at the end.
    ///
    /// # Errors
    ///
    /// Those of the device; [`ErrorKind::StoreFull`] when there is no space. The file is of no use then.
    fn append(&mut self, bytes: &[u8]) -> Result<(), DqlError>;

    /// Fills `out` with the bytes from `at` on.
    ///
    /// # Errors
    ///
    /// Those of the device, also when there are fewer bytes.
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), DqlError>;

    /// Makes it empty again, and gives the space back.
    ///
    /// # Errors
    ///
    /// Those of the device.
    fn clear(&mut self) -> Result<(), DqlError>;
}

/// Temporary space that results share with the runs that made them.
pub type SharedSpill = Arc<dyn Spill>;

/// A temporary file does not hold what was written to it.
pub(crate) fn damaged() -> DqlError {
    DqlError::new(ErrorKind::Io, "a temporary file of a statement is damaged")
}

/// How a row is written: as its bytes, or as a value.
const STORED: u8 = 0;
const VALUE: u8 = 1;

/// Appends a row; nothing stands behind it.
pub(crate) fn put_item(item: &Item, out: &mut Vec<u8>) {
    if let Item::Lazy(lazy) = item {
        let start = out.len();
        out.push(STORED);
        if lazy.store(out) {
            return;
        }
        out.truncate(start);
    }
    out.push(VALUE);
    match item {
        Item::Value(v) => codec::encode(v, out),
        Item::Lazy(lazy) => codec::encode(&lazy.value(), out),
    }
}

/// The row that [`put_item`] wrote, cheap to clone.
pub(crate) fn get_item(bytes: &[u8], spill: &dyn Spill) -> Result<Item, DqlError> {
    match bytes.split_first() {
        Some((&STORED, stored)) => spill.restore(stored).ok_or_else(damaged),
        Some((&VALUE, value)) => Ok(Item::shared(get_whole_value(value)?)),
        _ => Err(damaged()),
    }
}

/// Appends values of which each may be MISSING.
pub(crate) fn put_values(values: &[Option<Value>], out: &mut Vec<u8>) {
    for value in values {
        put_value(value.as_ref(), out);
    }
}

/// The `n` values that [`put_values`] wrote.
pub(crate) fn get_values(n: usize, r: &mut Reader<'_>) -> Result<Vec<Option<Value>>, DqlError> {
    (0..n).map(|_| get_value(r)).collect()
}

/// Appends a value that may be MISSING.
pub(crate) fn put_value(value: Option<&Value>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        codec::encode(value, out);
    }
}

/// The value that [`put_value`] wrote.
pub(crate) fn get_value(r: &mut Reader<'_>) -> Result<Option<Value>, DqlError> {
    let value = match r.u8() {
        Ok(0) => return Ok(None),
        Ok(1) => codec::decode_within(r, MAX_ROW_DEPTH),
        _ => return Err(damaged()),
    };
    value.map(Some).map_err(|_| damaged())
}

fn get_whole_value(bytes: &[u8]) -> Result<Value, DqlError> {
    let mut r = Reader::new(bytes);
    let value = codec::decode_within(&mut r, MAX_ROW_DEPTH).map_err(|_| damaged())?;
    r.finish().map_err(|_| damaged())?;
    Ok(value)
}

#[cfg(test)]
pub(crate) mod tests;
