//! INSERT, UPDATE, DELETE and EVICT.

use ditto_types::Value;

use crate::reference::database::{Database, document};
use crate::reference::document::Node;
use crate::reference::expr::{Expr, Scope};
use crate::reference::operators::{equal, is_true};
use crate::reference::order::{Number, number};
use crate::reference::outcome::{Outcome, Rows};
use crate::reference::select::{Projection, Select, SortKey, check_projection, project};

/// INSERT.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// Name of the collection.
    pub collection: String,
    /// The documents.
    pub source: InsertSource,
    /// ON ID CONFLICT.
    pub policy: Policy,
    /// RETURNING.
    pub returning: Option<Projection>,
}

/// Where inserted documents come from.
#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    /// `DOCUMENTS (…), (…)`: objects, or arrays of objects.
    Documents(Vec<Expr>),
    /// A SELECT that projects `_id`.
    Select(Box<Select>),
}

/// What happens when an inserted id exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Policy {
    Fail,
    Nothing,
    Update,
    UpdateLocalDiff,
}

/// UPDATE.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Name of the collection.
    pub collection: String,
    /// APPLY.
    pub apply: Vec<(Vec<String>, Apply)>,
    /// SET.
    pub set: Vec<(Vec<String>, Expr)>,
    /// UNSET.
    pub unset: Vec<Vec<String>>,
    /// Which documents.
    pub tail: Tail,
    /// RETURNING.
    pub returning: Option<Projection>,
}

/// Operations of APPLY.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    /// INCREMENT BY
    Increment(Expr),
    /// `RESTART`, with or without `WITH`.
    Restart(Option<Expr>),
}

/// DELETE or EVICT.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// EVICT.
    pub evict: bool,
    /// Name of the collection.
    pub collection: String,
    /// Which documents.
    pub tail: Tail,
    /// RETURNING.
    pub returning: Option<Projection>,
}

/// The documents of a collection that a mutation is about. With a limit the sort keys have to be unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    /// USE IDS LIST.
    pub ids: Option<Vec<Value>>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<SortKey>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// OFFSET.
    pub offset: Option<u64>,
}

impl Tail {
    /// The ids it chooses.
    fn choose(&self, db: &Database, collection: &str) -> Vec<Value> {
        let mut chosen = Vec::new();
        for document in db.documents(collection) {
            let id = document.get("_id").cloned().unwrap_or(Value::Null);
            if self.ids.as_ref().is_some_and(|ids| !ids.iter().any(|i| equal(i, &id))) {
                continue;
            }
            let row = [(collection.to_owned(), Some(document))];
            let scope = Scope::of_row(&row);
            if self.filter.as_ref().is_none_or(|f| is_true(f.value(&scope).as_ref())) {
                chosen.push((self.order_by.iter().map(|k| k.by.value(&scope)).collect(), id));
            }
        }
        let descending: Vec<bool> = self.order_by.iter().map(|k| k.descending).collect();
        Rows::new(chosen, &descending, self.limit, self.offset, false).any()
    }
}

/// Documents for RETURNING.
fn returned(projection: &Option<Projection>, collection: &str, documents: Vec<Value>) -> Rows {
    let Some(projection) = projection else { return Rows::none() };
    let rows: Vec<_> = documents.into_iter().map(|d| vec![(collection.to_owned(), Some(d))]).collect();
    Rows::new(project(projection, &rows, &[], None, &[]), &[], None, None, false)
}

fn check_returning(projection: &Option<Projection>) -> Result<(), String> {
    projection.as_ref().map_or(Ok(()), |p| check_projection(p, &[], &None))
}

impl Insert {
    pub(crate) fn run(&self, db: &mut Database) -> Result<Outcome, String> {
        check_returning(&self.returning)?;
        let mut documents = Vec::new();
        match &self.source {
            InsertSource::Documents(list) => {
                for e in list {
                    match e.value(&Scope::of_row(&[])) {
                        Some(Value::Array(items)) => documents.extend(items),
                        Some(v) => documents.push(v),
                        None => return Err("the document is missing".to_owned()),
                    }
                }
            }
            InsertSource::Select(select) => documents = select.run(db)?.any(),
        }
        let mut ids: Vec<Value> = Vec::new();
        for document in &documents {
            let Value::Object(fields) = document else { return Err("no object".to_owned()) };
            let id = fields.get("_id").cloned().ok_or("the reference evaluator makes no ids")?;
            check_id(&id)?;
            if ids.contains(&id) {
                return Err("Expected unique document identifiers".to_owned());
            }
            ids.push(id);
        }
        let now = db.now;
        let stored = db.stored(&self.collection);
        if self.policy == Policy::Fail
            && let Some((id, _)) = stored.iter().find(|(id, _)| ids.contains(id))
        {
            return Err(format!("Identifier conflict on document {id:?}: using FAIL conflict policy"));
        }
        let mut written = Vec::new();
        for (id, value) in ids.into_iter().zip(&documents) {
            let value = without_id(value);
            match stored.iter_mut().find(|(known, _)| *known == id) {
                None => {
                    let mut root = Node::default();
                    root.set(&value, now);
                    stored.push((id.clone(), root));
                }
                Some((_, root)) => match self.policy {
                    Policy::Update => root.set(&value, now),
                    Policy::UpdateLocalDiff => {
                        let before = root.visible();
                        let different = difference(&value, before.as_ref());
                        match different {
                            Some(different) => root.set(&different, now),
                            None => continue,
                        }
                    }
                    Policy::Nothing | Policy::Fail => continue,
                },
            }
            written.push(id);
        }
        let documents = shown(db, &self.collection, &written);
        Ok(Outcome::Mutation { ids: written, rows: returned(&self.returning, &self.collection, documents) })
    }
}

