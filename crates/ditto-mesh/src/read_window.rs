//! How much may wait for a reader.

use crate::channel::MESSAGE_COST;
use crate::config::Limits;

/// How much of a circuit may wait for whoever reads it: little at first, and more for one that reads. So streams that nobody
/// reads cost little however many a peer opens, and one that is read is not stopped for each message.
///
/// The circuit has one. Whoever takes its messages may keep one beside it to know when the other end waits for news: it has to
/// report what was taken at the latest when it has cost [`ReadWindow::report_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadWindow {
    size: u64,
    most: u64,
    /// Taken since it has grown.
    taken: u64,
}

impl ReadWindow {
    /// What a message costs beside its bytes.
    pub const MESSAGE_COST: u64 = MESSAGE_COST;

    /// That of a circuit.
    pub fn of_circuit(limits: &Limits) -> Self {
        Self::new(limits.circuit_stream_window.into(), limits.circuit_stream_window_max.into())
    }

    pub(crate) fn new(size: u64, most: u64) -> Self {
        Self { size, most: most.max(size), taken: 0 }
    }

    pub(crate) fn fixed(size: u64) -> Self {
        Self::new(size, size)
    }

    /// Its bytes now, the cost of messages included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The cost of what was taken that has to be reported: a quarter, so that the other end, which is told of half a window
    /// or more, never waits for a report that does not come.
    pub fn report_at(&self) -> u64 {
        self.size / 4
    }

    /// The reader has reported so many bytes as taken.
    pub fn taken(&mut self, bytes: u64) {
        if self.size == self.most {
            return;
        }
        self.taken = self.taken.saturating_add(bytes);
        while self.size < self.most && self.taken >= self.size {
            self.taken -= self.size;
            self.size = self.most.min(self.size.saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_for_each_window_that_was_read() {
        let mut w = ReadWindow::new(100, 500);
        let mut sizes = Vec::new();
        for _ in 0..16 {
            w.taken(50);
            sizes.push(w.size());
        }
        assert_eq!(sizes[..6], [100, 200, 200, 200, 200, 400]);
        assert_eq!(sizes[6..], [400, 400, 400, 400, 400, 400, 400, 500, 500, 500]);
        w.taken(u64::MAX);
        assert_eq!((w.size(), w.report_at()), (500, 125));
        let mut w = ReadWindow::new(100, 1_000);
        w.taken(u64::MAX);
        assert_eq!(w.size(), 1_000, "at once");
    }

    #[test]
    fn one_of_a_fixed_size_stays_as_it_is() {
        let mut w = ReadWindow::fixed(100);
        w.taken(1_000);
        assert_eq!(w, ReadWindow::fixed(100));
    }
}
