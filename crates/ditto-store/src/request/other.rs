//! Statements that are neither about documents nor about indexes: settings, reports, the history.

use ditto_dql::{AdvisePlan, AlterSystemPlan, Plan, ShowPlan};
use ditto_types::{Object, Value};

use super::{Place, Requests};
use crate::StoreError;
use crate::result::QueryResult;

/// ALTER SYSTEM. Settings belong to no transaction, so it is refused in one.
pub(super) fn alter(
    requests: &Requests,
    plan: &AlterSystemPlan,
    place: &Place<'_>,
) -> Result<QueryResult, StoreError> {
    alone("ALTER SYSTEM", place)?;
    let row = match plan {
        AlterSystemPlan::Set { name, value } => requests.settings.set(name, value),
        AlterSystemPlan::Reset(name) => requests.settings.reset(name),
        AlterSystemPlan::ResetAll => requests.settings.reset_all(),
    }?;
    requests.history.shrink(requests.settings.snapshot().dql_request_history_size);
    Ok(one(row))
}

/// SHOW.
pub(super) fn show(requests: &Requests, plan: &ShowPlan) -> Result<QueryResult, StoreError> {
    match plan {
        ShowPlan::One(name) => Ok(one(requests.settings.show(name)?)),
        plan => Ok(one(requests.settings.show_all(|name| plan.shows(name)))),
    }
}

/// `DELETE FROM system:request_history`.
pub(super) fn clear_history(requests: &Requests, place: &Place<'_>) -> Result<QueryResult, StoreError> {
    alone("DELETE FROM system:request_history", place)?;
    requests.history.clear();
    Ok(QueryResult::default())
}

/// Refuses what cannot be taken back with a transaction.
fn alone(statement: &str, place: &Place<'_>) -> Result<(), StoreError> {
    match place {
        Place::Own => Ok(()),
        Place::Read(_) => Err(StoreError::ReadOnly),
        Place::Write(_) => Err(StoreError::Execution(format!("{statement} cannot run in a transaction"))),
    }
}

/// ADVISE: the advice, and AND PROVISION the indexes. `create` makes one; each stands for itself, so that one which
/// fails leaves the others.
pub(super) fn advise(
    plan: AdvisePlan,
    mut create: impl FnMut(Plan) -> Result<QueryResult, StoreError>,
) -> Result<QueryResult, StoreError> {
    let mut row = plan.row;
    let (mut created, mut failed) = (Vec::new(), Vec::new());
    for index in plan.create {
        let name = Value::Str(index.name.clone());
        match create(Plan::CreateIndex(index)) {
            Ok(_) => created.push(name),
            Err(
                e @ (StoreError::Closed
                | StoreError::ReadOnly
                | StoreError::Timeout { .. }
                | StoreError::Cancelled),
            ) => {
                return Err(e);
            }
            Err(e) => failed.push(Value::Object(Object::from([
                ("name".into(), name),
                ("error".into(), Value::from(e.to_string())),
            ]))),
        }
    }
    if let Value::Object(row) = &mut row
        && let Some(Value::Object(advice)) = row.get_mut("advice")
    {
        for (key, list) in [("createdIndexes", created), ("failedIndexes", failed)] {
            if !list.is_empty() {
                advice.insert(key.into(), Value::Array(list));
            }
        }
    }
    Ok(QueryResult::rows(vec![row.into()]))
}

fn one(row: Object) -> QueryResult {
    QueryResult::rows(vec![Value::Object(row).into()])
}
