//! Which documents a WHERE clause can keep, as far as it names ids.

use std::collections::BTreeSet;

use ditto_types::{DocId, Value};

use crate::ast::CompareOp;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::order::{Number, int_value};
use crate::scalar::Scalar;
use crate::source::Access;

/// Chooses the access path. The filter is applied to the rows in any case, so this may only leave out documents that
/// the filter cannot keep.
pub(crate) fn access<'a>(filter: Option<&'a Scalar>, cx: &Cx<'a>) -> Result<Access, DqlError> {
    Ok(match filter {
        None => Access::Scan,
        Some(f) => ids(f, cx)?.map_or(Access::Scan, |ids| Access::Ids(ids.into_iter().collect())),
    })
}

/// The ids of the documents for which the condition can be true; `None` if it does not bound them.
fn ids<'a>(condition: &'a Scalar, cx: &Cx<'a>) -> Result<Option<BTreeSet<DocId>>, DqlError> {
    match condition {
        Scalar::And(items) => {
            let mut out: Option<BTreeSet<DocId>> = None;
            for item in items {
                if let Some(mut found) = ids(item, cx)? {
                    if let Some(before) = out {
                        found.retain(|id| before.contains(id));
                    }
                    out = Some(found);
                }
            }
            Ok(out)
        }
        Scalar::Or(items) => {
            let mut out = BTreeSet::new();
            for item in items {
                match ids(item, cx)? {
                    Some(found) => out.extend(found),
                    None => return Ok(None),
                }
            }
            Ok(Some(out))
        }
        Scalar::Compare(CompareOp::Eq, pair) => {
            let value = match &**pair {
                [a, b] if is_id(a) && b.is_constant() => b,
                [a, b] if is_id(b) && a.is_constant() => a,
                _ => return Ok(None),
            };
            let value = value.eval(cx)?;
            Ok(Some(value.as_deref().and_then(doc_id).into_iter().collect()))
        }
        Scalar::InList(item, list, _) if is_id(item) && list.iter().all(Scalar::is_constant) => {
            let mut out = BTreeSet::new();
            for e in list {
                out.extend(e.eval(cx)?.as_deref().and_then(doc_id));
            }
            Ok(Some(out))
        }
        Scalar::InValue(pair, _) => match &**pair {
            [item, array] if is_id(item) && array.is_constant() => {
                let array = array.eval(cx)?;
                let items = array.as_deref().and_then(Value::as_array).unwrap_or_default();
                Ok(Some(items.iter().filter_map(doc_id).collect()))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn is_id(s: &Scalar) -> bool {
    matches!(s, Scalar::Field(0, path) if matches!(&**path, [name] if name == "_id"))
}

/// The only id that can equal `v`, if there is one.
fn doc_id(v: &Value) -> Option<DocId> {
    DocId::new(&integral(v)?).ok()
}

/// Floats are no ids, but `1.0` equals the id `1`.
fn integral(v: &Value) -> Option<Value> {
    Some(match v {
        Value::Float(f) => {
            let in_range = (-9_223_372_036_854_775_808.0..18_446_744_073_709_551_616.0).contains(f);
            if !in_range || f.fract() != 0.0 {
                return None;
            }
            int_value(*f as i128)?
        }
        Value::Int(_) | Value::UInt(_) => match Number::of(v)? {
            Number::Int(i) => int_value(i)?,
            Number::Float(_) => return None,
        },
        Value::Array(a) => Value::Array(a.iter().map(integral).collect::<Option<_>>()?),
        Value::Object(o) => {
            Value::Object(o.iter().map(|(k, v)| Some((k.clone(), integral(v)?))).collect::<Option<_>>()?)
        }
        v => v.clone(),
    })
}
