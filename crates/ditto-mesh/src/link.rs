//! One link: its TLS channel, what arrived and is not yet parsed, what is on the way out, and its liveness.

use crate::config::Limits;
use crate::dial::Origin;
use crate::frame::Frame;
use crate::hello::Hello;
use crate::peer_key::PeerKey;
use crate::rate::Rate;
use crate::rope::Rope;
use crate::tls::{SecureChannel, TlsError};
use crate::transport::{DialTarget, LinkId, LinkKind, Role};

/// Unanswered PINGs after which a link is dead.
const MAX_MISSED: u8 = 2;

/// Silence that is too long for a link with a standby, beside twice its round trip.
const SUSPECT_MS: u64 = 1_000;

/// Taken for the round trip of a link that has answered no PING yet.
const UNMEASURED_RTT_MS: u64 = 1_000;

/// Least time that a link has to answer after the network has changed.
const VERIFY_MS: u64 = 3_000;

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The transport is opening it.
    Dialing,
    /// TLS and HELLO.
    Greeting,
    /// Both HELLOs are verified, as far as this side can know.
    Ready,
}

/// What the ping timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    Fine,
    Ping,
    Dead,
}

pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) kind: LinkKind,
    pub(crate) role: Role,
    pub(crate) remote: String,
    /// Why we dialled it, and where.
    pub(crate) origin: Option<Origin>,
    pub(crate) target: Option<DialTarget>,
    pub(crate) phase: Phase,
    pub(crate) channel: Option<SecureChannel>,
    /// Proven by TLS; admitted only when ready.
    pub(crate) peer: Option<PeerKey>,
    /// What the peer said, once ready.
    pub(crate) hello: Option<Box<Hello>>,
    /// We have sent HELLO.
    pub(crate) said_hello: bool,
    /// End of the present phase. In `Ready`, only while the link has not carried the session.
    pub(crate) deadline: Option<u64>,
    /// Decrypted and not yet parsed: less than a frame or greeting between calls.
    pub(crate) plain: Vec<u8>,
    /// Bytes received before it was ready.
    pub(crate) unauthenticated: usize,
    /// Frames of the link itself, sent before those of the session.
    pub(crate) control: Vec<u8>,
    /// Bytes given to the transport and not yet written.
    in_flight: usize,
    /// A HELLO that waits for the app's decision.
    pub(crate) asked: Option<Box<Hello>>,
    /// Beginning of the present phase.
    pub(crate) since: u64,
    /// The last PING that has no answer: its nonce and when it was sent.
    probe: Option<(u64, u64)>,
    /// Round trip in milliseconds, and the peer's wall clock minus ours, as of the last PONG.
    pub(crate) measured: Option<(u64, i64)>,
    rate: Rate,
    ping_at: u64,
    /// When it is dead unless something is heard before: the network has changed.
    verify_by: Option<u64>,
    last_rx: u64,
    missed: u8,
}

impl Link {
    /// A link that the transport is opening.
    pub(crate) fn dialing(id: LinkId, origin: Origin, target: DialTarget, deadline: u64) -> Self {
        let remote = target.to_string();
        Self {
            remote,
            origin: Some(origin),
            target: Some(target),
            deadline: Some(deadline),
            ..Self::accepted(id, Role::Dialer)
        }
    }

    /// A link of which nothing is known yet.
    pub(crate) fn accepted(id: LinkId, role: Role) -> Self {
        Self {
            id,
            kind: LinkKind::AccessPoint,
            role,
            remote: String::new(),
            origin: None,
            target: None,
            phase: Phase::Dialing,
            channel: None,
            peer: None,
            hello: None,
            deadline: None,
            said_hello: false,
            plain: Vec::new(),
            unauthenticated: 0,
            control: Vec::new(),
            in_flight: 0,
            asked: None,
            since: 0,
            probe: None,
            measured: None,
            rate: Rate::default(),
            ping_at: u64::MAX,
            verify_by: None,
            last_rx: 0,
            missed: 0,
        }
    }

    /// The transport has opened it.
    pub(crate) fn open(&mut self, kind: LinkKind, remote: String, channel: SecureChannel, deadline: u64) {
        self.kind = kind;
        self.remote = remote;
        self.channel = Some(channel);
        self.phase = Phase::Greeting;
        self.deadline = Some(deadline);
    }

    /// HELLO was verified; pings begin.
    pub(crate) fn ready(&mut self, hello: Box<Hello>, now: u64, limits: &Limits) {
        self.hello = Some(hello);
        self.phase = Phase::Ready;
        self.deadline = Some(now + limits.handshake_timeout);
        self.since = now;
        self.last_rx = now;
        self.ping_at = now + limits.ping_interval;
    }

