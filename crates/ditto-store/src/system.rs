//! The virtual collections `system:…` (dql.md 8): rows made on the spot, read-only.
//!
//! A statement sees one snapshot of each collection that it names. What the store does not know itself, a
//! [`SystemProvider`] adds.

mod provider;
mod time;

use ditto_types::{Object, Value};

use crate::StoreError;
use crate::driver::Db;
use crate::shared::Shared;

pub use provider::SystemProvider;
pub(crate) use time::time_text;

/// Names of the system collections, without `system:`, and what they are called besides.
pub(crate) const COLLECTIONS: &[(&str, &str)] = &[
    ("active_requests", "actives"),
    ("all_collections", ""),
    ("collections", ""),
    ("data_sync_info", ""),
    ("dual", ""),
    ("indexes", "dql_indexes"),
    ("metrics", ""),
    ("request_history", "completed_requests"),
    ("shared_statements", ""),
    ("system_info", ""),
    ("transports_info", ""),
    ("vitals", ""),
];

/// Whether there is a system collection of this name, given without `system:`.
pub(crate) fn exists(name: &str) -> bool {
    canonical(name).is_some()
}

fn canonical(name: &str) -> Option<&'static str> {
    COLLECTIONS.iter().find(|(n, alias)| *n == name || (!alias.is_empty() && *alias == name)).map(|(n, _)| *n)
}

/// The rows of a system collection, each an object with `_id`, in the order of their ids where that means anything.
///
/// `name` comes without `system:`. `db` is the snapshot of the statement.
pub(crate) fn rows(shared: &Shared, db: &Db, name: &str) -> Result<Vec<Object>, StoreError> {
    let _ = (shared, db);
    match canonical(name) {
        Some("dual") => Ok(vec![Object::from([("_id".into(), Value::from("dual"))])]),
        Some(_) => Ok(Vec::new()),
        None => Err(StoreError::Collection("there is no system collection of this name")),
    }
}
