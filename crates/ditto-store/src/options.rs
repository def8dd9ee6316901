//! How a store is opened, and where its time and randomness come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ditto_types::DatabaseId;

/// What a commit promises when the power fails. A killed process loses nothing in either mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// A power cut may lose the last moments but never corrupts. The store epoch changes then, so that sync stays
    /// correct.
    #[default]
    Normal,
    /// Every commit is on the disk before it is acknowledged.
    Full,
}

/// Source of the wall clock, in unix milliseconds.
pub trait WallClock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;

    /// Time since some fixed moment, which never goes back. Requests are measured with it.
    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    /// Something that changes with every start of the machine; empty where the system has no such thing. It tells a
    /// killed process, which loses nothing, from a power cut.
    fn boot_id(&self) -> Vec<u8> {
        if cfg!(any(target_os = "linux", target_os = "android")) {
            std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
        } else {
            Vec::new()
        }
    }
}

/// Source of random bytes for ids.
pub trait RandomSource: Send + Sync {
    /// Fills `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The random generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    /// # Panics
    ///
    /// When the operating system has no randomness to give: ids would collide, so there is no way on.
    fn fill(&self, out: &mut [u8]) {
        if let Err(e) = getrandom::fill(out) {
            panic!("the operating system gives no random bytes: {e}");
        }
    }
}

/// What [`crate::Store::open`] needs.
#[derive(Clone)]
pub struct StoreOptions {
    /// Directory of the store; created when it is missing. One store per directory.
    pub directory: PathBuf,
    /// The database that the store belongs to. Opening with another id is an error.
    pub database: DatabaseId,
    /// Promise of a commit.
    pub durability: Durability,
    /// Wall clock.
    pub clock: Arc<dyn WallClock>,
    /// Randomness.
    pub random: Arc<dyn RandomSource>,
    /// Gives the value of an environment variable; settings are read from it at open (dql.md 9).
    pub environment: Environment,
}

/// Looks an environment variable up.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl StoreOptions {
    /// Options with the default durability and the clock and randomness of the operating system.
    pub fn new(directory: impl Into<PathBuf>, database: DatabaseId) -> Self {
        Self {
            directory: directory.into(),
            database,
            durability: Durability::default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            environment: Arc::new(|name| std::env::var(name).ok()),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("directory", &self.directory)
            .field("database", &self.database)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// How a transaction is opened (API-114, API-115).
#[derive(Clone, Debug, Default)]
pub struct TransactionOptions {
    /// A read-only transaction sees one snapshot, runs beside others and refuses mutations.
    pub read_only: bool,
    /// Free text for logs.
    pub hint: Option<String>,
}
