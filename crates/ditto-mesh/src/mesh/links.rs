//! Links from the moment the transport opens them until HELLO is verified, and their end.

use std::collections::BTreeMap;

use super::{BYE_REFUSED, Mesh};
use crate::api::Action;
use crate::chooser::ConnectionPriority;
use crate::event::{ConnectionEvent, Refusal};
use crate::frame::Frame;
use crate::hello::{Greeting, Hello};
use crate::link::{Link, Phase};
use crate::peer_key::PeerKey;
use crate::tls::TlsError;
use crate::transport::{LinkId, LinkKind, Role};

/// Bytes that a link may receive before it is ready: TLS handshake, HELLO, and what came in one piece with them.
const MAX_UNAUTHENTICATED: usize = 192 << 10;

/// Authenticated links of one peer.
const MAX_LINKS_PER_PEER: usize = 4;

/// Frames of a link itself that wait for the transport; a peer that provokes more is thrown out.
const MAX_CONTROL: usize = 4 << 10;

impl Mesh {
    pub(super) fn on_link_up(&mut self, id: LinkId, kind: LinkKind, role: Role, remote: String) {
        let known = self.links.get(&id).map(|l| (l.phase, l.role));
        let expected = match role {
            Role::Dialer => known == Some((Phase::Dialing, Role::Dialer)),
            Role::Acceptor => known.is_none(),
        };
        if !self.running || !expected {
            return self.actions.push_back(Action::Close { link: id });
        }
        if role == Role::Acceptor && self.pending_links() >= self.limits.max_pending_links {
            let random = self.random_u64();
            let Some(victim) = early_drop(self.links.values(), random) else {
                self.actions.push_back(Action::Close { link: id });
                let (peer, by_us, reason) = (None, true, Refusal::Capacity);
                return self.event(ConnectionEvent::Refused { remote, kind, role, peer, by_us, reason });
            };
            self.refuse(victim, Refusal::Capacity);
        }
        let channel = self.tls.as_ref().map(|t| t.channel(role));
        let deadline = self.now + self.limits.handshake_timeout;
        let link = self.links.entry(id).or_insert_with(|| Link::accepted(id, role));
        match channel {
            Some(Ok(channel)) => {
                link.open(kind, remote, channel, deadline);
                link.since = self.now;
                self.dialer.touch();
                self.flush_output(id);
            }
            failed => {
                let reason = failed.and_then(Result::err).map_or("no TLS".into(), |e| e.to_string());
                self.refuse(id, Refusal::Tls(reason));
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, id: LinkId, reason: String) {
        if self.links.get(&id).is_some_and(|l| l.phase == Phase::Dialing)
            && let Some(link) = self.links.remove(&id)
        {
            self.dial_failed(&link, reason);
        }
    }

    /// Notes that the dial behind a link led nowhere.
    fn dial_failed(&mut self, link: &Link, reason: String) {
        let Some(origin) = &link.origin else { return };
        let random = self.random_u64();
        let retry_in_ms = self.dialer.failed(origin, self.now, random);
        if link.phase == Phase::Dialing
            && let Some(target) = link.target.clone()
        {
            self.event(ConnectionEvent::DialFailed { target, reason, retry_in_ms });
        }
    }

    pub(super) fn on_bytes(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id).filter(|l| l.channel.is_some()) else { return };
        link.heard(self.now);
        let outcome = if link.phase == Phase::Ready {
            self.receive(id, bytes)
        } else {
            self.receive_greeting(id, bytes)
        };
        self.flush_control(id);
        let Some(link) = self.links.get(&id) else { return };
        if let Err(e) = outcome {
            match link.phase {
                Phase::Ready => self.drop_link(id, None, &e.to_string()),
                _ => self.refuse(id, Refusal::Tls(e.to_string())),
            }
        }
    }

    /// Takes bytes of a link that is not ready; they may make it so.
    fn receive_greeting(&mut self, id: LinkId, bytes: &[u8]) -> Result<(), TlsError> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(channel) = link.channel.as_mut() else { return Ok(()) };
        let mut plain = std::mem::take(&mut link.plain);
        let outcome = channel.receive(bytes, &mut plain);
        if link.phase == Phase::Greeting {
            link.unauthenticated += bytes.len();
            if link.unauthenticated > MAX_UNAUTHENTICATED {
                self.refuse(id, Refusal::Malformed("too much before HELLO".into()));
                return Ok(());
            }
            self.flush_output(id);
            self.greet(id, &mut plain);
        }
        if self.links.get(&id).is_some_and(|l| l.phase == Phase::Ready) {
            self.read_frames(id, &mut plain);
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.plain = plain;
        }
        outcome
    }

