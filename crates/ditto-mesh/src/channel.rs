//! One message channel: the queue and credit of the sending side, reassembly and window of the receiving side.
//!
//! Credit counts payload bytes plus [`MESSAGE_COST`] for each message, so that a flood of tiny messages is bounded as
//! well. Bytes of an incomplete message are granted again as they arrive, because a message may be larger than the
//! window; those of a complete one only after the app has consumed them. So a channel holds at most one message and
//! one window.

use std::collections::VecDeque;

use crate::read_window::ReadWindow;
use crate::rope::Rope;

/// Credit that a message costs beside its bytes.
pub(crate) const MESSAGE_COST: u64 = 32;

/// Least and most room that is made for a message of which the first frame has come. Between them it is as much as the one
/// before needed, so that large messages are not moved as they grow. The least holds 64 KiB with a head. It is no round number:
/// buffers that an allocator puts next to each other shall not begin a few bytes apart in their pages, as `REP MOVSB` of AMD
/// copies 20 times slower then (ADR 0032).
const MIN_ASSEMBLY: usize = (64 << 10) + 512;
const MAX_ASSEMBLY: usize = 1 << 20;

/// The sending side.
#[derive(Debug, Default)]
pub(crate) struct SendSide {
    /// What the receiver still allows.
    credit: u64,
    queue: VecDeque<Outgoing>,
    /// Bytes in `queue` that are not in frames.
    queued: usize,
    /// The last level reported to the app.
    reported: usize,
    /// Bytes queued since then, also those that have left again. The app counts them until it hears otherwise.
    since_report: usize,
}

#[derive(Debug)]
struct Outgoing {
    /// What is not in frames.
    bytes: Rope,
    /// Some of it is.
    begun: bool,
    tag: Option<u64>,
}

impl SendSide {
    pub(crate) fn push(&mut self, bytes: Rope, tag: Option<u64>) {
        self.queued += bytes.len();
        self.since_report += bytes.len();
        self.queue.push_back(Outgoing { bytes, begun: false, tag });
    }

    /// More credit from the receiver; `false` when the sum is absurd.
    pub(crate) fn add_credit(&mut self, bytes: u64) -> bool {
        match self.credit.checked_add(bytes) {
            Some(c) if c <= 1 << 40 => {
                self.credit = c;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether a frame could be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        self.queue.front().is_some_and(|m| self.credit > if m.begun { 0 } else { MESSAGE_COST })
    }

    /// Takes the next piece of at most `max` bytes from queue and credit. `head` begins its frame, told how long it is and
    /// whether it ends its message. With the end comes the tag.
    pub(crate) fn next(
        &mut self,
        max: usize,
        head: impl FnOnce(usize, bool) -> Rope,
    ) -> Option<(Rope, Option<u64>)> {
        let msg = self.queue.front_mut()?;
        let cost = if msg.begun { 0 } else { MESSAGE_COST };
        let allowed = usize::try_from(self.credit.checked_sub(cost)?).unwrap_or(usize::MAX);
        let n = max.min(allowed).min(msg.bytes.len());
        if n == 0 {
            return None;
        }
        self.credit -= cost + n as u64;
        self.queued -= n;
        msg.begun = true;
        let end = n == msg.bytes.len();
        let mut frame = head(n, end);
        msg.bytes.move_to(n, &mut frame);
        let tag = if end { self.queue.pop_front().and_then(|msg| msg.tag) } else { None };
        Some((frame, tag))
    }

    /// The level to report, if it differs noticeably from the last report.
    pub(crate) fn level_change(&mut self) -> Option<usize> {
        const STEP: usize = 32 << 10;
        let (now, last) = (self.queued, self.reported);
        let moved = now.abs_diff(last) >= STEP || (now == 0 && last != 0) || (last == 0 && now >= STEP / 2);
        // Many small messages that leave at once never move the level, and still must not add up at the app.
        let notable = moved || self.since_report >= STEP;
        notable.then(|| {
            self.reported = now;
            self.since_report = 0;
            now
        })
    }

    /// Empties the queue; the tags of the messages that did not leave completely.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.queued = 0;
        self.queue.drain(..).filter_map(|m| m.tag)
    }
}

/// The receiving side.
#[derive(Debug)]
pub(crate) struct RecvSide {
    window: ReadWindow,
    max_message: usize,
    /// Credit given and not used.
    left: u64,
    assembly: Vec<u8>,
    /// Length of the last message of several frames.
    usual: usize,
    in_message: bool,
    /// Cost of the messages delivered and not consumed.
    held: u64,
    /// Unconsumed bytes of each delivered message, oldest first.
    delivered: VecDeque<usize>,
}

/// How a sender broke the rules of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("sent more than its credit")]
    Overrun,
    #[error("sent a message larger than the limit")]
    TooLarge,
    #[error("sent an empty frame")]
    Empty,
}

