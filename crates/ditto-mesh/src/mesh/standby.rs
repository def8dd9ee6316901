//! When a session leaves a link that is still open: for a standby, because nothing is heard any more, and back.
//!
//! Only peers with several links are watched; without a standby a silent link is given all the time that its pings give
//! it. There is one link of each class, so that a better one is always one of a better class. The controller moves the
//! session. The other side can only close a link on which it hears nothing, and does so later, because usually the
//! controller hears as little.

use std::collections::BTreeSet;

use super::sessions::Peer;
use super::{BYE_DUPLICATE, Mesh};
use crate::link::{Link, Phase};
use crate::peer_key::PeerKey;
use crate::transport::LinkId;

/// A session moves at most once in this time, unless its link is lost.
const MOVE_INTERVAL_MS: u64 = 5_000;

/// What to do about a peer with several links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ask for a sign of life.
    Probe(LinkId),
    /// Let the session go on over another link.
    Move(LinkId),
    /// Close the link; the controller will choose another one.
    GiveUp(LinkId),
}

impl Mesh {
    pub(super) fn watch_standbys(&mut self) {
        let now = self.now;
        let due: Vec<(PeerKey, Step)> = self
            .next_steps()
            .into_iter()
            .filter_map(|(peer, at, step)| (at <= now).then_some((peer, step)))
            .collect();
        for (peer, step) in due {
            match step {
                Step::Probe(id) => {
                    let nonce = self.random_u64();
                    if let Some(link) = self.links.get_mut(&id) {
                        link.ping(nonce, now);
                    }
                    self.flush_control(id);
                }
                Step::Move(id) => self.switch_to(id, &peer),
                Step::GiveUp(id) => {
                    self.drop_link(id, Some(BYE_DUPLICATE), "the peer does not answer in time")
                }
            }
        }
    }

    /// Internal time of the next step of any peer.
    pub(super) fn standby_deadline(&self) -> Option<u64> {
        self.next_steps().into_iter().map(|(_, at, _)| at).min()
    }

    /// What to do about each peer with several links, and when.
    fn next_steps(&self) -> Vec<(PeerKey, u64, Step)> {
        // Called after every input, so the usual case costs nothing.
        if self.links.len() <= self.peers.len() {
            return Vec::new();
        }
        let mut seen = BTreeSet::new();
        let ready = self.links.values().filter(|l| l.phase == Phase::Ready).filter_map(|l| l.peer);
        let several: BTreeSet<PeerKey> = ready.filter(|peer| !seen.insert(*peer)).collect();
        let of = |peer: PeerKey| {
            let (at, step) = self.next_step(&peer, self.peers.get(&peer)?)?;
            Some((peer, at, step))
        };
        several.into_iter().filter_map(of).collect()
    }

    fn next_step(&self, peer: &PeerKey, p: &Peer) -> Option<(u64, Step)> {
        let active = self.links.get(&p.rx?).filter(|_| !p.awaiting)?;
        let best = |of: &dyn Fn(&Link) -> bool| {
            let others = self.ready_links(peer).filter(|l| l.id != active.id && of(l));
            others.min_by_key(|l| (l.kind, l.id)).map(|l| l.id)
        };
        // Whoever owes an answer longer than it may is no better than what there is.
        let standby = best(&|l| l.suspect_at().is_none_or(|at| at > self.now))?;
        let patience = p.moved + MOVE_INTERVAL_MS;
        let step = match active.suspect_at() {
            Some(at) if self.is_controller(peer) => Some((at.max(patience), Step::Move(standby))),
            Some(at) => {
                // As long again as until it was suspect.
                let late = at + at.saturating_sub(active.probed_at().unwrap_or(at));
                Some((late.max(patience), Step::GiveUp(active.id)))
            }
            None if !p.session.is_settled() => Some((active.probe_at(), Step::Probe(active.id))),
            None => None,
        };
        let better = best(&|l| l.kind < active.kind && l.suspect_at().is_none());
        let back = better.filter(|_| self.is_controller(peer)).map(|id| (patience, Step::Move(id)));
        step.into_iter().chain(back).min_by_key(|(at, _)| *at)
    }
}
