//! The functions that the reference evaluator knows (dql.md 5.1 to 5.5).

use ditto_types::{Object, Value};

use crate::reference::operators::{concat, equal, from_whole, is_in};
use crate::reference::order::{Number, number};

/// Name, smallest and largest number of arguments.
pub const FUNCTIONS: [(&str, usize, usize); 43] = [
    ("abs", 1, 1),
    ("ceil", 1, 1),
    ("floor", 1, 1),
    ("concat", 2, 3),
    ("contains", 2, 2),
    ("starts_with", 2, 2),
    ("ends_with", 2, 2),
    ("byte_length", 1, 1),
    ("char_length", 1, 1),
    ("lower", 1, 1),
    ("upper", 1, 1),
    ("substr", 2, 3),
    ("pos", 2, 2),
    ("type", 1, 1),
    ("json_type", 1, 1),
    ("is_boolean", 1, 1),
    ("is_number", 1, 1),
    ("is_string", 1, 1),
    ("coalesce", 1, 3),
    ("ifmissingornull", 1, 3),
    ("nvl", 2, 3),
    ("ifmissing", 2, 3),
    ("ifnull", 2, 3),
    ("ismissing", 1, 1),
    ("isnull", 1, 1),
    ("ismissingornull", 1, 1),
    ("nullif", 2, 2),
    ("missingif", 2, 2),
    ("decode", 3, 4),
    ("array_contains", 2, 2),
    ("array_contains_null", 1, 1),
    ("array_length", 1, 1),
    ("object_length", 1, 1),
    ("object_keys", 1, 1),
    ("object_values", 1, 1),
    ("object_concat", 2, 2),
    ("object_set", 3, 4),
    ("object_unset", 2, 3),
    ("split", 2, 2),
    ("repeat", 2, 2),
    ("lpad", 3, 3),
    ("rpad", 3, 3),
    ("joinstr", 2, 3),
];

type Arguments = Vec<Option<Value>>;

