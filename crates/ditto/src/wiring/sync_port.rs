//! Replication's side of the mesh: what it is told, and what it wants, each with the session that it is meant for.

use std::collections::HashMap;

use ditto_mesh::{Lane, PeerKey};
use ditto_sync::{Input, PeerId, SyncEngine, SyncStore};

use super::ForSync;

/// For the mesh, unless this session of the peer is over.
#[derive(Debug)]
pub struct FromSync {
    /// With whom.
    pub peer: PeerKey,
    /// The number of [`super::Sessions`]; 0, which is none, when replication knows of none.
    pub session: u64,
    /// What.
    pub input: ditto_mesh::Input,
}

/// The sessions that a replication machine works for, which may be behind those of the mesh.
#[derive(Debug, Default)]
pub struct SyncPort {
    sessions: HashMap<PeerKey, u64>,
}

impl SyncPort {
    fn about(&self, peer: PeerKey, input: ditto_mesh::Input) -> FromSync {
        FromSync { peer, session: self.sessions.get(&peer).copied().unwrap_or(0), input }
    }

    /// Tells the machine, and returns what the mesh is to know of it.
    pub fn message<S: SyncStore>(
        &mut self,
        engine: &mut SyncEngine<S>,
        message: ForSync,
        now: u64,
    ) -> Option<FromSync> {
        match message {
            ForSync::PeerUp { peer, session, store_id, epoch } => {
                self.sessions.insert(peer, session);
                engine.handle(Input::PeerUp { peer: peer_id(&peer), store_id, epoch }, now);
                None
            }
            ForSync::PeerDown { peer } => {
                engine.handle(Input::PeerDown { peer: peer_id(&peer) }, now);
                self.sessions.remove(&peer);
                None
            }
            ForSync::Message { peer, lane, bytes } => {
                let length = bytes.len();
                if let Some(lane) = lane_of_sync(lane) {
                    engine.handle(Input::Message { peer: peer_id(&peer), lane, bytes }, now);
                }
                Some(self.about(peer, ditto_mesh::Input::Consumed { peer, lane, bytes: length }))
            }
            ForSync::Queued { peer, lane, bytes } => {
                if let Some(lane) = lane_of_sync(lane) {
                    engine.handle(Input::Queued { peer: peer_id(&peer), lane, bytes }, now);
                }
                None
            }
        }
    }

    /// A message of the machine for the mesh.
    pub fn send(&self, peer: &PeerId, lane: ditto_sync::Lane, bytes: Vec<u8>) -> Option<FromSync> {
        let lane = match lane {
            ditto_sync::Lane::Live => Lane::SyncLive,
            ditto_sync::Lane::Bulk => Lane::SyncBulk,
        };
        let peer = peer_key(peer)?;
        Some(self.about(peer, ditto_mesh::Input::Send { peer, lane, bytes: bytes.into(), tag: 0 }))
    }

    /// The end of a session, as the machine wants it.
    pub fn disconnect(&self, peer: &PeerId, reason: String) -> Option<FromSync> {
        let peer = peer_key(peer)?;
        Some(self.about(peer, ditto_mesh::Input::Disconnect { peer, reason }))
    }
}

fn lane_of_sync(lane: Lane) -> Option<ditto_sync::Lane> {
    match lane {
        Lane::SyncLive => Some(ditto_sync::Lane::Live),
        Lane::SyncBulk => Some(ditto_sync::Lane::Bulk),
        Lane::Bus | Lane::Blobs => None,
    }
}

fn peer_id(key: &PeerKey) -> PeerId {
    PeerId(*key.as_bytes())
}

fn peer_key(id: &PeerId) -> Option<PeerKey> {
    PeerKey::from_bytes(&id.0).ok()
}