fn without_id(value: &Value) -> Value {
    let mut fields = value.as_object().cloned().unwrap_or_default();
    fields.remove("_id");
    Value::Object(fields)
}

/// The leaves of `value` that `before` does not show; `None` when it shows all.
fn difference(value: &Value, before: Option<&Value>) -> Option<Value> {
    match (value, before) {
        (Value::Object(fields), Some(Value::Object(known))) => {
            let different =
                fields.iter().filter_map(|(name, v)| Some((name.clone(), difference(v, known.get(name))?)));
            let different: ditto_types::Object = different.collect();
            (!different.is_empty()).then_some(Value::Object(different))
        }
        (value, before) => (before != Some(value)).then(|| value.clone()),
    }
}

/// The rules of dql.md 3.2.
fn check_id(id: &Value) -> Result<(), String> {
    fn no_float(v: &Value) -> bool {
        match v {
            Value::Float(_) => false,
            Value::Array(items) => items.iter().all(no_float),
            Value::Object(fields) => fields.values().all(no_float),
            _ => true,
        }
    }
    if *id == Value::Null {
        return Err("Null document ID not allowed".to_owned());
    }
    if no_float(id) { Ok(()) } else { Err("Floats are not supported in document IDs".to_owned()) }
}

/// The documents of these ids.
fn shown(db: &mut Database, collection: &str, ids: &[Value]) -> Vec<Value> {
    let stored = db.stored(collection);
    stored.iter().filter(|(id, _)| ids.contains(id)).map(|(id, root)| document(id, root)).collect()
}

impl Update {
    pub(crate) fn run(&self, db: &mut Database) -> Result<Outcome, String> {
        check_returning(&self.returning)?;
        let mut paths: Vec<&Vec<String>> = Vec::new();
        let all = self.apply.iter().map(|(p, _)| p).chain(self.set.iter().map(|(p, _)| p)).chain(&self.unset);
        for path in all {
            if path[0] == "_id" {
                return Err("The document id `_id` cannot be modified".to_owned());
            }
            if paths.contains(&path) {
                return Err(format!("More than one modification specified for the path {path:?}"));
            }
            paths.push(path);
        }
        if paths.is_empty() {
            return Err("Missing SET and/or UNSET clause".to_owned());
        }
        let ids = self.tail.choose(db, &self.collection);
        let now = db.now;
        let mut changed = Vec::new();
        for (id, root) in db.stored(&self.collection).iter().filter(|(id, _)| ids.contains(id)) {
            let row = [(self.collection.clone(), Some(document(id, root)))];
            let scope = Scope::of_row(&row);
            let mut after = root.clone();
            for (path, apply) in &self.apply {
                match apply {
                    Apply::Increment(e) => after.at(path).increment(whole(e, &scope)?, now),
                    Apply::Restart(e) => {
                        let with = e.as_ref().map_or(Ok(0), |e| whole(e, &scope))?;
                        after.at(path).restart(with, now);
                    }
                }
            }
            for (path, e) in &self.set {
                // A MISSING value leaves the field as it is (docs/dql.md).
                if let Some(value) = e.value(&scope) {
                    after.at(path).set(&value, now);
                }
            }
            for path in &self.unset {
                after.unset(path);
            }
            changed.push((id.clone(), after));
        }
        let stored = db.stored(&self.collection);
        for (id, after) in changed {
            if let Some((_, root)) = stored.iter_mut().find(|(known, _)| *known == id) {
                *root = after;
            }
        }
        let documents = shown(db, &self.collection, &ids);
        Ok(Outcome::Mutation { ids, rows: returned(&self.returning, &self.collection, documents) })
    }
}

fn whole(e: &Expr, scope: &Scope<'_>) -> Result<i64, String> {
    let value = e.value(scope);
    match value.as_ref().and_then(number) {
        Some(Number::Whole(i)) => i64::try_from(i).map_err(|_| "too large".to_owned()),
        _ => Err(format!("Expected {value:?} to be an integer value")),
    }
}

impl Delete {
    pub(crate) fn run(&self, db: &mut Database) -> Result<Outcome, String> {
        check_returning(&self.returning)?;
        let ids = self.tail.choose(db, &self.collection);
        let before = shown(db, &self.collection, &ids);
        db.stored(&self.collection).retain(|(id, _)| !ids.contains(id));
        Ok(Outcome::Mutation { ids, rows: returned(&self.returning, &self.collection, before) })
    }
}
