//! Where rows come from: what a store implements for the executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ditto_types::{DocId, Path, SmolStr, Value};

use crate::bind::Selecting;
use crate::catalog::{CollectionRef, IndexDef};
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::item::Item;
use crate::key::KeySpan;
use crate::sort::Bar;
use crate::truth::Truth;
use crate::value_ref::ValueRef;

/// A document as the evaluator sees it.
pub trait Row {
    /// Its id.
    fn id(&self) -> &DocId;
    /// The value at `path`; `None` is MISSING. `path[0]` may be `_id`. A path through anything but objects is MISSING.
    fn field(&self, path: &[SmolStr]) -> Option<Value>;
    /// Shows the value at `path`, as [`Row::field`] gives it, to `look`, once. Conditions read fields this way, so a row
    /// that lies in its stored form should show scalars from there, without copying.
    fn look(&self, path: &[SmolStr], look: &mut dyn FnMut(Option<ValueRef<'_>>)) {
        look(self.field(path).as_ref().map(ValueRef::of));
    }
    /// The whole document with its `_id`.
    fn document(&self) -> Value;
    /// Its place among the documents of the collection, in the order of their first arrival; 0 where there is none.
    fn position(&self) -> i64 {
        0
    }
    /// The whole document, to be kept beyond the visit; in its stored form where that is possible.
    fn capture(&self) -> Item {
        Item::Value(self.document())
    }
}

/// Which documents of a collection a statement has to look at.
///
/// It may only leave out documents that the condition cannot keep: the condition is applied to every row in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The documents with these ids, ascending by their bytes and without duplicates.
    Ids(Vec<DocId>),
    /// Every document of the collection.
    Scan,
    /// The entries of an index.
    Index(IndexScan),
    /// The documents of any of these, each once.
    Union(Vec<Access>),
    /// The documents that all of these have.
    Intersect(Vec<Access>),
}

/// A walk over parts of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexScan {
    /// The index.
    pub index: Arc<IndexDef>,
    /// The parts, ascending and disjoint. None at all means no rows.
    pub spans: Vec<KeySpan>,
    /// Whether the entries come from the last to the first.
    pub reverse: bool,
    /// Whether the entries hold all that is needed, so that documents need not be read.
    pub covering: bool,
}

/// What a statement reads of the rows of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// The whole document, or paths that are not known.
    Document,
    /// These fields, and the id.
    Paths(&'a [Path]),
}

/// One pass over the rows of a FROM term.
#[derive(Clone, Copy, Debug)]
pub struct TermScan<'a> {
    /// The collection.
    pub collection: &'a CollectionRef,
    /// Which documents.
    pub access: &'a Access,
    /// Declared field kinds: a declared field is read as its kind.
    pub declared: &'a TypeDecls,
    /// Strict mode: undeclared fields are read as registers only.
    pub strict: bool,
    /// What is read of each row.
    pub needs: Needs<'a>,
    /// Rows after which the visit ends if each of them counts, as far as that is known: a source may fetch so many at once.
    pub enough: Option<usize>,
    /// What the rows have to fulfil. A source may leave out rows that do not, and need not: who visits tests them again.
    pub filter: Option<&'a dyn Condition>,
}

/// The condition of a statement on the rows of its only term.
pub trait Condition: std::fmt::Debug {
    /// The condition as a value of its own, for a source that tests rows where nothing can be borrowed.
    fn to_filter(&self) -> RowFilter;
}

/// A condition on single rows, with its arguments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RowFilter {
    template: Arc<dyn Selecting>,
    bound: Bound,
    /// Of ORDER BY with LIMIT.
    bar: Option<Arc<Bar>>,
    /// How many rows it has excluded, where somebody counts them.
    excluded: Option<Arc<AtomicU64>>,
}

impl RowFilter {
    pub(crate) fn new(template: Arc<dyn Selecting>, bound: Bound) -> Self {
        Self { template, bound, bar: None, excluded: None }
    }

    /// Besides, the first key of ORDER BY has to pass.
    pub(crate) fn below(self, bar: Arc<Bar>) -> Self {
        Self { bar: Some(bar), ..self }
    }

    /// Counts the rows that it excludes.
    pub(crate) fn counting(self, excluded: Arc<AtomicU64>) -> Self {
        Self { excluded: Some(excluded), ..self }
    }

    /// Whether it is known that `row` is not wanted: the condition is not true, or so many rows have come that precede it
    /// in the order of the statement that LIMIT leaves it out. An error is for the visitor to find.
    #[inline]
    pub fn excludes(&self, row: &dyn Row) -> bool {
        let excludes = self.decides(row);
        if excludes && let Some(excluded) = &self.excluded {
            // Rows are tested by one thread: no need to be atomic, which would cost as much as some conditions.
            excluded.store(excluded.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        excludes
    }

    #[inline]
    fn decides(&self, row: &dyn Row) -> bool {
        let (choice, cx) = (self.template.choice(), Cx::row(row, &self.bound));
        match choice.filter.as_ref().map(|filter| filter.test(&cx)) {
            None | Some(Ok(Truth::True)) => {}
            Some(Ok(_)) => return true,
            Some(Err(_)) => return false,
        }
        match (&self.bar, choice.tail.order.first()) {
            (Some(bar), Some(first)) => {
                first.key.look(&cx, &mut |key| Ok(bar.passes(key))).is_ok_and(|passes| !passes)
            }
            _ => false,
        }
    }
}

/// A snapshot of the data. Visits nest: a join visits its inner term for each row of the outer one.
pub trait Source {
    /// Its errors.
    type Error: From<DqlError>;

    /// Calls `visit` with each row until it returns `false`. Without an order from an index, rows of one source come in
    /// the same order each time.
    ///
    /// # Errors
    ///
    /// What went wrong in the source, or what `visit` returned.
    #[expect(clippy::type_complexity, reason = "a name for the closure would say less")]
    fn visit(
        &self,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Number of documents of the collection that are not deleted.
    ///
    /// # Errors
    ///
    /// What went wrong in the source.
    fn count(&self, collection: &CollectionRef) -> Result<u64, Self::Error>;
}
