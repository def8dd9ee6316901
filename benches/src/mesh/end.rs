//! One end: the mesh machine behind a lock, driven by whoever has something for it, as the SDK does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ditto::types::DatabaseId;
use ditto_mesh::transport::{DialTarget, NetEvent, Transport};
use ditto_mesh::{Action, Identity, Input, Mesh, MeshConfig};
use ditto_net::{Events, Gate, MemoryHub, Net, NetConfig, TakeEvents};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::Outcome;

/// What uses the session. Called by whoever drives the machine.
pub(crate) trait App: Send + 'static {
    /// Something that the machine says; what it should be told goes to `inputs`.
    fn on(&mut self, action: Action, inputs: &mut Vec<Input>);
}

/// An app that passes on what it hears.
pub(crate) struct Tell(pub(crate) mpsc::UnboundedSender<Action>);

impl App for Tell {
    fn on(&mut self, action: Action, _: &mut Vec<Input>) {
        if matches!(
            action,
            Action::PeerConnected(_) | Action::PeerDisconnected { .. } | Action::PresenceChanged
        ) {
            // Nobody listens at the end of a measurement.
            let _ = self.0.send(action);
        }
    }
}

/// One instance. Dropping it ends it.
pub(crate) struct End {
    pub(crate) address: Option<String>,
    core: Arc<Core>,
    _gate: Gate,
    timer: JoinHandle<()>,
}

impl End {
    /// With real sockets.
    pub(crate) async fn tcp(number: u64, listens: bool, app: impl App) -> Outcome<Self> {
        let core = Core::new(number, Vec::new(), app);
        let (events, gate) = Events::direct(core.clone());
        let listen = listens.then(|| "127.0.0.1:0".to_owned());
        let net = Net::start(NetConfig { listen, ..NetConfig::default() }, events).await?;
        let address = net.listen_addr().map(|a| a.to_string());
        Ok(Self::start(core, gate, address, Box::new(net)))
    }

    /// In memory.
    pub(crate) fn memory(number: u64, hub: &MemoryHub, targets: Vec<DialTarget>, app: impl App) -> Self {
        let core = Core::new(number, targets, app);
        let (events, gate) = Events::direct(core.clone());
        let net = hub.attach(&format!("end-{number}"), events);
        Self::start(core, gate, None, Box::new(net))
    }

    fn start(core: Arc<Core>, gate: Gate, address: Option<String>, net: Box<dyn Transport + Send>) -> Self {
        core.lock().net = Some(net);
        gate.open();
        let timer = tokio::spawn(keep_time(Arc::downgrade(&core), core.earlier.clone()));
        core.tell(Input::Start);
        Self { address, core, _gate: gate, timer }
    }

    /// Tells the machine something.
    pub(crate) fn tell(&self, input: Input) {
        self.core.tell(input);
    }

    /// Dials exactly these addresses.
    pub(crate) fn dial(&self, addresses: &[&str]) {
        let targets = addresses.iter().map(|a| DialTarget::Tcp((*a).to_owned())).collect();
        self.tell(Input::SetStaticTargets(targets));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.timer.abort();
        // Its tasks end with it.
        drop(self.core.lock().net.take());
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

struct Core {
    machine: Mutex<Machine>,
    /// The machine has to be woken earlier than its timer is set for.
    earlier: Arc<Notify>,
}

struct Machine {
    mesh: Mesh,
    net: Option<Box<dyn Transport + Send>>,
    app: Box<dyn App>,
    inputs: Vec<Input>,
    armed: u64,
}

impl Core {
    fn new(number: u64, static_targets: Vec<DialTarget>, app: impl App) -> Arc<Self> {
        let mut chance = ditto_testkit::Rng::new(number ^ 0x6d65_7368);
        let identity = Arc::new(Identity::generate(&mut |out| chance.fill(out)));
        let mut store_id = [0; 16];
        chance.fill(&mut store_id);
        let config = MeshConfig {
            static_targets,
            device_name: format!("end {number}"),
            ..MeshConfig::new(identity, DatabaseId::DEFAULT, store_id, [1; 8])
        };
        let mesh = Mesh::new(config, Box::new(move |out| chance.fill(out)));
        let machine = Machine { mesh, net: None, app: Box::new(app), inputs: Vec::new(), armed: u64::MAX };
        Arc::new(Self { machine: Mutex::new(machine), earlier: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, input: Input) {
        if self.lock().round(input) {
            self.earlier.notify_one();
        }
    }
}

impl TakeEvents for Core {
    fn take(&self, event: NetEvent) {
        self.tell(Input::Net(event));
    }
}

impl Machine {
    /// Whether its timer has to be set anew.
    fn round(&mut self, input: Input) -> bool {
        self.mesh.take(input, now_ms());
        self.mesh.settle();
        while let Some(action) = self.mesh.poll() {
            match (action, &self.net) {
                (Action::Dial { link, target }, Some(net)) => net.dial(link, &target),
                (Action::Write { link, bytes }, Some(net)) => match net.write_now(link, bytes) {
                    0 => {}
                    bytes => self.mesh.take(Input::Net(NetEvent::Written { link, bytes }), now_ms()),
                },
                (Action::Close { link }, Some(net)) => net.close(link),
                (action, _) => self.app.on(action, &mut self.inputs),
            }
            if self.inputs.is_empty() {
                continue;
            }
            for input in self.inputs.drain(..) {
                self.mesh.take(input, now_ms());
            }
            self.mesh.settle();
        }
        let due = self.mesh.next_deadline().unwrap_or(u64::MAX);
        let earlier = due < self.armed;
        self.armed = self.armed.min(due);
        earlier
    }
}

/// Ticks when the machine wants it. A tick that is too early does no harm.
async fn keep_time(core: Weak<Core>, earlier: Arc<Notify>) {
    loop {
        let Some(at) = core.upgrade().map(|core| core.lock().armed) else { return };
        let wait = Duration::from_millis(at.saturating_sub(now_ms()).clamp(1, 3_600_000));
        tokio::select! {
            () = earlier.notified() => {}
            () = tokio::time::sleep(wait) => {
                let Some(core) = core.upgrade() else { return };
                core.lock().armed = u64::MAX;
                core.tell(Input::Tick);
            }
        }
    }
}
