//! One end: the mesh machine and its network in a task, as the SDK runs them.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ditto::types::DatabaseId;
use ditto_mesh::transport::{DialTarget, NetEvent, Transport};
use ditto_mesh::{Action, Identity, Input, Mesh, MeshConfig};
use ditto_net::{MemoryHub, Net, NetConfig};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Outcome;

/// After this many inputs or bytes the actions are carried out, as in the SDK.
const INPUTS_PER_ROUND: usize = 64;
const BYTES_PER_ROUND: usize = 64 << 10;

/// Places in the channel of events, as in the SDK.
const EVENTS: usize = 1024;

/// What uses the session. Called inside the task.
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

/// One instance. Dropping it ends its task.
pub(crate) struct End {
    pub(crate) address: Option<String>,
    commands: mpsc::UnboundedSender<Input>,
    task: JoinHandle<()>,
}

impl End {
    /// With real sockets.
    pub(crate) async fn tcp(number: u64, listens: bool, app: impl App) -> Outcome<Self> {
        let (sender, events) = mpsc::channel(EVENTS);
        let listen = listens.then(|| "127.0.0.1:0".to_owned());
        let net = Net::start(NetConfig { listen, ..NetConfig::default() }, sender).await?;
        let address = net.listen_addr().map(|a| a.to_string());
        Ok(Self::start(number, Vec::new(), address, net, events, app))
    }

    /// In memory.
    pub(crate) fn memory(number: u64, hub: &MemoryHub, targets: Vec<DialTarget>, app: impl App) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let net = hub.attach(&format!("end-{number}"), sender);
        Self::start(number, targets, None, net, events, app)
    }

    fn start(
        number: u64,
        static_targets: Vec<DialTarget>,
        address: Option<String>,
        net: impl Transport + 'static,
        events: mpsc::Receiver<NetEvent>,
        app: impl App,
    ) -> Self {
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
        let (commands, inputs) = mpsc::unbounded_channel();
        let task = tokio::spawn(drive(mesh, net, events, inputs, app));
        let end = Self { address, commands, task };
        end.tell(Input::Start);
        end
    }

    /// Tells the machine something.
    pub(crate) fn tell(&self, input: Input) {
        // The task ends only with this handle.
        let _ = self.commands.send(input);
    }

    /// Dials exactly these addresses.
    pub(crate) fn dial(&self, addresses: &[&str]) {
        let targets = addresses.iter().map(|a| DialTarget::Tcp((*a).to_owned())).collect();
        self.tell(Input::SetStaticTargets(targets));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

async fn drive(
    mut mesh: Mesh,
    net: impl Transport,
    mut events: mpsc::Receiver<NetEvent>,
    mut commands: mpsc::UnboundedReceiver<Input>,
    mut app: impl App,
) {
    let mut inputs = Vec::new();
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    // A timer that is early costs a tick; setting it anew for every input would cost more.
    let mut due = u64::MAX;
    loop {
        let next = mesh.next_deadline().unwrap_or(u64::MAX);
        if next < due {
            let wait = Duration::from_millis(next.saturating_sub(now_ms()).max(1));
            timer.as_mut().reset(tokio::time::Instant::now() + wait);
            due = next;
        }
        tokio::select! {
            command = commands.recv() => match command {
                Some(input) => mesh.take(input, now_ms()),
                None => return,
            },
            event = events.recv() => match event {
                Some(event) => mesh.take(Input::Net(event), now_ms()),
                None => return,
            },
            () = timer.as_mut(), if due < u64::MAX => {
                due = u64::MAX;
                mesh.take(Input::Tick, now_ms());
            }
        }
        let mut bytes = 0;
        for _ in 0..INPUTS_PER_ROUND {
            if bytes >= BYTES_PER_ROUND {
                break;
            }
            let Ok(event) = events.try_recv() else { break };
            if let NetEvent::Bytes { bytes: b, .. } = &event {
                bytes += b.len();
            }
            mesh.take(Input::Net(event), now_ms());
        }
        mesh.settle();
        while let Some(action) = mesh.poll() {
            match action {
                Action::Dial { link, target } => net.dial(link, &target),
                Action::Write { link, bytes } => match net.write_now(link, bytes) {
                    0 => {}
                    bytes => mesh.take(Input::Net(NetEvent::Written { link, bytes }), now_ms()),
                },
                Action::Close { link } => net.close(link),
                action => app.on(action, &mut inputs),
            }
            if inputs.is_empty() {
                continue;
            }
            for input in inputs.drain(..) {
                mesh.take(input, now_ms());
            }
            mesh.settle();
        }
    }
}
