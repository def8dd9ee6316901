//! By hand: a line editor with history and completion.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ditto::Ditto;
use ditto::types::{SmolStr, Value};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::complete::{self, Names};
use super::describe::{ask, sample};
use super::session::{Outcome, Session};
use super::split::{Open, Split, first};
use crate::failure::Failure;
use crate::output;

const PROMPT: &str = "ditto> ";
/// Lines that are remembered.
const HISTORY: usize = 10_000;
/// Names another file for the history; empty for none.
const HISTORY_VARIABLE: &str = "DITTO_SHELL_HISTORY";

type Lines = Editor<Assistant, FileHistory>;

/// Reads and runs until Ctrl-D or `\quit`.
pub(crate) async fn run(session: &mut Session) -> Result<(), Failure> {
    let failed = |e: ReadlineError| Failure::environment(format!("cannot read from the terminal: {e}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(failed)?
        // For what should not be kept, as shells have it.
        .history_ignore_space(true)
        .build();
    let assistant = Assistant { ditto: session.ditto.clone(), known: Arc::default(), params: Arc::default() };
    let mut editor: Lines = Editor::with_config(config).map_err(failed)?;
    editor.set_helper(Some(assistant.clone()));
    let history = history_file();
    if let Some(path) = &history {
        // The first run has none.
        let _ = editor.load_history(path);
    }
    let place =
        session.ditto.absolute_persistence_directory().map(|p| p.display().to_string()).unwrap_or_default();
    output::note(format_args!("ditto {} on {place}; \\help for help", Ditto::version()));
    loop {
        assistant.renew(session);
        let read = tokio::task::spawn_blocking(move || {
            let line = editor.readline(PROMPT);
            (editor, line)
        });
        let (back, line) =
            read.await.map_err(|e| Failure::environment(format!("the line editor failed: {e}")))?;
        editor = back;
        let text = match line {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        remember(&mut editor, history.as_ref(), &text);
        if run_text(session, &text).await == Outcome::Quit {
            return Ok(());
        }
    }
}

/// Runs a command, or all statements of a text; a failure ends it, because what follows may build on it.
async fn run_text(session: &mut Session, text: &str) -> Outcome {
    if text.trim_start().starts_with('\\') {
        return session.command(text).await;
    }
    let mut rest = text;
    loop {
        let (statement, after) = match first(rest) {
            Split::Empty => return Outcome::Done,
            Split::Ended(statement, after) => (statement, after),
            Split::Open(statement, _) => (statement, ""),
        };
        let outcome = session.statement(statement).await;
        if outcome != Outcome::Done {
            return outcome;
        }
        rest = after;
    }
}

fn remember(editor: &mut Lines, file: Option<&PathBuf>, text: &str) {
    let added = editor.add_history_entry(text.trim_end());
    if let (Ok(true), Some(file)) = (added, file) {
        // Kept at once, so that a shell that is killed has it too. Without a place for it there is no history.
        if file.parent().is_some_and(|directory| std::fs::create_dir_all(directory).is_ok()) {
            // A history that cannot be kept is no reason to stop.
            let _ = if file.exists() { editor.append_history(file) } else { editor.save_history(file) };
        }
    }
}

/// In the user's state directory, not in the store: what was typed is nobody else's.
fn history_file() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(HISTORY_VARIABLE) {
        return (!path.is_empty()).then(|| path.into());
    }
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let directory = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))
    };
    Some(directory?.join("ditto").join("shell_history"))
}

/// What the line editor asks while a line is typed. It reads the database when Tab is pressed.
#[derive(Clone)]
struct Assistant {
    ditto: Ditto,
    known: Arc<Mutex<Known>>,
    params: Arc<Mutex<Vec<String>>>,
}

/// Names that were read since the last statement.
#[derive(Default)]
struct Known {
    collections: Option<Vec<String>>,
    settings: Option<Vec<String>>,
    indexes: Option<Vec<String>>,
    fields: std::collections::HashMap<String, Vec<String>>,
}

impl Assistant {
    /// Forgets what a statement may have changed.
    fn renew(&self, session: &Session) {
        *lock(&self.known) = Known::default();
        *lock(&self.params) = session.params().keys().map(SmolStr::to_string).collect();
    }

    fn list(
        &self,
        slot: fn(&mut Known) -> &mut Option<Vec<String>>,
        read: impl FnOnce(&Ditto) -> Vec<String>,
    ) -> Vec<String> {
        let mut known = lock(&self.known);
        slot(&mut known).get_or_insert_with(|| read(&self.ditto)).clone()
    }
}

impl Names for Assistant {
    fn collections(&self) -> Vec<String> {
        self.list(
            |k| &mut k.collections,
            |d| texts(&ask(d, "SELECT * FROM system:collections"), &["name", "_id"]),
        )
    }

    fn settings(&self) -> Vec<String> {
        self.list(|k| &mut k.settings, |d| setting_names(&ask(d, "SHOW ALL")))
    }

