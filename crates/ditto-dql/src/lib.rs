//! The query language: parser, planner, evaluator and predicate matcher.

mod decl;
mod error;
mod order;
mod plan;
mod prepare;

pub use decl::{FieldKind, TypeDecls};
pub use error::{DqlError, Position};
pub use order::compare;
pub use plan::{
    Access, ConflictPolicy, DeletePlan, FieldOp, InsertPlan, Plan, Row, SelectPlan, SelectRun, TargetRun,
    UpdatePlan,
};
pub use prepare::{Prepared, StatementKind, prepare, prepare_observer, prepare_subscription};
