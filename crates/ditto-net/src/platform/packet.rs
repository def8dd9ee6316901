//! The packet layer: an ordered byte stream over a link that loses packets, as GATT writes and notifications do.
//!
//! Every packet begins with one byte:
//!
//! ```text
//! bit 7     control: the next byte says what it is
//! bit 6, 5  first, last packet of one piece of the stream; both set in control packets
//! bit 4, 3  0
//! bit 2-0   counter: of the packet itself, or in a control packet of the data packet that is expected next
//!
//! control   0 CONNECT {version, largest packet u16}   dialer, until it is answered
//!           1 CONFIRM {version, largest packet u16}   acceptor, for every CONNECT
//!           2 ACK                                     every third packet, and a moment after the last
//!           3 REPEAT                                  a packet is missing: send again from the counter on
//!           4 RESET {code}                            best effort, before the link is closed
//! ```
//!
//! At most [`WINDOW`] data packets are under way. What is not acknowledged in time is sent again, all of it in order, so
//! the receiver keeps nothing that it cannot deliver. The link under it keeps the order of what it does not lose; that
//! is why three bits tell every packet apart. A counter that cannot be, or a piece that begins inside another, means that
//! something else was lost, and ends the link.

use std::collections::VecDeque;

use ditto_mesh::transport::Role;

/// Data packets that may be under way.
pub const WINDOW: usize = 6;
/// Smallest packet that a link must take, in bytes: what every Bluetooth LE connection carries.
pub const MIN_PACKET: usize = 20;
/// Largest packet that is sent, in bytes.
pub const MAX_PACKET: usize = 512;

/// Packets that are acknowledged together.
const ACK_EVERY: u8 = 3;
/// How long the acknowledgement of the last packet waits for more of them, in milliseconds.
const ACK_DELAY: u64 = 40;
/// Shortest time between two REPEATs, in milliseconds.
const REPEAT_INTERVAL: u64 = 100;
/// Time between two CONNECTs, in milliseconds.
const CONNECT_INTERVAL: u64 = 250;
/// Time for CONNECT and CONFIRM, in milliseconds.
const HANDSHAKE_TIMEOUT: u64 = 5_000;
/// Bounds of the time after which packets are sent again, in milliseconds. The first guess is that of a slow link.
const RESEND_FIRST: u64 = 600;
const RESEND_MIN: u64 = 150;
const RESEND_MAX: u64 = 2_000;
/// Times that packets are sent again without any progress before the link is given up: some 20 s.
const MAX_RESENDS: u32 = 12;

const VERSION: u8 = 1;
const CONTROL: u8 = 0x80;
const FIRST: u8 = 0x40;
const LAST: u8 = 0x20;
const RESERVED: u8 = 0x18;
const COUNTER: u8 = 0x07;
const CONTROL_HEADER: u8 = CONTROL | FIRST | LAST;

const CONNECT: u8 = 0;
const CONFIRM: u8 = 1;
const ACK: u8 = 2;
const REPEAT: u8 = 3;
const RESET: u8 = 4;

/// Why a packet link is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The bytes are not this protocol.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The other side speaks another version.
    #[error("the other side speaks version {0} of the packet layer")]
    Version(u8),
    /// The other side has given up.
    #[error("reset by the other side with code {0}")]
    Reset(u8),
    /// Nothing was acknowledged for too long.
    #[error("packets are not acknowledged")]
    Unanswered,
    /// There was no CONNECT or no CONFIRM in time.
    #[error("the other side did not greet in time")]
    HandshakeTimeout,
}

impl PacketError {
    /// The code of a RESET.
    fn code(self) -> u8 {
        match self {
            PacketError::Malformed(_) => 1,
            PacketError::Version(_) => 2,
            PacketError::Reset(_) => 3,
            PacketError::Unanswered => 4,
            PacketError::HandshakeTimeout => 5,
        }
    }
}

struct Sent {
    packet: Vec<u8>,
    at: u64,
    /// Then its acknowledgement says nothing about the round trip.
    again: bool,
}

/// One end of a packet link. Pure: packets and the time, in milliseconds of any origin, go in; packets come out.
pub struct PacketLink {
    role: Role,
    open: bool,
    /// Largest packet that our radio sends.
    own_max: usize,
    /// Largest packet that both radios send, once open.
    max: usize,
    /// The handshake fails then.
    handshake_end: u64,
    connect_at: u64,
    confirm: bool,

    /// Pieces of the stream that are not yet in packets; `taken` bytes of the first one are.
    pieces: VecDeque<Vec<u8>>,
    taken: usize,
    waiting: usize,
    /// Not acknowledged, oldest first.
    window: VecDeque<Sent>,
    /// Counter of the oldest.
    base: u8,
    /// Index of the packet in the window that is sent next.
    next: usize,
    resend_at: u64,
    resend_after: u64,
    resends: u32,

