//! From the fields and field operations of statements to operations on documents.

use ditto_crdt::{Doc, Op, OpError};
use ditto_dql::{FieldKind, FieldOp, TypeDecls};
use ditto_types::{Object, Path, SmolStr, Value};

use crate::StoreError;

/// As what a statement writes its fields.
#[derive(Clone, Copy)]
pub(crate) struct Typing<'a> {
    pub(crate) declared: &'a TypeDecls,
    /// Strict mode: what is not declared is a register, whatever its value.
    pub(crate) strict: bool,
    /// Values that are attachments where nothing is declared: the tokens among the arguments.
    pub(crate) tokens: &'a [Value],
}

impl Typing<'_> {
    fn kind_of(&self, path: &[SmolStr]) -> FieldKind {
        match self.declared.kind_of(path) {
            FieldKind::Inferred if self.strict => FieldKind::Register,
            kind => kind,
        }
    }

    /// The kind that a field gets with this value.
    fn kind_with(&self, path: &[SmolStr], value: &Value) -> FieldKind {
        match self.kind_of(path) {
            FieldKind::Inferred if self.tokens.contains(value) => FieldKind::Attachment,
            kind => kind,
        }
    }

    /// Whether every object is a map all the way down, as [`Doc::fresh`] writes it.
    pub(crate) fn infers_everything(&self) -> bool {
        self.declared.is_empty() && !self.strict && self.tokens.is_empty()
    }

    /// Whether some field below a map is written differently from what its value alone would give.
    fn decides_below(&self, path: &[SmolStr]) -> bool {
        self.strict || !self.tokens.is_empty() || self.declared.below(path).is_some_and(|d| !d.is_empty())
    }
}

/// Operations that write every field of a document.
pub(crate) fn set_all(fields: Object, typing: Typing<'_>, ops: &mut Vec<Op>) {
    for (name, value) in fields {
        set(Path::new([name]), value, typing, ops);
    }
}

/// Operations that write one field. A map below which kinds are declared is written field by field, everything else at
/// once.
fn set(path: Path, value: Value, typing: Typing<'_>, ops: &mut Vec<Op>) {
    let kind = typing.kind_with(path.names(), &value);
    match value {
        Value::Object(fields) if is_map(kind) && typing.decides_below(path.names()) => {
            ops.push(Op::Set {
                path: path.clone(),
                value: Value::Object(Object::new()),
                kind: crdt_kind(kind),
            });
            for (name, value) in fields {
                set(path.child(name), value, typing, ops);
            }
        }
        value => ops.push(Op::Set { path, value, kind: crdt_kind(kind) }),
    }
}

/// Operations that write the leaves whose local value differs (policy DO UPDATE_LOCAL_DIFF).
pub(crate) fn set_different(doc: &Doc, fields: Object, typing: Typing<'_>, ops: &mut Vec<Op>) {
    for (name, value) in fields {
        different(doc, Path::new([name]), value, typing, ops);
    }
}

fn different(doc: &Doc, path: Path, value: Value, typing: Typing<'_>, ops: &mut Vec<Op>) {
    let kind = typing.kind_with(path.names(), &value);
    match value {
        Value::Object(fields) if is_map(kind) => {
            // The map itself only has to be written where none is visible; an empty one has no other trace.
            if !matches!(current(doc, &path, kind), Some(Value::Object(_))) {
                ops.push(Op::Set {
                    path: path.clone(),
                    value: Value::Object(Object::new()),
                    kind: crdt_kind(kind),
                });
            }
            for (name, value) in fields {
                different(doc, path.child(name), value, typing, ops);
            }
        }
        value => {
            if current(doc, &path, kind).as_ref() != Some(&value) {
                ops.push(Op::Set { path, value, kind: crdt_kind(kind) });
            }
        }
    }
}

/// The value that a statement sees of a field that is of this kind for it.
fn current(doc: &Doc, path: &Path, kind: FieldKind) -> Option<Value> {
    match kind {
        FieldKind::Inferred => doc.get(path.names()),
        kind => doc.get_as(path.names(), crdt_kind(kind)),
    }
}

/// The operations of an UPDATE.
pub(crate) fn update_ops(changes: Vec<FieldOp>, typing: Typing<'_>) -> Vec<Op> {
    let mut ops = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            FieldOp::Set { path, value } => set(path, value, typing, &mut ops),
            FieldOp::Unset { path } => {
                // A statement only knows the kind it declares: another kind of value stays.
                let kind = crdt_kind(typing.kind_of(path.names()));
                ops.push(Op::UnsetKind { path, kind });
            }
            FieldOp::Increment { path, by } => ops.push(Op::Increment { path, by }),
            FieldOp::Restart { path, to } => ops.push(Op::Restart { path, to }),
            FieldOp::PnIncrement { path, by } => ops.push(Op::PnIncrement { path, by }),
        }
    }
    ops
}

/// An operation that the document refused.
pub(crate) fn op_error(e: OpError) -> StoreError {
    StoreError::Execution(e.to_string())
}

fn is_map(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Inferred | FieldKind::Map)
}

pub(crate) fn crdt_kind(kind: FieldKind) -> ditto_crdt::FieldKind {
    match kind {
        FieldKind::Inferred => ditto_crdt::FieldKind::Inferred,
        FieldKind::Register => ditto_crdt::FieldKind::Register,
        FieldKind::Map => ditto_crdt::FieldKind::Map,
        FieldKind::Counter => ditto_crdt::FieldKind::Counter,
        FieldKind::PnCounter => ditto_crdt::FieldKind::PnCounter,
        FieldKind::Attachment => ditto_crdt::FieldKind::Attachment,
    }
}
