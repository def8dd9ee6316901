//! The lattice: state of one document, merge, version vector and delta (`design.md` 1.2).

use ditto_types::{Digest, HashKey, Hlc, Path, SiteId, SmolStr, Stamp};

use crate::leaf::{FieldKind, Leaf, Slot, Tomb};
use crate::node::Node;
use crate::version::VersionVector;

/// State of one document. The default is the empty state: a document that nobody ever wrote.
///
/// [`Doc::merge`] is commutative, associative and idempotent; the order of arrival never matters. Documents are equal
/// exactly when their [canonical](Doc::canonical) bytes are. The id is not part of it.
#[derive(Clone, Debug, Default)]
pub struct Doc {
    pub(crate) born: Option<Stamp>,
    pub(crate) dead: Option<Stamp>,
    /// Nothing stands at the root itself.
    pub(crate) root: Node,
    /// The stamp that was found to be newer than everything here; not part of the state.
    pub(crate) writing: Option<Stamp>,
}

impl PartialEq for Doc {
    fn eq(&self, other: &Self) -> bool {
        (self.born, self.dead) == (other.born, other.dead) && self.root == other.root
    }
}

impl Doc {
    /// Newest INSERT.
    pub fn born(&self) -> Option<Stamp> {
        self.born
    }

    /// Newest DELETE. Its site is [`SiteId::ZERO`] where the same transaction inserted the document again.
    pub fn dead(&self) -> Option<Stamp> {
        self.dead
    }

    /// Whether queries see it: inserted, and not deleted since.
    pub fn is_alive(&self) -> bool {
        self.born.is_some_and(|b| self.dead.is_none_or(|d| b > d))
    }

    /// Whether nobody ever wrote it.
    pub fn is_empty(&self) -> bool {
        self.born.is_none() && self.dead.is_none() && self.root.is_empty()
    }

    /// Leaves by path and slot, hidden ones of a dead document included.
    pub fn leaves(&self) -> impl Iterator<Item = (Path, Slot, &Leaf)> {
        self.root.walk().flat_map(|(path, n)| n.slots().iter().map(move |(s, l)| (path.clone(), *s, l)))
    }

    /// Removals by path: of one kind of value, or of everything, which is [`FieldKind::Inferred`].
    pub fn tombs(&self) -> impl Iterator<Item = (Path, FieldKind, &Tomb)> {
        self.root.walk().flat_map(|(path, n)| n.tombs().map(move |(kind, t)| (path.clone(), kind, t)))
    }

    /// Takes over everything that `other` knows.
    pub fn merge(&mut self, other: &Doc) {
        self.writing = None;
        self.born = self.born.max(other.born);
        self.dead = self.dead.max(other.dead);
        self.root.merge(&other.root);
        self.normalise();
    }

    /// Brings the state into its one form.
    pub(crate) fn normalise(&mut self) {
        self.root.normalise(self.dead, self.dead);
    }

    /// Whether a write of this kind at `path` is already removed.
    pub(crate) fn covers(&self, path: &Path, kind: FieldKind, stamp: Stamp) -> bool {
        if self.dead.is_some_and(|dead| stamp <= dead) {
            return true;
        }
        let mut node = &self.root;
        for (i, name) in path.names().iter().enumerate() {
            let Some(child) = node.child(name) else { return false };
            node = child;
            // On the way it is a part of the map.
            let kind = if i + 1 == path.len() { kind } else { FieldKind::Map };
            let mut here = node.tombs().filter(|(of, _)| *of == FieldKind::Inferred || *of == kind);
            if here.any(|(_, tomb)| stamp <= tomb.obs) {
                return true;
            }
        }
        false
    }

    /// Calls `f` with the stamp of every write that made the document, in no particular order.
    fn each_write(&self, mut f: impl FnMut(Stamp)) {
        // A transaction that deletes and inserts leaves a deletion that no site wrote.
        let dead = self.dead.filter(|d| d.site != SiteId::ZERO);
        self.born.into_iter().chain(dead).for_each(&mut f);
        self.root.each(&mut |n| {
            n.slots().iter().for_each(|(_, l)| f(l.stamp));
            n.tombs().for_each(|(_, t)| f(t.dot));
        });
    }

    /// Calls `f` with every stamp in the document, also those that it only names: `obs` and the bases of counters are
    /// writes of others, which a hostile peer may invent.
    pub(crate) fn each_stamp(&self, mut f: impl FnMut(Stamp)) {
        self.each_write(&mut f);
        self.dead.into_iter().for_each(&mut f);
        self.root.each(&mut |n| {
            n.slots().iter().filter_map(|(_, l)| l.base()).for_each(&mut f);
            n.tombs().for_each(|(_, t)| f(t.obs));
        });
    }

    /// What is known of each site's writes.
    pub fn vv(&self) -> VersionVector {
        let mut out = VersionVector::new();
        self.each_write(|s| out.insert(s));
        out
    }

    /// The newest time in the document, named ones included; [`Hlc::ZERO`] for the empty state.
    pub fn max_hlc(&self) -> Hlc {
        let mut out = Hlc::ZERO;
        self.each_stamp(|s| out = out.max(s.hlc));
        out
    }

    /// What a replica that knows `since` lacks, and everything from the beginning of time. Merging it there gives the same
    /// as merging the whole document, provided that `since` is that replica's own version vector (rule D4).
    pub fn delta(&self, since: &VersionVector) -> Doc {
        Doc { born: self.born, dead: self.dead, root: unknown(&self.root, since), writing: None }
    }

    /// Name of this state: equal exactly when two copies are in the same state.
    pub fn digest(&self, key: &HashKey) -> Digest {
        key.digest(&self.canonical())
    }
}

/// The part of a node that `since` does not cover.
fn unknown(node: &Node, since: &VersionVector) -> Node {
    let mut out = Node::default();
    for (slot, leaf) in node.slots().iter().filter(|(_, l)| !since.covers(&l.stamp)) {
        out.put(*slot, leaf, |_| true);
    }
    out.tomb = node.tomb.clone().filter(|t| !since.covers(&t.dot));
    for (kind, tomb) in node.kind_tombs().iter().filter(|(_, t)| !since.covers(&t.dot)) {
        out.put_kind_tomb(*kind, *tomb);
    }
    let children = node.children().iter().map(|(name, n)| (name.clone(), unknown(n, since)));
    let children: Vec<(SmolStr, Node)> = children.filter(|(_, n)| !n.is_empty()).collect();
    out.set_children(children);
    out
}
