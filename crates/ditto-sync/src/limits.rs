//! Hard limits on what a peer may send.

/// Largest message on a lane, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Longest query text in a subscription, in bytes.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// Largest encoded arguments of a subscription, in bytes.
pub const MAX_ARGS_BYTES: usize = 256 << 10;

/// Entries of a wire dictionary above which its writer starts a new one.
pub const MAX_DICT_ENTRIES: usize = 65_536;

/// Keys in one HAVE, HINT, WANT or `own` list.
pub(crate) const MAX_KEYS: usize = 4_096;

/// Requests that a sender queues for one peer before it calls the peer broken.
pub(crate) const MAX_QUEUED_WANTS: usize = 4 * MAX_KEYS;

/// Keys that a receiver queues for one peer (found by reconciliation, not yet requested).
pub(crate) const MAX_MISSING: usize = 16 << 20;

/// Symbols of one comparison; with more differences than they can tell, views are listed.
pub(crate) const MAX_SYMBOLS: usize = 65_536;

/// Entries of one LIST message, symbols of one SYM.
pub(crate) const LIST_ENTRIES: usize = 8_192;

/// Digests remembered per peer to avoid echoes.
pub(crate) const MAX_KNOWN: usize = 4_096;

/// Compiled queries of peers kept for reuse.
pub(crate) const MAX_CACHED_QUERIES: usize = 1_024;

/// Longest text of a refusal, in bytes.
pub(crate) const MAX_REASON_BYTES: usize = 1_024;

/// Documents in one TXN.
pub(crate) const MAX_ITEMS: usize = 32_768;

/// Dictionary entries that one TXN defines. A document of the largest size cannot need more.
pub(crate) const MAX_DEFINITIONS: usize = 2 << 20;
