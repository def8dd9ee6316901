//! ADVISE: the indexes that would serve a statement.

use std::collections::BTreeSet;

use ditto_types::{Object, Path, Value};

use crate::bind::BindContext;
use crate::catalog::{IndexDef, IndexKey, MAX_INDEX_KEYS, Namespace};
use crate::lexer::{Tok, tokenize};
use crate::lower::Template;
use crate::plan::{AdvisePlan, CreateIndexPlan, Head, Search};
use crate::planner::{Cond, FieldCond, Grade};
use crate::print::quoted;

const NO_ADVICE: &str = "no advice available for statement";
const NO_KEYS: &str = "no keys to advise on";
const OPTIMAL: &str = "optimal indexes already exist";

/// An index that a term of FROM could use, and why.
struct Advice {
    plan: CreateIndexPlan,
    reason: String,
}

/// Advice for a statement. With `provision` the plan has the indexes to create.
pub(crate) fn advise(template: &Template, text: &str, provision: bool, cx: &BindContext<'_>) -> AdvisePlan {
    let mut advice = Object::from([("statement".into(), Value::from(statement(text)))]);
    let terms = terms(template);
    let mut found: Vec<Advice> = Vec::new();
    let mut existing: Vec<Value> = Vec::new();
    for (head, search) in &terms {
        let user = head.collection.namespace == Namespace::Default;
        for a in wanted(head, search).into_iter().filter(|_| user) {
            let indexes = cx.catalog.indexes(&head.collection.name);
            // One of which is not known what it holds may be made again.
            let knows = |i: &IndexDef| i.kinds.is_some() || i.serves(&head.declared, cx.strict);
            match indexes.iter().find(|i| serves(i, &a.plan) && knows(i)) {
                Some(index) => existing.push(member(&definition(index), None)),
                None if found
                    .iter()
                    .any(|f| f.plan.keys == a.plan.keys && f.plan.collection == a.plan.collection) => {}
                None => found.push(a),
            }
        }
    }
    let outcome = if terms.is_empty() {
        Some(NO_ADVICE)
    } else if !found.is_empty() {
        None
    } else if existing.is_empty() {
        Some(NO_KEYS)
    } else {
        Some(OPTIMAL)
    };
    let suggested = found.iter().map(|a| member(&a.plan, Some(&a.reason))).collect();
    advice.insert("suggestedIndexes".into(), Value::Array(suggested));
    if !existing.is_empty() {
        advice.insert("existingIndexes".into(), Value::Array(existing));
    }
    if let Some(outcome) = outcome {
        advice.insert("outcome".into(), Value::from(outcome));
    }
    let create = if provision { found.into_iter().map(|a| a.plan).collect() } else { Vec::new() };
    AdvisePlan { row: Value::Object(Object::from([("advice".into(), Value::Object(advice))])), create }
}

/// The statement that the advice is for, as it was written.
fn statement(text: &str) -> &str {
    let words = ["EXPLAIN", "ADVISE", "AND", "PROVISION"];
    let tokens = tokenize(text).map(|t| t.tokens).unwrap_or_default();
    let prefix = |word: &str| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    let first = tokens.iter().find(|t| t.tok != Tok::Word || !prefix(t.span.text(text)));
    let from = first.map_or(0, |t| t.span.start as usize);
    text.get(from..).unwrap_or(text).trim().trim_end_matches(';').trim_end()
}

/// The terms of the statement for which indexes can be advised.
fn terms(template: &Template) -> Vec<(&Head, &Search)> {
    match template {
        Template::Select(t) => t.terms().collect(),
        Template::Insert(t) => t.rows().map(|t| t.terms().collect()).unwrap_or_default(),
        other => other.choice().map(|c| (&c.head, &c.search)).into_iter().collect(),
    }
}

/// One index for each alternative of the condition.
fn wanted(head: &Head, search: &Search) -> Vec<Advice> {
    let alternatives: Vec<&Cond> = match &search.condition {
        Cond::Any(parts) => parts.iter().collect(),
        whole => vec![whole],
    };
    let alone = alternatives.len() == 1;
    // An order is that of a single index.
    let order = if alone { search.order.as_slice() } else { &[] };
    alternatives.into_iter().filter_map(|c| index(head, c, order)).collect()
}

