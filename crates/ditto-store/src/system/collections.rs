//! Rows about collections and indexes.

use std::collections::BTreeMap;

use ditto_dql::{IndexDef, IndexKey};
use ditto_types::{Object, SmolStr, Value};

use crate::StoreError;
use crate::counts;
use crate::driver::Db;
use crate::index::catalogue;
use crate::shared::Shared;

/// Rows of `collections`: those of the user. One is listed from its first document on, also when it is empty again.
pub(super) fn user(shared: &Shared, db: &Db) -> Result<Vec<Object>, StoreError> {
    let all = stored(shared, db)?.into_iter();
    Ok(all.filter(|(name, _)| !name.starts_with("__")).map(|(name, n)| row(name.clone(), &name, n)).collect())
}

/// Rows of `all_collections`: of the user, internal and of the system. The id has the namespace in front.
pub(super) fn all(shared: &Shared, db: &Db) -> Result<Vec<Object>, StoreError> {
    let stored = stored(shared, db)?.into_iter().map(|(name, n)| {
        let mut row = row(format!("default:{name}").into(), &name, n);
        row.insert("namespace".into(), Value::from("default"));
        row
    });
    let system = super::COLLECTIONS.iter().map(|(name, _)| {
        Object::from([
            ("_id".into(), Value::from(format!("system:{name}"))),
            ("name".into(), Value::from(*name)),
            ("namespace".into(), Value::from("system")),
        ])
    });
    Ok(stored.chain(system).collect())
}

/// Names of the stored collections and how many documents each has.
pub(super) fn stored(shared: &Shared, db: &Db) -> Result<BTreeMap<SmolStr, u64>, StoreError> {
    let counts = counts::all(db)?;
    let names = shared.dict.collection_list().into_iter();
    Ok(names.map(|(coll, name)| (name, counts.get(&coll).copied().unwrap_or_default())).collect())
}

fn row(id: SmolStr, name: &str, documents: u64) -> Object {
    Object::from([
        ("_id".into(), Value::Str(id)),
        ("name".into(), Value::from(name)),
        ("documents".into(), Value::from(documents)),
    ])
}

/// Rows of `indexes`: those that are complete.
pub(super) fn indexes(shared: &Shared, db: &Db) -> Result<Vec<Object>, StoreError> {
    let all = catalogue::load(db, &shared.dict)?;
    Ok(all.complete().map(|index| index_row(index)).collect())
}

fn index_row(index: &IndexDef) -> Object {
    let field = |key: &IndexKey| {
        let names = key.path.names().iter().cloned().map(Value::Str).collect();
        let mut field = Object::from([
            ("direction".into(), Value::from(if key.descending { "desc" } else { "asc" })),
            ("key".into(), Value::Array(names)),
        ]);
        if !key.include_missing {
            field.insert("include_missing".into(), Value::Bool(false));
        }
        Value::Object(field)
    };
    Object::from([
        ("_id".into(), Value::from(format!("{}.{}", index.collection, index.name))),
        ("collection".into(), Value::Str(index.collection.clone())),
        ("fields".into(), Value::Array(index.keys.iter().map(field).collect())),
    ])
}
