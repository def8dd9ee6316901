//! Whom to dial and which link to give up, with what the machine knows of links, sessions and the mesh.

use std::collections::BTreeMap;

use super::sessions::Peer;
use super::{BYE_ROOM, Mesh};
use crate::api::Action;
use crate::chooser::{ConnectionPriority, Held, PeerSelector, Priorities, Routes, spare};
use crate::config::Limits;
use crate::dial::Outlook;
use crate::event::ConnectionEvent;
use crate::link::{Link, Phase};
use crate::peer_key::PeerKey;
use crate::transport::{LinkId, LinkKind, Role};

/// What the choice of connections rests on. Worked out when it is needed and the mesh has changed.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) priorities: Priorities,
    routes: Routes,
    /// Query overlap groups of the peers that can be reached, by their place among them.
    groups: Vec<u8>,
    /// The link of each crowded kind that is missed least.
    spare: BTreeMap<LinkKind, Option<PeerKey>>,
    stale: bool,
    /// No link is given up before this time.
    churn_at: u64,
    /// When there is something to dial or to give up unless something changes before, and when to look again.
    due: Option<u64>,
    look_at: u64,
}

impl Choice {
    /// The graph, a session, a link or a priority has changed.
    pub(super) fn outdated(&mut self) {
        self.stale = true;
    }

    fn priority(&self, peer: &PeerKey) -> ConnectionPriority {
        let group = self.routes.place(peer).and_then(|place| self.groups.get(place).copied());
        self.priorities.of(peer, group)
    }
}

/// The machine's side of [`Outlook`]: fields of it that are only read.
struct View<'a> {
    choice: &'a Choice,
    links: &'a BTreeMap<LinkId, Link>,
    peers: &'a BTreeMap<PeerKey, Peer>,
    limits: &'a Limits,
    sync_group: u32,
}

impl Outlook for View<'_> {
    fn session(&self, peer: &PeerKey) -> Option<LinkKind> {
        let p = self.peers.get(peer)?;
        // Between two links the session counts as well carried.
        Some(p.tx.and_then(|l| self.links.get(&l)).map_or(LinkKind::Memory, |l| l.kind))
    }

    fn priority(&self, peer: &PeerKey) -> ConnectionPriority {
        self.choice.priority(peer)
    }

    fn same_group(&self, peer: &PeerKey) -> bool {
        let said =
            self.links.values().filter(|l| l.peer.as_ref() == Some(peer)).find_map(|l| l.hello.as_ref());
        said.is_none_or(|h| h.sync_group == self.sync_group)
    }

    fn cost(&self, peer: &PeerKey) -> Option<u32> {
        self.choice.routes.cost(peer)
    }

    fn room(&self, kind: LinkKind) -> usize {
        self.limits.connections.most(kind, Role::Dialer).saturating_sub(self.dialled(kind))
    }

    fn churn_at(&self, kind: LinkKind) -> Option<u64> {
        let is_exceeded = self.dialled(kind) > self.limits.connections.most(kind, Role::Dialer);
        let spare = self.choice.spare.get(&kind).copied().flatten();
        spare.filter(|_| !is_exceeded).map(|_| self.choice.churn_at)
    }
}

impl View<'_> {
    /// Links of a kind that we have dialled or are dialling.
    fn dialled(&self, kind: LinkKind) -> usize {
        self.links.values().filter(|l| l.role == Role::Dialer && l.kind == kind).count()
    }
}

