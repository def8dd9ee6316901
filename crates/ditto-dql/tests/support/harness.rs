//! Documents in memory and short ways to run statements on them.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each file uses its part")]

use std::sync::Arc;

use ditto_dql::{
    BindContext, CollectionRef, DqlError, Env, Plan, Row, RunContext, SelectPlan, Source, TermScan, prepare,
};
use ditto_types::{DocId, Object, SmolStr, Value, json};

/// A document and its id.
pub(crate) struct Doc(pub(crate) Object, DocId);

impl Doc {
    /// The id is the field `_id`, or 0 when that is none.
    pub(crate) fn new(fields: Object) -> Self {
        let id = fields.get("_id").and_then(|id| DocId::new(id).ok());
        let id = id.unwrap_or_else(|| DocId::new(&Value::Int(0)).unwrap());
        Self(fields, id)
    }
}

impl Row for Doc {
    fn id(&self) -> &DocId {
        &self.1
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(first)?, |v, name| v.get(name)).cloned()
    }

    fn document(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

/// The same documents in every collection.
pub(crate) struct Docs<'a>(pub(crate) &'a [Doc]);

impl Source for Docs<'_> {
    type Error = DqlError;

    fn visit(
        &self,
        _: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        for d in self.0 {
            if !visit(d)? {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, _: &CollectionRef) -> Result<u64, DqlError> {
        Ok(self.0.len() as u64)
    }
}

/// Result rows of a plan.
pub(crate) fn run(plan: &SelectPlan, docs: &[Doc]) -> Result<Vec<Value>, DqlError> {
    let rows = plan.run(&Docs(docs), &RunContext::default())?;
    Ok(rows.iter().map(|i| i.value()).collect())
}

pub(crate) fn value(text: &str) -> Value {
    json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub(crate) fn object(text: &str) -> Object {
    match value(text) {
        Value::Object(o) => o,
        v => panic!("no object: {v:?}"),
    }
}

/// Documents of a JSON array.
pub(crate) fn docs(text: &str) -> Vec<Doc> {
    match value(text) {
        Value::Array(a) => a.into_iter().map(|v| Doc::new(v.as_object().unwrap().clone())).collect(),
        v => panic!("no array: {v:?}"),
    }
}

pub(crate) fn bind(text: &str, args: &str) -> Result<Plan, DqlError> {
    prepare(text)?.bind(&object(args), &BindContext::bare())
}

pub(crate) fn try_select(text: &str, args: &str, docs: &[Doc]) -> Result<Vec<Value>, DqlError> {
    let Plan::Select(plan) = bind(text, args)? else { panic!("no SELECT: {text}") };
    run(&plan, docs)
}

/// Result rows as JSON text.
pub(crate) fn select(text: &str, args: &str, docs: &[Doc]) -> String {
    match try_select(text, args, docs) {
        Ok(rows) => json::to_string(&Value::Array(rows)),
        Err(e) => panic!("{text}: {e}"),
    }
}

/// The ids that UPDATE, DELETE or EVICT choose, as JSON text.
pub(crate) fn targets(text: &str, args: &str, docs: &[Doc]) -> String {
    let plan = bind(text, args).unwrap_or_else(|e| panic!("{text}: {e}"));
    let (docs, cx) = (Docs(docs), RunContext::default());
    let keep = |row: &dyn Row| Ok(row.id().to_value());
    let ids = match &plan {
        Plan::Update(p) => p.targets(&docs, &cx, keep),
        Plan::Delete(p) | Plan::Evict(p) => p.targets(&docs, &cx, keep),
        p => panic!("{p:?}"),
    };
    json::to_string(&Value::Array(ids.unwrap()))
}

/// An expression on a document with arguments: JSON text, or `MISSING`.
pub(crate) fn eval_with(expr: &str, args: &str, doc: &str) -> String {
    let text = format!("SELECT {expr} AS x FROM c");
    let rows = try_select(&text, args, &[Doc::new(object(doc))]).unwrap_or_else(|e| panic!("{expr}: {e}"));
    rows[0].get("x").map_or("MISSING".to_owned(), json::to_string)
}

/// An expression on an empty document in given surroundings: JSON text, or `MISSING`.
pub(crate) fn eval_in(expr: &str, env: Env) -> String {
    let cx = BindContext { env: Arc::new(env), ..BindContext::bare() };
    let plan = prepare(&format!("SELECT {expr} AS x FROM c")).and_then(|p| p.bind(&Object::new(), &cx));
    let Ok(Plan::Select(plan)) = plan else { panic!("{expr}") };
    let rows = run(&plan, &docs("[{}]")).unwrap_or_else(|e| panic!("{expr}: {e}"));
    rows[0].get("x").map_or("MISSING".to_owned(), json::to_string)
}

pub(crate) fn eval(expr: &str) -> String {
    eval_with(expr, "{}", "{}")
}

/// Checks rows of `expression => result`; the document has the fields that the tables name.
pub(crate) fn check_table(doc: &str, args: &str, table: &[(&str, &str)]) {
    for (expr, want) in table {
        assert_eq!(eval_with(expr, args, doc), *want, "{expr}");
    }
}

/// `message @line:column` of the error that preparing and binding the statement gives.
pub(crate) fn error(text: &str) -> String {
    error_with(text, "{}")
}

pub(crate) fn error_with(text: &str, args: &str) -> String {
    match bind(text, args) {
        Ok(_) => "no error".to_owned(),
        Err(e) => describe(&e),
    }
}

pub(crate) fn describe(e: &DqlError) -> String {
    match e.position() {
        Some(p) => format!("{} | {} @{}:{}", e.kind(), e.message(), p.line, p.column),
        None => format!("{} | {}", e.kind(), e.message()),
    }
}
