//! Local writes.

use ditto_types::{Hlc, MAX_DEPTH, Object, Path, SiteId, Stamp, Value};

use crate::doc::Doc;
use crate::leaf::{AttachmentToken, FieldKind, ID, Leaf, LeafValue, Slot, Tomb};
use crate::node::Node;

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
    /// As [`Op::Unset`], for one kind of value: another kind stays, and shows from now on. Of a map goes everything below.
    UnsetKind {
        /// Where.
        path: Path,
        /// Which; [`FieldKind::Inferred`] for all of them, as [`Op::Unset`] does.
        kind: FieldKind,
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
    /// The document's id never changes.
    #[error("the field _id cannot be written")]
    Id,
    /// A PN counter would not be a finite number.
    #[error("field {0} would not be a finite number")]
    NotFinite(String),
    /// The document holds a write that is not older than the stamp, so that replicas would end in different states.
    #[error("the write at {stamp} is not newer than {known}, which the document holds")]
    Stale {
        /// Time of the write.
        stamp: Hlc,
        /// Time that the document holds.
        known: Hlc,
    },
}

/// A place in the order above everything that a transaction could have seen, and below what it writes itself: the
/// transaction's time, which is above every time it has seen, and the least of all sites, which never writes then.
fn just_before(stamp: Stamp) -> Stamp {
    Stamp { hlc: stamp.hlc, site: SiteId::ZERO }
}

impl Op {
    /// Where it writes; `None` for the whole document.
    fn path(&self) -> Option<&Path> {
        match self {
            Op::Create | Op::Delete => None,
            Op::Set { path, .. }
            | Op::Unset { path }
            | Op::UnsetKind { path, .. }
            | Op::Increment { path, .. }
            | Op::Restart { path, .. }
            | Op::PnIncrement { path, .. } => Some(path),
        }
    }

    fn check(&self) -> Result<(), OpError> {
        let Some(path) = self.path() else { return Ok(()) };
        let Some(first) = path.names().first() else { return Err(OpError::NoPath) };
        if first == ID {
            return Err(OpError::Id);
        }
        let depth = if let Op::Set { value, .. } = self { value.depth() } else { 1 };
        if path.len() + depth > MAX_DEPTH {
            return Err(OpError::TooDeep(path.to_string()));
        }
        Ok(())
    }
}

impl Doc {
    /// Applies one local write.
    ///
    /// The time of `stamp` must be newer than every time in the document, as [`ditto_types::HlcClock`] gives it out; all
    /// writes of a transaction share it, and the later one shows. INITIAL documents use [`Stamp::ZERO`] on an empty
    /// document.
    ///
    /// An error leaves the document as it was.
    pub fn apply(&mut self, op: &Op, stamp: Stamp) -> Result<(), OpError> {
        op.check()?;
        self.check_stamp(stamp)?;
        match op {
            Op::Create => self.create(stamp),
            Op::Delete => self.delete(stamp),
            Op::Set { path, value, kind } => self.set(path, value, *kind, stamp)?,
            Op::Unset { path } | Op::UnsetKind { path, kind: FieldKind::Inferred } => self.unset(path, stamp),
            Op::UnsetKind { path, kind } => self.unset_kind(path, *kind, stamp),
            Op::Increment { path, by } => self.increment(path, (*by).into(), stamp),
            Op::Restart { path, to } => self.restart(path, *to, stamp),
            Op::PnIncrement { path, by } => self.pn_put(path, stamp, |own, _| own + by)?,
        }
        Ok(())
    }

    /// A new document with these fields: [`Op::Create`] and an inferred [`Op::Set`] of each. `_id` is not a field and left
    /// out. Values must not be nested as deep as [`MAX_DEPTH`], or no replica reads the document.
    pub fn fresh(fields: &Object, stamp: Stamp) -> Doc {
        let mut doc = Doc { born: Some(stamp), writing: Some(stamp), ..Doc::default() };
        for (name, value) in fields.iter().filter(|(name, _)| *name != ID) {
            put_inferred(doc.root.child_mut(name), value, stamp);
        }
        doc
    }