    /// Counter of the packet that is expected next.
    expected: u8,
    unacknowledged: u8,
    ack_at: Option<u64>,
    repeat: bool,
    repeat_at: u64,
    inside: bool,
}

impl PacketLink {
    /// A link over a radio that takes packets of up to `max_write` bytes. The handshake time runs from `now`.
    pub fn new(role: Role, max_write: usize, now: u64) -> Self {
        let own_max = max_write.clamp(MIN_PACKET, MAX_PACKET);
        Self {
            role,
            open: false,
            own_max,
            max: own_max,
            handshake_end: now + HANDSHAKE_TIMEOUT,
            connect_at: now,
            confirm: false,
            pieces: VecDeque::new(),
            taken: 0,
            waiting: 0,
            window: VecDeque::new(),
            base: 0,
            next: 0,
            resend_at: 0,
            resend_after: RESEND_FIRST,
            resends: 0,
            expected: 0,
            unacknowledged: 0,
            ack_at: None,
            repeat: false,
            repeat_at: 0,
            inside: false,
        }
    }

    /// Whether both sides have greeted.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Bytes that [`PacketLink::push`] takes now: enough to keep the window full and no more.
    pub fn room(&self) -> usize {
        if self.open { (WINDOW * self.max).saturating_sub(self.waiting) } else { 0 }
    }

    /// Appends to the stream. The caller keeps to [`PacketLink::room`].
    pub fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.waiting += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// Whether the other side has everything that was pushed.
    pub fn is_flushed(&self) -> bool {
        self.waiting == 0 && self.window.is_empty()
    }

