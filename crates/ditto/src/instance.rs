//! The entry object: opening, closing and the parts it owns.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_mesh::{Admission, Identity, MeshConfig, PeerKey};
use ditto_net::platform::RadioShim;
use ditto_types::{DatabaseId, ErrorKind, Value};
use tokio::sync::{OnceCell, OwnedMutexGuard};

use crate::attachment::Fetches;
use crate::bus::Bus;
use crate::config::{DittoConfig, DittoConfigConnect, Durability};
use crate::control::Control;
use crate::node::{Command, Node};
use crate::observer::StoreObserver;
use crate::presence::Presence;
use crate::radio::{RadioTransport, Radios};
use crate::store::Store;
use crate::sync::{Sync, SyncSubscription};
use crate::transport_config::TransportConfig;
use crate::transports::MeshSettings;
use crate::{DittoError, identity, runtime, transports};

/// An open database with its sync (API-024). Clones share one instance; dropping the last one closes it.
#[derive(Clone)]
pub struct Ditto {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: DittoConfig,
    database: DatabaseId,
    directory: PathBuf,
    pub(crate) identity: Arc<Identity>,
    admission: Admission,
    store: ditto_store::Store,
    pub(crate) node: Node,
    closed: AtomicBool,
    /// Done once; later callers wait for the first.
    close: OnceCell<()>,
    device_name: Mutex<String>,
    transport: Mutex<TransportConfig>,
    /// Changed only while `network` is held.
    radios: Mutex<Radios>,
    /// Held by a start, a stop or a change of the transports from its first look to its end.
    network: Arc<tokio::sync::Mutex<Network>>,
    peer_metadata: Mutex<Value>,
    observers: Mutex<Vec<StoreObserver>>,
    subscriptions: Mutex<Vec<SyncSubscription>>,
    pub(crate) fetches: Fetches,
}

/// What the present run of the network was begun with.
#[derive(Default)]
struct Network {
    /// The name under which it is announced.
    discovery_token: String,
}

impl Ditto {
    /// Validates the config and opens or creates the store; sync is not started (API-025).
    ///
    /// Fails with [`ErrorKind::InvalidConfig`] naming the field, [`ErrorKind::PersistenceDirectoryLocked`] when another
    /// instance holds the directory (at once, it never waits), [`ErrorKind::StoreCorrupt`] or
    /// [`ErrorKind::StoreVersion`] for a file that cannot be used. A failure leaves no lock behind.
    pub async fn open(config: DittoConfig) -> Result<Self, DittoError> {
        let app = runtime::of_app();
        runtime::blocking(move || Self::open_blocking(config, app)).await
    }

    /// [`Ditto::open`] for code that is not async.
    pub fn open_sync(config: DittoConfig) -> Result<Self, DittoError> {
        Self::open_blocking(config, runtime::of_app())
    }