impl RecvSide {
    /// `window` is what the sender may use before the first grant.
    pub(crate) fn new(window: u64, max_message: usize) -> Self {
        Self {
            window: ReadWindow::fixed(window),
            max_message,
            left: window,
            assembly: Vec::new(),
            usual: 0,
            in_message: false,
            held: 0,
            delivered: VecDeque::new(),
        }
    }

    /// With a larger window, of which the sender learns with the first grant.
    pub(crate) fn widened(self, window: u64) -> Self {
        Self { window: ReadWindow::fixed(window.max(self.window.size())), ..self }
    }

    /// With a window that grows up to this as the app reads.
    pub(crate) fn growing(self, most: u64) -> Self {
        Self { window: ReadWindow::new(self.window.size(), most), ..self }
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.in_message
    }

    /// Takes a frame; the message that it completes.
    pub(crate) fn on_data(&mut self, payload: &[u8], end: bool) -> Result<Option<Vec<u8>>, ChannelError> {
        if payload.is_empty() {
            return Err(ChannelError::Empty);
        }
        let cost = payload.len() as u64 + if self.in_message { 0 } else { MESSAGE_COST };
        self.left = self.left.checked_sub(cost).ok_or(ChannelError::Overrun)?;
        if self.assembly.len() + payload.len() > self.max_message {
            return Err(ChannelError::TooLarge);
        }
        self.in_message = !end;
        if !end {
            if self.assembly.is_empty() {
                self.assembly.reserve(self.usual.clamp(MIN_ASSEMBLY, MAX_ASSEMBLY).min(self.max_message));
            }
            self.assembly.extend_from_slice(payload);
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.assembly);
        if !message.is_empty() {
            self.usual = message.len() + payload.len();
        }
        message.extend_from_slice(payload);
        self.held += message.len() as u64 + MESSAGE_COST;
        self.delivered.push_back(message.len());
        Ok(Some(message))
    }

    /// The app is done with this many bytes of what it got, oldest first.
    pub(crate) fn consume(&mut self, mut bytes: usize) {
        self.window.taken(bytes as u64);
        while let Some(front) = self.delivered.front_mut() {
            let n = bytes.min(*front);
            *front -= n;
            bytes -= n;
            self.held -= n as u64;
            if *front > 0 {
                return;
            }
            self.held -= MESSAGE_COST;
            self.delivered.pop_front();
            if bytes == 0 {
                return;
            }
        }
    }

    /// Credit to grant now: nothing, or at least half a window.
    pub(crate) fn grant(&mut self) -> Option<u64> {
        let window = self.window.size();
        let target = window.saturating_sub(self.held);
        let more = target.checked_sub(self.left).filter(|m| *m > 0 && *m >= window / 2)?;
        self.left += more;
        Some(more)
    }

