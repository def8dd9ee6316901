//! `\d`: which collections and indexes there are, and what is in one.

use std::collections::{BTreeMap, BTreeSet};

use ditto::types::{Object, SmolStr, Value};
use ditto::{DittoError, QueryResult};

use super::print::{self, Format};
use super::session::{Outcome, Session};
use super::table::{self, Table};
use crate::output;

/// Documents that are looked at for the fields of a collection.
pub(crate) const SAMPLE: usize = 200;

/// Collections, then indexes.
pub(crate) async fn all(session: &Session) -> Outcome {
    let collections = show(session, "SELECT * FROM system:collections", Object::new()).await;
    if collections != Outcome::Done {
        return collections;
    }
    show(session, "SELECT * FROM system:indexes", Object::new()).await
}

/// Indexes of one collection, then the fields that its first documents have.
pub(crate) async fn one(session: &Session, collection: &str) -> Outcome {
    let args = Object::from([(SmolStr::new_static("c"), Value::from(collection))]);
    let indexes = show(session, "SELECT * FROM system:indexes WHERE collection = :c", args).await;
    if indexes != Outcome::Done {
        return indexes;
    }
    let sample = sample(collection);
    match session.execute(&sample).await {
        Ok(documents) => fields(session, &documents),
        Err(e) => session.failed(&e, &sample, 0),
    }
}

/// The statement that reads some documents of a collection.
pub(crate) fn sample(collection: &str) -> String {
    format!("SELECT * FROM {} LIMIT {SAMPLE}", name(collection))
}

/// A name as a statement has it, in backticks when it must; the namespace `system:` stays outside.
pub(crate) fn name(collection: &str) -> String {
    let (namespace, name) = match collection.split_once(':') {
        Some((namespace @ ("system" | "default"), name)) => (format!("{namespace}:"), name),
        _ => (String::new(), collection),
    };
    format!("{namespace}`{}`", name.replace('`', "``"))
}

async fn show(session: &Session, statement: &str, args: Object) -> Outcome {
    match session.execute_with(statement, args).await {
        Ok(result) => session.show(&result),
        Err(e) => session.failed(&e, statement, 0),
    }
}

/// How often each top-level field occurs, and with which types.
fn fields(session: &Session, documents: &QueryResult) -> Outcome {
    let mut found: BTreeMap<SmolStr, (usize, BTreeSet<&'static str>)> = BTreeMap::new();
    for item in documents.items() {
        for (name, value) in table::fields(item.value()) {
            let (count, types) = found.entry(name.clone()).or_default();
            *count += 1;
            types.insert(value.type_name());
        }
    }
    let rows: Vec<Value> = found
        .into_iter()
        .map(|(name, (count, types))| {
            let types: Vec<&str> = types.into_iter().collect();
            Value::Object(Object::from([
                (SmolStr::new_static("field"), Value::Str(name)),
                (SmolStr::new_static("types"), Value::from(types.join(", "))),
                (SmolStr::new_static("documents"), Value::from(count as u64)),
            ]))
        })
        .collect();
    if session.format == Format::Table {
        let rows: Vec<_> = rows.iter().map(table::row).collect();
        output::block(&Table::default().page(&rows, print::width()));
        output::text(&format!("(fields of {})", print::counted(documents.item_count(), "document")));
    } else {
        rows.iter().for_each(output::line);
    }
    Outcome::Done
}

/// Rows of a statement that only asks; nothing on an error.
pub(crate) fn ask(ditto: &ditto::Ditto, statement: &str) -> Vec<Value> {
    let rows: Result<QueryResult, DittoError> = ditto.store().execute_sync(statement);
    rows.map(|rows| rows.items().map(|item| item.value().clone()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(name("a `b"), "`a ``b`");
        assert_eq!(name("system:indexes"), "system:`indexes`");
        assert_eq!(name("x:y"), "`x:y`");
    }
}
