//! Virtual time: one true time for the world, and a wall clock per peer that may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use ditto_store::{RandomSource, WallClock};
use ditto_testkit::Rng;
use std::sync::{Mutex, PoisonError};

/// Where time begins, in Unix milliseconds.
pub(crate) const START_MS: u64 = 1_790_000_000_000;

/// The wall clock of one peer, as its store reads it.
pub(crate) struct PeerClock {
    /// True time in Unix milliseconds, shared by all.
    truth: Arc<AtomicU64>,
    /// By how much it is wrong, in milliseconds.
    skew: AtomicI64,
    /// Number of the machine's start.
    boot: AtomicU64,
}

impl PeerClock {
    pub(crate) fn new(truth: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { truth, skew: AtomicI64::new(0), boot: AtomicU64::new(1) })
    }

    pub(crate) fn set_skew(&self, ms: i64) {
        self.skew.store(ms, SeqCst);
    }

    pub(crate) fn skew(&self) -> i64 {
        self.skew.load(SeqCst)
    }

    /// The machine starts again.
    pub(crate) fn reboot(&self) {
        self.boot.fetch_add(1, SeqCst);
    }
}

impl WallClock for PeerClock {
    fn now_ms(&self) -> u64 {
        self.truth.load(SeqCst).saturating_add_signed(self.skew())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.truth.load(SeqCst).saturating_sub(START_MS))
    }

    fn boot_id(&self) -> Vec<u8> {
        self.boot.load(SeqCst).to_le_bytes().to_vec()
    }
}

/// The randomness of one store.
pub(crate) struct PeerRandom(Mutex<Rng>);

impl PeerRandom {
    pub(crate) fn new(rng: Rng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(rng)))
    }
}

impl RandomSource for PeerRandom {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
    }
}
