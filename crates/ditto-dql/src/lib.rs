//! The query language: parser, planner, evaluator and predicate matcher.
//!
//! This crate is pure: it does no I/O and reads no clock. A statement goes through four forms.
//!
//! ```
//! use ditto_dql::{Plan, Row, prepare};
//! use ditto_types::{Object, SmolStr, Value};
//!
//! // A store supplies rows; here a row is an object.
//! struct Doc(Object);
//! impl Row for Doc {
//!     fn field(&self, path: &[SmolStr]) -> Option<Value> {
//!         let (first, rest) = path.split_first()?;
//!         rest.iter().try_fold(self.0.get(first)?, |v, name| v.get(name)).cloned()
//!     }
//!     fn document(&self) -> Value {
//!         Value::Object(self.0.clone())
//!     }
//! }
//!
//! let prepared = prepare("SELECT name FROM cars WHERE seats > :n")?;
//! let args = Object::from([("n".into(), Value::Int(4))]);
//! let Plan::Select(plan) = prepared.bind(&args)? else { unreachable!() };
//! let mut run = plan.start();
//! for seats in [2, 5] {
//!     let name = Value::from(format!("car with {seats} seats"));
//!     run.push(&Doc(Object::from([("name".into(), name), ("seats".into(), Value::Int(seats))])))?;
//! }
//! let rows = run.finish()?;
//! assert_eq!(rows.len(), 1);
//! assert_eq!(rows[0].get("name"), Some(&Value::from("car with 5 seats")));
//! # Ok::<(), ditto_dql::DqlError>(())
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `lexer`, `parser`, `ast` | text to tokens to the statement as written |
//! | `print`, [`normalize()`] | the statement in one spelling |
//! | `lower`, `scalar` | name resolution and static checks; resolved expressions |
//! | [`prepare()`], [`Prepared`] | a checked statement and its parameters |
//! | `plan`: [`Plan`] | a statement bound to its arguments, and its runs |
//! | `eval`, `truth`, `arith`, `pattern`, `functions`, `aggregate` | what expressions mean |
//! | `order`, `sort` | [`compare()`], ORDER BY, LIMIT, OFFSET |
//! | `access` | [`Access`]: which documents WHERE names by id |
//! | `env` | [`Env`]: what an execution has besides rows |
//! | `matcher` | [`Matcher`]: which of many queries a document concerns |
//! | `decl` | [`TypeDecls`] of `COLLECTION c (f TYPE)` |
//! | `error` | [`DqlError`] with its [`Position`] |

mod access;
mod aggregate;
mod arith;
mod ast;
mod decl;
mod env;
mod error;
mod eval;
mod functions;
mod lexer;
mod lower;
mod matcher;
mod order;
mod parser;
mod pattern;
mod plan;
mod prepare;
mod print;
mod scalar;
mod sort;
mod truth;

pub use decl::{FieldKind, TypeDecls};
pub use env::Env;
pub use error::{DqlError, Position};
pub use eval::MAX_EVALUATION_BYTES;
pub use lexer::MAX_STATEMENT_BYTES;
pub use matcher::{Matcher, Watch};
pub use order::compare;
pub use parser::MAX_EXPRESSION_DEPTH;
pub use pattern::like;
pub use plan::{
    Access, ConflictPolicy, DeletePlan, FieldOp, InsertPlan, Plan, Row, SelectPlan, SelectRun, TargetRun,
    UpdatePlan,
};
pub use prepare::{Prepared, StatementKind, normalize, prepare, prepare_observer, prepare_subscription};
