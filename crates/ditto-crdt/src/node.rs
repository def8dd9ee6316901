//! The state as a tree: what stands at each path, so that memory and time grow with the number of entries, whatever
//! the depth.

use std::cmp::Ordering;

use ditto_types::{Path, SmolStr, Stamp};

use crate::leaf::{FieldKind, Leaf, Slot, Tomb};

/// What stands at one path and below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    /// By slot.
    slots: Vec<(Slot, Leaf)>,
    pub(crate) tomb: Option<Box<Tomb>>,
    /// Removals of one kind of value here; of a map that is everything below. Hardly any path has one.
    kind_tombs: Option<Box<KindTombs>>,
    /// By name. None of them is empty, except while an operation is at work.
    children: Vec<(SmolStr, Node)>,
}

/// By kind, of which [`FieldKind::Inferred`] is none.
#[derive(Clone, Debug, Default, PartialEq)]
struct KindTombs(Vec<(FieldKind, Tomb)>);

impl Node {
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.tomb.is_none() && self.kind_tombs.is_none() && self.children.is_empty()
    }

    /// The removals of one kind alone.
    pub(crate) fn kind_tombs(&self) -> &[(FieldKind, Tomb)] {
        self.kind_tombs.as_ref().map_or(&[], |tombs| &tombs.0)
    }

    /// All removals here; [`FieldKind::Inferred`] is that of everything.
    pub(crate) fn tombs(&self) -> impl Iterator<Item = (FieldKind, &Tomb)> {
        let all = self.tomb.iter().map(|tomb| (FieldKind::Inferred, &**tomb));
        all.chain(self.kind_tombs().iter().map(|(kind, tomb)| (*kind, tomb)))
    }

    pub(crate) fn slots(&self) -> &[(Slot, Leaf)] {
        &self.slots
    }

    pub(crate) fn slots_mut(&mut self) -> &mut Vec<(Slot, Leaf)> {
        &mut self.slots
    }

    pub(crate) fn children(&self) -> &[(SmolStr, Node)] {
        &self.children
    }

    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.children.iter_mut().map(|(_, n)| n)
    }

    /// Takes children that are in order already.
    pub(crate) fn set_children(&mut self, children: Vec<(SmolStr, Node)>) {
        self.children = children;
    }

    pub(crate) fn take_children(&mut self) -> Vec<(SmolStr, Node)> {
        std::mem::take(&mut self.children)
    }

    /// Appends a leaf whose slot is after all that are there.
    pub(crate) fn push(&mut self, slot: Slot, leaf: Leaf) {
        if self.slots.is_empty() {
            // Nearly all paths hold one slot.
            self.slots.reserve_exact(1);
        }
        self.slots.push((slot, leaf));
    }

    pub(crate) fn leaf(&self, slot: Slot) -> Option<&Leaf> {
        let at = self.slots.binary_search_by(|(s, _)| s.cmp(&slot)).ok()?;
        Some(&self.slots[at].1)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        let at = self.children.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.children[at].1)
    }

    /// The node at a path below.
    pub(crate) fn at(&self, path: &[SmolStr]) -> Option<&Node> {
        path.iter().try_fold(self, |n, name| n.child(name))
    }

    /// The node at a path below, made if it is not there.
    pub(crate) fn at_mut(&mut self, path: &[SmolStr]) -> &mut Node {
        path.iter().fold(self, Node::child_mut)
    }

    /// The node of a name, made if it is not there.
    pub(crate) fn child_mut<'a>(&'a mut self, name: &SmolStr) -> &'a mut Node {
        // Names mostly come in order.
        let at = match self.children.last().map(|(last, _)| last.cmp(name)) {
            None | Some(Ordering::Less) => Err(self.children.len()),
            Some(_) => self.children.binary_search_by(|(n, _)| n.cmp(name)),
        };
        let at = at.unwrap_or_else(|at| {
            self.children.insert(at, (name.clone(), Node::default()));
            at
        });
        &mut self.children[at].1
    }

    /// Puts a leaf where `wins` says that it beats the one that is there.
    pub(crate) fn put(&mut self, slot: Slot, leaf: &Leaf, wins: impl FnOnce(&Leaf) -> bool) {
        match self.slots.binary_search_by(|(s, _)| s.cmp(&slot)) {
            Ok(at) if wins(&self.slots[at].1) => self.slots[at].1 = leaf.clone(),
            Ok(_) => {}
            Err(at) => {
                if self.slots.is_empty() {
                    // Nearly all paths hold one slot.
                    self.slots.reserve_exact(1);
                }
                self.slots.insert(at, (slot, leaf.clone()));
            }
        }
    }

    /// The greater of both removals stays.
    pub(crate) fn put_tomb(&mut self, tomb: Tomb) {
        match &mut self.tomb {
            Some(mine) => **mine = (**mine).max(tomb),
            None => self.tomb = Some(Box::new(tomb)),
        }
    }

    /// As [`Node::put_tomb`], for one kind.
    pub(crate) fn put_kind_tomb(&mut self, kind: FieldKind, tomb: Tomb) {
        let tombs = &mut self.kind_tombs.get_or_insert_default().0;
        match tombs.binary_search_by_key(&kind, |(k, _)| *k) {
            Ok(at) => tombs[at].1 = tombs[at].1.max(tomb),
            Err(at) => tombs.insert(at, (kind, tomb)),
        }
    }

    /// Takes over everything in `other`. [`Node::normalise`] must follow.
    pub(crate) fn merge(&mut self, other: &Node) {
        for (slot, leaf) in &other.slots {
            self.put(*slot, leaf, |mine| leaf.beats(mine));
        }
        other.tomb.iter().for_each(|t| self.put_tomb(**t));
        other.kind_tombs().iter().for_each(|(kind, t)| self.put_kind_tomb(*kind, *t));
        if self.children.is_empty() {
            self.children.clone_from(&other.children);
            return;
        }
        let mut at = 0;
        let mut missing = Vec::new();
        for (name, theirs) in &other.children {
            at += self.children[at..].partition_point(|(n, _)| n < name);
            match self.children.get_mut(at) {
                Some((n, mine)) if n == name => mine.merge(theirs),
                _ => missing.push((name.clone(), theirs.clone())),
            }
        }
        if !missing.is_empty() {
            self.children.append(&mut missing);
            // Two ascending runs, which the stable sort merges.
            self.children.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
    }

    /// Drops covered leaves, then removals that the deletion makes redundant, then empty nodes. `covered` is the newest of
    /// the deletion and what was removed above. Pruned by `obs`, never by `dot`: rule D2.
    pub(crate) fn normalise(&mut self, covered: Option<Stamp>, dead: Option<Stamp>) {
        let mut here = covered;
        if let Some(tomb) = &self.tomb {
            here = here.max(Some(tomb.obs));
            if Some(tomb.obs) <= dead {
                self.tomb = None;
            }
        }
        if here.is_some() {
            self.slots.retain(|(_, leaf)| Some(leaf.stamp) > here);
        }
        if let Some(KindTombs(tombs)) = self.kind_tombs.as_deref_mut() {
            tombs.retain(|(_, tomb)| Some(tomb.obs) > dead);
            for (kind, tomb) in &*tombs {
                self.slots.retain(|(slot, leaf)| slot.kind() != *kind || leaf.stamp > tomb.obs);
                if *kind == FieldKind::Map {
                    here = here.max(Some(tomb.obs));
                }
            }
            if tombs.is_empty() {
                self.kind_tombs = None;
            }
        }
        let mut emptied = false;
        for (_, child) in &mut self.children {
            child.normalise(here, dead);
            emptied |= child.is_empty();
        }
        if emptied {
            self.children.retain(|(_, n)| !n.is_empty());
        }
    }

    /// Drops all leaves here and below; removals stay.
    pub(crate) fn drop_leaves(&mut self) {
        self.slots = Vec::new();
        self.children.retain_mut(|(_, child)| {
            child.drop_leaves();
            !child.is_empty()
        });
    }

    /// As [`Node::drop_leaves`], for one kind alone.
    pub(crate) fn drop_kind(&mut self, kind: FieldKind) {
        self.slots.retain(|(slot, _)| slot.kind() != kind);
        if kind == FieldKind::Map {
            self.children.retain_mut(|(_, child)| {
                child.drop_leaves();
                !child.is_empty()
            });
        }
    }

    /// Newest stamp of the leaves of one kind; those below belong to the map.
    pub(crate) fn newest_of(&self, kind: FieldKind) -> Option<Stamp> {
        let own = self.slots.iter().filter(|(slot, _)| slot.kind() == kind).map(|(_, l)| l.stamp).max();
        if kind == FieldKind::Map { own.max(self.newest_below()) } else { own }
    }

    /// Whether anything is written here or below.
    pub(crate) fn has_leaves(&self) -> bool {
        !self.slots.is_empty() || self.children.iter().any(|(_, n)| n.has_leaves())
    }

    /// Newest stamp of the leaves here and below.
    pub(crate) fn newest(&self) -> Option<Stamp> {
        let own = self.slots.iter().map(|(_, l)| l.stamp).max();
        own.max(self.newest_below())
    }

    /// Newest stamp of the leaves below.
    pub(crate) fn newest_below(&self) -> Option<Stamp> {
        self.children.iter().filter_map(|(_, n)| n.newest()).max()
    }

    /// Calls `f` with this node and every one below, by path.
    pub(crate) fn each<'a>(&'a self, f: &mut impl FnMut(&'a Node)) {
        f(self);
        self.children.iter().for_each(|(_, n)| n.each(f));
    }

    /// This node and every one below with their paths, by path.
    pub(crate) fn walk(&self) -> impl Iterator<Item = (Path, &Node)> {
        let mut names: Vec<SmolStr> = Vec::new();
        let mut levels = vec![self.children.iter()];
        let below = std::iter::from_fn(move || {
            loop {
                match levels.last_mut()?.next() {
                    Some((name, node)) => {
                        names.push(name.clone());
                        levels.push(node.children.iter());
                        return Some((Path::from(names.clone()), node));
                    }
                    None => {
                        levels.pop();
                        names.pop();
                    }
                }
            }
        });
        std::iter::once((Path::root(), self)).chain(below)
    }
}
