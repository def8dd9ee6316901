//! JSON at the API boundary. Integers and floats keep their kind: `1` is an integer, `1.0` a float.
//!
//! JSON has no bytes: they appear as `{"$bytes":"<base64>"}`, both ways.

mod write;

pub use write::JsonText;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::MAX_DEPTH;
use crate::value::{Object, Value};

/// Name of the single field of an object that stands for bytes.
pub const BYTES_KEY: &str = "$bytes";

/// The text is not JSON, or nested deeper than [`MAX_DEPTH`].
#[derive(Debug, thiserror::Error)]
#[error("invalid JSON: {0}")]
pub struct JsonError(#[from] serde_json::Error);

impl JsonError {
    /// Whether it is nested too deeply. Otherwise it is not JSON, or has bytes that are not base64.
    pub fn is_too_deep(&self) -> bool {
        self.0.is_data() && self.0.to_string().starts_with(TOO_DEEP)
    }

    /// Line of the fault, from 1.
    pub fn line(&self) -> usize {
        self.0.line()
    }

    /// Column of the fault, from 1.
    pub fn column(&self) -> usize {
        self.0.column()
    }
}

/// Begins the message of what is nested too deeply: errors of serde carry nothing but text.
pub(crate) const TOO_DEEP: &str = "nesting exceeds";

/// Parses JSON text.
pub fn from_str(text: &str) -> Result<Value, JsonError> {
    Ok(serde_json::from_str(text)?)
}

/// Writes compact JSON text. Infinities and NaN, which JSON lacks, become `null`.
pub fn to_string(v: &Value) -> String {
    // Serialising a `Value` into memory cannot fail: keys are strings and the writer is infallible.
    serde_json::to_string(v).unwrap_or_default()
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => s.serialize_unit(),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Int(v) => s.serialize_i64(*v),
            Value::UInt(v) => s.serialize_u64(*v),
            Value::Float(v) => s.serialize_f64(*v),
            Value::Bytes(v) if s.is_human_readable() => {
                let mut m = s.serialize_map(Some(1))?;
                m.serialize_entry(BYTES_KEY, &STANDARD.encode(v))?;
                m.end()
            }
            Value::Bytes(v) => s.serialize_bytes(v),
            Value::Str(v) => s.serialize_str(v),
            Value::Array(v) => {
                let mut q = s.serialize_seq(Some(v.len()))?;
                v.iter().try_for_each(|x| q.serialize_element(x))?;
                q.end()
            }
            Value::Object(v) => {
                let mut m = s.serialize_map(Some(v.len()))?;
                v.iter().try_for_each(|(k, x)| m.serialize_entry(k.as_str(), x))?;
                m.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes_as_object = d.is_human_readable();
        ValueSeed { depth: 1, bytes_as_object }.deserialize(d)
    }
}

#[derive(Clone, Copy)]
struct ValueSeed {
    depth: usize,
    bytes_as_object: bool,
}

impl ValueSeed {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("{TOO_DEEP} {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_bytes<E>(self, v: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(v.to_vec()))
    }

    fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        // The size hint comes from the input, so it is no capacity.
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(seed)? {
            out.push(v);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut out = Object::new();
        while let Some(k) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            out.insert(SmolStr::new(k), map.next_value_seed(seed)?);
        }
        if self.bytes_as_object
            && out.len() == 1
            && let Some(Value::Str(text)) = out.get(BYTES_KEY)
        {
            let bytes = STANDARD.decode(text.as_bytes());
            return bytes.map(Value::Bytes).map_err(|e| A::Error::custom(format_args!("{BYTES_KEY}: {e}")));
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive() {
        let text =
            r#"{"a":1,"b":1.0,"c":18446744073709551615,"d":{"$bytes":"AAH/"},"e":[null,true,"x"],"f":-5}"#;
        let v = from_str(text).unwrap();
        assert_eq!(v.get("a"), Some(&Value::Int(1)));
        assert_eq!(v.get("b"), Some(&Value::Float(1.0)));
        assert_eq!(v.get("c"), Some(&Value::UInt(u64::MAX)));
        assert_eq!(v.get("d"), Some(&Value::Bytes(vec![0, 1, 255])));
        assert_eq!(to_string(&v), text);
    }

    #[test]
    fn encoded_values_are_written_as_decoded_ones() {
        for text in [
            r#"{"a":1,"b":1.0,"c":18446744073709551615,"d":{"$bytes":"AAH/"},"e":[null,true,"x",[],{}],"f":-5}"#,
            r#"{"":[],"q\"\\":"\u0000\u001f\b\t\n\f\r\"\\/\u007f","ü€😀":{"x":{"y":[1,[2,{"z":false}]]}}}"#,
            "[1e300,-1.5e-9,0.1,-0.0,123456789.125,1e16,1e17,5e-324]",
            "[-9223372036854775808,9223372036854775807]",
            "\"\"",
        ] {
            let v = from_str(text).unwrap();
            assert_eq!(JsonText::of_encoded(&crate::codec::to_vec(&v)).unwrap(), to_string(&v));
        }
        let odd = Value::from(vec![f64::NAN.into(), f64::INFINITY.into(), Value::Float(-f64::INFINITY)]);
        assert_eq!(JsonText::of_encoded(&crate::codec::to_vec(&odd)).unwrap(), "[null,null,null]");
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let e = from_str("{\"a\":\n nope}").unwrap_err();
        assert_eq!(e.line(), 2);
        assert!(from_str(r#"{"$bytes":"***"}"#).unwrap_err().to_string().contains("$bytes"));
        let deep = "[".repeat(100) + &"]".repeat(100);
        let e = from_str(&deep).unwrap_err();
        assert!(e.is_too_deep() && e.to_string().contains("nesting exceeds 64 levels"), "{e}");
        for text in [r#"{"$bytes":"nesting exceeds"}"#, "[nesting exceeds", "1 2"] {
            assert!(!from_str(text).unwrap_err().is_too_deep(), "{text}");
        }
    }
}
