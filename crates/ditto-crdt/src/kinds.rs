//! Which kinds of values stand on a path, shown or hidden. An index notes them, to know for whom its entries are right.

use ditto_types::{KindSet, SmolStr};

use crate::doc::Doc;
use crate::leaf::{FieldKind, Slot};
use crate::node::Node;

impl Doc {
    /// Tells the kinds of values at each place on a path, from 0 for the first name on, as far as there are any; nothing of
    /// a document that is not alive.
    pub fn kinds_along(&self, path: &[SmolStr], see: &mut dyn FnMut(usize, KindSet)) {
        if !self.is_alive() {
            return;
        }
        let mut node = &self.root;
        for (depth, name) in path.iter().enumerate() {
            let Some(child) = node.child(name) else { return };
            let kinds = child.kinds();
            if kinds.is_empty() {
                return;
            }
            see(depth, kinds);
            node = child;
        }
    }
}

impl Node {
    /// The kinds of values here, those that a newer one hides included.
    fn kinds(&self) -> KindSet {
        let of = |slot: Slot| match slot.kind() {
            FieldKind::Inferred => KindSet::NONE,
            FieldKind::Register => KindSet::REGISTER,
            FieldKind::Attachment => KindSet::ATTACHMENT,
            FieldKind::Map => KindSet::MAP,
            FieldKind::Counter => KindSet::COUNTER,
            FieldKind::PnCounter => KindSet::PN_COUNTER,
        };
        let kinds = self.slots().iter().fold(KindSet::NONE, |kinds, (slot, _)| kinds.with(of(*slot)));
        if self.has_map() { kinds.with(KindSet::MAP) } else { kinds }
    }
}
