//! All ends of circuits on this machine: how they open, find another route, and close.

mod routes;

use std::collections::{BTreeMap, VecDeque};

use super::conn::Conn;
use super::stream::Stream;
use super::switch::{Ends, LegId, Switch};
use super::wire::Code;
use super::{CircuitEnd, CircuitId, Context, INCOMING_CIRCUIT_BIT};
use crate::api::{Action, SendFailure};
use crate::config::Limits;
use crate::mesh::MAX_DATAGRAM;
use crate::peer_key::{PeerKey, ShortId};
use crate::rope::Rope;
use crate::session::{DatagramTag, Delivery, Service};

/// How long an ended stream answers the other end's last frames.
const LINGER_MS: u64 = 5_000;

/// A circuit to us whose opener has not proven itself.
struct Pending {
    conn: Conn,
    /// Who it must be, as the route says.
    source: ShortId,
    until: u64,
}

pub(super) struct Streams {
    limits: Limits,
    streams: BTreeMap<CircuitId, Stream>,
    by_leg: BTreeMap<LegId, CircuitId>,
    by_key: BTreeMap<(PeerKey, [u8; 16]), CircuitId>,
    pending: BTreeMap<LegId, Pending>,
    next_incoming: u64,
    actions: VecDeque<Action>,
    /// Something has changed since the deadlines were looked at.
    touched: bool,
    wake: u64,
    /// The neighbour that is served has sent more than is here.
    is_more_coming: bool,
}

impl Ends for Streams {
    fn pull(&mut self, leg: LegId, budget: usize, now: u64) -> Rope {
        if let Some(p) = self.pending.get_mut(&leg) {
            return p.conn.take_output();
        }
        let Some(s) = self.by_leg.get(&leg).and_then(|id| self.streams.get_mut(id)) else {
            return Rope::default();
        };
        self.touched = true;
        s.session.expect_more(self.is_more_coming);
        let out = s.pull(budget, now);
        if let Some(bytes) = s.session.level_change(Service::Stream).filter(|_| !s.is_told()) {
            self.actions.push_back(Action::CircuitQueued { circuit: s.id, bytes });
        }
        out
    }
}

