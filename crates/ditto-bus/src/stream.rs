//! One stream: what was accepted and not acknowledged, and what waits for the app.

use std::collections::VecDeque;

use ditto_mesh::CircuitId;

use crate::api::{BusConfig, Reliability, StreamId, StreamStats};
use crate::envelope::{MAX_RELIABLE, MAX_UNRELIABLE};
use crate::error::BusError;
use crate::pacer::{Done, Pacer};
use crate::window::SendWindow;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We wait for the other end to accept, until then.
    Opening {
        since: u64,
        until: u64,
    },
    Open,
    /// Our app has closed it; the last acknowledgements may come until then.
    Closing {
        until: u64,
    },
}

/// A message that is on its way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    sequence: u64,
    size: usize,
    since: u64,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) circuit: CircuitId,
    pub(crate) reliability: Reliability,
    pub(crate) phase: Phase,
    next_sequence: u64,
    in_flight: VecDeque<InFlight>,
    window: SendWindow,
    pub(crate) pacer: Pacer,
    /// A message that does not fit the window yet. There is at most one.
    pub(crate) pending: Option<Vec<u8>>,
    held_messages: usize,
    held_bytes: usize,
    stats: StreamStats,
}

/// Refuses a message that is larger than its kind allows.
pub fn check_size(data: &[u8], reliability: Reliability) -> Result<(), BusError> {
    let limit = match reliability {
        Reliability::Reliable => MAX_RELIABLE,
        Reliability::Unreliable => MAX_UNRELIABLE,
    };
    if data.len() > limit { Err(BusError::PayloadTooLarge { size: data.len(), limit }) } else { Ok(()) }
}

impl Stream {
    pub(crate) fn new(
        id: StreamId,
        circuit: CircuitId,
        reliability: Reliability,
        phase: Phase,
        config: &BusConfig,
    ) -> Self {
        Self {
            id,
            circuit,
            reliability,
            phase,
            next_sequence: 1,
            in_flight: VecDeque::new(),
            window: SendWindow::new(config),
            pacer: Pacer::default(),
            pending: None,
            held_messages: 0,
            held_bytes: 0,
            stats: StreamStats::default(),
        }
    }

    /// Whether a message of this size may be accepted now.
    pub(crate) fn has_room(&self, size: usize) -> bool {
        self.window.has_room(size)
    }

    /// Numbers a message that leaves now; what is to be sent of a reliable one.
    pub(crate) fn accept(&mut self, data: Vec<u8>, now: u64) -> (u64, Option<Vec<u8>>) {
        let (sequence, size) = (self.next_sequence, data.len());
        self.next_sequence += 1;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += size as u64;
        self.window.take(size);
        if self.reliability == Reliability::Unreliable {
            self.pacer.push(sequence, &data, now);
            return (sequence, None);
        }
        self.in_flight.push_back(InFlight { sequence, size, since: now });
        (sequence, Some(data))
    }

    /// The other end has a message; circuits keep order, so it has those before too. Says how many are news, and their
    /// bytes.
    pub(crate) fn acknowledged(&mut self, sequence: u64, now: u64) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        while let Some(first) = self.in_flight.front().copied().filter(|f| f.sequence <= sequence) {
            self.in_flight.pop_front();
            messages += 1;
            bytes += first.size;
            self.measured(now.saturating_sub(first.since));
        }
        self.window.give(messages, bytes);
        (messages, bytes)
    }

    /// An unreliable message is done with; its bytes.
    pub(crate) fn done(&mut self, done: Done) -> usize {
        self.window.give(1, done.size);
        self.stats.dropped_outgoing += u64::from(!done.sent);
        done.size
    }

    /// A round trip took this long.
    pub(crate) fn measured(&mut self, ms: u64) {
        let smoothed = self.stats.round_trip.map_or(ms, |old| (7 * old + ms).div_ceil(8));
        self.stats.round_trip = Some(smoothed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// A message has arrived. Whether the app gets it: an unreliable one is dropped when too much waits.
    pub(crate) fn arrived(&mut self, size: usize, config: &BusConfig) -> bool {
        let full = self.held_messages >= config.max_held_messages
            || self.held_messages > 0 && self.held_bytes + size > config.max_held_bytes;
        if self.reliability == Reliability::Unreliable && full {
            self.stats.dropped_incoming += 1;
            return false;
        }
        self.held_messages += 1;
        self.held_bytes += size;
        self.stats.messages_received += 1;
        self.stats.bytes_received += size as u64;
        true
    }

    /// The app has taken messages. The bytes of the circuit that this sets free.
    pub(crate) fn taken(&mut self, messages: usize, bytes: usize) -> usize {
        let (messages, bytes) = (messages.min(self.held_messages), bytes.min(self.held_bytes));
        self.held_messages -= messages;
        self.held_bytes -= bytes;
        // Each has one byte that tells its kind.
        if self.reliability == Reliability::Reliable { bytes + messages } else { 0 }
    }

    pub(crate) fn stats(&self) -> StreamStats {
        StreamStats {
            messages_in_flight: self.window.messages(),
            bytes_in_flight: self.window.bytes(),
            ..self.stats
        }
    }

    pub(crate) fn next_deadline(&self, config: &BusConfig) -> Option<u64> {
        let phase = match self.phase {
            Phase::Opening { until, .. } | Phase::Closing { until } => Some(until),
            Phase::Open => None,
        };
        // A message is too old one millisecond later.
        let shed = self.pacer.oldest().map(|at| at + config.datagram_age + 1);
        [phase, shed].into_iter().flatten().min()
    }
}
