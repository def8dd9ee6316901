//! What happens because time has passed: timeouts, pings, dials.

use super::Mesh;
use crate::api::Action;
use crate::event::Refusal;
use crate::link::{Link, Liveness, Phase};
use crate::transport::LinkId;

impl Mesh {
    pub(super) fn run_timers(&mut self) {
        if !self.running {
            return;
        }
        self.run_links();
        self.watch_standbys();
        self.run_sessions();
    }

    /// The device is on another network: what could not be reached may be reachable now, and what was reached may not be any
    /// more.
    pub(super) fn network_changed(&mut self) {
        let now = self.now;
        self.dialer.network_changed(now);
        let ready: Vec<LinkId> =
            self.links.values().filter(|l| l.phase == Phase::Ready).map(|l| l.id).collect();
        for id in ready {
            let nonce = self.random_u64();
            if let Some(link) = self.links.get_mut(&id) {
                link.verify(nonce, now);
            }
            self.flush_control(id);
        }
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
                Phase::Greeting if self.links.get(&id).is_some_and(|l| l.asked.is_some()) => {
                    self.refuse(id, Refusal::NotAnswered);
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
                        link.ping(nonce, now);
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
        let others = [
            self.standby_deadline(),
            self.dial_deadline(),
            self.presence.next_deadline(),
            self.circuits.next_deadline(),
        ];
        links.chain(sessions).chain(others.into_iter().flatten()).min()
    }
}
