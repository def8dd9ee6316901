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

/// The token in a marked one, with the metadata that it may lack; `None` for anything else.
pub fn unmarked(value: &Value) -> Option<Value> {
    let marked = value.as_object().filter(|o| o.len() == 1)?.get(ATTACHMENT_KEY)?;
    let fields = marked.as_object()?;
    fields.get("id")?.as_str()?.parse::<BlobId>().ok()?;
    let len = match fields.get("len")? {
        Value::Int(n) => u64::try_from(*n).ok()?,
        Value::UInt(n) => *n,
        _ => return None,
    };
    let (metadata, others) = match fields.get("metadata") {
        Some(metadata) => (metadata.as_object()?.clone(), 3),
        None => (Object::new(), 2),
    };
    let fits = len <= MAX_BLOB_BYTES
        && fields.len() == others
        && metadata.values().all(|text| matches!(text, Value::Str(_)));
    fits.then(|| {
        let mut token = fields.clone();
        token.insert(SmolStr::new_static("metadata"), Value::Object(metadata));
        Value::Object(token)
    })
}

/// Puts tokens in the place of marked ones, wherever they stand in `value`, and adds them to `tokens`, each once.
///
/// `value` must not be nested deeper than a few times [`MAX_DEPTH`](crate::MAX_DEPTH).
pub fn unmark(value: &mut Value, tokens: &mut Vec<Value>) {
    if let Some(token) = unmarked(value) {
        *value = token.clone();
        if !tokens.contains(&token) {
            tokens.push(token);
        }
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| unmark(v, tokens)),
        Value::Object(fields) => fields.values_mut().for_each(|v| unmark(v, tokens)),
        _ => {}
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
        unmark(&mut v, &mut tokens);
        let whole = format!(r#"{{"id":"{id}","len":7,"metadata":{{}}}}"#);
        let expected = format!(r#"{{"a":[{token},1],"b":{{"c":{whole}}},"d":{token},"e":{token}}}"#);
        assert_eq!(json::to_string(&v), expected);
        assert_eq!(tokens, [value(&token), value(&whole)]);
        assert_eq!(unmarked(&mark(value(&token))), Some(value(&token)));
    }

    #[test]
    fn what_is_no_token_stays_as_it_is() {
        let id = "0a".repeat(32);
        for text in [
            format!(r#"{{"id":"{id}","len":7,"metadata":{{}}}}"#),
            r#"{"$attachment":1}"#.to_owned(),
            r#"{"$attachment":{}}"#.to_owned(),
            format!(r#"{{"$attachment":{{"id":"{id}","len":7}},"x":1}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":7,"x":1}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":-7}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":7.0}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":9223372036854775807}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{id}","len":7,"metadata":{{"n":1}}}}}}"#),
            format!(r#"{{"$attachment":{{"id":"{}","len":7}}}}"#, id.to_uppercase()),
        ] {
            let (mut v, mut tokens) = (value(&text), Vec::new());
            unmark(&mut v, &mut tokens);
            assert_eq!((v, tokens.len()), (value(&text), 0), "{text}");
        }
    }
}
