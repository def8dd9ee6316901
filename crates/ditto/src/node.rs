//! The machines of mesh and Bus and the network, and the task that moves bytes between them.

mod driver;
mod router;
mod task;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ditto_mesh::transport::{LinkId, LinkKind, NetEvent};
use ditto_mesh::{Input, Mesh, MeshConfig, PeerKey, PresenceView, TransportDiagnostics, TransportSnapshot};
use ditto_net::NetConfig;
use ditto_sync::PeerSyncStatus;
use ditto_types::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::DittoError;
use crate::attachment::exchange::{Exchange, ToBlobs};
use crate::attachment::port::{BlobCommand, BlobPort};
use crate::bus::{BusCommand, BusPort, BusState};
use crate::control::Control;
use crate::diagnostics::ConnectionRecord;
use crate::feed::Feed;
use crate::query::Query;
use crate::replication::Replication;
use crate::runtime;
use crate::system::SystemRows;
use crate::transports::MeshSettings;
use crate::wiring::FromSync;

use self::driver::Core;
pub(crate) use self::driver::Driver;
use self::router::{Outlets, Router};
use self::task::Task;

/// What the network task is asked to do.
pub(crate) enum Command {
    Start {
        mesh: Box<MeshConfig>,
        net: NetConfig,
        conditions: Vec<NetEvent>,
        done: oneshot::Sender<Result<(), DittoError>>,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
    /// Changes the transports of a running network; one that is not running has nothing to change.
    Reconfigure {
        settings: MeshSettings,
        net: NetConfig,
        done: oneshot::Sender<Result<(), DittoError>>,
    },
    PeerMetadata(Value),
    Bus(BusCommand),
    Blobs(BlobCommand),
    /// From the replication thread.
    Session(FromSync),
    /// What the app says about connections.
    Control(ditto_mesh::Input),
    /// The app's decision about a link of a run.
    AnswerConnectionRequest {
        run: u64,
        link: LinkId,
        allow: bool,
    },
    /// Something was posted, or done beside the task, which may have to wake up earlier now.
    Look,
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

impl Command {
    /// How many bytes of replication are to be sent.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Session(FromSync { input: Input::Send { bytes, .. }, .. }) => bytes.len(),
            _ => 0,
        }
    }
}

/// Something that happened in the mesh or in sync.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MeshEvent {
    /// A peer is connected and verified.
    PeerConnected {
        /// Its key.
        peer: PeerKey,
        /// Its name; not unique.
        device_name: String,
        /// The transport, in the spelling of API-179 to API-182.
        connection_type: String,
        /// Address of the other end.
        remote: String,
    },
    /// A peer's last connection ended.
    PeerDisconnected {
        /// Its key.
        peer: PeerKey,
        /// Why.
        reason: String,
    },
    /// A connection was refused or failed before it was verified, or something else that helps to find faults.
    Connection(ditto_mesh::ConnectionEvent),
    /// Sync of one subscription with one peer moved on.
    Progress(ditto_sync::SyncProgress),
    /// A peer refused a document of ours.
    Rejected {
        /// Text for a log.
        reason: String,
    },
}

/// Handle on the network task and the replication thread.
pub(crate) struct Node {
    commands: mpsc::UnboundedSender<Command>,
    driver: Driver,
    replication: Replication,
    blobs: Exchange,
    state: Arc<Mutex<State>>,
    pub(crate) graph: watch::Receiver<PresenceView>,
    pub(crate) events: broadcast::Sender<MeshEvent>,
    pub(crate) bus: BusState,
    pub(crate) control: Arc<Control>,
    /// Ends the feeds.
    closed: watch::Sender<bool>,
}

/// What of the network is on.
#[derive(Clone, Copy, Default)]
pub(crate) struct State {
    pub(crate) active: bool,
    pub(crate) listening: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
}

impl Node {
    /// Starts the task, on the runtime of the app if there is one, and the thread, without network.
    pub(crate) fn spawn(
        mesh: MeshConfig,
        store: ditto_store::Store,
        me: &PeerKey,
        app: Option<tokio::runtime::Handle>,
    ) -> Result<Self, DittoError> {
        let (commands, from_app) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(1024);
        let mesh = Mesh::new(mesh, Box::new(crate::random::fill));
        let (graph_out, graph) = watch::channel(mesh.presence());
        let (bus, control) = (BusState::default(), Arc::new(Control::default()));
        let state = Arc::new(Mutex::new(State::default()));
        let (to_sync, from_mesh) = crossbeam_channel::unbounded();
        let blobs = Exchange::spawn(store.blobs()?.clone(), me, commands.downgrade())?;
        let outlets = Outlets {
            to_sync: to_sync.clone(),
            graph: graph_out,
            events: events.clone(),
            control: control.clone(),
            commands: commands.downgrade(),
        };
        let core = Core::new(commands.downgrade(), |driver| {
            let bus = BusPort::new(bus.inbox.clone(), commands.downgrade(), driver);
            Router::new(mesh, bus, BlobPort::new(blobs.sender()), outlets)
        });
        let driver = core.driver();
        let replication =
            Replication::spawn(store.clone(), (to_sync, from_mesh), driver.clone(), events.clone())?;
        let rows = SystemRows::new(replication.sender(), state.clone(), control.clone(), driver.clone());
        store.set_system_provider(Arc::new(rows));
        runtime::network(app, Task::new(core, state.clone(), from_app).run())?;
        let closed = watch::channel(false).0;
        Ok(Self { commands, driver, replication, blobs, state, graph, events, bus, control, closed })
    }

