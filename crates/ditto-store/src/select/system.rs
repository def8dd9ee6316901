//! Rows of the system collections.

use std::cell::OnceCell;

use ditto_dql::{Access, Row, TermScan};
use ditto_types::{DocId, Object, SmolStr, Value};

use super::{StoreSource, Visit};
use crate::StoreError;
use crate::row::step;
use crate::system;

impl StoreSource<'_> {
    pub(super) fn system_rows(&self, name: &str) -> Result<Vec<Object>, StoreError> {
        match self.system {
            Some(shared) => system::rows(shared, self.db, name),
            None => Err(StoreError::Collection("system collections are not available here")),
        }
    }

    pub(super) fn visit_system(&self, scan: &TermScan<'_>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for object in self.system_rows(&scan.collection.name)? {
            let row = SystemRow { value: Value::Object(object), id: OnceCell::new() };
            let wanted = match scan.access {
                Access::Ids(ids) => ids.contains(row.id()),
                _ => true,
            };
            if wanted && !visit(&row)? {
                break;
            }
        }
        Ok(())
    }
}

struct SystemRow {
    value: Value,
    id: OnceCell<DocId>,
}

impl Row for SystemRow {
    fn id(&self) -> &DocId {
        self.id.get_or_init(|| {
            // Every row has an id that can be one; only the engine makes them.
            self.value.get("_id").and_then(|id| DocId::new(id).ok()).unwrap_or_else(|| DocId::from(false))
        })
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        step(&self.value, path).cloned()
    }

    fn document(&self) -> Value {
        self.value.clone()
    }
}
