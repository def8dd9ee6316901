//! Keys of indexes: values as bytes whose order is the order of the language.
//!
//! An entry is one component for each key of the index, then a trailer. Components compare bytewise as
//! [`compare`](crate::compare) orders the values, and equal values have equal components also when one is an integer
//! and the other a float. No component is the beginning of another, so that entries compare component by component. The
//! trailer says what comparing ignores: which numbers were floats. Components of descending keys are complemented.
//!
//! | value | bytes |
//! |---|---|
//! | false, true | `10`, `18` |
//! | number | `20`, then the nearest float in a monotone form, without its trailing zeros; from 2^53 on how far the integer is from it |
//! | binary, string | `30` or `40`, the bytes with `00` and `01` escaped, `00` |
//! | array | `50`, the items, `00` |
//! | object | `60`, for each field `01`, its name as the bytes of a string, its value; `00` |
//! | null, missing | `70`, `78` |

mod number;
mod read;

use ditto_types::Value;

use crate::catalog::IndexKey;
use number::Kinds;

pub use read::KeyError;

pub(crate) const FALSE: u8 = 0x10;
pub(crate) const TRUE: u8 = 0x18;
pub(crate) const NUMBER: u8 = 0x20;
pub(crate) const BINARY: u8 = 0x30;
pub(crate) const STRING: u8 = 0x40;
pub(crate) const ARRAY: u8 = 0x50;
pub(crate) const OBJECT: u8 = 0x60;
pub(crate) const NULL: u8 = 0x70;
pub(crate) const MISSING: u8 = 0x78;

/// Ends strings, binary values, arrays and objects.
const END: u8 = 0x00;
/// Before a field of an object.
const FIELD: u8 = 0x01;
/// `00` and `01` inside of strings are this and a second byte.
const ESCAPE: u8 = 0x01;

/// A part of an index: the keys that are at least `low` and less than `high`, bytewise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySpan {
    /// The first key that may be in it.
    pub low: Vec<u8>,
    /// The first key behind it; `None` for no upper end.
    pub high: Option<Vec<u8>>,
}

impl KeySpan {
    /// Every key.
    pub fn all() -> Self {
        Self { low: Vec::new(), high: None }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: Vec<u8>) -> Self {
        let high = successor(&prefix);
        Self { low: prefix, high }
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.low.as_slice() <= key && self.high.as_deref().is_none_or(|high| key < high)
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }
}

/// The key of an index entry. `None` is MISSING; there are as many values as keys.
pub fn encode_key(keys: &[IndexKey], values: &[Option<Value>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * keys.len());
    let mut kinds = Kinds::default();
    for (key, value) in keys.iter().zip(values) {
        component(value.as_ref(), key.descending, &mut out, &mut kinds);
    }
    kinds.write(&mut out);
    out
}

/// Appends what [`encode_key`] gives for these values. False, and nothing is appended, if one is missing whose key leaves
/// out what is missing.
pub(crate) fn push_key(
    keys: &[IndexKey],
    mut value: impl FnMut(&IndexKey) -> Option<Value>,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let mut kinds = Kinds::default();
    for key in keys {
        let value = value(key);
        if value.is_none() && !key.include_missing {
            out.truncate(start);
            return false;
        }
        component(value.as_ref(), key.descending, out, &mut kinds);
    }
    kinds.write(out);
    true
}

/// The values of an index entry, as they were encoded.
///
/// # Errors
///
/// Bytes that [`encode_key`] does not make for these keys.
pub fn decode_key(keys: &[IndexKey], bytes: &[u8]) -> Result<Vec<Option<Value>>, KeyError> {
    read::decode(keys, bytes)
}

/// Appends what the keys of entries with this value begin with.
pub(crate) fn push_component(value: Option<&Value>, descending: bool, out: &mut Vec<u8>) {
    component(value, descending, out, &mut Kinds::default());
}

/// The value of an ascending component, if the bytes are one.
pub(crate) fn read_component(bytes: &[u8]) -> Option<Option<Value>> {
    read::component(bytes).ok()
}

/// The first byte string behind all that begin with `prefix`; `None` when there is none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|b| *b != u8::MAX)?;
    let mut out = prefix[..=kept].to_vec();
    out[kept] += 1;
    Some(out)
}

fn component(value: Option<&Value>, descending: bool, out: &mut Vec<u8>, kinds: &mut Kinds) {
    let start = out.len();
    match value {
        None => out.push(MISSING),
        Some(v) => write(v, out, kinds),
    }
    if descending {
        for b in &mut out[start..] {
            *b = !*b;
        }
    }
}

fn write(value: &Value, out: &mut Vec<u8>, kinds: &mut Kinds) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
            out.push(NUMBER);
            number::write(value, out, kinds);
        }
        Value::Bytes(b) => {
            out.push(BINARY);
            escape(b, out);
        }
        Value::Str(s) => {
            out.push(STRING);
            escape(s.as_bytes(), out);
        }
        Value::Array(items) => {
            out.push(ARRAY);
            for item in items {
                write(item, out, kinds);
            }
            out.push(END);
        }
        Value::Object(fields) => {
            out.push(OBJECT);
            for (name, value) in fields {
                out.push(FIELD);
                escape(name.as_bytes(), out);
                write(value, out, kinds);
            }
            out.push(END);
        }
    }
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    escape_open(bytes, out);
    out.push(END);
}

/// Without the end: what the bytes of all longer strings begin with.
pub(crate) fn escape_open(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 1);
    for b in bytes {
        match b {
            0 | 1 => out.extend([ESCAPE, b + 1]),
            b => out.push(*b),
        }
    }
}

#[cfg(test)]
mod tests;
