//! Attachment tokens as values.

use ditto_types::{Object, SmolStr, Value};

use crate::leaf::AttachmentToken;

impl AttachmentToken {
    /// Nesting depth of the value that it shows.
    pub(crate) fn depth(&self) -> usize {
        if self.metadata.is_empty() { 2 } else { 3 }
    }

    /// The token as a query shows it: `{id, len, metadata}`, the id in lower-case hexadecimal.
    pub fn to_value(&self) -> Value {
        let id: String = self.hash.iter().map(|b| format!("{b:02x}")).collect();
        let metadata = self.metadata.iter().map(|(k, v)| (k.clone(), Value::Str(v.clone()))).collect();
        Value::Object(Object::from([
            (SmolStr::new_static("id"), Value::from(id)),
            (SmolStr::new_static("len"), Value::from(self.len)),
            (SmolStr::new_static("metadata"), Value::Object(metadata)),
        ]))
    }

    /// Reads what [`AttachmentToken::to_value`] gives; `None` for anything else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let fields = value.as_object().filter(|o| o.len() == 3)?;
        let id = fields.get("id")?.as_str().filter(|id| id.len() == 64)?;
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(id.as_bytes().chunks(2)) {
            *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
        }
        let len = match fields.get("len")? {
            Value::Int(n) => u64::try_from(*n).ok()?,
            Value::UInt(n) => *n,
            _ => return None,
        };
        let metadata = fields.get("metadata")?.as_object()?;
        let metadata = metadata.iter().map(|(k, v)| Some((k.clone(), SmolStr::new(v.as_str()?))));
        Some(Self { hash, len, metadata: metadata.collect::<Option<_>>()? })
    }
}

fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}
