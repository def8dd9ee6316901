//! Sizes, counts and times of the exchange of blobs. Times in milliseconds.

/// Largest message: a chunk, its proof and its head.
pub const MAX_BLOB_MESSAGE: usize = (256 << 10) + (2 << 10);

/// Values in the proof of a chunk: the levels of the largest blob's tree.
pub const MAX_PROOF: usize = 32;

/// Most chunks that are asked for on one line and have not come.
pub const MAX_WINDOW: usize = 8;

/// Chunks that are asked for on a line of unknown speed.
pub(crate) const FIRST_WINDOW: usize = 2;

/// A line has as many chunks under way as it carries in this time.
pub(crate) const WINDOW_MS: u64 = 1_500;

/// Blobs that arrive at the same time. More wait for their turn.
pub const MAX_ACTIVE: usize = 32;

/// A blob that nobody can give makes room for one that waits after this time.
pub(crate) const TURN_MS: u64 = 10_000;

/// Requests of one line that wait. Twice what a receiver of ours has under way, because taking back and asking again may
/// cross with chunks.
pub(crate) const MAX_REQUESTS: usize = 4 * MAX_WINDOW;

/// Blobs of which a peer wants to hear what we have.
pub(crate) const MAX_WATCHED: usize = 8 * MAX_ACTIVE;

/// Runs of chunks in one HAVE; what comes after them is not told.
pub(crate) const MAX_RUNS: usize = 1_024;

/// Shortest time between two HAVE about a blob that arrives.
pub(crate) const HAVE_MS: u64 = 500;

/// Bytes that may wait on a fast line when the next chunk is read for it.
pub(crate) const LOW_WATER: usize = 256 << 10;

/// A line is fast if a chunk leaves within this time; on others the next is read when the last has left, so that what is
/// small does not wait behind two chunks.
pub(crate) const FAST_MS: u64 = 1_000;

/// Hops of FIND: as many as a circuit may have.
pub const MAX_HOPS: u8 = 8;

/// Questions of others whose answers find their way back.
pub(crate) const MAX_SEEN: usize = 4_096;

/// How long they do.
pub(crate) const SEEN_MS: u64 = 30_000;

/// Answers to one question that are passed on.
pub(crate) const MAX_ANSWERS: u32 = 8;

/// Questions that a neighbour may ask or pass on at once, and the time after which it may one more.
pub(crate) const FIND_BURST: u32 = 128;
pub(crate) const FIND_REFILL_MS: u64 = 50;

/// How long neighbours have to answer before others are asked, and the delays after that.
pub(crate) const FIND_FIRST_MS: u64 = 250;
pub(crate) const FIND_RETRY_MS: u64 = 2_000;
pub(crate) const FIND_MAX_MS: u64 = 30_000;

/// A transfer without a chunk for so long looks for other sources.
pub(crate) const STALL_MS: u64 = 10_000;

/// How long those who were asked have to answer before nobody has it.
pub(crate) const ANSWER_MS: u64 = 3_000;

/// Holders that a transfer or a question remembers.
pub(crate) const MAX_HOLDERS: usize = 32;

/// Circuits that a transfer has at the same time, and all of them together.
pub(crate) const MAX_CIRCUITS_PER_BLOB: usize = 2;
pub(crate) const MAX_CIRCUITS: usize = 16;

/// Circuits that others have opened to us for blobs.
pub(crate) const MAX_INCOMING: usize = 64;

/// A circuit that no transfer needs is closed after this time.
pub(crate) const CIRCUIT_IDLE_MS: u64 = 5_000;

/// How long a holder that could not be reached, or had nothing, is left alone; grows with each failure.
pub(crate) const HOLDER_RETRY_MS: u64 = 5_000;

/// After so many failures a holder does not count as one.
pub(crate) const HOLDER_FAILURES: u32 = 3;

/// An idle source takes over a chunk that another one has not sent for this time, or three times as long as its own chunks
/// take.
pub(crate) const TAKE_OVER_MS: u64 = 2_000;
