//! Numbers of sessions: what replication does for one session of a peer must not touch the next.

use std::collections::HashMap;

use ditto_mesh::PeerKey;

/// The sessions that the mesh has now.
///
/// Replication runs behind the network: while it works on what it was told, a peer may be gone and back. What it then sends or
/// acknowledges is meant for the session that it knows of. In the next one a message of the last would be a protocol
/// violation at best, and at worst a token that promises documents which were lost on the way.
#[derive(Debug, Default)]
pub struct Sessions {
    last: u64,
    current: HashMap<PeerKey, u64>,
}

impl Sessions {
    /// A session begins; returns its number, which is never 0.
    pub fn begin(&mut self, peer: PeerKey) -> u64 {
        self.last += 1;
        self.current.insert(peer, self.last);
        self.last
    }

    /// The session of a peer ends.
    pub fn end(&mut self, peer: &PeerKey) {
        self.current.remove(peer);
    }

    /// Whether this is the peer's session now.
    pub fn is_current(&self, peer: &PeerKey, session: u64) -> bool {
        self.current.get(peer) == Some(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_session_of_now_is_current() {
        let identity = ditto_mesh::Identity::generate(&mut |out| out.fill(3));
        let (peer, mut sessions) = (identity.peer_key(), Sessions::default());
        assert!(!sessions.is_current(&peer, 0));
        let first = sessions.begin(peer);
        assert!(sessions.is_current(&peer, first));
        sessions.end(&peer);
        assert!(!sessions.is_current(&peer, first));
        let second = sessions.begin(peer);
        assert!(sessions.is_current(&peer, second) && !sessions.is_current(&peer, first));
    }
}
