//! UPDATE.

use std::sync::Arc;

use ditto_types::{ErrorKind, MAX_DEPTH, Path, SmolStr, Value};

use super::insert::check_fields;
use super::target::{returning, targets};
use super::{Choice, FieldOp, SelectPlan, SelectTemplate, check_kind, chosen_accessors, shown};
use crate::bind::{BindContext, Chosen, Selecting};
use crate::decl::{FieldKind, TypeDecls};
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::{Cx, Datum};
use crate::exec::RunContext;
use crate::order::Number;
use crate::scalar::{At, Scalar};
use crate::source::{Access, Row, Source};

#[derive(Clone, Debug)]
pub(crate) struct UpdateTemplate {
    pub(crate) choice: Choice,
    pub(crate) changes: Vec<Change>,
    pub(crate) returning: Option<Arc<SelectTemplate>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) path: Path,
    pub(crate) action: ChangeAction,
    pub(crate) at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeAction {
    Set(Scalar, FieldKind, At),
    Unset,
    Increment(Scalar, At),
    Restart(Option<(Scalar, At)>),
    PnIncrement(Scalar, At),
}

impl Selecting for UpdateTemplate {
    fn choice(&self) -> &Choice {
        &self.choice
    }
}

/// A bound UPDATE.
#[derive(Clone, Debug)]
pub struct UpdatePlan {
    chosen: Chosen<UpdateTemplate>,
    returning: Option<SelectPlan>,
}

impl UpdatePlan {
    pub(crate) fn bind(
        template: Arc<UpdateTemplate>,
        bound: Bound,
        context: &BindContext<'_>,
    ) -> Result<Self, DqlError> {
        if context.strict {
            check_strict(&template, &Cx::constant(&bound))?;
        }
        let returning = returning(template.returning.as_ref(), &bound, context)?;
        Ok(Self { chosen: Chosen::new(template, bound, context)?, returning })
    }

    pub(crate) fn chosen(&self) -> &Chosen<UpdateTemplate> {
        &self.chosen
    }

    /// RETURNING: a SELECT to be run over the changed documents as they are then.
    pub fn returning(&self) -> Option<&SelectPlan> {
        self.returning.as_ref()
    }

    /// The attachment tokens among the arguments, as in an INSERT.
    pub fn tokens(&self) -> &[Value] {
        &self.chosen.bound.tokens
    }

    /// Chooses the documents, in order, and gives what `keep` makes of each.
    ///
    /// # Errors
    ///
    /// Those of the source, of the interrupt and of `keep`; a condition that builds values that are too large.
    pub fn targets<S: Source, T>(
        &self,
        source: &S,
        cx: &RunContext<'_>,
        keep: impl FnMut(&dyn Row) -> Result<T, S::Error>,
    ) -> Result<Vec<T>, S::Error> {
        targets(&self.chosen, source, cx, keep)
    }

    /// The changes for a chosen document in the order APPLY, SET, UNSET, evaluated on its state before the statement.
    ///
    /// An assignment whose value is MISSING leaves its field as it is.
    ///
    /// # Errors
    ///
    /// A counter operation with a value that is no integer, a value that does not fit the declared kind of its field or
    /// is nested too deeply.
    pub fn ops(&self, row: &dyn Row) -> Result<Vec<FieldOp>, DqlError> {
        let cx = Cx::row(row, &self.chosen.bound);
        let mut out = Vec::with_capacity(self.chosen.template.changes.len());
        for change in &self.chosen.template.changes {
            let path = change.path.clone();
            out.push(match &change.action {
                ChangeAction::Unset => FieldOp::Unset { path },
                ChangeAction::Set(e, kind, at) => match e.eval(&cx)? {
                    None => continue,
                    Some(v) => {
                        let value = v.into_owned();
                        self.check(&path, &value, *kind, *at, &cx)?;
                        FieldOp::Set { path, value }
                    }
                },
                ChangeAction::Increment(e, at) => {
                    FieldOp::Increment { path, by: integer(e.eval(&cx)?, *at, &cx)? }
                }
                ChangeAction::Restart(None) => FieldOp::Restart { path, to: 0 },
                ChangeAction::Restart(Some((e, at))) => {
                    FieldOp::Restart { path, to: integer(e.eval(&cx)?, *at, &cx)? }
                }
                ChangeAction::PnIncrement(e, at) => {
                    let v = e.eval(&cx)?;
                    let number = v.as_deref().and_then(Number::of).map(Number::to_f64);
                    match number.filter(|f| f.is_finite()) {
                        Some(by) => FieldOp::PnIncrement { path, by },
                        None => {
                            let message = format!("Expected {} to be a number", shown(v.as_deref()));
                            return cx.fail(ErrorKind::QueryEvaluation, message, *at);
                        }
                    }
                }
            });
        }
        Ok(out)
    }

    fn check(
        &self,
        path: &Path,
        value: &Value,
        kind: FieldKind,
        at: At,
        cx: &Cx<'_>,
    ) -> Result<(), DqlError> {
        if value.depth() + path.len() > MAX_DEPTH {
            let message = format!("document is nested deeper than {MAX_DEPTH} levels");
            return cx.fail(ErrorKind::DepthLimitExceeded, message, at);
        }
        check_kind(value, kind, at, cx)?;
        if let (Value::Object(o), Some(below)) = (value, self.declared().below(path.names())) {
            check_fields(o, below, at, cx)?;
        }
        Ok(())
    }
}

chosen_accessors!(UpdatePlan);

/// In strict mode an undeclared field is a register: nothing is written below it, and it does not count.
fn check_strict(template: &UpdateTemplate, cx: &Cx<'_>) -> Result<(), DqlError> {
    let declared = &template.choice.head.declared;
    let undeclared = |names: &[SmolStr]| declared.kind_of(names) == FieldKind::Inferred;
    for Change { path, action, at } in &template.changes {
        let names = path.names();
        let counts = match action {
            ChangeAction::Set(..) | ChangeAction::Unset => false,
            ChangeAction::Increment(..) | ChangeAction::Restart(_) | ChangeAction::PnIncrement(..) => true,
        };
        let registers = if counts { names.len() } else { names.len().saturating_sub(1) };
        let register = (1..=registers).filter_map(|n| names.get(..n)).find(|names| undeclared(names));
        if let Some(register) = register {
            let field = Path::new(register.iter().cloned());
            let message = format!("Unsupported DML operation on REGISTER field \"{field}\"");
            return cx.fail(ErrorKind::QueryInvalid, message, *at);
        }
    }
    Ok(())
}

fn integer(v: Datum<'_>, at: At, cx: &Cx<'_>) -> Result<i64, DqlError> {
    match v.as_deref() {
        Some(Value::Int(i)) => Ok(*i),
        v => cx.fail(ErrorKind::QueryEvaluation, format!("Expected {} to be an integer value", shown(v)), at),
    }
}
