//! What the planner knows of collections: their names and their indexes.

use std::fmt;
use std::sync::Arc;

use ditto_types::{Path, SmolStr, Value};

use crate::decl::TypeDecls;
use crate::key;
use crate::kinds::IndexKinds;

/// Where a collection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// Documents of the user.
    #[default]
    Default,
    /// Virtual, read-only collections of the engine.
    System,
}

impl Namespace {
    /// The word before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Namespace::Default => "default",
            Namespace::System => "system",
        }
    }
}

/// Names of the collections in [`Namespace::System`], with the other names that some have (dql.md 8).
pub const SYSTEM_COLLECTIONS: [&str; 16] = [
    "active_requests",
    "actives",
    "all_collections",
    "collections",
    "completed_requests",
    "connection_events",
    "data_sync_info",
    "dql_indexes",
    "dual",
    "indexes",
    "metrics",
    "request_history",
    "shared_statements",
    "system_info",
    "transports_info",
    "vitals",
];

/// A collection with its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionRef {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name without the namespace.
    pub name: SmolStr,
}

impl CollectionRef {
    /// A collection of documents.
    pub fn user(name: impl Into<SmolStr>) -> Self {
        Self { namespace: Namespace::Default, name: name.into() }
    }
}

/// As in a statement: `system:dual`, and user collections by their name alone.
impl fmt::Display for CollectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace {
            Namespace::Default => f.write_str(&self.name),
            Namespace::System => write!(f, "system:{}", self.name),
        }
    }
}

/// One key of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexKey {
    /// The field; never the root.
    pub path: Path,
    /// Whether the greatest value comes first.
    pub descending: bool,
    /// Whether documents without the field have an entry.
    pub include_missing: bool,
}

/// An index as it was created.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexDef {
    /// Number of the index in the store.
    pub id: u32,
    /// Its name, unique in the collection.
    pub name: SmolStr,
    /// The collection, which is in the default namespace.
    pub collection: SmolStr,
    /// One to [`MAX_INDEX_KEYS`] keys.
    pub keys: Vec<IndexKey>,
    /// The kinds of values that its entries were made from; `None` when that is not known.
    pub kinds: Option<IndexKinds>,
}

/// Most keys of an index.
pub const MAX_INDEX_KEYS: usize = 16;

impl IndexDef {
    /// The key of the entry that a document has in this index; `None` if it has none, because a key that leaves out
    /// missing values is missing. `field` gives the value at a path, as `Row::field` does.
    pub fn entry(&self, field: impl FnMut(&[SmolStr]) -> Option<Value>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(16 * self.keys.len());
        self.push_entry(field, &mut out).then_some(out)
    }

    /// As [`IndexDef::entry`], appended to `out`; false if there is none.
    pub fn push_entry(&self, mut field: impl FnMut(&[SmolStr]) -> Option<Value>, out: &mut Vec<u8>) -> bool {
        key::push_key(&self.keys, |k| field(k.path.names()), out)
    }
}

impl IndexDef {
    /// Whether a statement that declares these kinds, or runs in strict mode, sees what the index holds.
    pub fn serves(&self, declared: &TypeDecls, strict: bool) -> bool {
        match &self.kinds {
            _ if declared.is_empty() && !strict => true,
            Some(kinds) => kinds.serve(&self.keys, declared, strict),
            None => {
                let is_declared = |k: &IndexKey| {
                    k.path.names().first().is_some_and(|n| declared.below(std::slice::from_ref(n)).is_some())
                };
                !strict && !self.keys.iter().any(is_declared)
            }
        }
    }
}

/// Supplies the indexes of a collection.
pub trait Catalog {
    /// The indexes of a user collection that are complete, in the order of their creation.
    fn indexes(&self, collection: &str) -> Vec<Arc<IndexDef>>;
}

/// A catalog without indexes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoIndexes;

impl Catalog for NoIndexes {
    fn indexes(&self, _: &str) -> Vec<Arc<IndexDef>> {
        Vec::new()
    }
}
