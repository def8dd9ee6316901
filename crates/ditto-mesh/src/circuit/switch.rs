//! The hops: which circuit goes where, how much may be sent on it, and what waits.
//!
//! A circuit has one [`Leg`] for each neighbour it touches here: one at its ends, two at a relay. Credit is per leg, so a
//! relay holds at most one window of each direction: what comes in is granted again only when it has gone out.

mod legs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::fair::{Datagram, Datagrams, Shares};
use super::wire::{Code, MAX_DATA, Message, data_head, join_datagram, split_datagram};
use crate::config::Limits;
use crate::frame::{FRAME_OVERHEAD, MAX_FACK};
use crate::peer_key::{PeerKey, ShortId};
use crate::rope::Rope;
use crate::session::{DatagramTag, Service, Session, Violation};
use crate::transport::LinkKind;

/// Bytes of control messages to one neighbour from which on it opens nothing and is not read.
const MAX_CONTROL: usize = 64 << 10;

/// Bytes around the data of a DATA message in its record: kind and label, those of the frame, and an acknowledgement.
const DATA_OVERHEAD: usize = 6 + FRAME_OVERHEAD + MAX_FACK;

/// Most credit that a leg may have.
const MAX_CREDIT: usize = 4 << 20;

/// Name of a leg on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LegId(u64);

/// What lies on the other side of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// One of our own streams.
    End,
    /// The leg to the next neighbour.
    Relay(LegId),
}

#[derive(Debug)]
struct Leg {
    peer: PeerKey,
    label: u32,
    role: Role,
    /// Our place in the route.
    at: u8,
    /// Whose bytes leave on it.
    source: ShortId,
    opened_by_us: bool,
    /// OK has passed.
    open: bool,
    /// What the neighbour lets us send, and what it did at first.
    credit: usize,
    granted: usize,
    /// What it may send.
    left: usize,
    window: usize,
    /// Passed on, and not granted again.
    owed: usize,
    out: Rope,
    /// A stream may have something to send.
    active: bool,
    served: u64,
    /// When the neighbour last sent something on it.
    used: u64,
}

impl Leg {
    /// Whether a piece of at most `frame` bytes may go now. Of little credit nothing is made: more than half of the window is on
    /// its way then, so a grant is bound to come, and records need not be cut in two.
    fn may_send(&self, frame: usize) -> bool {
        let rest = !self.out.is_empty() && self.out.len() <= self.credit;
        self.open && self.credit > 0 && (rest || self.credit >= frame.min(self.granted / 2))
    }
}

#[derive(Debug)]
struct Neighbour {
    kind: LinkKind,
    short: ShortId,
    legs: BTreeMap<u32, LegId>,
    /// Labels that we and it choose next at the least.
    next_own: u32,
    next_theirs: u32,
    control: VecDeque<Vec<u8>>,
    control_bytes: usize,
    /// Read from its channel and not granted again.
    unread: usize,
    datagrams: Datagrams,
    shares: Shares,
}

impl Neighbour {
    fn push(&mut self, message: &Message<'_>) {
        let bytes = message.encode();
        self.control_bytes += bytes.len();
        self.control.push_back(bytes);
    }
}

/// What the streams have to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LegEvent {
    /// A circuit to us. `direct`: of one hop, so that `peer` is its other end.
    Incoming {
        leg: LegId,
        peer: PeerKey,
        source: ShortId,
        direct: bool,
    },
    /// The target has agreed to a circuit of ours.
    Opened {
        leg: LegId,
    },
    Data {
        leg: LegId,
        bytes: Bytes,
    },
    Datagram {
        leg: LegId,
        bytes: Vec<u8>,
    },
    /// The circuit is gone. `at`: who says so, by its place in the route.
    Closed {
        leg: LegId,
        code: Code,
        at: u8,
    },
}

/// What streams give to a hop.
pub(super) trait Ends {
    /// Bytes of the stream on `leg`, about `budget`; none when it has nothing to send now.
    fn pull(&mut self, leg: LegId, budget: usize, now: u64) -> Rope;
}