pub(crate) fn call(name: &str, arguments: Arguments) -> Option<Value> {
    let a = |i: usize| arguments.get(i).cloned().flatten();
    let text = |i: usize| a(i).and_then(|v| v.as_str().map(str::to_owned));
    match name {
        "concat" => return concat(&arguments),
        "type" => return Some(a(0).map_or("missing", |v| v.type_name()).into()),
        "json_type" => {
            return Some(match a(0) {
                None | Some(Value::Null) => "null".into(),
                Some(v) if number(&v).is_some() => "number".into(),
                Some(v) => v.type_name().into(),
            });
        }
        "coalesce" | "ifmissingornull" => {
            return Some(arguments.into_iter().flatten().find(|v| *v != Value::Null).unwrap_or(Value::Null));
        }
        "nvl" => {
            let has = a(0).is_some_and(|v| v != Value::Null);
            return match (arguments.len(), has) {
                (2, true) => a(0),
                (2, false) | (_, true) => a(1),
                (_, false) => a(2),
            };
        }
        // As coalesce: none of them is NULL.
        "ifmissing" => return Some(arguments.into_iter().flatten().next().unwrap_or(Value::Null)),
        "ifnull" => {
            let mut last = None;
            for v in arguments {
                // A missing value ends it, whatever comes after.
                let v = v?;
                let found = v != Value::Null;
                last = Some(v);
                if found {
                    break;
                }
            }
            return last;
        }
        "ismissing" => return Some(Value::Bool(a(0).is_none())),
        "isnull" => return Some(Value::Bool(a(0) == Some(Value::Null))),
        "ismissingornull" => return Some(Value::Bool(a(0).is_none_or(|v| v == Value::Null))),
        "nullif" | "missingif" => {
            let (x, y) = (a(0)?, a(1));
            let same = y.is_some_and(|y| x != Value::Null && y != Value::Null && equal(&x, &y));
            return match (same, name) {
                (false, _) => Some(x),
                (true, "nullif") => Some(Value::Null),
                (true, _) => None,
            };
        }
        "decode" => {
            let mut rest = arguments[1..].iter();
            while let Some(c) = rest.next() {
                let Some(r) = rest.next() else { return c.clone() };
                if let (Some(x), Some(c)) = (a(0), c)
                    && equal(&x, c)
                {
                    return r.clone();
                }
            }
            return Some(Value::Null);
        }
        "array_contains" => {
            return match (a(0), a(1)) {
                (Some(Value::Array(items)), v) => is_in(v, &items.into_iter().map(Some).collect::<Vec<_>>()),
                (Some(Value::Null), Some(_)) => Some(Value::Null),
                _ => None,
            };
        }
        _ => {}
    }
    if let Some(skipped) = skip(name, &arguments) {
        return skipped;
    }
    Some(match name {
        "abs" => match number(&a(0)?)? {
            Number::Whole(i) => from_whole(i.abs()),
            Number::Float(f) => Value::Float(f.abs()),
        },
        "ceil" | "floor" => {
            let f = match number(&a(0)?)? {
                Number::Whole(i) => i as f64,
                Number::Float(f) => f,
            };
            Value::Float(if name == "ceil" { f.ceil() } else { f.floor() })
        }
        "contains" => Value::Bool(text(0)?.contains(&text(1)?)),
        "starts_with" => Value::Bool(text(0)?.starts_with(&text(1)?)),
        "ends_with" => Value::Bool(text(0)?.ends_with(&text(1)?)),
        "byte_length" => Value::from(text(0)?.len() as u64),
        "char_length" => Value::from(text(0)?.chars().count() as u64),
        "lower" => text(0)?.to_lowercase().into(),
        "upper" => text(0)?.to_uppercase().into(),
        "substr" => {
            let characters: Vec<char> = text(0)?.chars().collect();
            let (start, len) = (whole(a(1))?, arguments.get(2).map(|v| whole(v.clone())));
            let len = len.unwrap_or(Some(i64::MAX))?;
            // A negative start counts from the end (docs/dql.md).
            let start = if start < 0 { start + characters.len() as i64 } else { start };
            let start = usize::try_from(start).unwrap_or(0);
            characters
                .into_iter()
                .skip(start)
                .take(usize::try_from(len).unwrap_or(0))
                .collect::<String>()
                .into()
        }
        "pos" => {
            let (s, sub) = (text(0)?, text(1)?);
            s.find(&sub).map_or(Value::Int(-1), |at| Value::from(s[..at].chars().count() as u64))
        }
        "is_boolean" => Value::Bool(matches!(a(0)?, Value::Bool(_))),
        "is_number" => Value::Bool(number(&a(0)?).is_some()),
        "is_string" => Value::Bool(matches!(a(0)?, Value::Str(_))),
        "array_contains_null" => Value::Bool(a(0)?.as_array()?.contains(&Value::Null)),
        "array_length" => Value::from(a(0)?.as_array()?.len() as u64),
        "object_length" => Value::from(a(0)?.as_object()?.len() as u64),
        "object_keys" => Value::Array(a(0)?.as_object()?.keys().map(|k| Value::Str(k.clone())).collect()),
        "object_values" => Value::Array(a(0)?.as_object()?.values().cloned().collect()),
        "object_concat" => {
            let mut all = Object::new();
            for i in 0..arguments.len() {
                all.extend(a(i)?.as_object()?.clone());
            }
            Value::Object(all)
        }
        "object_set" => {
            let (mut object, key) = (a(0)?.as_object()?.clone(), text(1)?);
            let replace = arguments.len() > 3 && a(3)?.as_bool()?;
            if object.contains_key(key.as_str()) && !replace {
                return None;
            }
            object.insert(key.into(), a(2)?);
            Value::Object(object)
        }
        "object_unset" => {
            let (mut object, key) = (a(0)?.as_object()?.clone(), text(1)?);
            let ignore = arguments.len() > 2 && a(2)?.as_bool()?;
            if object.remove(key.as_str()).is_none() && !ignore {
                return None;
            }
            Value::Object(object)
        }
        "split" => {
            let (s, delimiter) = (text(0)?, text(1)?);
            // By an empty text: into characters (docs/dql.md).
            let parts: Vec<Value> = if delimiter.is_empty() {
                s.chars().map(|c| c.to_string().into()).collect()
            } else {
                s.split(&delimiter).map(Value::from).collect()
            };
            Value::Array(parts)
        }
        "repeat" => text(0)?.repeat(usize::try_from(whole(a(1))?).unwrap_or(0)).into(),
        "lpad" | "rpad" => {
            let (s, n, fill) = (text(0)?, usize::try_from(whole(a(1))?).unwrap_or(0), text(2)?);
            let s: Vec<char> = s.chars().take(n).collect();
            let pad: String = fill.chars().cycle().take(n - s.len()).collect();
            let s: String = s.into_iter().collect();
            if name == "lpad" { format!("{pad}{s}").into() } else { format!("{s}{pad}").into() }
        }
        "joinstr" => {
            let separator = text(0)?;
            let mut parts = Vec::new();
            for v in arguments[1..].iter().flatten() {
                match v {
                    Value::Array(items) => parts.extend(items.clone()),
                    v => parts.push(v.clone()),
                }
            }
            parts.retain(|v| *v != Value::Null);
            let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            parts?.join(&separator).into()
        }
        other => unreachable!("{other} is no function of the reference evaluator"),
    })
}