fn index(head: &Head, condition: &Cond, order: &[(Path, bool)]) -> Option<Advice> {
    let parts = match condition {
        Cond::All(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    let fields: Vec<&FieldCond> = parts
        .iter()
        .filter_map(|p| match p {
            Cond::Field(f) => Some(&**f),
            _ => None,
        })
        .collect();
    let is_id = |path: &Path| matches!(path.names(), [name] if name == "_id");
    if fields.iter().any(|f| is_id(&f.path) && f.grade >= Grade::Points) {
        return None;
    }
    let of = |wanted: fn(Grade) -> bool| -> BTreeSet<&Path> {
        fields.iter().filter(|f| wanted(f.grade)).map(|f| &f.path).collect()
    };
    let equal = of(|g| g >= Grade::Points);
    let ranges = of(|g| g == Grade::Range || g == Grade::Unequal);
    let mut keys: Vec<IndexKey> = Vec::new();
    let mut add = |path: &Path, descending: bool| {
        if keys.len() < MAX_INDEX_KEYS && !keys.iter().any(|k| k.path == *path) {
            keys.push(IndexKey { path: path.clone(), descending, include_missing: true });
        }
    };
    for path in &equal {
        add(path, false);
    }
    for path in &ranges {
        // A range in the direction of the order gives both.
        let descending = order.iter().any(|(p, descending)| p == *path && *descending);
        add(path, descending);
    }
    for (path, descending) in order {
        add(path, *descending);
    }
    let list = |paths: &mut dyn Iterator<Item = &Path>| paths.map(shown).collect::<Vec<_>>().join(", ");
    let mut reasons = Vec::new();
    for (what, paths) in [("equality", &equal), ("range", &ranges)] {
        if !paths.is_empty() {
            reasons.push(format!("{what} predicates on {}", list(&mut paths.iter().copied())));
        }
    }
    if !order.is_empty() {
        reasons.push(format!("order by on {}", list(&mut order.iter().map(|(p, _)| p))));
    }
    if keys.is_empty() {
        return None;
    }
    let collection = head.collection.name.clone();
    let names = keys.iter().flat_map(|k| k.path.names()).map(|n| n.as_str());
    let name = ["adv", &collection].into_iter().chain(names).collect::<Vec<_>>().join("_").into();
    Some(Advice {
        plan: CreateIndexPlan { collection, name, if_absent: true, keys },
        reason: reasons.join("; "),
    })
}

/// Whether an index does what the advised one would: it begins with its keys, in the same direction or all reversed.
fn serves(index: &IndexDef, wanted: &CreateIndexPlan) -> bool {
    let pairs = || wanted.keys.iter().zip(&index.keys);
    let turned = pairs().next().is_some_and(|(w, k)| w.descending != k.descending);
    index.keys.len() >= wanted.keys.len()
        && pairs()
            .all(|(w, k)| w.path == k.path && k.include_missing && (w.descending != k.descending) == turned)
}

fn definition(index: &IndexDef) -> CreateIndexPlan {
    CreateIndexPlan {
        collection: index.collection.clone(),
        name: index.name.clone(),
        if_absent: true,
        keys: index.keys.clone(),
    }
}

fn member(plan: &CreateIndexPlan, reason: Option<&str>) -> Value {
    let mut out = Object::from([
        ("collection".into(), Value::from(plan.collection.as_str())),
        ("statement".into(), Value::from(create_text(plan))),
    ]);
    if let Some(reason) = reason {
        out.insert("reason".into(), Value::from(reason));
    }
    Value::Object(out)
}

fn create_text(plan: &CreateIndexPlan) -> String {
    let bare = plan.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && plan.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let name = if bare { plan.name.to_string() } else { quoted(&plan.name) };
    let key = |k: &IndexKey| {
        let missing = if k.include_missing { "" } else { " EXCLUDE MISSING" };
        format!("{} {}{missing}", shown(&k.path), if k.descending { "DESC" } else { "ASC" })
    };
    let keys = plan.keys.iter().map(key).collect::<Vec<_>>().join(", ");
    format!("CREATE INDEX IF NOT EXISTS {name} ON default:{} ({keys})", quoted(&plan.collection))
}

fn shown(path: &Path) -> String {
    path.names().iter().map(|n| quoted(n)).collect::<Vec<_>>().join(".")
}
