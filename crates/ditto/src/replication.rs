//! The thread that runs the sync machine on the store: synchronous code, away from the network task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};
use ditto_mesh::{Lane, PeerKey};
use ditto_sync::{Input, PeerId, PeerSyncStatus, SyncConfig, SyncEngine};
use ditto_types::{ErrorKind, Object};
use tokio::sync::{broadcast, oneshot};

use crate::DittoError;
use crate::node::{Command, Driver, MeshEvent, now_ms};
use crate::query::Query;
use crate::sync_store::StoreAdapter;

/// What the replication thread is told.
pub(crate) enum ToSync {
    PeerUp { peer: PeerKey, session: u64, store_id: [u8; 16], epoch: [u8; 8] },
    PeerDown { peer: PeerKey },
    Message { peer: PeerKey, lane: Lane, bytes: Vec<u8> },
    Queued { peer: PeerKey, lane: Lane, bytes: usize },
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
        let sessions = HashMap::new();
        let asked = Vec::new();
        let worker = Worker { engine, store, commits: None, mesh, asked, events, sessions };
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
    /// Number of the session that the engine has with each peer.
    sessions: HashMap<PeerKey, u64>,
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
            ToSync::PeerUp { peer, session, store_id, epoch } => {
                self.sessions.insert(peer, session);
                if self.commits.is_none() {
                    self.commits = Some(self.store.commit_feed());
                    // What is committed in between is told twice, which the machine expects.
                    self.engine.skip_to_head();
                }
                self.handle(Input::PeerUp { peer: peer_id(&peer), store_id, epoch });
            }
            ToSync::PeerDown { peer } => {
                self.handle(Input::PeerDown { peer: peer_id(&peer) });
                self.sessions.remove(&peer);
            }
            ToSync::Message { peer, lane, bytes } => {
                let length = bytes.len();
                if let Some(sync_lane) = to_sync_lane(lane) {
                    self.handle(Input::Message { peer: peer_id(&peer), lane: sync_lane, bytes });
                }
                let session = self.session(&peer);
                self.asked.push(Command::Consumed { peer, session, lane, bytes: length });
            }
            ToSync::Queued { peer, lane, bytes } => {
                if let Some(lane) = to_sync_lane(lane) {
                    self.handle(Input::Queued { peer: peer_id(&peer), lane, bytes });
                }
            }
            ToSync::Subscribe { id, query, args } => self.handle(Input::Subscribe { sub: id, query, args }),
            ToSync::EvictOnLeave { id } => self.handle(Input::EvictOnLeave { sub: id }),
            ToSync::Unsubscribe { id } => self.handle(Input::Unsubscribe { sub: id }),
            ToSync::Status(answer) => answer(self.engine.status()),
            ToSync::Stop => {}
        }
    }

    /// The session that the engine works for; 0, which is none, when it knows of none.
    fn session(&self, peer: &PeerKey) -> u64 {
        self.sessions.get(peer).copied().unwrap_or(0)
    }

    /// Little goes out at once, on this thread. More is encrypted elsewhere, while this thread goes on.
    fn ask(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let bytes: usize =
            asked.iter().map(|c| if let Command::Send { bytes, .. } = c { bytes.len() } else { 0 }).sum();
        match bytes {
            _ if asked.is_empty() => {}
            ..=SMALL => self.mesh.post(asked),
            _ => self.mesh.post_for_later(asked),
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.engine.poll() {
            let command = match action {
                ditto_sync::Action::Send { peer, lane, bytes } => {
                    let lane = match lane {
                        ditto_sync::Lane::Live => Lane::SyncLive,
                        ditto_sync::Lane::Bulk => Lane::SyncBulk,
                    };
                    let with = |peer| Command::Send { peer, session: self.session(&peer), lane, bytes };
                    peer_key(&peer).map(with)
                }
                ditto_sync::Action::Disconnect { peer, reason } => {
                    tracing::warn!(reason, "sync protocol violation");
                    let with = |peer| Command::Disconnect { peer, session: self.session(&peer), reason };
                    peer_key(&peer).map(with)
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
            self.asked.extend(command);
        }
        self.ask();
    }
}

/// What is sent at most by the thread of sync itself.
const SMALL: usize = 16 << 10;

fn to_sync_lane(lane: Lane) -> Option<ditto_sync::Lane> {
    match lane {
        Lane::SyncLive => Some(ditto_sync::Lane::Live),
        Lane::SyncBulk => Some(ditto_sync::Lane::Bulk),
        Lane::Bus | Lane::Blobs => None,
    }
}

fn peer_id(key: &PeerKey) -> PeerId {
    PeerId(*key.as_bytes())
}

fn peer_key(id: &PeerId) -> Option<PeerKey> {
    PeerKey::from_bytes(&id.0).ok()
}
