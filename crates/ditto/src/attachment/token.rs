//! The small reference to an attachment that documents hold.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use ditto_types::attachment::{self, ATTACHMENT_KEY};
use ditto_types::{BlobId, ErrorKind, MAX_BLOB_BYTES, Object, Value, cbor, json};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DittoAttachment;
use crate::DittoError;

/// Reference to an attachment: id, length and metadata (API-331). Immutable; put it into documents, and give it to
/// [`Store::fetch_attachment`](crate::Store::fetch_attachment).
///
/// As an argument of a statement, by itself or somewhere in a document, it makes its field an attachment; in strict mode the
/// field has to be declared as `ATTACHMENT`. Documents show it as the object `{"id": …, "len": …, "metadata": {…}}`, the id in
/// 64 lower-case hexadecimal digits, which can be read back as a token.
///
/// To serde it is `{"$attachment": {"id": …, "len": …, "metadata": {…}}}`, which tells it from an object that only looks like it;
/// both forms are read. An object of the first form is written as a map unless its field is declared.
///
/// ```
/// use ditto::{Ditto, DittoAttachmentToken, DittoError};
///
/// async fn attach(ditto: &Ditto, token: &DittoAttachmentToken) -> Result<(), DittoError> {
///     let document = serde_json::json!({ "_id": "x", "photo": token });
///     let insert = "INSERT INTO cars DOCUMENTS (:car)";
///     ditto.store().execute((insert, serde_json::json!({ "car": document }))).await?;
///     let rows = ditto.store().execute("SELECT photo FROM cars").await?;
///     let photos: Vec<Option<DittoAttachmentToken>> =
///         rows.items().map(|row| row.value().get("photo")?.try_into().ok()).collect();
///     assert_eq!(photos[0].as_ref(), Some(token));
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DittoAttachmentToken {
    pub(super) id: BlobId,
    pub(super) len: u64,
    pub(super) metadata: BTreeMap<String, String>,
}

impl DittoAttachmentToken {
    /// Builds a token by hand (API-332).
    ///
    /// Fails with [`ErrorKind::AttachmentTokenInvalid`] when the id has not 64 lower-case hexadecimal digits, or the length is
    /// negative or above 1 TiB.
    pub fn new(id: &str, len: i64, metadata: BTreeMap<String, String>) -> Result<Self, DittoError> {
        let id = id.parse::<BlobId>().map_err(|e| invalid(e.to_string()))?;
        let len = u64::try_from(len).map_err(|_| invalid(format!("the length {len} is negative")))?;
        Self::checked(id, len, metadata)
    }

    pub(super) fn checked(
        id: BlobId,
        len: u64,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, DittoError> {
        if len > MAX_BLOB_BYTES {
            return Err(invalid(format!("the length {len} exceeds the limit of {MAX_BLOB_BYTES} bytes")));
        }
        Ok(Self { id, len, metadata })
    }

    /// Hash of the content in hexadecimal digits, the same on all peers (API-337).
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Length of the content in bytes (API-338).
    #[allow(clippy::len_without_is_empty, reason = "a token is never empty; its content may be")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Texts of the app (API-339).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The form that documents hold, in CBOR (API-334).
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&self.to_value())
    }

    /// The form that documents hold.
    pub fn to_value(&self) -> Value {
        let metadata = self.metadata.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect();
        Value::Object(Object::from([
            ("id".into(), self.id().into()),
            ("len".into(), Value::from(self.len)),
            ("metadata".into(), Value::Object(metadata)),
        ]))
    }
}

fn invalid(reason: impl Into<String>) -> DittoError {
    DittoError::new(ErrorKind::AttachmentTokenInvalid, format!("no attachment token: {}", reason.into()))
}

impl TryFrom<&Value> for DittoAttachmentToken {
    type Error = DittoError;

    /// Reads what a query shows of an attachment field, or its marked form. `metadata` may be missing.
    fn try_from(value: &Value) -> Result<Self, DittoError> {
        let value = match value.as_object() {
            Some(o) if o.len() == 1 => o.get(ATTACHMENT_KEY).unwrap_or(value),
            _ => value,
        };
        let fields = value.as_object().ok_or_else(|| invalid(format!("a {}", value.type_name())))?;
        let field = |name: &str| fields.get(name).ok_or_else(|| invalid(format!("{name} is missing")));
        let id = field("id")?.as_str().ok_or_else(|| invalid("id is not a text"))?;
        let id = id.parse::<BlobId>().map_err(|e| invalid(e.to_string()))?;
        let len = match field("len")? {
            Value::UInt(n) => *n,
            Value::Int(n) => u64::try_from(*n).map_err(|_| invalid("len is negative"))?,
            other => return Err(invalid(format!("len is a {}", other.type_name()))),
        };
        let mut metadata = BTreeMap::new();
        if let Some(given) = fields.get("metadata") {
            let given = given.as_object().ok_or_else(|| invalid("metadata is not a map"))?;
            for (name, value) in given {
                let value = value.as_str().ok_or_else(|| invalid("metadata holds more than texts"))?;
                metadata.insert(name.to_string(), value.to_owned());
            }
        }
        Self::checked(id, len, metadata)
    }
}

