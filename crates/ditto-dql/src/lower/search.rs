//! What the parts of a SELECT say about its terms: which conditions can be tested when, and which fields are read.

use std::collections::BTreeSet;

use ditto_types::{Path, Value};

use crate::plan::{Output, OutputItem, SelectTemplate};
use crate::scalar::Scalar;

/// The conditions of which WHERE is the conjunction, by the last term that each one needs.
pub(super) fn by_term(filter: Option<&Scalar>, joins: usize) -> Vec<Vec<Scalar>> {
    let mut out = vec![Vec::new(); joins + 1];
    if let Some(f) = filter {
        split(f, &mut out);
    }
    out
}

fn split(s: &Scalar, out: &mut [Vec<Scalar>]) {
    match s {
        Scalar::And(items) => items.iter().for_each(|e| split(e, out)),
        Scalar::Const(Value::Bool(true)) => {}
        s => {
            let term = last_term(s);
            if let Some(conditions) = out.get_mut(term) {
                conditions.push(s.clone());
            }
        }
    }
}

fn last_term(s: &Scalar) -> usize {
    let mut last = match s {
        Scalar::Field(term, _) | Scalar::Document(term) => *term,
        _ => 0,
    };
    s.parts(&mut |part| last = last.max(last_term(part)));
    last
}

/// Fields of each term; `None` for whole documents.
struct Needed(Vec<Option<BTreeSet<Path>>>);

impl Needed {
    fn add(&mut self, s: &Scalar) {
        match s {
            Scalar::Field(term, path) => {
                if let Some(Some(paths)) = self.0.get_mut(*term) {
                    paths.insert(Path::new(path.iter().cloned()));
                }
            }
            Scalar::Document(term) => self.whole(*term),
            _ => s.parts(&mut |part| self.add(part)),
        }
    }

    fn whole(&mut self, term: usize) {
        if let Some(paths) = self.0.get_mut(term) {
            *paths = None;
        }
    }
}

/// Notes in the template which fields it reads.
pub(super) fn note_needs(t: &mut SelectTemplate) {
    let mut needed = Needed(vec![Some(BTreeSet::new()); t.joins.len() + 1]);
    t.choice.filter.iter().for_each(|s| needed.add(s));
    t.joins.iter().for_each(|j| needed.add(&j.on));
    match &t.output {
        Output::Wildcard => (0..=t.joins.len()).for_each(|term| needed.whole(term)),
        Output::Items(items) => {
            for item in items {
                match item {
                    OutputItem::Spread(term) => needed.whole(*term),
                    OutputItem::Remove(_) => {}
                    OutputItem::Value(_, s) => needed.add(s),
                }
            }
        }
    }
    if let Some(g) = &t.grouping {
        g.keys.iter().chain(g.aggregates.iter().filter_map(|a| a.arg.as_ref())).for_each(|s| needed.add(s));
    }
    t.choice.tail.order.iter().for_each(|o| needed.add(&o.key));
    let mut terms = needed.0.into_iter().map(|paths| paths.map(|p| p.into_iter().collect::<Vec<Path>>()));
    t.choice.search.needs = terms.next().flatten();
    for (join, paths) in t.joins.iter_mut().zip(terms) {
        join.search.needs = paths;
    }
}
