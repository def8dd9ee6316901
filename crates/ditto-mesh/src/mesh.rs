//! The machine that ties links, sessions, dialling and presence together.

mod choice;
mod circuits;
mod greeter;
mod inspect;
mod links;
mod requests;
mod sessions;
mod standby;
mod timers;
mod traffic;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zeroize::Zeroizing;

use self::choice::Choice;
pub(crate) use self::greeter::Greeter;
use self::inspect::Ended;
use self::requests::Requests;
use self::sessions::Peer;
use crate::api::{Action, Input, SendFailure};
use crate::circuit::{CircuitStats, Circuits};
use crate::config::{ConfigError, Limits, MeshConfig, display_name};
use crate::dial::{Dialer, Origin};
use crate::event::ConnectionEvent;
use crate::frame::{FRAME_OVERHEAD, MIN_MAX_FRAME};
use crate::link::{Link, Phase};
use crate::peer_key::PeerKey;
use crate::presence::{About, Fault, Presence, PresenceGraph, PresenceView};
use crate::proof::database_hash;
use crate::session::Service;
use crate::tls::TlsFactory;
use crate::transport::{LinkId, NetEvent};

/// Largest datagram: it fits one frame of every peer.
pub const MAX_DATAGRAM: usize = 1_400;
/// Label, counter and tag of a datagram in a circuit.
const CIRCUIT_DATAGRAM_OVERHEAD: usize = 5 + 8 + 16;
const _: () = assert!(MAX_DATAGRAM + CIRCUIT_DATAGRAM_OVERHEAD + FRAME_OVERHEAD <= MIN_MAX_FRAME);

/// Fills its argument with cryptographic randomness.
pub type RandomBytes = Box<dyn FnMut(&mut [u8]) + Send>;

/// Presence waits when this much of it is queued to a neighbour.
const PRESENCE_QUEUE: usize = 64 << 10;

/// GOAWAY codes.
const BYE_STOP: u64 = 0;
const BYE_DUPLICATE: u64 = 1;
const BYE_VIOLATION: u64 = 2;
const BYE_APP: u64 = 3;
const BYE_ROOM: u64 = 4;
/// GOAWAY codes from here on are codes of refusals.
const BYE_REFUSED: u64 = 16;

/// One instance's part of the mesh. See the crate documentation.
pub struct Mesh {
    local: PeerKey,
    limits: Limits,
    static_targets: Vec<crate::transport::DialTarget>,
    invalid: Option<ConfigError>,
    greeter: Greeter,
    tls: Option<TlsFactory>,
    random: RandomBytes,
    running: bool,
    /// Internal time: never goes back. Begins with the wall clock and follows its forward steps.
    now: u64,
    /// The wall clock at the last input.
    wall: u64,
    next_link: u64,
    links: BTreeMap<LinkId, Link>,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers whose session may have something to send.
    dirty: BTreeSet<PeerKey>,
    /// Which of them was served last.
    pumped: Option<PeerKey>,
    dialer: Dialer,
    choice: Choice,
    requests: Requests,
    /// Our sync group.
    sync_group: u32,
    presence: Presence,
    ended: Ended,
    circuits: Circuits,
    actions: VecDeque<Action>,
}

impl Mesh {
    /// A machine at rest. `random` must fill its argument with cryptographic randomness.
    ///
    /// A configuration that [`MeshConfig::validate`] refuses makes a machine that answers [`Input::Start`] with
    /// [`ConnectionEvent::ConfigRejected`].
    pub fn new(config: MeshConfig, random: RandomBytes) -> Self {
        let invalid = config.validate().err();
        let tls = TlsFactory::with_crypto(&config.identity, config.crypto.as_deref()).ok();
        let mut limits = config.limits.clone();
        limits.max_frame = limits.max_frame.clamp(MIN_MAX_FRAME, crate::frame::HARD_MAX_FRAME);
        let db_hash = database_hash(&config.database);
        let name = display_name(&config.device_name).to_owned();
        let about = About {
            name,
            os: config.os.clone(),
            sdk: config.sdk_version.clone(),
            is_server: config.is_server,
            overlap_group: config.query_overlap_group,
            token: config.discovery_token.clone(),
        };
        Self {
            local: config.identity.peer_key(),
            static_targets: config.static_targets.clone(),
            invalid,
            greeter: Greeter::new(&config, &limits),
            tls,
            random,
            running: false,
            now: 0,
            wall: 0,
            next_link: 1,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            dirty: BTreeSet::new(),
            pumped: None,
            dialer: Dialer::new(config.discovery_token.clone(), limits.clone()),
            choice: Choice::default(),
            requests: Requests::default(),
            sync_group: config.sync_group,
            presence: Presence::new(config.identity.clone(), db_hash, about, limits.presence.clone()),
            ended: Ended::new(),
            circuits: Circuits::new(config.identity.peer_key(), config.relay, limits.clone()),
            actions: VecDeque::new(),
            limits,
        }
    }