/// Counts of one machine's circuits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitStats {
    /// Circuits that pass through.
    pub relayed: usize,
    /// Circuits that end here.
    pub ends: usize,
    /// Bytes of passing circuits that wait here now.
    pub held: usize,
    /// The most that ever waited here of one passing circuit in one direction.
    pub peak: usize,
}

pub(super) struct Switch {
    local: PeerKey,
    short: ShortId,
    relay: bool,
    limits: Limits,
    neighbours: BTreeMap<PeerKey, Neighbour>,
    by_short: BTreeMap<ShortId, PeerKey>,
    legs: BTreeMap<LegId, Leg>,
    next_leg: u64,
    served: u64,
    relayed: usize,
    ends: usize,
    peak: usize,
    /// Deadlines of legs that wait for OK, in order.
    opening: VecDeque<(u64, LegId)>,
    /// When to look for idle circuits next.
    sweep: u64,
    events: VecDeque<LegEvent>,
    /// Neighbours that have something to be sent.
    touched: BTreeSet<PeerKey>,
    dropped: Vec<DatagramTag>,
}

impl Switch {
    pub(super) fn new(local: PeerKey, relay: bool, limits: Limits) -> Self {
        Self {
            local,
            short: local.short_id(),
            relay,
            limits,
            neighbours: BTreeMap::new(),
            by_short: BTreeMap::new(),
            legs: BTreeMap::new(),
            next_leg: 1,
            served: 0,
            relayed: 0,
            ends: 0,
            peak: 0,
            opening: VecDeque::new(),
            sweep: 0,
            events: VecDeque::new(),
            touched: BTreeSet::new(),
            dropped: Vec::new(),
        }
    }

    pub(super) fn stats(&self) -> CircuitStats {
        let relay = self.legs.values().filter(|l| l.role != Role::End);
        let held = relay.map(|l| l.out.len()).sum();
        CircuitStats { relayed: self.relayed, ends: self.ends, held, peak: self.peak }
    }

    /// A session began or moved to another class of link.
    pub(super) fn peer_up(&mut self, peer: PeerKey, kind: LinkKind) {
        if let Some(n) = self.neighbours.get_mut(&peer) {
            n.kind = kind;
            return;
        }
        let short = peer.short_id();
        let (ours, theirs) = if self.local < peer { (1, 2) } else { (2, 1) };
        let n = Neighbour {
            kind,
            short,
            legs: BTreeMap::new(),
            next_own: ours,
            next_theirs: theirs,
            control: VecDeque::new(),
            control_bytes: 0,
            unread: 0,
            datagrams: Datagrams::default(),
            shares: Shares::default(),
        };
        self.by_short.insert(short, peer);
        self.neighbours.insert(peer, n);
    }

    /// A session ended, and with it every circuit over it.
    pub(super) fn peer_down(&mut self, peer: &PeerKey) {
        let Some(mut n) = self.neighbours.remove(peer) else { return };
        self.by_short.remove(&n.short);
        self.touched.remove(peer);
        self.dropped.extend(n.datagrams.drain());
        for id in n.legs.into_values() {
            self.break_leg(id, Code::Lost);
        }
    }

    /// A message of the circuits channel.
    pub(super) fn on_message(&mut self, peer: PeerKey, bytes: Bytes, now: u64) -> Result<(), Violation> {
        let Some(n) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        n.unread += bytes.len();
        self.touched.insert(peer);
        let message = Message::decode(&bytes).map_err(|e| Violation(format!("circuits: {e}")))?;
        match message {
            Message::Open { label, window, index, route } => {
                self.on_open(peer, label, window, index, route, now)
            }
            Message::Ok { label, window } => self.on_ok(&peer, label, window),
            Message::Data { label, bytes: data } => {
                let data = bytes.slice(bytes.len() - data.len()..);
                self.on_data(&peer, label, data, now)
            }
            Message::Credit { label, bytes } => {
                let Some(id) = self.find(&peer, label)? else { return Ok(()) };
                let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
                leg.credit += bytes;
                if !leg.open || leg.credit > MAX_CREDIT {
                    return Err(Violation(format!("granted {bytes} bytes of credit on circuit {label}")));
                }
                Ok(())
            }
            Message::Close { label, code, at } => {
                if let Some(id) = self.find(&peer, label)? {
                    self.on_close(id, code, at);
                }
                Ok(())
            }
        }
    }