impl Streams {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            streams: BTreeMap::new(),
            by_leg: BTreeMap::new(),
            by_key: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_incoming: INCOMING_CIRCUIT_BIT | 1,
            actions: VecDeque::new(),
            touched: false,
            wake: u64::MAX,
            is_more_coming: false,
        }
    }

    /// Says before pulls whether the neighbour has sent more than is here.
    pub(super) fn expect_more(&mut self, is_more_coming: bool) {
        self.is_more_coming = is_more_coming;
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(super) fn open(
        &mut self,
        id: CircuitId,
        target: PeerKey,
        purpose: u8,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        let refused = if id.is_incoming() || self.streams.contains_key(&id) {
            Some(CircuitEnd::BadId)
        } else if self.streams.len() >= self.limits.max_circuits {
            Some(CircuitEnd::Capacity)
        } else {
            None
        };
        if let Some(reason) = refused {
            return self.actions.push_back(Action::CircuitClosed { circuit: id, reason });
        }
        let mut key = [0; 16];
        (cx.random)(&mut key);
        let mut stream = Stream::new(id, target, key, purpose, &self.limits, cx.now);
        stream.give_up = Some(cx.now + self.limits.circuit_patience);
        self.by_key.insert((target, key), id);
        self.streams.insert(id, stream);
        self.touched = true;
        self.attempt(id, switch, cx);
    }

    /// The stream behind an id, unless the app has heard the last of it.
    fn live(&mut self, id: CircuitId) -> Option<&mut Stream> {
        self.streams.get_mut(&id).filter(|s| !s.is_told() && s.closing.is_none())
    }

    pub(super) fn send(&mut self, id: CircuitId, bytes: Vec<u8>, tag: u64, switch: &mut Switch) {
        let (max, queue) = (self.limits.max_bus_message, self.limits.max_circuit_queued);
        self.touched = true;
        let reason = match self.live(id) {
            None => SendFailure::NotConnected,
            Some(_) if bytes.is_empty() => SendFailure::Empty,
            Some(_) if bytes.len() > max => SendFailure::TooLarge,
            Some(s) if s.session.queued(Service::Stream) + bytes.len() > queue => SendFailure::QueueFull,
            Some(s) => {
                s.session.send(Service::Stream, bytes, Some(tag));
                if let Some(leg) = s.leg {
                    switch.activate(leg);
                }
                return;
            }
        };
        self.actions.push_back(Action::CircuitSendFailed { circuit: id, tag, reason });
    }

    pub(super) fn send_datagram(
        &mut self,
        id: CircuitId,
        bytes: &[u8],
        tag: u64,
        switch: &mut Switch,
        now: u64,
    ) {
        let reason = match self.live(id) {
            None => SendFailure::NotConnected,
            Some(_) if bytes.len() > MAX_DATAGRAM => SendFailure::TooLarge,
            Some(s) => match (s.leg, s.conn.as_mut().and_then(|c| c.seal(bytes))) {
                (Some(leg), Some(sealed)) => {
                    s.datagrams.push_back(tag);
                    return switch.send_datagram(leg, &sealed, DatagramTag::Circuit(id, tag), now);
                }
                _ => SendFailure::Dropped,
            },
        };
        self.actions.push_back(Action::CircuitSendFailed { circuit: id, tag, reason });
    }

    /// What became of a datagram at the first hop.
    pub(super) fn datagram_answered(&mut self, id: CircuitId, tag: u64, sent: bool) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        let Some(at) = s.datagrams.iter().position(|t| *t == tag) else { return };
        s.datagrams.remove(at);
        self.actions.push_back(if sent {
            Action::CircuitTransmitted { circuit: id, tag }
        } else {
            Action::CircuitSendFailed { circuit: id, tag, reason: SendFailure::Dropped }
        });
    }

    pub(super) fn consumed(&mut self, id: CircuitId, bytes: usize, switch: &mut Switch) {
        if let Some(s) = self.streams.get_mut(&id) {
            s.session.consume(Service::Stream, bytes);
            if let Some(leg) = s.leg {
                switch.activate(leg);
            }
        }
    }

    pub(super) fn close(&mut self, id: CircuitId, code: u32, switch: &mut Switch, now: u64) {
        let patience = self.limits.circuit_patience;
        let Some(s) = self.live(id) else { return };
        if !s.established {
            return self.finish(id, CircuitEnd::Local, switch);
        }
        s.closing = Some((code, now + patience));
        if let Some(leg) = s.leg {
            switch.activate(leg);
        }
        self.touched = true;
    }

    /// As `close`, but nothing that waits is sent any more, and the app hears of the end now.
    pub(super) fn abort(&mut self, id: CircuitId, code: u32, switch: &mut Switch, now: u64) {
        let Some(s) = self.streams.get_mut(&id).filter(|s| !s.is_told()) else { return };
        if !s.established {
            return self.finish(id, CircuitEnd::Local, switch);
        }
        let code = s.closing.map_or(code, |(code, _)| code);
        s.closing = Some((code, now + LINGER_MS));
        if let Some(leg) = s.leg {
            switch.activate(leg);
        }
        self.tell_end(id, CircuitEnd::Local);
        // Kept for as long as it takes to tell the other end.
        if let Some(s) = self.streams.get_mut(&id) {
            s.linger = Some(now + LINGER_MS);
        }
        self.touched = true;
    }

    /// Tells the app that a circuit has ended, and why.
    fn tell_end(&mut self, id: CircuitId, reason: CircuitEnd) {
        let Some(s) = self.streams.get_mut(&id).filter(|s| !s.is_told()) else { return };
        let failure = match s.established {
            true => SendFailure::Disconnected,
            false => SendFailure::NotConnected,
        };
        let (messages, _) = s.session.drain();
        let datagrams = s.datagrams.drain(..).map(|tag| (tag, SendFailure::Dropped));
        let failed = messages.into_iter().map(|tag| (tag, failure)).chain(datagrams);
        let failed = failed.map(|(tag, reason)| Action::CircuitSendFailed { circuit: id, tag, reason });
        self.actions.extend(failed);
        self.actions.push_back(Action::CircuitClosed { circuit: id, reason });
    }

    /// Ends a stream here and forgets it.
    fn finish(&mut self, id: CircuitId, reason: CircuitEnd, switch: &mut Switch) {
        self.tell_end(id, reason);
        let Some(s) = self.streams.remove(&id) else { return };
        self.by_key.remove(&(s.peer, s.key));
        self.touched = true;
        if let Some(leg) = s.leg {
            self.by_leg.remove(&leg);
            let code = match reason {
                CircuitEnd::Violation | CircuitEnd::Untrusted => Code::Untrusted,
                _ => Code::Done,
            };
            switch.close(leg, code);
        }
    }

    /// What frames of the other end led to.
    fn deliver(&mut self, id: CircuitId, out: Vec<Delivery>, now: u64) {
        for d in out {
            let Some(s) = self.streams.get_mut(&id) else { return };
            let silent = s.is_told() || s.closing.is_some();
            match d {
                Delivery::Message { bytes, .. } if silent => s.session.consume(Service::Stream, bytes.len()),
                Delivery::Message { bytes, .. } => {
                    self.actions.push_back(Action::CircuitMessage { circuit: id, bytes });
                }
                Delivery::Transmitted { tag, .. } if !s.is_told() => {
                    self.actions.push_back(Action::CircuitTransmitted { circuit: id, tag });
                }
                Delivery::Closed { code } => {
                    let code = u32::try_from(code).unwrap_or(u32::MAX);
                    self.tell_end(id, CircuitEnd::Remote(code));
                    if let Some(s) = self.streams.get_mut(&id) {
                        s.linger.get_or_insert(now + LINGER_MS);
                    }
                }
                Delivery::Transmitted { .. } | Delivery::Datagram { .. } | Delivery::Failed { .. } => {}
            }
        }
    }

    pub(super) fn on_datagram(&mut self, leg: LegId, bytes: &[u8]) {
        let Some(s) = self.by_leg.get(&leg).and_then(|id| self.streams.get_mut(id)) else { return };
        let Some(bytes) = s.conn.as_mut().and_then(|c| c.open(bytes)) else { return };
        if !s.is_told() && s.closing.is_none() && bytes.len() <= MAX_DATAGRAM {
            self.actions.push_back(Action::CircuitDatagram { circuit: s.id, bytes });
        }
    }

    /// Does what time asks for.
    pub(super) fn advance(&mut self, switch: &mut Switch, cx: &mut Context<'_>) {
        if !self.touched && cx.now < self.wake {
            return;
        }
        let now = cx.now;
        let late: Vec<LegId> = self.pending.iter().filter(|(_, p)| p.until <= now).map(|(l, _)| *l).collect();
        for leg in late {
            self.pending.remove(&leg);
            switch.close(leg, Code::Timeout);
        }
        let due: Vec<CircuitId> = self
            .streams
            .values()
            .filter(|s| s.is_finished() || s.next_deadline(&self.limits).is_some_and(|at| at <= now))
            .map(|s| s.id)
            .collect();
        for id in due {
            self.run(id, switch, cx);
        }
        self.touched = false;
        self.wake = self.scan_deadlines().unwrap_or(u64::MAX);
    }

    /// One stream that has something to do.
    fn run(&mut self, id: CircuitId, switch: &mut Switch, cx: &mut Context<'_>) {
        let now = cx.now;
        let Some(s) = self.streams.get_mut(&id) else { return };
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if s.is_told() {
            if is_due(s.linger) {
                self.finish(id, CircuitEnd::Local, switch);
            }
        } else if s.is_finished() {
            self.finish(id, CircuitEnd::Local, switch);
        } else if is_due(s.give_up) || is_due(s.closing.map(|(_, at)| at)) {
            let reason = if s.established { CircuitEnd::Lost } else { s.last_end };
            self.finish(id, reason, switch);
        } else if is_due(s.attempt_until) {
            self.give_up_route(id, Code::Timeout, switch, cx);
        } else if is_due(s.retry_at) {
            self.attempt(id, switch, cx);
        } else if s.is_dead(&self.limits, now) {
            self.give_up_route(id, Code::Timeout, switch, cx);
        } else if let Some(leg) = s.leg {
            s.noted = true;
            switch.activate(leg);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        if self.touched { self.scan_deadlines() } else { Some(self.wake).filter(|at| *at != u64::MAX) }
    }

    fn scan_deadlines(&self) -> Option<u64> {
        let streams = self.streams.values().filter_map(|s| s.next_deadline(&self.limits));
        streams.chain(self.pending.values().map(|p| p.until)).min()
    }

    /// Ends everything; the hops are cleared by the caller.
    pub(super) fn stop(&mut self) {
        let ids: Vec<CircuitId> = self.streams.keys().copied().collect();
        for id in ids {
            self.tell_end(id, CircuitEnd::Stopped);
        }
        self.streams.clear();
        self.by_leg.clear();
        self.by_key.clear();
        self.pending.clear();
        self.touched = true;
    }
}
