//! Rows as text in columns.

use ditto::types::{SmolStr, Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrowest column that a table is squeezed to; below it, rows are shown one field a line.
const NARROW: usize = 6;
const SEPARATOR: &str = " | ";
/// Stands for the part of a cell that was cut off.
const CUT: &str = "…";

static VALUE: SmolStr = SmolStr::new_static("value");

/// A row as it is shown: names and texts of its cells.
pub(crate) type Row = Vec<(SmolStr, Cell)>;

/// One value of a row.
pub(crate) struct Cell {
    text: String,
    /// Numbers are aligned at the right.
    number: bool,
}

/// Columns of a table, kept from page to page so that they stay where they are.
#[derive(Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    /// Rows that were shown.
    rows: usize,
}

struct Column {
    name: SmolStr,
    /// The name as it is shown.
    title: String,
    width: usize,
    number: bool,
}

/// Names and values of a row, what names the document first. What is no object is a row with the one column `value`.
pub(crate) fn fields(row: &Value) -> Vec<(&SmolStr, &Value)> {
    match row {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name != "_id");
            fields
        }
        other => vec![(&VALUE, other)],
    }
}

/// One column of a row.
pub(crate) fn field<'r>(row: &'r Value, name: &str) -> Option<&'r Value> {
    match row {
        Value::Object(fields) => fields.get(name),
        other => (name == VALUE).then_some(other),
    }
}

/// The cells of a row.
pub(crate) fn row(value: &Value) -> Row {
    fields(value).into_iter().map(|(name, value)| (name.clone(), cell(value))).collect()
}

fn cell(value: &Value) -> Cell {
    let number = matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_));
    let text = match value {
        Value::Str(text) => text.to_string(),
        other => json::to_string(other),
    };
    Cell { text: printable(&text), number }
}

/// Control characters as their escapes: documents come from others, and must not steer the terminal.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

impl Table {
    /// The text of the next rows, with the head when it is new. `width` is that of the terminal, in columns.
    pub(crate) fn page(&mut self, rows: &[Row], width: Option<usize>) -> String {
        let first = self.rows + 1;
        self.rows += rows.len();
        let changed = self.learn(rows);
        let gaps = 1 + SEPARATOR.len() * self.columns.len().saturating_sub(1);
        match width.map(|w| w.saturating_sub(gaps)) {
            Some(room) if room < NARROW.min(self.widest()) * self.columns.len() => {
                records(rows, first, width)
            }
            room => self.lines(rows, room.map(|room| self.cap(room)), changed),
        }
    }

    /// Widens the columns for these rows; tells whether the head has to be shown again.
    fn learn(&mut self, rows: &[Row]) -> bool {
        let mut changed = false;
        for row in rows {
            for (name, cell) in row {
                let at = self.columns.iter().position(|c| c.name == *name).unwrap_or_else(|| {
                    changed = true;
                    let title = printable(name);
                    let width = title.width().max(1);
                    self.columns.push(Column { name: name.clone(), title, width, number: true });
                    self.columns.len() - 1
                });
                let column = &mut self.columns[at];
                let width = cell.text.width();
                changed |= width > column.width;
                column.width = column.width.max(width);
                column.number &= cell.number;
            }
        }
        changed
    }

    fn widest(&self) -> usize {
        self.columns.iter().map(|c| c.width).max().unwrap_or(0)
    }

    /// The width to which wider columns are cut so that all fit into `room`.
    fn cap(&self, room: usize) -> usize {
        let (mut low, mut high) = (1, self.widest().max(1));
        while low < high {
            let middle = (low + high).div_ceil(2);
            let total: usize = self.columns.iter().map(|c| c.width.min(middle)).sum();
            if total <= room { low = middle } else { high = middle - 1 }
        }
        low
    }

