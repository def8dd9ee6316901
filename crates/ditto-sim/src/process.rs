//! One running instance: mesh, Bus and replication machines and the store, wired as the SDK wires them, without its threads.
//!
//! The SDK runs replication on a thread with two inbound channels, messages and commits, and takes from either. Here both are
//! queues, and chance decides which goes first and how late.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use ditto::wiring::{ForApp, ForBlobs, ForNetwork, ForSync, FromSync, Parts, Sessions, SyncPort, route};
use ditto_bus::{Bus, BusConfig, BusMessage};
use ditto_mesh::{Lane, Mesh, MeshConfig, PeerKey};
use ditto_store::{Commit, Store};
use ditto_sync::{SyncConfig, SyncEngine};
use ditto_testkit::Rng;
use ditto_types::{Object, Value};

use crate::adapter::{Adapter, Fault, Faults};

/// What a process wants from the world, or tells it.
pub(crate) enum Effect {
    Network(ForNetwork),
    /// The replication thread has something to do.
    SyncSoon,
    /// Replication put a message on a lane.
    SyncSent {
        to: PeerKey,
        lane: ditto_sync::Lane,
        bytes: usize,
    },
    /// Replication works on a commit of its store.
    Commit(Arc<Commit>),
    /// A session began or ended, and why.
    Session {
        peer: PeerKey,
        ended: Option<String>,
    },
    /// A Bus message arrived.
    Bus(BusMessage),
    /// The graph changed.
    Presence,
    /// Replication ended a session because the peer broke the protocol.
    Violation(String),
    /// For the log.
    Note(String),
}

/// What waits for the replication thread.
pub(crate) enum ToSync {
    Mesh(ForSync),
    Subscribe { id: u64, query: &'static str },
    Unsubscribe { id: u64 },
}

/// The half with documents.
pub(crate) struct Data {
    pub(crate) store: Store,
    pub(crate) engine: SyncEngine<Adapter>,
    commits: Receiver<Arc<Commit>>,
    /// States of the pair that an observer must not see.
    pub(crate) half_seen: Arc<Mutex<Vec<String>>>,
}

pub(crate) struct Process {
    pub(crate) mesh: Mesh,
    pub(crate) bus: Bus,
    pub(crate) data: Option<Data>,
    pub(crate) inbox: VecDeque<ToSync>,
    pub(crate) connected: BTreeSet<PeerKey>,
    /// The sessions of the mesh, and, in the port, those that replication works for.
    sessions: Sessions,
    port: SyncPort,
    faults: Faults,
    next_bus: u64,
}

/// Values of the pair from here on are written while everybody is up to date, so that nobody may see half of them.
pub(crate) const CALM: i64 = 1_000_000;

/// What is wrong with a state of the pair, if anything.
pub(crate) fn half(a: Option<i64>, b: Option<i64>) -> Option<String> {
    let calm = |v: Option<i64>| v.is_some_and(|v| v >= CALM);
    (a != b && (calm(a) || calm(b))).then(|| format!("half of a transaction: {a:?} and {b:?}"))
}

impl Data {
    pub(crate) fn new(store: Store, config: SyncConfig, faults: Faults) -> Result<Self, String> {
        let commits = store.subscribe_commits();
        let engine = SyncEngine::new(Adapter::new(store.clone(), faults), config);
        let half_seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = half_seen.clone();
        let callback = move |result: ditto_store::QueryResult| {
            let of = |id: &str| {
                let row = result.iter().find(|row| row.get("_id").and_then(Value::as_str) == Some(id));
                row.and_then(|row| row.get("v").and_then(Value::as_i64))
            };
            if let Some(wrong) = half(of("left"), of("right")) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
            }
        };
        let observed = store.observe("SELECT * FROM p", &Object::new(), Box::new(callback));
        observed.map_err(|e| format!("observer: {e}"))?;
        Ok(Self { store, engine, commits, half_seen })
    }
}

impl Process {
    pub(crate) fn new(
        config: MeshConfig,
        random: ditto_mesh::RandomBytes,
        data: Option<Data>,
        faults: Faults,
    ) -> Self {
        Self {
            mesh: Mesh::new(config, random),
            bus: Bus::new(BusConfig::default()),
            data,
            inbox: VecDeque::new(),
            connected: BTreeSet::new(),
            sessions: Sessions::default(),
            port: SyncPort::default(),
            faults,
            next_bus: 1,
        }
    }

