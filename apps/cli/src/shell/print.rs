//! Results as JSON lines, a table or CSV, written while they are read: no more than a page is held as text.

use std::borrow::Cow;

use clap::ValueEnum;
use ditto::QueryResult;
use ditto::types::{SmolStr, Value, json};

use super::interrupt::Interrupts;
use super::table::{self, Table};
use crate::output;

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, cut to the width of the terminal.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a head; nested values as JSON, null and missing empty.
    Csv,
}

/// Rows that share one layout of a table.
const PAGE: usize = 500;
/// Bytes of text that are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// Writes all rows; stops early, and says so with `false`, at Ctrl-C.
pub(crate) fn rows(result: &QueryResult, format: Format, interrupts: &Interrupts) -> bool {
    match format {
        Format::Json => json_lines(result, interrupts),
        Format::Table => page_by_page(result, interrupts),
        Format::Csv => csv(result, interrupts),
    }
}

fn json_lines(result: &QueryResult, interrupts: &Interrupts) -> bool {
    let mut out = Chunks::default();
    for item in result.items() {
        if interrupts.seen() {
            return false;
        }
        out.push(&item.json_string());
        out.push("\n");
    }
    true
}

fn page_by_page(result: &QueryResult, interrupts: &Interrupts) -> bool {
    let width = width();
    let mut table = Table::default();
    let mut page = Vec::with_capacity(PAGE.min(result.item_count()));
    for item in result.items() {
        if interrupts.seen() {
            return false;
        }
        page.push(table::row(item.value()));
        if page.len() == PAGE {
            output::block(&table.page(&page, width));
            page.clear();
        }
    }
    output::block(&table.page(&page, width));
    output::text(&format!("({})", counted(result.item_count(), "row")));
    true
}

/// The head needs every row's names, so the rows are read twice.
fn csv(result: &QueryResult, interrupts: &Interrupts) -> bool {
    let mut head: Vec<SmolStr> = Vec::new();
    for item in result.items() {
        if interrupts.seen() {
            return false;
        }
        for (name, _) in table::fields(item.value()) {
            if !head.contains(name) {
                head.push(name.clone());
            }
        }
    }
    let mut out = Chunks::default();
    let mut line = |cells: &mut dyn Iterator<Item = Cow<'_, str>>| {
        for (i, cell) in cells.enumerate() {
            if i > 0 {
                out.push(",");
            }
            out.push(&quoted(&cell));
        }
        out.push("\n");
    };
    if head.is_empty() {
        return true;
    }
    line(&mut head.iter().map(|name| Cow::Borrowed(name.as_str())));
    for item in result.items() {
        if interrupts.seen() {
            return false;
        }
        let value = item.value();
        line(&mut head.iter().map(|name| table::field(value, name).map_or(Cow::Borrowed(""), csv_text)));
    }
    true
}

fn csv_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::Str(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(json::to_string(other)),
    }
}

/// In quotes when it holds what separates cells or rows.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Columns of the terminal. Without one, those of `COLUMNS`, or no limit.
pub(crate) fn width() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok()).filter(|width| *width > 0)
}

/// Gathers text and writes it in chunks; the rest when dropped.
#[derive(Default)]
struct Chunks(String);

impl Chunks {
    fn push(&mut self, text: &str) {
        self.0.push_str(text);
        if self.0.len() >= CHUNK {
            output::block(&self.0);
            self.0.clear();
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        output::block(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_when_they_must() {
        assert_eq!(quoted("plain é"), "plain é");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
        assert_eq!(csv_text(&Value::Null), "");
        assert_eq!(csv_text(&Value::Float(1.0)), "1.0");
    }

    #[test]
    fn numbers_of_things() {
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".into(), "0 rows".into()));
    }
}
