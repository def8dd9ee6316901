//! Statements about indexes and settings.

use ditto_types::{ErrorKind, SmolStr, Value};

use crate::catalog::IndexKey;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::pattern;
use crate::scalar::{At, Scalar};

/// CREATE INDEX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndexPlan {
    /// The collection, in the default namespace.
    pub collection: SmolStr,
    /// Name of the index.
    pub name: SmolStr,
    /// IF NOT EXISTS: an index of this name is no error.
    pub if_absent: bool,
    /// Its keys, at least one.
    pub keys: Vec<IndexKey>,
}

/// DROP INDEX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIndexPlan {
    /// The collection, in the default namespace.
    pub collection: SmolStr,
    /// Name of the index.
    pub name: SmolStr,
    /// IF EXISTS: that there is no index of this name is no error.
    pub if_present: bool,
}

/// ALTER SYSTEM. Names are as written; settings do not care for their case.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterSystemPlan {
    /// SET of a value.
    Set {
        /// The setting.
        name: SmolStr,
        /// Its new value.
        value: Value,
    },
    /// RESET of one setting, and SET to DEFAULT.
    Reset(SmolStr),
    /// RESET ALL.
    ResetAll,
}

/// ALTER SYSTEM without arguments.
#[derive(Clone, Debug)]
pub(crate) enum AlterTemplate {
    Set(SmolStr, Scalar, At),
    Reset(SmolStr),
    ResetAll,
}

impl AlterSystemPlan {
    pub(crate) fn bind(template: &AlterTemplate, bound: &Bound) -> Result<Self, DqlError> {
        Ok(match template {
            AlterTemplate::Set(name, value, at) => {
                let cx = Cx::constant(bound);
                match value.eval(&cx)? {
                    Some(value) => Self::Set { name: name.clone(), value: value.into_owned() },
                    None => {
                        let message = format!("the value for {name} is missing");
                        return cx.fail(ErrorKind::QueryEvaluation, message, *at);
                    }
                }
            }
            AlterTemplate::Reset(name) => Self::Reset(name.clone()),
            AlterTemplate::ResetAll => Self::ResetAll,
        })
    }
}

/// SHOW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShowPlan {
    /// One setting, by its name as written.
    One(SmolStr),
    /// All of them.
    All,
    /// Those whose name matches a pattern.
    Like {
        /// As of LIKE.
        pattern: SmolStr,
        /// ILIKE: whatever their case.
        fold_case: bool,
    },
}

impl ShowPlan {
    /// Whether the setting of this name, in lower case, is shown.
    pub fn shows(&self, name: &str) -> bool {
        match self {
            ShowPlan::One(one) => one.eq_ignore_ascii_case(name),
            ShowPlan::All => true,
            ShowPlan::Like { pattern, fold_case } => pattern::like(name, pattern, '\\', *fold_case),
        }
    }
}
