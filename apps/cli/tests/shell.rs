//! `ditto shell` as scripts and people use it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

const BIN: &str = env!("CARGO_BIN_EXE_ditto");

/// Three documents, as a script.
const CARS: &str = "INSERT INTO cars DOCUMENTS ({'_id': 'a', 'color': 'blue', 'n': 1}), \
     ({'_id': 'b', 'color': 'red, \"deep\"', 'n': 2.5}), ({'_id': 'c', 'tags': ['x'], 'n': null});\n";

fn shell(more: &[&str], input: &str) -> Output {
    let mut child = Command::new(BIN)
        .args(["shell", "--dir", ":temp:"])
        .args(more)
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A shell that has ended takes no more.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_script_runs_statement_by_statement() {
    let script = format!(
        "-- cars\n{CARS}SELECT _id\n  FROM cars\n  -- not; yet\n  WHERE n = 1;SELECT ';' AS s FROM cars WHERE _id = 'b';\n\
         SELECT COUNT(*) AS n FROM cars"
    );
    let output = shell(&[], &script);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(out(&output), "{\"_id\":\"a\"}\n{\"s\":\";\"}\n{\"n\":3}\n");
    assert!(err(&output).contains("3 documents, commit 1"), "{}", err(&output));
}

#[test]
fn the_formats() {
    let script = format!(
        "{CARS}\\table\nSELECT * FROM cars ORDER BY _id;\n\\csv\nSELECT * FROM cars ORDER BY _id;\n\\json\n\
         SELECT * FROM cars ORDER BY _id LIMIT 1;"
    );
    let output = shell(&[], &script);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let want = [
        // `n` holds a null, so it is no column of numbers.
        " _id | color       | n    | tags",
        "-----+-------------+------+------",
        " a   | blue        | 1    |",
        " b   | red, \"deep\" | 2.5  |",
        " c   |             | null | [\"x\"]",
        "(3 rows)",
        "_id,color,n,tags",
        "a,blue,1,",
        "b,\"red, \"\"deep\"\"\",2.5,",
        "c,,,\"[\"\"x\"\"]\"",
        r#"{"_id":"a","color":"blue","n":1}"#,
    ];
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), want);
}

#[test]
fn tables_fit_the_width() {
    let script =
        format!("{CARS}UPDATE cars SET color = '{}' WHERE _id = 'a';SELECT * FROM cars;", "漢".repeat(99));
    let mut child = Command::new(BIN)
        .args(["shell", "--dir", ":temp:", "--format", "table"])
        .env("COLUMNS", "40")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = out(&output);
    assert!(text.contains('…'), "{text}");
    // A wide character takes two columns.
    let width = |line: &str| line.chars().map(|c| if c == '漢' { 2 } else { 1 }).sum::<usize>();
    assert!(text.lines().all(|line| width(line) <= 40), "{text}");
}

#[test]
fn errors_point_at_the_column() {
    let output = shell(&[], "SELECT *\n  FROM cars WHERE ö = = 2;\nSELECT 'after' AS x FROM cars;");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = err(&output);
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| l.contains("FROM cars WHERE")).unwrap();
    let caret = lines[at + 1].chars().position(|c| c == '^').unwrap();
    assert!(lines[at - 1].contains("query/invalid") && lines[at - 1].contains("line 2, column"), "{text}");
    let column: usize =
        lines[at - 1].rsplit_once("column ").unwrap().1.trim_end_matches(')').parse().unwrap();
    assert_eq!(caret, column - 1 + 2, "{text}");
    assert!(text.contains("1 of 2 failed"), "{text}");
}

#[test]
fn commands_and_values() {
    let script = format!(
        "{CARS}\\set c blue\n\\set n 1\n\\set\nSELECT _id FROM cars WHERE color = :c AND n = :n;\n\\unset c\n\
         SELECT _id FROM cars WHERE color = :c;\n\\nonsense\n\\timing on\nSELECT _id FROM cars WHERE n = 2.5;\n\
         \\help\n\\quit\nSELECT 'unseen' AS x FROM cars;"
    );
    let output = shell(&["--args", r#"{"k":[1]}"#], &script);
    let got = out(&output);
    assert!(got.starts_with("c \"blue\"\nk [1]\nn 1\n{\"_id\":\"a\"}\n{\"_id\":\"b\"}\n"), "{got}");
    assert!(got.contains("\\watch") && !got.contains("unseen"), "{got}");
    let told = err(&output);
    for part in ["query/arguments-invalid", "unknown command `\\nonsense`", "timing is on", "time: "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn arguments_are_run_instead_of_stdin() {
    let select = "SELECT n FROM cars WHERE _id = 'a'; SELECT COUNT(*) AS n FROM cars";
    let output = shell(&["--args", r#"{"x":1}"#, "-c", CARS, "-c", select, "-c", "\\set"], "SELECT 'stdin'");
    assert_eq!(out(&output), "{\"n\":1}\n{\"n\":3}\nx 1\n", "{output:?}");
    let output = shell(&["--bail", "-c", "FAIL; SELECT _id FROM cars", "-c", "SELECT _id FROM cars"], "");
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    assert!(err(&output).contains("1 of 1 failed"), "{output:?}");
    assert_eq!(shell(&["--args", "[1]"], "").status.code(), Some(2));
    assert_eq!(shell(&["--format", "xml"], "").status.code(), Some(2));
}

/// A shell that is written to while it runs.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(dir: &std::path::Path) -> Self {
        let mut child = Command::new(BIN)
            .args(["shell", "--dir", dir.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn say(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    fn hear(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

#[cfg(unix)]
#[test]
fn watching_ends_with_ctrl_c_and_the_shell_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Running::start(dir.path());
    shell.say("INSERT INTO c DOCUMENTS ({'_id': 1});");
    shell.say("\\watch SELECT * FROM c");
    assert_eq!(shell.hear(), r#"[{"_id":1}]"#);
    shell.interrupt();
    shell.say("SELECT COUNT(*) AS n FROM c;");
    assert_eq!(shell.hear(), r#"{"n":1}"#);
    // Where nothing runs, it ends the script.
    shell.say("SELECT 'idle' AS x FROM c;");
    assert_eq!(shell.hear(), r#"{"x":"idle"}"#);
    drop(shell.child.stdin.take());
    assert_eq!(shell.child.wait().unwrap().code(), Some(0));
}
