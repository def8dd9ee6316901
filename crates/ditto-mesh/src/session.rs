//! The session with one peer: its channels, what is sent and not yet acknowledged, and what to send next.
//!
//! A session outlives a change of its link. Frames are numbered by their order; the sender keeps them until FACK, and
//! after SWITCH sends again what the other side has not received. Which link carries the session is decided elsewhere.

mod fill;
mod service;

use std::collections::{BTreeMap, VecDeque};

use self::service::SERVICES;
pub(crate) use self::service::Service;
use crate::channel::{RecvSide, SendSide};
use crate::circuit::CircuitId;
use crate::config::Limits;
use crate::frame::Frame;
use crate::rope::Rope;
use crate::sched::Scheduler;

/// Acknowledge after this many bytes.
const FACK_BYTES: usize = 128 << 10;

/// The same while more is known to be coming: then an acknowledgement may wait for it.
const FACK_BYTES_COMING: usize = 256 << 10;

/// Acknowledge at the latest after this time, when no message has ended.
const FACK_DELAY_MS: u64 = 20;

/// How long the acknowledgement of a message waits for an answer to ride on, where answers are usual. Well above the time
/// that an app takes to answer, and below what anybody notices who waits for the acknowledgement.
const ANSWER_MS: u64 = 2;

/// Channels of one session, refused ones included.
const MAX_CHANNELS: usize = 256;

/// Bytes of datagrams waiting; the oldest are dropped beyond it.
const MAX_DATAGRAM_QUEUE: usize = 512 << 10;

/// RESET code: no such service here.
const RESET_UNKNOWN_SERVICE: u64 = 1;

/// What a received frame led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Message {
        service: Service,
        bytes: Vec<u8>,
    },
    Datagram {
        service: Service,
        bytes: Vec<u8>,
    },
    Transmitted {
        service: Service,
        tag: u64,
    },
    /// The other side does not have the service of the message.
    Failed {
        tag: u64,
    },
    /// The stream of a circuit was closed by the other end, after everything it has sent.
    Closed {
        code: u64,
    },
}

/// What became of a datagram in [`Session::fill`] or [`Session::expire`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DatagramFate {
    pub(crate) tag: DatagramTag,
    pub(crate) sent: bool,
}

/// Who wants to know what becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatagramTag {
    /// The app, by its tag.
    App(u64),
    /// The app, by circuit and tag.
    Circuit(CircuitId, u64),
    /// Nobody: it passes through.
    Relayed,
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

#[derive(Debug)]
struct Channel {
    id: Option<u64>,
    /// The other side is of a release that does not know the service.
    refused: bool,
    send: SendSide,
    recv: RecvSide,
}

#[derive(Debug)]
struct QueuedDatagram {
    service: Service,
    bytes: Vec<u8>,
    tag: DatagramTag,
    since: u64,
}

/// Something that may make the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Channel(Service),
    Datagrams,
}

