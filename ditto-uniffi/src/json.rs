//! Documents and arguments as text at the boundary.

use ditto::types::json;
use ditto::types::{Object, Value};
use ditto::{ErrorKind, Query};

use crate::error::DittoError;

/// A statement with its arguments, which are the text of a JSON object or absent.
pub(crate) fn query(text: String, arguments: Option<String>) -> Result<Query, DittoError> {
    let args = match arguments {
        None => Object::new(),
        Some(arguments) => match json::from_str(&arguments) {
            Ok(Value::Object(o)) => o,
            Ok(Value::Null) => Object::new(),
            Ok(other) => {
                let reason = format!("arguments must be a map of names to values, not {}", other.type_name());
                return Err(DittoError::new(ErrorKind::QueryArguments, reason));
            }
            Err(e) => return Err(DittoError::new(ErrorKind::QueryArguments, format!("arguments: {e}"))),
        },
    };
    Ok(Query { text, args })
}

/// The items of a JSON array.
pub(crate) fn rows(text: &str) -> Result<Vec<Value>, DittoError> {
    match json::from_str(text) {
        Ok(Value::Array(rows)) => Ok(rows),
        Ok(other) => {
            let reason = format!("rows must be an array, not {}", other.type_name());
            Err(DittoError::new(ErrorKind::InvalidJson, reason))
        }
        Err(e) => Err(DittoError::new(ErrorKind::InvalidJson, format!("rows: {e}"))),
    }
}

/// The text of a JSON array.
pub(crate) fn array(values: &[Value]) -> Result<String, DittoError> {
    serde_json::to_string(values).map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))
}

/// The text of a JSON object.
pub(crate) fn object(fields: &Object) -> String {
    json::to_string(&Value::Object(fields.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_kinds() {
        let q = query("x".into(), Some(r#"{"i":1,"f":1.0,"b":{"$bytes":"AAH/"}}"#.into())).unwrap();
        assert_eq!(q.args["i"], Value::Int(1));
        assert_eq!(q.args["f"], Value::Float(1.0));
        assert_eq!(q.args["b"], Value::Bytes(vec![0, 1, 255]));
        assert_eq!(object(&q.args), r#"{"b":{"$bytes":"AAH/"},"f":1.0,"i":1}"#);
        assert!(query("x".into(), None).unwrap().args.is_empty());
        assert_eq!(array(&[Value::Int(1), Value::Null]).unwrap(), "[1,null]");
    }

    #[test]
    fn bad_arguments_are_named() {
        let e = query("x".into(), Some("[1]".into())).unwrap_err();
        assert!(matches!(e, DittoError::QueryArguments { reason, .. } if reason.contains("array")));
        let e = query("x".into(), Some("{".into())).unwrap_err();
        assert!(matches!(e, DittoError::QueryArguments { .. }));
    }
}
