//! Eager and lazy links, after Plumtree (Leitão, Pereira and Rodrigues 2007).
//!
//! A link is eager at first: documents are pushed as they change. When a push brings nothing new because another eager
//! link was faster, the receiver says so (ACK with `dup`) on the one of the two that is not in the [tree](super::tree),
//! and that link becomes lazy, in both directions: instead of documents it carries, now and then, their keys and
//! versions (HAVE with a token). A receiver that has not got them from elsewhere after
//! [`crate::SyncConfig::lazy_ms`] asks for them, and a link that helped is eager again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ditto_types::KeyHash;

use super::session::Session;
use super::{Core, Fault, Rule};
use crate::limits::{MAX_KEYS, MAX_KNOWN};
use crate::peer::{Lane, PeerId};
use crate::store::{LocalCommit, SyncStore};
use crate::wire::{KeyDigest, Keys, Message};

/// How long a link that helped stays eager, in milliseconds; doubled each time up to the second number.
const HOLD_MS: (u64, u64) = (10_000, 600_000);

/// Offers that are remembered for one peer; of further ones the documents are asked for at once.
const MAX_OFFERS: usize = 256;

/// What sessions know of each other.
#[derive(Default)]
pub(crate) struct Links {
    /// Peers that push documents to us.
    eager: BTreeSet<PeerId>,
    /// Who sent the present state of documents that arrived lately.
    first: BTreeMap<KeyHash, (u64, PeerId)>,
    order: VecDeque<(u64, KeyHash)>,
    clock: u64,
    /// Documents that were offered by several peers: until when nobody else is to be asked.
    asked: BTreeMap<KeyHash, u64>,
    /// Peers whose pushes came by the tree as well.
    pub(crate) redundant: BTreeSet<PeerId>,
}

impl Links {
    /// Notes that a document's state came from a peer.
    pub(crate) fn came_from(&mut self, key: KeyHash, peer: PeerId) {
        self.clock += 1;
        self.first.insert(key, (self.clock, peer));
        self.order.push_back((self.clock, key));
        while self.order.len() > MAX_KNOWN {
            let Some((at, key)) = self.order.pop_front() else { break };
            if self.first.get(&key).is_some_and(|(newest, _)| *newest == at) {
                self.first.remove(&key);
            }
        }
    }

    /// The other peer that pushed a document's state before this one.
    fn pushed_by_another(&self, key: KeyHash, peer: PeerId) -> Option<PeerId> {
        let (_, first) = *self.first.get(&key)?;
        (first != peer && self.eager.contains(&first)).then_some(first)
    }

    /// Whether this document may be asked for now; if not, when.
    fn may_ask(&mut self, key: KeyHash, now: u64, pause: u64) -> Result<(), u64> {
        match self.asked.get(&key) {
            Some(until) if *until > now => return Err(*until),
            _ => {}
        }
        if self.asked.len() >= MAX_KNOWN {
            self.asked.retain(|_, until| *until > now);
        }
        if self.asked.len() < MAX_KNOWN {
            self.asked.insert(key, now + pause);
        }
        Ok(())
    }
}

/// The lazy side of one session.
#[derive(Default)]
pub(crate) struct Lazy {
    /// Whether we offer instead of pushing.
    pub(crate) offering: bool,
    /// Changed documents that are still to be offered.
    outgoing: BTreeMap<KeyHash, u64>,
    /// Offers and tokens that came, in their order.
    incoming: VecDeque<Offer>,
    /// Until when the link is not made lazy.
    hold_until: u64,
    hold_ms: u64,
    /// When the peer is told of our place in the tree.
    pub(crate) tell_at: Option<u64>,
}

/// What the peer says to have, and the token that counts once we have it too.
struct Offer {
    token: u64,
    missing: BTreeMap<KeyHash, u64>,
    due: u64,
}

impl Lazy {
    /// Whether tokens wait for documents.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// When missing documents are to be asked for.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.incoming.iter().map(|o| o.due).min()
    }
}

