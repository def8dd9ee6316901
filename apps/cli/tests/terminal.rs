//! `ditto shell` by hand: on a terminal, with history, completion, several lines and Ctrl-C.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use rexpect::session::{PtySession, spawn_command};

const BIN: &str = env!("CARGO_BIN_EXE_ditto");
const PROMPT: &str = "ditto> ";
/// Milliseconds to wait for an answer; only a failure takes them.
const PATIENCE: u64 = 60_000;

const UP: &str = "\u{1b}[A";
const TAB: &str = "\t";
const ENTER: &str = "\r";

struct Shell(PtySession);

impl Shell {
    fn open(directory: &Path) -> Self {
        let mut command = Command::new(BIN);
        command
            .args(["shell", "--dir"])
            .arg(directory.join("store"))
            .env("DITTO_SHELL_HISTORY", directory.join("history"))
            .env("TERM", "xterm")
            .env_remove("COLUMNS");
        let mut shell = Self(spawn_command(command, Some(PATIENCE)).unwrap());
        shell.sees("\\help for help");
        shell.sees(PROMPT);
        shell
    }

    fn types(&mut self, keys: &str) {
        self.0.send(keys).unwrap();
        self.0.flush().unwrap();
    }

    /// Waits for a text; gives what came before it.
    fn sees(&mut self, text: &str) -> String {
        self.0.exp_string(text).unwrap_or_else(|e| panic!("no {text:?}: {e}"))
    }

    /// Types a line, and waits until its result is there and the next line is asked for.
    fn runs(&mut self, line: &str, result: &str) {
        self.types(&format!("{line}{ENTER}"));
        self.sees(result);
        self.sees(PROMPT);
    }

    /// Ctrl-D on an empty line.
    fn ends(mut self) {
        self.0.send_control('d').unwrap();
        self.0.exp_eof().unwrap();
        // `Exited`, its process, and the code.
        let status = format!("{:?}", self.0.process().wait().unwrap());
        assert!(status.starts_with("Exited(") && status.ends_with(", 0)"), "{status}");
    }
}

#[test]
fn statements_over_several_lines() {
    let directory = ditto_testkit::temp_dir();
    let mut shell = Shell::open(directory.path());
    // Not whole yet, so that Enter begins another line.
    shell.types(&format!("SELECT 6 * 7 AS answer{ENTER}FROM{ENTER}"));
    shell.types(&format!("system:dual;{ENTER}"));
    shell.sees(" 42");
    shell.sees(PROMPT);
    // An empty line runs what there is; the fault of a text is shown under its place.
    shell.runs("SELEC 1", "^");
    shell.runs("SELECT 'on' AS o FROM system:dual", " on");
    shell.ends();
}

#[test]
fn the_history_is_kept_for_the_next_shell() {
    let directory = ditto_testkit::temp_dir();
    let mut shell = Shell::open(directory.path());
    shell.runs("SELECT 40 + 2 AS first FROM system:dual;", " 42");
    shell.runs("SELECT 'two' AS second FROM system:dual;", " two");
    shell.runs(&format!("{UP}{UP}"), " 42");
    // What begins with a blank is not kept.
    shell.runs(" SELECT 'se' || 'cret' AS s FROM system:dual;", " secret");
    shell.ends();
    let mut shell = Shell::open(directory.path());
    // The newest is the first one again, which was run last.
    shell.runs(UP, " 42");
    shell.runs(&format!("{UP}{UP}"), " two");
    shell.ends();
    let kept = std::fs::read_to_string(directory.path().join("history")).unwrap();
    assert!(kept.contains("'two'") && !kept.contains("cret"), "{kept}");
}

#[test]
fn tab_completes_keywords_collections_and_fields() {
    let directory = ditto_testkit::temp_dir();
    let mut shell = Shell::open(directory.path());
    shell.runs("INSERT INTO vehicles DOCUMENTS ({'_id': 1, 'axles': 3})", "1 document");
    // Each has only one way on.
    shell.types(&format!("SELE{TAB} 'fo' || 'und' AS f FRO{TAB} vehi{TAB} WHER{TAB} axl{TAB} = 3;{ENTER}"));
    shell.sees("vehicles WHERE axles");
    shell.sees(" found");
    shell.sees(PROMPT);
    shell.ends();
}

#[test]
fn control_c_gives_up_the_line_and_not_the_shell() {
    let directory = ditto_testkit::temp_dir();
    let mut shell = Shell::open(directory.path());
    shell.types("SELECT 'never' ||");
    shell.sees("never");
    shell.0.send_control('c').unwrap();
    shell.sees(PROMPT);
    shell.runs("SELECT 'after' AS a FROM system:dual;", " after");
    // Nor on the second line of a statement.
    shell.types(&format!("SELECT (1{ENTER}"));
    shell.types("+ 2");
    shell.sees("+ 2");
    shell.0.send_control('c').unwrap();
    shell.sees(PROMPT);
    shell.runs("SELECT 'still' AS s FROM system:dual;", " still");
    // A live query ends with it, too.
    shell.types(&format!("\\watch SELECT COUNT(*) AS n FROM system:dual{ENTER}"));
    shell.sees("n");
    shell.0.send_control('c').unwrap();
    shell.sees(PROMPT);
    shell.runs("SELECT 'here' AS h FROM system:dual;", " here");
    shell.ends();
}
