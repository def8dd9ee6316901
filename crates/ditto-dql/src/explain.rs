//! Plans as values, for EXPLAIN and PROFILE.

use ditto_types::Value;

use crate::exec::Stats;
use crate::plan::SelectPlan;

/// The plan of a SELECT.
pub(crate) fn select(_: &SelectPlan, _: Option<&Stats>) -> Value {
    Value::Null
}
