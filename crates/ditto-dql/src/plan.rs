//! Statements bound to their arguments, ready to run.
//!
//! A plan owns its arguments and shares the checked statement with the [`Prepared`](crate::Prepared) it came from.

mod insert;
mod live;
mod report;
mod select;
mod system;
mod target;
mod update;

use std::sync::Arc;

use ditto_types::attachment::is_token;
use ditto_types::{ErrorKind, Path, SmolStr, Value};

use crate::catalog::CollectionRef;
use crate::decl::{FieldKind, TypeDecls};
use crate::directives::Directives;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::RunStats;
use crate::order::Number;
use crate::planner::{Cond, UseIds, conditions};
use crate::scalar::{At, Scalar};
use crate::sort::Window;

pub use insert::{InsertPlan, NewDocument, NewDocuments};
pub(crate) use insert::{InsertSource, InsertTemplate};
pub use live::LiveResult;
pub use report::{AdvisePlan, ExplainPlan};
pub use select::SelectPlan;
pub(crate) use select::{Grouping, JoinTemplate, Output, OutputItem, SelectTemplate};
pub(crate) use system::AlterTemplate;
pub use system::{AlterSystemPlan, CreateIndexPlan, DropIndexPlan, ShowPlan};
pub use target::DeletePlan;
pub(crate) use target::RemoveTemplate;
pub use update::UpdatePlan;
pub(crate) use update::{Change, ChangeAction, UpdateTemplate};

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
    /// CREATE INDEX.
    CreateIndex(CreateIndexPlan),
    /// DROP INDEX.
    DropIndex(DropIndexPlan),
    /// ALTER SYSTEM.
    AlterSystem(AlterSystemPlan),
    /// SHOW.
    Show(ShowPlan),
    /// EXPLAIN.
    Explain(ExplainPlan),
    /// PROFILE: the statement is run, and its profile follows its rows.
    Profile(Box<Plan>),
    /// ADVISE.
    Advise(AdvisePlan),
    /// `DELETE FROM system:request_history`.
    ClearHistory,
}

impl Plan {
    /// How it is carried out, as EXPLAIN shows it.
    pub fn explain(&self) -> Value {
        crate::explain::plan(self, None)
    }

    /// How it was carried out: operators have `#stats`.
    pub fn profile(&self, stats: &RunStats) -> Value {
        crate::explain::plan(self, Some(stats))
    }
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
    /// Writes a value as the kind that the statement declares for the field.
    Set {
        /// The field.
        path: Path,
        /// Its new value.
        value: Value,
    },
    /// Removes a field with all below it, if it holds a value of the kind that the statement declares.
    Unset {
        /// The field.
        path: Path,
    },
    /// Adds to a counter.
    Increment {
        /// The field.
        path: Path,
        /// The amount.
        by: i64,
    },
    /// Sets a counter, discarding increments it has not seen.
    Restart {
        /// The field.
        path: Path,
        /// The new value.
        to: i64,
    },
    /// Adds to a legacy counter.
    PnIncrement {
        /// The field.
        path: Path,
        /// The amount.
        by: f64,
    },
}

/// What every template knows.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// What qualifies the fields of the collection: its alias, or else its name.
    pub(crate) name: SmolStr,
    pub(crate) collection: CollectionRef,
    pub(crate) declared: TypeDecls,
    pub(crate) hints: Hints,
    /// Where the collection stands in the text.
    pub(crate) at: At,
}

/// What a statement says about the access path of a term of FROM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    pub(crate) ids: Option<Arc<UseIds>>,
    /// The indexes that may be used; none at all for a scan of the collection.
    pub(crate) indexes: Option<Vec<SmolStr>>,
    pub(crate) directives: Directives,
}

/// The parts of a template that choose documents.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The term that is visited first, number 0.
    pub(crate) head: Head,
    pub(crate) filter: Option<Scalar>,
    pub(crate) tail: TailTemplate,
    pub(crate) search: Search,
}

impl Choice {
    /// Whether no document is excluded: there is no WHERE, or `WHERE true`.
    pub(crate) fn keeps_all(&self) -> bool {
        matches!(self.filter, None | Some(Scalar::Const(Value::Bool(true))))
    }
}

/// What every bound statement that chooses documents tells of it, `chosen` being a field.
macro_rules! chosen_accessors {
    ($plan:ident) => {
        impl $plan {
            /// Name of the collection.
            pub fn collection(&self) -> &str {
                &self.chosen.collection().name
            }

            /// Where the rows come from.
            pub fn access(&self) -> &Access {
                &self.chosen.access
            }

            /// Declared field kinds: a declared field is read and written as its kind.
            pub fn declared(&self) -> &TypeDecls {
                self.chosen.declared()
            }

            /// Strict mode: undeclared fields are read and written as registers only.
            pub fn is_strict(&self) -> bool {
                self.chosen.strict
            }
        }
    };
}
pub(crate) use chosen_accessors;

