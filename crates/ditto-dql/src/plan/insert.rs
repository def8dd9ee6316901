//! INSERT.

use std::borrow::Cow;
use std::sync::Arc;

use ditto_types::{DocId, ErrorKind, MAX_DEPTH, Object, Value};

use super::target::returning;
use super::{ConflictPolicy, Head, SelectPlan, SelectTemplate, check_kind, shown};
use crate::bind::BindContext;
use crate::decl::TypeDecls;
use crate::env::Bound;
use crate::error::DqlError;
use crate::eval::Cx;
use crate::exec::{RunContext, RunStats};
use crate::item::Item;
use crate::items::Items;
use crate::scalar::{At, Scalar};
use crate::source::Source;

/// Memory that the rows of a batch of INSERT … SELECT take, about; some ten times as much once they are decoded.
const BATCH_BYTES: usize = 2 << 20;

#[derive(Clone, Debug)]
pub(crate) struct InsertTemplate {
    pub(crate) head: Head,
    pub(crate) source: InsertSource,
    pub(crate) policy: ConflictPolicy,
    pub(crate) initial: bool,
    pub(crate) returning: Option<Arc<SelectTemplate>>,
}

#[derive(Clone, Debug)]
pub(crate) enum InsertSource {
    Documents(Vec<(Scalar, At)>),
    /// INSERT … SELECT: each row is a document.
    Rows(Arc<SelectTemplate>, At),
}

impl InsertTemplate {
    /// The SELECT whose rows are inserted.
    pub(crate) fn rows(&self) -> Option<&SelectTemplate> {
        match &self.source {
            InsertSource::Documents(_) => None,
            InsertSource::Rows(select, _) => Some(select),
        }
    }
}

/// A bound INSERT.
#[derive(Clone, Debug)]
pub struct InsertPlan {
    template: Arc<InsertTemplate>,
    bound: Bound,
    strict: bool,
    rows: Option<SelectPlan>,
    returning: Option<SelectPlan>,
}

impl InsertPlan {
    pub(crate) fn bind(
        template: Arc<InsertTemplate>,
        bound: Bound,
        context: &BindContext<'_>,
    ) -> Result<Self, DqlError> {
        let rows = match &template.source {
            InsertSource::Documents(_) => None,
            InsertSource::Rows(select, _) => Some(SelectPlan::bind(select.clone(), bound.clone(), context)?),
        };
        let returning = returning(template.returning.as_ref(), &bound, context)?;
        Ok(Self { strict: context.strict, template, bound, rows, returning })
    }

    /// Name of the collection.
    pub fn collection(&self) -> &str {
        &self.template.head.collection.name
    }

    /// What to do with a document that exists.
    pub fn policy(&self) -> ConflictPolicy {
        self.template.policy
    }

    /// Whether the documents are written at time zero.
    pub fn is_initial(&self) -> bool {
        self.template.initial
    }

    /// Declared field kinds.
    pub fn declared(&self) -> &TypeDecls {
        &self.template.head.declared
    }

    /// Strict mode: undeclared fields are written as registers, whatever their value.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The attachment tokens among the arguments: where a field is not declared, and outside of strict mode, such a value is
    /// written as an attachment.
    pub fn tokens(&self) -> &[Value] {
        &self.bound.tokens
    }

    /// INSERT … SELECT: the SELECT whose rows are the documents.
    pub fn rows(&self) -> Option<&SelectPlan> {
        self.rows.as_ref()
    }

    /// RETURNING: a SELECT to be run over the written documents as they are then.
    pub fn returning(&self) -> Option<&SelectPlan> {
        self.returning.as_ref()
    }

