//! Connection requests: accepted links of peers that may connect as far as we can tell, put to the app (API-191).
//!
//! A decision is for one peer on one kind of link and holds as long as the peer is connected. A denied peer is not put to
//! the app again for a second.

use std::collections::{BTreeMap, BTreeSet};

use super::Mesh;
use crate::api::Action;
use crate::event::Refusal;
use crate::hello::Hello;
use crate::peer_key::PeerKey;
use crate::presence::read_metadata;
use crate::transport::{LinkId, LinkKind, Role};

/// Requests that wait for the app at a time.
const MAX_ASKED: usize = 16;

/// Denials remembered, and for how long.
const MAX_DENIED: usize = 256;
const DENIED_MS: u64 = 1_000;

/// Whether and how the app is asked, and what it has said.
#[derive(Default)]
pub(super) struct Requests {
    /// Time that the app has to answer; `None` when it is not asked.
    pub(super) timeout: Option<u64>,
    allowed: BTreeSet<(PeerKey, LinkKind)>,
    denied: BTreeMap<(PeerKey, LinkKind), u64>,
}

impl Requests {
    /// A peer is not connected any more.
    pub(super) fn forget(&mut self, peer: &PeerKey) {
        self.allowed.retain(|(p, _)| p != peer);
    }

    fn deny(&mut self, of: (PeerKey, LinkKind), now: u64) {
        self.denied.retain(|_, until| *until > now);
        if self.denied.len() < MAX_DENIED {
            self.denied.insert(of, now + DENIED_MS);
        }
    }
}

impl Mesh {
    /// HELLO of an accepted link was verified. Either it goes on at once, or it waits for the app.
    pub(super) fn request(&mut self, id: LinkId, peer: PeerKey, hello: Box<Hello>) {
        let Some(kind) = self.links.get(&id).map(|l| l.kind) else { return };
        let of = (peer, kind);
        let Some(timeout) = self.requests.timeout else { return self.admit(id, peer, hello) };
        // Whom we have dialled ourselves over such a link needs no question.
        let is_decided =
            self.requests.allowed.contains(&of) || self.ready_links(&peer).any(|l| l.kind == kind);
        if is_decided {
            return self.admit(id, peer, hello);
        }
        if self.requests.denied.get(&of).is_some_and(|until| *until > self.now) {
            return self.refuse(id, Refusal::Denied);
        }
        let asked = || self.links.values().filter(|l| l.asked.is_some());
        if asked().any(|l| l.peer == Some(peer) && l.kind == kind) {
            return self.refuse(id, Refusal::Duplicate);
        }
        if asked().count() >= MAX_ASKED {
            return self.refuse(id, Refusal::Capacity);
        }
        let metadata = read_metadata(&hello.metadata);
        if let Some(link) = self.links.get_mut(&id) {
            link.asked = Some(hello);
            link.deadline = Some(self.now + timeout);
            self.actions.push_back(Action::ConnectionRequest { link: id, peer, kind, metadata });
        }
    }

    /// The app has decided.
    pub(super) fn answer_request(&mut self, id: LinkId, allow: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (Some(peer), Some(hello), kind) = (link.peer, link.asked.take(), link.kind) else { return };
        if allow {
            self.requests.allowed.insert((peer, kind));
            self.admit(id, peer, hello);
            if !self.peers.contains_key(&peer) && self.ready_links(&peer).next().is_none() {
                self.requests.forget(&peer);
            }
        } else {
            self.requests.deny((peer, kind), self.now);
            self.refuse(id, Refusal::Denied);
        }
    }

    /// Takes an accepted link in, if there is room.
    fn admit(&mut self, id: LinkId, peer: PeerKey, hello: Box<Hello>) {
        let Some(kind) = self.links.get(&id).map(|l| l.kind) else { return };
        let is_new = !self.peers.contains_key(&peer);
        let is_full = is_new && self.peers.len() >= self.limits.max_sessions;
        if is_full || (is_new && !self.admits(&peer, kind)) {
            return self.refuse(id, Refusal::Capacity);
        }
        self.say_hello(id);
        self.make_ready(id, hello);
    }

    pub(super) fn make_ready(&mut self, id: LinkId, hello: Box<Hello>) {
        if let Some(link) = self.links.get_mut(&id) {
            debug_assert!(link.role == Role::Dialer || link.said_hello);
            link.ready(hello, self.now, &self.limits);
            self.choice.outdated();
            self.on_ready(id);
        }
    }
}
