//! The Bus machine.

use std::collections::{BTreeMap, VecDeque};

use ditto_mesh::{CircuitId, PeerKey};

use crate::api::{
    Action, BusConfig, BusMessage, Delivery, Input, Reliability, StreamId, StreamStats, TAG_BIT,
};
use crate::envelope::{
    CODE_NO_SERVICE, CODE_VIOLATION, Fragment, PURPOSE_RELIABLE, PURPOSE_SINGLES, PURPOSE_UNRELIABLE,
    decode_message, encode_fragments, encode_message,
};
use crate::error::BusError;
use crate::far::FarSingles;
use crate::meeting::Meeting;
use crate::pacer::Done;
use crate::reassembly::{Reassembly, Source};
use crate::stream::check_size;
use crate::streams::{Context, Streams};

/// Sends and receives single messages and streams. See the crate documentation.
pub struct Bus {
    config: BusConfig,
    strict: bool,
    /// What waits for a destination.
    outgoing: BTreeMap<PeerKey, Outgoing>,
    /// Single messages that the mesh has not answered completely, by our own number.
    pending: BTreeMap<u64, Pending>,
    /// Which message a tag of a neighbour's belongs to.
    tags: BTreeMap<u64, u64>,
    next_tag: u64,
    /// Number of the next message; also the id of unreliable ones.
    next_message: u64,
    incoming: Reassembly,
    far: FarSingles,
    streams: Streams,
    next_circuit: u64,
    actions: VecDeque<Action>,
}

/// What waits for a peer.
#[derive(Debug, Default)]
struct Outgoing {
    neighbour: bool,
    messages: usize,
    /// How many of them are reliable.
    reliable: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    id: u64,
    to: PeerKey,
    reliability: Reliability,
    size: usize,
    /// Parts that the mesh has not answered. A message over a circuit counts as one.
    parts: usize,
    until: u64,
    error: Option<BusError>,
}

/// The context of the parts; a macro because it borrows fields.
macro_rules! context {
    ($bus:expr, $now:expr) => {
        &mut Context {
            now: $now,
            config: &$bus.config,
            incoming: &mut $bus.incoming,
            next_circuit: &mut $bus.next_circuit,
            actions: &mut $bus.actions,
        }
    };
}

impl Bus {
    /// A machine that knows no peer.
    pub fn new(config: BusConfig) -> Self {
        Self {
            config,
            strict: false,
            outgoing: BTreeMap::new(),
            pending: BTreeMap::new(),
            tags: BTreeMap::new(),
            next_tag: TAG_BIT,
            next_message: 1,
            incoming: Reassembly::default(),
            far: FarSingles::default(),
            streams: Streams::default(),
            next_circuit: 0,
            actions: VecDeque::new(),
        }
    }