    /// The documents in the order written; each may lack `_id`. The source is read by INSERT … SELECT only, and not any more
    /// once this has returned.
    ///
    /// # Errors
    ///
    /// A document that is no object or is nested too deeply, an `_id` that is not allowed or occurs twice, a value that
    /// does not fit the declared kind of its field; what goes wrong with the SELECT.
    pub fn documents<S: Source>(
        &self,
        source: &S,
        cx: &RunContext<'_>,
    ) -> Result<NewDocuments<'_>, S::Error> {
        let mut stats = RunStats::default();
        let documents = match (&self.template.source, &self.rows) {
            (InsertSource::Documents(documents), _) => {
                let mut out = Documents::default();
                self.given(documents, &mut out)?;
                out.refuse_duplicates(&Cx::constant(&self.bound))?;
                NewDocuments { plan: self, first: out.documents, rows: None }
            }
            (InsertSource::Rows(_, at), Some(select)) => {
                let rows;
                (rows, stats) = crate::exec::select(select, source, cx)?;
                self.selected(rows, *at)?
            }
            (InsertSource::Rows(..), None) => NewDocuments { plan: self, first: Vec::new(), rows: None },
        };
        if let Some(profiler) = cx.profiler {
            stats.rows = documents.len() as u64;
            profiler.report(stats);
        }
        Ok(documents)
    }

    fn given<'p>(&'p self, documents: &'p [(Scalar, At)], out: &mut Documents<'p>) -> Result<(), DqlError> {
        for (e, at) in documents {
            // Each document has its own budget.
            let cx = Cx::constant(&self.bound);
            // An argument is looked at where it is: it may hold thousands of documents.
            let value = match e {
                Scalar::Param(i) => self.bound.args.get(*i).map(Cow::Borrowed),
                e => e.eval(&cx)?.map(|v| Cow::Owned(v.into_owned())),
            };
            match value {
                Some(Cow::Borrowed(Value::Object(o))) => self.add(Cow::Borrowed(o), *at, &cx, out)?,
                Some(Cow::Owned(Value::Object(o))) => self.add(Cow::Owned(o), *at, &cx, out)?,
                Some(Cow::Borrowed(Value::Array(items))) => {
                    for item in items {
                        match item {
                            Value::Object(o) => self.add(Cow::Borrowed(o), *at, &cx, out)?,
                            other => return no_document(Some(other), *at, &cx),
                        }
                    }
                }
                Some(Cow::Owned(Value::Array(items))) => {
                    for item in items {
                        match item {
                            Value::Object(o) => self.add(Cow::Owned(o), *at, &cx, out)?,
                            other => return no_document(Some(&other), *at, &cx),
                        }
                    }
                }
                other => return no_document(other.as_deref(), *at, &cx),
            }
        }
        Ok(())
    }

    /// Checks all rows, so that none is written when one is wrong. Those of the first batch stay decoded if they are all;
    /// of more, only the ids are held.
    fn selected(&self, rows: Items, at: At) -> Result<NewDocuments<'_>, DqlError> {
        let (mut first, mut ids, mut weight) = (Vec::new(), Vec::new(), 0usize);
        for item in &rows {
            let fitted = weight <= BATCH_BYTES;
            weight = weight.saturating_add(item.weight());
            let document = self.row(item.into_owned(), at)?;
            if weight <= BATCH_BYTES {
                first.push(document);
                continue;
            }
            if fitted {
                ids.extend(std::mem::take(&mut first).into_iter().filter_map(|d: NewDocument<'_>| d.id));
            }
            ids.extend(document.id);
        }
        if weight <= BATCH_BYTES {
            let documents = Documents { places: vec![at; first.len()], documents: first };
            documents.refuse_duplicates(&Cx::constant(&self.bound))?;
            return Ok(NewDocuments { plan: self, first: documents.documents, rows: None });
        }
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return duplicate(at, &Cx::constant(&self.bound));
        }
        Ok(NewDocuments { plan: self, first, rows: Some((rows, 0, at)) })
    }

    /// The document that a row is.
    fn row(&self, item: Item, at: At) -> Result<NewDocument<'static>, DqlError> {
        let cx = Cx::constant(&self.bound);
        match item.into_value() {
            Value::Object(o) => self.document(Cow::Owned(o), at, &cx),
            other => no_document(Some(&other), at, &cx),
        }
    }

    fn add<'p>(
        &self,
        document: Cow<'p, Object>,
        at: At,
        cx: &Cx<'_>,
        out: &mut Documents<'p>,
    ) -> Result<(), DqlError> {
        out.documents.push(self.document(document, at, cx)?);
        out.places.push(at);
        Ok(())
    }

    fn document<'p>(
        &self,
        document: Cow<'p, Object>,
        at: At,
        cx: &Cx<'_>,
    ) -> Result<NewDocument<'p>, DqlError> {
        if document.values().any(|v| v.depth() >= MAX_DEPTH) {
            let message = format!("document is nested deeper than {MAX_DEPTH} levels");
            return cx.fail(ErrorKind::DepthLimitExceeded, message, at);
        }
        let id = match document.get("_id") {
            Some(id) => Some(DocId::new(id).or_else(|e| cx.fail(ErrorKind::DocumentId, e.to_string(), at))?),
            None => None,
        };
        check_fields(&document, self.declared(), at, cx)?;
        Ok(NewDocument { id, fields: document })
    }
}

