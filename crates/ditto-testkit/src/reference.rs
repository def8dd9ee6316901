//! A slow and obvious evaluator of DQL, to compare the engine with.
//!
//! It is written from the language reference and shares no code with `ditto-dql`: it has its own statements (never
//! parsed, only printed), its own comparison, logic, aggregates and sorting, and a [`Database`] of documents in lists.
//! What it knows is what [`generate`] makes; statements beyond that are tested by hand elsewhere.
//!
//! | module | owns |
//! |---|---|
//! | `order` | the total order of values, equality |
//! | `operators` | arithmetic, comparison, three-valued logic, patterns |
//! | `expr`, `functions`, `aggregate` | expressions and their values |
//! | `select` | SELECT: joins, grouping, DISTINCT, sorting |
//! | `document`, `write` | what a document keeps below its visible value; INSERT, UPDATE, DELETE, EVICT |
//! | `database` | collections, and running a statement |
//! | `outcome` | what a statement gives, and whether an answer agrees with it |
//! | `print` | statements as text and arguments |
//! | `generate` | random documents and statements out of a [`Tape`] |

mod aggregate;
mod database;
mod document;
mod expr;
mod functions;
pub mod generate;
mod operators;
mod order;
mod outcome;
mod print;
mod select;
mod write;

pub use aggregate::Aggregate;
pub use database::{Database, Statement};
pub use expr::{Binary, Case, Expr, Quantifier, Source, Test};
pub use functions::FUNCTIONS;
pub use generate::Tape;
pub use operators::{equal, is_true};
pub use order::order;
pub use outcome::{Answer, Outcome, Rows};
pub use print::Text;
pub use select::{Item, Join, JoinKind, Projection, Select, SortKey, Term};
pub use write::{Apply, Delete, Insert, InsertSource, Policy, Tail, Update};