    /// The leg with a label; none if it is closed here already.
    fn find(&self, peer: &PeerKey, label: u32) -> Result<Option<LegId>, Violation> {
        let Some(n) = self.neighbours.get(peer) else { return Ok(None) };
        if let Some(id) = n.legs.get(&label) {
            return Ok(Some(*id));
        }
        let next = if label % 2 == n.next_own % 2 { n.next_own } else { n.next_theirs };
        if label < next { Ok(None) } else { Err(Violation(format!("circuit {label} was never opened"))) }
    }

    fn on_data(&mut self, peer: &PeerKey, label: u32, bytes: Bytes, now: u64) -> Result<(), Violation> {
        let Some(id) = self.find(peer, label)? else { return Ok(()) };
        let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
        leg.left = leg
            .left
            .checked_sub(bytes.len())
            .filter(|_| leg.open)
            .ok_or_else(|| Violation(format!("sent more than its credit on circuit {label}")))?;
        leg.used = now;
        match leg.role {
            Role::End => {
                // The stream has limits of its own.
                leg.owed += bytes.len();
                self.events.push_back(LegEvent::Data { leg: id, bytes });
            }
            Role::Relay(other) => {
                if let Some(other) = self.legs.get_mut(&other) {
                    other.out.push(bytes);
                    self.peak = self.peak.max(other.out.len());
                    self.touched.insert(other.peer);
                }
            }
        }
        Ok(())
    }

    /// A datagram of the circuits channel. Strange ones are dropped: they may have crossed a CLOSE.
    pub(super) fn on_datagram(&mut self, peer: &PeerKey, bytes: &[u8], now: u64) {
        let Some((label, rest)) = split_datagram(bytes) else { return };
        let Ok(Some(id)) = self.find(peer, label) else { return };
        let Some(leg) = self.legs.get_mut(&id).filter(|l| l.open) else { return };
        leg.used = now;
        match leg.role {
            Role::End => self.events.push_back(LegEvent::Datagram { leg: id, bytes: rest.to_vec() }),
            Role::Relay(other) => self.send_datagram(other, rest, DatagramTag::Relayed, now),
        }
    }

    /// Queues a datagram for the neighbour of a leg.
    pub(super) fn send_datagram(&mut self, leg: LegId, bytes: &[u8], tag: DatagramTag, now: u64) {
        let Some(leg) = self.legs.get(&leg) else { return self.dropped.push(tag) };
        let Some(n) = self.neighbours.get_mut(&leg.peer) else { return self.dropped.push(tag) };
        let bytes = join_datagram(leg.label, bytes);
        self.dropped.extend(n.datagrams.push(leg.source, Datagram { bytes, tag, since: now }));
        self.touched.insert(leg.peer);
    }

    /// Gives a session what goes to its peer next, until `room` bytes wait in it, in pieces of `frame`.
    pub(super) fn feed(
        &mut self,
        peer: &PeerKey,
        session: &mut Session,
        room: usize,
        frame: usize,
        now: u64,
        ends: &mut dyn Ends,
    ) {
        let Some(n) = self.neighbours.get_mut(peer) else { return };
        if n.control_bytes < MAX_CONTROL && n.unread > 0 {
            session.consume(Service::Circuits, std::mem::take(&mut n.unread));
        }
        for id in n.legs.values() {
            let Some(leg) = self.legs.get_mut(id) else { continue };
            if leg.owed > 0 && leg.owed >= leg.window / 2 {
                let bytes = std::mem::take(&mut leg.owed);
                leg.left += bytes;
                let message = Message::Credit { label: leg.label, bytes }.encode();
                n.control_bytes += message.len();
                n.control.push_back(message);
            }
        }
        while session.queued(Service::Circuits) < room
            && let Some(message) = n.control.pop_front()
        {
            n.control_bytes -= message.len();
            session.send(Service::Circuits, message, None);
        }
        let oldest = now.saturating_sub(self.limits.datagram_age);
        while session.queued_datagrams() < room
            && let Some(d) = n.datagrams.pop(&mut n.shares)
        {
            if d.since < oldest {
                self.dropped.push(d.tag);
            } else {
                self.dropped.extend(session.send_datagram(Service::Circuits, d.bytes, d.tag, d.since));
            }
        }
        while session.queued(Service::Circuits) < room
            && let Some(message) = self.next_data(peer, frame, now, ends)
        {
            session.send(Service::Circuits, message, None);
        }
    }

