//! Plans as values, for EXPLAIN and PROFILE: a pipeline of operators, read from the top down.
//!
//! The texts of conditions come from the statement, which is parsed again: only who asks for a plan pays for them.

mod scan;
mod texts;

use ditto_types::{Object, SmolStr, Value};

use crate::bind::{Chosen, Selecting};
use crate::eval::Cx;
use crate::exec::RunStats;
use crate::plan::{CreateIndexPlan, DropIndexPlan, Head, Plan, SelectPlan};
use texts::Texts;

/// An operator with its members.
pub(crate) struct Operator(Object);

impl Operator {
    fn new(name: &'static str) -> Self {
        Self(Object::from([("#operator".into(), Value::from(name))]))
    }

    fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(SmolStr::new_static(member), value.into());
        self
    }

    fn with_some(self, member: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(v) => self.with(member, v),
            None => self,
        }
    }

    /// Adds `#stats`; members that are 0 are left out.
    fn stats(self, rows: Option<(u64, u64)>, exec: u64, recv: u64) -> Self {
        let Some((rows_in, rows_out)) = rows else { return self };
        let counts = [("documentsIn", rows_in), ("documentsOut", rows_out)];
        let mut stats = members(&counts);
        let times = members(&[("exec", exec), ("recv", recv)]);
        if !times.is_empty() {
            stats.insert("phaseTimes".into(), times.into());
        }
        self.with("#stats", stats)
    }
}

