//! The task that owns the mesh machine, the Bus machine and the network, and moves bytes between them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ditto_mesh::transport::{LinkId, LinkKind, NetEvent, Transport};
use ditto_mesh::{
    ConnectionEvent, Lane, Mesh, MeshConfig, PeerKey, PresenceGraph, TransportDiagnostics, TransportSnapshot,
};
use ditto_net::{Net, NetConfig};
use ditto_sync::PeerSyncStatus;
use ditto_types::{ErrorKind, Value};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::DittoError;
use crate::attachment::exchange::{Exchange, ToBlobs};
use crate::attachment::port::{BlobCommand, BlobPort};
use crate::bus::{BusCommand, BusPort, BusState};
use crate::connection_request::ConnectionRequest;
use crate::control::Control;
use crate::diagnostics::ConnectionRecord;
use crate::feed::Feed;
use crate::query::Query;
use crate::replication::{Replication, ToSync};
use crate::runtime;
use crate::sessions::Sessions;
use crate::system::SystemRows;
use crate::transports::{MeshSettings, net_error};

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
    /// From the replication thread, for one session of the peer, as the two after it.
    Send {
        peer: PeerKey,
        session: u64,
        lane: Lane,
        bytes: Vec<u8>,
    },
    Consumed {
        peer: PeerKey,
        session: u64,
        lane: Lane,
        bytes: usize,
    },
    Disconnect {
        peer: PeerKey,
        session: u64,
        reason: String,
    },
    /// What the app says about connections.
    Control(ditto_mesh::Input),
    /// The app's decision about a link of a run.
    AnswerConnectionRequest {
        run: u64,
        link: LinkId,
        allow: bool,
    },
    Diagnostics(crossbeam_channel::Sender<TransportDiagnostics>),
    Shutdown {
        done: oneshot::Sender<()>,
    },
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
    replication: Replication,
    blobs: Exchange,
    state: Arc<Mutex<State>>,
    pub(crate) graph: watch::Receiver<Arc<PresenceGraph>>,
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
    /// Starts the task and the thread, without network.
    pub(crate) fn spawn(
        mesh: MeshConfig,
        store: ditto_store::Store,
        me: &PeerKey,
    ) -> Result<Self, DittoError> {
        let (commands, from_app) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(1024);
        let replication = Replication::spawn(store.clone(), commands.clone(), events.clone())?;
        let blobs = Exchange::spawn(store.blobs()?.clone(), me, commands.downgrade())?;
        let mesh = Mesh::new(mesh, Box::new(crate::random::fill));
        let (graph_out, graph) = watch::channel(Arc::new(mesh.graph()));
        let bus = BusState::default();
        let state = Arc::new(Mutex::new(State::default()));
        let control = Arc::new(Control::default());
        let rows =
            SystemRows::new(replication.sender(), state.clone(), control.clone(), commands.downgrade());
        store.set_system_provider(Arc::new(rows));
        let task = Task {
            mesh,
            bus: BusPort::new(bus.inbox.clone(), commands.downgrade()),
            net: None,
            to_sync: replication.sender(),
            blobs: BlobPort::new(blobs.sender()),
            graph: graph_out,
            events: events.clone(),
            control: control.clone(),
            commands: commands.downgrade(),
            run: 0,
            state: state.clone(),
            metadata: Value::Object(Default::default()),
            sessions: Sessions::default(),
            unsettled: false,
        };
        runtime::handle()?.spawn(task.run(from_app));
        let closed = watch::channel(false).0;
        Ok(Self { commands, replication, blobs, state, graph, events, bus, control, closed })
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
        let mut out = diagnostics(&self.commands.downgrade())?;
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

/// Asks the network task, which never waits for anybody.
pub(crate) fn diagnostics(
    commands: &mpsc::WeakUnboundedSender<Command>,
) -> Result<TransportDiagnostics, DittoError> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let (reply, answer) = crossbeam_channel::bounded(1);
    let commands = commands.upgrade().ok_or_else(DittoError::closed)?;
    commands.send(Command::Diagnostics(reply)).map_err(|_| DittoError::closed())?;
    answer.recv_timeout(PATIENCE).map_err(|e| match e {
        crossbeam_channel::RecvTimeoutError::Disconnected => DittoError::closed(),
        crossbeam_channel::RecvTimeoutError::Timeout => {
            DittoError::new(ErrorKind::Internal, "the network task does not answer")
        }
    })
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix time in milliseconds; what every machine gets as `now`.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The next event of the network; never, while there is none.
async fn next_event(net: &mut Option<(Net, mpsc::Receiver<NetEvent>)>) -> Option<NetEvent> {
    match net {
        Some((_, events)) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// What the opener of a circuit learns when nobody here takes circuits of its purpose.
const UNKNOWN_PURPOSE: u32 = 1;

/// Commands that are taken together, so that what they send leaves together.
const COMMANDS_PER_ROUND: usize = 64;

/// After this many inputs the machine's actions are carried out, so that a flood of bytes cannot delay them.
const INPUTS_PER_ROUND: usize = 64;

/// The same for bytes that have come: whoever sends them should hear of it before its window is used up.
const BYTES_PER_ROUND: usize = 64 << 10;

struct Task {
    mesh: Mesh,
    bus: BusPort,
    /// The sockets and their events. Both are new with every start: link ids begin anew, so an event of the last run must
    /// not reach the next.
    net: Option<(Net, mpsc::Receiver<NetEvent>)>,
    to_sync: crossbeam_channel::Sender<ToSync>,
    blobs: BlobPort,
    graph: watch::Sender<Arc<PresenceGraph>>,
    events: broadcast::Sender<MeshEvent>,
    control: Arc<Control>,
    commands: mpsc::WeakUnboundedSender<Command>,
    /// Counts the starts of sync, because link ids begin anew with each.
    run: u64,
    state: Arc<Mutex<State>>,
    metadata: Value,
    sessions: Sessions,
    /// The mesh has taken something of which the consequences wait.
    unsettled: bool,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        // For when it is set. One that goes off too early does no harm, and setting it for every message costs more.
        let mut armed = u64::MAX;
        loop {
            let deadline = [self.mesh.next_deadline(), self.bus.next_deadline()].into_iter().flatten().min();
            if let Some(at) = deadline.filter(|at| *at < armed) {
                armed = at;
                // A tick that is due gives others a turn first.
                let wait = Duration::from_millis(at.saturating_sub(now_ms()).max(1));
                timer.as_mut().reset(tokio::time::Instant::now() + wait);
            }
            let ended = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => true,
                },
                Some(event) = next_event(&mut self.net) => {
                    self.mesh_input(ditto_mesh::Input::Net(event));
                    false
                }
                () = &mut timer, if armed != u64::MAX => {
                    armed = u64::MAX;
                    let now = now_ms();
                    self.mesh_input(ditto_mesh::Input::Tick);
                    self.bus.handle(ditto_bus::Input::Tick, now);
                    false
                }
            };
            if ended {
                return self.stop_network().await;
            }
            for _ in 0..COMMANDS_PER_ROUND {
                let Ok(command) = commands.try_recv() else { break };
                if self.command(command).await {
                    return self.stop_network().await;
                }
            }
            let mut bytes = 0;
            for _ in 0..INPUTS_PER_ROUND {
                if bytes >= BYTES_PER_ROUND {
                    break;
                }
                let Some(event) = self.net.as_mut().and_then(|(_, events)| events.try_recv().ok()) else {
                    break;
                };
                if let NetEvent::Bytes { bytes: arrived, .. } = &event {
                    bytes += arrived.len();
                }
                self.mesh_input(ditto_mesh::Input::Net(event));
            }
            self.carry_out();
        }
    }

    /// What follows from it happens in [`Task::carry_out`].
    fn mesh_input(&mut self, input: ditto_mesh::Input) {
        self.mesh.take(input, now_ms());
        self.unsettled = true;
    }

    /// For the mesh, unless the session that it is meant for is over.
    fn session_input(&mut self, peer: PeerKey, session: u64, input: ditto_mesh::Input) {
        if self.sessions.is_current(&peer, session) {
            self.mesh_input(input);
        }
    }

    /// Carries out one command; true ends the task.
    async fn command(&mut self, command: Command) -> bool {
        use ditto_mesh::Input;
        match command {
            Command::Start { mesh, net, conditions, done } => {
                let outcome = self.start(*mesh, net, conditions).await;
                let _ = done.send(outcome);
            }
            Command::Stop { done } => {
                self.stop_network().await;
                let _ = done.send(());
            }
            Command::Reconfigure { settings, net, done } => {
                let outcome = self.reconfigure(settings, net).await;
                let _ = done.send(outcome);
            }
            Command::PeerMetadata(metadata) => {
                self.metadata = metadata.clone();
                self.mesh_input(Input::SetPeerMetadata(metadata));
            }
            Command::Bus(command) => self.bus.command(command, now_ms()),
            Command::Blobs(command) => {
                if let Some(input) = self.blobs.command(command) {
                    self.mesh_input(input);
                }
            }
            Command::Send { peer, session, lane, bytes } => {
                self.session_input(peer, session, Input::Send { peer, lane, bytes, tag: 0 });
            }
            Command::Consumed { peer, session, lane, bytes } => {
                self.session_input(peer, session, Input::Consumed { peer, lane, bytes });
            }
            Command::Disconnect { peer, session, reason } => {
                self.session_input(peer, session, Input::Disconnect { peer, reason });
            }
            Command::Control(input) => self.mesh_input(input),
            Command::AnswerConnectionRequest { run, link, allow } => {
                if run == self.run {
                    self.mesh_input(Input::AnswerConnectionRequest { link, allow });
                }
            }
            Command::Diagnostics(reply) => drop(reply.send(self.mesh.diagnostics())),
            Command::Shutdown { done } => {
                self.stop_network().await;
                let _ = done.send(());
                return true;
            }
        }
        false
    }

    async fn start(
        &mut self,
        config: MeshConfig,
        net: NetConfig,
        conditions: Vec<NetEvent>,
    ) -> Result<(), DittoError> {
        if self.net.is_some() {
            return Ok(());
        }
        let (out, events) = mpsc::channel(1024);
        let net = Net::start(net, out).await.map_err(net_error)?;
        *lock(&self.state) = State { active: true, listening: net.listen_addr(), http: net.http_addr() };
        self.net = Some((net, events));
        // A fresh machine per start: device name and groups take effect then (API-034).
        self.mesh = Mesh::new(config, Box::new(crate::random::fill));
        self.run += 1;
        self.mesh_input(ditto_mesh::Input::SetPeerMetadata(self.metadata.clone()));
        for input in self.control.inputs() {
            self.mesh_input(input);
        }
        self.mesh_input(ditto_mesh::Input::Start);
        self.tell(conditions);
        Ok(())
    }

    async fn reconfigure(&mut self, settings: MeshSettings, net: NetConfig) -> Result<(), DittoError> {
        use ditto_mesh::Input;
        let Some((running, _)) = &self.net else {
            return Ok(());
        };
        running.reconfigure(net).await.map_err(net_error)?;
        *lock(&self.state) =
            State { active: true, listening: running.listen_addr(), http: running.http_addr() };
        self.mesh_input(Input::SetRetryInterval(settings.retry_interval));
        self.mesh_input(Input::SetSyncGroup(settings.sync_group));
        self.mesh_input(Input::SetStaticTargets(settings.targets));
        self.tell(settings.conditions);
        Ok(())
    }

    fn tell(&mut self, conditions: Vec<NetEvent>) {
        for condition in conditions {
            self.mesh_input(ditto_mesh::Input::Net(condition));
        }
    }

    async fn stop_network(&mut self) {
        self.mesh_input(ditto_mesh::Input::Stop);
        self.carry_out();
        if let Some((net, events)) = self.net.take() {
            // Nobody takes them any more, so nothing may wait for room.
            drop(events);
            net.shutdown().await;
        }
        *lock(&self.state) = State::default();
        self.graph.send_replace(Arc::new(self.mesh.graph()));
    }

    /// Lets the machines' actions happen, until none is left.
    fn carry_out(&mut self) {
        loop {
            if std::mem::take(&mut self.unsettled) {
                self.mesh.settle();
            }
            let mut idle = true;
            while let Some(action) = self.mesh.poll() {
                self.mesh_action(action);
                idle = false;
            }
            let now = now_ms();
            while let Some(input) = self.bus.poll(now) {
                self.mesh_input(input);
            }
            if idle && !self.unsettled {
                return;
            }
        }
    }

    /// Most writes are taken by the operating system at once.
    fn write(&mut self, link: LinkId, bytes: Vec<u8>) {
        let Some((net, _)) = &self.net else { return };
        let bytes = net.write_now(link, bytes);
        if bytes > 0 {
            // It asks for nothing but more writes.
            self.mesh.take(ditto_mesh::Input::Net(NetEvent::Written { link, bytes }), now_ms());
        }
    }

    fn mesh_action(&mut self, action: ditto_mesh::Action) {
        use ditto_mesh::Action;
        let now = now_ms();
        match action {
            Action::Dial { link, target } => self.network(|net| net.dial(link, &target)),
            Action::Write { link, bytes } => self.write(link, bytes),
            Action::Close { link } => self.network(|net| net.close(link)),
            Action::PeerConnected(info) => {
                tracing::info!(peer = %info.peer, name = info.device_name, remote = info.remote, "peer connected");
                self.bus.handle(ditto_bus::Input::PeerConnected(info.peer), now);
                self.blobs.peer_up(info.peer);
                let session = self.sessions.begin(info.peer);
                self.sync(ToSync::PeerUp {
                    peer: info.peer,
                    session,
                    store_id: info.store_id,
                    epoch: info.store_epoch,
                });
                self.event(MeshEvent::PeerConnected {
                    peer: info.peer,
                    device_name: info.device_name,
                    connection_type: info.link_kind.to_string(),
                    remote: info.remote,
                });
            }
            Action::PeerDisconnected { peer, reason } => {
                tracing::info!(%peer, reason, "peer disconnected");
                self.bus.handle(ditto_bus::Input::PeerDisconnected(peer), now);
                self.blobs.peer_down(&peer);
                self.sessions.end(&peer);
                self.sync(ToSync::PeerDown { peer });
                self.event(MeshEvent::PeerDisconnected { peer, reason });
            }
            Action::Message { peer, lane: Lane::Bus, bytes } => {
                let length = bytes.len();
                self.bus.handle(ditto_bus::Input::Message { peer, bytes }, now);
                self.mesh_input(ditto_mesh::Input::Consumed { peer, lane: Lane::Bus, bytes: length });
            }
            Action::Message { peer, lane: Lane::Blobs, bytes } => self.blobs.message(&peer, bytes),
            Action::Message { peer, lane, bytes } => self.sync(ToSync::Message { peer, lane, bytes }),
            Action::Datagram { peer, bytes } => {
                self.bus.handle(ditto_bus::Input::Datagram { peer, bytes }, now);
            }
            // Tag 0 marks replication, which counts acknowledged commits instead.
            Action::Transmitted { tag: 0, .. } | Action::SendFailed { tag: 0, .. } => {}
            Action::Transmitted { tag, .. } => self.bus.handle(ditto_bus::Input::Transmitted { tag }, now),
            Action::SendFailed { tag, reason, .. } => {
                self.bus.handle(ditto_bus::Input::SendFailed { tag, reason }, now);
            }
            Action::Queued { lane: Lane::Bus, .. } => {}
            Action::Queued { peer, lane: Lane::Blobs, bytes } => self.blobs.queued(&peer, bytes),
            Action::Queued { peer, lane, bytes } => self.sync(ToSync::Queued { peer, lane, bytes }),
            Action::ConnectionRequest { link, peer, kind, metadata } => {
                self.ask(link, ConnectionRequest::new(peer, kind, metadata));
            }
            action if self.blobs.is_mine(&action) => self.blobs.circuit(action),
            Action::CircuitIncoming { circuit, peer, purpose } if !ditto_bus::is_bus_purpose(purpose) => {
                // No other service takes circuits, so the opener is told at once.
                tracing::info!(%peer, purpose, "refused a circuit for an unknown purpose");
                self.mesh_input(ditto_mesh::Input::CircuitClose { circuit, code: UNKNOWN_PURPOSE });
            }
            Action::CircuitIncoming { .. }
            | Action::CircuitOpened { .. }
            | Action::CircuitMessage { .. }
            | Action::CircuitDatagram { .. }
            | Action::CircuitTransmitted { .. }
            | Action::CircuitSendFailed { .. }
            | Action::CircuitClosed { .. } => self.bus.handle(ditto_bus::Input::Circuit(action), now),
            Action::CircuitQueued { .. } => {}
            Action::PresenceChanged => {
                self.graph.send_replace(Arc::new(self.mesh.graph()));
            }
            Action::Event(event) => {
                self.control.record(event.clone(), now);
                // Told above already, and as events of their own.
                if !matches!(event, ConnectionEvent::Connected { .. } | ConnectionEvent::Disconnected { .. })
                {
                    tracing::info!("{event}");
                    self.event(MeshEvent::Connection(event));
                }
            }
        }
    }

    /// Puts a connection request to the app, beside everything else.
    fn ask(&self, link: LinkId, request: ConnectionRequest) {
        let (control, commands, run) = (self.control.clone(), self.commands.clone(), self.run);
        tokio::spawn(async move {
            let allow = control.decide(request).await;
            if let Some(commands) = commands.upgrade() {
                // A closed instance has no links.
                let _ = commands.send(Command::AnswerConnectionRequest { run, link, allow });
            }
        });
    }

    fn network(&self, f: impl FnOnce(&Net)) {
        if let Some((net, _)) = &self.net {
            f(net);
        }
    }

    fn sync(&self, message: ToSync) {
        // The thread ends only after this task was told to.
        let _ = self.to_sync.send(message);
    }

    fn event(&self, event: MeshEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}