    /// TLS has moved on, or a greeting may have arrived.
    fn greet(&mut self, id: LinkId, plain: &mut Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.peer.is_none() {
            let peer = match link.channel.as_ref().map(|c| c.peer()) {
                Some(Ok(Some(peer))) => peer,
                Some(Ok(None)) | None => return,
                Some(Err(e)) => return self.refuse(id, Refusal::Tls(e.to_string())),
            };
            link.peer = Some(peer);
            if peer == self.local {
                return self.refuse(id, Refusal::SelfConnection);
            }
            if link.role == Role::Dialer {
                if let Some(origin) = &link.origin {
                    self.dialer.learned(origin, peer);
                }
                if self.priority_of(&peer) == ConnectionPriority::DontConnect {
                    return self.refuse(id, Refusal::NotWanted);
                }
                if self.is_redundant(id, &peer) {
                    return self.refuse(id, Refusal::Duplicate);
                }
                self.say_hello(id);
            }
        }
        if self.links.get(&id).is_some_and(|l| l.asked.is_some()) {
            // Until we have answered its HELLO the dialer has nothing to say but that it gives up.
            if !plain.is_empty() {
                self.refuse(id, Refusal::Malformed("more than HELLO before it was answered".into()));
            }
            return;
        }
        match Greeting::take(plain) {
            Ok(None) => {}
            Ok(Some(Greeting::Refused(reason))) => self.on_refused(id, reason),
            Ok(Some(Greeting::Hello(hello))) => self.on_hello(id, hello),
            Err(reason) => self.refuse(id, reason),
        }
    }

    fn on_hello(&mut self, id: LinkId, hello: Box<Hello>) {
        let Some(link) = self.links.get(&id) else { return };
        let (Some(peer), Some(channel)) = (link.peer, link.channel.as_ref()) else { return };
        let other_side = if link.role == Role::Dialer { Role::Acceptor } else { Role::Dialer };
        if let Err(reason) = self.greeter.check(channel, other_side, &hello) {
            return self.refuse(id, reason);
        }
        let role = link.role;
        let of_peer = self.ready_links(&peer).count();
        if of_peer >= MAX_LINKS_PER_PEER {
            return self.refuse(id, Refusal::Capacity);
        }
        match role {
            Role::Acceptor => self.request(id, peer, hello),
            Role::Dialer
                if !self.peers.contains_key(&peer) && self.peers.len() >= self.limits.max_sessions =>
            {
                self.refuse(id, Refusal::Capacity);
            }
            Role::Dialer => self.make_ready(id, hello),
        }
    }

    pub(super) fn say_hello(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let session =
            link.peer.and_then(|p| self.peers.get(&p)).map(|p| (p.session.id, p.session.received()));
        let Some(channel) = link.channel.as_ref() else { return };
        let hello = self.greeter.hello(channel, link.role, link.kind, self.wall, session.unwrap_or_default());
        link.said_hello = true;
        if link.role == Role::Dialer {
            // The other side may have to ask its app.
            link.deadline = Some(self.now + self.limits.handshake_timeout + self.limits.request_timeout);
        }
        match hello.and_then(|h| link.send(&h)) {
            Ok(()) => self.flush_output(id),
            Err(e) => self.refuse(id, Refusal::Tls(e.to_string())),
        }
    }

    /// Closes a link that may not carry anything, and tells the other side why if it can listen.
    pub(super) fn refuse(&mut self, id: LinkId, reason: Refusal) {
        let Some(mut link) = self.links.remove(&id) else { return };
        if link.peer.is_some() {
            // The acceptor expects frames once it has answered our HELLO.
            let mut message = Vec::new();
            if link.role == Role::Dialer && link.said_hello {
                Frame::GoAway { code: BYE_REFUSED + reason.code() }.encode(&mut message);
            } else {
                message = Greeting::encode_refusal(&reason);
            }
            // A channel that fails here is closed anyway.
            let _ = link.send(&message);
        }
        self.close_channel(&mut link);
        self.settle_refused(link, reason, true);
    }

    /// The other side has refused us.
    pub(super) fn on_refused(&mut self, id: LinkId, reason: Refusal) {
        let Some(mut link) = self.links.remove(&id) else { return };
        self.close_channel(&mut link);
        self.settle_refused(link, reason, false);
    }

    fn settle_refused(&mut self, link: Link, reason: Refusal, by_us: bool) {
        match (&link.origin, &reason) {
            (Some(origin), Refusal::Duplicate) => self.dialer.superseded(origin, self.now),
            (Some(origin), Refusal::SelfConnection) => self.dialer.is_self(origin),
            _ => self.dial_failed(&link, reason.to_string()),
        }
        let Link { remote, kind, role, peer, .. } = link;
        match (reason, peer) {
            (Refusal::Duplicate, Some(peer)) => self.event(ConnectionEvent::DuplicateClosed { peer, remote }),
            (reason, peer) => {
                self.event(ConnectionEvent::Refused { remote, kind, role, peer, by_us, reason })
            }
        }
    }

    /// Ends TLS and the link. The link is out of the map already.
    fn close_channel(&mut self, link: &mut Link) {
        if let Some(c) = link.channel.as_mut() {
            c.close();
        }
        let bytes = link.take_output();
        if !bytes.is_empty() {
            self.actions.push_back(Action::Write { link: link.id, bytes });
        }
        self.actions.push_back(Action::Close { link: link.id });
    }

