//! From the fields and field operations of statements to operations on documents.

use ditto_crdt::{Doc, Op, OpError};
use ditto_dql::{FieldKind, FieldOp, TypeDecls};
use ditto_types::{MAX_DEPTH, Object, Path, SmolStr, Value};

use crate::StoreError;

/// Operations that write every field of a document.
pub(crate) fn set_all(fields: Object, declared: &TypeDecls, ops: &mut Vec<Op>) {
    for (name, value) in fields {
        set(Path::new([name]), value, declared, ops);
    }
}

/// A map with declared fields is written field by field, everything else at once.
fn set(path: Path, value: Value, declared: &TypeDecls, ops: &mut Vec<Op>) {
    let kind = declared.kind_of(path.names());
    match value {
        Value::Object(fields) if is_map(kind) && has_declared_below(declared, path.names()) => {
            ops.push(Op::Set {
                path: path.clone(),
                value: Value::Object(Object::new()),
                kind: crdt_kind(kind),
            });
            for (name, value) in fields {
                set(path.child(name), value, declared, ops);
            }
        }
        value => ops.push(Op::Set { path, value, kind: crdt_kind(kind) }),
    }
}

/// Operations that write the leaves whose local value differs (policy DO UPDATE_LOCAL_DIFF).
pub(crate) fn set_different(doc: &Doc, fields: Object, declared: &TypeDecls, ops: &mut Vec<Op>) {
    for (name, value) in fields {
        different(doc, Path::new([name]), value, declared, ops);
    }
}

fn different(doc: &Doc, path: Path, value: Value, declared: &TypeDecls, ops: &mut Vec<Op>) {
    let kind = declared.kind_of(path.names());
    match value {
        Value::Object(fields) if is_map(kind) => {
            // The map itself only has to be written where none is visible; an empty one has no other trace.
            let is_map_here = matches!(doc.get(path.names()), Some(Value::Object(_)));
            if !is_map_here {
                ops.push(Op::Set {
                    path: path.clone(),
                    value: Value::Object(Object::new()),
                    kind: crdt_kind(kind),
                });
            }
            for (name, value) in fields {
                different(doc, path.child(name), value, declared, ops);
            }
        }
        value => {
            let now = match kind {
                FieldKind::Inferred => doc.get(path.names()),
                kind => doc.get_as(path.names(), crdt_kind(kind)),
            };
            if now.as_ref() != Some(&value) {
                ops.push(Op::Set { path, value, kind: crdt_kind(kind) });
            }
        }
    }
}

/// An operation of UPDATE.
pub(crate) fn crdt_op(op: FieldOp) -> Op {
    match op {
        FieldOp::Set { path, value, kind } => Op::Set { path, value, kind: crdt_kind(kind) },
        FieldOp::Unset { path } => Op::Unset { path },
        FieldOp::Increment { path, by } => Op::Increment { path, by },
        FieldOp::Restart { path, to } => Op::Restart { path, to },
        FieldOp::PnIncrement { path, by } => Op::PnIncrement { path, by },
    }
}

/// Refuses documents that no decoder would read again.
pub(crate) fn check_depth(fields: &Object) -> Result<(), StoreError> {
    if fields.values().any(|v| v.depth() >= MAX_DEPTH) {
        return Err(StoreError::TooDeep(MAX_DEPTH));
    }
    Ok(())
}

/// An operation that the document refused.
pub(crate) fn op_error(e: OpError) -> StoreError {
    StoreError::Execution(e.to_string())
}

fn is_map(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Inferred | FieldKind::Map)
}

fn has_declared_below(declared: &TypeDecls, path: &[SmolStr]) -> bool {
    let mut level = declared;
    for name in path {
        match level.iter().find(|(n, _, _)| *n == name) {
            Some((_, _, below)) => level = below,
            None => return false,
        }
    }
    !level.is_empty()
}

fn crdt_kind(kind: FieldKind) -> ditto_crdt::FieldKind {
    match kind {
        FieldKind::Inferred => ditto_crdt::FieldKind::Inferred,
        FieldKind::Register => ditto_crdt::FieldKind::Register,
        FieldKind::Map => ditto_crdt::FieldKind::Map,
        FieldKind::Counter => ditto_crdt::FieldKind::Counter,
        FieldKind::PnCounter => ditto_crdt::FieldKind::PnCounter,
        FieldKind::Attachment => ditto_crdt::FieldKind::Attachment,
    }
}
