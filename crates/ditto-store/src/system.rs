//! The virtual collections `system:…` (dql.md 8): rows made on the spot, read-only.
//!
//! Each pass of a statement over a collection sees one snapshot of it. What the store does not know itself, a
//! [`SystemProvider`] adds.

mod collections;
mod info;
mod provider;
mod requests;
mod time;
mod vitals;

use ditto_types::{Object, Value};

use crate::StoreError;
use crate::driver::Db;
use crate::shared::Shared;

pub(crate) use info::Samples;
pub use provider::SystemProvider;
pub(crate) use requests::profile;
pub(crate) use time::time_text;
pub(crate) use vitals::METRICS_VARIABLE;

/// Names of the system collections, without `system:`, and what they are called besides. `ditto_dql` knows them too, so
/// that an unknown one is an error with its place.
pub(crate) const COLLECTIONS: &[(&str, &str)] = &[
    ("active_requests", "actives"),
    ("all_collections", ""),
    ("collections", ""),
    ("connection_events", ""),
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

fn canonical(name: &str) -> Option<&'static str> {
    COLLECTIONS.iter().find(|(n, alias)| *n == name || (!alias.is_empty() && *alias == name)).map(|(n, _)| *n)
}

/// The rows of a system collection, each an object with `_id`.
///
/// `name` comes without `system:`. `db` is the snapshot of the statement.
pub(crate) fn rows(shared: &Shared, db: &Db, name: &str) -> Result<Vec<Object>, StoreError> {
    let requests = &shared.requests;
    let provider = || shared.provider();
    Ok(match canonical(name) {
        Some("active_requests") => requests::active(requests),
        Some("all_collections") => collections::all(shared, db)?,
        Some("collections") => collections::user(shared, db)?,
        Some("connection_events") => provider().map(|p| p.connection_events()).unwrap_or_default(),
        Some("data_sync_info") => provider().map(|p| p.data_sync_info()).unwrap_or_default(),
        Some("dual") => vec![Object::from([("_id".into(), Value::from("dual"))])],
        Some("indexes") => collections::indexes(shared, db)?,
        Some("metrics") => vitals::metrics(shared),
        Some("request_history") => requests::history(requests),
        Some("shared_statements") => requests::statements(requests),
        Some("system_info") => info::rows(shared, db)?,
        Some("transports_info") => provider().map(|p| p.transports_info()).unwrap_or_default(),
        Some("vitals") => vec![vitals::vitals(shared)],
        _ => return Err(StoreError::UnknownSystemCollection(name.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_knows_the_same_names() {
        let mut names: Vec<&str> =
            COLLECTIONS.iter().flat_map(|(n, alias)| [*n, *alias]).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        assert_eq!(names, ditto_dql::SYSTEM_COLLECTIONS);
        assert!(names.iter().all(|n| canonical(n).is_some()));
        assert!(canonical("").is_none() && canonical("Dual").is_none());
    }
}
