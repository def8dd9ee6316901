//! The lattice: state of one document, merge, version vector and delta (`design.md` 1.2).

use std::collections::BTreeMap;
use std::ops::Bound;

use ditto_types::{Digest, HashKey, Hlc, Path, SiteId, Stamp};

use crate::leaf::{Leaf, Slot, Tomb};
use crate::version::VersionVector;

/// State of one document. The default is the empty state: a document that nobody ever wrote.
///
/// [`Doc::merge`] is commutative, associative and idempotent; the order of arrival never matters. The id is not part
/// of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc {
    pub(crate) born: Option<Stamp>,
    pub(crate) dead: Option<Stamp>,
    pub(crate) leaves: BTreeMap<(Path, Slot), Leaf>,
    pub(crate) tombs: BTreeMap<Path, Tomb>,
}

impl Doc {
    /// Newest INSERT.
    pub fn born(&self) -> Option<Stamp> {
        self.born
    }

    /// Newest DELETE.
    pub fn dead(&self) -> Option<Stamp> {
        self.dead
    }

    /// Whether queries see it: inserted, and not deleted since.
    pub fn is_alive(&self) -> bool {
        self.born.is_some_and(|b| self.dead.is_none_or(|d| b > d))
    }

    /// Whether nobody ever wrote it.
    pub fn is_empty(&self) -> bool {
        self.born.is_none() && self.dead.is_none() && self.leaves.is_empty() && self.tombs.is_empty()
    }

    /// Leaves by path and slot, hidden ones of a dead document included.
    pub fn leaves(&self) -> impl Iterator<Item = (&Path, Slot, &Leaf)> {
        self.leaves.iter().map(|((p, s), l)| (p, *s, l))
    }

    /// Removals by path.
    pub fn tombs(&self) -> impl Iterator<Item = (&Path, &Tomb)> {
        self.tombs.iter()
    }

    /// Takes over everything that `other` knows.
    pub fn merge(&mut self, other: &Doc) {
        self.born = self.born.max(other.born);
        self.dead = self.dead.max(other.dead);
        for (key, leaf) in &other.leaves {
            match self.leaves.get_mut(key) {
                Some(mine) if leaf.beats(mine) => *mine = leaf.clone(),
                Some(_) => {}
                None => {
                    self.leaves.insert(key.clone(), leaf.clone());
                }
            }
        }
        for (path, tomb) in &other.tombs {
            let mine = self.tombs.entry(path.clone()).or_insert(*tomb);
            *mine = (*mine).max(*tomb);
        }
        self.normalise();
    }

    /// Drops covered leaves, then tombstones that the deletion makes redundant. Pruned by `obs`, never by `dot`: rule D2.
    pub(crate) fn normalise(&mut self) {
        let (dead, tombs) = (self.dead, &self.tombs);
        if dead.is_some() || !tombs.is_empty() {
            self.leaves.retain(|(path, _), leaf| !is_covered(dead, tombs, path, leaf.stamp));
        }
        if let Some(dead) = dead {
            self.tombs.retain(|_, t| t.obs > dead);
        }
    }

    /// Whether a write at `path` is already removed.
    pub(crate) fn covers(&self, path: &Path, stamp: Stamp) -> bool {
        is_covered(self.dead, &self.tombs, path, stamp)
    }

    /// Stamps of the writes that made the document, in no particular order.
    fn stamps(&self) -> impl Iterator<Item = Stamp> {
        // A transaction that deletes and inserts leaves a deletion that no site wrote.
        let dead = self.dead.filter(|d| d.site != SiteId::ZERO);
        let leaves = self.leaves.values().map(|l| l.stamp);
        self.born.into_iter().chain(dead).chain(leaves).chain(self.tombs.values().map(|t| t.dot))
    }

    /// What is known of each site's writes.
    pub fn vv(&self) -> VersionVector {
        let mut out = VersionVector::new();
        self.stamps().for_each(|s| out.insert(s));
        out
    }

    /// The newest time in the document; [`Hlc::ZERO`] for the empty state.
    pub fn max_hlc(&self) -> Hlc {
        // `obs` and counter bases name writes of others, which a hostile peer may invent.
        let named = self.tombs.values().map(|t| t.obs).chain(self.dead);
        let bases = self.leaves.values().filter_map(|l| l.base());
        self.stamps().chain(named).chain(bases).map(|s| s.hlc).max().unwrap_or(Hlc::ZERO)
    }

    /// What a replica that knows `since` lacks, and everything from the beginning of time. Merging it there gives the same as merging the whole document, provided
    /// that `since` is that replica's own version vector (rule D4).
    pub fn delta(&self, since: &VersionVector) -> Doc {
        let unknown = |s: &Stamp| !since.covers(s);
        Doc {
            born: self.born,
            dead: self.dead,
            leaves: self
                .leaves
                .iter()
                .filter(|(_, l)| unknown(&l.stamp))
                .map(|(k, l)| (k.clone(), l.clone()))
                .collect(),
            tombs: self.tombs.iter().filter(|(_, t)| unknown(&t.dot)).map(|(p, t)| (p.clone(), *t)).collect(),
        }
    }

    /// Name of this state: equal exactly when two copies are in the same state.
    pub fn digest(&self, key: &HashKey) -> Digest {
        key.digest(&self.canonical())
    }

    /// Leaves at or below `path`.
    pub(crate) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a (Path, Slot), &'a Leaf)> {
        // `Reg` is the least slot, so nothing of the path comes before it.
        let from = Bound::Included((path.clone(), Slot::Reg));
        self.leaves.range((from, Bound::Unbounded)).take_while(move |((p, _), _)| path.is_prefix_of(p))
    }

    /// The document's sites, for dictionaries: every one that its encoding names.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> {
        self.site_table(self.base_stamp()).into_iter()
    }
}

fn is_covered(dead: Option<Stamp>, tombs: &BTreeMap<Path, Tomb>, path: &Path, stamp: Stamp) -> bool {
    if dead.is_some_and(|d| stamp <= d) {
        return true;
    }
    if tombs.is_empty() {
        return false;
    }
    tombs.iter().any(|(p, t)| stamp <= t.obs && p.is_prefix_of(path))
}
