//! Which finished requests are kept: the setting `dql_request_history_qualifiers`.

use ditto_types::{Object, SmolStr, Value};

use crate::request::{Finished, Outcome};

/// Conditions on finished requests. A request is kept when any of them holds; without any, all are kept.
///
/// | name | value | holds for requests |
/// |---|---|---|
/// | `threshold` | integer, milliseconds | that ran at least so long |
/// | `counts` | integer | with at least so many result rows |
/// | `error` | `true` | that failed, other than by timeout or cancellation |
/// | `timeout` | `true` | that ran into the timeout |
/// | `cancelled` | `true` | that were cancelled |
/// | `query_type` | string or array of strings | of these statements, as in the column `queryType` |
/// | `statement` | string | whose text matches, as with LIKE |
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Qualifiers {
    threshold_ns: Option<u64>,
    counts: Option<u64>,
    error: bool,
    timeout: bool,
    cancelled: bool,
    query_type: Vec<SmolStr>,
    statement: Option<SmolStr>,
    given: Object,
}

const EXPECTED: &str = "an object with the qualifiers threshold and counts (integers of at least 0), error, timeout and \
                        cancelled (true or false), query_type (a string or an array of strings) and statement (a string)";

impl Qualifiers {
    /// Checks the value of the setting. The error says what is expected.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let expected = || EXPECTED.to_string();
        let given = value.as_object().ok_or_else(expected)?;
        let mut out = Qualifiers { given: given.clone(), ..Self::default() };
        for (name, value) in given {
            match (name.as_str(), value) {
                ("threshold", Value::Int(ms)) if *ms >= 0 => {
                    out.threshold_ns = Some(ms.unsigned_abs().saturating_mul(1_000_000));
                }
                ("counts", Value::Int(n)) if *n >= 0 => out.counts = Some(n.unsigned_abs()),
                ("error", Value::Bool(b)) => out.error = *b,
                ("timeout", Value::Bool(b)) => out.timeout = *b,
                ("cancelled", Value::Bool(b)) => out.cancelled = *b,
                ("query_type", Value::Str(s)) => out.query_type = vec![s.clone()],
                ("query_type", Value::Array(list)) => {
                    let names = list.iter().map(|v| v.as_str().map(SmolStr::new));
                    out.query_type = names.collect::<Option<_>>().ok_or_else(expected)?;
                }
                ("statement", Value::Str(s)) => out.statement = Some(s.clone()),
                _ => return Err(expected()),
            }
        }
        Ok(out)
    }

    /// The value that was set.
    pub(crate) fn as_object(&self) -> Object {
        self.given.clone()
    }

    /// Whether there is none, so that everything is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The name of the first qualifier that holds.
    pub(crate) fn matching(&self, request: &Finished) -> Option<&'static str> {
        if self.given.is_empty() {
            return None;
        }
        if self.threshold_ns.is_some_and(|t| request.elapsed_ns >= t) {
            return Some("threshold");
        }
        if self.counts.is_some_and(|n| request.result_count >= n) {
            return Some("counts");
        }
        match request.outcome {
            Outcome::Failed if self.error => return Some("error"),
            Outcome::Timeout if self.timeout => return Some("timeout"),
            Outcome::Cancelled if self.cancelled => return Some("cancelled"),
            _ => {}
        }
        if self.query_type.iter().any(|t| t.eq_ignore_ascii_case(request.request.query_type)) {
            return Some("query_type");
        }
        let text = || request.request.text.as_ref();
        if self.statement.as_ref().is_some_and(|p| ditto_dql::like(text(), p, '\\', false)) {
            return Some("statement");
        }
        None
    }
}
