//! The transport of tests: links inside one process, with latency, partitions and stalls.
//!
//! The links run the same code as TCP links do, over pipes instead of sockets, so that ordering, back-pressure and
//! endings are those of the real thing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent, Role, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::link::{LinkInfo, run_link};
use crate::sink::{EventSink, Events};
use crate::table::{LinkPort, LinkTable, NetStats};
use crate::tcp::{fail_dial, refuse_dial};

/// What a pipe holds before its writer has to wait.
const PIPE: usize = 64 * 1024;
/// Pieces under way in one direction of a link with latency.
const IN_FLIGHT: usize = 256;
/// How long the last bytes of a node that leaves may still travel. A stalled path would keep them for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What lies between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Path {
    #[default]
    Open,
    /// Links stay up and carry nothing.
    Stalled,
    /// Links are cut and dials fail.
    Partitioned,
}

#[derive(Default)]
struct Hub {
    nodes: HashMap<String, Node>,
    paths: BTreeMap<(String, String), watch::Sender<Path>>,
}

struct Node {
    table: Arc<LinkTable>,
    sink: EventSink,
    stopper: Arc<watch::Sender<bool>>,
}

/// A network inside one process. Clones are the same network.
#[derive(Clone)]
pub struct MemoryHub {
    hub: Arc<Mutex<Hub>>,
    latency: Arc<watch::Sender<Duration>>,
}

impl Default for MemoryHub {
    fn default() -> Self {
        Self { hub: Arc::default(), latency: Arc::new(watch::Sender::new(Duration::ZERO)) }
    }
}

impl MemoryHub {
    /// An empty network, without latency.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that others dial as [`DialTarget::Memory`] of `name`. A node of the same name that is still there
    /// loses its links and is replaced. Must be called inside a tokio runtime.
    pub fn attach(&self, name: &str, events: impl Into<Events>) -> MemoryNet {
        let table = LinkTable::new();
        let (sink, stopper) = EventSink::new(events);
        let stopper = Arc::new(stopper);
        let node = Node { table: table.clone(), sink: sink.clone(), stopper: stopper.clone() };
        if let Some(replaced) = self.lock().nodes.insert(name.to_owned(), node) {
            stop(&replaced.table, &replaced.stopper);
        }
        MemoryNet { name: name.to_owned(), hub: self.clone(), table, sink, stopper }
    }

    /// Cuts the links between two nodes and makes dials between them fail, until [`MemoryHub::heal`].
    pub fn partition(&self, a: &str, b: &str) {
        self.set_path(a, b, Path::Partitioned);
    }

    /// Lets links between two nodes stay up without carrying anything, and dials hang, as when a cable is pulled.
    /// After [`MemoryHub::heal`] the bytes that wait go on.
    pub fn stall(&self, a: &str, b: &str) {
        self.set_path(a, b, Path::Stalled);
    }

    /// Ends a partition or a stall. Links that were cut stay gone.
    pub fn heal(&self, a: &str, b: &str) {
        self.set_path(a, b, Path::Open);
    }

    /// One-way delay of bytes and dials from now on, for every link.
    pub fn set_latency(&self, latency: Duration) {
        self.latency.send_replace(latency);
    }

    fn set_path(&self, a: &str, b: &str, path: Path) {
        self.lock().path(a, b).send_replace(path);
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        // Every change under the lock is one step.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn path(&mut self, a: &str, b: &str) -> &watch::Sender<Path> {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        self.paths.entry((low.to_owned(), high.to_owned())).or_insert_with(|| watch::Sender::new(Path::Open))
    }
}

/// One node of a [`MemoryHub`]. Dropping it takes the node off the network and closes its links.
pub struct MemoryNet {
    name: String,
    hub: MemoryHub,
    table: Arc<LinkTable>,
    sink: EventSink,
    stopper: Arc<watch::Sender<bool>>,
}

impl MemoryNet {
    /// The name under which it is dialled.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Links, tasks and queued bytes at this moment.
    pub fn stats(&self) -> NetStats {
        self.table.stats()
    }

    /// Takes the node off the network, closes its links and returns when no task is left.
    pub async fn shutdown(&self) {
        self.detach();
        self.table.idle().await;
    }

    fn detach(&self) {
        let mut hub = self.hub.lock();
        // A node that has been replaced must not take its successor away.
        if hub.nodes.get(&self.name).is_some_and(|node| Arc::ptr_eq(&node.table, &self.table)) {
            hub.nodes.remove(&self.name);
        }
        drop(hub);
        stop(&self.table, &self.stopper);
    }
}

impl Drop for MemoryNet {
    fn drop(&mut self) {
        self.detach();
    }
}

fn stop(table: &LinkTable, stopper: &watch::Sender<bool>) {
    table.shut();
    stopper.send_replace(true);
}

