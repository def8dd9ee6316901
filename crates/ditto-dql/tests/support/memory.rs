//! Collections in memory with real indexes: every access path can be run without a store.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each file uses its part")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ditto_dql::{
    Access, BindContext, Catalog, CollectionRef, Directives, DqlError, IndexDef, IndexKey, IndexKinds,
    IndexScan, Items, Namespace, Needs, Plan, Row, RunContext, SelectPlan, Source, TermScan, decode_key,
    prepare,
};
use ditto_types::{DocId, KindSet, Path, SmolStr, Value, json};

use super::harness::{Doc, object};

#[derive(Default)]
struct Collection {
    docs: Vec<Doc>,
    indexes: Vec<Index>,
}

struct Index {
    def: Arc<IndexDef>,
    entries: BTreeSet<(Vec<u8>, usize)>,
}

/// A database in memory.
#[derive(Default)]
pub(crate) struct Memory {
    collections: BTreeMap<SmolStr, Collection>,
    /// Rows given to statements so far.
    pub(crate) visited: Cell<usize>,
    /// Calls of `count`.
    pub(crate) counted: Cell<usize>,
}

impl Memory {
    /// Documents of a collection, from a JSON array.
    pub(crate) fn with(mut self, collection: &str, documents: &str) -> Self {
        self.add(collection, super::harness::docs(documents));
        self
    }

    pub(crate) fn add(&mut self, collection: &str, docs: Vec<Doc>) {
        self.collections.entry(collection.into()).or_default().docs.extend(docs);
    }

    /// An index `name`, its keys as `a`, `a.b`, `-a` for descending, `a!` without missing values.
    pub(crate) fn index(mut self, collection: &str, name: &str, keys: &[&str]) -> Self {
        self.add_index(collection, name, keys);
        self
    }

    pub(crate) fn add_index(&mut self, collection: &str, name: &str, keys: &[&str]) {
        let key = |k: &&str| IndexKey {
            path: Path::new(k.trim_matches(['-', '!']).split('.')),
            descending: k.starts_with('-'),
            include_missing: !k.ends_with('!'),
        };
        let c = self.collections.entry(collection.into()).or_default();
        let keys: Vec<IndexKey> = keys.iter().map(key).collect();
        let mut kinds = IndexKinds::none(&keys);
        for d in &c.docs {
            // As documents that were written without declarations.
            kinds.add(&keys, |path, see| {
                for place in 0..path.len() {
                    match d.field(&path[..=place]) {
                        Some(Value::Object(_)) => see(place, KindSet::MAP),
                        Some(_) => see(place, KindSet::REGISTER),
                        None => {}
                    }
                }
            });
        }
        let (id, name, collection) = (c.indexes.len() as u32, name.into(), collection.into());
        let def = Arc::new(IndexDef { id, name, collection, keys, kinds: Some(kinds) });
        let entry = |(i, d): (usize, &Doc)| Some((def.entry(|path| d.field(path))?, i));
        let entries = c.docs.iter().enumerate().filter_map(entry).collect();
        c.indexes.push(Index { def: def.clone(), entries });
    }

    pub(crate) fn bind(&self, text: &str, args: &str) -> Result<Plan, DqlError> {
        self.bind_with(text, args, &Directives::default(), false)
    }

    pub(crate) fn bind_with(
        &self,
        text: &str,
        args: &str,
        directives: &Directives,
        strict: bool,
    ) -> Result<Plan, DqlError> {
        let cx = BindContext { catalog: self, strict, directives, env: Default::default() };
        prepare(text)?.bind(&object(args), &cx)
    }

    pub(crate) fn plan(&self, text: &str, args: &str) -> SelectPlan {
        match self.bind(text, args) {
            Ok(Plan::Select(plan)) => plan,
            other => panic!("{text}: {other:?}"),
        }
    }

    pub(crate) fn rows(&self, plan: &SelectPlan) -> Result<Items, DqlError> {
        plan.run(self, &RunContext::default())
    }

    pub(crate) fn try_select(&self, text: &str, args: &str) -> Result<Vec<Value>, DqlError> {
        let Plan::Select(plan) = self.bind(text, args)? else { panic!("no SELECT: {text}") };
        Ok(self.rows(&plan)?.iter().map(|i| i.value()).collect())
    }

    /// Result rows as JSON text.
    pub(crate) fn select(&self, text: &str, args: &str) -> String {
        match self.try_select(text, args) {
            Ok(rows) => json::to_string(&Value::Array(rows)),
            Err(e) => panic!("{text}: {e}"),
        }
    }

