//! What the differ keeps of a row: who it is and what is in it, as hashes.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use ditto_types::{Object, Value, codec};

const ID: &str = "_id";

/// A row as the differ remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) identity: u128,
    pub(super) content: u128,
}

/// Hashes of canonical encodings under keys that nobody knows, so that not even chosen documents collide.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprints {
    low: RandomState,
    high: RandomState,
}

impl Fingerprints {
    pub(super) fn of(&self, row: &Value) -> Fingerprint {
        let content = self.hash(0, row);
        let identity = match row.get(ID) {
            Some(id) => self.hash(1, id),
            None => match joined(row) {
                Some(ids) => self.hash(2, &ids),
                None => content,
            },
        };
        Fingerprint { identity, content }
    }

    /// `kind` keeps rows with and without `_id` apart.
    fn hash(&self, kind: u8, v: &Value) -> u128 {
        let mut bytes = vec![kind];
        codec::encode(v, &mut bytes);
        let half = |keys: &RandomState| {
            let mut h = keys.build_hasher();
            h.write(&bytes);
            u128::from(h.finish())
        };
        half(&self.high) << 64 | half(&self.low)
    }
}

/// The ids of a joined row, whose fields are the documents of its parts; NULL or absent is the side without partner.
fn joined(row: &Value) -> Option<Value> {
    let mut ids = Object::new();
    for (name, part) in row.as_object()? {
        match part {
            Value::Null => continue,
            part => ids.insert(name.clone(), part.get(ID)?.clone()),
        };
    }
    (!ids.is_empty()).then_some(Value::Object(ids))
}
