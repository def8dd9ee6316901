//! What queries see of a document.

use std::collections::BTreeMap;

use ditto_types::{Object, Path, SmolStr, Stamp, Value};

use crate::doc::Doc;
use crate::leaf::{AttachmentToken, FieldKind, Leaf, LeafValue, Slot};

/// The slots at one path and what lies below it.
#[derive(Default)]
struct Node<'a> {
    slots: Vec<(Slot, &'a Leaf)>,
    children: BTreeMap<&'a SmolStr, Node<'a>>,
}

impl Doc {
    /// The visible fields, without `_id`. Where a path holds several kinds of value, the newest shows.
    pub fn to_object(&self) -> Object {
        let root = Path::root();
        self.tree(&root).children_object()
    }

    /// The visible value at a path; `None` when there is none. The root gives all fields.
    pub fn get(&self, path: &[SmolStr]) -> Option<Value> {
        if path.is_empty() {
            return Some(Value::Object(self.to_object()));
        }
        let at = Path::from(path.to_vec());
        match self.tree(&at).visible() {
            Some(value) if !self.is_hidden(path) => Some(value),
            // A newer register above hides what lies below it, and may have such a field itself.
            _ => self.inside_register(path),
        }
    }

    /// The value of one declared kind at a path.
    pub fn get_as(&self, path: &[SmolStr], kind: FieldKind) -> Option<Value> {
        let at = Path::from(path.to_vec());
        let node = self.tree(&at);
        match kind {
            FieldKind::Inferred => self.get(path),
            FieldKind::Register => node.register(),
            FieldKind::Map => node.map_stamp().map(|_| Value::Object(node.children_object())),
            FieldKind::Counter => node.counter().map(|(_, v)| v),
            FieldKind::PnCounter => node.pn_counter().map(|(_, v)| v),
            FieldKind::Attachment => node.attachment().map(|(_, v)| v),
        }
    }

    /// Slots at `path` and everything below.
    fn tree<'a>(&'a self, path: &'a Path) -> Node<'a> {
        let mut root = Node::default();
        for ((p, slot), leaf) in self.below(path) {
            let node =
                p.names()[path.len()..].iter().fold(&mut root, |n, name| n.children.entry(name).or_default());
            node.slots.push((*slot, leaf));
        }
        root
    }

    /// Whether at some ancestor another kind than the map is the newest.
    fn is_hidden(&self, path: &[SmolStr]) -> bool {
        (1..path.len()).any(|n| {
            let at = Path::from(path[..n].to_vec());
            let node = self.tree(&at);
            !node.shows_map()
        })
    }

    /// A value inside an object that is a register.
    fn inside_register(&self, path: &[SmolStr]) -> Option<Value> {
        (1..path.len()).rev().find_map(|n| {
            let at = Path::from(path[..n].to_vec());
            let visible = self.tree(&at).visible()?;
            if self.is_hidden(&path[..n]) {
                return None;
            }
            path[n..].iter().try_fold(&visible, |v, name| v.get(name)).cloned()
        })
    }
}

impl Node<'_> {
    fn children_object(&self) -> Object {
        self.children.iter().filter_map(|(name, n)| Some(((*name).clone(), n.visible()?))).collect()
    }

    /// The newest kind's value.
    fn visible(&self) -> Option<Value> {
        // The common case: one register and nothing else.
        if let ([(Slot::Reg, Leaf { value: LeafValue::Value(v), .. })], true) =
            (self.slots.as_slice(), self.children.is_empty())
        {
            return Some(v.clone());
        }
        let map = self.map_stamp();
        let others = [self.register_stamped(), self.attachment(), self.counter(), self.pn_counter()];
        let newest = others.into_iter().flatten().max_by_key(|(stamp, _)| *stamp);
        match (map, newest) {
            (Some(map), Some((stamp, _))) if map >= stamp => Some(Value::Object(self.children_object())),
            (_, Some((_, value))) => Some(value),
            (Some(_), None) => Some(Value::Object(self.children_object())),
            (None, None) => None,
        }
    }

    fn shows_map(&self) -> bool {
        let others = [self.register_stamped(), self.attachment(), self.counter(), self.pn_counter()];
        let newest = others.into_iter().flatten().map(|(stamp, _)| stamp).max();
        self.map_stamp() >= newest
    }

    /// Newest stamp of the map kind: its mark, or anything below.
    fn map_stamp(&self) -> Option<Stamp> {
        let mark = self.slots.iter().filter(|(s, _)| *s == Slot::MapMark).map(|(_, l)| l.stamp).max();
        mark.max(self.children.values().filter_map(Node::newest).max())
    }

    fn newest(&self) -> Option<Stamp> {
        let own = self.slots.iter().map(|(_, l)| l.stamp).max();
        own.max(self.children.values().filter_map(Node::newest).max())
    }

    fn register(&self) -> Option<Value> {
        self.register_stamped().map(|(_, v)| v)
    }

    fn register_stamped(&self) -> Option<(Stamp, Value)> {
        self.slots.iter().find_map(|(_, l)| match &l.value {
            LeafValue::Value(v) => Some((l.stamp, v.clone())),
            _ => None,
        })
    }

    fn attachment(&self) -> Option<(Stamp, Value)> {
        self.slots.iter().find_map(|(_, l)| match &l.value {
            LeafValue::Attachment(t) => Some((l.stamp, t.to_value())),
            _ => None,
        })
    }

    /// Base plus the totals that count on it, saturating at the range of `i64`.
    fn counter(&self) -> Option<(Stamp, Value)> {
        let mut newest = None;
        let mut base = None;
        let mut sum = 0i128;
        for (_, leaf) in &self.slots {
            if let LeafValue::CtrBase(n) = leaf.value {
                newest = newest.max(Some(leaf.stamp));
                base = Some(leaf.stamp);
                sum = n.into();
            }
        }
        for (_, leaf) in &self.slots {
            if let LeafValue::Ctr { base: on, total } = leaf.value {
                newest = newest.max(Some(leaf.stamp));
                if on == base {
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
        for (_, leaf) in &self.slots {
            if let LeafValue::Pn(total) = leaf.value {
                newest = newest.max(Some(leaf.stamp));
                sum += total;
            }
        }
        newest.map(|stamp| (stamp, Value::Float(sum)))
    }
}

impl AttachmentToken {
    /// The token as a query shows it: `{id, len, metadata}`, the id in lower-case hexadecimal.
    pub fn to_value(&self) -> Value {
        let id: String = self.hash.iter().map(|b| format!("{b:02x}")).collect();
        let metadata = self.metadata.iter().map(|(k, v)| (k.clone(), Value::Str(v.clone()))).collect();
        Value::Object(Object::from([
            (SmolStr::new_static("id"), Value::from(id)),
            (SmolStr::new_static("len"), Value::from(self.len)),
            (SmolStr::new_static("metadata"), Value::Object(metadata)),
        ]))
    }

    /// Reads what [`AttachmentToken::to_value`] gives; `None` for anything else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let fields = value.as_object().filter(|o| o.len() == 3)?;
        let id = fields.get("id")?.as_str().filter(|id| id.len() == 64 && id.is_ascii())?;
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(id.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let len = match fields.get("len")? {
            Value::Int(n) => u64::try_from(*n).ok()?,
            Value::UInt(n) => *n,
            _ => return None,
        };
        let metadata = fields.get("metadata")?.as_object()?;
        let metadata = metadata.iter().map(|(k, v)| Some((k.clone(), SmolStr::new(v.as_str()?))));
        Some(Self { hash, len, metadata: metadata.collect::<Option<_>>()? })
    }
}