    fn indexes(&self) -> Vec<String> {
        self.list(
            |k| &mut k.indexes,
            |d| {
                // The id is the collection and the name of the index.
                let ids = texts(&ask(d, "SELECT * FROM system:indexes"), &["_id"]);
                ids.iter()
                    .map(|id| id.rsplit_once('.').map_or(id.as_str(), |(_, name)| name).to_owned())
                    .collect()
            },
        )
    }

    fn fields(&self, collection: &str) -> Vec<String> {
        let mut known = lock(&self.known);
        let read = || {
            let mut fields: Vec<String> = Vec::new();
            for row in ask(&self.ditto, &sample(collection)) {
                for name in row.as_object().into_iter().flat_map(|o| o.keys()) {
                    if !fields.iter().any(|f| f == name) {
                        fields.push(name.to_string());
                    }
                }
            }
            fields
        };
        known.fields.entry(collection.to_owned()).or_insert_with(read).clone()
    }

    fn parameters(&self) -> Vec<String> {
        lock(&self.params).clone()
    }
}

/// The first of these columns that is a text, of each row.
fn texts(rows: &[Value], columns: &[&str]) -> Vec<String> {
    let text = |row: &Value| columns.iter().find_map(|c| row.get(c)?.as_str().map(str::to_owned));
    rows.iter().filter_map(text).collect()
}

/// Names of settings, whether each is a row or a column.
fn setting_names(rows: &[Value]) -> Vec<String> {
    let mut names = texts(rows, &["name", "parameter"]);
    if names.is_empty() {
        let columns = rows.iter().filter_map(Value::as_object).flat_map(|o| o.keys().map(SmolStr::to_string));
        names.extend(columns);
    }
    names
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete::complete(line, pos, self))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let goes_on = goes_on(context.input(), |statement| unfinished(&self.ditto, statement));
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

/// Whether Enter begins another line instead of running the text.
///
/// One line that is a whole statement runs. Once there are several lines a semicolon or an empty line ends the
/// statement, so that `DELETE FROM c` can be followed by its WHERE.
fn goes_on(text: &str, unfinished: impl Fn(&str) -> bool) -> bool {
    if text.trim_start().starts_with('\\') {
        return false;
    }
    let (earlier, last) =
        text.rsplit_once('\n').map_or((None, text), |(earlier, last)| (Some(earlier), last));
    if earlier.is_some() && last.trim().is_empty() {
        return false;
    }
    let mut rest = text;
    loop {
        match first(rest) {
            Split::Empty => return false,
            Split::Ended(_, after) => rest = after,
            Split::Open(_, Open::Inside) => return true,
            Split::Open(statement, Open::Complete) => return earlier.is_some() || unfinished(statement),
        }
    }
}

/// Whether the fault of a statement is that it ends too early.
fn unfinished(ditto: &Ditto, statement: &str) -> bool {
    let Err(e) = ditto.store().check_syntax(statement) else { return false };
    let lines = statement.matches('\n').count() + 1;
    let columns = statement.rsplit('\n').next().map_or(0, |line| line.chars().count());
    e.position().is_some_and(|p| p.line == lines && p.column > columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_runs_what_is_whole() {
        let never = |_: &str| false;
        for runs in [
            "SELECT 1",
            "SELECT 1;",
            "SELECT 1; SELECT 2;",
            "\\d",
            "",
            "SELECT 1\n",
            "DELETE FROM c\nWHERE x;",
            "SELECT 'a\n\n",
        ] {
            assert!(!goes_on(runs, never), "{runs}");
        }
        for waits in
            ["SELECT (1", "SELECT 'a", "DELETE FROM c\nWHERE x", "SELECT 1; SELECT (", "SELECT 1;\nSELECT 2"]
        {
            assert!(goes_on(waits, never), "{waits}");
        }
        assert!(goes_on("SELECT * FROM", |s| s == "SELECT * FROM"));
    }

    #[test]
    fn names_of_settings_are_rows_or_columns() {
        let row = |text: &str| ditto::types::json::from_str(text).unwrap();
        assert_eq!(setting_names(&[row(r#"{"name":"a","value":1}"#)]), ["a"]);
        assert_eq!(setting_names(&[row(r#"{"a":1,"b":2}"#)]), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_statement_that_ends_too_early_is_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        let config = ditto::DittoConfig::default().with_persistence_directory(directory.path());
        let ditto = Ditto::open(config).await.unwrap();
        for early in ["SELECT", "SELECT * FROM", "SELECT * FROM c WHERE", "SELECT *\nFROM"] {
            assert!(unfinished(&ditto, early), "{early}");
        }
        for other in ["SELECT * FROM c", "SELEC * FROM c", "SELECT * FRO c", "SELECT * FROM c WHERE = 1"] {
            assert!(!unfinished(&ditto, other), "{other}");
        }
        ditto.close().await.unwrap();
    }
}
