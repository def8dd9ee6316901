//! Result rows, decoded when somebody looks at them.

use std::fmt;
use std::sync::Arc;

use ditto_types::{Value, cbor, json};

/// A row of a result. Cheap to clone when it is lazy.
#[derive(Clone)]
pub enum Item {
    /// A computed row.
    Value(Value),
    /// A row still in its stored form.
    Lazy(Arc<dyn LazyItem>),
}

/// A row in its stored form.
pub trait LazyItem: Send + Sync {
    /// The row decoded.
    fn value(&self) -> Value;
    /// Appends the row as JSON.
    fn write_json(&self, out: &mut String);
    /// Appends the row as CBOR.
    fn write_cbor(&self, out: &mut Vec<u8>);
    /// Approximate bytes of memory it holds.
    fn weight(&self) -> usize;
    /// Appends bytes from which [`Spill::restore`](crate::Spill::restore) makes the row again. `false` and nothing written when
    /// it has none.
    fn store(&self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        false
    }
}

impl Item {
    /// The row decoded.
    pub fn value(&self) -> Value {
        match self {
            Item::Value(v) => v.clone(),
            Item::Lazy(lazy) => lazy.value(),
        }
    }

    /// A computed row that is cheap to clone.
    pub fn shared(v: Value) -> Self {
        Item::Lazy(Arc::new(Shared(v)))
    }

    /// The row decoded, without a copy when it is a value already.
    pub fn into_value(self) -> Value {
        match self {
            Item::Value(v) => v,
            Item::Lazy(lazy) => lazy.value(),
        }
    }

    /// Appends the row as JSON.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Item::Value(v) => out.push_str(&json::to_string(v)),
            Item::Lazy(lazy) => lazy.write_json(out),
        }
    }

    /// Appends the row as CBOR.
    pub fn write_cbor(&self, out: &mut Vec<u8>) {
        match self {
            Item::Value(v) => out.extend(cbor::to_vec(v)),
            Item::Lazy(lazy) => lazy.write_cbor(out),
        }
    }

    /// Approximate bytes of memory the row holds.
    pub fn weight(&self) -> usize {
        match self {
            Item::Value(v) => crate::eval::memory(v),
            Item::Lazy(lazy) => lazy.weight(),
        }
    }
}

/// A computed row.
struct Shared(Value);

impl LazyItem for Shared {
    fn value(&self) -> Value {
        self.0.clone()
    }

    fn write_json(&self, out: &mut String) {
        out.push_str(&json::to_string(&self.0));
    }

    fn write_cbor(&self, out: &mut Vec<u8>) {
        out.extend(cbor::to_vec(&self.0));
    }

    fn weight(&self) -> usize {
        crate::eval::memory(&self.0)
    }
}

impl From<Value> for Item {
    fn from(v: Value) -> Self {
        Item::Value(v)
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
