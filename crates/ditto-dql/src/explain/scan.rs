//! Access paths as operators.

use ditto_types::{Object, Value, json};

use super::Operator;
use crate::ast::CompareOp;
use crate::catalog::IndexKey;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::key::read_component;
use crate::plan::Head;
use crate::planner::{Interval, Limits, Route, Test};
use crate::print::quoted;
use crate::scalar::Scalar;
use crate::source::Access;

/// Spans and ids that are written out at most.
const SHOWN: usize = 64;

/// Where an operator reads from.
pub(super) fn place(operator: Operator, head: &Head) -> Operator {
    let operator = operator.with("collection", &*head.collection.name).with("alias", &*head.name);
    operator.with("datasource", head.collection.namespace.name())
}

/// An access path whose values are known, with what loads its documents.
pub(super) fn operators<'a>(
    head: &Head,
    route: &'a Route,
    (cx, limits): (&Cx<'a>, &Limits),
    visited: Option<u64>,
    nanos: u64,
) -> Vec<Operator> {
    let scan = operator(head, route, cx, limits).unwrap_or_else(|_| Operator::new("scan"));
    let mut out = vec![scan.stats(visited.map(|n| (0, n)), nanos, 0)];
    if fetches(route) {
        out.push(place(Operator::new("fetch"), head).stats(visited.map(|n| (n, n)), 0, 0));
    }
    out
}

/// Whether an access path only finds ids or entries, so that documents are loaded after it.
fn fetches(route: &Route) -> bool {
    match route {
        Route::Scan => false,
        Route::Index(i) => !i.covering,
        Route::Ids(_) | Route::Union(_) | Route::Intersect(_) => true,
    }
}

fn operator<'a>(head: &Head, route: &'a Route, cx: &Cx<'a>, limits: &Limits) -> Result<Operator, DqlError> {
    // What turns out to be too long for an index is a scan.
    let access = route.open(cx, limits)?;
    if access == Access::Scan {
        return Ok(full_scan(head));
    }
    let children = |parts: &'a [Route]| -> Result<Vec<Value>, DqlError> {
        parts.iter().map(|p| Ok(Value::Object(operator(head, p, cx, limits)?.0))).collect()
    };
    Ok(match (route, access) {
        (Route::Ids(_), Access::Ids(ids)) => {
            let shown: Vec<Value> = ids.iter().take(SHOWN).map(|id| id.to_value()).collect();
            let count = (ids.len() > SHOWN).then_some(Value::from(ids.len() as u64));
            place(Operator::new("idScan"), head).with("ids", shown).with_some("count", count)
        }
        (Route::Index(i), _) => {
            let mut spans: Vec<Vec<Value>> = vec![Vec::new()];
            for (key, test) in i.index.keys.iter().zip(&i.tests) {
                let Some(set) = test.test.set(cx, limits.max_inlist)? else { break };
                let ranges: Vec<Value> =
                    set.intervals().iter().take(SHOWN).map(|i| range_of(key, interval(i))).collect();
                let longer = spans.iter().flat_map(|s| {
                    ranges.iter().map(move |r| s.iter().chain([r]).cloned().collect::<Vec<Value>>())
                });
                spans = longer.take(SHOWN).collect();
            }
            let spans = spans.into_iter().map(Value::Array).collect();
            let desc = description(&i.index.name, spans, i.covering, i.reverse);
            place(Operator::new("indexScan"), head).with("desc", desc)
        }
        (Route::Union(parts), _) => Operator::new("unionScan").with("children", children(parts)?),
        (Route::Intersect(parts), _) => Operator::new("intersectScan").with("children", children(parts)?),
        _ => full_scan(head),
    })
}

fn full_scan(head: &Head) -> Operator {
    let path = Object::from([("full_scan".into(), Value::Object(Object::new()))]);
    let descriptor = Object::from([("path".into(), Value::Object(path))]);
    place(Operator::new("scan"), head).with("descriptor", descriptor)
}

fn description(index: &str, spans: Vec<Value>, covering: bool, reverse: bool) -> Object {
    let mut desc =
        Object::from([("index".into(), Value::from(index)), ("spans".into(), Value::Array(spans))]);
    if covering {
        desc.insert("covering".into(), Value::Bool(true));
    }
    if reverse {
        desc.insert("reverse".into(), Value::Bool(true));
    }
    desc
}

