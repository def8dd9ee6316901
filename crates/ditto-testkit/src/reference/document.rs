//! What a document keeps below its visible value: several kinds of value for one field (dql.md 3.3, 3.5, 7.3).

use std::collections::BTreeMap;

use ditto_types::{Object, Value};

/// One field, or the root. Kinds hide each other: the one written last shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    register: Option<(u64, Value)>,
    counter: Option<(u64, i64)>,
    /// When an object was assigned, even an empty one.
    mark: Option<u64>,
    children: BTreeMap<String, Node>,
}

impl Node {
    /// Assigns a value: objects merge field by field, everything else is one value.
    pub(crate) fn set(&mut self, value: &Value, now: u64) {
        match value {
            Value::Object(fields) => {
                self.mark = Some(now);
                for (name, value) in fields {
                    self.children.entry(name.to_string()).or_default().set(value, now);
                }
            }
            value => self.register = Some((now, value.clone())),
        }
    }

    /// The field at a path; created on the way.
    pub(crate) fn at(&mut self, path: &[String]) -> &mut Node {
        match path {
            [] => self,
            [name, rest @ ..] => self.children.entry(name.clone()).or_default().at(rest),
        }
    }

    /// Removes a field with all its kinds and children.
    pub(crate) fn unset(&mut self, path: &[String]) {
        match path {
            [] => {}
            [name] => drop(self.children.remove(name)),
            [name, rest @ ..] => {
                if let Some(child) = self.children.get_mut(name) {
                    child.unset(rest);
                }
            }
        }
    }

    pub(crate) fn increment(&mut self, by: i64, now: u64) {
        let (_, n) = self.counter.unwrap_or((0, 0));
        self.counter = Some((now, n + by));
    }

    pub(crate) fn restart(&mut self, with: i64, now: u64) {
        self.counter = Some((now, with));
    }

    /// When its object was written last, counting every visible kind below.
    fn object_written(&self) -> Option<u64> {
        self.children.values().filter_map(Node::written).chain(self.mark).max()
    }

    fn written(&self) -> Option<u64> {
        let register = self.register.as_ref().map(|(at, _)| *at);
        let counter = self.counter.map(|(at, _)| at);
        [register, counter, self.object_written()].into_iter().flatten().max()
    }

    /// What a statement without declarations sees.
    pub(crate) fn visible(&self) -> Option<Value> {
        let last = self.written()?;
        if self.object_written() == Some(last) {
            let fields = self.children.iter();
            let fields = fields.filter_map(|(name, node)| Some((name.as_str().into(), node.visible()?)));
            return Some(Value::Object(fields.collect::<Object>()));
        }
        match (&self.register, self.counter) {
            (Some((at, value)), _) if *at == last => Some(value.clone()),
            (_, Some((_, n))) => Some(Value::Int(n)),
            _ => None,
        }
    }
}
