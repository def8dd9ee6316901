//! What a statement that declares kinds of fields sees: of each field the declared kind, whatever is newer (`dql.md`
//! 3.3 and 3.4).

use ditto_types::{Object, SmolStr, Value};

use crate::doc::Doc;
use crate::leaf::FieldKind;
use crate::node::Node;
use crate::read::Shown;

/// Tells the kind that the field at a path is read as. [`FieldKind::Inferred`] is the newest.
pub type KindOf<'k> = &'k dyn Fn(&[SmolStr]) -> FieldKind;

impl Doc {
    /// As [`Doc::to_object`], with each field read as its kind. Fields that have no value of that kind are left out.
    pub fn to_object_typed(&self, kind_of: KindOf<'_>) -> Object {
        if self.is_alive() { self.root.typed_object(&mut Vec::new(), kind_of) } else { Object::new() }
    }

    /// As [`Doc::get`], with each field on the path and below read as its kind.
    pub fn get_typed(&self, path: &[SmolStr], kind_of: KindOf<'_>) -> Option<Value> {
        if !self.is_alive() {
            return None;
        }
        let mut node = &self.root;
        for (i, name) in path.iter().enumerate() {
            node = node.child(name)?;
            let inside = &path[i + 1..];
            if inside.is_empty() {
                break;
            }
            let step = |v: &Value| inside.iter().try_fold(v, |v, name| v.get(name)).cloned();
            match kind_of(&path[..=i]) {
                FieldKind::Map => {}
                FieldKind::Inferred => match node.shown() {
                    Shown::Map => {}
                    Shown::Nothing => return None,
                    Shown::Register(value) => return step(value),
                    Shown::Other(value) => return step(&value),
                },
                kind => return step(&node.of_kind(kind)?),
            }
        }
        if path.is_empty() {
            return Some(Value::Object(self.to_object_typed(kind_of)));
        }
        node.typed(&mut path.to_vec(), kind_of)
    }
}

impl Node {
    /// The value at `path`, where this node stands.
    fn typed(&self, path: &mut Vec<SmolStr>, kind_of: KindOf<'_>) -> Option<Value> {
        match kind_of(path) {
            FieldKind::Inferred => match self.shown() {
                Shown::Nothing => None,
                Shown::Map => Some(Value::Object(self.typed_object(path, kind_of))),
                Shown::Register(value) => Some(value.clone()),
                Shown::Other(value) => Some(value),
            },
            FieldKind::Map => self.has_map().then(|| Value::Object(self.typed_object(path, kind_of))),
            kind => self.of_kind(kind),
        }
    }

    fn typed_object(&self, path: &mut Vec<SmolStr>, kind_of: KindOf<'_>) -> Object {
        let mut out = Object::new();
        for (name, child) in self.children() {
            path.push(name.clone());
            if let Some(value) = child.typed(path, kind_of) {
                out.insert(name.clone(), value);
            }
            path.pop();
        }
        out
    }
}
