//! The thread that runs the sync machine on the store: synchronous code, away from the network task.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};
use ditto_sync::{Input, PeerSyncStatus, SyncConfig, SyncEngine};
use ditto_types::{ErrorKind, Object};
use tokio::sync::{broadcast, oneshot};

use crate::DittoError;
use crate::node::{Command, Driver, MeshEvent, now_ms};
use crate::query::Query;
use crate::sync_store::StoreAdapter;
use crate::wiring::{ForSync, SyncPort};

/// What the replication thread is told.
pub(crate) enum ToSync {
    Mesh(ForSync),
    Subscribe { id: u64, query: String, args: Object },
    EvictOnLeave { id: u64 },
    Unsubscribe { id: u64 },
    Status(Box<dyn FnOnce(Vec<PeerSyncStatus>) + Send>),
    Stop,
}

/// Handle on the thread.
pub(crate) struct Replication {
    to_sync: Sender<ToSync>,
    thread: Mutex<Option<JoinHandle<()>>>,
    next_subscription: AtomicU64,
}

impl Replication {
    pub(crate) fn spawn(
        store: ditto_store::Store,
        (to_sync, inbox): (Sender<ToSync>, Receiver<ToSync>),
        mesh: Driver,
        events: broadcast::Sender<MeshEvent>,
    ) -> Result<Self, DittoError> {
        let engine = SyncEngine::new(StoreAdapter::new(store.clone()), SyncConfig::default());
        let (port, asked) = (SyncPort::default(), Vec::new());
        let worker = Worker { engine, store, commits: None, mesh, asked, events, port };
        let thread =
            std::thread::Builder::new().name("ditto-sync".into()).spawn(move || worker.run(&inbox)).map_err(
                |e| DittoError::new(ErrorKind::Internal, format!("cannot start the sync thread: {e}")),
            )?;
        Ok(Self { to_sync, thread: Mutex::new(Some(thread)), next_subscription: AtomicU64::new(1) })
    }

    pub(crate) fn sender(&self) -> Sender<ToSync> {
        self.to_sync.clone()
    }

    pub(crate) fn subscribe(&self, query: &Query) -> Result<u64, DittoError> {
        let id = self.next_subscription.fetch_add(1, Ordering::Relaxed);
        let message = ToSync::Subscribe { id, query: query.text.clone(), args: query.args.clone() };
        self.to_sync.send(message).map_err(|_| DittoError::closed())?;
        Ok(id)
    }

    /// Follows [`Replication::subscribe`].
    pub(crate) fn evict_on_leave(&self, id: u64) {
        let _ = self.to_sync.send(ToSync::EvictOnLeave { id });
    }

    pub(crate) fn unsubscribe(&self, id: u64) {
        let _ = self.to_sync.send(ToSync::Unsubscribe { id });
    }

    pub(crate) async fn status(&self) -> Result<Vec<PeerSyncStatus>, DittoError> {
        let (reply, status) = oneshot::channel();
        let answer = Box::new(move |status| drop(reply.send(status)));
        self.to_sync.send(ToSync::Status(answer)).map_err(|_| DittoError::closed())?;
        status.await.map_err(|_| DittoError::closed())
    }

