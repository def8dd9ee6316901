//! Statements bound to their arguments, ready to run.

use ditto_types::{DocId, Object, Path, SmolStr, Value};

use crate::decl::{FieldKind, TypeDecls};
use crate::error::DqlError;

#[derive(Clone, Debug)]
enum Never {}

/// A bound statement.
#[derive(Clone, Debug)]
pub enum Plan {
    /// SELECT.
    Select(SelectPlan),
    /// INSERT.
    Insert(InsertPlan),
    /// UPDATE.
    Update(UpdatePlan),
    /// DELETE.
    Delete(DeletePlan),
    /// EVICT.
    Evict(DeletePlan),
}

/// A document as the evaluator sees it.
pub trait Row {
    /// The value at `path`; `None` is MISSING. `path[0]` may be `_id`.
    fn field(&self, path: &[SmolStr]) -> Option<Value>;
    /// The whole document with its `_id`.
    fn document(&self) -> Value;
}

/// Where the rows of a statement come from. The filter applies to them in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The documents with these ids, ascending and without duplicates.
    Ids(Vec<DocId>),
    /// Every document of the collection.
    Scan,
}

/// What INSERT does with a document that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConflictPolicy {
    /// The statement fails.
    #[default]
    Fail,
    /// The existing document stays.
    DoNothing,
    /// Every supplied leaf is written.
    DoUpdate,
    /// The leaves that differ are written.
    DoUpdateLocalDiff,
}

/// A change of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldOp {
    /// Writes a value.
    Set { path: Path, value: Value, kind: FieldKind },
    /// Removes a field with all below it.
    Unset { path: Path },
    /// Adds to a counter.
    Increment { path: Path, by: i64 },
    /// Sets a counter.
    Restart { path: Path, to: i64 },
    /// Adds to a legacy counter.
    PnIncrement { path: Path, by: f64 },
}

/// A bound SELECT.
#[derive(Clone, Debug)]
pub struct SelectPlan(Never);

impl SelectPlan {
    /// Name of the collection.
    pub fn collection(&self) -> &str {
        match self.0 {}
    }
    /// Where the rows come from.
    pub fn access(&self) -> &Access {
        match self.0 {}
    }
    /// Whether WHERE is exactly true for `row`.
    pub fn matches(&self, _row: &dyn Row) -> Result<bool, DqlError> {
        match self.0 {}
    }
    /// Whether every document matches.
    pub fn is_whole_collection(&self) -> bool {
        match self.0 {}
    }
    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        match self.0 {}
    }
    /// Starts a run.
    pub fn start(&self) -> SelectRun<'_> {
        match self.0 {}
    }
}

/// One run of a SELECT.
pub struct SelectRun<'a>(Never, std::marker::PhantomData<&'a ()>);

impl SelectRun<'_> {
    /// Offers a row; `false` means that no more rows are needed.
    pub fn push(&mut self, _row: &dyn Row) -> Result<bool, DqlError> {
        match self.0 {}
    }
    /// The result rows, as objects.
    pub fn finish(self) -> Result<Vec<Value>, DqlError> {
        match self.0 {}
    }
}

/// A bound INSERT.
#[derive(Clone, Debug)]
pub struct InsertPlan(Never);

impl InsertPlan {
    /// Name of the collection.
    pub fn collection(&self) -> &str {
        match self.0 {}
    }
    /// The documents; each may lack `_id`.
    pub fn documents(&self) -> Result<Vec<Object>, DqlError> {
        match self.0 {}
    }
    /// What to do with a document that exists.
    pub fn policy(&self) -> ConflictPolicy {
        match self.0 {}
    }
    /// Whether the documents are written at time zero.
    pub fn is_initial(&self) -> bool {
        match self.0 {}
    }
    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        match self.0 {}
    }
}

/// A bound UPDATE.
#[derive(Clone, Debug)]
pub struct UpdatePlan(Never);

impl UpdatePlan {
    /// Name of the collection.
    pub fn collection(&self) -> &str {
        match self.0 {}
    }
    /// Where the rows come from.
    pub fn access(&self) -> &Access {
        match self.0 {}
    }
    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        match self.0 {}
    }
    /// Starts choosing documents.
    pub fn targets(&self) -> TargetRun<'_> {
        match self.0 {}
    }
    /// The changes for a chosen document, evaluated on its state before the statement.
    pub fn ops(&self, _row: &dyn Row) -> Result<Vec<FieldOp>, DqlError> {
        match self.0 {}
    }
}

/// A bound DELETE or EVICT.
#[derive(Clone, Debug)]
pub struct DeletePlan(Never);

impl DeletePlan {
    /// Name of the collection.
    pub fn collection(&self) -> &str {
        match self.0 {}
    }
    /// Where the rows come from.
    pub fn access(&self) -> &Access {
        match self.0 {}
    }
    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        match self.0 {}
    }
    /// Starts choosing documents.
    pub fn targets(&self) -> TargetRun<'_> {
        match self.0 {}
    }
}

/// Choice of the documents of a mutation: WHERE, ORDER BY, LIMIT, OFFSET.
pub struct TargetRun<'a>(Never, std::marker::PhantomData<&'a ()>);

impl TargetRun<'_> {
    /// Offers a document; `false` means that no more are needed.
    pub fn push(&mut self, _id: DocId, _row: &dyn Row) -> Result<bool, DqlError> {
        match self.0 {}
    }
    /// The chosen documents, in order.
    pub fn finish(self) -> Vec<DocId> {
        match self.0 {}
    }
}