    /// Refuses a stamp that the document's writes are not all older than. Its own transaction's are as old.
    fn check_stamp(&mut self, stamp: Stamp) -> Result<(), OpError> {
        if self.writing == Some(stamp) {
            return Ok(());
        }
        let mut known = None;
        self.each_stamp(|s| {
            let own = s.site == stamp.site || s.site == SiteId::ZERO;
            if s.hlc > stamp.hlc || (s.hlc == stamp.hlc && !own) {
                known = known.max(Some(s.hlc));
            }
        });
        match known {
            Some(known) => Err(OpError::Stale { stamp: stamp.hlc, known }),
            None => {
                self.writing = Some(stamp);
                Ok(())
            }
        }
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
            (FieldKind::Inferred | FieldKind::Map, Value::Object(_)) => {
                if !self.covers(path, FieldKind::Map, stamp) {
                    let demoted = put_inferred(self.root.at_mut(path.names()), value, stamp);
                    self.after_demotion(demoted);
                }
            }
            (FieldKind::Inferred | FieldKind::Register, _) => {
                self.put(path, Slot::Reg, LeafValue::Value(value.clone()), stamp);
            }
            (FieldKind::Map, _) => return wrong("an object"),
            (FieldKind::Counter, Value::Int(n)) => self.restart(path, *n, stamp),
            (FieldKind::Counter, _) => return wrong("an integer"),
            (FieldKind::PnCounter, Value::Int(n)) => {
                self.pn_put(path, stamp, |_, others| *n as f64 - others)?;
            }
            (FieldKind::PnCounter, Value::Float(n)) => self.pn_put(path, stamp, |_, others| n - others)?,
            (FieldKind::PnCounter, _) => return wrong("a number"),
            (FieldKind::Attachment, _) => match AttachmentToken::from_value(value) {
                Some(token) => self.put(path, Slot::Att, LeafValue::Attachment(token), stamp),
                None => return wrong("an attachment token"),
            },
        }
        Ok(())
    }

    /// Puts a leaf of another kind than the map.
    fn put(&mut self, path: &Path, slot: Slot, value: LeafValue, stamp: Stamp) {
        if self.covers(path, slot.kind(), stamp) {
            return;
        }
        let demoted = put_demoting(self.root.at_mut(path.names()), slot, value, stamp);
        self.after_demotion(demoted);
    }

    fn after_demotion(&mut self, demoted: bool) {
        // What the same transaction removed covers what it demotes now.
        if demoted {
            self.normalise();
        }
    }

    fn unset(&mut self, path: &Path, stamp: Stamp) {
        // Nothing to remove: a tombstone would only cost bytes.
        let Some(newest) = self.root.at(path.names()).and_then(Node::newest) else { return };
        let node = self.root.at_mut(path.names());
        node.drop_leaves();
        if stamp != Stamp::ZERO {
            // What this transaction wrote itself goes without a trace, but it may stand where an older value stood that
            // others still hold.
            let obs = if newest >= stamp { just_before(stamp) } else { newest };
            node.put_tomb(Tomb { obs, dot: stamp });
        }
        self.normalise();
    }

    fn unset_kind(&mut self, path: &Path, kind: FieldKind, stamp: Stamp) {
        let newest = self.root.at(path.names()).and_then(|n| n.newest_of(kind));
        let Some(newest) = newest else { return };
        let node = self.root.at_mut(path.names());
        node.drop_kind(kind);
        if stamp != Stamp::ZERO {
            let obs = if newest >= stamp { just_before(stamp) } else { newest };
            node.put_kind_tomb(kind, Tomb { obs, dot: stamp });
        }
        self.normalise();
    }

    fn increment(&mut self, path: &Path, by: i128, stamp: Stamp) {
        let node = self.root.at(path.names());
        let base = node.and_then(|n| n.leaf(Slot::CtrBase)).map(|l| l.stamp);
        let slot = Slot::Ctr(stamp.site);
        let before = match node.and_then(|n| n.leaf(slot)).map(|l| &l.value) {
            Some(LeafValue::Ctr { base: b, total }) if *b == base => *total,
            _ => 0,
        };
        self.put(path, slot, LeafValue::Ctr { base, total: before.saturating_add(by) }, stamp);
    }

    fn restart(&mut self, path: &Path, to: i64, stamp: Stamp) {
        let own = Slot::Ctr(stamp.site);
        let counted = self.root.at(path.names()).and_then(|n| n.leaf(own)).and_then(Leaf::base);
        self.put(path, Slot::CtrBase, LeafValue::CtrBase(to), stamp);
        if counted == Some(stamp) {
            // Increments since an earlier restart of the same transaction.
            self.put(path, own, LeafValue::Ctr { base: counted, total: 0 }, stamp);
        }
    }

    /// Sets the own share of a PN counter to `f` of that share and the sum of the others.
    fn pn_put(&mut self, path: &Path, stamp: Stamp, f: impl FnOnce(f64, f64) -> f64) -> Result<(), OpError> {
        let slot = Slot::Pn(stamp.site);
        let (mut own, mut others) = (0.0, 0.0);
        for (s, leaf) in self.root.at(path.names()).map_or(&[][..], Node::slots) {
            if let LeafValue::Pn(total) = leaf.value {
                *(if *s == slot { &mut own } else { &mut others }) += total;
            }
        }
        let total = f(own, others);
        if !total.is_finite() {
            return Err(OpError::NotFinite(path.to_string()));
        }
        self.put(path, slot, LeafValue::Pn(total), stamp);
        Ok(())
    }
}

