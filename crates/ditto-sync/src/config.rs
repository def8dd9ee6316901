//! Tunable limits of the engine.

/// Limits and delays. The defaults are what the SDK uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfig {
    /// Reading of the next bulk page waits while more than this many bytes are queued on the bulk lane.
    pub bulk_queue_bytes: usize,
    /// A peer whose live lane holds more than this many bytes is served by a scan instead of pushes.
    pub live_queue_bytes: usize,
    /// Largest number of documents on a bulk page.
    pub page_docs: usize,
    /// Approximate largest size of a bulk page, in bytes.
    pub page_bytes: usize,
    /// Requests for documents that may be unanswered at a time.
    pub max_wants: usize,
    /// A request is repeated after this long without any answer, in milliseconds.
    pub want_timeout_ms: u64,
    /// Repetitions before the peer is given up.
    pub want_retries: u32,
    /// Delay before tokens without documents and cursor confirmations are sent, in milliseconds.
    pub settle_ms: u64,
    /// Delay of confirmations, in milliseconds: what comes within it is confirmed together.
    pub ack_ms: u64,
    /// How long a document that a lazy link offers is waited for from elsewhere, in milliseconds.
    pub lazy_ms: u64,
    /// How long pages of a first load are gathered before they are merged, in milliseconds.
    pub gather_ms: u64,
    /// Documents of a first load that are merged at once.
    pub gather_docs: usize,
    /// Changes on the receiver's side that are listed to resume a cursor; with more, it reconciles.
    pub max_own: usize,
    /// Subscriptions accepted from one peer.
    pub max_subscriptions: usize,
    /// Changed documents in one commit above which peers get it by a scan, in several steps.
    pub max_commit_docs: usize,
    /// Views of up to this many documents are listed when they differ; a sketch of a larger one is compared first.
    pub list_docs: u64,
    /// Memory for the sums over views that make comparisons cheap, in bytes; views beyond it are scanned again.
    pub view_cache_bytes: usize,
    /// Encoded size above which one commit is sent as several messages, in bytes.
    pub txn_bytes: usize,
    /// Encoded size of one commit above which peers get it by a scan, and the most that the receiver collects.
    pub max_commit_bytes: usize,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            bulk_queue_bytes: 512 << 10,
            live_queue_bytes: 4 << 20,
            page_docs: 2_000,
            page_bytes: 256 << 10,
            max_wants: 4_096,
            want_timeout_ms: 30_000,
            want_retries: 4,
            settle_ms: 300,
            ack_ms: 50,
            lazy_ms: 300,
            gather_ms: 250,
            gather_docs: 10_000,
            max_own: 4_096,
            max_subscriptions: 1_024,
            max_commit_docs: 20_000,
            list_docs: 12,
            view_cache_bytes: 4 << 20,
            txn_bytes: 8 << 20,
            max_commit_bytes: 64 << 20,
        }
    }
}