    /// Takes an input. `now_ms` must not go back.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        let cx = context!(self, now_ms);
        match input {
            Input::Send { id, to, data, reliability } => {
                if let Err(e) = self.send(id, to, data, reliability, now_ms) {
                    self.actions.push_back(Action::Completed { id, result: Err(e) });
                }
            }
            Input::SetStrict(strict) => self.strict = strict,
            Input::SetAccepting(accepting) => self.streams.accepting = accepting,
            Input::Open { stream, to, reliability, label } => {
                self.streams.open(stream, to, reliability, label, cx);
            }
            Input::Meet { stream, peer, reliability, label, opens } => {
                self.streams.meet(stream, Meeting { peer, reliability, label }, opens, cx);
            }
            Input::Enqueue { stream, batch } => self.streams.enqueue(stream, batch, cx),
            Input::Taken { stream, messages, bytes } => self.streams.taken(stream, messages, bytes, cx),
            Input::Close { stream } => self.streams.close(stream, cx),
            Input::Abort { stream } => self.streams.abort(stream, cx),
            Input::PeerConnected(peer) => self.outgoing.entry(peer).or_default().neighbour = true,
            Input::PeerDisconnected(peer) => self.disconnected(&peer),
            Input::Message { peer, bytes } => match decode_message(bytes) {
                Ok(None) => {}
                Ok(Some(data)) => self.deliver(peer, data, Reliability::Reliable),
                Err(e) => self.violation(peer, format!("Bus message: {e}")),
            },
            Input::Datagram { peer, bytes } => self.on_datagram(peer, &bytes, now_ms),
            Input::Transmitted { tag } => self.answered(tag, None),
            Input::SendFailed { tag, reason } => self.answered(tag, Some(reason.into())),
            Input::Circuit(action) => self.on_circuit(action, now_ms),
            Input::Tick => self.advance(now_ms),
        }
    }

    /// The next thing to do. Call until `None` after every input.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time at which [`Input::Tick`] is needed at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        let c = &self.config;
        let single = self.pending.values().map(|p| p.until).min();
        let far = self.far.next_deadline(c.datagram_age, c.single_linger);
        [self.incoming.next_deadline(c), self.streams.next_deadline(c), far, single]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a circuit is one of the Bus.
    pub fn owns(&self, circuit: CircuitId) -> bool {
        self.streams.owns(circuit) || self.far.owns(circuit)
    }

    /// What a stream has done; `None` once it has ended.
    pub fn stream_stats(&self, stream: StreamId) -> Option<StreamStats> {
        self.streams.stats(stream)
    }

    /// Circuits, messages and streams of which something is remembered. 0 when nothing is going on.
    pub fn in_use(&self) -> usize {
        self.streams.len() + self.far.len() + self.pending.len() + self.tags.len()
    }

    fn send(
        &mut self,
        id: u64,
        to: PeerKey,
        data: Vec<u8>,
        reliability: Reliability,
        now: u64,
    ) -> Result<(), BusError> {
        check_size(data.len(), reliability)?;
        let queue = self.outgoing.entry(to).or_default();
        let of_kind = match reliability {
            Reliability::Reliable => queue.reliable,
            Reliability::Unreliable => queue.messages - queue.reliable,
        };
        if self.strict && of_kind > 0 {
            return Err(BusError::SendBeforeCompletion);
        }
        if queue.messages >= self.config.max_queued_messages
            || queue.bytes + data.len() > self.config.max_queued_bytes
        {
            return Err(BusError::QueueFull);
        }
        queue.messages += 1;
        queue.reliable += usize::from(reliability == Reliability::Reliable);
        queue.bytes += data.len();
        let neighbour = queue.neighbour;

        let number = self.next_message;
        self.next_message += 1;
        let (size, until) = (data.len(), now + self.config.single_timeout);
        let mut parts = 1;
        match reliability {
            _ if !neighbour => {
                let cx = context!(self, now);
                self.far.send(to, number, data, reliability, cx);
            }
            Reliability::Reliable => {
                let (bytes, tag) = (encode_message(&data), self.tag(number));
                self.actions.push_back(Action::SendReliable { peer: to, bytes, tag });
            }
            Reliability::Unreliable => {
                let datagrams = encode_fragments(number, &data);
                parts = datagrams.len();
                for bytes in datagrams {
                    let tag = self.tag(number);
                    self.actions.push_back(Action::SendDatagram { peer: to, bytes, tag });
                }
            }
        }
        self.pending.insert(number, Pending { id, to, reliability, size, parts, until, error: None });
        Ok(())
    }

    fn tag(&mut self, number: u64) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.tags.insert(tag, number);
        tag
    }

    /// The mesh has answered for one part; the last answer completes the message.
    fn answered(&mut self, tag: u64, error: Option<BusError>) {
        let Some(number) = self.tags.remove(&tag) else { return };
        let Some(p) = self.pending.get_mut(&number) else { return };
        p.parts = p.parts.saturating_sub(1);
        p.error = p.error.or(error);
        if p.parts == 0 {
            self.complete(number);
        }
    }

    /// A message over a circuit is done.
    fn far_done(&mut self, number: u64, error: Option<BusError>) {
        if let Some(p) = self.pending.get_mut(&number) {
            p.error = p.error.or(error);
            self.complete(number);
        }
    }

    fn complete(&mut self, number: u64) {
        let Some(p) = self.pending.remove(&number) else { return };
        if let Some(queue) = self.outgoing.get_mut(&p.to) {
            queue.messages -= 1;
            queue.reliable -= usize::from(p.reliability == Reliability::Reliable);
            queue.bytes -= p.size;
            if queue.messages == 0 && !queue.neighbour {
                self.outgoing.remove(&p.to);
            }
        }
        let reached = match p.reliability {
            Reliability::Reliable => Delivery::Acknowledged,
            Reliability::Unreliable => Delivery::Transmitted,
        };
        let result = p.error.map_or(Ok(reached), Err);
        self.actions.push_back(Action::Completed { id: p.id, result });
    }

    fn disconnected(&mut self, peer: &PeerKey) {
        self.incoming.forget(&Source::Peer(*peer));
        let Some(queue) = self.outgoing.get_mut(peer) else { return };
        queue.neighbour = false;
        if queue.messages == 0 {
            self.outgoing.remove(peer);
            return;
        }
        // The mesh has failed the sends of the session before; what is left goes over a circuit.
        let left: Vec<u64> = self
            .tags
            .values()
            .copied()
            .filter(|n| self.pending.get(n).is_some_and(|p| p.to == *peer))
            .collect();
        for number in left {
            self.tags.retain(|_, n| *n != number);
            self.far_done(number, Some(BusError::Disconnected));
        }
    }

    fn on_datagram(&mut self, peer: PeerKey, bytes: &[u8], now: u64) {
        if !self.outgoing.get(&peer).is_some_and(|o| o.neighbour) {
            return;
        }
        match Fragment::decode(bytes) {
            Ok(None) => {}
            Ok(Some(f)) => match self.incoming.add(Source::Peer(peer), f, now, &self.config) {
                Ok(None) => {}
                Ok(Some(data)) => self.deliver(peer, data, Reliability::Unreliable),
                Err(e) => self.violation(peer, e.to_string()),
            },
            Err(e) => self.violation(peer, format!("Bus datagram: {e}")),
        }
    }

    fn on_circuit(&mut self, action: ditto_mesh::Action, now: u64) {
        use ditto_mesh::Action as Mesh;
        let cx = context!(self, now);
        match action {
            Mesh::CircuitIncoming { circuit, peer, purpose } => match purpose {
                PURPOSE_SINGLES => self.far.on_incoming(circuit, peer),
                PURPOSE_RELIABLE => self.streams.on_incoming(circuit, peer, Reliability::Reliable, cx),
                PURPOSE_UNRELIABLE => self.streams.on_incoming(circuit, peer, Reliability::Unreliable, cx),
                _ => cx.mesh(ditto_mesh::Input::CircuitClose { circuit, code: CODE_NO_SERVICE }),
            },
            Mesh::CircuitOpened { circuit } => self.far.on_opened(circuit, cx),
            Mesh::CircuitMessage { circuit, bytes } => match self.far.sender(circuit) {
                Some(peer) => self.on_far_message(circuit, peer, bytes, now),
                None => self.streams.on_message(circuit, bytes, cx),
            },
            Mesh::CircuitDatagram { circuit, bytes } => match self.far.sender(circuit) {
                Some(peer) => self.on_far_datagram(circuit, peer, &bytes, now),
                None => self.streams.on_datagram(circuit, &bytes, cx),
            },
            Mesh::CircuitTransmitted { circuit, tag } => self.on_answer(circuit, tag, None, now),
            Mesh::CircuitSendFailed { circuit, tag, reason } => {
                self.on_answer(circuit, tag, Some(reason.into()), now);
            }
            Mesh::CircuitClosed { circuit, reason } => {
                self.streams.on_closed(circuit, reason, cx);
                self.incoming.forget(&Source::Circuit(circuit));
                let (left, why) = self.far.on_closed(circuit);
                for number in left {
                    self.far_done(number, Some(why));
                }
            }
            _ => {}
        }
    }

    fn on_answer(&mut self, circuit: CircuitId, tag: u64, error: Option<BusError>, now: u64) {
        let cx = context!(self, now);
        if self.streams.owns(circuit) {
            return self.streams.on_answer(circuit, tag, error.is_none(), cx);
        }
        if let Some(Done { number, sent, .. }) = self.far.on_answer(circuit, tag, error.is_none(), cx) {
            let error = if sent { None } else { error.or(Some(BusError::Dropped)) };
            self.far_done(number, error);
        }
    }

    /// A single message over a circuit.
    fn on_far_message(&mut self, circuit: CircuitId, peer: PeerKey, bytes: Vec<u8>, now: u64) {
        let length = bytes.len();
        let data = decode_message(bytes);
        context!(self, now).mesh(ditto_mesh::Input::CircuitConsumed { circuit, bytes: length });
        match data {
            Ok(None) => {}
            Ok(Some(data)) => self.deliver(peer, data, Reliability::Reliable),
            Err(_) => self.far_violation(circuit, now),
        }
    }

    fn on_far_datagram(&mut self, circuit: CircuitId, peer: PeerKey, bytes: &[u8], now: u64) {
        let data = match Fragment::decode(bytes) {
            Ok(None) => return,
            Ok(Some(f)) => self.incoming.add(Source::Circuit(circuit), f, now, &self.config).ok(),
            Err(_) => None,
        };
        match data {
            Some(None) => {}
            Some(Some(data)) => self.deliver(peer, data, Reliability::Unreliable),
            None => self.far_violation(circuit, now),
        }
    }

    /// A peer that is no neighbour broke the protocol: there is only its circuit to end.
    fn far_violation(&mut self, circuit: CircuitId, now: u64) {
        self.far.on_closed(circuit);
        self.incoming.forget(&Source::Circuit(circuit));
        context!(self, now).mesh(ditto_mesh::Input::CircuitAbort { circuit, code: CODE_VIOLATION });
    }

    fn advance(&mut self, now: u64) {
        self.incoming.expire(now, &self.config);
        let cx = context!(self, now);
        self.streams.advance(cx);
        for done in self.far.advance(cx) {
            self.far_done(done.number, if done.sent { None } else { Some(BusError::Dropped) });
        }
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.until <= now).map(|(n, _)| *n).collect();
        for number in late {
            self.tags.retain(|_, n| *n != number);
            self.far_done(number, Some(BusError::TimedOut));
        }
    }

    fn deliver(&mut self, sender: PeerKey, data: Vec<u8>, reliability: Reliability) {
        self.actions.push_back(Action::Deliver(BusMessage { sender, data, reliability }));
    }

    fn violation(&mut self, peer: PeerKey, reason: String) {
        self.actions.push_back(Action::Violation { peer, reason });
    }
}

#[cfg(test)]
mod tests;
