//! The machines and what goes between them: everything that happens at once, without waiting for anybody.

use std::sync::Arc;

use ditto_mesh::transport::{LinkId, NetEvent, Transport};
use ditto_mesh::{Action, ConnectionEvent, Input, Mesh, PeerInfo, PresenceView};
use ditto_net::Net;
use tokio::sync::{broadcast, mpsc, watch};

use super::{Command, MeshEvent, now_ms};
use crate::attachment::port::BlobPort;
use crate::bus::{BusPort, Wake};
use crate::connection_request::ConnectionRequest;
use crate::control::Control;
use crate::replication::ToSync;
use crate::runtime;
use crate::wiring::{ForApp, ForBlobs, ForNetwork, ForSync, FromSync, Parts, Sessions, route};

/// Who is told what happens.
pub(super) struct Outlets {
    pub(super) to_sync: crossbeam_channel::Sender<ToSync>,
    pub(super) graph: watch::Sender<PresenceView>,
    pub(super) events: broadcast::Sender<MeshEvent>,
    pub(super) control: Arc<Control>,
    pub(super) commands: mpsc::WeakUnboundedSender<Command>,
}

/// The machines, the sockets, and those who use them.
pub(super) struct Router {
    pub(super) mesh: Mesh,
    bus: BusPort,
    blobs: BlobPort,
    pub(super) outlets: Outlets,
    /// New with every start, as the machine of the mesh: link ids begin anew.
    pub(super) net: Option<Arc<Net>>,
    /// Counts the starts of sync, because link ids begin anew with each.
    pub(super) run: u64,
    sessions: Sessions,
    /// The mesh has taken something of which the consequences wait.
    unsettled: bool,
    /// When the task of the network wakes up at the latest, or was told to.
    armed: u64,
}

/// What has to be done once the lock on the machines is free.
pub(super) struct After {
    /// Who waits for something that is there now. Whoever is woken may want the lock at once.
    pub(super) woken: Vec<Wake>,
    /// The task of the network has to wake up earlier than it knows.
    pub(super) is_earlier: bool,
}

impl Router {
    pub(super) fn new(mesh: Mesh, bus: BusPort, blobs: BlobPort, outlets: Outlets) -> Self {
        Self {
            mesh,
            bus,
            blobs,
            outlets,
            net: None,
            run: 0,
            sessions: Sessions::default(),
            unsettled: false,
            armed: u64::MAX,
        }
    }

    fn next_deadline(&self) -> u64 {
        [self.mesh.next_deadline(), self.bus.next_deadline()].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// When the task of the network has to wake up. One that wakes up too early does no harm.
    pub(super) fn arm(&mut self) -> u64 {
        self.armed = self.armed.min(self.next_deadline());
        self.armed
    }

    pub(super) fn after(&mut self) -> After {
        let before = self.armed;
        After { woken: self.bus.take_woken(), is_earlier: self.arm() < before }
    }

    /// What follows from it happens in [`Router::carry_out`].
    pub(super) fn mesh_input(&mut self, input: Input) {
        self.mesh.take(input, now_ms());
        self.unsettled = true;
    }

    pub(super) fn tick(&mut self) {
        self.armed = u64::MAX;
        self.mesh_input(Input::Tick);
        self.bus.handle(ditto_bus::Input::Tick, now_ms());
    }

    /// Takes one command. Those that have to wait for something come back.
    pub(super) fn command(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Bus(command) => self.bus.command(command, now_ms()),
            Command::Blobs(command) => {
                if let Some(input) = self.blobs.command(command) {
                    self.mesh_input(input);
                }
            }
            Command::Session(FromSync { peer, session, input }) => {
                if self.sessions.is_current(&peer, session) {
                    self.mesh_input(input);
                }
            }
            Command::Control(input) => self.mesh_input(input),
            Command::AnswerConnectionRequest { run, link, allow } => {
                if run == self.run {
                    self.mesh_input(Input::AnswerConnectionRequest { link, allow });
                }
            }
            Command::Look => {}
            later @ (Command::Start { .. }
            | Command::Stop { .. }
            | Command::Reconfigure { .. }
            | Command::PeerMetadata(_)
            | Command::Shutdown { .. }) => return Some(later),
        }
        None
    }