    /// The network task: one input, and what follows from it.
    pub(crate) fn mesh_input(&mut self, input: ditto_mesh::Input, now: u64, out: &mut Vec<Effect>) {
        self.mesh.handle(input, now);
        self.carry_out(now, out);
    }

    pub(crate) fn bus_send(&mut self, to: PeerKey, data: Vec<u8>, now: u64, out: &mut Vec<Effect>) {
        let id = self.next_bus;
        self.next_bus += 1;
        let reliability = ditto_bus::Reliability::Reliable;
        self.bus.handle(ditto_bus::Input::Send { id, to, data, reliability }, now);
        self.carry_out(now, out);
    }

    pub(crate) fn tick_network(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.mesh.handle(ditto_mesh::Input::Tick, now);
        self.bus.handle(ditto_bus::Input::Tick, now);
        self.carry_out(now, out);
    }

    pub(crate) fn network_deadline(&self) -> Option<u64> {
        [self.mesh.next_deadline(), self.bus.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn sync_deadline(&self) -> Option<u64> {
        self.data.as_ref()?.engine.next_deadline()
    }

    fn carry_out(&mut self, now: u64, out: &mut Vec<Effect>) {
        loop {
            let mut idle = true;
            while let Some(action) = self.mesh.poll() {
                route(action, &mut AtTime { process: self, now, out });
                idle = false;
            }
            while let Some(action) = self.bus.poll() {
                self.bus_action(action, now, out);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    fn bus_action(&mut self, action: ditto_bus::Action, now: u64, out: &mut Vec<Effect>) {
        use ditto_bus::Action;
        use ditto_mesh::Input;
        match action {
            Action::SendReliable { peer, bytes, tag } => {
                self.mesh.handle(Input::Send { peer, lane: Lane::Bus, bytes: bytes.into(), tag }, now);
            }
            Action::SendDatagram { peer, bytes, tag } => {
                self.mesh.handle(Input::SendDatagram { peer, bytes, tag }, now);
            }
            Action::Circuit(input) => self.mesh.handle(input, now),
            Action::Deliver(message) => out.push(Effect::Bus(message)),
            // Peers here open no streams, and look at what arrives only.
            Action::Completed { .. }
            | Action::Opened { .. }
            | Action::OpenFailed { .. }
            | Action::Incoming { .. }
            | Action::Enqueued { .. }
            | Action::Settled { .. }
            | Action::Received { .. }
            | Action::Acknowledged { .. }
            | Action::Closed { .. } => {}
            Action::Violation { peer, reason } => {
                out.push(Effect::Violation(format!("Bus: {reason}")));
                self.mesh.handle(Input::Disconnect { peer, reason }, now);
            }
        }
    }

    /// Whether the replication thread has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.inbox.is_empty() || self.data.as_ref().is_some_and(|d| !d.commits.is_empty())
    }

    /// The replication thread takes one thing from either of its channels.
    pub(crate) fn sync_step(&mut self, now: u64, rng: &mut Rng, out: &mut Vec<Effect>) {
        let Some(data) = &mut self.data else { return };
        let commit_first = self.inbox.is_empty() || (!data.commits.is_empty() && rng.chance(1, 2));
        if commit_first {
            let Ok(commit) = data.commits.try_recv() else { return };
            let mut local = ditto::wiring::local_commit(&commit);
            out.push(Effect::Commit(commit));
            if self.faults.contains(&Fault::Evict) {
                local.evicted_collections.clear();
            }
            if !(self.faults.contains(&Fault::Relay) && local.source.is_some()) {
                data.engine.handle(ditto_sync::Input::Commit(local), now);
            }
        } else if let Some(message) = self.inbox.pop_front() {
            self.message(message, now, out);
        }
        self.carry_out_sync(now, out);
    }

    pub(crate) fn tick_sync(&mut self, now: u64, out: &mut Vec<Effect>) {
        if let Some(data) = &mut self.data {
            data.engine.handle(ditto_sync::Input::Tick, now);
        }
        self.carry_out_sync(now, out);
    }

    fn message(&mut self, message: ToSync, now: u64, out: &mut Vec<Effect>) {
        use ditto_sync::Input;
        let Some(data) = &mut self.data else { return };
        let engine = &mut data.engine;
        match message {
            ToSync::Mesh(message) => {
                let answer = self.port.message(engine, message, now);
                self.pass_on(answer, now, out);
            }
            ToSync::Subscribe { id, query } => {
                engine
                    .handle(Input::Subscribe { sub: id, query: query.to_owned(), args: Object::new() }, now);
            }
            ToSync::Unsubscribe { id } => engine.handle(Input::Unsubscribe { sub: id }, now),
        }
    }

    /// From replication for the mesh, unless the session that it is meant for is over.
    fn pass_on(&mut self, wish: Option<FromSync>, now: u64, out: &mut Vec<Effect>) {
        let Some(FromSync { peer, session, input }) = wish else { return };
        let stale = self.faults.contains(&Fault::Session);
        if stale || self.sessions.is_current(&peer, session) {
            self.mesh_input(input, now, out);
        }
    }

    fn carry_out_sync(&mut self, now: u64, out: &mut Vec<Effect>) {
        while let Some(action) = self.data.as_mut().and_then(|d| d.engine.poll()) {
            match action {
                ditto_sync::Action::Send { peer, lane, bytes } => {
                    let length = bytes.len();
                    let sent = self.port.send(&peer, lane, bytes);
                    if let Some(FromSync { peer: to, .. }) = &sent {
                        out.push(Effect::SyncSent { to: *to, lane, bytes: length });
                    }
                    self.pass_on(sent, now, out);
                }
                ditto_sync::Action::Disconnect { peer, reason } => {
                    out.push(Effect::Violation(format!("sync: {reason}")));
                    let wish = self.port.disconnect(&peer, reason);
                    self.pass_on(wish, now, out);
                }
                ditto_sync::Action::Progress(p) => {
                    out.push(Effect::Note(format!("{:?} {:?}", p.sub, p.state)))
                }
                rejected => out.push(Effect::Note(format!("{rejected:?}"))),
            }
        }
    }
}

/// A process while something happens to it.
struct AtTime<'a> {
    process: &'a mut Process,
    now: u64,
    out: &'a mut Vec<Effect>,
}

impl Parts for AtTime<'_> {
    fn sessions(&mut self) -> &mut Sessions {
        &mut self.process.sessions
    }

    fn mesh(&mut self, input: ditto_mesh::Input) {
        self.process.mesh.handle(input, self.now);
    }

    fn network(&mut self, wish: ForNetwork) {
        self.out.push(Effect::Network(wish));
    }

    fn bus(&mut self, input: ditto_bus::Input) {
        self.process.bus.handle(input, self.now);
    }

    fn sync(&mut self, mut message: ForSync) {
        if let ForSync::PeerUp { epoch, .. } = &mut message
            && self.process.faults.contains(&Fault::Epoch)
        {
            *epoch = [0; 8];
        }
        if self.process.data.is_some() {
            self.process.inbox.push_back(ToSync::Mesh(message));
            self.out.push(Effect::SyncSoon);
        } else if let ForSync::Message { peer, lane, bytes } = message {
            // Nobody replicates here; who sends all the same gets the room back.
            self.mesh(ditto_mesh::Input::Consumed { peer, lane, bytes: bytes.len() });
        }
    }

    /// Peers here have no attachments.
    fn blobs(&mut self, message: ForBlobs) {
        if let ForBlobs::Message { peer, bytes } = message {
            self.mesh(ditto_mesh::Input::Consumed { peer, lane: Lane::Blobs, bytes: bytes.len() });
        }
    }

    fn is_of_blobs(&self, _: &ditto_mesh::Action) -> bool {
        false
    }

    fn app(&mut self, told: ForApp) {
        self.out.push(match told {
            ForApp::Connected(info) => {
                self.process.connected.insert(info.peer);
                Effect::Session { peer: info.peer, ended: None }
            }
            ForApp::Disconnected { peer, reason } => {
                self.process.connected.remove(&peer);
                Effect::Session { peer, ended: Some(reason) }
            }
            ForApp::UnknownPurpose { purpose, .. } => {
                Effect::Violation(format!("a circuit for the unknown purpose {purpose}"))
            }
            ForApp::PresenceChanged => Effect::Presence,
            ForApp::Event(event) => Effect::Note(event.to_string()),
            // What is asked of the app, which here has nothing to say.
            ForApp::ConnectionRequest { .. } => Effect::Note(format!("{told:?}")),
        });
    }
}