impl Transport for MemoryNet {
    fn dial(&self, link: LinkId, target: &DialTarget) {
        let DialTarget::Memory(remote) = target else {
            fail_dial(&self.table, &self.sink, link, format!("this transport cannot dial {target}"));
            return;
        };
        match self.table.dialled(link) {
            Ok(port) => {
                let dial = Dial {
                    hub: self.hub.clone(),
                    table: self.table.clone(),
                    sink: self.sink.clone(),
                    local: self.name.clone(),
                    remote: remote.clone(),
                };
                self.table.spawn(dial.run(link, port));
            }
            Err(refusal) => refuse_dial(&self.table, &self.sink, link, refusal),
        }
    }

    fn write(&self, link: LinkId, bytes: Vec<u8>) {
        self.table.write(link, bytes);
    }

    fn close(&self, link: LinkId) {
        self.table.remove(link);
    }
}

struct Dial {
    hub: MemoryHub,
    table: Arc<LinkTable>,
    sink: EventSink,
    local: String,
    remote: String,
}

impl Dial {
    async fn run(self, link: LinkId, mut port: LinkPort) {
        let outcome = tokio::select! {
            biased;
            () = self.sink.stopped() => Err("closed here".to_owned()),
            _ = &mut port.closed => Err("closed here".to_owned()),
            outcome = self.connect() => outcome,
        };
        match outcome {
            Ok(pipe) => {
                let (reader, writer) = split(pipe);
                let info = LinkInfo { link, kind: LinkKind::Memory, role: Role::Dialer, remote: self.remote };
                run_link(&self.table, &self.sink, info, port, reader, writer).await;
            }
            Err(reason) => {
                self.table.remove(link);
                self.sink.emit(NetEvent::DialFailed { link, reason }).await;
            }
        }
    }

    /// Opens the far end's link and returns the near end of the pipe to it.
    async fn connect(&self) -> Result<DuplexStream, String> {
        let latency = *self.hub.latency.borrow();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let mut path = self.hub.lock().path(&self.local, &self.remote).subscribe();
        // The sender lives in the hub, so that waiting cannot fail.
        let _ = path.wait_for(|path| *path != Path::Stalled).await;
        if *path.borrow() == Path::Partitioned {
            return Err(format!("{} is not reachable", self.remote));
        }
        let (table, sink) = match self.hub.lock().nodes.get(&self.remote) {
            Some(node) => (node.table.clone(), node.sink.clone()),
            None => return Err(format!("{} refused the connection", self.remote)),
        };
        let Ok((link, port)) = table.accepted(usize::MAX, None) else {
            return Err(format!("{} refused the connection", self.remote));
        };
        let (near, near_middle) = duplex(PIPE);
        let (far, far_middle) = duplex(PIPE);
        let (here, there) = (self.sink.clone(), sink.clone());
        let carried = carry(near_middle, far_middle, path, self.hub.latency.subscribe());
        self.table.spawn(async move {
            let mut carried = pin!(carried);
            tokio::select! {
                () = &mut carried => {}
                () = here.stopped() => { let _ = timeout(LAST_WORDS, carried).await; }
                () = there.stopped() => { let _ = timeout(LAST_WORDS, carried).await; }
            }
        });
        let info =
            LinkInfo { link, kind: LinkKind::Memory, role: Role::Acceptor, remote: self.local.clone() };
        let spawner = table.clone();
        spawner.spawn(async move {
            let (reader, writer) = split(far);
            run_link(&table, &sink, info, port, reader, writer).await;
        });
        Ok(near)
    }
}

/// Carries bytes between the middles of two pipes until both directions have ended or the path is cut.
async fn carry(
    a: DuplexStream,
    b: DuplexStream,
    path: watch::Receiver<Path>,
    latency: watch::Receiver<Duration>,
) {
    let (a_read, a_write) = split(a);
    let (b_read, b_write) = split(b);
    let mut cut = path.clone();
    let both = async {
        tokio::join!(
            carry_one_way(a_read, b_write, path.clone(), latency.clone()),
            carry_one_way(b_read, a_write, path.clone(), latency.clone()),
        )
    };
    tokio::select! {
        biased;
        _ = cut.wait_for(|path| *path == Path::Partitioned) => {}
        _ = both => {}
    }
}

async fn carry_one_way(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    mut path: watch::Receiver<Path>,
    latency: watch::Receiver<Duration>,
) -> io::Result<()> {
    let (sent, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let send = async move {
        loop {
            let mut bytes = Vec::with_capacity(PIPE);
            if from.read_buf(&mut bytes).await? == 0 {
                return Ok::<(), io::Error>(());
            }
            let due = Instant::now() + *latency.borrow();
            if sent.send((due, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let receive = async move {
        while let Some((due, bytes)) = arriving.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if path.wait_for(|path| *path == Path::Open).await.is_err() {
                return Ok(());
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    let (sent, received) = tokio::join!(send, receive);
    sent.and(received)
}
