//! Which peers a collection is synced with.

/// Scope of a collection in `user_collection_sync_scopes`. Collections without an entry have [`SyncScope::AllPeers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SyncScope {
    /// With every peer.
    #[default]
    AllPeers,
    /// With nobody.
    LocalPeerOnly,
    /// With devices, not with servers.
    SmallPeersOnly,
    /// With servers only.
    BigPeerOnly,
}

impl SyncScope {
    const ALL: [(&'static str, SyncScope); 4] = [
        ("AllPeers", SyncScope::AllPeers),
        ("LocalPeerOnly", SyncScope::LocalPeerOnly),
        ("SmallPeersOnly", SyncScope::SmallPeersOnly),
        ("BigPeerOnly", SyncScope::BigPeerOnly),
    ];

    /// The scope with a name, whatever its case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, s)| *s)
    }

    /// The name as it is shown.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, s)| *s == self).map_or("AllPeers", |(n, _)| n)
    }
}
