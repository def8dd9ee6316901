//! The task of the network: what waits, for commands and for the time, and the sockets to start and stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto_mesh::{Input, Mesh, MeshConfig};
use ditto_net::{Events, Gate, Net, NetConfig};
use ditto_types::Value;
use tokio::sync::mpsc;

use super::driver::{Core, Intake};
use super::{Command, State, lock, now_ms};
use crate::transports::{MeshSettings, net_error};
use crate::{DittoError, runtime};

/// Commands that are taken together, so that what they send leaves together.
const COMMANDS_PER_ROUND: usize = 64;

pub(super) struct Task {
    core: Arc<Core>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Lets the events of the sockets through. New with every start, so that an event of the last run cannot reach the next.
    gate: Option<Gate>,
    state: Arc<Mutex<State>>,
    metadata: Value,
    /// It was told to end, or nobody can tell it anything any more.
    has_ended: bool,
}

impl Task {
    pub(super) fn new(
        core: Arc<Core>,
        state: Arc<Mutex<State>>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let metadata = Value::Object(Default::default());
        Self { core, commands, gate: None, state, metadata, has_ended: false }
    }

    pub(super) async fn run(mut self) {
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        // For when it is set. One that goes off too early does no harm, and setting it for every message costs more.
        let mut armed = u64::MAX;
        loop {
            let at = self.core.router().arm();
            if at < armed {
                armed = at;
                // A tick that is due gives others a turn first.
                let wait = Duration::from_millis(at.saturating_sub(now_ms()).max(1));
                timer.as_mut().reset(tokio::time::Instant::now() + wait);
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command).await,
                    None => {
                        self.stop_network().await;
                        self.has_ended = true;
                    }
                },
                () = &mut timer, if armed != u64::MAX => {
                    armed = u64::MAX;
                    self.core.enter(|router| router.tick());
                }
            }
            if self.has_ended {
                return;
            }
        }
    }

    /// Takes a command, with those that have come since.
    async fn take(&mut self, first: Command) {
        let commands = &mut self.commands;
        let waiting = self.core.enter(|router| {
            let mut waiting = router.command(first);
            for _ in 1..COMMANDS_PER_ROUND {
                if waiting.is_some() {
                    break;
                }
                let Ok(command) = commands.try_recv() else { break };
                waiting = router.command(command);
            }
            waiting
        });
        if let Some(command) = waiting {
            self.manage(command).await;
        }
    }

    /// Carries out a command that may wait.
    async fn manage(&mut self, command: Command) {
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
                self.core.enter(|router| router.mesh_input(Input::SetPeerMetadata(metadata)));
            }
            Command::Shutdown { done } => {
                self.stop_network().await;
                self.has_ended = true;
                let _ = done.send(());
            }
            // The others do not wait.
            other => self.core.enter(|router| router.command_now(other)),
        }
    }

    async fn start(
        &mut self,
        config: MeshConfig,
        net: NetConfig,
        conditions: Vec<ditto_mesh::transport::NetEvent>,
    ) -> Result<(), DittoError> {
        if self.gate.is_some() {
            return Ok(());
        }
        let run = self.core.router().run + 1;
        let (events, gate) = Events::direct(Arc::new(Intake::new(&self.core, run)));
        let net = Net::start(net, events).await.map_err(net_error)?;
        *lock(&self.state) = State { active: true, listening: net.listen_addr(), http: net.http_addr() };
        let metadata = self.metadata.clone();
        self.core.enter(|router| {
            router.net = Some(Arc::new(net));
            // A fresh machine per start: device name and groups take effect then (API-034).
            router.mesh = Mesh::new(config, Box::new(crate::random::fill));
            router.run = run;
            router.mesh_input(Input::SetPeerMetadata(metadata));
            for input in router.outlets.control.inputs() {
                router.mesh_input(input);
            }
            router.mesh_input(Input::Start);
            for condition in conditions {
                router.mesh_input(Input::Net(condition));
            }
        });
        gate.open();
        self.gate = Some(gate);
        Ok(())
    }

    async fn reconfigure(&mut self, settings: MeshSettings, net: NetConfig) -> Result<(), DittoError> {
        let running = self.core.router().net.clone();
        let Some(running) = running else {
            return Ok(());
        };
        running.reconfigure(net).await.map_err(net_error)?;
        *lock(&self.state) =
            State { active: true, listening: running.listen_addr(), http: running.http_addr() };
        self.core.enter(|router| {
            router.mesh_input(Input::SetRetryInterval(settings.retry_interval));
            router.mesh_input(Input::SetSyncGroup(settings.sync_group));
            router.mesh_input(Input::SetStaticTargets(settings.targets));
            for condition in settings.conditions {
                router.mesh_input(Input::Net(condition));
            }
        });
        Ok(())
    }

    async fn stop_network(&mut self) {
        if let Some(net) = self.stop_machines() {
            net.shutdown().await;
        }
        self.tell_stopped();
    }

    /// What of a stop needs no waiting.
    fn stop_machines(&mut self) -> Option<Arc<Net>> {
        self.core.enter(|router| router.mesh_input(Input::Stop));
        // Nobody takes events any more, so nothing may wait for it.
        self.gate = None;
        self.core.router().net.take()
    }

    fn tell_stopped(&self) {
        *lock(&self.state) = State::default();
        let router = self.core.router();
        router.outlets.graph.send_replace(router.mesh.presence());
    }
}

impl Drop for Task {
    /// The runtime of the app has ended before the instance: sync has stopped with it, and can be started again.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        drop(self.stop_machines());
        self.tell_stopped();
        let gone = mpsc::unbounded_channel().1;
        let mut next =
            Task::new(self.core.clone(), self.state.clone(), std::mem::replace(&mut self.commands, gone));
        next.metadata = self.metadata.clone();
        tracing::warn!("the runtime of the app has ended; the network moves to a thread of its own");
        if let Err(e) = runtime::network(None, next.run()) {
            tracing::error!(%e, "the network is lost");
        }
    }
}