impl TryFrom<Value> for DittoAttachmentToken {
    type Error = DittoError;

    fn try_from(value: Value) -> Result<Self, DittoError> {
        Self::try_from(&value)
    }
}

impl TryFrom<&[u8]> for DittoAttachmentToken {
    type Error = DittoError;

    /// Reads what [`DittoAttachmentToken::to_bytes`] gives (API-333).
    fn try_from(bytes: &[u8]) -> Result<Self, DittoError> {
        Self::try_from(&cbor::from_slice(bytes).map_err(|e| invalid(e.to_string()))?)
    }
}

impl FromStr for DittoAttachmentToken {
    type Err = DittoError;

    /// Reads JSON text (API-335).
    fn from_str(text: &str) -> Result<Self, DittoError> {
        Self::try_from(&json::from_str(text).map_err(|e| invalid(e.to_string()))?)
    }
}

impl TryFrom<&str> for DittoAttachmentToken {
    type Error = DittoError;

    fn try_from(text: &str) -> Result<Self, DittoError> {
        text.parse()
    }
}

impl fmt::Display for DittoAttachmentToken {
    /// JSON text (API-336).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&json::to_string(&self.to_value()))
    }
}

impl Serialize for DittoAttachmentToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        attachment::mark(self.to_value()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DittoAttachmentToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl From<&DittoAttachmentToken> for DittoAttachmentToken {
    fn from(token: &DittoAttachmentToken) -> Self {
        token.clone()
    }
}

impl From<&DittoAttachment> for DittoAttachmentToken {
    fn from(attachment: &DittoAttachment) -> Self {
        attachment.token()
    }
}

/// What cannot fail needs no other error.
impl From<Infallible> for DittoError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> DittoAttachmentToken {
        let metadata = BTreeMap::from([("name".to_owned(), "a \"b\".jpg".to_owned())]);
        DittoAttachmentToken::new(&"0a".repeat(32), 7, metadata).unwrap()
    }

    #[test]
    fn api_331_to_339_tokens_are_read_back_from_every_form() {
        let t = token();
        assert_eq!((t.id(), t.len()), ("0a".repeat(32), 7));
        assert_eq!(DittoAttachmentToken::try_from(&t.to_bytes()[..]).unwrap(), t);
        assert_eq!(t.to_string().parse::<DittoAttachmentToken>().unwrap(), t);
        assert_eq!(DittoAttachmentToken::try_from(t.to_value()).unwrap(), t);
        let json = serde_json::to_string(&t).unwrap();
        assert_eq!(json.parse::<DittoAttachmentToken>().unwrap(), t);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap()["$attachment"]["metadata"]["name"],
            "a \"b\".jpg"
        );
        assert_eq!(serde_json::from_str::<DittoAttachmentToken>(&json).unwrap(), t);
        assert_eq!(serde_json::from_str::<DittoAttachmentToken>(&t.to_string()).unwrap(), t);
        assert_eq!(DittoAttachmentToken::from(&t), t);
        // What other peers may leave out.
        let short = format!(r#"{{"id":"{}","len":0}}"#, t.id());
        assert!(short.parse::<DittoAttachmentToken>().unwrap().metadata().is_empty());
    }

    #[test]
    fn api_332_333_335_what_is_no_token_is_refused() {
        let id = "0a".repeat(32);
        assert!(DittoAttachmentToken::new(&id, -1, BTreeMap::new()).is_err());
        assert!(DittoAttachmentToken::new(&id.to_uppercase(), 1, BTreeMap::new()).is_err());
        assert!(DittoAttachmentToken::new(&id, i64::MAX, BTreeMap::new()).is_err());
        for text in [
            "".to_owned(),
            "{".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            format!(r#"{{"id":"{id}"}}"#),
            format!(r#"{{"id":"{id}","len":-1}}"#),
            format!(r#"{{"id":"{id}","len":1.5}}"#),
            r#"{"id":1,"len":1}"#.to_owned(),
            format!(r#"{{"id":"{id}","len":1,"metadata":[]}}"#),
            format!(r#"{{"id":"{id}","len":1,"metadata":{{"a":1}}}}"#),
        ] {
            let e = text.parse::<DittoAttachmentToken>().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::AttachmentTokenInvalid, "{text}");
        }
        let bytes = token().to_bytes();
        for cut in 0..bytes.len() {
            assert!(DittoAttachmentToken::try_from(&bytes[..cut]).is_err());
        }
    }
}
