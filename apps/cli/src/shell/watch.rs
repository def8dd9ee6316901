//! `\watch`: a live query on the screen.

use ditto::Query;
use ditto::types::{Value, json};
use tokio::sync::mpsc;

use super::print::{self, Format};
use super::session::{Outcome, Session};
use crate::output;

/// Shows the result, and again whenever it changes, until Ctrl-C.
///
/// Rows that came while the last ones were written arrive as one result. As JSON each result is one line, an array.
pub(crate) async fn run(session: &Session, statement: &str) -> Outcome {
    let (sender, mut results) = mpsc::channel(1);
    let query = Query { text: statement.to_owned(), args: session.params().clone() };
    let observer = session.ditto.store().register_observer_with_signal_next(query, move |result, signal| {
        // One at a time: the next comes after the signal. Nobody takes it when the watch is over.
        let _ = sender.try_send((result, signal));
    });
    let observer = match observer {
        Ok(observer) => observer,
        Err(e) => return session.failed(&e, statement, 0),
    };
    loop {
        tokio::select! {
            result = results.recv() => {
                let Some((result, signal)) = result else { break };
                match session.format {
                    Format::Json => {
                        let rows = result.items().map(|item| item.value().clone()).collect();
                        output::text(&json::to_string(&Value::Array(rows)));
                    }
                    format => {
                        print::rows(&result, format, &session.interrupts);
                    }
                }
                signal.call();
            }
            () = session.interrupts.wait() => break,
        }
    }
    observer.cancel();
    Outcome::Done
}
