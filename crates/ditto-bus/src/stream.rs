//! One stream: what was accepted and not acknowledged, and what waits for the app.

use std::collections::VecDeque;

use ditto_mesh::CircuitId;

use crate::api::{BusConfig, Reliability, StreamId, StreamStats};
use crate::batch::Batch;
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

/// Messages that are on their way together.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// Number of the last.
    sequence: u64,
    messages: usize,
    bytes: usize,
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
    /// Messages that do not fit the window yet. There is at most one batch.
    pub(crate) pending: Option<Batch>,
    held_messages: usize,
    held_bytes: usize,
    stats: StreamStats,
}

/// Refuses a message that is larger than its kind allows.
pub fn check_size(size: usize, reliability: Reliability) -> Result<(), BusError> {
    let limit = match reliability {
        Reliability::Reliable => MAX_RELIABLE,
        Reliability::Unreliable => MAX_UNRELIABLE,
    };
    if size > limit { Err(BusError::PayloadTooLarge { size, limit }) } else { Ok(()) }
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

    /// Whether messages may be accepted now.
    pub(crate) fn has_room(&self, batch: &Batch) -> bool {
        self.window.has_room(batch.len(), batch.bytes())
    }

    /// Numbers messages that leave now: the number of the last, and what is to be sent of reliable ones.
    pub(crate) fn accept(&mut self, mut batch: Batch, now: u64) -> (u64, Option<Batch>) {
        let (messages, bytes) = (batch.len(), batch.bytes());
        let first = self.next_sequence;
        self.next_sequence += messages as u64;
        let sequence = self.next_sequence - 1;
        self.stats.messages_sent += messages as u64;
        self.stats.bytes_sent += bytes as u64;
        self.window.take(messages, bytes);
        if self.reliability == Reliability::Unreliable {
            for number in first.. {
                let Some((data, _)) = batch.pop() else { break };
                self.pacer.push(number, &data, now);
            }
            return (sequence, None);
        }
        self.in_flight.push_back(InFlight { sequence, messages, bytes, since: now });
        (sequence, Some(batch))
    }

    /// The other end has messages up to this number; circuits keep order. Says how many are news, and their bytes.
    pub(crate) fn acknowledged(&mut self, sequence: u64, now: u64) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0);
        while let Some(first) = self.in_flight.front().copied().filter(|f| f.sequence <= sequence) {
            self.in_flight.pop_front();
            messages += first.messages;
            bytes += first.bytes;
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

    /// Messages have arrived. Whether the app gets them: unreliable ones are dropped when too much waits.
    pub(crate) fn arrived(&mut self, batch: &Batch, config: &BusConfig) -> bool {
        let cost = batch.cost();
        let full = self.held_messages >= config.max_held_messages
            || self.held_messages > 0 && self.held_bytes + cost > config.max_held_bytes;
        if self.reliability == Reliability::Unreliable && full {
            self.stats.dropped_incoming += batch.len() as u64;
            return false;
        }
        self.held_messages += batch.len();
        self.held_bytes += cost;
        self.stats.messages_received += batch.len() as u64;
        self.stats.bytes_received += batch.bytes() as u64;
        true
    }

    /// The app has taken messages. The bytes of the circuit that this sets free.
    pub(crate) fn taken(&mut self, messages: usize, bytes: usize) -> usize {
        let (messages, bytes) = (messages.min(self.held_messages), bytes.min(self.held_bytes));
        self.held_messages -= messages;
        self.held_bytes -= bytes;
        // Datagrams have no credit.
        if self.reliability == Reliability::Reliable { bytes } else { 0 }
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