impl Mesh {
    fn view(&self) -> View<'_> {
        let Self { choice, links, peers, limits, .. } = self;
        View { choice, links, peers, limits, sync_group: self.sync_group }
    }

    pub(super) fn set_priority(&mut self, selector: PeerSelector, priority: ConnectionPriority) {
        self.choice.priorities.set(selector, priority);
        self.choice.outdated();
    }

    /// What the app has said about a peer.
    pub(super) fn priority_of(&self, peer: &PeerKey) -> ConnectionPriority {
        self.choice.priority(peer)
    }

    fn refresh_choice(&mut self) {
        if !std::mem::take(&mut self.choice.stale) {
            return;
        }
        self.choice.routes = Routes::new(self.presence.topology().clone());
        self.choice.groups = self.presence.groups();
        self.choice.spare.clear();
    }

    /// Dials what is worth it, and gives up links for those who have come and are worth more.
    ///
    /// Called after every input, and with hundreds of instances around it is not cheap: so it looks only when something has
    /// changed or is due.
    pub(super) fn run_dials(&mut self) {
        let is_touched = self.dialer.take_touched() || self.choice.stale;
        if !self.running || (!is_touched && self.now < self.choice.look_at) {
            return;
        }
        self.choose();
        self.dialer.take_touched();
        let due = if self.dial_room() > 0 { self.dialer.next_deadline(&self.view()) } else { None };
        let churn = Some(self.choice.churn_at).filter(|at| *at > self.now);
        self.choice.due = due;
        self.choice.look_at = due.into_iter().chain(churn).min().unwrap_or(u64::MAX);
    }

    fn choose(&mut self) {
        self.refresh_choice();
        for kind in self.dialer.crowded(&self.view()) {
            self.find_spare(kind);
        }
        let room = self.dial_room();
        if room > 0 {
            for dial in self.dialer.due(self.now, room, &self.view()) {
                let id = LinkId(self.next_link);
                self.next_link += 1;
                let deadline = self.now + self.limits.dial_timeout;
                self.dialer.started(&dial.origin, id);
                let mut link = Link::dialing(id, dial.origin, dial.target.clone(), deadline);
                (link.kind, link.since) = (dial.kind, self.now);
                self.links.insert(id, link);
                self.event(ConnectionEvent::Dialing { target: dial.target.clone() });
                self.actions.push_back(Action::Dial { link: id, target: dial.target });
            }
        }
        if let Some(kind) = self.over_limit() {
            self.give_up(kind);
        }
    }

    /// A kind of link of which there are more than its limit, and one that can be spared now. The app has named more
    /// addresses, or somebody has come who is worth a link in place of another: then at once.
    fn over_limit(&mut self) -> Option<LinkKind> {
        let mut counts: BTreeMap<LinkKind, (usize, usize)> = BTreeMap::new();
        for l in self.links.values().filter(|l| l.role == Role::Dialer && l.phase == Phase::Ready) {
            let (all, found) = counts.entry(l.kind).or_default();
            *all += 1;
            *found += usize::from(l.origin.as_ref().is_some_and(|o| !o.is_explicit()));
        }
        let (limits, may_wait) = (&self.limits.connections, self.choice.churn_at > self.now);
        counts.retain(|kind, (all, found)| {
            let most = limits.most(*kind, Role::Dialer);
            *found > most || (*all > most && !may_wait)
        });
        counts.into_keys().find(|kind| self.find_spare(*kind).is_some())
    }

    /// The peer whose dialled link of this kind is missed least.
    fn find_spare(&mut self, kind: LinkKind) -> Option<PeerKey> {
        if let Some(known) = self.choice.spare.get(&kind) {
            return *known;
        }
        let found = spare(&self.choice.routes, self.held(kind, Role::Dialer));
        self.choice.spare.insert(kind, found);
        found
    }

    /// The links of a kind that carry a session.
    fn held(&self, kind: LinkKind, role: Role) -> impl Iterator<Item = Held> + '_ {
        let carrying = self.peers.iter().filter_map(|(peer, p)| Some((peer, self.links.get(&p.tx?)?)));
        carrying.filter(move |(_, l)| l.kind == kind && l.role == role).map(|(peer, l)| Held {
            peer: *peer,
            kind: l.kind,
            is_explicit: l.origin.as_ref().is_some_and(|o| o.is_explicit()),
            priority: self.choice.priority(peer),
        })
    }

    /// Gives up the dialled link of a kind that is missed least.
    fn give_up(&mut self, kind: LinkKind) {
        if let Some(peer) = self.find_spare(kind) {
            self.part_from(peer, kind);
        }
    }

    fn part_from(&mut self, peer: PeerKey, kind: LinkKind) {
        let pause = self.limits.churn_interval;
        self.choice.churn_at = self.now + pause + self.random_u64() % (pause + 1);
        self.event(ConnectionEvent::MadeRoom { peer, kind });
        self.disconnect(&peer, BYE_ROOM, "made room for another peer");
        self.choice.outdated();
        self.refresh_choice();
    }

    /// Whether there is room for one more accepted link of this kind, of a peer that we are not connected to. A link is
    /// given up for a peer that nobody reaches.
    pub(super) fn admits(&mut self, peer: &PeerKey, kind: LinkKind) -> bool {
        let accepted = |l: &&Link| l.role == Role::Acceptor && l.phase == Phase::Ready && l.kind == kind;
        if self.links.values().filter(accepted).count() < self.limits.connections.most(kind, Role::Acceptor) {
            return true;
        }
        self.refresh_choice();
        if self.choice.routes.cost(peer).is_some() || self.choice.churn_at > self.now {
            return false;
        }
        let found = spare(&self.choice.routes, self.held(kind, Role::Acceptor));
        if let Some(other) = found {
            self.part_from(other, kind);
        }
        found.is_some()
    }

    /// Dials that may be made now.
    fn dial_room(&self) -> usize {
        let dials = self.links.values().filter(|l| l.origin.is_some() && l.phase != Phase::Ready).count();
        let free = self.limits.max_sessions.saturating_sub(self.peers.len());
        self.limits.max_dials.saturating_sub(dials).min(free)
    }

    /// When the next dial or change of links is due.
    pub(super) fn dial_deadline(&self) -> Option<u64> {
        if self.choice.stale || self.dialer.is_touched() { Some(self.now) } else { self.choice.due }
    }
}
