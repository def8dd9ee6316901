//! The JSON-lines protocol of `exec --batch` and `peer --control`: requests in, one answer each.
//!
//! This interface is stable; outside programs drive it.

use std::time::Duration;

use ditto::types::{Object, SmolStr, Value, json};
use ditto::{Ditto, DittoError, Query, QueryResult};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin};
use tokio::sync::mpsc;

use crate::failure::{error_value, fault};

/// Longest request line, in bytes.
pub(crate) const MAX_LINE: u64 = 64 << 20;

/// One request line.
#[derive(Debug)]
pub(crate) struct Request {
    /// Echoed in the answer.
    pub(crate) id: Value,
    pub(crate) kind: String,
    fields: Object,
}

impl Request {
    /// Reads one line. The error is the answer to give.
    pub(crate) fn parse(line: &str) -> Result<Self, Value> {
        let refuse =
            |id: Value, message: &str| answer(id, [("error", fault("request/invalid", message, None))]);
        let fields = match json::from_str(line) {
            Ok(Value::Object(fields)) => fields,
            Ok(other) => {
                return Err(refuse(
                    Value::Null,
                    &format!("a request is an object, not {}", other.type_name()),
                ));
            }
            Err(e) => return Err(refuse(Value::Null, &e.to_string())),
        };
        let id = fields.get("id").cloned().unwrap_or(Value::Null);
        let kind = match fields.get("kind") {
            None => "execute".to_owned(),
            Some(Value::Str(kind)) => kind.to_string(),
            Some(_) => return Err(refuse(id, "`kind` must be a string")),
        };
        Ok(Self { id, kind, fields })
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.fields.get(name) {
            Some(Value::Str(text)) => Ok(text),
            Some(_) => Err(Refusal(format!("`{name}` must be a string"))),
            None => Err(Refusal(format!("`{name}` is missing"))),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Int(n)) if *n >= 0 => Ok(Some(*n as u64)),
            Some(_) => Err(Refusal(format!("`{name}` must be a whole number"))),
        }
    }

    /// Statement and arguments.
    pub(crate) fn query(&self) -> Result<Query, Refusal> {
        let args = match self.fields.get("args") {
            None | Some(Value::Null) => Object::new(),
            Some(Value::Object(args)) => args.clone(),
            Some(_) => return Err(Refusal("`args` must be an object".into())),
        };
        Ok(Query { text: self.text("statement")?.to_owned(), args })
    }
}

/// A request that lacks something.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

/// Why a request failed.
pub(crate) enum Fault {
    Refused(Refusal),
    Failed(DittoError),
    TimedOut(String),
}

impl From<Refusal> for Fault {
    fn from(r: Refusal) -> Self {
        Fault::Refused(r)
    }
}

impl From<DittoError> for Fault {
    fn from(e: DittoError) -> Self {
        Fault::Failed(e)
    }
}

/// An answer line: the id and the given members.
pub(crate) fn answer<const N: usize>(id: Value, members: [(&str, Value); N]) -> Value {
    let mut out = Object::from([(SmolStr::new_static("id"), id)]);
    out.extend(members.into_iter().map(|(k, v)| (SmolStr::new(k), v)));
    Value::Object(out)
}

/// The answer line for an outcome.
pub(crate) fn respond(id: Value, outcome: Result<Object, Fault>) -> Value {
    match outcome {
        Ok(mut members) => {
            members.insert(SmolStr::new_static("id"), id);
            Value::Object(members)
        }
        Err(e) => answer(id, [("error", fault_value(&e))]),
    }
}

fn fault_value(f: &Fault) -> Value {
    match f {
        Fault::Refused(Refusal(message)) => fault("request/invalid", message, None),
        Fault::Failed(e) => error_value(e),
        Fault::TimedOut(message) => fault("request/timeout", message, None),
    }
}

