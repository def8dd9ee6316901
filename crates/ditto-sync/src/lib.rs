//! Replication: the state machine that keeps subscribed documents converged between stores.
//!
//! The crate is pure. A [`SyncEngine`] takes [`Input`]s (sessions, messages, commits, subscriptions, time) and
//! gives back [`Action`]s; it reads and writes documents only through a [`SyncStore`]. The same code serves both
//! roles of every peer: the *receiver*, who subscribes, and the *sender*, who holds documents.
//!
//! # How it works
//!
//! The receiver holds the cursor: how far it is in the sender's commit sequence, per sender and query. With a
//! valid cursor the sender scans what changed since (RESUME). Without one it streams its view if the receiver
//! holds nothing (FULL); otherwise both compare their views (RECON): first a fingerprint (ROOT), then, if it
//! differs, as many symbols of a rateless sketch as the difference needs (SYM), or a listing where that is shorter
//! (LIST). From then on commits are pushed as they are made.
//!
//! A document that leaves the view is still the receiver's business while the receiver holds a copy that
//! matches. The sender says so with HINT (or sends the tombstone), and the receiver asks with WANT if it cares.
//! In the other direction the receiver announces with HAVE what it gained from elsewhere.
//!
//! # Decisions
//!
//! * **Two lanes** lead to a peer, [`Lane::Live`] and [`Lane::Bulk`], without order between them. Documents are
//!   merged whatever the state of the subscription. A cursor moves only while its subscription is LIVE: after
//!   the end marker of the scan came on the bulk lane, after SUBST came on the live lane (so that everything
//!   pushed before the scan has arrived too), and while no WANT to that peer is unanswered. A stale cursor is
//!   always safe; a too-new one never is.
//! * **A sender that falls behind** (the live lane is full, or a commit is too large to push) drops the peer's
//!   subscriptions and says so with SUBST `Again`, behind all pushes; the receiver asks again with its cursor.
//! * **ROOT** comes on the bulk lane, so that the receiver compares what it holds after older copies have come. It is not
//!   salted: the hashes are keyed by the database, and a salt would mean to sum over all documents for each session.
//! * **Deltas** are pushed when the document was in the receiver's view before the commit, also when the commit
//!   takes it out or deletes it. A receiver that lacks the base asks on the live lane and is answered on the
//!   bulk lane, behind whatever older copy is still under way there. Hence no push can be overtaken and undone.
//! * **Digests known to the peer** are those it sent (unless it may have evicted them since, which the generation
//!   on bulk pages tells) and whole documents pushed to it on the live lane; never those sent on the bulk lane,
//!   because a token on the live lane may arrive before them.
//! * **Held filter**: none yet. The sender behaves as with the filter "everything": it hints at every changed
//!   document of the collection that is out of view, and sends tombstones.
//! * **Announcements** (HAVE) cover documents newly matching a subscription. They are left out for documents that
//!   are pushed whole to that peer anyway: if the peer knows more it replies with its state. They are made for
//!   subscriptions to a whole collection too: a tombstone of a document that was not held is not stored, so the
//!   sender must be told when the document turns up from elsewhere.
//! * **`own_seq` of a cursor** only passes an announced commit after the sender confirmed that it looked at the
//!   announcement (the mark of HAVE, echoed in HINT) and what it hinted at has arrived.
//! * **EVICT** deletes the cursors in its own commit. Until the engine hears of that commit, `seen_seq` in
//!   [`ApplyBatch`] keeps it from writing them again; then the subscriptions are asked anew under new numbers
//!   before anything else is processed. EVICT at a *sender* makes its receivers ask again too (SUBST `Again`):
//!   an older copy may still be under way on the bulk lane, and the sender no longer knows that it was in view.
//! * **Sums over views** (fingerprint, sketch, symbols) follow the feed of commits, so that equal views are compared
//!   without reading documents. A fingerprint waits until the feed has reached what the store held when it came.
//! * **Missed changes are one step**: the pages of a RESUME scan are kept until its end, up to 64 MiB, and merged as one
//!   commit. Larger backlogs arrive in several. Those of a FULL load are gathered as well, but only for
//!   a moment: large batches cost the store less, and nobody who waits for a slow link should see nothing.
//! * **Documents that leave a query** stay, unless its subscriptions ask for their eviction. Then it is left to the store,
//!   and only for a state that came from a peer, so that nothing is lost that only this store has.
//! * **Commits that the feed left out** ([`SyncEngine::skip_to_head`]) are looked up: both roles start over with cursors.
//! * **Lazy links**: a link over which nothing new comes because another one is faster carries offers instead of
//!   documents. A token that follows an offer counts when all of the offer has come. Peers agree on a spanning tree of the
//!   mesh, so that they do not give up all ways at once. What a peer sent does not go back to it.
//! * **Scopes**: a collection that the store does not share ([`SyncStore::shares`]) is denied to every subscriber; a change of that is
//!   noticed with the collection's next commit. Nothing keeps its documents from being received.
//! * **Permissions** are not implemented: `perm_hash` is zero. A peer may send documents only of collections that
//!   were asked for in the session, and gets only documents of collections that it subscribed to.
//!
//! # Modules
//!
//! | module | owns |
//! |---|---|
//! | [`store`] | [`SyncStore`], what the engine needs from a store, and the shapes it exchanges with it |
//! | [`blob`] | [`blob::BlobExchange`], the content of attachments |
//! | [`event`] | [`Input`], [`Action`], progress and status |
//! | [`engine`] | [`SyncEngine`], sessions, subscriptions |
//! | [`peer`] | [`PeerId`], [`Lane`] |
//! | [`config`] | [`SyncConfig`] |
//! | [`query`] | [`query_hash`] |

pub mod blob;
pub mod config;
pub mod engine;
pub mod event;
mod limits;
pub mod peer;
pub mod query;
mod sketch;
pub mod store;
mod wire;

#[cfg(test)]
mod sim;

/// Decodes a message and, if it is sound, checks that it has no other bytes. For the fuzz target.
#[doc(hidden)]
pub fn fuzz_message(bytes: &[u8]) {
    let mut packer = wire::pack::Packer::default();
    let Ok(unpacked) = packer.unpack(bytes) else { return };
    if let Ok(message) = wire::Message::decode(&unpacked) {
        assert_eq!(message.encode(), &*unpacked, "{}", message.name());
    }
}

pub use config::SyncConfig;
pub use engine::SyncEngine;
pub use event::{Action, Input, PeerSyncStatus, SyncProgress, SyncState};
pub use limits::{MAX_ARGS_BYTES, MAX_DICT_ENTRIES, MAX_MESSAGE_BYTES, MAX_QUERY_BYTES};
pub use peer::{Lane, PeerId};
pub use query::query_hash;
pub use store::{
    ApplyBatch, ApplyItem, ApplyOutcome, ChangePage, ChangedStates, Cursor, CursorKey, CursorWrite, ItemBody,
    ItemOutcome, LocalChange, LocalCommit, Newest, RefusalCode, StoreIdentity, StoredDoc, SyncStore,
    SyncStoreError, ViewDoc, ViewPage,
};
