//! What the evaluation of one row may cost.

use std::cell::Cell;

use ditto_types::{SmolStr, Value};

/// Bytes of new values that the evaluation of one row may build.
///
/// Statements come from peers too; this keeps `repeat` and its like from exhausting the memory.
pub const MAX_EVALUATION_BYTES: usize = 64 << 20;

/// Steps that the evaluation of one row may take: elements visited by quantifiers and transforms, comparisons of
/// patterns with text.
///
/// This keeps nested quantifiers over long arrays from never ending.
pub const MAX_EVALUATION_STEPS: usize = 10_000_000;

/// What is left for a row.
pub(crate) struct Budget {
    bytes: Cell<usize>,
    steps: Cell<usize>,
}

/// A part of the budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Bytes,
    Steps,
    /// A regular expression is too long, or needs too much memory once compiled.
    Pattern,
}

impl Exceeded {
    pub(crate) fn message(self) -> String {
        match self {
            Exceeded::Bytes => format!("an expression builds more than {MAX_EVALUATION_BYTES} bytes"),
            Exceeded::Steps => format!("an expression takes more than {MAX_EVALUATION_STEPS} steps"),
            Exceeded::Pattern => "a regular expression is too large".to_owned(),
        }
    }
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { bytes: Cell::new(MAX_EVALUATION_BYTES), steps: Cell::new(MAX_EVALUATION_STEPS) }
    }

    /// What is left now, for a part of the evaluation.
    pub(super) fn share(&self) -> Self {
        Self { bytes: self.bytes.clone(), steps: self.steps.clone() }
    }

    /// Continues with what a part left.
    pub(super) fn resume(&self, part: &Budget) {
        self.bytes.set(part.bytes.get());
        self.steps.set(part.steps.get());
    }

    /// Takes `bytes` before they are allocated.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), Exceeded> {
        self.bytes.set(self.bytes.get().checked_sub(bytes).ok_or(Exceeded::Bytes)?);
        Ok(())
    }

    /// Takes the size of a value that is about to be copied or kept.
    pub(crate) fn charge_value(&self, v: &Value) -> Result<(), Exceeded> {
        self.charge(weight(v))
    }

    /// Takes steps before they are gone.
    pub(crate) fn step(&self, steps: usize) -> Result<(), Exceeded> {
        self.steps.set(self.steps.get().checked_sub(steps).ok_or(Exceeded::Steps)?);
        Ok(())
    }
}

/// Approximate memory of a value, in bytes.
pub(crate) fn weight(v: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    NODE + match v {
        Value::Bytes(b) => b.len(),
        Value::Str(s) => s.len(),
        Value::Array(a) => a.iter().map(weight).sum(),
        Value::Object(o) => o.iter().map(|(k, v)| size_of::<SmolStr>() + k.len() + weight(v)).sum(),
        _ => 0,
    }
}

/// What an allocator takes besides what it is asked for, about.
pub(crate) const ALLOCATION: usize = 16;

/// A node of the maps that objects are: with room for eleven fields, however few there are.
const MAP_NODE: usize = 11 * (size_of::<SmolStr>() + size_of::<Value>()) + 2 * ALLOCATION;

/// Memory that a value takes, about, where it is held with many others: an object of two fields takes several times its
/// [`weight`].
pub(crate) fn memory(v: &Value) -> usize {
    let text = |s: &SmolStr| if s.is_heap_allocated() { s.len() + 2 * ALLOCATION } else { 0 };
    let beside = |v: &Value| memory(v) - size_of::<Value>();
    size_of::<Value>()
        + match v {
            Value::Bytes(b) => b.len() + ALLOCATION,
            Value::Str(s) => text(s),
            Value::Array(a) => a.iter().map(memory).sum::<usize>() + ALLOCATION,
            // Nodes are about three quarters full.
            Value::Object(o) => {
                o.len().div_ceil(8) * MAP_NODE + o.iter().map(|(k, v)| text(k) + beside(v)).sum::<usize>()
            }
            _ => 0,
        }
}
