//! Reading keys back, for scans that do not look at the documents.

use std::fmt;

use ditto_types::{MAX_DEPTH, Object, SmolStr, Value};

use super::number;
use super::{ARRAY, BINARY, END, ESCAPE, FALSE, FIELD, MISSING, NULL, NUMBER, OBJECT, STRING, TRUE};
use crate::catalog::IndexKey;

/// The bytes are not a key of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed index key")
    }
}

impl std::error::Error for KeyError {}

/// Bytes that may be complemented.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    mask: u8,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, mask: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn peek(&self) -> Result<u8, KeyError> {
        self.rest.first().map(|b| b ^ self.mask).ok_or(KeyError)
    }

    pub(super) fn byte(&mut self) -> Result<u8, KeyError> {
        let b = self.peek()?;
        self.rest = &self.rest[1..];
        Ok(b)
    }

    pub(super) fn u16(&mut self) -> Result<u16, KeyError> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    pub(super) fn u64(&mut self) -> Result<u64, KeyError> {
        let mut out = [0; 8];
        for b in &mut out {
            *b = self.byte()?;
        }
        Ok(u64::from_be_bytes(out))
    }

    fn escaped(&mut self) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                END => return Ok(out),
                ESCAPE => match self.byte()? {
                    b @ (1 | 2) => out.push(b - 1),
                    _ => return Err(KeyError),
                },
                b => out.push(b),
            }
        }
    }

    fn string(&mut self) -> Result<SmolStr, KeyError> {
        String::from_utf8(self.escaped()?).map(SmolStr::from).map_err(|_| KeyError)
    }

    /// A component; `None` is MISSING, which only stands by itself.
    fn component(&mut self) -> Result<Option<Value>, KeyError> {
        if self.peek()? == MISSING {
            self.byte()?;
            return Ok(None);
        }
        self.value(1).map(Some)
    }

    fn value(&mut self, depth: usize) -> Result<Value, KeyError> {
        if depth > MAX_DEPTH {
            return Err(KeyError);
        }
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            NUMBER => number::read(self)?,
            BINARY => Value::Bytes(self.escaped()?),
            STRING => Value::Str(self.string()?),
            ARRAY => {
                let mut items = Vec::new();
                while self.peek()? != END {
                    items.push(self.value(depth + 1)?);
                }
                self.byte()?;
                Value::Array(items)
            }
            OBJECT => {
                let mut fields = Object::new();
                loop {
                    match self.byte()? {
                        END => break,
                        FIELD => {}
                        _ => return Err(KeyError),
                    }
                    let name = self.string()?;
                    // In ascending order, each once; anything else would not be found by its key.
                    if fields.last_key_value().is_some_and(|(last, _)| *last >= name) {
                        return Err(KeyError);
                    }
                    fields.insert(name, self.value(depth + 1)?);
                }
                Value::Object(fields)
            }
            _ => return Err(KeyError),
        })
    }
}

/// One ascending component, and nothing else.
pub(super) fn component(bytes: &[u8]) -> Result<Option<Value>, KeyError> {
    let mut r = Reader::new(bytes);
    let value = r.component()?;
    if r.is_empty() { Ok(value) } else { Err(KeyError) }
}

pub(super) fn decode(keys: &[IndexKey], bytes: &[u8]) -> Result<Vec<Option<Value>>, KeyError> {
    let mut r = Reader::new(bytes);
    let mut out = Vec::with_capacity(keys.len());
    for key in keys {
        r.mask = if key.descending { u8::MAX } else { 0 };
        out.push(r.component()?);
    }
    r.mask = 0;
    for value in out.iter_mut().flatten() {
        if r.is_empty() {
            break;
        }
        restore(value, &mut r)?;
    }
    if r.is_empty() { Ok(out) } else { Err(KeyError) }
}

/// Visits the numbers in the order in which they were written.
fn restore(value: &mut Value, trailer: &mut Reader<'_>) -> Result<(), KeyError> {
    match value {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => number::restore(value, trailer),
        Value::Array(items) => items.iter_mut().try_for_each(|v| restore(v, trailer)),
        Value::Object(fields) => fields.values_mut().try_for_each(|v| restore(v, trailer)),
        _ => Ok(()),
    }
}
