//! How fast a link takes bytes, measured while it has more to take than it can.
//!
//! What is given to a link and not yet on air cannot be overtaken any more, so it is kept to what leaves within 50 ms, in
//! frames of 20 ms. A new link begins with little and gets twice as much whenever it has taken all in time.

use crate::config::Limits;
use crate::transport::LinkKind;

/// Time over which one sample is taken.
const SAMPLE_MS: u64 = 20;

/// What may wait in the transport, as time on the link.
const WAITING_MS: u64 = 50;

/// What one frame may take on the link.
const FRAME_MS: u64 = 20;

/// Smallest frames and least bytes under way, however slow the link.
const MIN_FRAME: usize = 512;

/// Bytes under way on a link of which nothing is known.
const START: usize = 32 << 10;

#[derive(Debug)]
pub(crate) struct Rate {
    /// Bytes per second, smoothed; none until the link was once busy for a sample.
    per_second: Option<u64>,
    /// What may be under way until then.
    start: usize,
    /// Begin of the present sample, bytes taken since, and whether the link had nothing to take meanwhile.
    since: u64,
    bytes: u64,
    dry: bool,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: None, start: START, since: 0, bytes: 0, dry: true }
    }
}

impl Rate {
    /// The link has taken bytes; `busy` if it still has some.
    pub(crate) fn taken(&mut self, bytes: usize, busy: bool, now: u64) {
        self.bytes += bytes as u64;
        self.dry |= !busy;
        let elapsed = now.saturating_sub(self.since);
        if !busy && elapsed < WAITING_MS {
            self.start = self.start.saturating_mul(2);
        }
        if elapsed < SAMPLE_MS {
            return;
        }
        let sample = self.bytes.saturating_mul(1000) / elapsed;
        match self.per_second {
            // A link that has run dry may be faster than it was asked to be, but not slower.
            Some(old) if !self.dry || sample > old => self.per_second = Some((3 * old + sample) / 4),
            None if !self.dry => self.per_second = Some(sample),
            _ => {}
        }
        (self.since, self.bytes, self.dry) = (now, 0, !busy);
    }

    fn bytes_in(&self, ms: u64) -> Option<usize> {
        self.per_second.map(|r| usize::try_from(r.saturating_mul(ms) / 1000).unwrap_or(usize::MAX))
    }

    /// Bytes that may be under way at once.
    pub(crate) fn in_flight(&self, kind: LinkKind, limits: &Limits) -> usize {
        let most = limits.in_flight_for(kind);
        self.bytes_in(WAITING_MS).map_or(self.start.min(most), |n| n.clamp((2 * MIN_FRAME).min(most), most))
    }

    /// Size of the frames to make.
    pub(crate) fn frame(&self, kind: LinkKind, limits: &Limits) -> usize {
        let most = limits.frame_for(kind);
        self.bytes_in(FRAME_MS).map_or(most, |n| n.clamp(MIN_FRAME.min(most), most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of `rate` bytes per ms that is kept as full as allowed for a second.
    fn run(r: &mut Rate, rate: usize, start: u64) -> usize {
        let (limits, mut waiting, mut peak) = (Limits::default(), 0usize, 0);
        for ms in 0..4000 {
            let room = r.in_flight(LinkKind::AccessPoint, &limits).saturating_sub(waiting);
            waiting += room;
            let n = rate.min(waiting);
            waiting -= n;
            r.taken(n, waiting > 0, start + ms);
            if ms > 3500 {
                peak = peak.max(waiting);
            }
        }
        peak
    }

    #[test]
    fn what_waits_follows_the_link() {
        let (mut r, limits) = (Rate::default(), Limits::default());
        assert_eq!(r.in_flight(LinkKind::AccessPoint, &limits), 32 << 10);
        // 20 kB/s: 1 KiB under way in frames of 512 bytes.
        let peak = run(&mut r, 20, 1000);
        assert!(peak <= 1200, "{peak}");
        assert_eq!(r.frame(LinkKind::AccessPoint, &limits), 512);
        // 2 MB/s: 100 kB under way in frames of 16 KiB.
        let peak = run(&mut r, 2000, 10_000);
        assert!((60_000..=110_000).contains(&peak), "{peak}");
        assert_eq!(r.frame(LinkKind::AccessPoint, &limits), 16 << 10);
        // Faster than the limit of the class.
        let peak = run(&mut r, 50_000, 20_000);
        assert!(peak <= 256 << 10);
        assert_eq!(r.in_flight(LinkKind::AccessPoint, &limits), 256 << 10);
    }

    #[test]
    fn a_link_that_is_not_busy_is_not_taken_for_slow() {
        let (mut r, limits) = (Rate::default(), Limits::default());
        for s in 0..100 {
            r.taken(0, true, s * 1000);
            r.taken(40, false, s * 1000 + 900);
        }
        assert_eq!(r.in_flight(LinkKind::WebSocket, &limits), 32 << 10);
        // One that takes all at once gets more and more.
        for s in 200..210 {
            r.taken(0, true, s * 1000);
            r.taken(30_000, false, s * 1000);
        }
        assert_eq!(r.in_flight(LinkKind::WebSocket, &limits), 256 << 10);
    }
}
