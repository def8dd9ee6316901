//! How a request is carried out, for those who look at it while it runs or afterwards.

use std::sync::Arc;

use ditto_dql::{Arguments, BindContext, DqlError, Env, Plan, RunStats};
use ditto_types::Value;

use crate::index::Indexes;
use crate::prepared::Statement;
use crate::settings::Settings;

/// Enough to show the plan of a request.
pub(crate) enum How {
    /// The plan itself.
    Plan(Arc<Plan>),
    /// What it was planned from.
    Bound(Bound),
}

/// What a statement was planned from. The plan is made of nothing else, so it is made again when somebody asks; a
/// history of plans would cost every statement the time to free an old one.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) statement: Arc<Statement>,
    pub(crate) args: Arguments,
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) env: Arc<Env>,
}

impl How {
    /// As EXPLAIN shows it, or as PROFILE does when it is known what the run did.
    pub(super) fn explain(&self, settings: &Settings, stats: Option<&RunStats>) -> Option<Value> {
        let show = |plan: &Plan| stats.map_or_else(|| plan.explain(), |stats| plan.profile(stats));
        match self {
            How::Plan(plan) => Some(show(plan)),
            How::Bound(bound) => match bound.plan(settings).ok()? {
                Plan::Profile(plan) => Some(show(&plan)),
                plan => Some(show(&plan)),
            },
        }
    }
}

impl Bound {
    pub(super) fn plan(&self, settings: &Settings) -> Result<Plan, DqlError> {
        let context = BindContext {
            catalog: &*self.indexes,
            strict: settings.dql_strict_mode,
            directives: &settings.directives,
            env: self.env.clone(),
        };
        self.statement.prepared.bind_to(&self.args, &context)
    }
}
