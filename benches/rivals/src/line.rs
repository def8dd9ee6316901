//! What zenoh and ZeroMQ have in common here: whole messages, both ways, to one other process.

use crate::Outcome;

pub(crate) trait Line {
    /// `alone`: nothing follows soon, so it leaves at once.
    fn send(&mut self, message: &[u8], alone: bool) -> Outcome<()>;

    /// Waits for the next message.
    fn receive(&mut self) -> Outcome<Vec<u8>>;
}