/// Objects become maps all the way down, everything else a register. Gives whether something was demoted.
fn put_inferred(node: &mut Node, value: &Value, stamp: Stamp) -> bool {
    let Value::Object(fields) = value else {
        return put_demoting(node, Slot::Reg, LeafValue::Value(value.clone()), stamp);
    };
    // The map kind shows among kinds of the same stamp.
    put_leaf(node, Slot::MapMark, LeafValue::MapMark, stamp);
    let fields = fields.iter();
    fields.fold(false, |any, (name, value)| any | put_inferred(node.child_mut(name), value, stamp))
}

/// Puts a leaf of another kind than the map, which shows from now on. Gives whether something was demoted.
fn put_demoting(node: &mut Node, slot: Slot, value: LeafValue, stamp: Stamp) -> bool {
    let demoted = demote(node, stamp, |s| rank(s) > rank(slot)) | demote_below(node, stamp);
    put_leaf(node, slot, value, stamp);
    demoted
}

/// Puts a leaf; a later statement of the same transaction wins whatever its value.
fn put_leaf(node: &mut Node, slot: Slot, value: LeafValue, stamp: Stamp) {
    node.put(slot, &Leaf { stamp, value }, |old| old.stamp <= stamp);
}

/// Place of a slot's kind in the order in which kinds of the same stamp show.
fn rank(slot: Slot) -> u8 {
    match slot {
        Slot::Reg => 0,
        Slot::Att => 1,
        Slot::CtrBase | Slot::Ctr(_) => 2,
        Slot::Pn(_) => 3,
        Slot::MapMark => 4,
    }
}

/// As [`demote`], for everything below the node.
fn demote_below(node: &mut Node, stamp: Stamp) -> bool {
    node.children_mut().fold(false, |any, n| any | demote(n, stamp, |_| true) | demote_below(n, stamp))
}

/// Moves what the transaction wrote in some slots right below the transaction, so that it does not show. It stays newer
/// than everything the transaction has seen. Gives whether there was anything.
fn demote(node: &mut Node, stamp: Stamp, which: impl Fn(Slot) -> bool) -> bool {
    let before = just_before(stamp);
    let mut any = false;
    node.slots_mut().retain_mut(|(slot, leaf)| {
        if leaf.stamp != stamp || !which(*slot) {
            return true;
        }
        any = true;
        leaf.stamp = before;
        if let LeafValue::Ctr { base: Some(base), .. } = &mut leaf.value
            && *base == stamp
        {
            // The base is demoted with it.
            *base = before;
        }
        // A seed has nothing before it, and nothing that it could have replaced.
        before != stamp
    });
    any
}