/// The common rule: a missing argument or one of a wrong type is MISSING, else a NULL one is NULL.
fn skip(name: &str, arguments: &Arguments) -> Option<Option<Value>> {
    // The parts that are joined, and the value that is set, may be anything.
    let checked = match name {
        "joinstr" => &arguments[..1],
        "object_set" if arguments.len() == 4 => {
            &[arguments[0].clone(), arguments[1].clone(), arguments[3].clone()]
        }
        "object_set" => &arguments[..2],
        _ => &arguments[..],
    };
    if name == "object_set" && arguments[2].is_none() {
        return Some(None);
    }
    if checked.iter().any(Option::is_none) {
        return Some(None);
    }
    let nulls = checked.contains(&Some(Value::Null));
    nulls.then_some(Some(Value::Null))
}

fn whole(v: Option<Value>) -> Option<i64> {
    v?.as_i64()
}

/// `CAST(v AS to)`; NULL stays NULL.
pub(crate) fn cast(v: Value, to: &str) -> Option<Value> {
    if v == Value::Null {
        return Some(Value::Null);
    }
    match (to, v) {
        ("string", Value::Str(s)) => Some(Value::Str(s)),
        ("string", Value::Bool(b)) => Some(b.to_string().into()),
        ("string", Value::Int(i)) => Some(i.to_string().into()),
        ("string", Value::UInt(u)) => Some(u.to_string().into()),
        ("integer", v @ (Value::Int(_) | Value::UInt(_))) => Some(v),
        ("integer", Value::Bool(b)) => Some(Value::Int(b.into())),
        ("integer", Value::Float(f)) if f.abs() < 1e15 => Some(Value::Int(f.trunc() as i64)),
        ("float", Value::Float(f)) => Some(Value::Float(f)),
        ("float", Value::Bool(b)) => Some(Value::Float(f64::from(u8::from(b)))),
        ("float", Value::Int(i)) => Some(Value::Float(i as f64)),
        ("float", Value::UInt(u)) => Some(Value::Float(u as f64)),
        ("boolean", Value::Bool(b)) => Some(Value::Bool(b)),
        // Zero is false (docs/dql.md).
        ("boolean", Value::Int(i)) => Some(Value::Bool(i != 0)),
        ("boolean", Value::Float(f)) => Some(Value::Bool(f != 0.0)),
        _ => None,
    }
}