    /// Bytes held for the app and in the unfinished message.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.held as usize + self.assembly.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pipe(s: &mut SendSide, r: &mut RecvSide, frame: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let mut ends = false;
            while let Some((p, _)) = s.next(frame, |_, end| {
                ends = end;
                Rope::default()
            }) {
                out.extend(r.on_data(&p.to_vec(), ends).unwrap());
            }
            match r.grant() {
                Some(g) => assert!(s.add_credit(g)),
                None => return out,
            }
        }
    }

    proptest! {
        #[test]
        fn messages_arrive_in_order_whatever_the_sizes(
            sizes in proptest::collection::vec(1usize..3000, 1..40),
            frame in 10usize..600,
            window in 200u64..2000,
        ) {
            let mut s = SendSide::default();
            s.add_credit(window);
            let mut r = RecvSide::new(window, 4000);
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n]).collect();
            for (i, m) in sent.iter().enumerate() {
                s.push(m.clone().into(), Some(i as u64));
            }
            let mut got = Vec::new();
            let mut stalls = 0;
            while got.len() < sent.len() {
                let some = pipe(&mut s, &mut r, frame);
                prop_assert!(r.memory() <= window as usize + 4000 + 64);
                stalls = if some.is_empty() { stalls + 1 } else { 0 };
                prop_assert!(stalls < 3, "no progress after {} messages", got.len());
                // The app consumes in odd steps.
                for m in &some {
                    r.consume(m.len() / 2);
                    r.consume(m.len() - m.len() / 2);
                }
                got.extend(some);
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!(s.queued(), 0);
        }
    }

    #[test]
    fn a_receiver_that_does_not_consume_stops_the_sender() {
        let mut s = SendSide::default();
        s.add_credit(10_000);
        let mut r = RecvSide::new(10_000, 1 << 20);
        for _ in 0..1000 {
            s.push(vec![0; 100].into(), None);
        }
        let got = pipe(&mut s, &mut r, 500);
        assert_eq!(got.len(), 10_000 / 132);
        assert!(r.memory() <= 10_000);
        // Consuming half is needed before more is granted.
        r.consume(100 * 30);
        assert_eq!(r.grant(), None);
        r.consume(100 * 30);
        assert!(r.grant().is_some());
    }

    #[test]
    fn a_wider_window_is_granted_at_once_and_holds_several_messages() {
        let mut r = RecvSide::new(1_000, 1_000).widened(4_000);
        assert_eq!(r.grant(), Some(3_000));
        for _ in 0..3 {
            assert_eq!(r.on_data(&[0; 1_000], true), Ok(Some(vec![0; 1_000])));
        }
        assert_eq!(r.grant(), None, "nothing is consumed");
        r.consume(2_000);
        assert_eq!(r.grant(), Some(2 * (1_000 + MESSAGE_COST)));
        assert!(r.memory() <= 4_000);
    }

    #[test]
    fn small_messages_that_leave_at_once_are_reported_too() {
        let mut s = SendSide::default();
        s.add_credit(1 << 30);
        // What the app believes to be queued: what it gave, until a report says what is left.
        let (mut believed, mut most) = (0, 0);
        for _ in 0..10_000 {
            s.push(vec![0; 100].into(), None);
            believed += 100;
            while s.next(500, |_, _| Rope::default()).is_some() {}
            if let Some(level) = s.level_change() {
                believed = level;
            }
            most = most.max(believed);
        }
        assert!(most <= 33 << 10, "{most} bytes");
    }

    #[test]
    fn cheating_is_noticed() {
        let mut r = RecvSide::new(100, 80);
        assert_eq!(r.on_data(&[], false), Err(ChannelError::Empty));
        assert_eq!(r.on_data(&[0; 69], true), Err(ChannelError::Overrun));
        let mut r = RecvSide::new(1000, 80);
        assert_eq!(r.on_data(&[0; 50], false), Ok(None));
        assert_eq!(r.on_data(&[0; 31], true), Err(ChannelError::TooLarge));
        assert!(!SendSide::default().add_credit(u64::MAX));
    }
}