    /// Closes a link, with a GOAWAY if it is ready, and forgets it. The caller settles session and dialling.
    pub(super) fn shut(&mut self, id: LinkId, bye: Option<u64>) -> Option<Link> {
        let mut link = self.links.remove(&id)?;
        self.choice.outdated();
        self.remember_end(&link);
        if let (Phase::Ready, Some(code)) = (link.phase, bye) {
            link.push_control(Frame::GoAway { code });
            let control = std::mem::take(&mut link.control);
            let _ = link.send(&control);
        }
        self.close_channel(&mut link);
        if let Some(origin) = &link.origin {
            self.dialer.released(origin);
        }
        Some(link)
    }

    /// Closes a ready link and lets its session go on elsewhere or end.
    pub(super) fn drop_link(&mut self, id: LinkId, bye: Option<u64>, reason: &str) {
        if let Some(link) = self.shut(id, bye) {
            self.on_link_lost(link, reason);
        }
    }

    pub(super) fn on_link_down(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.remove(&id) else { return };
        match link.phase {
            Phase::Ready => {
                self.choice.outdated();
                self.remember_end(&link);
                self.on_link_lost(link, reason);
            }
            phase => {
                self.dial_failed(&link, reason.to_owned());
                if phase == Phase::Greeting {
                    let (peer, remote) = (link.peer, link.remote);
                    self.event(ConnectionEvent::LinkClosed { peer, remote, reason: reason.to_owned() });
                }
            }
        }
    }

    fn on_link_lost(&mut self, link: Link, reason: &str) {
        let Some(peer) = link.peer else { return };
        let had_session = self.peers.contains_key(&peer);
        self.session_lost_link(&peer, link.id, reason);
        if let Some(origin) = &link.origin {
            match (self.peers.contains_key(&peer), had_session) {
                (true, _) => self.dialer.superseded(origin, self.now),
                (false, true) => self.dialer.released(origin),
                (false, false) => self.dial_failed(&link, reason.to_owned()),
            }
        }
        self.event(ConnectionEvent::LinkClosed {
            peer: Some(peer),
            remote: link.remote,
            reason: reason.to_owned(),
        });
    }

    pub(super) fn on_written(&mut self, id: LinkId, bytes: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // While there was room, nothing has waited for more of it.
        let waited = link.room(&self.limits) == 0;
        link.written(bytes, self.now);
        self.dirty.extend(link.peer.filter(|_| waited));
        self.flush_control(id);
    }

    /// Hands the ciphertext of a link to the transport.
    pub(super) fn flush_output(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let bytes = link.take_output();
        if !bytes.is_empty() {
            self.actions.push_back(Action::Write { link: id, bytes });
        }
    }

    /// Sends the frames of a link itself, if the transport keeps up.
    pub(super) fn flush_control(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.control.is_empty() {
            return;
        }
        if link.room(&self.limits) == 0 {
            if link.control.len() > MAX_CONTROL {
                self.drop_link(id, None, "the peer provokes answers and does not read them");
            }
            return;
        }
        let control = std::mem::take(&mut link.control);
        match link.send(&control) {
            Ok(()) => self.flush_output(id),
            Err(e) => self.drop_link(id, None, &e.to_string()),
        }
    }

    fn pending_links(&self) -> usize {
        self.links.values().filter(|l| l.phase == Phase::Greeting).count()
    }

    /// The authenticated links of a peer.
    pub(super) fn ready_links(&self, peer: &PeerKey) -> impl Iterator<Item = &Link> {
        let peer = *peer;
        self.links.values().filter(move |l| l.phase == Phase::Ready && l.peer == Some(peer))
    }
}

/// The accepted link that makes room for another when too many are pending.
///
/// Whoever keeps links open without proving anything must not keep others out. So an address with the most of them
/// gives one up, a random one of the older half: an honest peer is done within a few round trips, long before it is
/// among those, and nobody can aim at it. A peer that has proven itself and waits for the app's answer is never dropped.
fn early_drop<'a>(links: impl Iterator<Item = &'a Link>, random: u64) -> Option<LinkId> {
    let mut by_host: BTreeMap<&str, Vec<(u64, LinkId)>> = BTreeMap::new();
    for link in links.filter(|l| l.phase == Phase::Greeting && l.role == Role::Acceptor && l.asked.is_none())
    {
        by_host.entry(host(&link.remote)).or_default().push((link.since, link.id));
    }
    let most = by_host.values().map(Vec::len).max()?;
    let mut oldest: Vec<_> = by_host.into_values().filter(|l| l.len() == most).flatten().collect();
    oldest.sort_unstable();
    oldest.truncate(oldest.len().div_ceil(2));
    let pick = random % u64::try_from(oldest.len()).ok()?;
    oldest.get(usize::try_from(pick).ok()?).map(|&(_, id)| id)
}

/// The address in `address:port`; something else, as the name of a device, is taken whole.
fn host(remote: &str) -> &str {
    remote.rsplit_once(':').map_or(remote, |(host, _)| host)
}
