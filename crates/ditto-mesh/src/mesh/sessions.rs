//! Sessions: which link carries them, and how they begin, move and end.
//!
//! The peer with the smaller key is the controller. It alone decides, by SWITCH on the chosen link; the other side
//! answers with SWITCH. A session that neither has lost goes on where it was; else a fresh one begins.

use super::{BYE_DUPLICATE, BYE_VIOLATION, Mesh};
use crate::api::{Action, SendFailure};
use crate::event::ConnectionEvent;
use crate::frame::Frame;
use crate::peer_key::PeerKey;
use crate::session::{DatagramFate, DatagramTag, Service, Session};
use crate::transport::{LinkId, LinkKind, Role};

/// Session id of SWITCH that says "I do not have this session".
const NO_SESSION: [u8; 8] = [0; 8];

/// A peer with a session.
pub(super) struct Peer {
    pub(super) session: Session,
    /// Drawn by the peer at its start.
    boot_tag: [u8; 8],
    /// The link whose frames count.
    pub(super) rx: Option<LinkId>,
    /// The link on which we may send; none while a SWITCH is under way.
    pub(super) tx: Option<LinkId>,
    /// We have sent SWITCH on `rx` and wait for the answer.
    pub(super) awaiting: bool,
    /// The app knows.
    pub(super) announced: bool,
    since: u64,
    /// When the session was last given to a link.
    pub(super) moved: u64,
    /// It had more to send than went in the last write.
    pub(super) in_burst: bool,
}

impl Mesh {
    pub(super) fn is_controller(&self, peer: &PeerKey) -> bool {
        self.local < *peer
    }

    /// Whether a link that we have dialled leads to a peer that is connected well enough already.
    pub(super) fn is_redundant(&self, id: LinkId, peer: &PeerKey) -> bool {
        let Some(p) = self.peers.get(peer).filter(|p| p.announced) else { return false };
        let (Some(new), Some(old)) = (self.links.get(&id), p.tx.and_then(|l| self.links.get(&l))) else {
            return false;
        };
        // A simultaneous dial: ours wins if we are the controller, so it has to go on.
        let ours_wins = self.is_controller(peer)
            && old.role == Role::Acceptor
            && self.now - p.since < self.limits.handshake_timeout;
        new.kind >= old.kind && !ours_wins
    }

    /// HELLO was verified.
    pub(super) fn on_ready(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let (Some(peer), Some(hello)) = (link.peer, link.hello.as_ref()) else { return };
        let (boot_tag, token) = (hello.boot_tag, hello.token.clone());
        let (remote, kind) = (link.remote.clone(), link.kind);
        self.dialer.learned_token(&token, peer);
        if self.peers.get(&peer).is_some_and(|p| p.boot_tag != boot_tag) {
            self.end_session(&peer, Some(id), "the peer was restarted");
        }
        self.event(ConnectionEvent::LinkReady { peer, remote, kind });
        if self.is_controller(&peer) {
            self.decide(id, &peer);
        }
    }