    /// Asks for something of the Bus, which happens here and now if nobody else is at work.
    pub(crate) fn bus_command(&self, command: BusCommand) {
        self.driver.post([Command::Bus(command)]);
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), DittoError> {
        self.commands.send(command).map_err(|_| DittoError::closed())
    }

    /// `conditions` are what users should know of transports that cannot run.
    pub(crate) async fn start(
        &self,
        mesh: MeshConfig,
        net: NetConfig,
        conditions: Vec<NetEvent>,
    ) -> Result<(), DittoError> {
        let (done, outcome) = oneshot::channel();
        self.command(Command::Start { mesh: Box::new(mesh), net, conditions, done })?;
        outcome.await.map_err(|_| DittoError::closed())?
    }

    /// All or nothing.
    pub(crate) async fn reconfigure(&self, settings: MeshSettings, net: NetConfig) -> Result<(), DittoError> {
        let (done, outcome) = oneshot::channel();
        self.command(Command::Reconfigure { settings, net, done })?;
        outcome.await.map_err(|_| DittoError::closed())?
    }

    pub(crate) async fn stop(&self) -> Result<(), DittoError> {
        let (done, outcome) = oneshot::channel();
        self.command(Command::Stop { done })?;
        outcome.await.map_err(|_| DittoError::closed())
    }

    /// Ends the task and the thread. Later commands fail as closed.
    pub(crate) async fn shutdown(&self) {
        let (done, outcome) = oneshot::channel();
        if self.command(Command::Shutdown { done }).is_ok() {
            let _ = outcome.await;
        }
        self.bus.close();
        let (stopping, blobs) = (self.replication.stop(), self.blobs.stop());
        let _ = runtime::blocking(move || {
            stopping.join();
            if blobs.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the thread of attachments panicked");
            }
            Ok(())
        })
        .await;
        self.closed.send_replace(true);
    }

    /// Asks both to end without waiting; for the drop of the last handle.
    pub(crate) fn shutdown_detached(&self) {
        let (done, _) = oneshot::channel();
        let _ = self.command(Command::Shutdown { done });
        self.bus.close();
        drop(self.replication.stop());
        // It is quick, and must not write into a directory that is free.
        if self.blobs.stop().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of attachments panicked");
        }
        self.closed.send_replace(true);
    }

    /// For the thread of attachments.
    pub(crate) fn blob_sender(&self) -> crossbeam_channel::Sender<ToBlobs> {
        self.blobs.sender()
    }

    /// What happens in the mesh and in sync from now on.
    pub(crate) fn event_feed(&self) -> Feed<MeshEvent> {
        Feed::new(self.events.subscribe(), self.closed.subscribe())
    }

    /// What happens to connections from now on.
    pub(crate) fn connection_feed(&self) -> Feed<ConnectionRecord> {
        Feed::new(self.control.events.subscribe(), self.closed.subscribe())
    }

    /// What the transports are doing now.
    pub(crate) fn diagnostics(&self) -> Result<TransportDiagnostics, DittoError> {
        let mut out = self.driver.diagnostics().ok_or_else(DittoError::closed)?;
        if self.is_active() && out.transport_by_type("TCP").is_none() {
            out.transports.insert(0, TransportSnapshot::new(LinkKind::AccessPoint));
        }
        Ok(out)
    }

    pub(crate) fn is_active(&self) -> bool {
        lock(&self.state).active
    }

    pub(crate) fn listen_address(&self) -> Option<SocketAddr> {
        lock(&self.state).listening
    }

    pub(crate) fn http_listen_address(&self) -> Option<SocketAddr> {
        lock(&self.state).http
    }

    pub(crate) fn subscribe(&self, query: &Query) -> Result<u64, DittoError> {
        self.replication.subscribe(query)
    }

    pub(crate) fn evict_on_leave(&self, id: u64) {
        self.replication.evict_on_leave(id);
    }

    pub(crate) fn unsubscribe(&self, id: u64) {
        self.replication.unsubscribe(id);
    }

    pub(crate) async fn status(&self) -> Result<Vec<PeerSyncStatus>, DittoError> {
        self.replication.status().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix time in milliseconds; what every machine gets as `now`.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
