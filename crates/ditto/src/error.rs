//! The one error type of the SDK.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

pub use ditto_types::ErrorKind;

/// What went wrong: a stable [`ErrorKind`], a text, for faults in a statement the place, and the cause if there is one
/// (API-413). Shown as `DittoError(code): text`, with place and cause (API-417).
///
/// Two errors are of the same kind when [`DittoError::kind`] is equal, whatever the text says (API-418).
/// Texts hold no document content and no keys.
#[derive(Clone, Debug)]
pub struct DittoError {
    kind: ErrorKind,
    reason: String,
    position: Option<Position>,
    source: Option<Arc<dyn Error + Send + Sync>>,
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
        Self { kind, reason: reason.into(), position: None, source: None }
    }

    /// Builds an error with what caused it, which [`Error::source`] gives back (API-416).
    pub fn with_source(
        kind: ErrorKind,
        reason: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { source: Some(Arc::from(source.into())), ..Self::new(kind, reason) }
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
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl Error for DittoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|e| e.as_ref() as &(dyn Error + 'static))
    }
}

impl From<ditto_store::StoreError> for DittoError {
    fn from(e: ditto_store::StoreError) -> Self {
        let position = e.position().map(|p| Position { line: p.line, column: p.column });
        let reason = match &e {
            // Its text would repeat the position.
            ditto_store::StoreError::Query(e) => e.message().to_owned(),
            e => e.to_string(),
        };
        Self { kind: e.kind(), reason, position, source: None }
    }
}
