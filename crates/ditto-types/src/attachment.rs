//! Attachment tokens in arguments of statements.
//!
//! A document shows a token as the object `{"id", "len", "metadata"}`, which any object may look like. In arguments it is
//! marked: `{"$attachment": {"id", "len", "metadata"}}`.

use crate::{BlobId, MAX_BLOB_BYTES, Object, SmolStr, Value};

/// The one field of a marked token.
pub const ATTACHMENT_KEY: &str = "$attachment";

/// Marks the value of a token.
pub fn mark(token: Value) -> Value {
    Value::Object(Object::from([(SmolStr::new_static(ATTACHMENT_KEY), token)]))
}

/// A marked value that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no attachment token: the value of `$attachment` needs an `id` of 64 lower-case hexadecimal digits, a `len` in bytes of at most 1 TiB and \
     `metadata` of texts"
)]
pub struct TokenError;

/// Whether a value is a token as documents show it.
pub fn is_token(value: &Value) -> bool {
    token(value).is_some_and(|(_, has_metadata)| has_metadata)
}

/// The token in a marked one, with the metadata that it may lack; `Ok(None)` for what is not marked.
pub fn unmarked(value: &Value) -> Result<Option<Value>, TokenError> {
    let marked = value.as_object().filter(|o| o.len() == 1).and_then(|o| o.get(ATTACHMENT_KEY));
    let Some(marked) = marked else { return Ok(None) };
    let (fields, has_metadata) = token(marked).ok_or(TokenError)?;
    let mut token = fields.clone();
    if !has_metadata {
        token.insert(SmolStr::new_static("metadata"), Value::Object(Object::new()));
    }
    Ok(Some(Value::Object(token)))
}

/// The fields of a token, and whether it has metadata.
fn token(value: &Value) -> Option<(&Object, bool)> {
    let fields = value.as_object()?;
    fields.get("id")?.as_str()?.parse::<BlobId>().ok()?;
    let len = match fields.get("len")? {
        Value::Int(n) => u64::try_from(*n).ok()?,
        Value::UInt(n) => *n,
        _ => return None,
    };
    let metadata = fields.get("metadata");
    let of_texts = match metadata {
        Some(metadata) => metadata.as_object()?.values().all(|text| matches!(text, Value::Str(_))),
        None => true,
    };
    let others = if metadata.is_some() { 3 } else { 2 };
    (of_texts && len <= MAX_BLOB_BYTES && fields.len() == others).then_some((fields, metadata.is_some()))
}

/// Puts tokens in the place of marked ones, wherever they stand in `value`, and adds them to `tokens`, each once.
///
/// `value` must not be nested deeper than a few times [`MAX_DEPTH`](crate::MAX_DEPTH).
///
/// # Errors
///
/// What is marked is no token; then `value` is changed in part.
pub fn unmark(value: &mut Value, tokens: &mut Vec<Value>) -> Result<(), TokenError> {
    if let Some(token) = unmarked(value)? {
        *value = token.clone();
        if !tokens.contains(&token) {
            tokens.push(token);
        }
        return Ok(());
    }
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|v| unmark(v, tokens)),
        Value::Object(fields) => fields.values_mut().try_for_each(|v| unmark(v, tokens)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn value(text: &str) -> Value {
        json::from_str(text).unwrap()
    }

    #[test]
    fn marked_tokens_become_tokens_wherever_they_stand() {
        let id = "0a".repeat(32);
        let token = format!(r#"{{"id":"{id}","len":7,"metadata":{{"n":"x"}}}}"#);
        let bare = format!(r#"{{"id":"{id}","len":7}}"#);
        let text = format!(
            r#"{{"a":[{{"$attachment":{token}}},1],"b":{{"c":{{"$attachment":{bare}}}}},"d":{{"$attachment":{token}}},"e":{token}}}"#
        );
        let (mut v, mut tokens) = (value(&text), Vec::new());
        unmark(&mut v, &mut tokens).unwrap();
        let whole = format!(r#"{{"id":"{id}","len":7,"metadata":{{}}}}"#);
        let expected = format!(r#"{{"a":[{token},1],"b":{{"c":{whole}}},"d":{token},"e":{token}}}"#);
        assert_eq!(json::to_string(&v), expected);
        assert_eq!(tokens, [value(&token), value(&whole)]);
        assert_eq!(unmarked(&mark(value(&token))), Ok(Some(value(&token))));
        assert!(is_token(&value(&token)) && !is_token(&value(&bare)));
    }

    #[test]
    fn what_is_not_marked_stays_and_what_is_marked_must_be_a_token() {
        let id = "0a".repeat(32);
        for text in [
            format!(r#"{{"id":"{id}","len":7,"metadata":{{}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":7}},"x":1}}"#),
            r#"{"x":{"attachment":1}}"#.to_owned(),
        ] {
            let (mut v, mut tokens) = (value(&text), Vec::new());
            assert_eq!(unmark(&mut v, &mut tokens), Ok(()));
            assert_eq!((v, tokens.len()), (value(&text), 0), "{text}");
        }
        for marked in [
            "1".to_owned(),
            "{}".to_owned(),
            format!(r#"{{"id":"{id}","len":7,"x":1}}"#),
            format!(r#"{{"id":"{id}","len":-7}}"#),
            format!(r#"{{"id":"{id}","len":7.0}}"#),
            format!(r#"{{"id":"{id}","len":9223372036854775807}}"#),
            format!(r#"{{"id":"{id}","len":7,"metadata":{{"n":1}}}}"#),
            format!(r#"{{"id":"{}","len":7}}"#, id.to_uppercase()),
        ] {
            let mut v = value(&format!(r#"{{"a":[{{"$attachment":{marked}}}]}}"#));
            assert_eq!(unmark(&mut v, &mut Vec::new()), Err(TokenError), "{marked}");
        }
    }
}
