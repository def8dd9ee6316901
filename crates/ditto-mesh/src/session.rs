//! The session with one peer: its channels, what is sent and not yet acknowledged, and what to send next.
//!
//! A session outlives a change of its link. Frames are numbered by their order; the sender keeps them until FACK, and
//! after SWITCH sends again what the other side has not received. Which link carries the session is decided elsewhere.

use std::collections::{BTreeMap, VecDeque};

use crate::api::Lane;
use crate::channel::{RecvSide, SendSide};
use crate::config::Limits;
use crate::frame::{FRAME_OVERHEAD, Frame};
use crate::sched::{CLASSES, Scheduler};

/// Acknowledge after this many bytes, or at once when a message ends.
const FACK_BYTES: usize = 64 << 10;

/// Acknowledge at the latest after this time.
const FACK_DELAY_MS: u64 = 20;

/// Channels of one session, refused ones included.
const MAX_CHANNELS: usize = 256;

/// Bytes of datagrams waiting; the oldest are dropped beyond it.
const MAX_DATAGRAM_QUEUE: usize = 512 << 10;

/// Largest presence message.
pub(crate) const MAX_PRESENCE_MESSAGE: usize = 1 << 20;

/// RESET code: no such service here.
const RESET_UNKNOWN_SERVICE: u64 = 1;

/// A standing channel of every session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Presence,
    Bus,
    SyncLive,
    SyncBulk,
}

impl Service {
    pub(crate) const ALL: [Service; 4] = [Self::Presence, Self::Bus, Self::SyncLive, Self::SyncBulk];

    /// Service number and priority class of OPEN.
    fn wire(self) -> (u8, u8) {
        match self {
            Service::Presence => (1, 1),
            Service::Bus => (6, 2),
            Service::SyncLive => (2, 3),
            Service::SyncBulk => (2, 4),
        }
    }

    fn max_message(self, limits: &Limits) -> usize {
        match self {
            Service::Presence => MAX_PRESENCE_MESSAGE,
            Service::Bus => limits.max_bus_message,
            Service::SyncLive | Service::SyncBulk => limits.max_sync_message,
        }
    }

    /// The lane of the app, unless the channel is the mesh's own.
    pub(crate) fn lane(self) -> Option<Lane> {
        match self {
            Service::Presence => None,
            Service::Bus => Some(Lane::Bus),
            Service::SyncLive => Some(Lane::SyncLive),
            Service::SyncBulk => Some(Lane::SyncBulk),
        }
    }
}

impl From<Lane> for Service {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Bus => Service::Bus,
            Lane::SyncLive => Service::SyncLive,
            Lane::SyncBulk => Service::SyncBulk,
        }
    }
}

/// What a received frame led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Message { service: Service, bytes: Vec<u8> },
    Datagram { bytes: Vec<u8> },
    Transmitted { service: Service, tag: u64 },
}

/// What became of a datagram in [`Session::fill`] or [`Session::expire`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DatagramFate {
    pub(crate) tag: u64,
    pub(crate) sent: bool,
}

/// How a peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

#[derive(Debug)]
struct Channel {
    id: Option<u64>,
    send: SendSide,
    recv: RecvSide,
}

#[derive(Debug)]
struct QueuedDatagram {
    bytes: Vec<u8>,
    tag: u64,
    since: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: [u8; 8],
    limits: Limits,
    /// Largest frame that the peer accepts.
    peer_max_frame: usize,
    channels: [Channel; 4],
    by_id: BTreeMap<u64, Option<Service>>,
    sched: Scheduler,

    /// Frames made, frames acknowledged, and the frames between, the oldest first.
    made: u64,
    acked: u64,
    unacked: VecDeque<Vec<u8>>,
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

    datagrams: VecDeque<QueuedDatagram>,
    datagram_bytes: usize,
    /// Bus messages and datagrams take turns inside their class.
    datagram_turn: bool,
}

