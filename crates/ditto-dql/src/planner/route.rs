//! Chosen access paths, and what they are for known values.

use std::collections::BTreeSet;
use std::sync::Arc;

use ditto_types::DocId;

use super::condition::{FieldCond, doc_id};
use super::limits::Limits;
use super::set::{Interval, Set};
use crate::catalog::{IndexDef, IndexKey};
use crate::error::DqlError;
use crate::eval::Cx;
use crate::key::{KeySpan, successor};
use crate::scalar::Scalar;
use crate::source::{Access, IndexScan};

/// An access path before the values of the condition are known.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Scan,
    Ids(IdTest),
    Index(IndexRoute),
    Union(Vec<Route>),
    Intersect(Vec<Route>),
}

/// Which ids.
#[derive(Clone, Debug)]
pub(crate) enum IdTest {
    Condition(Arc<FieldCond>),
    /// Any of these.
    Any(Vec<IdTest>),
    /// USE IDS.
    Written(Arc<UseIds>),
}

/// The ids of USE IDS.
#[derive(Clone, Debug)]
pub(crate) enum UseIds {
    /// Each value is one id.
    Each(Vec<Scalar>),
    /// The items of an array.
    List(Scalar),
}

#[derive(Clone, Debug)]
pub(crate) struct IndexRoute {
    pub(crate) index: Arc<IndexDef>,
    /// The tests of the leading keys; a test that is not of single values is the last one.
    pub(crate) tests: Vec<Arc<FieldCond>>,
    pub(crate) reverse: bool,
    pub(crate) covering: bool,
    /// Whether the order of the entries is the one that the statement wants.
    pub(crate) ordered: bool,
}

impl Route {
    /// Fills in the values.
    pub(crate) fn open<'a>(&'a self, cx: &Cx<'a>, limits: &Limits) -> Result<Access, DqlError> {
        Ok(match self {
            Route::Scan => Access::Scan,
            Route::Ids(test) => match test.ids(cx)? {
                Some(ids) => Access::Ids(ids.into_iter().collect()),
                None => Access::Scan,
            },
            Route::Index(route) => match route.spans(cx, limits)? {
                Some(spans) => Access::Index(route.scan(spans)),
                None if route.ordered => Access::Index(route.scan(vec![KeySpan::all()])),
                None => Access::Scan,
            },
            Route::Union(routes) => {
                let mut parts = Vec::with_capacity(routes.len());
                for r in routes {
                    match r.open(cx, limits)? {
                        // If anything takes all of them, that alone is cheapest.
                        Access::Scan => return Ok(Access::Scan),
                        part => parts.push(part),
                    }
                }
                Access::Union(parts)
            }
            Route::Intersect(routes) => {
                let mut parts = Vec::with_capacity(routes.len());
                for r in routes {
                    match r.open(cx, limits)? {
                        Access::Scan => {}
                        part => parts.push(part),
                    }
                }
                match parts.len() {
                    0 => Access::Scan,
                    1 => parts.pop().unwrap_or(Access::Scan),
                    _ => Access::Intersect(parts),
                }
            }
        })
    }

    /// Number of index scans.
    pub(crate) fn scans(&self) -> usize {
        match self {
            Route::Scan | Route::Ids(_) => 0,
            Route::Index(_) => 1,
            Route::Union(routes) | Route::Intersect(routes) => routes.iter().map(Route::scans).sum(),
        }
    }
}

impl IdTest {
    fn ids<'a>(&'a self, cx: &Cx<'a>) -> Result<Option<BTreeSet<DocId>>, DqlError> {
        match self {
            IdTest::Condition(c) => c.test.ids(cx),
            IdTest::Any(tests) => {
                let mut out = BTreeSet::new();
                for t in tests {
                    match t.ids(cx)? {
                        Some(found) => out.extend(found),
                        None => return Ok(None),
                    }
                }
                Ok(Some(out))
            }
            IdTest::Written(ids) => match &**ids {
                UseIds::Each(list) => {
                    let mut out = BTreeSet::new();
                    for e in list {
                        out.extend(e.eval(cx)?.as_deref().and_then(doc_id));
                    }
                    Ok(Some(out))
                }
                UseIds::List(e) => {
                    let list = e.eval(cx)?;
                    let items = list.as_deref().and_then(|v| v.as_array()).unwrap_or_default();
                    Ok(Some(items.iter().filter_map(doc_id).collect()))
                }
            },
        }
    }
}

