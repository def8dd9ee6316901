//! CBOR (RFC 8949) at the API boundary: rows of results and arguments of queries.
//!
//! Output is deterministic: definite lengths, object fields in byte order.

use crate::value::Value;

/// The bytes are not the CBOR of a value, or nested deeper than [`crate::MAX_DEPTH`].
#[derive(Debug, thiserror::Error)]
#[error("invalid CBOR: {0}")]
pub struct CborError(String);

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
        .map_err(|e| CborError(e.to_string()))?;
    if !rest.is_empty() {
        return Err(CborError(format!("{} bytes left over", rest.len())));
    }
    Ok(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn round_trip_keeps_kinds() {
        let text =
            r#"{"a":1,"b":1.0,"c":18446744073709551615,"d":{"$bytes":"AAH/"},"e":[null,true,"x"],"f":-5}"#;
        let v = json::from_str(text).unwrap();
        assert_eq!(from_slice(&to_vec(&v)).unwrap(), v);
        assert!(from_slice(&[0x01, 0x01]).is_err());
        assert!(from_slice(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(from_slice(&[0x81; 1000]).is_err());
    }
}