    /// Takes a packet and returns what it adds to the incoming stream.
    ///
    /// # Errors
    /// When the link cannot go on. The caller sends [`PacketLink::reset`] and closes it.
    pub fn receive(&mut self, packet: &[u8], now: u64) -> Result<Vec<u8>, PacketError> {
        let Some((&header, body)) = packet.split_first() else {
            return Err(PacketError::Malformed("no header"));
        };
        if header & RESERVED != 0 {
            return Err(PacketError::Malformed("reserved bits"));
        }
        if header & CONTROL != 0 {
            self.control(header & COUNTER, body, now)?;
            return Ok(Vec::new());
        }
        // Before the handshake is over for us it may be over for the other side. It will repeat.
        if !self.open {
            return Ok(Vec::new());
        }
        if header & COUNTER != self.expected {
            // Lost, or repeated because our acknowledgement was lost. Either way the other side should know.
            if now >= self.repeat_at {
                self.repeat = true;
            }
            return Ok(Vec::new());
        }
        if (header & FIRST != 0) == self.inside {
            return Err(PacketError::Malformed("a piece inside another"));
        }
        if body.is_empty() {
            return Err(PacketError::Malformed("empty packet"));
        }
        self.inside = header & LAST == 0;
        self.expected = (self.expected + 1) & COUNTER;
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        self.repeat = false;
        self.repeat_at = now;
        if self.unacknowledged >= ACK_EVERY {
            self.ack_at = Some(now);
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now + ACK_DELAY);
        }
        Ok(body.to_vec())
    }

    fn control(&mut self, counter: u8, body: &[u8], now: u64) -> Result<(), PacketError> {
        let (&kind, body) = body.split_first().ok_or(PacketError::Malformed("no control type"))?;
        match kind {
            CONNECT if self.role == Role::Acceptor => {
                self.agree(body)?;
                self.confirm = true;
                self.open = true;
            }
            // A second one answers a CONNECT that was sent again.
            CONFIRM if self.role == Role::Dialer && self.open => {}
            CONFIRM if self.role == Role::Dialer => {
                self.agree(body)?;
                self.open = true;
            }
            CONNECT | CONFIRM => return Err(PacketError::Malformed("greeting of the wrong side")),
            ACK | REPEAT if self.open => self.acknowledged(counter, kind == REPEAT, now)?,
            ACK | REPEAT => {}
            RESET => return Err(PacketError::Reset(body.first().copied().unwrap_or(0))),
            // Of a later release.
            _ => {}
        }
        Ok(())
    }

    fn agree(&mut self, body: &[u8]) -> Result<(), PacketError> {
        let &[version, high, low, ..] = body else {
            return Err(PacketError::Malformed("short greeting"));
        };
        if version != VERSION {
            return Err(PacketError::Version(version));
        }
        let theirs = usize::from(u16::from_be_bytes([high, low]));
        if theirs < MIN_PACKET {
            return Err(PacketError::Malformed("packets too small"));
        }
        // A greeting that comes again says the same; packets in the window keep their size.
        self.max = self.own_max.min(theirs);
        Ok(())
    }

    fn acknowledged(&mut self, counter: u8, repeat: bool, now: u64) -> Result<(), PacketError> {
        let count = usize::from(counter.wrapping_sub(self.base) & COUNTER);
        if count > self.window.len() {
            return Err(PacketError::Malformed("acknowledgement of what was not sent"));
        }
        let last = self.window.drain(..count).next_back();
        self.base = counter;
        self.next = self.next.saturating_sub(count);
        if let Some(last) = last {
            self.resends = 0;
            if !last.again {
                // Twice the round trip and the time that an acknowledgement may wait at the other side.
                let wanted = (now.saturating_sub(last.at) + ACK_DELAY) * 2;
                let smooth = (self.resend_after * 3 + wanted) / 4;
                self.resend_after = smooth.clamp(RESEND_MIN, RESEND_MAX);
            }
            self.resend_at = now + self.resend_after;
        }
        if repeat {
            self.go_back();
        }
        Ok(())
    }

    fn go_back(&mut self) {
        self.next = 0;
        for sent in &mut self.window {
            sent.again = true;
        }
    }

    /// The next packet to send, if any. The caller sends it before it asks again, and says with
    /// [`PacketLink::delayed`] when the radio made it wait.
    ///
    /// # Errors
    /// When the link cannot go on.
    pub fn poll(&mut self, now: u64) -> Result<Option<Vec<u8>>, PacketError> {
        if !self.open {
            if now >= self.handshake_end {
                return Err(PacketError::HandshakeTimeout);
            }
            if self.role == Role::Dialer && now >= self.connect_at {
                self.connect_at = now + CONNECT_INTERVAL;
                return Ok(Some(self.greeting(CONNECT)));
            }
            return Ok(None);
        }
        if std::mem::take(&mut self.confirm) {
            return Ok(Some(self.greeting(CONFIRM)));
        }
        let repeat = std::mem::take(&mut self.repeat);
        if repeat || self.ack_at.is_some_and(|at| now >= at) {
            self.ack_at = None;
            self.unacknowledged = 0;
            if repeat {
                self.repeat_at = now + REPEAT_INTERVAL;
            }
            let kind = if repeat { REPEAT } else { ACK };
            return Ok(Some(vec![CONTROL_HEADER | self.expected, kind]));
        }
        if self.next == self.window.len() && !self.window.is_empty() && now >= self.resend_at {
            if self.resends >= MAX_RESENDS {
                return Err(PacketError::Unanswered);
            }
            self.resends += 1;
            self.resend_after = (self.resend_after * 2).min(RESEND_MAX);
            self.go_back();
        }
        if self.next == self.window.len() && self.window.len() < WINDOW {
            self.make_packet(now);
        }
        let Some(sent) = self.window.get_mut(self.next) else {
            return Ok(None);
        };
        sent.at = now;
        self.next += 1;
        self.resend_at = now + self.resend_after;
        Ok(Some(sent.packet.clone()))
    }

    /// The radio took the last packet only now.
    pub fn delayed(&mut self, now: u64) {
        self.resend_at = now + self.resend_after;
        if let Some(sent) = self.next.checked_sub(1).and_then(|i| self.window.get_mut(i)) {
            sent.at = now;
        }
    }

    /// The last packet of a link that is given up.
    pub fn reset(error: PacketError) -> Vec<u8> {
        vec![CONTROL_HEADER, RESET, error.code()]
    }

    /// When [`PacketLink::poll`] has something to do that nothing but time brings about.
    pub fn deadline(&self) -> Option<u64> {
        if !self.open {
            let connect = (self.role == Role::Dialer).then_some(self.connect_at);
            return Some(self.handshake_end.min(connect.unwrap_or(u64::MAX)));
        }
        let resend = (self.next == self.window.len() && !self.window.is_empty()).then_some(self.resend_at);
        self.ack_at.into_iter().chain(resend).min()
    }

    fn greeting(&self, kind: u8) -> Vec<u8> {
        let [high, low] = u16::try_from(self.own_max).unwrap_or(u16::MAX).to_be_bytes();
        vec![CONTROL_HEADER, kind, VERSION, high, low]
    }

    /// Moves the next part of the stream into the window.
    fn make_packet(&mut self, now: u64) {
        let Some(piece) = self.pieces.front() else {
            return;
        };
        let end = piece.len().min(self.taken + self.max - 1);
        let (first, last) = (self.taken == 0, end == piece.len());
        let counter = (self.base + self.window.len() as u8) & COUNTER;
        let mut packet = Vec::with_capacity(1 + end - self.taken);
        packet.push(counter | if first { FIRST } else { 0 } | if last { LAST } else { 0 });
        packet.extend_from_slice(&piece[self.taken..end]);
        self.waiting -= end - self.taken;
        if last {
            self.pieces.pop_front();
            self.taken = 0;
        } else {
            self.taken = end;
        }
        self.window.push_back(Sent { packet, at: now, again: false });
    }
}

#[cfg(test)]
mod tests;
