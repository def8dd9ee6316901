//! What of the machine others may look at.

use std::collections::{BTreeMap, VecDeque};

use super::Mesh;
use crate::diagnostics::{TransportDiagnostics, TransportPeer, TransportSnapshot};
use crate::link::{Link, Phase};
use crate::transport::LinkKind;

/// Ended links remembered.
const MAX_ENDED: usize = 64;

/// Links that have ended, newest last.
pub(super) type Ended = VecDeque<(LinkKind, TransportPeer)>;

impl Mesh {
    /// What the links are doing now.
    pub fn diagnostics(&self) -> TransportDiagnostics {
        let mut all: BTreeMap<LinkKind, TransportSnapshot> = BTreeMap::new();
        for link in self.links.values() {
            let snapshot = all.entry(link.kind).or_insert_with(|| TransportSnapshot::new(link.kind));
            let list = match link.phase {
                Phase::Ready => &mut snapshot.connected,
                Phase::Dialing | Phase::Greeting => &mut snapshot.connecting,
            };
            list.push(self.describe(link));
        }
        for (kind, peer) in &self.ended {
            let snapshot = all.entry(*kind).or_insert_with(|| TransportSnapshot::new(*kind));
            snapshot.disconnected.push(peer.clone());
        }
        TransportDiagnostics { transports: all.into_values().collect() }
    }

    fn describe(&self, link: &Link) -> TransportPeer {
        let since = self.wall.saturating_sub(self.now.saturating_sub(link.since));
        TransportPeer {
            round_trip_ms: link.measured.map(|(rtt, _)| rtt),
            clock_offset_ms: link.measured.map(|(_, offset)| offset),
            ..TransportPeer::new(link.peer, link.remote.clone(), link.role, since)
        }
    }

    /// A ready link is gone.
    pub(super) fn remember_end(&mut self, link: &Link) {
        if link.phase == Phase::Ready {
            let ended = TransportPeer { since_ms: self.wall, ..self.describe(link) };
            if self.ended.len() == MAX_ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back((link.kind, ended));
        }
    }
}
