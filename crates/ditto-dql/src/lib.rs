//! The query language: parser, planner, evaluator and predicate matcher.
//!
//! This crate is pure: it does no I/O and reads no clock. A statement goes through four forms.
//!
//! ```
//! use ditto_dql::{BindContext, CollectionRef, DqlError, Plan, Row, RunContext, Source, TermScan, prepare};
//! use ditto_types::{DocId, Object, SmolStr, Value};
//!
//! // A store supplies rows; here a row is an object.
//! struct Doc(DocId, Object);
//! impl Row for Doc {
//!     fn id(&self) -> &DocId {
//!         &self.0
//!     }
//!     fn field(&self, path: &[SmolStr]) -> Option<Value> {
//!         let (first, rest) = path.split_first()?;
//!         rest.iter().try_fold(self.1.get(first)?, |v, name| v.get(name)).cloned()
//!     }
//!     fn document(&self) -> Value {
//!         Value::Object(self.1.clone())
//!     }
//! }
//! struct Cars(Vec<Doc>);
//! impl Source for Cars {
//!     type Error = DqlError;
//!     fn visit(
//!         &self,
//!         _: &TermScan<'_>,
//!         visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
//!     ) -> Result<(), DqlError> {
//!         for doc in &self.0 {
//!             if !visit(doc)? {
//!                 break;
//!             }
//!         }
//!         Ok(())
//!     }
//!     fn count(&self, _: &CollectionRef) -> Result<u64, DqlError> {
//!         Ok(self.0.len() as u64)
//!     }
//! }
//!
//! let car = |id: i64, seats: i64| {
//!     let id = Value::Int(id);
//!     let fields = Object::from([("_id".into(), id.clone()), ("seats".into(), Value::Int(seats))]);
//!     Doc(DocId::new(&id).expect("an id"), fields)
//! };
//! let cars = Cars(vec![car(1, 2), car(2, 5)]);
//! let prepared = prepare("SELECT _id FROM cars WHERE seats > :n")?;
//! let args = Object::from([("n".into(), Value::Int(4))]);
//! let Plan::Select(plan) = prepared.bind(&args, &BindContext::bare())? else { unreachable!() };
//! let rows = plan.run(&cars, &RunContext::default())?;
//! assert_eq!(rows.len(), 1);
//! let first = rows.iter().next().map(|row| row.value());
//! assert_eq!(first.as_ref().and_then(|row| row.get("_id")), Some(&Value::Int(2)));
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
//! | `eval`, `truth`, `arith`, `pattern`, `functions`, `date`, `aggregate` | what expressions mean |
//! | `value_ref` | [`ValueRef`]: a field compared where it lies |
//! | `order`, `sort` | [`compare()`], ORDER BY, LIMIT, OFFSET |
//! | `env` | [`Env`]: what an execution has besides rows |
//! | `matcher` | [`Matcher`]: which of many queries a document concerns |
//! | `bind`, `exec` | [`BindContext`]; [`RunContext`]: what binding and running need from outside |
//! | `source`, `item` | [`Source`], [`Row`], [`Access`]: what a store implements; [`Item`]: what comes out |
//! | `spill` | [`Spill`]: temporary files for what memory does not hold; sorted runs, rows of results |
//! | `catalog`, `directives` | [`IndexDef`], [`Catalog`]; [`Directives`] to the planner |
//! | `key` | [`encode_key`]: values as bytes in the order of the language |
//! | `planner` | which access path a condition gets |
//! | `explain`, `advise` | plans as values; indexes that a statement could use |
//! | `decl` | [`TypeDecls`] of `COLLECTION c (f TYPE)` |
//! | `error` | [`DqlError`] with its [`Position`] |

mod advise;
mod aggregate;
mod arith;
mod ast;
mod bind;
mod catalog;
mod date;
mod decl;
mod directives;
mod env;
mod error;
mod eval;
mod exec;
mod explain;
mod functions;
mod item;
mod items;
mod key;
mod kinds;
mod lexer;
mod lower;
mod matcher;
mod order;
mod parser;
mod pattern;
mod plan;
mod planner;
mod prepare;
mod print;
mod scalar;
mod sort;
mod source;
mod spill;
mod truth;
mod value_ref;

pub use bind::BindContext;
pub use catalog::{
    Catalog, CollectionRef, IndexDef, IndexKey, MAX_INDEX_KEYS, Namespace, NoIndexes, SYSTEM_COLLECTIONS,
};
pub use decl::{FieldKind, TypeDecls};
pub use directives::{Directives, NO_DIRECTIVES};
pub use env::Env;
pub use error::{DqlError, Position};
pub use eval::{MAX_EVALUATION_BYTES, MAX_EVALUATION_STEPS};
pub use exec::{Interrupt, MAX_BUFFER_BYTES, Profiler, RunContext, RunStats};
pub use item::{Item, LazyItem};
pub use items::{Items, Iter as ItemsIter};
pub use key::{KeyError, KeySpan, decode_key, encode_key};
pub use kinds::IndexKinds;
pub use lexer::MAX_STATEMENT_BYTES;
pub use matcher::{Matcher, Watch};
pub use order::compare;
pub use parser::MAX_EXPRESSION_DEPTH;
pub use pattern::like;
pub use plan::{
    AdvisePlan, AlterSystemPlan, ConflictPolicy, CreateIndexPlan, DeletePlan, DropIndexPlan, ExplainPlan,
    FieldOp, InsertPlan, LiveResult, NewDocument, NewDocuments, Plan, SelectPlan, ShowPlan, UpdatePlan,
};
pub use prepare::{
    Arguments, Prepared, StatementKind, normalize, prepare, prepare_observer, prepare_subscription,
};
pub use source::{Access, Condition, IndexScan, Needs, Row, RowFilter, Source, TermScan};
pub use spill::{SharedSpill, Spill, SpillFile};
pub use value_ref::ValueRef;
