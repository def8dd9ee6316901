//! What can be wrong with a statement, and where.

use std::fmt;

use ditto_types::ErrorKind;

use crate::lexer::Span;

/// A place in the text of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Bytes before the place.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
}

impl Position {
    /// The place `offset` bytes into `text`; an offset beyond the end means the end.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// An error in the text, the arguments or the evaluation of a statement.
#[derive(Clone, PartialEq, Eq)]
pub struct DqlError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    position: Option<Position>,
}

impl DqlError {
    /// An error that no place in the text stands for.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), position: None }))
    }

    /// An error at byte `offset` of `text`.
    pub(crate) fn at(kind: ErrorKind, message: impl Into<String>, text: &str, offset: usize) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), position: Some(Position::of(text, offset)) }))
    }

    /// A construct that the language has and this engine does not carry out.
    pub(crate) fn unsupported(construct: &str, text: &str, span: Span) -> Self {
        Self::at(
            ErrorKind::QueryUnsupported,
            format!("Unsupported feature: {construct}"),
            text,
            span.start as usize,
        )
    }

    /// The stable code.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was wrong, without the position.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it was wrong, when a place in the text is meant.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }
}

impl fmt::Display for DqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.position {
            Some(p) => write!(f, " (line {}, column {})", p.line, p.column),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DqlError({}: {self})", self.0.kind)
    }
}

impl std::error::Error for DqlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "añb\nçd";
        let p = |o| {
            let p = Position::of(text, o);
            (p.line, p.column)
        };
        assert_eq!(p(0), (1, 1));
        assert_eq!(p(3), (1, 3));
        assert_eq!(p(5), (2, 1));
        assert_eq!(p(7), (2, 2));
        assert_eq!(p(99), (2, 3));
        // Inside a character: its beginning.
        assert_eq!(Position::of(text, 2).offset, 1);
    }

    #[test]
    fn shows_the_position_after_the_message() {
        let e = DqlError::at(ErrorKind::QueryInvalid, "expected FROM", "a\nb", 2);
        assert_eq!(e.to_string(), "expected FROM (line 2, column 1)");
        assert_eq!(DqlError::new(ErrorKind::QueryArguments, "x").to_string(), "x");
    }
}
