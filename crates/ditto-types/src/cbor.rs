//! CBOR (RFC 8949) at the API boundary: rows of results and arguments of queries.
//!
//! Output is deterministic: definite lengths, object fields in byte order.

mod write;

pub use write::CborBytes;

use crate::json::TOO_DEEP;
use crate::value::Value;

/// The bytes are not the CBOR of a value, or nested deeper than [`crate::MAX_DEPTH`].
#[derive(Debug, thiserror::Error)]
#[error("invalid CBOR: {text}")]
pub struct CborError {
    text: String,
    too_deep: bool,
}

impl CborError {
    /// Whether it is nested too deeply.
    pub fn is_too_deep(&self) -> bool {
        self.too_deep
    }
}

/// Encodes a value.
pub fn to_vec(v: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = ciborium::into_writer(v, &mut out);
    out
}

/// Decodes one value that fills `bytes`.
pub fn from_slice(bytes: &[u8]) -> Result<Value, CborError> {
    let mut rest = bytes;
    let v = ciborium::de::from_reader_with_recursion_limit(&mut rest, crate::MAX_DEPTH * 2)
        .map_err(|e| CborError { text: e.to_string(), too_deep: is_too_deep(&e) })?;
    if !rest.is_empty() {
        return Err(CborError { text: format!("{} bytes left over", rest.len()), too_deep: false });
    }
    Ok(v)
}

fn is_too_deep(e: &ciborium::de::Error<std::io::Error>) -> bool {
    match e {
        ciborium::de::Error::RecursionLimitExceeded => true,
        ciborium::de::Error::Semantic(_, text) => text.starts_with(TOO_DEEP),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;
    use crate::wire::Reader;
    use crate::{codec, json};

    #[test]
    fn round_trip_keeps_kinds() {
        let text =
            r#"{"a":1,"b":1.0,"c":18446744073709551615,"d":{"$bytes":"AAH/"},"e":[null,true,"x"],"f":-5}"#;
        let v = json::from_str(text).unwrap();
        assert_eq!(from_slice(&to_vec(&v)).unwrap(), v);
        assert!(from_slice(&[0x01, 0x01]).is_err());
        assert!(from_slice(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        for levels in [crate::MAX_DEPTH, 1000] {
            let mut deep = vec![0x81; levels];
            deep.push(0x01);
            assert!(from_slice(&deep).unwrap_err().is_too_deep(), "{levels}");
        }
        assert!(!from_slice(&[0x81]).unwrap_err().is_too_deep());
    }

    /// The value by way of its stored form.
    fn walked(v: &Value) -> Vec<u8> {
        let mut out = vec![7];
        let stored = codec::to_vec(v);
        codec::visit(&mut Reader::new(&stored), &mut CborBytes::new(&mut out)).unwrap();
        assert_eq!(out.remove(0), 7, "what stood there stays");
        out
    }

    #[test]
    fn a_walk_writes_what_the_value_gives() {
        // Around the lengths at which the form of a header changes.
        for n in [0, 1, 23, 24, 25, 255, 256, 257, 65_535, 65_536, 70_000] {
            let array = Value::Array(vec![Value::Int(1); n]);
            let object: Object = (0..n).map(|i| (format!("{i}").into(), Value::Null)).collect();
            for v in [array, Value::Object(object), "é".repeat(n).into(), Value::Bytes(vec![5; n])] {
                let nested = Value::Array(vec![v.clone(), Value::Object([("k".into(), v)].into())]);
                assert_eq!(walked(&nested), to_vec(&nested), "{n}");
            }
        }
        for v in
            [0.0, -0.0, 1.0, 1.5, 0.1, 1e300, 65_504.0, 65_505.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE]
        {
            assert_eq!(walked(&Value::Float(v)), to_vec(&Value::Float(v)), "{v}");
        }
        for v in [0, -1, 23, 24, -24, -25, 255, 256, 65_536, i64::MAX, i64::MIN] {
            assert_eq!(walked(&Value::Int(v)), to_vec(&Value::Int(v)), "{v}");
        }
        for v in [Value::UInt(u64::MAX), Value::Null, Value::Bool(true), Value::Bool(false)] {
            assert_eq!(walked(&v), to_vec(&v));
        }
    }
}
