//! How much of a stream may be on its way.

use crate::api::BusConfig;

/// Small messages cost more than their bytes: at most one for each of so many bytes of the window.
const BYTES_PER_MESSAGE: usize = 64;

/// Counts the accepted messages of a stream that are not settled: not acknowledged, or not on the link if unreliable.
///
/// The machine has one of each stream. An app's side may keep its own beside it, which takes before
/// [`crate::Input::Enqueue`] and gives back at [`crate::Action::Settled`]: what has room there has room in the machine,
/// so nobody has to wait for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendWindow {
    limit: usize,
    messages: usize,
    bytes: usize,
}

impl SendWindow {
    /// An empty one.
    pub fn new(config: &BusConfig) -> Self {
        Self { limit: config.stream_window, messages: 0, bytes: 0 }
    }

    /// Whether so many messages of so many bytes may be accepted now. What is larger than the window goes alone.
    pub fn has_room(&self, messages: usize, bytes: usize) -> bool {
        self.messages == 0
            || self.bytes + bytes <= self.limit && self.messages + messages <= self.limit / BYTES_PER_MESSAGE
    }

    /// Whether at least half is free, or nothing is on its way: when it pays to wake whoever waits for room.
    pub fn is_roomy(&self) -> bool {
        let (messages, bytes) = (self.limit / BYTES_PER_MESSAGE / 2, self.limit / 2);
        self.messages == 0 || self.messages <= messages && self.bytes <= bytes
    }

    /// Accepts messages.
    pub fn take(&mut self, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// Messages are settled.
    pub fn give(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Messages that are not settled.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_messages_are_bounded_and_a_large_message_goes_alone() {
        let mut w = SendWindow::new(&BusConfig { stream_window: 1_280, ..BusConfig::default() });
        assert!(w.has_room(1, 1 << 20));
        w.take(1, 1 << 20);
        assert!(!w.has_room(1, 0));
        w.give(1, 1 << 20);
        for _ in 0..20 {
            assert!(w.has_room(1, 0));
            w.take(1, 0);
        }
        assert!(!w.has_room(1, 0), "one message for each 64 bytes");
        w.give(9, 0);
        assert!(!w.is_roomy() && w.has_room(1, 0));
        w.give(1, 0);
        assert!(w.is_roomy());
        assert!(w.has_room(10, 0) && !w.has_room(11, 0), "several count as several");
        w.take(1, 1_280);
        assert!(!w.has_room(1, 1) && w.has_room(1, 0));
        assert_eq!((w.messages(), w.bytes()), (11, 1_280));
    }
}