    /// Bytes that may still be given to the transport.
    pub(crate) fn room(&self, limits: &Limits) -> usize {
        self.rate.in_flight(self.kind, limits).saturating_sub(self.in_flight)
    }

    /// Size of frames that suits the link.
    pub(crate) fn frame(&self, limits: &Limits) -> usize {
        self.rate.frame(self.kind, limits)
    }

    pub(crate) fn written(&mut self, bytes: usize, now: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.rate.taken(bytes, self.in_flight > 0, now);
    }

    /// Encrypts plaintext for the next [`Link::take_output`].
    pub(crate) fn send(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        match &mut self.channel {
            Some(c) if !plain.is_empty() => c.send(plain),
            _ => Ok(()),
        }
    }

    /// The same for plaintext in pieces.
    pub(crate) fn send_rope(&mut self, plain: &Rope) -> Result<(), TlsError> {
        self.channel.as_mut().map_or(Ok(()), |c| c.send_rope(plain))
    }

    /// Ciphertext for the transport, counted as in flight.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let out = self.channel.as_mut().map(SecureChannel::take_output).unwrap_or_default();
        self.in_flight += out.len();
        out
    }

    /// Queues a frame of the link itself.
    pub(crate) fn push_control(&mut self, frame: Frame<'_>) {
        frame.encode(&mut self.control);
    }

    /// Asks for a sign of life, which also measures the link.
    pub(crate) fn ping(&mut self, nonce: u64, now: u64) {
        self.probe = Some((nonce, now));
        self.push_control(Frame::Ping { nonce });
    }

    /// The answer to a PING. `their_wall` is the peer's clock when it answered, about half a round trip ago.
    pub(crate) fn pong(&mut self, nonce: u64, their_wall: u64, now: u64, wall: u64) {
        if let Some((_, sent)) = self.probe.take_if(|(n, _)| *n == nonce) {
            let rtt = now.saturating_sub(sent);
            let ours = i128::from(wall) - i128::from(rtt / 2);
            let offset = i128::from(their_wall) - ours;
            self.measured = i64::try_from(offset).ok().map(|offset| (rtt, offset));
        }
    }

    /// When silence makes the link suspect: nothing in twice the round trip and a second after a PING. None when no
    /// answer is due.
    pub(crate) fn suspect_at(&self) -> Option<u64> {
        let (_, sent) = self.probe?;
        let rtt = self.measured.map_or(UNMEASURED_RTT_MS, |(rtt, _)| rtt);
        Some(sent.max(self.last_rx).saturating_add(2 * rtt + SUSPECT_MS))
    }

    /// When the PING went out that has no answer.
    pub(crate) fn probed_at(&self) -> Option<u64> {
        self.probe.map(|(_, sent)| sent)
    }

    /// When a PING is due because nothing is heard while an answer to data is.
    pub(crate) fn probe_at(&self) -> u64 {
        self.last_rx + SUSPECT_MS
    }

    pub(crate) fn heard(&mut self, now: u64) {
        self.last_rx = now;
        self.missed = 0;
        self.verify_by = None;
    }

    /// The network has changed: what does not answer soon has lost its way, of which a socket would hear nothing.
    pub(crate) fn verify(&mut self, nonce: u64, now: u64) {
        self.ping(nonce, now);
        let rtt = self.measured.map_or(UNMEASURED_RTT_MS, |(rtt, _)| rtt);
        self.verify_by = Some(now + VERIFY_MS.max(2 * rtt + SUSPECT_MS));
    }

    /// What the silence of the link asks for now.
    pub(crate) fn liveness(&mut self, now: u64, interval: u64) -> Liveness {
        if self.verify_by.is_some_and(|at| at <= now) {
            return Liveness::Dead;
        }
        if self.phase != Phase::Ready || now < self.ping_at {
            return Liveness::Fine;
        }
        if self.last_rx + interval > now {
            self.ping_at = self.last_rx + interval;
            return Liveness::Fine;
        }
        if self.missed >= MAX_MISSED {
            return Liveness::Dead;
        }
        self.missed += 1;
        // From now, not from the last deadline: after a suspended process the peer gets its time to answer.
        self.ping_at = now + interval;
        Liveness::Ping
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let ping = (self.phase == Phase::Ready).then_some(self.ping_at);
        self.deadline.into_iter().chain(ping).chain(self.verify_by).min()
    }
}
