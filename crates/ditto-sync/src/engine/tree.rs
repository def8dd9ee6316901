//! The spanning tree that links with redundant ways are given up for.
//!
//! Where documents come twice, one of the ways has to go, and peers that decide at the same time must not give up all of
//! them. So they agree on a tree beforehand, as bridges of a network do (Perlman 1985): the peer with the lowest number
//! is the root, and everybody's parent is a neighbour that is nearest to it. Any two peers are at most twice as far apart
//! in it as they are in the mesh. A link of the tree is never lazy. Other links are lazy where both ends ask for the
//! same, and elsewhere, since the tree may not carry everything, as soon as documents come twice.
//!
//! A neighbour is a parent only if it is nearer to the root than the peer has been since it follows that root, which
//! excludes loops (the feasibility of Garcia-Luna-Aceves 1993). Who has no such neighbour leaves the root alone for
//! [`BAR_MS`], in which what others know of it from hearsay dies out.
//!
//! Nothing depends on the tree but time and bytes: what a link does not push it offers.

use std::collections::BTreeMap;

use super::Core;
use super::session::Session;
use crate::peer::{Lane, PeerId};
use crate::store::SyncStore;
use crate::wire::{Message, Place};

/// Peers farther from a root than this form a tree of their own.
const MAX_DISTANCE: u8 = 64;

/// How long a root that was lost is left alone, in milliseconds.
const BAR_MS: u64 = 3_000;

/// How long changes are gathered before neighbours hear of them, in milliseconds.
const TELL_MS: u64 = 50;

/// Lost roots that are remembered.
const MAX_BARRED: usize = 16;

/// A neighbour in the mesh.
#[derive(Default)]
struct Neighbour {
    /// What it said last: where it is, and whether we are its parent.
    heard: Option<(Place, bool)>,
    /// What it was told last.
    told: Option<(Place, bool)>,
}

/// This peer's place in the tree.
pub(crate) struct Tree {
    me: u64,
    place: Place,
    parent: Option<PeerId>,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Roots that were lost: how near a neighbour must be to them, and until when.
    barred: BTreeMap<u64, (u8, u64)>,
    /// Whether sessions have to look at what changed.
    changed: bool,
}

impl Tree {
    /// A tree of one peer, whose number is drawn at random.
    pub(crate) fn new(me: u64) -> Self {
        Self {
            me,
            place: Place { root: me, distance: 0 },
            parent: None,
            neighbours: BTreeMap::new(),
            barred: BTreeMap::new(),
            changed: false,
        }
    }

    pub(crate) fn up(&mut self, peer: PeerId) {
        self.neighbours.insert(peer, Neighbour::default());
        self.changed = true;
    }

    pub(crate) fn down(&mut self, peer: PeerId, now: u64) {
        if self.neighbours.remove(&peer).is_some() {
            self.choose(now);
        }
    }

    /// A neighbour says where it is, and whether this peer is its parent.
    pub(crate) fn hear(&mut self, peer: PeerId, place: Place, child: bool, now: u64) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.heard = Some((place, child));
            self.changed = true;
            self.choose(now);
        }
    }

    /// Whether the link to a neighbour is part of the tree.
    pub(crate) fn is_link(&self, peer: PeerId) -> bool {
        let child = |n: &Neighbour| n.heard.is_some_and(|(_, child)| child);
        self.parent == Some(peer) || self.neighbours.get(&peer).is_some_and(child)
    }

    /// Whether both ends know of the other's place in one tree, and that the link is not part of it.
    pub(crate) fn is_spare(&self, peer: PeerId) -> bool {
        let Some(n) = self.neighbours.get(&peer) else { return false };
        let heard = n.heard.is_some_and(|(place, child)| !child && place.root == self.place.root);
        heard && n.told == Some((self.place, false))
    }

    /// When a root that was lost may be taken again.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.barred.values().map(|(_, until)| *until).min()
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: u64) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.choose(now);
        }
    }

    /// Whether anything changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What a neighbour does not know yet. Who has one link has nothing to choose, and says nothing as long as it never
    /// had more.
    fn news(&self, peer: PeerId) -> Option<(Place, bool)> {
        let told = self.neighbours.get(&peer)?.told;
        let now = (self.place, self.parent == Some(peer));
        (told != Some(now) && (told.is_some() || self.neighbours.len() > 1)).then_some(now)
    }

    /// Takes the neighbour that is nearest to the lowest root for the parent.
    fn choose(&mut self, now: u64) {
        self.barred.retain(|_, (_, until)| *until > now);
        let candidate = |(peer, n): (&PeerId, &Neighbour)| {
            let (place, child) = n.heard?;
            let limit = match self.barred.get(&place.root) {
                Some((distance, _)) => *distance,
                None if place.root == self.place.root => self.place.distance,
                None => MAX_DISTANCE,
            };
            (!child && place.root < self.me && place.distance < limit).then_some((place, *peer))
        };
        let best = self.neighbours.iter().filter_map(candidate).min();
        let (place, parent) = match best {
            Some((at, peer)) => (Place { root: at.root, distance: at.distance + 1 }, Some(peer)),
            None => (Place { root: self.me, distance: 0 }, None),
        };
        if place.root > self.place.root {
            self.barred.insert(self.place.root, (self.place.distance, now + BAR_MS));
            while self.barred.len() > MAX_BARRED {
                self.barred.pop_last();
            }
        }
        self.changed |= (place, parent) != (self.place, self.parent);
        (self.place, self.parent) = (place, parent);
    }
}

impl<S: SyncStore> Session<S> {
    /// Follows the tree: its links push, and neighbours hear of it.
    pub(crate) fn follow_tree(&mut self, core: &mut Core<S>) {
        if core.tree.is_link(self.peer) {
            self.push_again(core);
        }
        if core.tree.news(self.peer).is_some() {
            self.lazy.tell_at.get_or_insert(core.now + TELL_MS);
        }
    }

    /// Tells the peer where we are in the tree, if that has changed.
    pub(crate) fn tell_place(&mut self, core: &mut Core<S>) {
        self.lazy.tell_at = None;
        let Some((place, child)) = core.tree.news(self.peer) else { return };
        if let Some(neighbour) = core.tree.neighbours.get_mut(&self.peer) {
            neighbour.told = Some((place, child));
        }
        self.put(core, Lane::Live, &Message::Tree { place, child });
    }
}

#[cfg(test)]
mod tests;