/// What an access path is looked for with: the parts of a template that do not depend on arguments and indexes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) condition: Cond,
    /// ORDER BY, when it is by fields of the first term only.
    pub(crate) order: Vec<(Path, bool)>,
    /// The fields that are read; `None` for whole documents.
    pub(crate) needs: Option<Vec<Path>>,
}

impl Search {
    /// For a statement on one collection that looks at whole documents.
    pub(crate) fn documents(filter: Option<&Scalar>, tail: &TailTemplate) -> Self {
        Self { condition: conditions(filter, 0), order: tail.fields(), needs: None }
    }
}

/// ORDER BY, LIMIT and OFFSET before binding.
#[derive(Clone, Debug)]
pub(crate) struct TailTemplate {
    pub(crate) order: Vec<SortTerm>,
    pub(crate) limit: Option<(Scalar, At)>,
    pub(crate) offset: Option<(Scalar, At)>,
}

#[derive(Clone, Debug)]
pub(crate) struct SortTerm {
    pub(crate) key: Scalar,
    pub(crate) descending: bool,
    pub(crate) at: At,
}

impl TailTemplate {
    /// Evaluates LIMIT and OFFSET; `kind` is that of the error for a value that is no row count.
    pub(crate) fn window(&self, bound: &Bound, kind: ErrorKind) -> Result<Window, DqlError> {
        let limit = self.limit.as_ref().map(|l| rows("LIMIT", l, bound, kind)).transpose()?;
        let offset = self.offset.as_ref().map(|o| rows("OFFSET", o, bound, kind)).transpose()?;
        Ok(Window { limit, offset: offset.unwrap_or(0) })
    }

    /// Whether LIMIT and OFFSET are known without arguments.
    pub(crate) fn is_constant(&self) -> bool {
        [&self.limit, &self.offset].into_iter().flatten().all(|(s, _)| matches!(s, Scalar::Const(_)))
    }

    /// The keys of ORDER BY with their directions, if all are fields of the first term.
    pub(crate) fn fields(&self) -> Vec<(Path, bool)> {
        let field = |t: &SortTerm| match &t.key {
            Scalar::Field(0, path) => Some((Path::new(path.iter().cloned()), t.descending)),
            _ => None,
        };
        self.order.iter().map(field).collect::<Option<_>>().unwrap_or_default()
    }

    pub(crate) fn descending(&self) -> Vec<bool> {
        self.order.iter().map(|t| t.descending).collect()
    }

    pub(crate) fn keys<'a>(&'a self, cx: &Cx<'a>) -> Result<Vec<Option<Value>>, DqlError> {
        self.order.iter().map(|t| Ok(t.key.eval(cx)?.map(|v| v.into_owned()))).collect()
    }
}

fn rows(clause: &str, (scalar, at): &(Scalar, At), bound: &Bound, kind: ErrorKind) -> Result<u64, DqlError> {
    let cx = Cx::constant(bound);
    let value = scalar.eval(&cx)?;
    match value.as_deref() {
        Some(Value::Int(n)) if *n >= 0 => Ok(n.unsigned_abs()),
        Some(Value::UInt(n)) => Ok(*n),
        v => cx.fail(kind, format!("{clause} must be an integer of at least 0, found {}", shown(v)), *at),
    }
}

/// A value for a message: numbers as they are, of everything else the type.
pub(crate) fn shown(v: Option<&Value>) -> String {
    match v {
        Some(v) if Number::of(v).is_some() => ditto_types::json::to_string(v),
        Some(v) => v.type_name().to_owned(),
        None => "missing".to_owned(),
    }
}

/// Checks that `v` can be the value of a field of the declared kind.
pub(crate) fn check_kind<'a>(v: &Value, kind: FieldKind, at: At, cx: &Cx<'a>) -> Result<(), DqlError> {
    let (fits, wanted) = match kind {
        FieldKind::Inferred | FieldKind::Register => return Ok(()),
        FieldKind::Counter => (matches!(v, Value::Int(_)), "an integer value"),
        FieldKind::PnCounter => (Number::of(v).is_some(), "a number"),
        FieldKind::Map => (v.as_object().is_some(), "an object"),
        FieldKind::Attachment => (is_token(v), "an attachment token"),
    };
    if fits {
        return Ok(());
    }
    cx.fail(ErrorKind::QueryEvaluation, format!("Expected {} to be {wanted}", shown(Some(v))), at)
}
