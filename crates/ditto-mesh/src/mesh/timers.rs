//! What happens because time has passed: timeouts, pings, dials.

use super::Mesh;
use crate::api::Action;
use crate::event::{ConnectionEvent, Refusal};
use crate::frame::Frame;
use crate::link::{Link, Liveness, Phase};
use crate::peer_key::PeerKey;
use crate::transport::LinkId;

impl Mesh {
    pub(super) fn run_timers(&mut self) {
        if !self.running {
            return;
        }
        self.run_links();
        self.run_sessions();
        self.run_dials();
    }

    fn run_links(&mut self) {
        let now = self.now;
        let late: Vec<(LinkId, Phase)> = self
            .links
            .values()
            .filter(|l| l.deadline.is_some_and(|d| d <= now))
            .map(|l| (l.id, l.phase))
            .collect();
        for (id, phase) in late {
            match phase {
                Phase::Dialing => {
                    self.actions.push_back(Action::Close { link: id });
                    self.on_dial_failed(id, "no answer".into());
                }
                Phase::Greeting => self.refuse(id, Refusal::Timeout),
                Phase::Ready => self.drop_link(id, None, "the peer did not use the link"),
            }
        }
        let interval = self.limits.ping_interval;
        let silent: Vec<(LinkId, Liveness)> = self
            .links
            .values_mut()
            .map(|l| (l.id, l.liveness(now, interval)))
            .filter(|(_, state)| *state != Liveness::Fine)
            .collect();
        for (id, state) in silent {
            match state {
                Liveness::Fine => {}
                Liveness::Dead => self.drop_link(id, None, "the peer does not answer"),
                Liveness::Ping => {
                    let nonce = self.random_u64();
                    if let Some(link) = self.links.get_mut(&id) {
                        link.push_control(Frame::Ping { nonce });
                    }
                    self.flush_control(id);
                }
            }
        }
    }

    fn run_sessions(&mut self) {
        let now = self.now;
        let mut expired = Vec::new();
        for (peer, p) in &mut self.peers {
            let mut fates = Vec::new();
            p.session.expire(now, &mut fates);
            if !fates.is_empty() {
                expired.push((*peer, fates));
            }
            if p.session.fack_deadline().is_some_and(|at| at <= now) {
                self.dirty.insert(*peer);
            }
        }
        for (peer, fates) in expired {
            self.report_datagrams(&peer, fates);
        }
    }

    fn run_dials(&mut self) {
        let room = self.dial_room();
        if room == 0 {
            return;
        }
        let peers = &self.peers;
        for dial in self.dialer.due(self.now, room, |p| peers.contains_key(p)) {
            let id = LinkId(self.next_link);
            self.next_link += 1;
            let deadline = self.now + self.limits.dial_timeout;
            self.dialer.started(&dial.origin, id);
            self.links.insert(id, Link::dialing(id, dial.origin, dial.target.clone(), deadline));
            self.event(ConnectionEvent::Dialing { target: dial.target.clone() });
            self.actions.push_back(Action::Dial { link: id, target: dial.target });
        }
    }

    /// Dials that may be made now.
    fn dial_room(&self) -> usize {
        let dials = self.links.values().filter(|l| l.origin.is_some() && l.phase != Phase::Ready).count();
        let free = self.limits.max_sessions.saturating_sub(self.peers.len());
        self.limits.max_dials.saturating_sub(dials).min(free)
    }

    /// Internal time of the next thing to do.
    pub(super) fn deadline(&self) -> Option<u64> {
        if !self.running {
            return None;
        }
        let links = self.links.values().filter_map(Link::next_deadline);
        let sessions = self.peers.values().flat_map(|p| {
            // A link without room reports when it has some again.
            let fack = p.session.fack_deadline().filter(|_| self.has_room(p));
            fack.into_iter().chain(p.session.datagram_deadline())
        });
        let is_connected = |p: &PeerKey| self.peers.contains_key(p);
        let dial = if self.dial_room() > 0 { self.dialer.next_deadline(is_connected) } else { None };
        links.chain(sessions).chain(dial).chain(self.presence.next_deadline()).min()
    }
}