impl Maker {
    fn class(self) -> usize {
        match self {
            Maker::Channel(service) => usize::from(service.wire().1),
            Maker::Datagrams => usize::from(Service::Bus.wire().1),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: [u8; 8],
    limits: Limits,
    /// Largest frame that the peer accepts.
    peer_max_frame: usize,
    /// The services that this session has; a constant of its kind.
    standing: &'static [Service],
    channels: [Channel; SERVICES],
    by_id: BTreeMap<u64, Option<Service>>,
    sched: Scheduler,

    /// Frames made, frames acknowledged, and the frames between, the oldest first.
    made: u64,
    acked: u64,
    unacked: VecDeque<Rope>,
    unacked_bytes: usize,
    /// Index in `unacked` of the next frame to put on the present link.
    next: usize,
    /// Number of the last frame of each message under way.
    in_transit: VecDeque<(u64, Service, u64)>,

    /// Numbered frames received, and how many of them are acknowledged.
    received: u64,
    facked: u64,
    unfacked_bytes: usize,
    fack_now: bool,
    fack_at: Option<u64>,
    /// Something was lately sent soon after a message had come, so that an acknowledgement may wait for that.
    answers: bool,
    /// More has been sent to us than is here.
    is_more_coming: bool,
    /// When one last went out by itself because it did not wait.
    alone_at: Option<u64>,

    datagrams: VecDeque<QueuedDatagram>,
    datagram_bytes: usize,
    /// Makers of one class take turns: who has sent last stands last.
    turns: Vec<Maker>,
}

impl Session {
    /// A fresh session. The controller opens the standing channels, on each of which it may send `peer_window` bytes at
    /// once; the other side may queue but sends after OPEN.
    pub(crate) fn new(
        id: [u8; 8],
        standing: &'static [Service],
        controller: bool,
        limits: &Limits,
        peer_max_frame: usize,
        peer_window: u64,
    ) -> Self {
        let channel = |s: Service| Channel {
            id: None,
            refused: false,
            send: SendSide::default(),
            recv: RecvSide::new(u64::from(limits.window), s.max_message(limits))
                .widened(s.window(limits))
                .growing(s.most(limits)),
        };
        // In the order of the enum, because a service is the index of its channel.
        let channels = [
            channel(Service::Presence),
            channel(Service::Bus),
            channel(Service::SyncLive),
            channel(Service::SyncBulk),
            channel(Service::Circuits),
            channel(Service::Blobs),
            channel(Service::Stream),
        ];
        let mut turns = vec![Maker::Datagrams];
        turns.extend(standing.iter().map(|s| Maker::Channel(*s)));
        let mut out = Self {
            id,
            limits: limits.clone(),
            peer_max_frame,
            standing,
            channels,
            by_id: BTreeMap::new(),
            sched: Scheduler::default(),
            made: 0,
            acked: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            next: 0,
            in_transit: VecDeque::new(),
            received: 0,
            facked: 0,
            unfacked_bytes: 0,
            fack_now: false,
            fack_at: None,
            answers: false,
            is_more_coming: false,
            alone_at: None,
            datagrams: VecDeque::new(),
            datagram_bytes: 0,
            turns,
        };
        if controller {
            for (service, channel) in standing.iter().copied().zip((1..).step_by(2)) {
                let (number, class) = service.wire();
                out.push_frame(Frame::Open { channel, service: number, class, window: limits.window.into() });
                out.by_id.insert(channel, Some(service));
                out.channels[service as usize].id = Some(channel);
                out.channels[service as usize].send.add_credit(peer_window);
            }
        }
        out
    }

    /// Frames received, for HELLO and SWITCH.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn queued(&self, service: Service) -> usize {
        self.channels[service as usize].send.queued()
    }

    /// Queues a message. The caller has checked its size.
    pub(crate) fn send(&mut self, service: Service, bytes: impl Into<Rope>, tag: Option<u64>) {
        self.channels[service as usize].send.push(bytes.into(), tag);
    }

    /// More credit than a new session gave, as the other end says in its first word.
    pub(crate) fn add_credit(&mut self, service: Service, bytes: u64) -> bool {
        self.channels[service as usize].send.add_credit(bytes)
    }

    /// Queues the end of the stream; the caller has seen that nothing is queued any more.
    pub(crate) fn close(&mut self, service: Service, code: u64) {
        if let Some(channel) = self.channels[service as usize].id {
            self.push_frame(Frame::Reset { channel, code });
        }
    }

    /// Says before [`Session::fill`] whether the other side has sent more than is here.
    pub(crate) fn expect_more(&mut self, is_more_coming: bool) {
        self.is_more_coming = is_more_coming;
    }

    pub(crate) fn is_more_coming(&self) -> bool {
        self.is_more_coming
    }

    /// Whether part of a message is here, so that the rest has been sent or will be.
    fn is_mid_message(&self) -> bool {
        self.standing.iter().any(|s| self.channels[*s as usize].recv.is_mid_message())
    }

    /// Whether everything that was put into frames is acknowledged.
    pub(crate) fn is_settled(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Bytes of frames that were made and are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacked_bytes
    }

    /// Whether the standing channel of a service is open.
    pub(crate) fn is_open(&self, service: Service) -> bool {
        self.channels[service as usize].id.is_some()
    }

    /// Whether the other side does not have a service.
    pub(crate) fn is_refused(&self, service: Service) -> bool {
        self.channels[service as usize].refused
    }

    /// Largest message of a service.
    pub(crate) fn max_message(&self, service: Service) -> usize {
        service.max_message(&self.limits)
    }

    /// Queues a datagram; the tags of older ones that had to make room.
    pub(crate) fn send_datagram(
        &mut self,
        service: Service,
        bytes: Vec<u8>,
        tag: DatagramTag,
        since: u64,
    ) -> Vec<DatagramTag> {
        self.datagram_bytes += bytes.len();
        self.datagrams.push_back(QueuedDatagram { service, bytes, tag, since });
        let mut dropped = Vec::new();
        while self.datagram_bytes > MAX_DATAGRAM_QUEUE {
            dropped.extend(self.pop_datagram().map(|d| d.tag));
        }
        dropped
    }

    /// Bytes of datagrams that wait.
    pub(crate) fn queued_datagrams(&self) -> usize {
        self.datagram_bytes
    }

    fn pop_datagram(&mut self) -> Option<QueuedDatagram> {
        let d = self.datagrams.pop_front()?;
        self.datagram_bytes -= d.bytes.len();
        Some(d)
    }

    /// Drops datagrams that have waited too long.
    pub(crate) fn expire(&mut self, now: u64, fates: &mut Vec<DatagramFate>) {
        while self.datagrams.front().is_some_and(|d| now.saturating_sub(d.since) > self.limits.datagram_age) {
            fates.extend(self.pop_datagram().map(|d| DatagramFate { tag: d.tag, sent: false }));
        }
    }

    /// The app has processed bytes of a message.
    pub(crate) fn consume(&mut self, service: Service, bytes: usize) {
        self.channels[service as usize].recv.consume(bytes);
    }

    /// The level of the app's send queue, if it changed noticeably.
    pub(crate) fn level_change(&mut self, service: Service) -> Option<usize> {
        self.channels[service as usize].send.level_change()
    }

    /// Takes a frame that arrived on the session's link.
    pub(crate) fn on_frame(
        &mut self,
        frame: Frame<'_>,
        now: u64,
        out: &mut Vec<Delivery>,
    ) -> Result<(), Violation> {
        if frame.is_numbered() {
            self.received += 1;
            self.fack_at.get_or_insert(now + FACK_DELAY_MS);
        }
        match frame {
            Frame::Open { channel, service, class, window } => {
                self.on_open(channel, (service, class), window)
            }
            Frame::Data { channel, payload, end, .. } => self.on_data(channel, payload, end, now, out),
            Frame::Credit { channel, bytes } => self.on_credit(channel, bytes),
            Frame::Reset { channel, code } => {
                if self.by_id.get(&channel) == Some(&Some(Service::Stream)) {
                    self.fack_now = true;
                    out.push(Delivery::Closed { code });
                    return Ok(());
                }
                self.on_refusal(channel, code, out)
            }
            Frame::Dgram { channel, payload } => {
                if let Some(Some(service @ (Service::Bus | Service::Circuits))) = self.by_id.get(&channel) {
                    out.push(Delivery::Datagram { service: *service, bytes: payload.to_vec() });
                }
                Ok(())
            }
            Frame::Fack { frames } => self.on_fack(frames, out),
            // The others belong to the link.
            Frame::Ping { .. } | Frame::Pong { .. } | Frame::Switch { .. } | Frame::GoAway { .. } => Ok(()),
        }
    }

    fn on_open(&mut self, channel: u64, wire: (u8, u8), window: u64) -> Result<(), Violation> {
        if self.by_id.len() >= MAX_CHANNELS {
            return Err(Violation("opened too many channels".into()));
        }
        if self.by_id.contains_key(&channel) {
            return Err(Violation(format!("opened channel {channel} twice")));
        }
        let known = self.standing.iter().copied().find(|s| s.wire() == wire);
        self.by_id.insert(channel, known);
        let Some(service) = known else {
            self.push_frame(Frame::Reset { channel, code: RESET_UNKNOWN_SERVICE });
            return Ok(());
        };
        let c = &mut self.channels[service as usize];
        if c.id.is_some() {
            return Err(Violation(format!("opened {service:?} twice")));
        }
        c.id = Some(channel);
        if c.send.add_credit(window) { Ok(()) } else { Err(Violation("announced an absurd window".into())) }
    }

    /// The other side has no such service: what waits for it has failed.
    fn on_refusal(&mut self, id: u64, code: u64, out: &mut Vec<Delivery>) -> Result<(), Violation> {
        let service = self.by_id.get(&id).copied().flatten().filter(|_| code == RESET_UNKNOWN_SERVICE);
        let Some(service) = service.filter(|s| s.is_optional()) else {
            return Err(Violation(format!("reset the standing channel {id} with code {code}")));
        };
        let c = &mut self.channels[service as usize];
        (c.id, c.refused) = (None, true);
        out.extend(c.send.drain().map(|tag| Delivery::Failed { tag }));
        Ok(())
    }

    fn on_data(
        &mut self,
        id: u64,
        payload: &[u8],
        end: bool,
        now: u64,
        out: &mut Vec<Delivery>,
    ) -> Result<(), Violation> {
        let service = match self.by_id.get(&id) {
            Some(Some(service)) => *service,
            // Sent before our RESET arrived.
            Some(None) => return Ok(()),
            None => return Err(Violation(format!("sent on channel {id}, which is not open"))),
        };
        let done = self.channels[service as usize].recv.on_data(payload, end);
        self.unfacked_bytes += payload.len();
        // Nobody waits for the acknowledgement of a piece of a circuit: its ends have their own.
        let end = end && service != Service::Circuits;
        if self.unfacked_bytes >= FACK_BYTES || (end && !self.answers) {
            self.fack_now = true;
        } else if end {
            self.fack_at = Some(self.fack_at.map_or(u64::MAX, |at| at).min(now + ANSWER_MS));
        }
        if let Some(bytes) = done.map_err(|e| Violation(format!("{service:?}: {e}")))? {
            out.push(Delivery::Message { service, bytes });
        }
        Ok(())
    }

    fn on_credit(&mut self, id: u64, bytes: u64) -> Result<(), Violation> {
        match self.by_id.get(&id) {
            Some(Some(service)) if self.channels[*service as usize].send.add_credit(bytes) => Ok(()),
            Some(None) => Ok(()),
            _ => Err(Violation(format!("granted {bytes} bytes of credit on channel {id}"))),
        }
    }

    fn on_fack(&mut self, frames: u64, out: &mut Vec<Delivery>) -> Result<(), Violation> {
        if frames < self.acked || frames > self.made {
            return Err(Violation(format!("acknowledged {frames} frames of {}", self.made)));
        }
        for _ in self.acked..frames {
            if let Some(f) = self.unacked.pop_front() {
                self.unacked_bytes -= f.len();
                self.next = self.next.saturating_sub(1);
            }
        }
        self.acked = frames;
        while let Some(&(number, service, tag)) = self.in_transit.front()
            && number <= frames
        {
            self.in_transit.pop_front();
            out.push(Delivery::Transmitted { service, tag });
        }
        Ok(())
    }

    /// Goes on over another link whose other end has received `frames`. `false` when that cannot be this session.
    pub(crate) fn resume(&mut self, frames: u64, out: &mut Vec<Delivery>) -> bool {
        if self.on_fack(frames, out).is_err() {
            return false;
        }
        self.next = 0;
        self.facked = self.received;
        self.fack_now = false;
        self.fack_at = None;
        self.unfacked_bytes = 0;
        true
    }

    /// When an acknowledgement is due, if the link has room for it.
    pub(crate) fn fack_deadline(&self) -> Option<u64> {
        self.fack_at
    }

    /// When the oldest datagram has waited too long.
    pub(crate) fn datagram_deadline(&self) -> Option<u64> {
        self.datagrams.front().map(|d| d.since + self.limits.datagram_age + 1)
    }

    /// Gives up: the tags of everything that was not acknowledged, messages and datagrams.
    pub(crate) fn drain(&mut self) -> (Vec<u64>, Vec<DatagramTag>) {
        let mut tags: Vec<u64> = self.in_transit.drain(..).map(|(_, _, tag)| tag).collect();
        for c in &mut self.channels {
            tags.extend(c.send.drain());
        }
        self.datagram_bytes = 0;
        (tags, self.datagrams.drain(..).map(|d| d.tag).collect())
    }
}

#[cfg(test)]
mod tests;
