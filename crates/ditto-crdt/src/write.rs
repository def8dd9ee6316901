//! Local writes.

use std::collections::btree_map::Entry;

use ditto_types::{MAX_DEPTH, Object, Path, SiteId, Stamp, Value};

use crate::doc::Doc;
use crate::leaf::{AttachmentToken, FieldKind, Leaf, LeafValue, Slot, Tomb};

/// One local write. The operations of a transaction are applied in order with the same stamp.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// INSERT: the document exists from now on. Fields are written by [`Op::Set`].
    Create,
    /// Writes a field. Other kinds of value at the path stay, hidden behind the newest.
    Set {
        /// Where.
        path: Path,
        /// What.
        value: Value,
        /// As what.
        kind: FieldKind,
    },
    /// Removes everything at and below a path that is here; concurrent newer writes survive.
    Unset {
        /// Where.
        path: Path,
    },
    /// Removes the document. A concurrent update does not bring it back; a later [`Op::Create`] does.
    Delete,
    /// Adds to a counter, which starts at 0 if it is not there.
    Increment {
        /// Where.
        path: Path,
        /// How much.
        by: i64,
    },
    /// Sets a counter and discards the increments that were made on top of the old base.
    Restart {
        /// Where.
        path: Path,
        /// New value.
        to: i64,
    },
    /// Adds to a legacy PN counter.
    PnIncrement {
        /// Where.
        path: Path,
        /// How much.
        by: f64,
    },
}

/// Why a write is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The root itself cannot be written.
    #[error("a path is needed")]
    NoPath,
    /// The value does not fit the declared kind of the field.
    #[error("field {path}: expected {expected}, got {found}")]
    WrongKind {
        /// Path of the field.
        path: String,
        /// What the kind holds.
        expected: &'static str,
        /// Type of the value.
        found: &'static str,
    },
    /// The field would be nested deeper than [`MAX_DEPTH`].
    #[error("field {0} is nested deeper than {MAX_DEPTH} levels")]
    TooDeep(String),
}

/// A place in the order above everything that a transaction could have seen, and below what it writes itself: the
/// transaction's time, which is above every time it has seen, and the least of all sites, which never writes then.
fn just_before(stamp: Stamp) -> Stamp {
    Stamp { hlc: stamp.hlc, site: SiteId::ZERO }
}

impl Doc {
    /// Applies one local write.
    ///
    /// The time of `stamp` must be newer than every time in the document, as [`ditto_types::HlcClock`] gives it out; all
    /// writes of a transaction share it. INITIAL documents use [`Stamp::ZERO`] on an empty document.
    pub fn apply(&mut self, op: &Op, stamp: Stamp) -> Result<(), OpError> {
        match op {
            Op::Create => self.create(stamp),
            Op::Delete => self.delete(stamp),
            Op::Set { path, value, kind } => {
                let depth = path.len() + value.depth();
                if depth > MAX_DEPTH {
                    return Err(OpError::TooDeep(path.to_string()));
                }
                self.set(non_root(path)?, value, *kind, stamp)?;
            }
            Op::Unset { path } => self.unset(non_root(path)?, stamp),
            Op::Increment { path, by } => self.increment(non_root(path)?, (*by).into(), stamp),
            Op::Restart { path, to } => {
                self.put(non_root(path)?, Slot::CtrBase, LeafValue::CtrBase(*to), stamp)
            }
            Op::PnIncrement { path, by } => self.pn_increment(non_root(path)?, *by, stamp),
        }
        Ok(())
    }

    /// A new document with these fields: [`Op::Create`] and an inferred [`Op::Set`] of each.
    pub fn fresh(fields: &Object, stamp: Stamp) -> Doc {
        let mut doc = Doc::default();
        doc.create(stamp);
        for (name, value) in fields {
            doc.put_inferred(Path::root().child(name.clone()), value, stamp);
        }
        doc
    }

    fn create(&mut self, stamp: Stamp) {
        if self.dead == Some(stamp) {
            // Deleted earlier in the same transaction.
            self.dead = Some(just_before(stamp));
        }
        self.born = self.born.max(Some(stamp));
    }

    fn delete(&mut self, stamp: Stamp) {
        self.dead = self.dead.max(Some(stamp));
        self.normalise();
    }

