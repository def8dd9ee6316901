//! All streams: how they open, carry messages and end.

use std::collections::{BTreeMap, VecDeque};

use ditto_mesh::{CircuitEnd, CircuitId, PeerKey};

use crate::api::{Action, BusConfig, CIRCUIT_BIT, Reliability, StreamId, StreamStats};
use crate::batch::Batch;
use crate::envelope::{
    CODE_ABORTED, CODE_CLOSED, CODE_REFUSED, CODE_TIMEOUT, CODE_VIOLATION, Fragment, MAX_LABEL,
    PURPOSE_RELIABLE, PURPOSE_UNRELIABLE, Word,
};
use crate::error::{BusError, OpenError, StreamEnd, StreamFailure};
use crate::meeting::{Meeting, Meetings};
use crate::reassembly::{Reassembly, Source};
use crate::stream::{Phase, Stream, check_size};

/// A circuit of a stream whose opener has not said what it is for.
#[derive(Debug)]
struct Caller {
    peer: PeerKey,
    reliability: Reliability,
    until: u64,
}

#[derive(Default)]
pub(crate) struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    by_circuit: BTreeMap<CircuitId, StreamId>,
    callers: BTreeMap<CircuitId, Caller>,
    meetings: Meetings,
    next_incoming: u64,
    pub(crate) accepting: bool,
}

/// What streams need of the machine around them.
pub(crate) struct Context<'a> {
    pub(crate) now: u64,
    pub(crate) config: &'a BusConfig,
    pub(crate) incoming: &'a mut Reassembly,
    pub(crate) next_circuit: &'a mut u64,
    pub(crate) actions: &'a mut VecDeque<Action>,
}

impl Context<'_> {
    pub(crate) fn mesh(&mut self, input: ditto_mesh::Input) {
        self.actions.push_back(Action::Circuit(input));
    }

    fn word(&mut self, circuit: CircuitId, word: Word, tag: u64) {
        self.mesh(ditto_mesh::Input::CircuitSend { circuit, bytes: word.encode(), tag });
    }

    fn close(&mut self, circuit: CircuitId, code: u32) {
        self.mesh(ditto_mesh::Input::CircuitClose { circuit, code });
    }

    fn abort(&mut self, circuit: CircuitId, code: u32) {
        self.mesh(ditto_mesh::Input::CircuitAbort { circuit, code });
    }

    /// Reports settled messages, up to this number if acknowledged. What comes together is told together: one frame of
    /// the other end often acknowledges hundreds.
    fn settled(&mut self, stream: StreamId, messages: usize, bytes: usize, sequence: Option<u64>) {
        if let Some(Action::Settled { stream: of, messages: m, bytes: b }) = self.actions.back_mut()
            && *of == stream
        {
            *m += messages;
            *b += bytes;
            // Of a reliable stream, the acknowledgement stands before it.
            let before = self.actions.len().checked_sub(2).and_then(|at| self.actions.get_mut(at));
            if let (Some(Action::Acknowledged { sequence: last, .. }), Some(sequence)) = (before, sequence) {
                *last = sequence;
            }
            return;
        }
        if let Some(sequence) = sequence {
            self.actions.push_back(Action::Acknowledged { stream, sequence });
        }
        self.actions.push_back(Action::Settled { stream, messages, bytes });
    }

    /// Opens a circuit and names it.
    pub(crate) fn open(&mut self, target: PeerKey, purpose: u8) -> CircuitId {
        let circuit = CircuitId(CIRCUIT_BIT | *self.next_circuit);
        *self.next_circuit += 1;
        self.mesh(ditto_mesh::Input::CircuitOpen { circuit, target, purpose });
        circuit
    }
}

impl Streams {
    pub(crate) fn owns(&self, circuit: CircuitId) -> bool {
        self.by_circuit.contains_key(&circuit)
            || self.callers.contains_key(&circuit)
            || self.meetings.owns(circuit)
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len() + self.callers.len() + self.meetings.len()
    }

