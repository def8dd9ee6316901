//! The entry object.

use std::sync::Arc;

use crate::app::awaited;
use crate::bus::Bus;
use crate::config::DittoConfig;
use crate::error::DittoError;
use crate::presence::Presence;
use crate::store::Store;
use crate::sync::Sync;
use crate::transport_config::TransportConfig;

/// An open database with its sync.
///
/// Its methods may be called from any thread. Shut it down when done; freeing the last object that belongs to it does
/// the same, but then the freeing thread waits for the disk.
#[derive(uniffi::Object)]
pub struct Ditto {
    pub(crate) inner: ditto::Ditto,
}

#[uniffi::export]
impl Ditto {
    /// Checks the config and opens or creates the store; sync is not started.
    ///
    /// It fails at once when another instance holds the directory. A failure leaves no lock behind.
    #[uniffi::constructor]
    pub async fn open(config: DittoConfig) -> Result<Arc<Self>, DittoError> {
        awaited(async { Ok(Arc::new(Self { inner: ditto::Ditto::open(config.into()).await? })) }).await
    }

    /// As open, but blocks the calling thread.
    #[uniffi::constructor]
    pub fn open_sync(config: DittoConfig) -> Result<Arc<Self>, DittoError> {
        Ok(Arc::new(Self { inner: ditto::Ditto::open_sync(config.into())? }))
    }

    /// Stops sync, ends observers and subscriptions, finishes pending transactions, flushes to disk and releases the
    /// directory. Repeating is harmless.
    pub async fn shutdown(&self) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.close().await?) }).await
    }

    /// Whether the instance was shut down; it never reopens.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// The local data.
    pub fn store(&self) -> Arc<Store> {
        Arc::new(Store { inner: self.inner.store() })
    }

    /// Networking and subscriptions.
    pub fn sync(&self) -> Arc<Sync> {
        Arc::new(Sync { inner: self.inner.sync() })
    }

    /// Who is in the mesh.
    pub fn presence(&self) -> Arc<Presence> {
        Arc::new(Presence { inner: self.inner.presence() })
    }

    /// Messages to other peers.
    pub fn bus(&self) -> Arc<Bus> {
        Arc::new(Bus { inner: self.inner.bus() })
    }

    /// The opening config with secrets replaced.
    pub fn config(&self) -> Result<DittoConfig, DittoError> {
        self.inner.config().try_into()
    }

    /// The logical database.
    pub fn database_id(&self) -> String {
        self.inner.database_id().to_string()
    }

    /// The resolved directory in use, nothing once closed. Its contents are private.
    pub fn absolute_persistence_directory(&self) -> Option<String> {
        self.inner.absolute_persistence_directory().map(|p| p.to_string_lossy().into_owned())
    }

    /// The key under which other peers know this device.
    pub fn peer_key(&self) -> String {
        self.inner.peer_key().to_string()
    }

    /// Name that other peers see; the host name by default, not unique.
    pub fn device_name(&self) -> String {
        self.inner.device_name()
    }

    /// Sets the name that other peers see. Names above 24 bytes are cut. Takes effect at the next start of sync.
    pub fn set_device_name(&self, name: String) {
        self.inner.set_device_name(name);
    }

    /// Whether peers are admitted by a shared key.
    pub fn is_authenticated_mesh(&self) -> bool {
        self.inner.is_authenticated_mesh()
    }

    /// Always true: no licence is ever needed.
    pub fn is_activated(&self) -> bool {
        self.inner.is_activated()
    }

    /// Accepted and ignored: no licence is ever needed.
    pub fn set_offline_only_license_token(&self, token: String) -> Result<(), DittoError> {
        Ok(self.inner.set_offline_only_license_token(&token)?)
    }

    /// The transports in use.
    pub fn transport_config(&self) -> TransportConfig {
        (&self.inner.transport_config()).into()
    }

    /// Sets the transports to the replacement if they still are as expected, and tells whether it did.
    ///
    /// Wrappers build an atomic read-modify-write from it that never calls into the app while a lock is held. A running
    /// instance follows at once; only what changed restarts, and other connections go on.
    pub async fn replace_transport_config(
        &self,
        expected: TransportConfig,
        replacement: TransportConfig,
    ) -> Result<bool, DittoError> {
        awaited(async {
            let mut replaced = false;
            self.inner
                .update_transport_config(|current| {
                    if TransportConfig::from(&*current) == expected {
                        replacement.write_to(current);
                        replaced = true;
                    }
                })
                .await?;
            Ok(replaced)
        })
        .await
    }
}

/// Version of the core library, the same in every language.
#[uniffi::export]
pub fn core_version() -> String {
    ditto::Ditto::version().to_owned()
}
