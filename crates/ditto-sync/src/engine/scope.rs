//! Collections that the store keeps to itself: nothing of them is sent, whoever subscribes. What peers send of them is
//! taken.
//!
//! A subscription to such a collection is answered with DENIED, which leaves its cursor where it is. That the store shares a
//! collection again, or does not any more, is noticed with the next commit to it: from then on the peer is served, or denied.

use smol_str::SmolStr;

use super::Core;
use super::session::Session;
use crate::peer::Lane;
use crate::store::{LocalCommit, SyncStore};
use crate::wire::{Message, SubMode, Subst};

impl<S: SyncStore> Session<S> {
    /// Denies a subscription.
    pub(crate) fn deny(&mut self, core: &mut Core<S>, sid: u32, collection: &str) {
        self.send.denied.insert(sid, SmolStr::new(collection));
        self.put(core, Lane::Live, &Message::Subst(Subst { sid, mode: SubMode::Denied, count: 0 }));
    }

    /// Stops to serve what is not shared any more, and has the peer ask again for what is.
    pub(crate) fn follow_scopes(&mut self, core: &mut Core<S>, commit: &LocalCommit) {
        if self.send.subs.is_empty() && self.send.denied.is_empty() {
            return;
        }
        // Most commits are about one collection.
        let mut last: Option<&SmolStr> = None;
        for collection in commit.changes.iter().map(|c| &c.collection) {
            if last.replace(collection) == Some(collection) {
                continue;
            }
            if !core.store.shares(collection) {
                self.restart(core, |s| s.collection == *collection);
                continue;
            }
            let denied = self.send.denied.iter().filter(|(_, c)| *c == collection);
            let again: Vec<u32> = denied.map(|(sid, _)| *sid).collect();
            for sid in again {
                self.send.denied.remove(&sid);
                self.put(core, Lane::Live, &Message::Subst(Subst { sid, mode: SubMode::Again, count: 0 }));
            }
        }
    }
}
