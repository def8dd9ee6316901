//! A mesh machine with its network, in a task, as the SDK runs them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ditto_mesh::transport::{DialTarget, NetEvent, Transport};
use ditto_mesh::{Action, Identity, Input, Mesh, MeshConfig, PeerKey, PresenceGraph};
use ditto_types::DatabaseId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far beyond what anything here takes; only a failure waits so long.
const LIMIT: Duration = Duration::from_secs(120);

/// Places in the channel of events, as in the SDK.
pub(crate) const EVENTS: usize = 1024;

/// What a machine knows of the others.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) connected: BTreeSet<PeerKey>,
    pub(crate) graph: Arc<PresenceGraph>,
}

pub(crate) struct Machine {
    pub(crate) key: PeerKey,
    commands: mpsc::UnboundedSender<Input>,
    view: watch::Receiver<View>,
    task: JoinHandle<()>,
}

impl Machine {
    /// `number` decides its key and everything that is random.
    pub(crate) fn start(
        number: u64,
        net: Arc<impl Transport + 'static>,
        events: mpsc::Receiver<NetEvent>,
    ) -> Self {
        let mut random = random(number + 1);
        let identity = Arc::new(Identity::generate(&mut |out| random(out)));
        let mut store_id = [0; 16];
        random(&mut store_id);
        let key = identity.peer_key();
        let mesh = Mesh::new(MeshConfig::new(identity, DatabaseId::DEFAULT, store_id, [1; 8]), random);
        let (commands, inputs) = mpsc::unbounded_channel();
        let first = View { connected: BTreeSet::new(), graph: Arc::new(mesh.graph()) };
        let (sender, view) = watch::channel(first);
        let task = tokio::spawn(drive(mesh, net, events, inputs, sender));
        let machine = Self { key, commands, view, task };
        machine.tell(Input::Start);
        machine
    }

    pub(crate) fn tell(&self, input: Input) {
        self.commands.send(input).unwrap();
    }

    pub(crate) fn dial(&self, targets: Vec<DialTarget>) {
        self.tell(Input::SetStaticTargets(targets));
    }

    pub(crate) async fn until(&self, what: &str, done: impl Fn(&View) -> bool) {
        let mut view = self.view.clone();
        let reached = timeout(LIMIT, view.wait_for(|v| done(v))).await.is_ok();
        if !reached {
            let v = self.view.borrow();
            panic!(
                "not reached: {what}; {} sessions, {} peers",
                v.connected.len(),
                v.graph.remote_peers.len()
            );
        }
    }

    /// Ends the task without a word.
    pub(crate) async fn end(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "the machine had ended before");
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Good enough for a test: a counter behind a mixer.
fn random(seed: u64) -> ditto_mesh::RandomBytes {
    let mut state = seed;
    Box::new(move |out| {
        for b in out {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *b = (state >> 33) as u8;
        }
    })
}

async fn drive(
    mut mesh: Mesh,
    net: Arc<impl Transport>,
    mut events: mpsc::Receiver<NetEvent>,
    mut inputs: mpsc::UnboundedReceiver<Input>,
    view: watch::Sender<View>,
) {
    loop {
        let wait = mesh.next_deadline().map_or(3_600_000, |d| d.saturating_sub(now()).max(1));
        let input = tokio::select! {
            Some(input) = inputs.recv() => input,
            Some(event) = events.recv() => Input::Net(event),
            () = tokio::time::sleep(Duration::from_millis(wait)) => Input::Tick,
        };
        mesh.handle(input, now());
        while let Some(action) = mesh.poll() {
            match action {
                Action::Dial { link, target } => net.dial(link, &target),
                Action::Write { link, bytes } => net.write(link, bytes),
                Action::Close { link } => net.close(link),
                Action::PeerConnected(info) => view.send_modify(|v| {
                    v.connected.insert(info.peer);
                }),
                Action::PeerDisconnected { peer, .. } => view.send_modify(|v| {
                    v.connected.remove(&peer);
                }),
                Action::PresenceChanged => view.send_modify(|v| v.graph = Arc::new(mesh.graph())),
                _ => {}
            }
        }
    }
}