    pub(crate) fn stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.get(&id).map(Stream::stats)
    }

    fn by_circuit(&mut self, circuit: CircuitId) -> Option<&mut Stream> {
        self.streams.get_mut(self.by_circuit.get(&circuit)?)
    }

    pub(crate) fn open(
        &mut self,
        id: StreamId,
        to: PeerKey,
        reliability: Reliability,
        label: String,
        cx: &mut Context<'_>,
    ) {
        self.open_as(id, Meeting { peer: to, reliability, label }, false, cx);
    }

    /// Opens, or waits for the other end to do so.
    pub(crate) fn meet(&mut self, id: StreamId, meeting: Meeting, opens: bool, cx: &mut Context<'_>) {
        if opens {
            return self.open_as(id, meeting, true, cx);
        }
        if let Some(reason) = self.refusal(id, &meeting.label) {
            return cx.actions.push_back(Action::OpenFailed { stream: id, reason });
        }
        let reliability = meeting.reliability;
        if let Some(circuit) = self.meetings.ask(id, meeting, cx.now + cx.config.open_timeout) {
            self.met(id, circuit, reliability, cx);
        }
    }

    /// Both ends have asked for it, and the other one has opened it.
    fn met(&mut self, id: StreamId, circuit: CircuitId, reliability: Reliability, cx: &mut Context<'_>) {
        self.streams.insert(id, Stream::new(id, circuit, reliability, Phase::Open, cx.config));
        self.by_circuit.insert(circuit, id);
        cx.word(circuit, Word::Accept, 0);
        cx.actions.push_back(Action::Opened { stream: id });
    }

    fn refusal(&self, id: StreamId, label: &str) -> Option<OpenError> {
        if id.is_incoming() || self.streams.contains_key(&id) || self.meetings.has(id) {
            Some(OpenError::BadId)
        } else if label.len() > MAX_LABEL {
            Some(OpenError::LabelTooLong)
        } else {
            None
        }
    }

    fn open_as(&mut self, id: StreamId, what: Meeting, meet: bool, cx: &mut Context<'_>) {
        let Meeting { peer: to, reliability, label } = what;
        if let Some(reason) = self.refusal(id, &label) {
            return cx.actions.push_back(Action::OpenFailed { stream: id, reason });
        }
        let purpose = match reliability {
            Reliability::Reliable => PURPOSE_RELIABLE,
            Reliability::Unreliable => PURPOSE_UNRELIABLE,
        };
        let circuit = cx.open(to, purpose);
        // It waits for the circuit, which saves a round trip.
        cx.word(circuit, Word::Open { label, meet }, 0);
        let phase = Phase::Opening { since: cx.now, until: cx.now + cx.config.open_timeout };
        self.streams.insert(id, Stream::new(id, circuit, reliability, phase, cx.config));
        self.by_circuit.insert(circuit, id);
    }

    pub(crate) fn enqueue(&mut self, id: StreamId, batch: Batch, cx: &mut Context<'_>) {
        let refused = match self.streams.get(&id) {
            Some(s) if s.phase == Phase::Open => match check_size(batch.largest(), s.reliability) {
                Ok(()) if s.pending.is_some() => Some(BusError::SendBeforeCompletion),
                Ok(()) => None,
                Err(e) => Some(e),
            },
            _ => Some(BusError::StreamClosed),
        };
        if let Some(e) = refused {
            return cx.actions.push_back(Action::Enqueued { stream: id, result: Err(e) });
        }
        if let Some(s) = self.streams.get_mut(&id) {
            s.pending = Some(batch);
            Self::progress(s, cx);
        }
    }

    /// Accepts what waits if it fits now, and lets datagrams out.
    fn progress(s: &mut Stream, cx: &mut Context<'_>) {
        let fits = s.pending.as_ref().is_some_and(|batch| s.has_room(batch));
        if let Some(batch) = if fits { s.pending.take() } else { None } {
            let (sequence, reliable) = s.accept(batch, cx.now);
            if let Some(batch) = reliable {
                cx.word(s.circuit, Word::Data(batch), sequence);
            }
            cx.actions.push_back(Action::Enqueued { stream: s.id, result: Ok(sequence) });
        }
        while let Some((number, bytes)) = s.pacer.next() {
            cx.mesh(ditto_mesh::Input::CircuitDatagram { circuit: s.circuit, bytes, tag: number });
        }
    }

    pub(crate) fn taken(&mut self, id: StreamId, messages: usize, bytes: usize, cx: &mut Context<'_>) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        let bytes = s.taken(messages, bytes);
        if bytes > 0 {
            let circuit = s.circuit;
            cx.mesh(ditto_mesh::Input::CircuitConsumed { circuit, bytes });
        }
    }

    /// Our app does not want to meet any more.
    fn cancel(&mut self, id: StreamId, cx: &mut Context<'_>) {
        if self.meetings.cancel(id) {
            cx.actions.push_back(Action::OpenFailed { stream: id, reason: OpenError::Cancelled });
        }
    }

    pub(crate) fn close(&mut self, id: StreamId, cx: &mut Context<'_>) {
        self.cancel(id, cx);
        let Some(s) = self.streams.get_mut(&id) else { return };
        match s.phase {
            Phase::Opening { .. } => self.fail_open(id, OpenError::Cancelled, CODE_ABORTED, cx),
            Phase::Open => {
                if s.pending.take().is_some() {
                    let result = Err(BusError::StreamClosed);
                    cx.actions.push_back(Action::Enqueued { stream: id, result });
                }
                s.phase = Phase::Closing { until: cx.now + cx.config.close_timeout };
                cx.close(s.circuit, CODE_CLOSED);
            }
            Phase::Closing { .. } => {}
        }
    }

    pub(crate) fn abort(&mut self, id: StreamId, cx: &mut Context<'_>) {
        self.cancel(id, cx);
        let Some(s) = self.streams.get_mut(&id) else { return };
        if let Phase::Opening { .. } = s.phase {
            return self.fail_open(id, OpenError::Cancelled, CODE_ABORTED, cx);
        }
        cx.abort(s.circuit, CODE_ABORTED);
        self.finish(id, StreamEnd::ClosedByLocal, cx);
    }

    fn fail_open(&mut self, id: StreamId, reason: OpenError, code: u32, cx: &mut Context<'_>) {
        let Some(s) = self.streams.remove(&id) else { return };
        self.by_circuit.remove(&s.circuit);
        cx.abort(s.circuit, code);
        cx.actions.push_back(Action::OpenFailed { stream: id, reason });
    }

    /// Tells the app the end and forgets the stream. What its circuit still does is nobody's business.
    fn finish(&mut self, id: StreamId, reason: StreamEnd, cx: &mut Context<'_>) {
        let Some(mut s) = self.streams.remove(&id) else { return };
        self.by_circuit.remove(&s.circuit);
        cx.incoming.forget(&Source::Circuit(s.circuit));
        if s.pending.take().is_some() {
            let result = Err(BusError::StreamClosed);
            cx.actions.push_back(Action::Enqueued { stream: id, result });
        }
        cx.actions.push_back(Action::Closed { stream: id, reason });
    }

    fn violation(&mut self, circuit: CircuitId, cx: &mut Context<'_>) {
        cx.abort(circuit, CODE_VIOLATION);
        self.callers.remove(&circuit);
        let Some(id) = self.by_circuit.get(&circuit).copied() else { return };
        match self.streams.get(&id).map(|s| s.phase) {
            Some(Phase::Opening { .. }) => {
                self.fail_open(id, OpenError::Untrusted, CODE_VIOLATION, cx);
            }
            _ => self.finish(id, StreamEnd::Failed(StreamFailure::Violation), cx),
        }
    }

    /// A peer has opened a circuit for a stream.
    pub(crate) fn on_incoming(
        &mut self,
        circuit: CircuitId,
        peer: PeerKey,
        reliability: Reliability,
        cx: &mut Context<'_>,
    ) {
        let until = cx.now + cx.config.open_timeout;
        self.callers.insert(circuit, Caller { peer, reliability, until });
    }

    /// A message on the circuit of a stream.
    pub(crate) fn on_message(&mut self, circuit: CircuitId, bytes: Vec<u8>, cx: &mut Context<'_>) {
        let length = bytes.len();
        let word = Word::decode(bytes);
        // The app consumes data; the rest is done with.
        if !matches!(word, Ok(Some(Word::Data(_)))) {
            cx.mesh(ditto_mesh::Input::CircuitConsumed { circuit, bytes: length });
        }
        if let Some(caller) = self.callers.remove(&circuit) {
            return match word {
                Ok(Some(Word::Open { label, meet: true })) => {
                    let Caller { peer, reliability, until } = caller;
                    let meeting = Meeting { peer, reliability, label };
                    if let Some(id) = self.meetings.asked(circuit, meeting, until) {
                        self.met(id, circuit, reliability, cx);
                    }
                }
                Ok(Some(Word::Open { label, meet: false })) => self.introduce(circuit, caller, label, cx),
                _ => cx.abort(circuit, CODE_VIOLATION),
            };
        }
        if self.meetings.forget(circuit) {
            // It has to wait for the answer.
            return cx.abort(circuit, CODE_VIOLATION);
        }
        let (config, now) = (cx.config, cx.now);
        let Some(s) = self.by_circuit(circuit) else { return };
        let (id, phase) = (s.id, s.phase);
        match (word, phase) {
            (Ok(None), _) => {}
            (Ok(Some(Word::Accept)), Phase::Opening { since, .. }) => {
                s.phase = Phase::Open;
                s.measured(now.saturating_sub(since));
                cx.actions.push_back(Action::Opened { stream: id });
            }
            (Ok(Some(Word::Data(batch))), Phase::Open) if s.reliability == Reliability::Reliable => {
                s.arrived(&batch, config);
                cx.actions.push_back(Action::Received { stream: id, batch });
            }
            (Ok(Some(Word::Data(_))), Phase::Closing { .. }) => {}
            _ => self.violation(circuit, cx),
        }
    }

    /// The opener has said what a stream is for.
    fn introduce(&mut self, circuit: CircuitId, caller: Caller, label: String, cx: &mut Context<'_>) {
        if !self.accepting {
            return cx.close(circuit, CODE_REFUSED);
        }
        let id = StreamId(2 * self.next_incoming + 1);
        self.next_incoming += 1;
        let Caller { peer, reliability, .. } = caller;
        self.streams.insert(id, Stream::new(id, circuit, reliability, Phase::Open, cx.config));
        self.by_circuit.insert(circuit, id);
        cx.word(circuit, Word::Accept, 0);
        cx.actions.push_back(Action::Incoming { stream: id, peer, reliability, label });
    }

    /// A datagram on the circuit of a stream.
    pub(crate) fn on_datagram(&mut self, circuit: CircuitId, bytes: &[u8], cx: &mut Context<'_>) {
        let (config, now) = (cx.config, cx.now);
        let Some(s) = self.by_circuit(circuit) else { return };
        // It may overtake ACCEPT; then it is lost, as it might have been.
        if s.phase != Phase::Open || s.reliability != Reliability::Unreliable {
            return;
        }
        let data = match Fragment::decode(bytes) {
            Ok(None) => return,
            Ok(Some(f)) => cx.incoming.add(Source::Circuit(circuit), f, now, config).ok(),
            Err(_) => None,
        };
        match data {
            Some(None) => {}
            Some(Some(data)) => {
                let batch = Batch::from(data);
                if s.arrived(&batch, config) {
                    let stream = s.id;
                    cx.actions.push_back(Action::Received { stream, batch });
                }
            }
            None => self.violation(circuit, cx),
        }
    }

    /// The mesh has answered for a message or datagram.
    pub(crate) fn on_answer(&mut self, circuit: CircuitId, tag: u64, sent: bool, cx: &mut Context<'_>) {
        let now = cx.now;
        let Some(s) = self.by_circuit(circuit) else { return };
        let stream = s.id;
        if s.reliability == Reliability::Unreliable {
            if let Some(done) = s.pacer.answered(tag, sent) {
                let bytes = s.done(done);
                cx.settled(stream, 1, bytes, None);
            }
        } else if sent && tag != 0 {
            let (messages, bytes) = s.acknowledged(tag, now);
            if messages > 0 {
                cx.settled(stream, messages, bytes, Some(tag));
            }
        }
        // A reliable message fails only with its circuit, which is reported then.
        if s.phase == Phase::Open {
            Self::progress(s, cx);
        }
    }

    pub(crate) fn on_closed(&mut self, circuit: CircuitId, end: CircuitEnd, cx: &mut Context<'_>) {
        self.callers.remove(&circuit);
        self.meetings.forget(circuit);
        let Some(id) = self.by_circuit.get(&circuit).copied() else { return };
        let Some(s) = self.streams.get(&id) else { return };
        match s.phase {
            Phase::Opening { .. } => {
                self.streams.remove(&id);
                self.by_circuit.remove(&circuit);
                cx.actions.push_back(Action::OpenFailed { stream: id, reason: end.into() });
            }
            Phase::Open => self.finish(id, end.into(), cx),
            Phase::Closing { .. } => {
                let reason = match StreamEnd::from(end) {
                    // Both have closed: each was first for itself.
                    StreamEnd::ClosedByRemote => StreamEnd::ClosedByLocal,
                    StreamEnd::Failed(_) if s.is_settled() => StreamEnd::ClosedByLocal,
                    reason => reason,
                };
                self.finish(id, reason, cx);
            }
        }
    }

    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let late: Vec<CircuitId> =
            self.callers.iter().filter(|(_, c)| c.until <= now).map(|(id, _)| *id).collect();
        let (ours, theirs) = self.meetings.expire(now);
        for circuit in late.into_iter().chain(theirs) {
            self.callers.remove(&circuit);
            cx.abort(circuit, CODE_TIMEOUT);
        }
        for stream in ours {
            cx.actions.push_back(Action::OpenFailed { stream, reason: OpenError::TimedOut });
        }
        let due = |s: &&Stream| s.next_deadline(cx.config).is_some_and(|at| at <= now);
        let due: Vec<StreamId> = self.streams.values().filter(due).map(|s| s.id).collect();
        for id in due {
            let Some(s) = self.streams.get_mut(&id) else { continue };
            for done in s.pacer.expire(now.saturating_sub(cx.config.datagram_age)) {
                let bytes = s.done(done);
                cx.settled(id, 1, bytes, None);
            }
            match s.phase {
                Phase::Opening { until, .. } if until <= now => {
                    self.fail_open(id, OpenError::TimedOut, CODE_TIMEOUT, cx);
                }
                Phase::Closing { until } if until <= now => {
                    cx.abort(s.circuit, CODE_CLOSED);
                    self.finish(id, StreamEnd::ClosedByLocal, cx);
                }
                Phase::Open => Self::progress(s, cx),
                _ => {}
            }
        }
    }

    pub(crate) fn next_deadline(&self, config: &BusConfig) -> Option<u64> {
        let streams = self.streams.values().filter_map(|s| s.next_deadline(config));
        let callers = self.callers.values().map(|c| c.until);
        streams.chain(callers).chain(self.meetings.next_deadline()).min()
    }
}
