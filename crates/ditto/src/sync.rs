//! Sync control: start, stop and subscriptions.

use std::sync::{Arc, Weak};

use ditto_mesh::PeerKey;
use ditto_sync::{PeerSyncStatus, SyncState};
use ditto_types::Object;

use crate::feed::Feed;
use crate::instance::Inner;
use crate::node::MeshEvent;
use crate::query::{IntoQuery, Query};
use crate::{Ditto, DittoError};

/// Starts and stops networking, and says what this device wants from others (API-123).
#[derive(Clone)]
pub struct Sync {
    pub(crate) inner: Arc<Inner>,
}

impl Sync {
    /// Starts transports and replication with the current transport config. On a running instance it does
    /// nothing (API-125).
    ///
    /// Fails when a configured listener cannot be opened; then nothing is started.
    pub async fn start(&self) -> Result<(), DittoError> {
        self.inner.start().await
    }

    /// Closes all connections. The store stays usable and subscriptions resume on the next start (API-126).
    pub async fn stop(&self) -> Result<(), DittoError> {
        self.inner.stop().await
    }

    /// Whether networking is running (API-124).
    pub fn is_active(&self) -> bool {
        self.inner.node.is_active()
    }

    /// The address that others can connect to by TCP, while that listener is on.
    pub fn listen_address(&self) -> Option<std::net::SocketAddr> {
        self.inner.node.listen_address()
    }

    /// The address of the HTTP listener, while it is on.
    pub fn http_listen_address(&self) -> Option<std::net::SocketAddr> {
        self.inner.node.http_listen_address()
    }

    /// Declares interest: documents of other peers that match the SELECT are pulled in and kept up to date
    /// (API-127).
    ///
    /// It stays until [`SyncSubscription::cancel`] or the instance closes, and may be registered before
    /// [`Sync::start`]. Only `SELECT * FROM c [WHERE …]` is accepted.
    pub fn register_subscription(&self, query: impl IntoQuery) -> Result<SyncSubscription, DittoError> {
        self.register_subscription_with(query, SubscriptionOptions::default())
    }

    /// As [`Sync::register_subscription`], with options.
    pub fn register_subscription_with(
        &self,
        query: impl IntoQuery,
        options: SubscriptionOptions,
    ) -> Result<SyncSubscription, DittoError> {
        let query = query.into_query()?;
        self.inner.store_handle().check_subscription(&query.text, &query.args)?;
        let id = self.inner.node.subscribe(&query)?;
        if options.evict_on_leave {
            self.inner.node.evict_on_leave(id);
        }
        let subscription = SyncSubscription {
            shared: Arc::new(Shared {
                inner: Arc::downgrade(&self.inner),
                id,
                query,
                cancelled: false.into(),
            }),
        };
        self.inner.subscriptions().push(subscription.clone());
        Ok(subscription)
    }

    /// The subscriptions that are active now (API-128).
    pub fn subscriptions(&self) -> Vec<SyncSubscription> {
        self.inner.subscriptions().clone()
    }

    /// How far sync with each connected peer is.
    pub async fn status(&self) -> Result<Vec<PeerSyncStatus>, DittoError> {
        self.inner.node.status().await
    }

    /// Connections coming, going and refused, and the progress of sync, from now on.
    pub fn events(&self) -> MeshEvents {
        MeshEvents { feed: self.inner.node.event_feed() }
    }

    /// Says that the device is on another network: what could not be reached is tried again at once, instead of after its
    /// growing delay. The library notices new addresses of the own interfaces and of peers by itself.
    pub fn network_changed(&self) -> Result<(), DittoError> {
        self.inner.control(|_| ditto_mesh::Input::NetworkChanged)
    }
}

/// Feed of [`MeshEvent`]s.
pub struct MeshEvents {
    feed: Feed<MeshEvent>,
}

impl MeshEvents {
    /// The next event; `None` once the instance is closed. A reader that falls more than 1,024 events behind
    /// misses the oldest.
    pub async fn next(&mut self) -> Option<MeshEvent> {
        self.feed.next().await
    }
}

/// What a subscription does besides pulling documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionOptions {
    /// Whether a document that leaves the query, because of what a peer wrote, is evicted from this device. Without it
    /// the document stays, in the state in which it left.
    ///
    /// It goes when all subscriptions that matched it want that, none matches it any more, and the peer is known to hold
    /// the same state; a change made on this device never goes. Like any EVICT it makes the subscriptions of the
    /// collection compare what they hold with their peers, which takes a few hundred bytes for each.
    pub evict_on_leave: bool,
}

impl SubscriptionOptions {
    /// These options with another [`SubscriptionOptions::evict_on_leave`].
    pub fn with_evict_on_leave(self, evict_on_leave: bool) -> Self {
        Self { evict_on_leave, ..self }
    }
}

/// Handle of one subscription (API-129). Dropping it does not cancel.
#[derive(Clone)]
pub struct SyncSubscription {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Weak<Inner>,
    id: u64,
    query: Query,
    cancelled: std::sync::atomic::AtomicBool,
}

impl SyncSubscription {
    /// Stops pulling; documents that are already here stay. Repeating is harmless (API-130).
    pub fn cancel(&self) {
        use std::sync::atomic::Ordering;
        if self.shared.cancelled.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(inner) = self.shared.inner.upgrade() {
            inner.subscriptions().retain(|s| s.shared.id != self.shared.id);
            inner.node.unsubscribe(self.shared.id);
        }
    }

    /// Whether it was cancelled, or the instance closed (API-132).
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(std::sync::atomic::Ordering::SeqCst)
            || self.shared.inner.upgrade().is_none_or(|i| i.is_closed())
    }

    /// Text of the query (API-134).
    pub fn query_string(&self) -> &str {
        &self.shared.query.text
    }

    /// Arguments given at registration (API-133).
    pub fn query_arguments(&self) -> &Object {
        &self.shared.query.args
    }

    /// How far the subscription is at each connected peer: `connecting`, `reconciling`, `loading` n of m, `live`, or
    /// `failed` with the reason.
    pub async fn states(&self) -> Result<Vec<(PeerKey, SyncState)>, DittoError> {
        let inner = self.shared.inner.upgrade().ok_or_else(DittoError::closed)?;
        let mut out = Vec::new();
        for peer in inner.node.status().await? {
            let Ok(key) = PeerKey::from_bytes(&peer.peer.0) else { continue };
            let state = peer.subscriptions.into_iter().find(|(id, _)| *id == self.shared.id);
            out.extend(state.map(|(_, state)| (key, state)));
        }
        Ok(out)
    }

    /// The owning instance; an error once it is gone.
    pub fn ditto(&self) -> Result<Ditto, DittoError> {
        self.shared.inner.upgrade().map(|inner| Ditto { inner }).ok_or_else(DittoError::closed)
    }
}
