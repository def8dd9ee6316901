//! One end of a circuit: the session inside it, and where the search for a route stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::conn::Conn;
use super::route::Avoid;
use super::switch::LegId;
use super::wire::{Code, Greeting};
use super::{CircuitEnd, CircuitId};
use crate::config::Limits;
use crate::frame::Frame;
use crate::peer_key::PeerKey;
use crate::rope::Rope;
use crate::session::{Delivery, Service, Session, Violation};

/// Largest frame inside a circuit.
const FRAME: usize = 16 << 10;

/// How long what has just failed is avoided: a peer that does not relay, and a connection that may come back.
const AVOID_PEER_MS: u64 = 10_000;
const AVOID_EDGE_MS: u64 = 2_000;

/// Delays between searches for a route.
const RETRY_FIRST_MS: u64 = 250;
const RETRY_MAX_MS: u64 = 2_000;

/// How long the other end has to answer a ping.
const PONG_MS: u64 = 5_000;

/// How much longer the target waits than the opener, who looks for the route.
const TARGET_GRACE_MS: u64 = 5_000;

/// A ping interval is shortened to this while something is not acknowledged.
const BUSY_PING_MS: u64 = 5_000;

pub(super) struct Stream {
    pub(super) id: CircuitId,
    pub(super) peer: PeerKey,
    /// Name of the stream at both ends.
    pub(super) key: [u8; 16],
    pub(super) purpose: u8,
    pub(super) session: Session,
    /// The present route: its first leg, its security once the target has agreed, and for the opener its peers.
    pub(super) leg: Option<LegId>,
    pub(super) conn: Option<Conn>,
    pub(super) route: Vec<PeerKey>,
    /// Both ends have greeted, on this route or an earlier one.
    pub(super) established: bool,
    /// When to give up, while there is no route.
    pub(super) give_up: Option<u64>,
    /// When to give up this attempt.
    pub(super) attempt_until: Option<u64>,
    /// When to look for a route; of the opener only.
    pub(super) retry_at: Option<u64>,
    tries: u32,
    avoid: BTreeMap<Avoid, u64>,
    /// Why the last attempt failed.
    pub(super) last_end: CircuitEnd,
    /// Our app has closed it with this code, and waits until then for the last acknowledgement.
    pub(super) closing: Option<(u32, u64)>,
    reset_sent: bool,
    /// The app knows that it has ended; kept until then for the other end's sake.
    pub(super) linger: Option<u64>,
    /// Datagrams that are not answered.
    pub(super) datagrams: VecDeque<u64>,
    last_rx: u64,
    pinged: Option<u64>,
    /// The hop knows that there is something to send, and will ask for it when it may leave.
    pub(super) noted: bool,
}

impl Stream {
    pub(super) fn new(
        id: CircuitId,
        peer: PeerKey,
        key: [u8; 16],
        purpose: u8,
        limits: &Limits,
        now: u64,
    ) -> Self {
        let limits = Limits {
            window: limits.circuit_stream_window,
            max_unacknowledged: 2 * limits.circuit_stream_window_max as usize,
            ..limits.clone()
        };
        let mut name = [0; 8];
        name.copy_from_slice(&key[..8]);
        Self {
            id,
            peer,
            key,
            purpose,
            session: Session::new(name, Service::CIRCUIT, !id.is_incoming(), &limits, FRAME, 0),
            leg: None,
            conn: None,
            route: Vec::new(),
            established: false,
            give_up: None,
            attempt_until: None,
            retry_at: None,
            tries: 0,
            avoid: BTreeMap::new(),
            last_end: CircuitEnd::Lost,
            closing: None,
            reset_sent: false,
            linger: None,
            datagrams: VecDeque::new(),
            last_rx: now,
            pinged: None,
            noted: false,
        }
    }

    /// Whether the app has heard the last of it.
    pub(super) fn is_told(&self) -> bool {
        self.linger.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.conn.as_ref().is_some_and(Conn::is_up)
    }

    pub(super) fn greeting(&self, limits: &Limits) -> Greeting {
        Greeting {
            resume: self.established,
            stream: self.key,
            purpose: self.purpose,
            window: limits.circuit_stream_window as usize,
            frames: self.session.received(),
            proof: None,
        }
    }

