//! What `execute`, observers and subscriptions accept as a query.

use ditto_types::{ErrorKind, Object, Value, cbor};
use serde::Serialize;

use crate::DittoError;

/// A statement with its arguments: `"SELECT …"`, or `("SELECT … WHERE x = :x", args)` where `args` is any
/// serialisable map or struct whose names are the placeholders without the colon (API-048).
///
/// Several maps are merged: `("SELECT …", common, special)`. Where both have a name, the later one wins (API-047).
pub trait IntoQuery {
    /// Splits into the text and the encoded arguments.
    ///
    /// Fails with [`ErrorKind::QueryArguments`] when the arguments are not a map of values, and with
    /// [`ErrorKind::DepthLimitExceeded`] when they are nested too deeply.
    fn into_query(self) -> Result<Query, DittoError>;
}

/// A statement with its encoded arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Text of the statement.
    pub text: String,
    /// Values of the placeholders.
    pub args: Object,
}

impl IntoQuery for Query {
    fn into_query(self) -> Result<Query, DittoError> {
        Ok(self)
    }
}

impl IntoQuery for &str {
    fn into_query(self) -> Result<Query, DittoError> {
        Ok(Query { text: self.to_owned(), args: Object::new() })
    }
}

impl IntoQuery for String {
    fn into_query(self) -> Result<Query, DittoError> {
        Ok(Query { text: self, args: Object::new() })
    }
}

impl<Q: Into<String>, A: Serialize> IntoQuery for (Q, A) {
    fn into_query(self) -> Result<Query, DittoError> {
        Ok(Query { text: self.0.into(), args: to_object(&self.1)? })
    }
}

impl<Q: Into<String>, A: Serialize, B: Serialize> IntoQuery for (Q, A, B) {
    fn into_query(self) -> Result<Query, DittoError> {
        Query { text: self.0.into(), args: to_object(&self.1)? }.with_args(self.2)
    }
}

impl Query {
    /// Adds arguments; names that were there get the new value (API-047).
    pub fn with_args(mut self, args: impl Serialize) -> Result<Self, DittoError> {
        self.args.extend(to_object(&args)?);
        Ok(self)
    }
}

/// Encodes any serialisable map or struct. `()` and `None` stand for "no arguments".
fn to_object(args: &impl Serialize) -> Result<Object, DittoError> {
    match to_value(args, ErrorKind::QueryArguments)? {
        Value::Object(o) => Ok(o),
        Value::Null => Ok(Object::new()),
        other => Err(DittoError::new(
            ErrorKind::QueryArguments,
            format!("arguments must be a map of names to values, not {}", other.type_name()),
        )),
    }
}

/// Encodes through CBOR, which unlike JSON keeps bytes apart from arrays. What cannot be encoded is one of `otherwise`, unless
/// it is nested too deeply.
pub(crate) fn to_value(v: &impl Serialize, otherwise: ErrorKind) -> Result<Value, DittoError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(v, &mut bytes).map_err(|e| DittoError::new(otherwise, e.to_string()))?;
    cbor::from_slice(&bytes).map_err(|e| {
        let kind = if e.is_too_deep() { ErrorKind::DepthLimitExceeded } else { otherwise };
        DittoError::new(kind, e.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_maps() {
        assert!("SELECT 1".into_query().unwrap().args.is_empty());
        assert!(("SELECT 1", ()).into_query().unwrap().args.is_empty());
        let q = ("x", serde_json::json!({"a": 1, "b": 1.0})).into_query().unwrap();
        assert_eq!(q.args["a"], Value::Int(1));
        assert_eq!(q.args["b"], Value::Float(1.0));
        let many = ("x", serde_json::json!({"a": 1, "b": 1}), serde_json::json!({"b": 2, "c": 3}));
        let q = many.into_query().unwrap().with_args(serde_json::json!({"c": 4})).unwrap();
        assert_eq!(
            (&q.args["a"], &q.args["b"], &q.args["c"]),
            (&Value::Int(1), &Value::Int(2), &Value::Int(4))
        );
        let e = ("x", [1, 2]).into_query().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryArguments);
    }
}