/// An access path whose values are known when the rows of other terms are.
pub(super) fn routed(head: &Head, route: &Route, heads: &[&Head], visited: Option<u64>) -> Vec<Operator> {
    let rows = visited.map(|n| (0, n));
    let mut out = vec![route_operator(head, route, heads).stats(rows, 0, 0)];
    if fetches(route) {
        out.push(place(Operator::new("fetch"), head).stats(visited.map(|n| (n, n)), 0, 0));
    }
    out
}

fn route_operator(head: &Head, route: &Route, heads: &[&Head]) -> Operator {
    let all = |name, parts: &[Route]| {
        let children = parts.iter().map(|p| Value::Object(route_operator(head, p, heads).0));
        Operator::new(name).with("children", children.collect::<Vec<_>>())
    };
    match route {
        Route::Scan => full_scan(head),
        Route::Ids(_) => place(Operator::new("idScan"), head),
        Route::Index(i) => {
            let keys = i.index.keys.iter().zip(&i.tests);
            let ranges: Vec<Value> = keys.map(|(k, t)| range_of(k, test_range(&t.test, heads))).collect();
            let spans = if ranges.is_empty() { Vec::new() } else { vec![Value::Array(ranges)] };
            place(Operator::new("indexScan"), head)
                .with("desc", description(&i.index.name, spans, i.covering, i.reverse))
        }
        Route::Union(parts) => all("unionScan", parts),
        Route::Intersect(parts) => all("intersectScan", parts),
    }
}

/// A range whose ends are expressions.
fn test_range(test: &Test, heads: &[&Head]) -> Object {
    let end = |e: &Scalar, included: bool| {
        let text = match e {
            Scalar::Const(v) => json::to_string(v),
            Scalar::Field(term, path) => {
                let name = heads.get(*term).map(|h| quoted(&h.name));
                let path = path.iter().map(|n| quoted(n));
                name.into_iter().chain(path).collect::<Vec<_>>().join(".")
            }
            _ => return None,
        };
        Some(bound(&text, included))
    };
    let (low, high) = match test {
        Test::Compare(CompareOp::Eq, e) => (end(e, true), end(e, true)),
        Test::Compare(CompareOp::Lt, e) => (None, end(e, false)),
        Test::Compare(CompareOp::Le, e) => (None, end(e, true)),
        Test::Compare(CompareOp::Gt, e) => (end(e, false), None),
        Test::Compare(CompareOp::Ge, e) => (end(e, true), None),
        _ => (None, None),
    };
    ends(low, high)
}

fn bound(expr: &str, included: bool) -> Value {
    Value::Object(Object::from([
        ("expr".into(), Value::from(expr)),
        ("included".into(), Value::Bool(included)),
    ]))
}

fn ends(low: Option<Value>, high: Option<Value>) -> Object {
    let low = low.map(|v| ("low".into(), v));
    low.into_iter().chain(high.map(|v| ("high".into(), v))).collect()
}

fn range_of(key: &IndexKey, range: Object) -> Value {
    Value::Object(Object::from([("index_key".into(), index_key(key)), ("range".into(), range.into())]))
}

/// A key of an index with its direction.
pub(super) fn index_key(key: &IndexKey) -> Value {
    let names: Vec<Value> = key.path.names().iter().map(|n| Value::from(n.as_str())).collect();
    Value::Object(Object::from([
        ("direction".into(), Value::from(if key.descending { "desc" } else { "asc" })),
        ("include_missing".into(), Value::Bool(key.include_missing)),
        ("key".into(), Value::Array(names)),
    ]))
}

/// The ends of an interval; an end of all values of a type is none.
fn interval(i: &Interval) -> Object {
    if i.point {
        let value = read_component(&i.low).map(|v| bound(&text(v.as_ref()), true));
        return ends(value.clone(), value);
    }
    ends(end(&i.low, true), end(&i.high, false))
}

fn end(bytes: &[u8], low: bool) -> Option<Value> {
    if let Some(v) = read_component(bytes) {
        return Some(bound(&text(v.as_ref()), low));
    }
    // The first place behind a value.
    if let Some((last, rest)) = bytes.split_last()
        && let Some(before) = last.checked_sub(1)
        && let Some(v) = read_component(&[rest, &[before]].concat())
    {
        return Some(bound(&text(v.as_ref()), !low));
    }
    // The beginning of strings.
    let string = (bytes.len() > 1).then(|| read_component(&[bytes, &[0]].concat())).flatten();
    string.map(|v| bound(&text(v.as_ref()), low))
}

fn text(v: Option<&Value>) -> String {
    v.map_or("MISSING".to_owned(), json::to_string)
}