    /// The same for commands that never wait.
    pub(super) fn command_now(&mut self, command: Command) {
        let waits = self.command(command);
        debug_assert!(waits.is_none());
    }

    /// Lets the machines' actions happen, until none is left.
    pub(super) fn carry_out(&mut self) {
        loop {
            if std::mem::take(&mut self.unsettled) {
                self.mesh.settle();
            }
            let mut idle = true;
            while let Some(action) = self.mesh.poll() {
                route(action, self);
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
        let Some(net) = &self.net else { return };
        let bytes = net.write_now(link, bytes);
        if bytes > 0 {
            // It asks for nothing but more writes.
            self.mesh.take(Input::Net(NetEvent::Written { link, bytes }), now_ms());
        }
    }

    /// Puts a connection request to the app, beside everything else.
    fn ask(&self, link: LinkId, request: ConnectionRequest) {
        let (control, commands, run) =
            (self.outlets.control.clone(), self.outlets.commands.clone(), self.run);
        // The app may take its time, or block.
        let Ok(runtime) = runtime::handle() else { return };
        runtime.spawn(async move {
            let allow = control.decide(request).await;
            if let Some(commands) = commands.upgrade() {
                // A closed instance has no links.
                let _ = commands.send(Command::AnswerConnectionRequest { run, link, allow });
            }
        });
    }

    fn event(&self, event: MeshEvent) {
        // Nobody may be listening.
        let _ = self.outlets.events.send(event);
    }
}

impl Parts for Router {
    fn sessions(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    fn mesh(&mut self, input: Input) {
        self.mesh_input(input);
    }

    fn network(&mut self, wish: ForNetwork) {
        let Some(net) = &self.net else { return };
        match wish {
            ForNetwork::Dial { link, target } => net.dial(link, &target),
            ForNetwork::Write { link, bytes } => self.write(link, bytes),
            ForNetwork::Close { link } => net.close(link),
        }
    }

    fn bus(&mut self, input: ditto_bus::Input) {
        self.bus.handle(input, now_ms());
    }

    fn sync(&mut self, message: ForSync) {
        // The thread ends only after this task was told to.
        let _ = self.outlets.to_sync.send(ToSync::Mesh(message));
    }

    fn blobs(&mut self, message: ForBlobs) {
        self.blobs.handle(message);
    }

    fn is_of_blobs(&self, action: &Action) -> bool {
        self.blobs.is_mine(action)
    }

    fn app(&mut self, told: ForApp) {
        match told {
            ForApp::Connected(PeerInfo { peer, device_name, link_kind, remote, .. }) => {
                tracing::info!(%peer, name = device_name, remote, "peer connected");
                let connection_type = link_kind.to_string();
                self.event(MeshEvent::PeerConnected { peer, device_name, connection_type, remote });
            }
            ForApp::Disconnected { peer, reason } => {
                tracing::info!(%peer, reason, "peer disconnected");
                self.event(MeshEvent::PeerDisconnected { peer, reason });
            }
            ForApp::ConnectionRequest { link, peer, kind, metadata } => {
                self.ask(link, ConnectionRequest::new(peer, kind, metadata));
            }
            ForApp::UnknownPurpose { peer, purpose } => {
                tracing::info!(%peer, purpose, "refused a circuit for an unknown purpose");
            }
            ForApp::PresenceChanged => {
                self.outlets.graph.send_replace(self.mesh.presence());
            }
            ForApp::Event(event) => {
                self.outlets.control.record(event.clone(), now_ms());
                // Told already, and as events of their own.
                if !matches!(event, ConnectionEvent::Connected { .. } | ConnectionEvent::Disconnected { .. })
                {
                    tracing::info!("{event}");
                    self.event(MeshEvent::Connection(event));
                }
            }
        }
    }
}
