//! Statements about indexes and settings.

use ditto_types::{SmolStr, Value};

use crate::catalog::IndexKey;
use crate::pattern;

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
