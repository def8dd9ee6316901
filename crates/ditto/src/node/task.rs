//! The task of the network: what waits, for commands, events of the sockets, the time, and the sockets to start and stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto_mesh::transport::NetEvent;
use ditto_mesh::{Input, Mesh, MeshConfig};
use ditto_net::{Net, NetConfig};
use ditto_types::Value;
use tokio::sync::mpsc;

use super::router::Router;
use super::{Command, State, lock, now_ms};
use crate::DittoError;
use crate::transports::{MeshSettings, net_error};

/// Commands that are taken together, so that what they send leaves together.
const COMMANDS_PER_ROUND: usize = 64;

/// After this many inputs the machine's actions are carried out, so that a flood of bytes cannot delay them.
const INPUTS_PER_ROUND: usize = 64;

/// The same for bytes that have come: whoever sends them should hear of it before its window is used up.
const BYTES_PER_ROUND: usize = 64 << 10;

/// The next event of the network; never, while there is none.
async fn next_event(events: &mut Option<mpsc::Receiver<NetEvent>>) -> Option<NetEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

pub(super) struct Task {
    router: Arc<Mutex<Router>>,
    /// Of the sockets. New with every start, so that an event of the last run cannot reach the next.
    events: Option<mpsc::Receiver<NetEvent>>,
    state: Arc<Mutex<State>>,
    metadata: Value,
}

impl Task {
    pub(super) fn new(router: Arc<Mutex<Router>>, state: Arc<Mutex<State>>) -> Self {
        Self { router, events: None, state, metadata: Value::Object(Default::default()) }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        // For when it is set. One that goes off too early does no harm, and setting it for every message costs more.
        let mut armed = u64::MAX;
        loop {
            if let Some(at) = self.finish_round(armed) {
                armed = at;
                // A tick that is due gives others a turn first.
                let wait = Duration::from_millis(at.saturating_sub(now_ms()).max(1));
                timer.as_mut().reset(tokio::time::Instant::now() + wait);
            }
            let mut waiting = tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return self.stop_network().await,
                },
                Some(event) = next_event(&mut self.events) => {
                    lock(&self.router).mesh_input(Input::Net(event));
                    None
                }
                () = &mut timer, if armed != u64::MAX => {
                    armed = u64::MAX;
                    let mut router = lock(&self.router);
                    router.armed = u64::MAX;
                    router.tick();
                    None
                }
            };
            for _ in 0..COMMANDS_PER_ROUND {
                if let Some(command) = waiting.take()
                    && self.manage(command).await
                {
                    return self.stop_network().await;
                }
                let Ok(command) = commands.try_recv() else { break };
                waiting = self.take(command);
            }
            if let Some(command) = waiting
                && self.manage(command).await
            {
                return self.stop_network().await;
            }
        }
    }

    /// Takes a command that needs no waiting; others come back.
    fn take(&self, command: Command) -> Option<Command> {
        lock(&self.router).command(command)
    }

    /// Takes what else has come from the network, and carries out what follows from all. Says when to wake up, if that is
    /// before `armed`.
    fn finish_round(&mut self, armed: u64) -> Option<u64> {
        let mut router = lock(&self.router);
        let mut bytes = 0;
        for _ in 0..INPUTS_PER_ROUND {
            if bytes >= BYTES_PER_ROUND {
                break;
            }
            let Some(event) = self.events.as_mut().and_then(|events| events.try_recv().ok()) else { break };
            if let NetEvent::Bytes { bytes: arrived, .. } = &event {
                bytes += arrived.len();
            }
            router.mesh_input(Input::Net(event));
        }
        router.carry_out();
        let at = router.next_deadline().filter(|at| *at < armed)?;
        router.armed = at;
        Some(at)
    }

    /// Carries out a command that may wait; true ends the task.
    async fn manage(&mut self, command: Command) -> bool {
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
                lock(&self.router).mesh_input(Input::SetPeerMetadata(metadata));
            }
            Command::Shutdown { done } => {
                self.stop_network().await;
                let _ = done.send(());
                return true;
            }
            // The others do not wait.
            other => drop(self.take(other)),
        }
        false
    }

    async fn start(
        &mut self,
        config: MeshConfig,
        net: NetConfig,
        conditions: Vec<NetEvent>,
    ) -> Result<(), DittoError> {
        if self.events.is_some() {
            return Ok(());
        }
        let (out, events) = mpsc::channel(1024);
        let net = Net::start(net, out).await.map_err(net_error)?;
        *lock(&self.state) = State { active: true, listening: net.listen_addr(), http: net.http_addr() };
        self.events = Some(events);
        let mut router = lock(&self.router);
        router.net = Some(Arc::new(net));
        // A fresh machine per start: device name and groups take effect then (API-034).
        router.mesh = Mesh::new(config, Box::new(crate::random::fill));
        router.run += 1;
        router.mesh_input(Input::SetPeerMetadata(self.metadata.clone()));
        for input in router.outlets.control.inputs() {
            router.mesh_input(input);
        }
        router.mesh_input(Input::Start);
        for condition in conditions {
            router.mesh_input(Input::Net(condition));
        }
        Ok(())
    }

    async fn reconfigure(&mut self, settings: MeshSettings, net: NetConfig) -> Result<(), DittoError> {
        let running = lock(&self.router).net.clone();
        let Some(running) = running else {
            return Ok(());
        };
        running.reconfigure(net).await.map_err(net_error)?;
        *lock(&self.state) =
            State { active: true, listening: running.listen_addr(), http: running.http_addr() };
        let mut router = lock(&self.router);
        router.mesh_input(Input::SetRetryInterval(settings.retry_interval));
        router.mesh_input(Input::SetSyncGroup(settings.sync_group));
        router.mesh_input(Input::SetStaticTargets(settings.targets));
        for condition in settings.conditions {
            router.mesh_input(Input::Net(condition));
        }
        Ok(())
    }

    async fn stop_network(&mut self) {
        let net = {
            let mut router = lock(&self.router);
            router.mesh_input(Input::Stop);
            router.carry_out();
            router.net.take()
        };
        // Nobody takes them any more, so nothing may wait for room.
        self.events = None;
        if let Some(net) = net {
            net.shutdown().await;
        }
        *lock(&self.state) = State::default();
        let router = lock(&self.router);
        router.outlets.graph.send_replace(Arc::new(router.mesh.graph()));
    }
}