/// The documents of an INSERT, all of them checked. Their ids differ.
pub struct NewDocuments<'p> {
    plan: &'p InsertPlan,
    /// All of them, unless there are `rows`.
    first: Vec<NewDocument<'p>>,
    /// Rows of a SELECT that are too many to be held decoded, the next one of them, and their place in the statement.
    rows: Option<(Items, usize, At)>,
}

impl<'p> NewDocuments<'p> {
    /// How many there are, those that were taken included if they are the rows of a SELECT.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.first.len(), |(rows, ..)| rows.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next of them, in order, as many as may be held decoded at a time; `None` at the end.
    ///
    /// # Errors
    ///
    /// A row of a SELECT cannot be read back from its temporary file.
    pub fn next_batch(&mut self) -> Result<Option<Vec<NewDocument<'p>>>, DqlError> {
        let Some((rows, next, at)) = &mut self.rows else {
            return Ok(Some(std::mem::take(&mut self.first)).filter(|all| !all.is_empty()));
        };
        let (mut batch, mut weight) = (Vec::new(), 0usize);
        while weight < BATCH_BYTES
            && let Some(item) = rows.get(*next)
        {
            weight = weight.saturating_add(item.weight());
            batch.push(self.plan.row(item.into_owned(), *at)?);
            *next += 1;
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// A document that an INSERT writes.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDocument<'p> {
    /// The value of `_id`, if it has one.
    pub id: Option<DocId>,
    /// All its fields, `_id` among them.
    pub fields: Cow<'p, Object>,
}

/// The documents so far, and where each stands in the statement.
#[derive(Default)]
struct Documents<'p> {
    documents: Vec<NewDocument<'p>>,
    places: Vec<At>,
}

impl Documents<'_> {
    fn refuse_duplicates(&self, cx: &Cx<'_>) -> Result<(), DqlError> {
        let named = self.documents.iter().zip(&self.places).filter_map(|(d, at)| Some((d.id.as_ref()?, *at)));
        let mut ids: Vec<(&DocId, At)> = named.collect();
        ids.sort_by_key(|(id, _)| *id);
        match ids.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => duplicate(pair[1].1, cx),
            None => Ok(()),
        }
    }
}

fn duplicate<T>(at: At, cx: &Cx<'_>) -> Result<T, DqlError> {
    cx.fail(ErrorKind::QueryExecution, "Expected unique document identifiers", at)
}

fn no_document<T>(v: Option<&Value>, at: At, cx: &Cx<'_>) -> Result<T, DqlError> {
    let message = format!("expected a document or an array of documents, found {}", shown(v));
    cx.fail(ErrorKind::NotAnObject, message, at)
}

/// Checks the declared fields that the object has. Declarations are few, so they lead.
pub(super) fn check_fields(o: &Object, declared: &TypeDecls, at: At, cx: &Cx<'_>) -> Result<(), DqlError> {
    for (name, kind, below) in declared.iter() {
        let Some(v) = o.get(name) else { continue };
        check_kind(v, kind, at, cx)?;
        if let Value::Object(inner) = v {
            check_fields(inner, below, at, cx)?;
        }
    }
    Ok(())
}