    /// Tells the thread to end and returns what to wait for.
    pub(crate) fn stop(&self) -> Stopping {
        let _ = self.to_sync.send(ToSync::Stop);
        Stopping(self.thread.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

/// A thread on its way to its end.
pub(crate) struct Stopping(Option<JoinHandle<()>>);

impl Stopping {
    pub(crate) fn join(self) {
        if let Some(thread) = self.0
            && thread.join().is_err()
        {
            tracing::error!("the sync thread panicked");
        }
    }
}

struct Worker {
    engine: SyncEngine<StoreAdapter>,
    store: ditto_store::Store,
    /// The commits, while there is a peer: a store without peers need not wake this thread.
    commits: Option<ditto_store::CommitFeed>,
    port: SyncPort,
    mesh: Driver,
    /// What the mesh is asked for at the end of the round.
    asked: Vec<Command>,
    events: broadcast::Sender<MeshEvent>,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<ToSync>) {
        let nothing = never();
        loop {
            let commits = self.commits.as_ref().map_or(&nothing, |feed| feed.receiver());
            let wait = self.engine.next_deadline().map_or(Duration::from_secs(3600), |d| {
                Duration::from_millis(d.saturating_sub(now_ms()).max(1))
            });
            select! {
                recv(inbox) -> message => match message {
                    Ok(ToSync::Stop) | Err(_) => return,
                    Ok(message) => self.message(message),
                },
                recv(commits) -> commit => match commit {
                    Ok(commit) => self.commit(&commit),
                    // A closed store ends its feed; the select must not spin on it.
                    Err(_) => self.commits = None,
                },
                default(wait) => self.handle(Input::Tick),
            }
            self.carry_out();
            if self.engine.is_idle() {
                self.commits = None;
            }
        }
    }

    fn commit(&mut self, commit: &Arc<ditto_store::Commit>) {
        let missed = self.commits.as_ref().is_some_and(|feed| feed.taken(commit));
        // One that lists nothing must not count as processed.
        let listed = commit.unlisted_collections.is_empty();
        if listed {
            self.handle(Input::Commit(crate::sync_store::local_commit(commit)));
        }
        if missed || !listed {
            tracing::debug!("the feed of commits was full or a commit too large; sync looks up what changed");
            self.engine.skip_to_head();
        }
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(input, now_ms());
    }

    fn message(&mut self, message: ToSync) {
        match message {
            ToSync::Mesh(message) => {
                if matches!(message, ForSync::PeerUp { .. }) && self.commits.is_none() {
                    self.commits = Some(self.store.commit_feed());
                    // What is committed in between is told twice, which the machine expects.
                    self.engine.skip_to_head();
                }
                let answer = self.port.message(&mut self.engine, message, now_ms());
                self.asked.extend(answer.map(Command::Session));
            }
            ToSync::Subscribe { id, query, args } => self.handle(Input::Subscribe { sub: id, query, args }),
            ToSync::EvictOnLeave { id } => self.handle(Input::EvictOnLeave { sub: id }),
            ToSync::Unsubscribe { id } => self.handle(Input::Unsubscribe { sub: id }),
            ToSync::Status(answer) => answer(self.engine.status()),
            ToSync::Stop => {}
        }
    }

    /// Little goes out at once, on this thread. More is encrypted elsewhere, while this thread goes on.
    fn ask(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let bytes: usize = asked.iter().map(Command::bytes).sum();
        match bytes {
            _ if asked.is_empty() => {}
            ..=SMALL => self.mesh.post(asked),
            _ => self.mesh.post_for_later(asked),
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.engine.poll() {
            let command = match action {
                ditto_sync::Action::Send { peer, lane, bytes } => self.port.send(&peer, lane, bytes),
                ditto_sync::Action::Disconnect { peer, reason } => {
                    tracing::warn!(reason, "sync protocol violation");
                    self.port.disconnect(&peer, reason)
                }
                ditto_sync::Action::Progress(progress) => {
                    let _ = self.events.send(MeshEvent::Progress(progress));
                    None
                }
                ditto_sync::Action::Evict { collection, documents } => {
                    match self.store.evict_unchanged(&collection, documents) {
                        Ok(n) => tracing::debug!(collection = %collection, n, "evicted what left a query"),
                        // They stay, as without the option.
                        Err(e) => tracing::warn!(error = %e, "documents that left a query are not evicted"),
                    }
                    None
                }
                rejected @ ditto_sync::Action::Rejected { .. } => {
                    let reason = format!("{rejected:?}");
                    tracing::warn!(reason, "a peer refused a document");
                    let _ = self.events.send(MeshEvent::Rejected { reason });
                    None
                }
            };
            self.asked.extend(command.map(Command::Session));
        }
        self.ask();
    }
}

/// What is sent at most by the thread of sync itself.
const SMALL: usize = 16 << 10;
