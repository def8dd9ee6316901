//! Hybrid logical clock (`design.md` 1.5; Kulkarni et al., "Logical Physical Clocks", OPODIS 2014).

use std::fmt;

/// A 64-bit hybrid timestamp: 48 bits of unix milliseconds, 16 bits of counter, compared as one integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

/// A stamp further in the future than this above the local floor is refused: 400 days in milliseconds.
pub const MAX_FUTURE_MS: u64 = 400 * 24 * 3600 * 1000;

impl Hlc {
    /// The timestamp before every write; INITIAL documents carry it.
    pub const ZERO: Hlc = Hlc(0);

    /// The first timestamp of a unix millisecond.
    pub fn from_ms(ms: u64) -> Self {
        Hlc(ms.min((1 << 48) - 1) << 16)
    }

    /// Unix milliseconds of the physical part.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Counter inside the millisecond.
    pub fn counter(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.counter())
    }
}

/// The clock of one store: monotonic over restarts because `last` is persisted with every commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// Resumes after `persisted`, the `last` of the newest commit on disk.
    pub fn new(persisted: Hlc) -> Self {
        Self { last: persisted }
    }

    /// The newest timestamp given out or seen.
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// A timestamp above every earlier one. When the counter is used up it carries into the milliseconds.
    pub fn now(&mut self, wall_ms: u64) -> Hlc {
        self.last = Hlc::from_ms(wall_ms).max(Hlc(self.last.0.saturating_add(1)));
        self.last
    }

    /// Notes a timestamp from elsewhere, so that the next local one is above it.
    pub fn see(&mut self, t: Hlc) {
        self.last = self.last.max(t);
    }

    /// Whether a timestamp from elsewhere is too far in the future to be merged (`design.md` 1.5, guard).
    ///
    /// `floor_ms` is the larger of the wall clock, the build time and the newest verified permit.
    pub fn is_too_far_ahead(t: Hlc, floor_ms: u64) -> bool {
        t.ms() > floor_ms.saturating_add(MAX_FUTURE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let mut c = HlcClock::default();
        let a = c.now(1000);
        let b = c.now(10);
        assert!(b > a);
        c.see(Hlc::from_ms(5000));
        assert!(c.now(1000) > Hlc::from_ms(5000));
        let mut restarted = HlcClock::new(c.last());
        assert!(restarted.now(0) > c.last());
    }

    #[test]
    fn ten_million_writes_in_one_millisecond() {
        let mut c = HlcClock::default();
        let mut last = c.now(7);
        for _ in 0..10_000_000 {
            let t = c.now(7);
            assert!(t > last);
            last = t;
        }
        assert_eq!(last.0 - Hlc::from_ms(7).0, 10_000_000);
    }

    #[test]
    fn guard_is_on_wall_time() {
        let floor = 1_000_000;
        assert!(!HlcClock::is_too_far_ahead(Hlc::from_ms(floor + MAX_FUTURE_MS), floor));
        assert!(HlcClock::is_too_far_ahead(Hlc::from_ms(floor + MAX_FUTURE_MS + 1), floor));
        let mut c = HlcClock::default();
        c.see(Hlc(u64::MAX));
        assert_eq!(c.now(0), Hlc(u64::MAX));
    }
}
