//! Result rows from rows of the terms, or from groups.

use ditto_types::{Object, SmolStr, Value};

use crate::error::DqlError;
use crate::eval::Cx;
use crate::plan::{Head, JoinTemplate, Output, OutputItem};

/// Whether the projection is the document as it is.
pub(crate) fn is_whole(output: &Output) -> bool {
    match output {
        Output::Wildcard => true,
        Output::Items(items) => matches!(items.as_slice(), [OutputItem::Spread(0)]),
    }
}

/// The names of the terms when there are several: `*` nests each document under its name then.
pub(crate) fn names<'a>(head: &'a Head, joins: &'a [JoinTemplate]) -> Vec<&'a SmolStr> {
    if joins.is_empty() {
        return Vec::new();
    }
    std::iter::once(&head.name).chain(joins.iter().map(|j| &j.head.name)).collect()
}

/// The result row; `names` are those of the terms, or none for a single one.
pub(crate) fn project<'a>(output: &'a Output, names: &[&SmolStr], cx: &Cx<'a>) -> Result<Value, DqlError> {
    let mut out = Object::new();
    let items = match output {
        Output::Wildcard if names.is_empty() => {
            return Ok(cx.document(0).unwrap_or(Value::Object(Object::new())));
        }
        Output::Wildcard => {
            for (term, name) in names.iter().enumerate() {
                // A term without partner is MISSING.
                if let Some(document) = cx.document(term) {
                    out.insert((*name).clone(), document);
                }
            }
            return Ok(Value::Object(out));
        }
        Output::Items(items) => items,
    };
    for item in items {
        match item {
            OutputItem::Spread(term) => {
                if let Some(Value::Object(fields)) = cx.document(*term) {
                    out.extend(fields);
                }
            }
            OutputItem::Remove(path) => remove(&mut out, path.names()),
            OutputItem::Value(name, e) => match e.eval(cx)? {
                Some(v) => {
                    out.insert(name.clone(), v.into_owned());
                }
                None => {
                    // A later element of the same name stands for an earlier one, also when it is MISSING.
                    out.remove(name);
                }
            },
        }
    }
    Ok(Value::Object(out))
}

fn remove(object: &mut Object, path: &[SmolStr]) {
    match path {
        [] => {}
        [name] => {
            object.remove(name);
        }
        [name, rest @ ..] => {
            if let Some(Value::Object(inner)) = object.get_mut(name) {
                remove(inner, rest);
            }
        }
    }
}
