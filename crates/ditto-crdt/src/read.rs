//! What queries see of a document.

use ditto_types::{Object, SmolStr, Stamp, Value};

use crate::doc::Doc;
use crate::leaf::{AttachmentToken, FieldKind, LeafValue, Slot};
use crate::node::Node;

/// What shows at one path.
pub(crate) enum Shown<'a> {
    Nothing,
    Map,
    Register(&'a Value),
    Other(Value),
}

impl Doc {
    /// The visible fields, without `_id`; none of a document that is not [alive](Doc::is_alive). Where a path holds several
    /// kinds of value, the newest shows.
    pub fn to_object(&self) -> Object {
        if self.is_alive() { self.root.object() } else { Object::new() }
    }

    /// The visible value at a path; `None` when there is none, or the document is not alive. The root gives all fields.
    ///
    /// It is what [`Doc::to_object`] has there.
    pub fn get(&self, path: &[SmolStr]) -> Option<Value> {
        if !self.is_alive() {
            return None;
        }
        if path.is_empty() {
            return Some(Value::Object(self.root.object()));
        }
        let mut node = &self.root;
        for (i, name) in path.iter().enumerate() {
            node = node.child(name)?;
            let inside = &path[i + 1..];
            if inside.is_empty() {
                break;
            }
            let step = |v: &Value| inside.iter().try_fold(v, |v, name| v.get(name)).cloned();
            match node.shown() {
                Shown::Map => {}
                Shown::Nothing => return None,
                // What lies below in the map is hidden.
                Shown::Register(value) => return step(value),
                Shown::Other(value) => return step(&value),
            }
        }
        node.visible()
    }

    /// The value of one declared kind at a path, also where another kind is newer; `None` when the document is not alive.
    pub fn get_as(&self, path: &[SmolStr], kind: FieldKind) -> Option<Value> {
        match kind {
            FieldKind::Inferred => self.get(path),
            kind => self.root.at(path).filter(|_| self.is_alive())?.of_kind(kind),
        }
    }
}

impl Node {
    /// The value of one kind.
    pub(crate) fn of_kind(&self, kind: FieldKind) -> Option<Value> {
        match kind {
            FieldKind::Inferred => self.visible(),
            FieldKind::Register => self.register().map(|(_, v)| v.clone()),
            FieldKind::Map => self.has_map().then(|| Value::Object(self.object())),
            FieldKind::Counter => self.counter().map(|(_, v)| v),
            FieldKind::PnCounter => self.pn_counter().map(|(_, v)| v),
            FieldKind::Attachment => self.attachment().map(|(_, t)| t.to_value()),
        }
    }

    /// The map kind: all visible fields below.
    fn object(&self) -> Object {
        self.children().iter().filter_map(|(name, n)| Some((name.clone(), n.visible()?))).collect()
    }

    fn visible(&self) -> Option<Value> {
        match self.shown() {
            Shown::Nothing => None,
            Shown::Map => Some(Value::Object(self.object())),
            Shown::Register(value) => Some(value.clone()),
            Shown::Other(value) => Some(value),
        }
    }

    /// The newest kind. Of kinds with the same stamp the later in the order of the code below shows; writes of one
    /// transaction never leave that to chance, see [`Doc::apply`].
    pub(crate) fn shown(&self) -> Shown<'_> {
        let register = self.register().map(|(stamp, v)| (stamp, Shown::Register(v)));
        if self.slots().len() == usize::from(register.is_some()) && self.children().is_empty() {
            return register.map_or(Shown::Nothing, |(_, v)| v);
        }
        let attachment = self.attachment().map(|(stamp, t)| (stamp, Shown::Other(t.to_value())));
        let counter = self.counter().map(|(stamp, v)| (stamp, Shown::Other(v)));
        let pn_counter = self.pn_counter().map(|(stamp, v)| (stamp, Shown::Other(v)));
        let others = [register, attachment, counter, pn_counter];
        match others.into_iter().flatten().max_by_key(|(stamp, _)| *stamp) {
            Some((stamp, value)) if self.map_stamp() < Some(stamp) => value,
            None if !self.has_map() => Shown::Nothing,
            _ => Shown::Map,
        }
    }

    pub(crate) fn has_map(&self) -> bool {
        self.leaf(Slot::MapMark).is_some() || self.children().iter().any(|(_, n)| n.has_leaves())
    }

    /// Newest stamp of the map kind: its mark, or anything below.
    fn map_stamp(&self) -> Option<Stamp> {
        self.leaf(Slot::MapMark).map(|l| l.stamp).max(self.newest_below())
    }

    fn register(&self) -> Option<(Stamp, &Value)> {
        // The least slot of all.
        match &self.slots().first()?.1 {
            leaf if let LeafValue::Value(v) = &leaf.value => Some((leaf.stamp, v)),
            _ => None,
        }
    }

    fn attachment(&self) -> Option<(Stamp, &AttachmentToken)> {
        let leaf = self.leaf(Slot::Att)?;
        match &leaf.value {
            LeafValue::Attachment(token) => Some((leaf.stamp, token)),
            _ => None,
        }
    }

    /// Base plus the totals that count on it, saturating at the range of `i64`.
    fn counter(&self) -> Option<(Stamp, Value)> {
        let base = self.leaf(Slot::CtrBase);
        let on = base.map(|l| l.stamp);
        let mut newest = on;
        let mut sum = match base.map(|l| &l.value) {
            Some(LeafValue::CtrBase(n)) => i128::from(*n),
            _ => 0,
        };
        for (_, leaf) in self.slots() {
            if let LeafValue::Ctr { base, total } = leaf.value {
                newest = newest.max(Some(leaf.stamp));
                if base == on {
                    sum = sum.saturating_add(total);
                }
            }
        }
        let value = sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        newest.map(|stamp| (stamp, Value::Int(value)))
    }

    fn pn_counter(&self) -> Option<(Stamp, Value)> {
        let mut newest = None;
        let mut sum = 0.0;
        for (_, leaf) in self.slots() {
            if let LeafValue::Pn(total) = leaf.value {
                newest = newest.max(Some(leaf.stamp));
                sum += total;
            }
        }
        newest.map(|stamp| (stamp, Value::Float(sum)))
    }
}