    /// Our own key.
    pub fn peer_key(&self) -> PeerKey {
        self.local
    }

    /// The mesh as seen from here.
    pub fn graph(&self) -> PresenceGraph {
        self.presence.view().graph()
    }

    /// The same for whoever may not need all of it.
    pub fn presence(&self) -> PresenceView {
        self.presence.view().clone()
    }

    /// How many circuits there are, and what of them waits here.
    pub fn circuit_stats(&self) -> CircuitStats {
        self.circuits.stats()
    }

    /// Takes an input. `now_ms` is the wall clock in Unix milliseconds; it may step.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        self.take(input, now_ms);
        self.settle();
    }

    /// As [`Mesh::handle`], but what follows from the input waits for [`Mesh::settle`]: messages that are taken together
    /// leave together, which costs less.
    pub fn take(&mut self, input: Input, now_ms: u64) {
        self.now = if self.now == 0 { now_ms } else { self.now + now_ms.saturating_sub(self.wall) };
        self.wall = now_ms;
        match input {
            Input::Net(event) => self.on_net(event),
            Input::Send { peer, lane, bytes, tag } => self.on_send(peer, lane, bytes, tag),
            Input::SendDatagram { peer, bytes, tag } => self.on_send_datagram(peer, bytes, tag),
            Input::Consumed { peer, lane, bytes } => self.on_consumed(peer, lane.into(), bytes),
            Input::SetPeerMetadata(value) => match self.presence.set_metadata(value, self.now) {
                Ok(()) => self.greeter.set_metadata(self.presence.metadata_json()),
                Err(e) => self.event(ConnectionEvent::MetadataRejected(e)),
            },
            Input::SetQueryOverlapGroup(group) => self.presence.set_overlap_group(group, self.now),
            Input::SetConnectionPriority { selector, priority } => self.set_priority(selector, priority),
            Input::SetConnectionRequests(timeout) => self.requests.timeout = timeout,
            Input::AnswerConnectionRequest { link, allow } => self.answer_request(link, allow),
            Input::NetworkChanged => self.network_changed(),
            Input::CircuitOpen { circuit, target, purpose } => {
                self.circuits(|c, cx| c.open(circuit, target, purpose, cx));
            }
            Input::CircuitSend { circuit, bytes, tag } => {
                self.circuits(|c, _| c.send(circuit, bytes, tag));
            }
            Input::CircuitDatagram { circuit, bytes, tag } => {
                self.circuits(|c, cx| c.send_datagram(circuit, &bytes, tag, cx.now));
            }
            Input::CircuitConsumed { circuit, bytes } => self.circuits(|c, _| c.consumed(circuit, bytes)),
            Input::CircuitClose { circuit, code } => self.circuits(|c, cx| c.close(circuit, code, cx)),
            Input::CircuitAbort { circuit, code } => self.circuits(|c, cx| c.abort(circuit, code, cx)),
            Input::SetStaticTargets(targets) => self.set_static_targets(targets),
            Input::SetRetryInterval(interval) => self.dialer.set_retry_interval(interval),
            Input::SetSyncGroup(group) => self.set_sync_group(group),
            Input::Disconnect { peer, reason } => self.disconnect(&peer, BYE_APP, &reason),
            Input::Start => self.start(),
            Input::Stop => self.stop(),
            Input::Tick => {}
        }
    }

    /// Carries out what [`Mesh::take`] has left to do. Call before the next [`Mesh::poll`].
    pub fn settle(&mut self) {
        self.run_timers();
        self.run_presence();
        self.run_dials();
        self.circuits(Circuits::advance);
    }

    /// The next thing to do. Call until `None` after every input, or after several that came together.
    ///
    /// What sessions have to send is put on their links when nothing else is left to do: an answer that the app gives to a
    /// message leaves in one piece with the acknowledgement of that message.
    pub fn poll(&mut self) -> Option<Action> {
        if self.actions.is_empty() {
            self.pump_dirty();
        }
        self.actions.pop_front()
    }

    /// Wall-clock time, Unix milliseconds, at which [`Input::Tick`] is needed at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let at = self.deadline()?;
        Some(self.wall.saturating_add(at.saturating_sub(self.now)))
    }

    fn event(&mut self, event: ConnectionEvent) {
        self.actions.push_back(Action::Event(event));
    }

    fn random_u64(&mut self) -> u64 {
        let mut b = [0; 8];
        (self.random)(&mut b);
        u64::from_le_bytes(b)
    }

    fn start(&mut self) {
        if self.running {
            return;
        }
        if let Some(e) = self.invalid.clone() {
            return self.event(ConnectionEvent::ConfigRejected(e));
        }
        self.running = true;
        let mut tag = [0; 8];
        (self.random)(&mut tag);
        self.greeter.set_boot_tag(tag);
        self.ended.clear();
        self.choice.outdated();
        self.dialer.reset(self.now);
        self.dialer.set_static(&self.static_targets, self.now);
        self.presence.start(self.now, self.wall);
    }

    fn stop(&mut self) {
        if !self.running {
            return;
        }
        self.running = false;
        self.circuits.stop();
        self.take_circuit_output();
        let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in peers {
            self.disconnect(&peer, BYE_STOP, "sync was stopped");
        }
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.shut(link, Some(BYE_STOP));
        }
        self.dirty.clear();
        self.presence.stop();
    }

    fn set_static_targets(&mut self, targets: Vec<crate::transport::DialTarget>) {
        self.static_targets = targets;
        if !self.running {
            return;
        }
        for link in self.dialer.set_static(&self.static_targets, self.now) {
            match self.links.get(&link).map(|l| l.phase) {
                Some(Phase::Ready) => {
                    self.drop_link(link, Some(BYE_APP), "the address is not configured any more")
                }
                Some(_) => drop(self.shut(link, None)),
                None => {}
            }
        }
    }

    fn set_sync_group(&mut self, group: u32) {
        self.sync_group = group;
        self.dialer.touch();
        self.greeter.set_sync_group(group);
        let strangers: Vec<PeerKey> = self
            .peers
            .keys()
            .filter(|peer| {
                let mut links = self.ready_links(peer);
                let stays = |l: &Link| {
                    matches!(l.origin, Some(Origin::Static(_)))
                        || l.hello.as_ref().is_some_and(|h| h.sync_group == group)
                };
                !links.any(stays)
            })
            .copied()
            .collect();
        for peer in strangers {
            self.disconnect(&peer, BYE_APP, "another sync group");
        }
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::LinkUp { link, kind, role, remote } => self.on_link_up(link, kind, role, remote),
            NetEvent::DialFailed { link, reason } => self.on_dial_failed(link, reason),
            NetEvent::Bytes { link, bytes } => self.on_bytes(link, &bytes),
            NetEvent::Written { link, bytes } => self.on_written(link, bytes),
            NetEvent::LinkDown { link, reason } => self.on_link_down(link, &reason),
            NetEvent::Discovered { token, targets } => {
                if let Some(peer) = self.dialer.discovered(&token, targets.clone(), self.now) {
                    self.event(ConnectionEvent::Discovered { targets, peer });
                }
            }
            NetEvent::Lost { token } => {
                if let Some(peer) = self.dialer.lost(&token) {
                    self.event(ConnectionEvent::Lost { peer });
                }
            }
            NetEvent::NetworkChanged => self.network_changed(),
            NetEvent::Listening { addr } => self.event(ConnectionEvent::Listening { addr }),
            NetEvent::Condition { source, text } => self.event(ConnectionEvent::Condition { source, text }),
        }
    }

    /// Lets presence act, and carries its messages.
    fn run_presence(&mut self) {
        if self.presence.advance(self.now) {
            self.choice.outdated();
            self.circuits.graph_changed(self.now);
            self.actions.push_back(Action::PresenceChanged);
        }
        for (hash, peer) in self.presence.take_tokens() {
            self.dialer.learned_token_hash(hash, peer);
        }
        for (peer, bytes) in self.presence.take_consumed() {
            self.on_consumed(peer, Service::Presence, bytes);
        }
        for fault in self.presence.take_faults() {
            match fault {
                Fault::Refused { from, reason } => {
                    self.event(ConnectionEvent::RecordRefused { from, reason })
                }
                Fault::Violation { from, reason } => self.violation(&from, reason),
            }
        }
        let peers = &self.peers;
        let has_room =
            |p: &PeerKey| peers.get(p).is_some_and(|p| p.session.queued(Service::Presence) < PRESENCE_QUEUE);
        for (peer, bytes) in self.presence.flush(self.now, has_room) {
            if let Some(p) = self.peers.get_mut(&peer) {
                p.session.send(Service::Presence, bytes, None);
                self.dirty.insert(peer);
            }
        }
    }

    fn send_failed(&mut self, peer: PeerKey, tag: u64, reason: SendFailure) {
        self.actions.push_back(Action::SendFailed { peer, tag, reason });
    }
}

/// The secret of a shared-key configuration.
fn secret_of(config: &MeshConfig) -> Option<&Zeroizing<Vec<u8>>> {
    match &config.admission {
        crate::config::Admission::SharedKey(secret) => Some(secret),
        crate::config::Admission::Open => None,
    }
}

#[cfg(test)]
mod tests;
