//! Statements about statements: EXPLAIN and ADVISE.

use ditto_types::Value;

use super::CreateIndexPlan;

/// EXPLAIN, which is finished when it is bound.
#[derive(Clone, Debug)]
pub struct ExplainPlan {
    /// The result row, `{"plan": …}`.
    pub row: Value,
}

/// ADVISE, which is finished when it is bound but for the indexes of AND PROVISION.
#[derive(Clone, Debug)]
pub struct AdvisePlan {
    /// The result row, `{"advice": …}`, without `createdIndexes` and `failedIndexes`.
    pub row: Value,
    /// The indexes to create; empty unless AND PROVISION was written.
    pub create: Vec<CreateIndexPlan>,
}