impl Session {
    /// A fresh session. The controller opens the standing channels, on each of which it may send `peer_window` bytes at
    /// once; the other side may queue but sends after OPEN.
    pub(crate) fn new(
        id: [u8; 8],
        controller: bool,
        limits: &Limits,
        peer_max_frame: usize,
        peer_window: u64,
    ) -> Self {
        let channels = Service::ALL.map(|s| Channel {
            id: None,
            send: SendSide::default(),
            recv: RecvSide::new(u64::from(limits.window), s.max_message(limits)),
        });
        let mut out = Self {
            id,
            limits: limits.clone(),
            peer_max_frame,
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
            datagrams: VecDeque::new(),
            datagram_bytes: 0,
            datagram_turn: false,
        };
        if controller {
            for (service, channel) in Service::ALL.into_iter().zip([1, 3, 5, 7]) {
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
    pub(crate) fn send(&mut self, service: Service, bytes: Vec<u8>, tag: Option<u64>) {
        self.channels[service as usize].send.push(bytes, tag);
    }

    /// Largest message of a service.
    pub(crate) fn max_message(&self, service: Service) -> usize {
        service.max_message(&self.limits)
    }

    /// Queues a datagram; the tags of older ones that had to make room.
    pub(crate) fn send_datagram(&mut self, bytes: Vec<u8>, tag: u64, now: u64) -> Vec<u64> {
        self.datagram_bytes += bytes.len();
        self.datagrams.push_back(QueuedDatagram { bytes, tag, since: now });
        let mut dropped = Vec::new();
        while self.datagram_bytes > MAX_DATAGRAM_QUEUE {
            dropped.extend(self.pop_datagram().map(|d| d.tag));
        }
        dropped
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
            Frame::Data { channel, payload, end, .. } => self.on_data(channel, payload, end, out),
            Frame::Credit { channel, bytes } => self.on_credit(channel, bytes),
            Frame::Reset { channel, code } => {
                Err(Violation(format!("reset the standing channel {channel} with code {code}")))
            }
            Frame::Dgram { channel, payload } => {
                if self.by_id.get(&channel) == Some(&Some(Service::Bus)) {
                    out.push(Delivery::Datagram { bytes: payload.to_vec() });
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
        let known = Service::ALL.into_iter().find(|s| s.wire() == wire);
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

    fn on_data(
        &mut self,
        id: u64,
        payload: &[u8],
        end: bool,
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
        if end || self.unfacked_bytes >= FACK_BYTES {
            self.fack_now = true;
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

    /// Makes a numbered frame; it goes out with the next [`Session::fill`].
    fn push_frame(&mut self, frame: Frame<'_>) {
        debug_assert!(frame.is_numbered());
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.push_encoded(bytes);
    }

    fn push_encoded(&mut self, bytes: Vec<u8>) {
        self.made += 1;
        self.unacked_bytes += bytes.len();
        self.unacked.push_back(bytes);
    }

    /// Appends frames to `out` until it holds `budget` bytes or nothing may be sent. `frame` is the size of frames
    /// that suits the link.
    pub(crate) fn fill(
        &mut self,
        now: u64,
        budget: usize,
        frame: usize,
        out: &mut Vec<u8>,
        fates: &mut Vec<DatagramFate>,
    ) {
        self.expire(now, fates);
        if self.fack_now || self.fack_at.is_some_and(|at| at <= now) {
            self.put_fack(out);
        }
        for service in Service::ALL {
            let c = &mut self.channels[service as usize];
            if let (Some(channel), Some(bytes)) = (c.id, c.recv.grant()) {
                self.push_frame(Frame::Credit { channel, bytes });
            }
        }
        let payload = frame.min(self.peer_max_frame).saturating_sub(FRAME_OVERHEAD);
        while out.len() < budget {
            if let Some(bytes) = self.unacked.get(self.next) {
                out.extend_from_slice(bytes);
                self.next += 1;
            } else if !self.make_frame(payload, out, fates) {
                break;
            }
        }
    }

    /// Makes the next frame in order of priority; datagrams go to `out` directly, others become unacknowledged ones.
    fn make_frame(&mut self, payload: usize, out: &mut Vec<u8>, fates: &mut Vec<DatagramFate>) -> bool {
        let paused = self.unacked_bytes >= self.limits.max_unacknowledged;
        let mut ready = [false; CLASSES];
        for service in Service::ALL {
            let c = &self.channels[service as usize];
            ready[usize::from(service.wire().1)] |= !paused && c.id.is_some() && c.send.is_ready();
        }
        let bus_class = usize::from(Service::Bus.wire().1);
        let bus_message = ready[bus_class];
        let bus_channel = self.channels[Service::Bus as usize].id;
        let datagram = bus_channel.is_some() && !self.datagrams.is_empty();
        ready[bus_class] |= datagram;

        let Some(class) = self.sched.pick(|c| ready[c]) else { return false };
        if class == bus_class && datagram && (!bus_message || self.datagram_turn) {
            self.datagram_turn = false;
            if let (Some(channel), Some(d)) = (bus_channel, self.pop_datagram()) {
                let start = out.len();
                Frame::Dgram { channel, payload: &d.bytes }.encode(out);
                self.sched.charge(class, out.len() - start);
                fates.push(DatagramFate { tag: d.tag, sent: true });
            }
            return true;
        }
        self.datagram_turn = true;
        let Some(service) = Service::ALL.into_iter().find(|s| usize::from(s.wire().1) == class) else {
            return false;
        };
        let c = &mut self.channels[service as usize];
        let Some(channel) = c.id else { return false };
        let made = c.send.next(payload, |p| {
            let mut bytes = Vec::with_capacity(p.payload.len() + FRAME_OVERHEAD);
            Frame::Data { channel, payload: p.payload, end: p.end, fin: false }.encode(&mut bytes);
            (bytes, p.end.then_some(p.tag).flatten())
        });
        let Some((bytes, tag)) = made else { return false };
        self.sched.charge(class, bytes.len());
        self.push_encoded(bytes);
        if let Some(tag) = tag {
            self.in_transit.push_back((self.made, service, tag));
        }
        true
    }

    fn put_fack(&mut self, out: &mut Vec<u8>) {
        self.fack_now = false;
        self.fack_at = None;
        self.unfacked_bytes = 0;
        if self.facked != self.received {
            self.facked = self.received;
            Frame::Fack { frames: self.received }.encode(out);
        }
    }

    /// When an acknowledgement is due, if the link has room for it.
    pub(crate) fn fack_deadline(&self) -> Option<u64> {
        self.fack_at
    }

    /// When the oldest datagram has waited too long.
    pub(crate) fn datagram_deadline(&self) -> Option<u64> {
        self.datagrams.front().map(|d| d.since + self.limits.datagram_age + 1)
    }

    /// Gives up: the tags of everything that was not acknowledged.
    pub(crate) fn drain(&mut self) -> Vec<u64> {
        let mut tags: Vec<u64> = self.in_transit.drain(..).map(|(_, _, tag)| tag).collect();
        for c in &mut self.channels {
            tags.extend(c.send.drain());
        }
        tags.extend(self.datagrams.drain(..).map(|d| d.tag));
        self.datagram_bytes = 0;
        tags
    }
}

#[cfg(test)]
mod tests;
