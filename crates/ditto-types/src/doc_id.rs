//! Document identifiers and their rules.

use std::fmt;

use crate::codec::{self, Visit, visit};
use crate::value::Value;
use crate::wire::{Reader, WireError};

/// Largest encoded document id, in bytes.
pub const MAX_ID_BYTES: usize = 4096;

/// A document's `_id`: a string, integer, boolean, bytes, array or object (composite id).
///
/// Kept as its canonical bytes, so that equality of ids is equality of bytes and the order of fields in a
/// composite id does not matter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocId(Box<[u8]>);

/// Why a value cannot be a document id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocIdError {
    /// Floats compare badly, so they are refused anywhere in an id.
    #[error("Floats are not supported in document IDs")]
    Float,
    /// `null` is no id.
    #[error("Null document ID not allowed")]
    Null,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("document ID of {0} bytes exceeds the limit of {MAX_ID_BYTES} bytes")]
    TooLong(usize),
    /// Nested deeper than [`crate::MAX_DEPTH`].
    #[error("document ID is nested too deeply")]
    TooDeep,
    /// Not the canonical bytes of an id.
    #[error("malformed document ID: {0}")]
    Malformed(#[from] WireError),
}

impl DocId {
    /// Checks and encodes an id.
    pub fn new(value: &Value) -> Result<Self, DocIdError> {
        check(value)?;
        if value.depth() > crate::MAX_DEPTH {
            return Err(DocIdError::TooDeep);
        }
        let bytes = codec::to_vec(value);
        if bytes.len() > MAX_ID_BYTES {
            return Err(DocIdError::TooLong(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    /// Reads an id from a peer or a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DocIdError> {
        if bytes.len() > MAX_ID_BYTES {
            return Err(DocIdError::TooLong(bytes.len()));
        }
        let (mut r, mut seen) = (Reader::new(bytes), Seen::default());
        visit(&mut r, &mut seen)?;
        r.finish()?;
        match seen {
            Seen { null: true, .. } => Err(DocIdError::Null),
            Seen { float: true, .. } => Err(DocIdError::Float),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id as a value.
    pub fn to_value(&self) -> Value {
        // Only canonical bytes are ever stored.
        codec::from_slice(&self.0).unwrap_or(Value::Null)
    }
}

/// A boolean is always an id.
impl From<bool> for DocId {
    fn from(v: bool) -> Self {
        Self(codec::to_vec(&Value::Bool(v)).into())
    }
}

/// What an encoded id has that none may have.
#[derive(Default)]
struct Seen {
    /// Whether what is walked is inside of an array or an object, where null may be.
    inside: bool,
    null: bool,
    float: bool,
}

impl Visit for Seen {
    fn null(&mut self) {
        self.null |= !self.inside;
    }

    fn float(&mut self, _: f64) {
        self.float = true;
    }

    fn begin_array(&mut self) {
        self.inside = true;
    }

    fn begin_object(&mut self) {
        self.inside = true;
    }
}

fn check(v: &Value) -> Result<(), DocIdError> {
    match v {
        Value::Null => Err(DocIdError::Null),
        Value::Float(_) => Err(DocIdError::Float),
        Value::Array(a) => a.iter().try_for_each(no_float),
        Value::Object(o) => o.values().try_for_each(no_float),
        _ => Ok(()),
    }
}

fn no_float(v: &Value) -> Result<(), DocIdError> {
    match v {
        Value::Float(_) => Err(DocIdError::Float),
        Value::Array(a) => a.iter().try_for_each(no_float),
        Value::Object(o) => o.values().try_for_each(no_float),
        _ => Ok(()),
    }
}

impl fmt::Debug for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocId({})", crate::json::to_string(&self.to_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn rules_of_the_contract() {
        for ok in [r#""a""#, "1", "true", r#"["a",1]"#, r#"{"b":1,"a":{"c":null}}"#] {
            let v = json::from_str(ok).unwrap();
            let id = DocId::new(&v).unwrap();
            assert_eq!(id.to_value(), v);
            assert_eq!(DocId::from_bytes(id.as_bytes()).unwrap(), id);
        }
        assert_eq!(DocId::new(&Value::Null), Err(DocIdError::Null));
        assert_eq!(DocId::new(&Value::Float(1.0)), Err(DocIdError::Float));
        assert_eq!(DocId::new(&json::from_str(r#"{"a":[1.5]}"#).unwrap()), Err(DocIdError::Float));
        assert!(matches!(DocId::new(&Value::from("x".repeat(5000))), Err(DocIdError::TooLong(_))));
    }
}
