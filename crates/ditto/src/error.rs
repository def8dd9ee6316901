//! The one error type of the SDK.

use std::fmt;

pub use ditto_types::ErrorKind;

/// What went wrong: a stable [`ErrorKind`], a text, and for faults in a statement the place (API-413).
///
/// Two errors are of the same kind when [`DittoError::kind`] is equal, whatever the text says (API-418).
/// Texts hold no document content and no keys.
#[derive(Clone, Debug)]
pub struct DittoError {
    kind: ErrorKind,
    reason: String,
    position: Option<Position>,
}

/// A place in the text of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl DittoError {
    /// Builds an error. Apps use it to fail a transaction with a kind of their choice.
    pub fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), position: None }
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text, without kind and position.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Where in the statement the fault is, when the error is about a place in its text.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the Ditto instance is closed")
    }
}

impl fmt::Display for DittoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DittoError({}): {}", self.kind, self.reason)?;
        if let Some(p) = self.position {
            write!(f, " (line {}, column {})", p.line, p.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for DittoError {}

impl From<ditto_store::StoreError> for DittoError {
    fn from(e: ditto_store::StoreError) -> Self {
        let position = e.position().map(|p| Position { line: p.line, column: p.column });
        let reason = match &e {
            // Its text would repeat the position.
            ditto_store::StoreError::Query(e) => e.message().to_owned(),
            e => e.to_string(),
        };
        Self { kind: e.kind(), reason, position }
    }
}