    /// The next DATA to a neighbour, of the source whose turn it is.
    fn next_data(&mut self, peer: &PeerKey, frame: usize, now: u64, ends: &mut dyn Ends) -> Option<Rope> {
        let n = self.neighbours.get_mut(peer)?;
        let frame = frame.clamp(512, MAX_DATA) - DATA_OVERHEAD;
        loop {
            let ready = n.legs.values().filter_map(|id| {
                let leg = self.legs.get(id)?;
                let waits = !leg.out.is_empty() || leg.active;
                (waits && leg.may_send(frame)).then(|| (n.shares.of(&leg.source), leg.served, *id))
            });
            let (_, _, id) = ready.min()?;
            let leg = self.legs.get_mut(&id)?;
            let max = leg.credit.min(frame);
            if leg.out.is_empty() {
                leg.out = ends.pull(id, max, now);
                if leg.out.is_empty() {
                    leg.active = false;
                    continue;
                }
            }
            let bytes = max.min(leg.out.len());
            let mut message = Rope::default();
            message.write(|out| data_head(leg.label, out));
            leg.out.move_to(bytes, &mut message);
            leg.credit -= bytes;
            self.served += 1;
            leg.served = self.served;
            n.shares.charge(leg.source, bytes);
            if let Role::Relay(other) = leg.role
                && let Some(other) = self.legs.get_mut(&other)
            {
                other.owed += bytes;
                if other.owed >= other.window / 2 {
                    self.touched.insert(other.peer);
                }
            }
            return Some(message);
        }
    }

    /// Does what time asks for.
    pub(super) fn advance(&mut self, now: u64) {
        while let Some((at, id)) = self.opening.front().copied() {
            let waits = self.legs.get(&id).is_some_and(|l| !l.open);
            if waits && at > now {
                break;
            }
            self.opening.pop_front();
            if waits {
                self.break_leg(id, Code::Timeout);
            }
        }
        if self.relayed > 0 && self.sweep <= now {
            self.sweep(now);
        }
        let oldest = now.saturating_sub(self.limits.datagram_age);
        for n in self.neighbours.values_mut().filter(|n| n.datagrams.bytes() > 0) {
            self.dropped.extend(n.datagrams.expire(oldest));
        }
    }

    /// Closes the passing circuits on which neither end says anything, so that nobody holds places for nothing.
    fn sweep(&mut self, now: u64) {
        self.sweep = now + self.limits.circuit_idle / 4;
        let oldest = now.saturating_sub(self.limits.circuit_idle);
        let used = |id: &LegId| self.legs.get(id).map_or(0, |l| l.used);
        let is_idle = |(_, leg): &(&LegId, &Leg)| match leg.role {
            Role::Relay(other) => !leg.opened_by_us && leg.open && leg.used.max(used(&other)) < oldest,
            Role::End => false,
        };
        let idle: Vec<LegId> = self.legs.iter().filter(is_idle).map(|(id, _)| *id).collect();
        for id in idle {
            self.break_leg(id, Code::Timeout);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let opening = self.opening.front().map(|(at, _)| *at);
        let datagrams = self.neighbours.values().filter_map(|n| n.datagrams.oldest());
        let sweep = (self.relayed > 0).then_some(self.sweep);
        opening.into_iter().chain(sweep).chain(datagrams.map(|at| at + self.limits.datagram_age + 1)).min()
    }

    pub(super) fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    pub(super) fn take_touched(&mut self) -> BTreeSet<PeerKey> {
        std::mem::take(&mut self.touched)
    }

    /// Datagrams that did not go out.
    pub(super) fn take_dropped(&mut self) -> Vec<DatagramTag> {
        std::mem::take(&mut self.dropped)
    }
}
