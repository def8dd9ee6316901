//! Walking an encoded value without building it.

use super::{ARRAY, BYTES, FALSE, FLOAT, INT, NULL, OBJECT, STR, TRUE, UINT};
use crate::MAX_DEPTH;
use crate::wire::{Reader, WireError};

/// What a walk meets, in order. Everything is optional, so that `()` only verifies.
pub trait Visit {
    /// `null`.
    fn null(&mut self) {}
    /// A boolean.
    fn bool(&mut self, _: bool) {}
    /// An integer of 64 bits.
    fn int(&mut self, _: i64) {}
    /// An integer above `i64::MAX`.
    fn uint(&mut self, _: u64) {}
    /// A float.
    fn float(&mut self, _: f64) {}
    /// Bytes.
    fn bytes(&mut self, _: &[u8]) {}
    /// Text.
    fn str(&mut self, _: &str) {}
    /// An array begins.
    fn begin_array(&mut self) {}
    /// An item of the array follows.
    fn item(&mut self) {}
    /// The array ends.
    fn end_array(&mut self) {}
    /// An object begins.
    fn begin_object(&mut self) {}
    /// A field of the object with this name follows.
    fn name(&mut self, _: &str) {}
    /// The object ends.
    fn end_object(&mut self) {}
}

impl Visit for () {}

/// Walks one value. Fails exactly where [`super::decode`] does; what was told until then is to be discarded.
pub fn visit(r: &mut Reader<'_>, v: &mut impl Visit) -> Result<(), WireError> {
    visit_at(r, v, 1)
}

fn visit_at(r: &mut Reader<'_>, v: &mut impl Visit, depth: usize) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::Depth(r.offset()));
    }
    match r.u8()? {
        NULL => v.null(),
        FALSE => v.bool(false),
        TRUE => v.bool(true),
        INT => v.int(r.zigzag()?),
        UINT => {
            let u = r.varint()?;
            if u <= i64::MAX as u64 {
                return Err(r.invalid("integer form"));
            }
            v.uint(u);
        }
        FLOAT => {
            let f = f64::from_bits(r.u64_le()?);
            if f.is_nan() && f.to_bits() != f64::NAN.to_bits() {
                return Err(r.invalid("NaN form"));
            }
            v.float(f);
        }
        BYTES => v.bytes(r.bytes(usize::MAX)?),
        STR => v.str(r.str(usize::MAX)?),
        ARRAY => {
            let mut body = Reader::new(r.bytes(usize::MAX)?);
            v.begin_array();
            for _ in 0..body.count(1)? {
                v.item();
                visit_at(&mut body, v, depth + 1)?;
            }
            body.finish()?;
            v.end_array();
        }
        OBJECT => {
            let mut body = Reader::new(r.bytes(usize::MAX)?);
            v.begin_object();
            let mut last: Option<&str> = None;
            for _ in 0..body.count(2)? {
                let name = body.str(usize::MAX)?;
                if last.is_some_and(|l| l >= name) {
                    return Err(body.invalid("order of object fields"));
                }
                last = Some(name);
                v.name(name);
                visit_at(&mut body, v, depth + 1)?;
            }
            body.finish()?;
            v.end_object();
        }
        _ => return Err(r.invalid("value tag")),
    }
    Ok(())
}