    /// The other end has greeted on a new route. Says whether it may; `out` is what its count acknowledges.
    pub(super) fn resume(&mut self, greeting: &Greeting, now: u64, out: &mut Vec<Delivery>) -> bool {
        if greeting.stream != self.key || !self.session.resume(greeting.frames, out) {
            return false;
        }
        let opener = !self.id.is_incoming();
        if opener && !self.established && !self.session.add_credit(Service::Stream, greeting.window as u64) {
            return false;
        }
        self.established = true;
        (self.give_up, self.attempt_until, self.retry_at, self.tries) = (None, None, None, 0);
        self.avoid.clear();
        self.heard(now);
        true
    }

    pub(super) fn heard(&mut self, now: u64) {
        self.last_rx = now;
        self.pinged = None;
    }

    /// Reads the frames that have arrived.
    pub(super) fn read(&mut self, now: u64, out: &mut Vec<Delivery>) -> Result<(), Violation> {
        let Some(conn) = self.conn.as_mut().filter(|c| c.is_up()) else { return Ok(()) };
        let (mut plain, fresh) = (std::mem::take(&mut conn.plain), std::mem::take(&mut conn.fresh));
        let at = self.read_frames(&plain, now, out)?;
        plain.drain(..at);
        // Nothing comes apart from what it continues.
        let at = if plain.is_empty() { self.read_frames(&fresh, now, out)? } else { 0 };
        plain.extend_from_slice(&fresh[at..]);
        if let Some(conn) = self.conn.as_mut() {
            conn.plain = plain;
        }
        Ok(())
    }

    /// Reads the whole frames in `bytes`; how many bytes they were.
    fn read_frames(&mut self, bytes: &[u8], now: u64, out: &mut Vec<Delivery>) -> Result<usize, Violation> {
        let mut at = 0;
        while let Some((frame, used)) =
            Frame::decode(&bytes[at..], FRAME).map_err(|e| Violation(format!("circuit: {e}")))?
        {
            at += used;
            match (frame, self.conn.as_mut()) {
                (Frame::Ping { nonce }, Some(conn)) => conn.pong = Some(nonce),
                (frame, _) => self.session.on_frame(frame, now, out)?,
            }
        }
        Ok(at)
    }

    /// Bytes for the first hop, about `budget`.
    pub(super) fn pull(&mut self, budget: usize, now: u64) -> Rope {
        self.noted = false;
        let Some(conn) = self.conn.as_mut() else { return Rope::default() };
        let out = conn.take_output();
        if !out.is_empty() || !conn.is_up() {
            return out;
        }
        let mut plain = Rope::default();
        if let Some(nonce) = conn.pong.take() {
            plain.write(|out| Frame::Pong { nonce, wall_ms: 0 }.encode(out));
        }
        if let Some(nonce) = conn.ping.take() {
            plain.write(|out| Frame::Ping { nonce }.encode(out));
        }
        // Frames are numbered, so the end comes after all that was queued before.
        if let Some((code, _)) = self.closing
            && !self.reset_sent
            && self.session.queued(Service::Stream) == 0
            && self.session.is_open(Service::Stream)
        {
            self.reset_sent = true;
            self.session.close(Service::Stream, code.into());
        }
        // There are no datagrams in this session, so nothing to report of them.
        let budget = budget.saturating_sub(conn.overhead()).clamp(512, FRAME);
        self.session.fill(now, budget, FRAME, &mut plain, &mut Vec::new());
        match conn.send(plain) {
            Ok(()) => conn.take_output(),
            // The channel has failed before, and the route is being given up.
            Err(_) => Rope::default(),
        }
    }

    /// Whether everything is said and acknowledged, the end included.
    pub(super) fn is_finished(&self) -> bool {
        self.reset_sent && self.session.is_settled()
    }

