//! The choice of an access path by rules: no statistics, so that a plan depends on the statement and the indexes alone.

use std::cmp::Reverse;
use std::sync::Arc;

use ditto_types::Path;

use super::condition::{Cond, FieldCond, Grade};
use super::limits::Limits;
use super::route::{IdTest, IndexRoute, Route};
use crate::catalog::IndexDef;

/// What a term of FROM asks of its access path.
pub(crate) struct Wish<'a> {
    pub(crate) condition: &'a Cond,
    /// The indexes that may be used.
    pub(crate) indexes: &'a [Arc<IndexDef>],
    /// ORDER BY, when an index could give it: fields and whether they descend.
    pub(crate) order: &'a [(Path, bool)],
    /// Whether few rows are wanted, so that an order saves reading the others.
    pub(crate) limited: bool,
    /// The fields that are read; `None` for whole documents.
    pub(crate) needs: Option<&'a [Path]>,
    pub(crate) limits: &'a Limits,
}

/// How good an index is, compared from the first member on.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    preferred_order: bool,
    /// Leading keys with fixed values: the more and the fewer values the better.
    fixed: usize,
    range: Option<Grade>,
    ordered: bool,
    covering: bool,
    keys: Reverse<usize>,
    position: Reverse<usize>,
}

impl Wish<'_> {
    /// The access path. It never leaves out a document that the condition keeps.
    pub(crate) fn choose(&self) -> Route {
        if let Some(ids) = id_test(self.condition) {
            return Route::Ids(ids);
        }
        if self.limits.disable_index_scan || self.indexes.is_empty() || self.limits.max_scans == 0 {
            return Route::Scan;
        }
        let route = self.route(self.condition, true).unwrap_or(Route::Scan);
        if route.scans() > self.limits.max_scans { Route::Scan } else { route }
    }

    /// An access path by indexes or ids. `top` for the whole condition, whose order can be that of the result.
    fn route(&self, condition: &Cond, top: bool) -> Option<Route> {
        if !top && let Some(ids) = id_test(condition) {
            return Some(Route::Ids(ids));
        }
        let parts: &[Cond] = match condition {
            Cond::Any(parts) if top => {
                // The whole in the order of an index, or the parts.
                let ordered = self.best(&[], true);
                if self.limits.prefer_order && ordered.is_some() {
                    return ordered.map(Route::Index);
                }
                return self.union(parts).or(ordered.map(Route::Index));
            }
            Cond::Any(parts) => return self.union(parts),
            Cond::All(parts) => parts,
            part => std::slice::from_ref(part),
        };
        let fields: Vec<&Arc<FieldCond>> = parts
            .iter()
            .filter_map(|p| match p {
                Cond::Field(f) => Some(f),
                _ => None,
            })
            .collect();
        let best = self.best(&fields, top);
        let strong = best.as_ref().is_some_and(|b| b.tests.iter().any(|t| t.grade >= Grade::Range));
        if !strong {
            let unions = parts.iter().filter_map(|p| match p {
                Cond::Any(parts) => self.union(parts),
                _ => None,
            });
            let order_wanted =
                best.as_ref().is_some_and(|b| b.ordered && (self.limited || self.limits.prefer_order));
            if !order_wanted && let Some(union) = unions.into_iter().next() {
                return Some(union);
            }
        }
        let best = best?;
        let keeps_order = best.ordered && (self.limited || self.limits.prefer_order);
        if keeps_order || best.covering || !best.tests.iter().any(|t| t.grade >= Grade::Points) {
            return Some(Route::Index(best));
        }
        let rest: Vec<&Arc<FieldCond>> = fields
            .into_iter()
            .filter(|f| f.grade >= Grade::Points && !best.tests.iter().any(|t| t.path == f.path))
            .collect();
        let mut routes = vec![Route::Index(best)];
        for f in rest {
            if routes.len() >= self.limits.intersects.min(self.limits.max_scans) {
                break;
            }
            if let Some(other) = self.best(&[f], false) {
                routes.push(Route::Index(other));
            }
        }
        match routes.len() {
            1 => routes.pop(),
            _ => {
                // An intersection has no order.
                for r in &mut routes {
                    if let Route::Index(i) = r {
                        (i.ordered, i.reverse, i.covering) = (false, false, false);
                    }
                }
                Some(Route::Intersect(routes))
            }
        }
    }

    /// All parts by access paths of their own.
    fn union(&self, parts: &[Cond]) -> Option<Route> {
        let mut routes = Vec::with_capacity(parts.len());
        for part in parts {
            let mut route = self.route(part, false)?;
            if let Route::Index(i) = &mut route {
                i.covering = false;
            }
            routes.push(route);
        }
        let union = Route::Union(routes);
        (union.scans() <= self.limits.max_scans).then_some(union)
    }

    /// The best index for conditions that all hold.
    fn best(&self, fields: &[&Arc<FieldCond>], top: bool) -> Option<IndexRoute> {
        let scored =
            self.indexes.iter().enumerate().filter_map(|(i, index)| self.rate(i, index, fields, top));
        scored.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, route)| route)
    }

    fn rate(
        &self,
        position: usize,
        index: &Arc<IndexDef>,
        fields: &[&Arc<FieldCond>],
        top: bool,
    ) -> Option<(Score, IndexRoute)> {
        let of = |path: &Path| fields.iter().find(|f| f.path == *path).copied();
        // Documents that have no entry must not be wanted.
        if index.keys.iter().any(|k| !k.include_missing && of(&k.path).is_none_or(|f| f.missing)) {
            return None;
        }
        let mut tests = Vec::new();
        let (mut fixed, mut range) = (0, None);
        for key in &index.keys {
            let Some(f) = of(&key.path) else { break };
            tests.push(f.clone());
            match f.grade {
                Grade::Single => fixed += 4,
                Grade::Points => fixed += 3,
                grade => {
                    range = Some(grade);
                    break;
                }
            }
        }
        let direction = if top { self.direction(index, &tests) } else { None };
        let covering = top && self.is_covered(index);
        let useful = fixed > 0 || range.is_some_and(|g| g >= Grade::Unequal);
        let by_order = direction.is_some() && (self.limited || self.limits.prefer_order || covering);
        if !useful && !by_order {
            return None;
        }
        let score = Score {
            preferred_order: self.limits.prefer_order && direction.is_some(),
            fixed,
            range,
            ordered: direction.is_some(),
            covering,
            keys: Reverse(index.keys.len()),
            position: Reverse(position),
        };
        let reverse = direction.unwrap_or(false);
        Some((
            score,
            IndexRoute { index: index.clone(), tests, reverse, covering, ordered: direction.is_some() },
        ))
    }

    /// Whether the entries come in the wanted order: `Some(true)` from the last to the first.
    fn direction(&self, index: &IndexDef, tests: &[Arc<FieldCond>]) -> Option<bool> {
        if self.order.is_empty() {
            return None;
        }
        let single = |path: &Path| tests.iter().any(|t| t.path == *path && t.grade == Grade::Single);
        // A field that has one value in all rows orders nothing.
        let mut keys = index.keys.iter().filter(|k| !single(&k.path));
        let mut reverse = None;
        for (path, descending) in self.order.iter().filter(|(path, _)| !single(path)) {
            let key = keys.next().filter(|k| k.path == *path)?;
            let turned = key.descending != *descending;
            if *reverse.get_or_insert(turned) != turned {
                return None;
            }
        }
        Some(reverse.unwrap_or(false))
    }

    fn is_covered(&self, index: &IndexDef) -> bool {
        let known = |path: &Path| {
            path.names().first().is_some_and(|n| n == "_id") || index.keys.iter().any(|k| k.path == *path)
        };
        self.needs.is_some_and(|needs| needs.iter().all(known))
    }
}

/// The ids to which a condition is bound.
fn id_test(condition: &Cond) -> Option<IdTest> {
    match condition {
        Cond::Open => None,
        Cond::Field(f) => {
            let is_id = matches!(f.path.names(), [name] if name == "_id");
            (is_id && f.grade >= Grade::Points).then(|| IdTest::Condition(f.clone()))
        }
        Cond::All(parts) => parts.iter().find_map(id_test),
        Cond::Any(parts) => parts.iter().map(id_test).collect::<Option<_>>().map(IdTest::Any),
    }
}