impl<S: SyncStore> Session<S> {
    /// A session begins, and its link is eager.
    pub(crate) fn link_up(&mut self, core: &mut Core<S>) {
        core.links.eager.insert(self.peer);
        if !core.broken(Rule::Tree) {
            core.tree.up(self.peer);
        }
    }

    /// A session ended. Tells whether it pushed to us, so that others may have to.
    pub(crate) fn link_down(&mut self, core: &mut Core<S>) -> bool {
        core.tree.down(self.peer, core.now);
        core.links.eager.remove(&self.peer)
    }

    /// Notes a change to be offered.
    pub(crate) fn offer(&mut self, core: &mut Core<S>, key: KeyHash, digest: u64) {
        self.lazy.outgoing.insert(key, digest);
        if self.lazy.outgoing.len() >= MAX_KEYS {
            // The commit in progress is not yet covered.
            self.send_offers(core, self.send.pushed);
        } else if self.send.settle_at.is_none() {
            self.send.settle_at = Some(core.now + core.config.settle_ms);
        }
    }

    /// Offers what has changed, up to and including a commit. Says nothing if there is nothing to offer.
    pub(crate) fn send_offers(&mut self, core: &mut Core<S>, token: u64) {
        let known = &self.known;
        let mut keys: Vec<KeyDigest> = std::mem::take(&mut self.lazy.outgoing).into_iter().collect();
        keys.retain(|(key, digest)| !known.has(*key, *digest));
        // Who is not served any more asks anew and gets a scan.
        if keys.is_empty() || self.send.subs.is_empty() {
            return;
        }
        self.send.pushed = self.send.pushed.max(token);
        let have = Keys { mark: None, token: Some(token), keys };
        self.put(core, Lane::Live, &Message::Have(have));
    }

    /// The peer offers documents that others may bring.
    pub(crate) fn on_offer(
        &mut self,
        core: &mut Core<S>,
        token: u64,
        keys: &[KeyDigest],
    ) -> Result<(), Fault> {
        let mut missing = BTreeMap::new();
        for (key, digest) in keys {
            self.known.insert(*key, *digest);
            if core.store.load(*key)?.is_none_or(|d| d.digest.short() != *digest) {
                missing.insert(*key, *digest);
            }
        }
        let wait = if self.lazy.incoming.len() >= MAX_OFFERS { 0 } else { core.config.lazy_ms };
        if core.broken(Rule::OffersBlockToken) {
            self.recv.live_token = self.recv.live_token.max(token);
        }
        self.lazy.incoming.push_back(Offer { token, missing, due: core.now + wait });
        self.tokens_due(core)
    }

    /// A token came with a push; it counts when everything offered before has come.
    pub(crate) fn token_arrived(&mut self, token: u64) {
        if self.lazy.incoming.is_empty() {
            self.recv.live_token = self.recv.live_token.max(token);
        } else {
            let offer = Offer { token, missing: BTreeMap::new(), due: u64::MAX };
            self.lazy.incoming.push_back(offer);
        }
    }

    /// Looks in a commit for documents that were offered.
    pub(crate) fn satisfied_by(&mut self, core: &mut Core<S>, commit: &LocalCommit) -> Result<(), Fault> {
        if self.lazy.incoming.is_empty() {
            return Ok(());
        }
        for change in &commit.changes {
            for offer in &mut self.lazy.incoming {
                if offer.missing.get(&change.key) == Some(&change.digest.short()) {
                    offer.missing.remove(&change.key);
                }
            }
        }
        self.tokens_due(core)
    }

    /// Lets tokens count for which nothing is missing any more.
    fn tokens_due(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let mut moved = false;
        while self.lazy.incoming.front().is_some_and(|o| o.missing.is_empty()) {
            let Some(offer) = self.lazy.incoming.pop_front() else { break };
            self.recv.live_token = self.recv.live_token.max(offer.token);
            moved = true;
        }
        if moved {
            self.settle_soon(core, 1);
            self.acknowledge_soon(core);
            self.try_live(core)?;
        }
        Ok(())
    }