    /// The route is gone.
    pub(super) fn lost(&mut self, limits: &Limits, now: u64) {
        (self.leg, self.conn, self.attempt_until, self.pinged) = (None, None, None, None);
        self.noted = false;
        if self.id.is_incoming() {
            self.give_up.get_or_insert(now + limits.circuit_patience + TARGET_GRACE_MS);
        } else {
            self.give_up.get_or_insert(now + limits.circuit_patience);
            self.retry_later(now);
        }
    }

    /// The first search after a failure is at once, because it avoids what has failed.
    pub(super) fn retry_later(&mut self, now: u64) {
        let delay = match self.tries {
            0 => 0,
            n => (RETRY_FIRST_MS << (n - 1).min(8)).min(RETRY_MAX_MS),
        };
        self.tries = self.tries.saturating_add(1);
        self.retry_at = Some(now + delay);
    }

    /// What searches have to avoid now.
    pub(super) fn avoided(&mut self, now: u64) -> BTreeSet<Avoid> {
        self.avoid.retain(|_, until| *until > now);
        self.avoid.keys().copied().collect()
    }

    /// Learns from a route that failed: who said so, by its place in it, and why.
    pub(super) fn blame(&mut self, code: Code, at: usize, now: u64) {
        let (peer, next) = (self.route.get(at).copied(), self.route.get(at + 1).copied());
        self.last_end = match code {
            Code::NoRoute => CircuitEnd::NoRoute,
            Code::Refused => CircuitEnd::Refused,
            Code::Capacity => CircuitEnd::Capacity,
            Code::Untrusted => CircuitEnd::Untrusted,
            Code::Done | Code::Lost | Code::Timeout | Code::UnknownStream | Code::Other(_) => {
                CircuitEnd::Lost
            }
        };
        match (code, peer, next) {
            (Code::Refused | Code::Capacity, Some(peer), _) => {
                self.avoid.insert(Avoid::Peer(peer), now + AVOID_PEER_MS);
            }
            (Code::Untrusted, ..) => self.blame_relays(now),
            (Code::NoRoute | Code::Lost | Code::Timeout, Some(a), Some(b)) => {
                self.avoid.insert(Avoid::Edge(a, b), now + AVOID_EDGE_MS);
            }
            _ => {}
        }
    }

    /// Somebody on the route is at fault, and nobody knows who.
    pub(super) fn blame_relays(&mut self, now: u64) {
        let relays = self.route.len().saturating_sub(1);
        for peer in self.route.iter().take(relays).skip(1) {
            self.avoid.insert(Avoid::Peer(*peer), now + AVOID_PEER_MS);
        }
    }

    fn ping_interval(&self, limits: &Limits) -> u64 {
        if self.session.is_settled() {
            limits.circuit_ping_interval
        } else {
            limits.circuit_ping_interval.min(BUSY_PING_MS)
        }
    }

    /// When silence asks for something.
    fn silence_deadline(&self, limits: &Limits) -> Option<u64> {
        if !self.is_up() {
            return None;
        }
        let patience = 2 * limits.circuit_ping_interval + PONG_MS;
        Some(match (self.id.is_incoming(), self.pinged) {
            (true, _) => self.last_rx + patience,
            (false, None) => self.last_rx + self.ping_interval(limits),
            (false, Some(at)) => at + PONG_MS,
        })
    }

    /// Looks at silence: asks the other end, or says that the route is dead.
    pub(super) fn is_dead(&mut self, limits: &Limits, now: u64) -> bool {
        if self.silence_deadline(limits).is_none_or(|at| at > now) {
            return false;
        }
        if self.id.is_incoming() || self.pinged.is_some() {
            return true;
        }
        self.pinged = Some(now);
        if let Some(conn) = self.conn.as_mut() {
            conn.ping = Some(now);
        }
        false
    }

    pub(super) fn next_deadline(&self, limits: &Limits) -> Option<u64> {
        if let Some(at) = self.linger {
            return Some(at);
        }
        let closing = self.closing.map(|(_, at)| at);
        let fack = self.session.fack_deadline().filter(|_| self.is_up() && !self.noted);
        [self.give_up, self.attempt_until, self.retry_at, closing, fack, self.silence_deadline(limits)]
            .into_iter()
            .flatten()
            .min()
    }
}
