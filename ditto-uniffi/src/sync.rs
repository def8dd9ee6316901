//! Sync control and subscriptions.

use std::sync::Arc;

use crate::app::awaited;
use crate::error::DittoError;
use crate::json;
use crate::sync_status::{PeerSyncStatus, SyncEvents};

/// What a subscription does beside pulling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct SubscriptionOptions {
    /// Whether a document that leaves the query, because of what a peer wrote, is evicted from this device. Otherwise it stays,
    /// in the state in which it left.
    ///
    /// It goes when all subscriptions that matched it want that, none matches it any more, and the peer is known to hold the
    /// same state; a change made on this device never goes.
    pub evict_on_leave: bool,
}

/// Starts and stops networking, and says what this device wants from others.
#[derive(uniffi::Object)]
pub struct Sync {
    pub(crate) inner: ditto::Sync,
}

#[uniffi::export]
impl Sync {
    /// Starts transports and replication with the current transport config. On a running instance it does nothing.
    ///
    /// It fails when a configured listener cannot be opened; then nothing is started.
    pub async fn start(&self) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.start().await?) }).await
    }

    /// Closes all connections. The store stays usable and subscriptions resume at the next start.
    pub async fn stop(&self) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.stop().await?) }).await
    }

    /// Whether networking is running.
    pub fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    /// The address that others can connect to by TCP, while that listener is on.
    pub fn listen_address(&self) -> Option<String> {
        self.inner.listen_address().map(|a| a.to_string())
    }

    /// The address of the HTTP listener, while it is on.
    pub fn http_listen_address(&self) -> Option<String> {
        self.inner.http_listen_address().map(|a| a.to_string())
    }

    /// Declares interest: documents of other peers that match the SELECT are pulled in and kept up to date.
    ///
    /// It stays until it is cancelled or the instance is shut down, and may be registered before the start.
    pub fn register_subscription(
        &self,
        query: String,
        arguments: Option<String>,
    ) -> Result<Arc<SyncSubscription>, DittoError> {
        let inner = self.inner.register_subscription(json::query(query, arguments)?)?;
        Ok(Arc::new(SyncSubscription { inner }))
    }

    /// As register subscription, with options.
    pub fn register_subscription_with(
        &self,
        query: String,
        arguments: Option<String>,
        options: SubscriptionOptions,
    ) -> Result<Arc<SyncSubscription>, DittoError> {
        let options = ditto::SubscriptionOptions::default().with_evict_on_leave(options.evict_on_leave);
        let inner = self.inner.register_subscription_with(json::query(query, arguments)?, options)?;
        Ok(Arc::new(SyncSubscription { inner }))
    }

    /// How far sync with each peer is.
    pub async fn status(&self) -> Result<Vec<PeerSyncStatus>, DittoError> {
        awaited(async { Ok(self.inner.status().await?.into_iter().map(Into::into).collect()) }).await
    }

    /// Connections that come, go and are refused, and the progress of sync, from now on.
    pub fn events(&self) -> Arc<SyncEvents> {
        Arc::new(SyncEvents::new(self.inner.events()))
    }

    /// The subscriptions that are active now.
    pub fn subscriptions(&self) -> Vec<Arc<SyncSubscription>> {
        self.inner.subscriptions().into_iter().map(|inner| Arc::new(SyncSubscription { inner })).collect()
    }
}

/// Handle of one subscription. Freeing it does not cancel.
#[derive(uniffi::Object)]
pub struct SyncSubscription {
    inner: ditto::SyncSubscription,
}

#[uniffi::export]
impl SyncSubscription {
    /// Stops pulling; documents that are already here stay. Repeating is harmless.
    pub fn cancel(&self) {
        self.inner.cancel();
    }

    /// Whether it was cancelled, or the instance was shut down.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Text of the query.
    pub fn query_string(&self) -> String {
        self.inner.query_string().to_owned()
    }

    /// Arguments given at registration: the text of a JSON object.
    pub fn query_arguments_json(&self) -> String {
        json::object(self.inner.query_arguments())
    }
}
