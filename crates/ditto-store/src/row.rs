//! Documents as rows of the query language: read in place from the stored bytes, or from a decoded document.

use std::cell::{Cell, OnceCell};

use ditto_crdt::{Doc, DocView};
use ditto_dql::Row;
use ditto_types::{DocId, Object, SmolStr, Value};

const ID: &str = "_id";

/// A document in its stored form.
///
/// [`Row`] has no way to report damage, so the row remembers it; whoever pushed the row asks with
/// [`ViewRow::damage`].
pub(crate) struct ViewRow<'a> {
    id: &'a DocId,
    id_value: OnceCell<Value>,
    view: DocView<'a>,
    damage: Cell<Option<String>>,
}

impl<'a> ViewRow<'a> {
    pub(crate) fn new(id: &'a DocId, view: DocView<'a>) -> Self {
        Self { id, id_value: OnceCell::new(), view, damage: Cell::new(None) }
    }

    /// What was wrong with the bytes that were read so far.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.take()
    }

    fn id_value(&self) -> &Value {
        self.id_value.get_or_init(|| self.id.to_value())
    }
}

impl Row for ViewRow<'_> {
    fn id(&self) -> &DocId {
        self.id
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        match path.split_first() {
            Some((first, rest)) if first == ID => step(self.id_value(), rest).cloned(),
            _ => self.view.get(path).unwrap_or_else(|e| {
                self.damage.set(Some(e.to_string()));
                None
            }),
        }
    }

    fn document(&self) -> Value {
        let object = self.view.to_object().unwrap_or_else(|e| {
            self.damage.set(Some(e.to_string()));
            Object::new()
        });
        with_id(object, self.id_value().clone())
    }
}

/// A decoded document.
pub(crate) struct DocRow<'a> {
    id: &'a DocId,
    id_value: OnceCell<Value>,
    doc: &'a Doc,
}

impl<'a> DocRow<'a> {
    pub(crate) fn new(id: &'a DocId, doc: &'a Doc) -> Self {
        Self { id, id_value: OnceCell::new(), doc }
    }
}

impl Row for DocRow<'_> {
    fn id(&self) -> &DocId {
        self.id
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        match path.split_first() {
            Some((first, rest)) if first == ID => {
                step(self.id_value.get_or_init(|| self.id.to_value()), rest).cloned()
            }
            _ => self.doc.get(path),
        }
    }

    fn document(&self) -> Value {
        with_id(self.doc.to_object(), self.id.to_value())
    }
}

fn with_id(mut object: Object, id: Value) -> Value {
    object.insert(SmolStr::new_static(ID), id);
    Value::Object(object)
}

fn step<'v>(value: &'v Value, path: &[SmolStr]) -> Option<&'v Value> {
    path.iter().try_fold(value, |v, name| v.get(name))
}