    /// The access path of the first term: `scan`, `ids 2`, `index i1 1`, `index i1 2 reverse covering`, or of several
    /// in parentheses. The numbers are those of ids and spans.
    pub(crate) fn path(&self, text: &str, args: &str) -> String {
        match self.bind(text, args) {
            Ok(Plan::Select(p)) => path_of(p.access()),
            Ok(Plan::Update(p)) => path_of(p.access()),
            Ok(Plan::Delete(p) | Plan::Evict(p)) => path_of(p.access()),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn positions(&self, c: &Collection, access: &Access) -> Vec<usize> {
        match access {
            Access::Scan => (0..c.docs.len()).collect(),
            Access::Ids(ids) => {
                ids.iter().filter_map(|id| c.docs.iter().position(|d| d.id() == id)).collect()
            }
            Access::Index(scan) => entries(c, scan).into_iter().map(|(_, at)| *at).collect(),
            Access::Union(parts) => {
                let all: BTreeSet<usize> = parts.iter().flat_map(|p| self.positions(c, p)).collect();
                all.into_iter().collect()
            }
            Access::Intersect(parts) => {
                let mut sets =
                    parts.iter().map(|p| self.positions(c, p).into_iter().collect::<BTreeSet<_>>());
                let first = sets.next().unwrap();
                sets.fold(first, |a, b| &a & &b).into_iter().collect()
            }
        }
    }
}

fn path_of(access: &Access) -> String {
    let list = |parts: &[Access]| parts.iter().map(path_of).collect::<Vec<_>>().join(", ");
    match access {
        Access::Scan => "scan".to_owned(),
        Access::Ids(ids) => format!("ids {}", ids.len()),
        Access::Index(s) => format!(
            "index {} {}{}{}",
            s.index.name,
            s.spans.len(),
            if s.reverse { " reverse" } else { "" },
            if s.covering { " covering" } else { "" }
        ),
        Access::Union(parts) => format!("union({})", list(parts)),
        Access::Intersect(parts) => format!("intersect({})", list(parts)),
    }
}

/// The entries of the spans, which have to be ascending and disjoint.
fn entries<'c>(c: &'c Collection, scan: &IndexScan) -> Vec<&'c (Vec<u8>, usize)> {
    for pair in scan.spans.windows(2) {
        assert!(pair[0].high.as_ref().is_some_and(|h| *h <= pair[1].low), "{:?}", scan.spans);
    }
    assert!(scan.spans.iter().all(|s| !s.is_empty()), "{:?}", scan.spans);
    let index = c.indexes.iter().find(|i| i.def == scan.index).unwrap();
    let mut out: Vec<_> =
        index.entries.iter().filter(|(key, _)| scan.spans.iter().any(|s| s.contains(key))).collect();
    if scan.reverse {
        out.reverse();
    }
    out
}

/// A row that knows no more than its index entry.
struct Covered<'a> {
    id: &'a DocId,
    keys: &'a [IndexKey],
    values: Vec<Option<Value>>,
}

impl Row for Covered<'_> {
    fn id(&self) -> &DocId {
        self.id
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        if let ["_id", rest @ ..] = path.iter().map(SmolStr::as_str).collect::<Vec<_>>().as_slice() {
            let id = self.id.to_value();
            return rest.iter().try_fold(&id, |v, name| v.get(name)).cloned();
        }
        let at = self.keys.iter().position(|k| k.path.names() == path);
        self.values[at.unwrap_or_else(|| panic!("{path:?} is not in the index"))].clone()
    }

    fn document(&self) -> Value {
        panic!("a covering scan has no documents")
    }
}

impl Source for Memory {
    type Error = DqlError;

    fn visit(
        &self,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        assert_eq!(scan.collection.namespace, Namespace::Default);
        let Some(c) = self.collections.get(&scan.collection.name) else { return Ok(()) };
        let mut see = |row: &dyn Row| {
            self.visited.set(self.visited.get() + 1);
            visit(&Checked(row, scan.needs))
        };
        if let Access::Index(index) = scan.access
            && index.covering
        {
            for (key, at) in entries(c, index) {
                let keys = &index.index.keys;
                let values = decode_key(keys, key).unwrap();
                if !see(&Covered { id: c.docs[*at].id(), keys, values })? {
                    break;
                }
            }
            return Ok(());
        }
        for at in self.positions(c, scan.access) {
            if !see(&c.docs[at])? {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, collection: &CollectionRef) -> Result<u64, DqlError> {
        self.counted.set(self.counted.get() + 1);
        Ok(self.collections.get(&collection.name).map_or(0, |c| c.docs.len() as u64))
    }
}

/// Panics when a statement reads what it said it would not.
struct Checked<'a>(&'a dyn Row, Needs<'a>);

impl Row for Checked<'_> {
    fn id(&self) -> &DocId {
        self.0.id()
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        if let Needs::Paths(paths) = self.1 {
            assert!(paths.iter().any(|p| p.names() == path), "{path:?} was not announced: {paths:?}");
        }
        self.0.field(path)
    }

    fn document(&self) -> Value {
        assert_eq!(self.1, Needs::Document);
        self.0.document()
    }
}

impl Catalog for Memory {
    fn indexes(&self, collection: &str) -> Vec<Arc<IndexDef>> {
        let indexes = self.collections.get(collection).map(|c| c.indexes.as_slice()).unwrap_or_default();
        indexes.iter().map(|i| i.def.clone()).collect()
    }
}
