//! The serialised forms of a transport config.

use ditto_types::ErrorKind;

use super::TransportConfig;
use crate::DittoError;

/// Longest serialised form that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting that is read.
const MAX_DEPTH: usize = 16;

impl TransportConfig {
    /// JSON text with the field names as keys; times in milliseconds.
    pub fn to_json(&self) -> Result<String, DittoError> {
        serde_json::to_string(self).map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))
    }

    /// Reads what [`TransportConfig::to_json`] wrote, here or elsewhere.
    ///
    /// Fails with [`ErrorKind::InvalidJson`] for what is not JSON, with [`ErrorKind::InvalidConfig`] for a value of a
    /// wrong kind or out of its range, and with [`ErrorKind::SizeLimitExceeded`] above 1 MiB.
    pub fn from_json(text: &str) -> Result<Self, DittoError> {
        check_size(text.len())?;
        let config: Self = serde_json::from_str(text).map_err(|e| {
            let kind = if e.is_data() { ErrorKind::InvalidConfig } else { ErrorKind::InvalidJson };
            DittoError::new(kind, format!("transport config: {e}"))
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The same as CBOR (API-238).
    pub fn to_cbor(&self) -> Result<Vec<u8>, DittoError> {
        let mut out = Vec::new();
        ciborium::into_writer(self, &mut out)
            .map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))?;
        Ok(out)
    }

    /// Reads what [`TransportConfig::to_cbor`] wrote, here or elsewhere.
    ///
    /// Fails as [`TransportConfig::from_json`], with [`ErrorKind::InvalidCbor`] for what is not CBOR.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, DittoError> {
        check_size(bytes.len())?;
        let mut rest = bytes;
        let config: Self =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|e| {
                let kind = match e {
                    ciborium::de::Error::Semantic(..) => ErrorKind::InvalidConfig,
                    _ => ErrorKind::InvalidCbor,
                };
                DittoError::new(kind, format!("transport config: {e}"))
            })?;
        if !rest.is_empty() {
            return Err(DittoError::new(
                ErrorKind::InvalidCbor,
                format!("transport config: {} bytes after its end", rest.len()),
            ));
        }
        config.validate()?;
        Ok(config)
    }
}

fn check_size(len: usize) -> Result<(), DittoError> {
    if len > MAX_BYTES {
        return Err(DittoError::new(
            ErrorKind::SizeLimitExceeded,
            format!("transport config: {len} bytes, the limit is {MAX_BYTES}"),
        ));
    }
    Ok(())
}

/// A duration as a whole number of milliseconds.
pub(super) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
