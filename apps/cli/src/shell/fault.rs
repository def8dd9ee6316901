//! Errors with the line that they are about and a caret under the column.

use ditto::{DittoError, Position};
use unicode_width::UnicodeWidthChar;

/// Columns that a tab stands for.
const TAB: &str = "    ";

/// The text that is shown for an error of `statement`, of which the first `prefix` characters were not written by the
/// user. Lines are cut to `width` columns around the fault.
pub(crate) fn describe(error: &DittoError, statement: &str, prefix: usize, width: usize) -> String {
    let mut out = format!("error: {}: {}", error.kind(), printable(error.reason()));
    let Some(place) = error.position() else { return out };
    let place = shift(place, prefix);
    let text: String = statement.chars().skip(prefix).collect();
    out.push_str(&format!(" (line {}, column {})", place.line, place.column));
    if let Some(line) = text.lines().nth(place.line - 1).or_else(|| text.is_empty().then_some("")) {
        let (line, caret) = excerpt(line, place.column, width);
        out.push_str(&format!("\n  {line}\n  {}^", " ".repeat(caret)));
    }
    out
}

/// Takes what stands before the user's text on its first line off a column.
fn shift(place: Position, prefix: usize) -> Position {
    if place.line == 1 {
        Position { column: place.column.saturating_sub(prefix).max(1), ..place }
    } else {
        place
    }
}

/// A line as it is shown, and the columns before the caret.
fn excerpt(line: &str, column: usize, width: usize) -> (String, usize) {
    let mut shown = String::new();
    let mut columns = 0;
    let mut caret = None;
    // Byte offsets of the characters in `shown`, with the columns before each.
    let mut starts = Vec::new();
    for (i, c) in line.chars().enumerate() {
        if i + 1 == column {
            caret = Some(columns);
        }
        starts.push((shown.len(), columns));
        match c {
            '\t' => {
                shown.push_str(TAB);
                columns += TAB.len();
            }
            c if c.is_control() => {
                shown.push('\u{fffd}');
                columns += 1;
            }
            c => {
                shown.push(c);
                columns += c.width().unwrap_or(0);
            }
        }
    }
    let caret = caret.unwrap_or(columns);
    let room = width.saturating_sub(4).max(20);
    if columns <= room {
        return (shown, caret);
    }
    // A window with the fault two thirds in.
    let from = caret.saturating_sub(room * 2 / 3);
    let first = starts.iter().find(|(_, c)| *c >= from).copied().unwrap_or((0, 0));
    let end = starts.iter().find(|(_, c)| *c > first.1 + room).map_or(shown.len(), |(byte, _)| *byte);
    (shown[first.0..end].to_owned(), caret - first.1.min(caret))
}

/// The same text without control characters, which could steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(line: &str, column: usize, width: usize) -> (String, String) {
        let (line, caret) = excerpt(line, column, width);
        let at: String = {
            let mut columns = 0;
            line.chars()
                .find(|c| {
                    let here = columns;
                    columns += c.width().unwrap_or(0);
                    here == caret
                })
                .map_or_else(String::new, String::from)
        };
        (line, at)
    }

    #[test]
    fn the_caret_is_under_the_column() {
        assert_eq!(under("FROM c WHERE = 1", 14, 80).1, "=");
        assert_eq!(under("\tSELECT 'é漢字' == 2", 15, 80).1, "=");
        assert_eq!(under("SELECT", 7, 80), ("SELECT".into(), String::new()));
        let long = format!("{}!{}", "x".repeat(500), "y".repeat(500));
        let (shown, at) = under(&long, 501, 80);
        assert_eq!((at.as_str(), shown.len() <= 80), ("!", true), "{shown}");
        let wide = format!("{}!{}", "漢".repeat(300), "字".repeat(300));
        assert_eq!(under(&wide, 301, 80).1, "!");
        assert!(!under("a\u{1b}[2Jb", 1, 80).0.contains('\u{1b}'));
    }

    #[test]
    fn what_the_shell_put_in_front_does_not_count() {
        let place = Position { line: 1, column: 20 };
        assert_eq!(shift(place, 8).column, 12);
        assert_eq!(shift(Position { line: 2, column: 20 }, 8).column, 20);
    }
}