    fn set(&mut self, path: &Path, value: &Value, kind: FieldKind, stamp: Stamp) -> Result<(), OpError> {
        let wrong =
            |expected| Err(OpError::WrongKind { path: path.to_string(), expected, found: value.type_name() });
        match (kind, value) {
            (FieldKind::Inferred, _) => self.put_inferred(path.clone(), value, stamp),
            (FieldKind::Register, _) => self.put(path, Slot::Reg, LeafValue::Value(value.clone()), stamp),
            (FieldKind::Map, Value::Object(_)) => self.put_inferred(path.clone(), value, stamp),
            (FieldKind::Map, _) => return wrong("an object"),
            (FieldKind::Counter, Value::Int(n)) => {
                self.put(path, Slot::CtrBase, LeafValue::CtrBase(*n), stamp);
            }
            (FieldKind::Counter, _) => return wrong("an integer"),
            (FieldKind::PnCounter, Value::Int(n)) => self.pn_increment(path, *n as f64, stamp),
            (FieldKind::PnCounter, Value::Float(n)) => self.pn_increment(path, *n, stamp),
            (FieldKind::PnCounter, _) => return wrong("a number"),
            (FieldKind::Attachment, _) => match AttachmentToken::from_value(value) {
                Some(token) => self.put(path, Slot::Att, LeafValue::Attachment(token), stamp),
                None => return wrong("an attachment token"),
            },
        }
        Ok(())
    }

    /// Objects become maps all the way down, everything else a register.
    fn put_inferred(&mut self, path: Path, value: &Value, stamp: Stamp) {
        let Value::Object(fields) = value else {
            return self.put(&path, Slot::Reg, LeafValue::Value(value.clone()), stamp);
        };
        self.put(&path, Slot::MapMark, LeafValue::MapMark, stamp);
        for (name, value) in fields {
            self.put_inferred(path.child(name.clone()), value, stamp);
        }
    }

    fn put(&mut self, path: &Path, slot: Slot, value: LeafValue, stamp: Stamp) {
        if self.covers(path, stamp) {
            return;
        }
        let leaf = Leaf { stamp, value };
        match self.leaves.entry((path.clone(), slot)) {
            Entry::Vacant(e) => {
                e.insert(leaf);
            }
            // A later statement of the same transaction wins whatever its value.
            Entry::Occupied(mut e) if e.get().stamp <= stamp => {
                e.insert(leaf);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn unset(&mut self, path: &Path, stamp: Stamp) {
        let (keys, stamps): (Vec<_>, Vec<_>) = self.below(path).map(|(k, l)| (k.clone(), l.stamp)).unzip();
        // Nothing to remove: a tombstone would only cost bytes.
        let Some(newest) = stamps.into_iter().max() else { return };
        // What this transaction wrote itself goes without a trace, but it may stand where an older value stood that
        // others still hold.
        let obs = if newest >= stamp { just_before(stamp) } else { newest };
        keys.iter().for_each(|k| drop(self.leaves.remove(k)));
        let tomb = Tomb { obs, dot: stamp };
        let mine = self.tombs.entry(path.clone()).or_insert(tomb);
        *mine = (*mine).max(tomb);
        self.normalise();
    }

    fn increment(&mut self, path: &Path, by: i128, stamp: Stamp) {
        let base = self.leaves.get(&(path.clone(), Slot::CtrBase)).map(|l| l.stamp);
        let slot = Slot::Ctr(stamp.site);
        let before = match self.leaves.get(&(path.clone(), slot)) {
            Some(Leaf { value: LeafValue::Ctr { base: b, total }, .. }) if *b == base => *total,
            _ => 0,
        };
        self.put(path, slot, LeafValue::Ctr { base, total: before.saturating_add(by) }, stamp);
    }

    fn pn_increment(&mut self, path: &Path, by: f64, stamp: Stamp) {
        let slot = Slot::Pn(stamp.site);
        let before = match self.leaves.get(&(path.clone(), slot)) {
            Some(Leaf { value: LeafValue::Pn(total), .. }) => *total,
            _ => 0.0,
        };
        self.put(path, slot, LeafValue::Pn(before + by), stamp);
    }
}

fn non_root(path: &Path) -> Result<&Path, OpError> {
    if path.is_empty() { Err(OpError::NoPath) } else { Ok(path) }
}