    /// The controller has one more link of a peer.
    fn decide(&mut self, id: LinkId, peer: &PeerKey) {
        let Some(p) = self.peers.get(peer) else { return self.begin(id, peer) };
        let (Some(new), Some(old)) = (self.links.get(&id), p.rx.and_then(|l| self.links.get(&l))) else {
            return self.switch_to(id, peer);
        };
        let has_session = new.hello.as_ref().is_some_and(|h| h.session == p.session.id);
        let take = match new.kind.cmp(&old.kind) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => match (new.role, old.role) {
                // Simultaneous dials: the one of the smaller key, which is ours, wins.
                (Role::Dialer, Role::Acceptor) => true,
                (Role::Dialer, Role::Dialer) => false,
                // A peer does not dial whom it is connected to, unless it has lost the old link.
                (Role::Acceptor, Role::Acceptor) => !has_session,
                (Role::Acceptor, Role::Dialer) => {
                    !has_session && self.now - p.since >= self.limits.handshake_timeout
                }
            },
        };
        if take {
            self.switch_to(id, peer);
        } else {
            self.close_duplicate(id, peer);
        }
    }

    fn close_duplicate(&mut self, id: LinkId, peer: &PeerKey) {
        if let Some(link) = self.shut(id, Some(BYE_DUPLICATE)) {
            if let Some(origin) = &link.origin {
                self.dialer.superseded(origin, self.now);
            }
            self.event(ConnectionEvent::DuplicateClosed { peer: *peer, remote: link.remote });
        }
    }

    /// The controller begins a session on a link.
    fn begin(&mut self, id: LinkId, peer: &PeerKey) {
        let mut session_id = [0; 8];
        (self.random)(&mut session_id);
        // Zero has a meaning of its own.
        session_id[7] |= 1;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.push_control(Frame::Switch { session: session_id, frames: 0 });
        // An acceptor knows only by the answer that the dialer has accepted its HELLO.
        let known = link.role == Role::Dialer;
        self.create(id, peer, session_id, true, known);
        self.flush_control(id);
        if known {
            self.establish(peer, id);
        }
    }

    fn create(&mut self, id: LinkId, peer: &PeerKey, session: [u8; 8], controller: bool, known: bool) {
        let Some(hello) = self.links.get(&id).and_then(|l| l.hello.as_ref()) else { return };
        let (max_frame, window) = (hello.max_frame as usize, u64::from(hello.window));
        let p = Peer {
            session: Session::new(session, Service::LINK, controller, &self.limits, max_frame, window),
            boot_tag: hello.boot_tag,
            rx: Some(id),
            tx: known.then_some(id),
            awaiting: !known,
            announced: false,
            since: self.now,
            moved: self.now,
            in_burst: false,
        };
        self.peers.insert(*peer, p);
        self.dialer.touch();
        self.dirty.insert(*peer);
    }

    /// The controller moves a session to a link.
    pub(super) fn switch_to(&mut self, id: LinkId, peer: &PeerKey) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        p.moved = self.now;
        p.rx = Some(id);
        p.tx = None;
        p.awaiting = true;
        self.dialer.touch();
        let frame = Frame::Switch { session: p.session.id, frames: p.session.received() };
        if let Some(link) = self.links.get_mut(&id) {
            link.deadline = Some(self.now + self.limits.handshake_timeout);
            link.push_control(frame);
        }
        self.flush_control(id);
    }

    /// SWITCH has arrived on a link.
    pub(super) fn on_switch(&mut self, id: LinkId, peer: &PeerKey, session: [u8; 8], frames: u64) {
        if self.is_controller(peer) {
            self.on_switch_answer(id, peer, session, frames);
        } else {
            self.on_switch_request(id, peer, session, frames);
        }
    }

    fn on_switch_answer(&mut self, id: LinkId, peer: &PeerKey, session: [u8; 8], frames: u64) {
        let Some(p) = self.peers.get_mut(peer).filter(|p| p.rx == Some(id)) else { return };
        if session == p.session.id && !p.awaiting {
            // The answer to a session that we began on our own dial; we did not wait for it.
            return;
        }
        let mut done = Vec::new();
        if session != p.session.id || !p.session.resume(frames, &mut done) {
            self.end_session(peer, Some(id), "the peer has lost the session");
            return self.begin(id, peer);
        }
        p.tx = Some(id);
        p.awaiting = false;
        self.deliver_transmitted(peer, done);
        self.establish(peer, id);
        for other in self.surplus_links(id, peer) {
            self.close_duplicate(other, peer);
        }
    }

    /// The links of a peer beside the active one that are not worth keeping. One of each other kind stays as a standby,
    /// so that the session goes on at once when the active link is lost; over Bluetooth only if that is wanted.
    fn surplus_links(&self, active: LinkId, peer: &PeerKey) -> Vec<LinkId> {
        let mut kinds: Vec<LinkKind> = self.links.get(&active).map(|l| l.kind).into_iter().collect();
        if !self.limits.bluetooth_standby {
            kinds.push(LinkKind::Bluetooth);
        }
        let mut surplus = Vec::new();
        for link in self.ready_links(peer).filter(|l| l.id != active) {
            if kinds.contains(&link.kind) {
                surplus.push(link.id);
            } else {
                kinds.push(link.kind);
            }
        }
        surplus
    }

    fn on_switch_request(&mut self, id: LinkId, peer: &PeerKey, session: [u8; 8], frames: u64) {
        let mut done = Vec::new();
        let same = self.peers.get_mut(peer).filter(|p| p.session.id == session);
        let resumed = same.is_some_and(|p| p.session.resume(frames, &mut done));
        if !resumed {
            self.end_session(peer, Some(id), "the peer began a new session");
            if frames == 0 && session != NO_SESSION {
                self.create(id, peer, session, false, true);
            }
        }
        let answer = match self.peers.get_mut(peer) {
            Some(p) => {
                (p.rx, p.tx) = (Some(id), Some(id));
                Frame::Switch { session, frames: p.session.received() }
            }
            None => Frame::Switch { session: NO_SESSION, frames: 0 },
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.push_control(answer);
        }
        self.flush_control(id);
        self.deliver_transmitted(peer, done);
        self.establish(peer, id);
    }

    /// The session may send on this link: tells the app if it is new, the log if it moved.
    fn establish(&mut self, peer: &PeerKey, id: LinkId) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.deadline = None;
        let Some(hello) = link.hello.as_ref() else { return };
        let (kind, remote) = (link.kind, link.remote.clone());
        let info = self.greeter.info(*peer, hello, kind, &remote, self.wall);
        self.presence.neighbour_up(info.clone(), self.now);
        let role = link.role;
        self.choice.outdated();
        self.circuits.peer_up(*peer, kind);
        if p.announced {
            self.event(ConnectionEvent::Switched { peer: *peer, kind, remote });
        } else {
            p.announced = true;
            p.since = self.now;
            let device_name = info.device_name.clone();
            self.actions.push_back(Action::PeerConnected(info));
            self.event(ConnectionEvent::Connected { peer: *peer, device_name, kind, remote, role });
        }
        let nonce = self.random_u64();
        if let Some(link) = self.links.get_mut(&id) {
            link.ping(nonce, self.now);
        }
        self.dirty.insert(*peer);
    }

    /// A link of a peer is gone, out of the map already.
    pub(super) fn session_lost_link(&mut self, peer: &PeerKey, id: LinkId, reason: &str) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        if p.tx == Some(id) {
            p.tx = None;
        }
        if p.rx == Some(id) {
            p.rx = None;
            p.awaiting = false;
        }
        if p.rx.is_some() {
            return;
        }
        let best = self.ready_links(peer).min_by_key(|l| (l.kind, l.role, l.id)).map(|l| l.id);
        match best {
            None => self.end_session(peer, None, reason),
            Some(best) if self.is_controller(peer) => self.switch_to(best, peer),
            // The controller will choose; give it time, then give up.
            Some(best) => {
                if let Some(l) = self.links.get_mut(&best) {
                    l.deadline = Some(self.now + self.limits.handshake_timeout);
                }
            }
        }
    }

    /// Ends a session and closes the peer's links, except `keep`.
    pub(super) fn end_session(&mut self, peer: &PeerKey, keep: Option<LinkId>, reason: &str) {
        let Some(mut p) = self.peers.remove(peer) else { return };
        self.dirty.remove(peer);
        self.requests.forget(peer);
        self.choice.outdated();
        let (messages, datagrams) = p.session.drain();
        for tag in messages {
            self.send_failed(*peer, tag, SendFailure::Disconnected);
        }
        for tag in datagrams {
            match tag {
                DatagramTag::App(tag) => self.send_failed(*peer, tag, SendFailure::Disconnected),
                tag => self.circuits.on_fate(DatagramFate { tag, sent: false }),
            }
        }
        self.circuits.peer_down(peer);
        if p.announced {
            self.presence.neighbour_down(peer, self.now);
            self.actions.push_back(Action::PeerDisconnected { peer: *peer, reason: reason.to_owned() });
            self.event(ConnectionEvent::Disconnected { peer: *peer, reason: reason.to_owned() });
        }
        let links: Vec<LinkId> = self.ready_links(peer).map(|l| l.id).filter(|l| Some(*l) != keep).collect();
        for link in links {
            self.shut(link, Some(BYE_DUPLICATE));
        }
        let (now, random) = (self.now, &mut self.random);
        self.dialer.disconnected(peer, now - p.since, now, || {
            let mut b = [0; 8];
            random(&mut b);
            u64::from_le_bytes(b)
        });
    }

    /// Throws a peer out.
    pub(super) fn disconnect(&mut self, peer: &PeerKey, bye: u64, reason: &str) {
        let links: Vec<LinkId> = self.ready_links(peer).map(|l| l.id).collect();
        for link in links {
            self.shut(link, Some(bye));
        }
        self.end_session(peer, None, reason);
    }

    pub(super) fn violation(&mut self, peer: &PeerKey, reason: String) {
        self.disconnect(peer, BYE_VIOLATION, &reason);
        self.event(ConnectionEvent::Violation { peer: *peer, reason });
    }
}
