//! Without a terminal: statements from stdin or from arguments, and an exit code.

use super::session::{Outcome, Session};
use super::split::{Split, first};
use crate::failure::Failure;
use crate::protocol::Lines;

/// Longest text between two semicolons, in bytes: above what a statement may have.
const MAX_PENDING: usize = 4 << 20;

/// What a script has done.
#[derive(Default)]
struct Run {
    bail: bool,
    done: usize,
    failed: usize,
    /// Exit code of the first failure.
    code: Option<u8>,
    ended: bool,
}

/// Runs what stdin holds until its end, `\quit` or Ctrl-C.
pub(crate) async fn lines(session: &mut Session, bail: bool) -> Result<(), Failure> {
    let mut run = Run { bail, ..Run::default() };
    let mut input = Lines::stdin();
    let mut pending = String::new();
    while !run.ended {
        session.interrupts.clear();
        let line = tokio::select! {
            line = input.line() => line.map_err(|e| Failure::environment(e.to_string()))?,
            () = session.interrupts.wait() => break,
        };
        let Some(line) = line else { break };
        if pending.is_empty() && line.trim_start().starts_with('\\') {
            run.note(session.command(&line).await);
            continue;
        }
        pending.push_str(&line);
        if pending.len() > MAX_PENDING {
            return Err(Failure::query(format!("a statement of more than {MAX_PENDING} bytes")));
        }
        // Without a semicolon nothing can have come to its end.
        if line.contains(';') {
            pending = run.ended_statements(session, &pending).await;
        }
    }
    run.rest(session, &pending).await;
    run.outcome()
}

/// Runs the texts one after the other.
pub(crate) async fn texts(session: &mut Session, texts: &[String], bail: bool) -> Result<(), Failure> {
    let mut run = Run { bail, ..Run::default() };
    for text in texts {
        if run.ended {
            break;
        }
        if text.trim_start().starts_with('\\') {
            run.note(session.command(text).await);
            continue;
        }
        let rest = run.ended_statements(session, text).await;
        run.rest(session, &rest).await;
    }
    run.outcome()
}

impl Run {
    fn note(&mut self, outcome: Outcome) {
        self.done += 1;
        match outcome {
            Outcome::Done => {}
            Outcome::Quit => self.ended = true,
            Outcome::Failed(code) => {
                self.failed += 1;
                self.code.get_or_insert(code);
                self.ended |= self.bail;
            }
        }
    }

    /// Runs the statements that a semicolon ends and returns the text after them; empty when that is blank.
    async fn ended_statements(&mut self, session: &mut Session, text: &str) -> String {
        let mut rest = text;
        while !self.ended {
            match first(rest) {
                Split::Ended(statement, after) => {
                    self.note(session.statement(statement).await);
                    rest = after;
                }
                Split::Empty => return String::new(),
                Split::Open(..) => return rest.to_owned(),
            }
        }
        String::new()
    }

    /// Runs the last statement, which no semicolon ends.
    async fn rest(&mut self, session: &mut Session, text: &str) {
        if let (false, Split::Open(statement, _)) = (self.ended, first(text)) {
            self.note(session.statement(statement).await);
        }
    }

    fn outcome(self) -> Result<(), Failure> {
        match self.code {
            None => Ok(()),
            Some(code) => Err(Failure::with_code(code, format!("{} of {} failed", self.failed, self.done))),
        }
    }
}
