//! Collections of documents in lists.

use std::collections::BTreeMap;

use ditto_types::{Object, Value};

use crate::reference::document::Node;
use crate::reference::outcome::Outcome;
use crate::reference::select::Select;
use crate::reference::write::{Delete, Insert, Update};

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// SELECT
    Select(Select),
    /// INSERT
    Insert(Insert),
    /// UPDATE
    Update(Update),
    /// DELETE, or EVICT
    Delete(Delete),
}

/// A database of the reference evaluator.
#[derive(Clone, Debug, Default)]
pub struct Database {
    collections: BTreeMap<String, Vec<(Value, Node)>>,
    /// Counts statements; later writes hide earlier ones of another kind.
    pub(crate) now: u64,
}

impl Database {
    /// Runs a statement. One that fails changes nothing.
    pub fn run(&mut self, statement: &Statement) -> Outcome {
        self.now += 1;
        let outcome = match statement {
            Statement::Select(select) => select.run(self).map(Outcome::Rows),
            Statement::Insert(insert) => insert.run(self),
            Statement::Update(update) => update.run(self),
            Statement::Delete(delete) => delete.run(self),
        };
        outcome.unwrap_or_else(Outcome::Error)
    }

    /// The visible documents of a collection, each with its `_id`.
    pub fn documents(&self, collection: &str) -> Vec<Value> {
        let stored = self.collections.get(collection).map_or(&[][..], Vec::as_slice);
        stored.iter().map(|(id, root)| document(id, root)).collect()
    }

    /// Names of the collections that were ever written to.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.collections.keys().map(String::as_str)
    }

    pub(crate) fn stored(&mut self, collection: &str) -> &mut Vec<(Value, Node)> {
        self.collections.entry(collection.to_owned()).or_default()
    }
}

pub(crate) fn document(id: &Value, root: &Node) -> Value {
    let mut fields = match root.visible() {
        Some(Value::Object(fields)) => fields,
        _ => Object::new(),
    };
    fields.insert("_id".into(), id.clone());
    Value::Object(fields)
}