fn members(numbers: &[(&'static str, u64)]) -> Object {
    let present = numbers.iter().filter(|(_, n)| *n != 0);
    present.map(|(name, n)| (SmolStr::new_static(name), Value::from(*n))).collect()
}

fn sequence(operators: Vec<Operator>) -> Value {
    let children = operators.into_iter().map(|o| Value::Object(o.0)).collect::<Vec<_>>();
    Value::Object(Operator::new("sequence").with("children", children).0)
}

/// The plan of a statement, with statistics after a run.
pub(crate) fn plan(plan: &Plan, stats: Option<&RunStats>) -> Value {
    match plan {
        Plan::Select(p) => sequence(select_operators(p, stats)),
        Plan::Update(p) => targets(p.chosen(), "update", stats),
        Plan::Delete(p) => targets(p.chosen(), "delete", stats),
        Plan::Evict(p) => targets(p.chosen(), "evict", stats),
        Plan::Insert(p) => {
            let mut operators = match p.rows() {
                Some(source) => select_operators(source, stats),
                None => Vec::new(),
            };
            let insert = Operator::new("insert").with("collection", p.collection());
            operators.push(written(insert.with("policy", format!("{:?}", p.policy())), stats));
            sequence(operators)
        }
        Plan::CreateIndex(p) => sequence(vec![create_index(p)]),
        Plan::DropIndex(p) => sequence(vec![drop_index(p)]),
        Plan::Profile(inner) => self::plan(inner, stats),
        Plan::Advise(p) => sequence(vec![Operator::new("advise").with("provision", !p.create.is_empty())]),
        Plan::AlterSystem(_) | Plan::Show(_) | Plan::Explain(_) | Plan::ClearHistory => sequence(Vec::new()),
    }
}

fn create_index(p: &CreateIndexPlan) -> Operator {
    let keys: Vec<Value> = p.keys.iter().map(scan::index_key).collect();
    let operator = Operator::new("createIndex").with("collection", &*p.collection).with("index", &*p.name);
    operator.with("keys", keys).with("if_not_exists", p.if_absent)
}

fn drop_index(p: &DropIndexPlan) -> Operator {
    let operator = Operator::new("dropIndex").with("collection", &*p.collection).with("index", &*p.name);
    operator.with("if_exists", p.if_present)
}

/// The operator that changes documents.
fn written(operator: Operator, stats: Option<&RunStats>) -> Operator {
    operator.stats(stats.map(|s| (s.rows, s.rows)), stats.map_or(0, |s| s.write_ns), 0)
}

/// The plan of UPDATE, DELETE and EVICT.
fn targets<T: Selecting + 'static>(
    chosen: &Chosen<T>,
    name: &'static str,
    stats: Option<&RunStats>,
) -> Value {
    let texts = Texts::of(&chosen.bound.text, &[&chosen.template.choice().head]);
    let cx = Cx::constant(&chosen.bound);
    let visited = stats.and_then(|s| s.terms.get(0)).map(|t| t.visited);
    let nanos = stats.map_or(0, |s| s.source_ns);
    let head = &chosen.template.choice().head;
    let mut out = scan::operators(head, &chosen.route, (&cx, &chosen.limits), visited, nanos);
    let rows = visited.zip(stats.map(|s| s.matched));
    out.extend(filter(&texts, rows).map(|f| f.stats(rows, stats.map_or(0, |s| s.rows_ns), 0)));
    let order = if chosen.is_ordered() { Vec::new() } else { texts.order.clone() };
    out.extend(tail(order, chosen, stats));
    out.push(written(Operator::new(name).with("collection", &*chosen.collection().name), stats));
    sequence(out)
}

fn select_operators(plan: &SelectPlan, stats: Option<&RunStats>) -> Vec<Operator> {
    let chosen = &plan.chosen;
    let template = &*chosen.template;
    let heads: Vec<&Head> = template.heads().collect();
    let texts = Texts::of(&chosen.bound.text, &heads);
    let visited = |term: usize| stats.and_then(|s| s.terms.get(term)).map(|t| t.visited);
    let kept = |term: usize| stats.and_then(|s| s.terms.get(term)).map(|t| t.kept);
    let mut out = Vec::new();
    if plan.is_count() {
        let count = scan::place(Operator::new("countScan"), &template.choice.head);
        out.push(count.stats(visited(0).map(|_| (0, 1)), stats.map_or(0, |s| s.source_ns), 0));
    } else {
        let cx = Cx::constant(&chosen.bound);
        let nanos = stats.map_or(0, |s| s.source_ns);
        out.extend(scan::operators(
            &template.choice.head,
            &chosen.route,
            (&cx, &chosen.limits),
            visited(0),
            nanos,
        ));
        for (i, (join, route)) in template.joins.iter().zip(&*plan.inner).enumerate() {
            let inner = scan::routed(&join.head, route, &heads, visited(i + 1));
            let operator = Operator::new("nlJoin")
                .with("type", if join.outer { "left" } else { "inner" })
                .with_some("condition", texts.on.get(i).cloned())
                .with("child", sequence(inner));
            out.push(operator.stats(kept(i).zip(kept(i + 1)), 0, 0));
        }
        let rows_in = visited(0).filter(|_| template.joins.is_empty()).or(kept(template.joins.len()));
        let rows = rows_in.zip(stats.map(|s| s.matched));
        out.extend(filter(&texts, rows).map(|f| match stats {
            // Everything that is done with a row, row by row.
            Some(s) => f.stats(rows, s.rows_ns, 0),
            None => f,
        }));
    }
    if template.grouping.is_some() {
        let group = Operator::new("group").with("keys", texts.group.clone());
        out.push(group.stats(stats.map(|s| (s.matched, s.groups)), stats.map_or(0, |s| s.finish_ns), 0));
        if let Some(having) = &texts.having {
            let filter = Operator::new("filter").with("condition", having.clone());
            out.push(filter.stats(stats.map(|s| (s.groups, s.projected)), 0, 0));
        }
    }
    let projection = Operator::new("projection").with("projections", texts.projection.clone());
    out.push(projection.stats(stats.map(|s| (s.projected, s.projected)), 0, 0));
    if template.distinct {
        out.push(Operator::new("distinct"));
    }
    let order = if chosen.is_ordered() { Vec::new() } else { texts.order.clone() };
    out.extend(tail(order, chosen, stats));
    out
}

fn filter(texts: &Texts, rows: Option<(u64, u64)>) -> Option<Operator> {
    let condition = texts.filter.clone()?;
    Some(Operator::new("filter").with("condition", condition).stats(rows, 0, 0))
}

/// Sorting and cutting.
fn tail<T: Selecting + 'static>(
    order: Vec<Value>,
    chosen: &Chosen<T>,
    stats: Option<&RunStats>,
) -> Vec<Operator> {
    let mut out = Vec::new();
    if !order.is_empty() {
        let sort = Operator::new("sort").with("keys", order);
        let exec = stats.filter(|_| !chosen.template.regroups()).map_or(0, |s| s.finish_ns);
        out.push(sort.stats(stats.map(|s| (s.projected, s.rows)), exec, 0));
    }
    if chosen.window.offset > 0 {
        out.push(Operator::new("offset").with("offset", chosen.window.offset));
    }
    if let Some(limit) = chosen.window.limit {
        out.push(Operator::new("limit").with("limit", limit).stats(stats.map(|s| (s.rows, s.rows)), 0, 0));
    }
    out
}
