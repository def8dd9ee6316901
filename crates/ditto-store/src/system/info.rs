//! `system_info`: facts by namespace and key, with how they were before.
//!
//! A fact is looked up when the collection is read. When it differs from the last time, the new value is added and the
//! oldest of more than [`KEPT`] goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use ditto_types::{Object, SmolStr, Value};

use super::{collections, time_text};
use crate::StoreError;
use crate::driver::Db;
use crate::schema::DB_FILE;
use crate::shared::Shared;

/// Values kept of each fact.
const KEPT: usize = 10;

/// Facts kept at most: names of collections and what a provider adds are not bounded.
const MAX_FACTS: usize = 4096;

/// Namespace and key.
type Name = (SmolStr, SmolStr);

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Samples(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    facts: BTreeMap<Name, VecDeque<Sample>>,
    next: u64,
}

struct Sample {
    number: u64,
    at_ms: u64,
    value: Value,
}

/// Rows of `system_info`, by namespace, key and age.
pub(super) fn rows(shared: &Shared, db: &Db) -> Result<Vec<Object>, StoreError> {
    let facts = facts(shared, db)?;
    let now = shared.requests.clock.now_ms();
    let mut inner = shared.samples.0.lock().unwrap_or_else(PoisonError::into_inner);
    // What no longer is, is no longer listed.
    inner.facts.retain(|name, _| facts.contains_key(name));
    for (name, value) in facts.into_iter().take(MAX_FACTS) {
        inner.note(name, value, now);
    }
    let mut rows = Vec::new();
    for ((namespace, key), samples) in &inner.facts {
        for s in samples {
            rows.push(Object::from([
                ("_id".into(), Value::from(format!("{namespace}/{key}/{}", s.number))),
                ("namespace".into(), Value::Str(namespace.clone())),
                ("key".into(), Value::Str(key.clone())),
                ("value".into(), s.value.clone()),
                ("timestamp".into(), Value::from(time_text(s.at_ms))),
            ]));
        }
    }
    Ok(rows)
}

impl Inner {
    fn note(&mut self, name: Name, value: Value, at_ms: u64) {
        let samples = self.facts.entry(name).or_default();
        if samples.back().is_some_and(|s| s.value == value) {
            return;
        }
        samples.push_back(Sample { number: self.next, at_ms, value });
        self.next += 1;
        if samples.len() > KEPT {
            samples.pop_front();
        }
    }
}

fn facts(shared: &Shared, db: &Db) -> Result<BTreeMap<Name, Value>, StoreError> {
    let mut out = BTreeMap::new();
    let mut put = |namespace: &str, key: &str, value: Value| {
        out.insert((SmolStr::new(namespace), SmolStr::new(key)), value);
    };
    put("core", "ditto_sdk_version", Value::from(env!("CARGO_PKG_VERSION")));
    put("core", "ditto_sdk_platform", Value::from(std::env::consts::OS));
    put("core", "ditto_sdk_architecture", Value::from(std::env::consts::ARCH));
    put("core", "app_id", Value::from(shared.requests.app_id.as_str()));
    let usage = usage(db);
    put("core", "fs_usage_store", Value::from(usage));
    let attachments = crate::blob::disk_usage(db.file())?;
    put("core", "fs_usage_total", Value::from(usage.saturating_add(attachments)));
    // Nothing of its own: the state of replication is in the store's file.
    put("core", "fs_usage_replication", Value::from(0u64));
    put("core", "fs_usage_attachment", Value::from(attachments));
    put("core", "fs_usage_auth", Value::from(0u64));
    // Where the system does not say, there is no row.
    if let Some(space) = db.file().parent().and_then(|directory| fs4::statvfs(directory).ok()) {
        put("core", "fs_device_available", Value::from(space.available_space()));
        put("core", "fs_device_total", Value::from(space.total_space()));
    }
    for (name, n) in collections::stored(shared, db)? {
        put("store", &format!("collection_num_docs[{name}]"), Value::from(n));
    }
    put("store", "newest_commit", Value::from(shared.head()));
    put("backend_sqlite3", "file_pages", Value::from(pragma(db, "page_count")?));
    put("backend_sqlite3", "free_pages", Value::from(pragma(db, "freelist_count")?));
    put("backend_sqlite3", "page_size", Value::from(pragma(db, "page_size")?));
    put("backend_sqlite3", "format", Value::from(pragma(db, "user_version")?));
    for (name, scope) in &shared.requests.settings.snapshot().user_collection_sync_scopes {
        put("sync_scopes", name, Value::from(scope.name()));
    }
    for (name, value) in shared.requests.settings.non_default() {
        put("core", &format!("non_default_system_parameter[{name}]"), value);
    }
    let level = tracing::level_filters::LevelFilter::current();
    put("logs", "enabled", Value::Bool(level != tracing::level_filters::LevelFilter::OFF));
    put("logs", "minimum_level", Value::from(level.to_string()));
    if let Some(provider) = shared.provider() {
        for (namespace, key, value) in provider.system_info() {
            put(&namespace, &key, value);
        }
    }
    Ok(out)
}

fn pragma(db: &Db, name: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(db.int_pragma(name)?).unwrap_or_default())
}

/// Bytes of the database file and its log.
fn usage(db: &Db) -> u64 {
    let Some(directory) = db.file().parent() else { return 0 };
    let size =
        |suffix: &str| std::fs::metadata(directory.join(format!("{DB_FILE}{suffix}"))).map_or(0, |m| m.len());
    ["", "-wal", "-shm"].into_iter().map(size).sum()
}