/// `items`, `mutatedDocumentIds` and `commitId` of a result; the latter is null for statements that only read.
pub(crate) fn result_members(result: &QueryResult) -> Object {
    let commit = result.commit_id().filter(|_| result.is_mutation());
    Object::from([
        (SmolStr::new_static("items"), Value::Array(result.values())),
        (SmolStr::new_static("mutatedDocumentIds"), Value::Array(result.mutated_document_ids())),
        (SmolStr::new_static("commitId"), commit.map_or(Value::Null, Value::from)),
    ])
}

/// `{"ok": true}`.
pub(crate) fn done() -> Object {
    Object::from([(SmolStr::new_static("ok"), Value::Bool(true))])
}

/// Carries out the kinds that `exec --batch` knows; `None` for another kind.
pub(crate) async fn local(ditto: &Ditto, request: &Request) -> Option<Result<Object, Fault>> {
    let outcome = match request.kind.as_str() {
        "execute" => execute(ditto, request).await,
        "subscribe" => subscribe(ditto, request),
        "observe" => observe(ditto, request).await,
        _ => return None,
    };
    Some(outcome)
}

async fn execute(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    Ok(result_members(&ditto.store().execute(request.query()?).await?))
}

fn subscribe(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    ditto.sync().register_subscription(request.query()?)?;
    let mut members = done();
    members.insert(SmolStr::new_static("items"), Value::Array(Vec::new()));
    Ok(members)
}

/// The first result that an observer delivers.
async fn observe(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    let result = first(ditto, request.query()?, Duration::from_secs(60), |_| true).await?;
    result.map(|r| result_members(&r)).ok_or_else(|| Fault::TimedOut("no result within 60 s".into()))
}

/// The first delivered result that `accept` takes; `None` when none came in time.
pub(crate) async fn first(
    ditto: &Ditto,
    query: Query,
    timeout: Duration,
    mut accept: impl FnMut(&QueryResult) -> bool + Send + 'static,
) -> Result<Option<QueryResult>, DittoError> {
    let (found, mut result) = mpsc::channel(1);
    let observer = ditto.store().register_observer(query, move |r| {
        if accept(&r) {
            // Only the first counts.
            let _ = found.try_send(r);
        }
    })?;
    let outcome = tokio::time::timeout(timeout, result.recv()).await;
    observer.cancel();
    Ok(outcome.ok().flatten())
}

/// Lines of stdin, each bounded by [`MAX_LINE`].
pub(crate) struct Lines {
    input: BufReader<Stdin>,
}

impl Lines {
    pub(crate) fn stdin() -> Self {
        Self { input: BufReader::with_capacity(1 << 16, tokio::io::stdin()) }
    }

    /// The next line that is not blank; `None` at the end.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<String>> {
        loop {
            match self.line().await? {
                Some(line) if line.trim().is_empty() => {}
                line => return Ok(line),
            }
        }
    }

    /// The next line with its end; `None` at the end. A line that is too long or not UTF-8 ends the input with an
    /// error, because what follows it cannot be trusted.
    pub(crate) async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.input).take(MAX_LINE + 1).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(None);
        }
        let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        if read as u64 > MAX_LINE {
            return Err(invalid("a line of the input exceeds 64 MiB"));
        }
        Ok(Some(String::from_utf8(line).map_err(|_| invalid("a line of the input is not UTF-8"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_requests_are_answered_with_their_id() {
        let refused = Request::parse(r#"{"id":7,"kind":3}"#).unwrap_err();
        assert_eq!(refused.get("id"), Some(&Value::Int(7)));
        assert!(refused.get("error").is_some());
        assert!(Request::parse("[1]").is_err());
        assert!(Request::parse("nope").is_err());
        let r = Request::parse(r#"{"statement":"SELECT 1","args":[1]}"#).unwrap();
        assert_eq!(r.kind, "execute");
        assert!(r.query().is_err());
        assert!(r.number("absent").unwrap().is_none());
    }
}