impl IndexRoute {
    fn scan(&self, spans: Vec<KeySpan>) -> IndexScan {
        let IndexRoute { index, reverse, covering, .. } = self;
        IndexScan { index: index.clone(), spans, reverse: *reverse, covering: *covering }
    }

    /// The parts of the index; `None` for all of it.
    fn spans<'a>(&'a self, cx: &Cx<'a>, limits: &Limits) -> Result<Option<Vec<KeySpan>>, DqlError> {
        // Beginnings of keys whose values so far are fixed.
        let mut prefixes = vec![Vec::new()];
        let mut used = 0;
        for (key, test) in self.index.keys.iter().zip(&self.tests) {
            let Some(set) = test.test.set(cx, limits.max_inlist)? else { break };
            let count = prefixes.len().saturating_mul(set.intervals().len());
            if count > limits.max_spans {
                break;
            }
            used += 1;
            if !set.is_points() {
                return Ok(Some(sorted(ranges(&prefixes, key, &set))));
            }
            let mut longer = Vec::with_capacity(count);
            for prefix in &prefixes {
                for point in set.intervals() {
                    let mut p = Vec::with_capacity(prefix.len() + point.low.len());
                    p.extend_from_slice(prefix);
                    push(&point.low, key, &mut p);
                    longer.push(p);
                }
            }
            prefixes = longer;
        }
        if used == 0 {
            return Ok(if self.tests.is_empty() { Some(vec![KeySpan::all()]) } else { None });
        }
        Ok(Some(sorted(prefixes.into_iter().map(KeySpan::prefix).collect())))
    }
}

fn push(component: &[u8], key: &IndexKey, out: &mut Vec<u8>) {
    if key.descending {
        out.extend(component.iter().map(|b| !b));
    } else {
        out.extend_from_slice(component);
    }
}

/// The keys that go on with a value of the set.
fn ranges(prefixes: &[Vec<u8>], key: &IndexKey, set: &Set) -> Vec<KeySpan> {
    let mut out = Vec::with_capacity(prefixes.len() * set.intervals().len());
    for prefix in prefixes {
        for interval in set.intervals() {
            let (low, high) = stored(interval, key);
            let join = |end: &[u8]| [prefix, end].concat();
            out.push(KeySpan {
                low: join(&low),
                high: match high {
                    Some(high) => Some(join(&high)),
                    None => successor(prefix),
                },
            });
        }
    }
    out
}

/// The interval in the form of the key.
fn stored(i: &Interval, key: &IndexKey) -> (Vec<u8>, Option<Vec<u8>>) {
    if !key.descending {
        return (i.low.clone(), Some(i.high.clone()));
    }
    // Complemented, what came before `high` comes behind everything that begins with its complement.
    let turned = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|b| !b).collect() };
    (successor(&turned(&i.high)).unwrap_or_default(), successor(&turned(&i.low)))
}

fn sorted(mut spans: Vec<KeySpan>) -> Vec<KeySpan> {
    spans.retain(|s| !s.is_empty());
    spans.sort_unstable_by(|a, b| a.low.cmp(&b.low));
    let mut out: Vec<KeySpan> = Vec::with_capacity(spans.len());
    for s in spans {
        match out.last_mut() {
            Some(last) if last.high.as_ref().is_none_or(|high| s.low < *high) => {
                if last.high.is_some() && s.high.as_ref().is_none_or(|h| Some(h) > last.high.as_ref()) {
                    last.high = s.high;
                }
            }
            _ => out.push(s),
        }
    }
    out
}
