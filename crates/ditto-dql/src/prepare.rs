//! Statements, checked once and bound to arguments many times.

use std::collections::BTreeSet;

use ditto_types::{ErrorKind, Object, SmolStr};

use crate::error::DqlError;
use crate::plan::Plan;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// Reads.
    Select,
    /// Writes new documents.
    Insert,
    /// Changes fields of documents.
    Update,
    /// Removes documents everywhere.
    Delete,
    /// Removes documents from this device only.
    Evict,
}

#[derive(Clone, Debug)]
enum Never {}

/// A statement that has been parsed and checked. It can be bound to any number of argument sets.
#[derive(Clone, Debug)]
pub struct Prepared(Never);

/// Parses and checks a statement; arguments are not needed yet.
pub fn prepare(text: &str) -> Result<Prepared, DqlError> {
    Err(DqlError::at(ErrorKind::QueryUnsupported, "the parser is not part of this build yet", text, 0))
}

/// Like [`prepare`], for a subscription: only `SELECT * FROM collection [WHERE condition]`.
pub fn prepare_subscription(text: &str) -> Result<Prepared, DqlError> {
    prepare(text)
}

/// Like [`prepare`], for an observer: only SELECT.
pub fn prepare_observer(text: &str) -> Result<Prepared, DqlError> {
    prepare(text)
}

impl Prepared {
    /// The text it was prepared from.
    pub fn text(&self) -> &str {
        match self.0 {}
    }
    /// Name of the collection.
    pub fn collection(&self) -> &str {
        match self.0 {}
    }
    /// What the statement does.
    pub fn kind(&self) -> StatementKind {
        match self.0 {}
    }
    /// Whether the statement is anything but SELECT.
    pub fn is_mutation(&self) -> bool {
        match self.0 {}
    }
    /// Names of the parameters used.
    pub fn parameters(&self) -> &BTreeSet<SmolStr> {
        match self.0 {}
    }
    /// Supplies the arguments.
    pub fn bind(&self, _args: &Object) -> Result<Plan, DqlError> {
        match self.0 {}
    }
}