    fn lines(&self, rows: &[Row], cap: Option<usize>, head: bool) -> String {
        let width = |c: &Column| cap.map_or(c.width, |cap| c.width.min(cap));
        let line = |out: &mut String, cell: &dyn Fn(&Column) -> String| {
            let mut text = String::from(" ");
            for (i, column) in self.columns.iter().enumerate() {
                if i > 0 {
                    text.push_str(SEPARATOR);
                }
                fit(&mut text, &cell(column), width(column), column.number);
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        let mut out = String::new();
        if head {
            line(&mut out, &|column| column.title.clone());
            let rules: Vec<String> = self.columns.iter().map(|c| "-".repeat(width(c))).collect();
            out.push('-');
            out.push_str(&rules.join("-+-"));
            out.push('\n');
        }
        for row in rows {
            line(&mut out, &|column| {
                let cell = row.iter().find(|(name, _)| *name == column.name);
                cell.map_or_else(String::new, |(_, cell)| cell.text.clone())
            });
        }
        out
    }
}

/// One field a line, for what is too wide for columns.
fn records(rows: &[Row], first: usize, width: Option<usize>) -> String {
    let mut out = String::new();
    for (number, row) in (first..).zip(rows) {
        out.push_str(&format!("-[ {number} ]-\n"));
        let names = row.iter().map(|(name, _)| printable(name).width()).max().unwrap_or(0);
        let names = width.map_or(names, |w| names.min(w / 3));
        for (name, cell) in row {
            fit(&mut out, &printable(name), names, false);
            out.push_str(SEPARATOR);
            let room = width.map_or(usize::MAX, |w| w.saturating_sub(names + SEPARATOR.len()).max(1));
            out.push_str(&cut(&cell.text, room));
            out.push('\n');
        }
    }
    out
}

/// Appends a cell with exactly `width` columns.
fn fit(out: &mut String, cell: &str, width: usize, right: bool) {
    let cell = cut(cell, width);
    let padding = width.saturating_sub(cell.width());
    if right {
        out.extend(std::iter::repeat_n(' ', padding));
        out.push_str(&cell);
    } else {
        out.push_str(&cell);
        out.extend(std::iter::repeat_n(' ', padding));
    }
}

/// As much of a text as fits into `width` columns.
fn cut(text: &str, width: usize) -> std::borrow::Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    let mut columns = 0;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            columns += c.width().unwrap_or(0);
            columns + CUT.width() > width
        })
        .map_or(text.len(), |(at, _)| at);
    format!("{}{CUT}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Row> {
        texts.iter().map(|t| row(&json::from_str(t).unwrap())).collect()
    }

    #[test]
    fn columns_line_up_by_width_and_numbers_are_right() {
        let rows = rows(&[
            r#"{"_id":"1","name":"漢字","n":7}"#,
            r#"{"_id":"22","name":"e\u0301","n":1234,"x":null}"#,
            r#"{"_id":"3","x":{"a":[1.0]}}"#,
        ]);
        let want = [
            " _id |    n | name | x",
            "-----+------+------+------------",
            " 1   |    7 | 漢字 |",
            " 22  | 1234 | e\u{301}    | null",
            " 3   |      |      | {\"a\":[1.0]}",
            "",
        ];
        assert_eq!(Table::default().page(&rows, None), want.join("\n"));
    }

    #[test]
    fn tables_fit_the_terminal() {
        let long = format!(r#"{{"_id":1,"a":"{}","b":"{}","c":"short"}}"#, "x".repeat(100), "漢".repeat(50));
        for width in 30..120 {
            let text = Table::default().page(&rows(&[&long]), Some(width));
            assert!(text.lines().all(|l| l.width() <= width), "{width}:\n{text}");
            assert!(text.contains("short") && text.contains(CUT), "{width}:\n{text}");
        }
        let text = Table::default().page(&rows(&[&long, &long]), Some(14));
        assert!(text.starts_with("-[ 1 ]-\n") && text.contains("-[ 2 ]-"), "{text}");
        assert!(text.lines().all(|l| l.width() <= 14), "{text}");
    }

    #[test]
    fn pages_keep_their_columns() {
        let mut table = Table::default();
        assert!(table.page(&rows(&[r#"{"a":"long enough"}"#]), None).contains("---"));
        assert_eq!(table.page(&rows(&[r#"{"a":"short"}"#]), None), " short\n");
        let next = table.page(&rows(&[r#"{"b":1}"#]), None);
        assert!(next.starts_with(" a           | b\n"), "{next}");
    }

    #[test]
    fn documents_cannot_steer_the_terminal() {
        let text = Table::default().page(&rows(&[r#"{"a\u001b":"\u001b[2J\n\u009b"}"#]), None);
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        assert!(text.contains(r"\n"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn rows_without_fields_are_shown_too() {
        assert_eq!(Table::default().page(&rows(&["{}", "7"]), None), " value\n------\n\n     7\n");
        assert_eq!(Table::default().page(&[], Some(1)), "");
    }
}