    fn open_blocking(config: DittoConfig, app: Option<tokio::runtime::Handle>) -> Result<Self, DittoError> {
        let database = config.parse_database_id()?;
        let admission = admission(&config)?;
        let directory = config.resolve_directory(&database);
        let options = ditto_store::StoreOptions {
            durability: match config.durability {
                Durability::Normal => ditto_store::Durability::Normal,
                Durability::Full => ditto_store::Durability::Full,
            },
            ..ditto_store::StoreOptions::new(directory.clone(), database)
        };
        let store = ditto_store::Store::open(options)?;
        let directory = directory.canonicalize().unwrap_or(directory);
        // The store's lock guards the key file too.
        let identity = match identity::load_or_create(&directory) {
            Ok(identity) => Arc::new(identity),
            Err(e) => {
                store.close();
                return Err(e);
            }
        };
        let mut transport = TransportConfig::new();
        transport.enable_all_peer_to_peer();
        let name =
            hostname::get().map_or_else(|_| "unknown".to_owned(), |n| n.to_string_lossy().into_owned());
        let settings = transports::mesh_settings(&transport, &Radios::new());
        let mesh = mesh_config(&store, database, &identity, &admission, settings, &name);
        let node = Node::spawn(mesh, store.clone(), &identity.peer_key(), app)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                database,
                directory,
                identity,
                admission,
                store,
                node,
                closed: AtomicBool::new(false),
                close: OnceCell::new(),
                device_name: Mutex::new(name),
                transport: Mutex::new(transport),
                radios: Mutex::default(),
                network: Arc::default(),
                peer_metadata: Mutex::new(Value::Object(Default::default())),
                observers: Mutex::default(),
                subscriptions: Mutex::default(),
                fetches: Fetches::default(),
            }),
        })
    }

    /// The local data.
    pub fn store(&self) -> Store {
        Store { inner: self.inner.clone() }
    }

    /// Networking and subscriptions.
    pub fn sync(&self) -> Sync {
        Sync { inner: self.inner.clone() }
    }

    /// Who is in the mesh.
    pub fn presence(&self) -> Presence {
        Presence { inner: self.inner.clone() }
    }

    /// Messages to other peers.
    pub fn bus(&self) -> Bus {
        Bus { inner: self.inner.clone() }
    }

    /// Stops sync, cancels observers and subscriptions, finishes pending transactions, flushes to disk and
    /// releases the directory (API-030). Repeating is harmless.
    pub async fn close(&self) -> Result<(), DittoError> {
        let inner = self.inner.clone();
        // On the runtime, so that a caller who stops waiting leaves nothing half closed.
        let closing = runtime::handle()?.spawn(async move { inner.close().await });
        closing.await.map_err(|e| DittoError::new(ErrorKind::Internal, format!("close failed: {e}")))?
    }

    /// Whether the instance is closed; it never reopens (API-037).
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// The opening config with secrets replaced (API-031).
    pub fn config(&self) -> DittoConfig {
        self.inner.config.redacted()
    }

    /// The logical database.
    pub fn database_id(&self) -> DatabaseId {
        self.inner.database
    }

    /// The resolved directory in use, `None` once closed (API-028). Its contents are private.
    pub fn absolute_persistence_directory(&self) -> Option<&Path> {
        (!self.is_closed()).then_some(self.inner.directory.as_path())
    }

    /// This device's key, under which other peers know it.
    pub fn peer_key(&self) -> PeerKey {
        self.inner.identity.peer_key()
    }

    /// Name that other peers see; the host name by default, not unique (API-033).
    pub fn device_name(&self) -> String {
        lock(&self.inner.device_name).clone()
    }

    /// Sets the name that other peers see; names above 24 bytes are cut on a character. Takes effect at the next
    /// start of sync (API-034).
    pub fn set_device_name(&self, name: impl Into<String>) {
        *lock(&self.inner.device_name) = name.into();
    }

    /// Whether peers are admitted by a shared key. Without one the mesh is encrypted but open to anybody who knows the
    /// database id.
    pub fn is_authenticated_mesh(&self) -> bool {
        matches!(self.inner.admission, Admission::SharedKey(_))
    }

    /// Always true: no licence is ever needed (API-035).
    pub fn is_activated(&self) -> bool {
        true
    }

    /// Accepted and ignored: no licence is ever needed (API-036).
    pub fn set_offline_only_license_token(&self, _token: &str) -> Result<(), DittoError> {
        if self.is_closed() { Err(DittoError::closed()) } else { Ok(()) }
    }

    /// A copy of the transports in use; changing it changes nothing (API-277).
    pub fn transport_config(&self) -> TransportConfig {
        lock(&self.inner.transport).clone()
    }

    /// Replaces the transports; see [`Ditto::update_transport_config`] (API-276).
    pub async fn set_transport_config(&self, config: TransportConfig) -> Result<(), DittoError> {
        self.update_transport_config(|current| *current = config).await
    }

    /// Changes the transports in one step that no other change comes between (API-278).
    ///
    /// A running instance follows at once, otherwise it counts from the next start. Only what changed restarts: other
    /// listeners, discovery and connections go on. A connection ends only when the address it was dialled to was taken
    /// out, or when the sync group changed and neither end has configured the other.
    ///
    /// Fails with [`ErrorKind::InvalidConfig`] naming the field, with [`ErrorKind::IoAlreadyExists`] for a port that is in
    /// use, [`ErrorKind::IoPermissionDenied`] for one that needs rights, [`ErrorKind::Io`] when a listener cannot be opened
    /// otherwise, and with [`ErrorKind::Closed`]. Then nothing is changed.
    pub async fn update_transport_config(
        &self,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Result<(), DittoError> {
        let network = self.inner.network.clone().lock_owned().await;
        if self.is_closed() {
            return Err(DittoError::closed());
        }
        let before = self.transport_config();
        let mut after = before.clone();
        change(&mut after);
        after.validate()?;
        if before == after {
            return Ok(());
        }
        let radios = lock(&self.inner.radios).clone();
        self.change_transports(network, after, radios).await
    }

    /// Hands over the driver of a radio, of which there is at most one for each transport: it replaces an earlier one.
    ///
    /// It is used while sync runs and the transport is on in [`Ditto::transport_config`]: started with the payload to
    /// advertise, asked to scan and to connect, and stopped when either ends. What a driver has to do, and the kit that
    /// tests it, are in [`radio`](crate::radio). Other transports and their connections go on.
    ///
    /// A driver that cannot start does not fail this call: a condition event says why, and it is started again later.
    /// Fails with [`ErrorKind::Closed`].
    pub async fn attach_radio(
        &self,
        transport: RadioTransport,
        shim: Arc<dyn RadioShim>,
    ) -> Result<(), DittoError> {
        self.change_radios(|radios| {
            radios.insert(transport, shim);
        })
        .await
    }

    /// Takes the driver of a radio back; it is stopped and its links end. Without one nothing happens. Fails with
    /// [`ErrorKind::Closed`].
    pub async fn detach_radio(&self, transport: RadioTransport) -> Result<(), DittoError> {
        self.change_radios(|radios| {
            radios.remove(&transport);
        })
        .await
    }

    async fn change_radios(&self, change: impl FnOnce(&mut Radios)) -> Result<(), DittoError> {
        let network = self.inner.network.clone().lock_owned().await;
        if self.is_closed() {
            return Err(DittoError::closed());
        }
        let mut radios = lock(&self.inner.radios).clone();
        change(&mut radios);
        self.change_transports(network, self.transport_config(), radios).await
    }

    /// Makes a running instance follow, and keeps both for the next start.
    async fn change_transports(
        &self,
        network: OwnedMutexGuard<Network>,
        config: TransportConfig,
        radios: Radios,
    ) -> Result<(), DittoError> {
        let inner = self.inner.clone();
        // On the runtime, so that a caller who stops waiting leaves nothing half changed.
        let changing = runtime::handle()?.spawn(async move {
            if inner.node.is_active() {
                let net = transports::net_config(&config, &radios, &inner.database, &network.discovery_token);
                inner.node.reconfigure(transports::mesh_settings(&config, &radios), net).await?;
            }
            *lock(&inner.transport) = config;
            *lock(&inner.radios) = radios;
            Ok(())
        });
        changing.await.map_err(|e| DittoError::new(ErrorKind::Internal, format!("change failed: {e}")))?
    }

    /// Version of the core library (API-004).
    pub fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

impl std::fmt::Debug for Ditto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ditto")
            .field("database_id", &self.inner.database)
            .field("directory", &self.inner.directory)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The store, unless closed.
    pub(crate) fn store(&self) -> Result<ditto_store::Store, DittoError> {
        if self.is_closed() { Err(DittoError::closed()) } else { Ok(self.store.clone()) }
    }

    pub(crate) fn store_handle(self: &Arc<Self>) -> Store {
        Store { inner: self.clone() }
    }

    pub(crate) fn observers(&self) -> MutexGuard<'_, Vec<StoreObserver>> {
        lock(&self.observers)
    }

    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Vec<SyncSubscription>> {
        lock(&self.subscriptions)
    }

    pub(crate) fn peer_metadata(&self) -> MutexGuard<'_, Value> {
        lock(&self.peer_metadata)
    }

    /// Changes what the app says about connections, and tells the machine.
    pub(crate) fn control(
        &self,
        change: impl FnOnce(&Control) -> ditto_mesh::Input,
    ) -> Result<(), DittoError> {
        if self.is_closed() {
            return Err(DittoError::closed());
        }
        self.node.command(Command::Control(change(&self.node.control)))
    }

    pub(crate) async fn start(&self) -> Result<(), DittoError> {
        let mut network = self.network.lock().await;
        if self.is_closed() {
            return Err(DittoError::closed());
        }
        if self.node.is_active() {
            return Ok(());
        }
        let transport = lock(&self.transport).clone();
        let radios = lock(&self.radios).clone();
        let name = lock(&self.device_name).clone();
        let mut settings = transports::mesh_settings(&transport, &radios);
        let conditions = std::mem::take(&mut settings.conditions);
        let mesh = mesh_config(&self.store, self.database, &self.identity, &self.admission, settings, &name);
        network.discovery_token = mesh.discovery_token.clone();
        let net = transports::net_config(&transport, &radios, &self.database, &mesh.discovery_token);
        self.node.start(mesh, net, conditions).await
    }

    pub(crate) async fn stop(&self) -> Result<(), DittoError> {
        let _network = self.network.lock().await;
        self.node.stop().await
    }

    async fn close(&self) -> Result<(), DittoError> {
        let closed = self.close.get_or_try_init(async || {
            self.closed.store(true, Ordering::SeqCst);
            self.end_handles();
            self.node.shutdown().await;
            let store = self.store.clone();
            runtime::blocking(move || {
                store.close();
                Ok(())
            })
            .await
        });
        closed.await.copied()
    }

    fn end_handles(&self) {
        // Not inside the loop's head: that would hold the lock, which cancel takes too.
        let observers = std::mem::take(&mut *self.observers());
        for observer in observers {
            observer.cancel();
        }
        self.subscriptions().clear();
        self.fetches.cancel_all();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.close.initialized() {
            self.closed.store(true, Ordering::SeqCst);
            self.end_handles();
            self.node.shutdown_detached();
            // Waits for the writer's queue, so that the directory is free when the drop returns (API-030).
            self.store.close();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn admission(config: &DittoConfig) -> Result<Admission, DittoError> {
    let DittoConfigConnect::SmallPeersOnly { private_key } = &config.connect;
    let Some(der) = private_key else { return Ok(Admission::Open) };
    // Two encodings of one key must admit each other, so the secret is the key's normal form.
    let key = Identity::from_pkcs8_der(der).map_err(|e| {
        DittoError::new(
            ErrorKind::InvalidConfig,
            format!("private_key: not a P-256 key in PKCS#8 DER form: {e}"),
        )
    })?;
    Ok(Admission::SharedKey(key.to_pkcs8_der()))
}

fn mesh_config(
    store: &ditto_store::Store,
    database: DatabaseId,
    identity: &Arc<Identity>,
    admission: &Admission,
    settings: MeshSettings,
    device_name: &str,
) -> MeshConfig {
    let store_identity = store.identity();
    let mut config =
        MeshConfig::new(identity.clone(), database, store_identity.store_id, store_identity.epoch);
    config.admission = admission.clone();
    config.device_name = device_name.to_owned();
    config.os = os_name().to_owned();
    config.sdk_version = Ditto::version().to_owned();
    config.discovery_token = discovery_token();
    config.sync_group = settings.sync_group;
    config.static_targets = settings.targets;
    config.limits.retry_interval = settings.retry_interval;
    config
}

/// A name for one run, unrelated to the peer key, so that listening to announcements identifies nobody.
fn discovery_token() -> String {
    let mut random = [0; 12];
    crate::random::fill(&mut random);
    random.iter().map(|b| format!("{b:02x}")).collect()
}

/// The spelling of API-166 to API-172.
fn os_name() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        "windows" => "Windows",
        "android" => "Android",
        "ios" => "iOS",
        "tvos" => "tvOS",
        _ => "Generic",
    }
}
