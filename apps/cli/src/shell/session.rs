//! What the shell knows, and how it runs one statement or command.

use std::pin::pin;
use std::time::Instant;

use ditto::types::{Object, Value, json};
use ditto::{Cancellation, Ditto, DittoError, Query, QueryResult};

use super::command::{self, Command};
use super::interrupt::Interrupts;
use super::print::{self, Format};
use super::{describe, fault, watch};
use crate::failure::Failure;
use crate::output;

/// The state of one shell.
pub(crate) struct Session {
    pub(crate) ditto: Ditto,
    pub(crate) format: Format,
    pub(crate) interrupts: Interrupts,
    params: Object,
    timing: bool,
}

/// How a statement or command went. What went wrong was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// With the exit code that stands for the reason.
    Failed(u8),
    Quit,
}

impl Session {
    pub(crate) fn new(ditto: Ditto, format: Format, params: Object, interrupts: Interrupts) -> Self {
        Self { ditto, format, interrupts, params, timing: false }
    }

    /// Values of the placeholders.
    pub(crate) fn params(&self) -> &Object {
        &self.params
    }

    /// Runs a line that begins with a backslash.
    pub(crate) async fn command(&mut self, line: &str) -> Outcome {
        let command = match command::parse(line) {
            Ok(command) => command,
            Err(reason) => {
                output::note(format_args!("error: {reason}"));
                return Outcome::Failed(2);
            }
        };
        self.interrupts.clear();
        match command {
            Command::Quit => return Outcome::Quit,
            Command::Help => output::text(&command::help()),
            Command::Format(format) => self.format = format,
            Command::Timing(wanted) => {
                self.timing = wanted.unwrap_or(!self.timing);
                output::note(format_args!("timing is {}", if self.timing { "on" } else { "off" }));
            }
            Command::Params => {
                for (name, value) in &self.params {
                    output::text(&format!("{name} {}", json::to_string(value)));
                }
            }
            Command::Set(name, value) => {
                self.params.insert(name, value);
            }
            Command::Unset(name) => {
                if self.params.remove(&name).is_none() {
                    output::note(format_args!("error: :{name} has no value"));
                    return Outcome::Failed(1);
                }
            }
            Command::Explain(statement) => return self.explain(&statement).await,
            Command::Describe(None) => return describe::all(self).await,
            Command::Describe(Some(collection)) => return describe::one(self, &collection).await,
            Command::Watch(statement) => return watch::run(self, &statement).await,
        }
        Outcome::Done
    }

    /// Runs one statement and shows its rows.
    pub(crate) async fn statement(&mut self, text: &str) -> Outcome {
        self.interrupts.clear();
        let begin = Instant::now();
        let outcome = match self.execute(text).await {
            Ok(result) => self.show(&result),
            Err(e) => self.failed(&e, text, 0),
        };
        if self.timing {
            output::note(format_args!("time: {:.3} ms", begin.elapsed().as_secs_f64() * 1e3));
        }
        outcome
    }

    /// Runs a statement with the session's values; Ctrl-C cancels it.
    pub(crate) async fn execute(&self, text: &str) -> Result<QueryResult, DittoError> {
        self.execute_with(text, self.params.clone()).await
    }

    pub(crate) async fn execute_with(&self, text: &str, args: Object) -> Result<QueryResult, DittoError> {
        let (store, cancellation) = (self.ditto.store(), Cancellation::new());
        let mut running =
            pin!(store.execute_cancellable(Query { text: text.to_owned(), args }, &cancellation));
        tokio::select! {
            result = &mut running => return result,
            () = self.interrupts.wait() => cancellation.cancel(),
        }
        // It ends soon, and tells whether it was cancelled or done already.
        running.await
    }

    /// Shows rows, and what a mutation did.
    pub(crate) fn show(&self, result: &QueryResult) -> Outcome {
        let changed = result.mutated_document_ids().len();
        let has_rows = !result.is_mutation() || result.item_count() > 0;
        if has_rows && !print::rows(result, self.format, &self.interrupts) {
            output::note(format_args!("cancelled"));
            return Outcome::Failed(1);
        }
        if let (true, Some(commit)) = (result.is_mutation(), result.commit_id()) {
            output::note(format_args!("{}, commit {commit}", print::counted(changed, "document")));
        }
        Outcome::Done
    }

    /// Tells about an error of a statement of which the first `prefix` characters were not written by the user.
    pub(crate) fn failed(&self, e: &DittoError, statement: &str, prefix: usize) -> Outcome {
        let width = print::width().unwrap_or(120);
        output::note(format_args!("{}", fault::describe(e, statement, prefix, width)));
        Outcome::Failed(Failure::from(e.clone()).code())
    }

    async fn explain(&self, statement: &str) -> Outcome {
        const PREFIX: &str = "EXPLAIN ";
        let text = format!("{PREFIX}{statement}");
        match self.execute(&text).await {
            Ok(result) if self.format == Format::Table => {
                for item in result.items() {
                    let row = item.value();
                    output::text(&indented(row.get("plan").unwrap_or(row)));
                }
                Outcome::Done
            }
            Ok(result) => self.show(&result),
            Err(e) => self.failed(&e, &text, PREFIX.len()),
        }
    }
}

/// JSON over several lines.
fn indented(value: &Value) -> String {
    fn write(value: &Value, indent: usize, out: &mut String) {
        let pad = |out: &mut String, n: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', n * 2));
        };
        match value {
            Value::Array(items) if !items.is_empty() => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    pad(out, indent + 1);
                    write(item, indent + 1, out);
                }
                pad(out, indent);
                out.push(']');
            }
            Value::Object(fields) if !fields.is_empty() => {
                out.push('{');
                for (i, (name, value)) in fields.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    pad(out, indent + 1);
                    out.push_str(&json::to_string(&Value::Str(name.clone())));
                    out.push_str(": ");
                    write(value, indent + 1, out);
                }
                pad(out, indent);
                out.push('}');
            }
            other => out.push_str(&json::to_string(other)),
        }
    }
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_indented() {
        let plan = json::from_str(r##"{"#operator":"scan","a":[],"b":[1,{"c":1.0}]}"##).unwrap();
        let want = "{\n  \"#operator\": \"scan\",\n  \"a\": [],\n  \"b\": [\n    1,\n    {\n      \"c\": 1.0\n    }\n  ]\n}";
        assert_eq!(indented(&plan), want);
    }
}