    /// Asks for documents that nobody brought in time. `now` may be past the time that was set, when a link fell away.
    pub(crate) fn ask_for_offered(&mut self, core: &mut Core<S>, now: u64) -> Result<(), Fault> {
        for offer in &mut self.lazy.incoming {
            if offer.due > now {
                continue;
            }
            let mut later = u64::MAX;
            let mut rest = BTreeMap::new();
            for (key, digest) in std::mem::take(&mut offer.missing) {
                if self.recv.sids.is_empty()
                    || core.store.load(key)?.is_some_and(|d| d.digest.short() == digest)
                {
                    continue;
                }
                match core.links.may_ask(key, core.now, core.config.lazy_ms * 2) {
                    Ok(()) => self.recv.wants.add(key)?,
                    Err(until) => {
                        later = later.min(until);
                        rest.insert(key, digest);
                    }
                }
            }
            offer.missing = rest;
            offer.due = later;
        }
        self.send_wants(core)?;
        self.tokens_due(core)
    }

    /// A push brought nothing new. If another peer pushes the same, it need not come twice.
    pub(crate) fn prune(&mut self, core: &mut Core<S>, keys: impl IntoIterator<Item = KeyHash>) {
        let first: Option<Vec<_>> =
            keys.into_iter().map(|key| core.links.pushed_by_another(key, self.peer)).collect();
        let Some(first) = first else { return };
        if core.tree.is_link(self.peer) {
            core.links.redundant.extend(first);
        } else {
            self.give_up(core);
        }
    }

    /// Makes the link lazy and tells the peer, unless it is in the tree.
    pub(crate) fn give_up(&mut self, core: &mut Core<S>) {
        let held = core.now < self.lazy.hold_until || core.tree.is_link(self.peer);
        if held || !core.links.eager.contains(&self.peer) || core.broken(Rule::Lazy) {
            return;
        }
        self.make_lazy(core);
        // If we were its parent, or it ours, it has to hear first that this is over.
        self.tell_place(core);
        self.put(core, Lane::Live, &Message::Ack { token: self.recv.acked, dup: true });
    }

    /// Stops pushing where the tree brings everything.
    pub(crate) fn spare_link(&mut self, core: &mut Core<S>) {
        let held = self.lazy.offering || core.now < self.lazy.hold_until || core.broken(Rule::Lazy);
        if held || !core.tree.is_spare(self.peer) {
            return;
        }
        let alike = self.send.subs.len() == core.queries.len()
            && self.send.subs.values().all(|s| core.queries.contains_key(&s.hash));
        if alike {
            self.make_lazy(core);
        }
    }

    /// The peer gives the link up. If we count on it for the tree, it will hear so.
    pub(crate) fn given_up(&mut self, core: &mut Core<S>) {
        if !core.tree.is_link(self.peer) {
            self.make_lazy(core);
        }
    }

    /// Stops pushing in both directions.
    fn make_lazy(&mut self, core: &mut Core<S>) {
        core.links.eager.remove(&self.peer);
        self.lazy.offering = true;
    }

    /// Pushes in both directions. Tells whether that is new.
    pub(crate) fn push_again(&mut self, core: &mut Core<S>) -> bool {
        let offered = std::mem::take(&mut self.lazy.offering);
        core.links.eager.insert(self.peer) || offered
    }

    /// Pushes again in both directions, because one had what the other lacked.
    pub(crate) fn make_eager(&mut self, core: &mut Core<S>) {
        if self.push_again(core) {
            self.lazy.hold_ms = (self.lazy.hold_ms * 2).clamp(HOLD_MS.0, HOLD_MS.1);
            self.lazy.hold_until = core.now + self.lazy.hold_ms;
        }
    }
}
