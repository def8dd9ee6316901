//! The only place that writes to stdout and stderr.

use std::fmt;
use std::io::{self, Write};

use ditto::types::{Value, json};
use tracing_subscriber::EnvFilter;

/// Writes one JSON value as a line of stdout, at once.
///
/// A reader that went away ends the process quietly, as `head` would expect.
pub(crate) fn line(value: &Value) {
    text(&json::to_string(value));
}

/// Writes one line of stdout, at once.
pub(crate) fn text(line: &str) {
    write(&[line.as_bytes(), b"\n"]);
}

/// Writes text that has its own line ends to stdout, at once.
pub(crate) fn block(text: &str) {
    write(&[text.as_bytes()]);
}

fn write(parts: &[&[u8]]) {
    let mut out = io::stdout().lock();
    let written = parts.iter().try_for_each(|part| out.write_all(part)).and_then(|()| out.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Writes one line of stderr.
pub(crate) fn note(message: fmt::Arguments<'_>) {
    // Nothing can be done about a closed stderr.
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Sends the library's log to stderr.
pub(crate) fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// Lays rows out in columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut width: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (w, cell) in width.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut push = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, w) in cells.zip(&width) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', w + 2 - cell.chars().count()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    push(&mut head.iter().copied());
    for row in rows {
        push(&mut row.iter().map(String::as_str));
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "é".into()], vec!["long".into(), "x".into()]];
        assert_eq!(table(&["h", "k"], &rows), "h     k\na     é\nlong  x");
    }
}
