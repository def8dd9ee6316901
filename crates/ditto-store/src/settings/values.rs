//! One snapshot of all settings, typed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_dql::Directives;
use ditto_types::{Object, SmolStr};

use super::SyncScope;
use crate::history::Qualifiers;

/// The values of all settings at one moment. The names are those of dql.md 9.1.
///
/// Settings whose feature is not part of the store are kept here for whoever carries it out; their text says who.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Whether fields other than registers must be declared in each statement (dql.md 3.4).
    pub dql_strict_mode: bool,
    /// Whether subscriptions with LIMIT or ORDER BY are refused (dql.md 11.1).
    pub dql_restrict_subscriptions: bool,
    /// Directives of statements that do not say otherwise (dql.md 6.4).
    pub dql_default_directives: Object,
    /// Finished requests that `system:request_history` keeps.
    pub dql_request_history_size: u64,
    /// Which finished requests are kept; without any, all are.
    pub dql_request_history_qualifiers: Arc<Qualifiers>,
    /// A request that runs for so many seconds is logged, and again each time as much has passed; 0: never.
    pub dql_slow_request_warn_seconds: u64,
    /// A request that runs for so many seconds fails; 0: never.
    pub dql_request_timeout_seconds: u64,
    /// Larger documents are written with a warning, in bytes of the stored form.
    pub document_size_soft_limit_bytes: u64,
    /// Local writes that make a document larger than this fail, in bytes of the stored form.
    pub document_size_hard_limit_bytes: u64,
    /// Whether tombstones expire.
    pub tombstone_ttl_enabled: bool,
    /// Age at which a tombstone expires, in hours since the deletion.
    pub tombstone_ttl_hours: u64,
    /// Days from one run of the reaper to the next.
    pub days_between_reaping: u64,
    /// Tombstones that one transaction of the reaper works on at most.
    pub tombstone_reap_batch_size: u64,
    /// Whether the reaper waits for the preferred hour.
    pub enable_reaper_preferred_hour_scheduling: bool,
    /// Hour of the day in UTC in which the reaper runs, 0 to 23.
    pub reaper_preferred_hour: Option<u64>,
    /// Which peers a collection is synced with. Carried out by sync, which reads it when it starts.
    pub user_collection_sync_scopes: BTreeMap<SmolStr, SyncScope>,
    /// Milliseconds after which observers of system collections run again.
    pub live_query_system_collection_refresh_interval: u64,
    /// Milliseconds that a transaction may hold the writer before it is logged.
    pub transaction_duration_before_logging_ms: u64,
    /// Milliseconds until it is logged again.
    pub transaction_trace_interval_ms: u64,
    /// Whether EVICT leaves the metadata of sync for later. Carried out by sync; this store's EVICT has no such work.
    pub disable_replication_gc_on_evict: bool,
    /// Whether revoked certificates of peers are refused. Carried out by the mesh.
    pub peer_certificate_revocation_check_enabled: bool,
    /// Seconds from one run of the collector of attachments to the next.
    pub attachment_gc_interval_seconds: u64,
    /// Bytes that ORDER BY, GROUP BY, DISTINCT and the result of a statement may each hold before a temporary file in the
    /// directory of the store takes over.
    pub dql_spill_threshold_bytes: u64,
    /// `dql_default_directives` as the planner reads them.
    pub(crate) directives: Directives,
    /// Without effect; for trying ALTER SYSTEM.
    pub example_parameter: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dql_strict_mode: false,
            dql_restrict_subscriptions: true,
            dql_default_directives: Object::new(),
            dql_request_history_size: 4096,
            dql_request_history_qualifiers: Arc::default(),
            dql_slow_request_warn_seconds: 60,
            dql_request_timeout_seconds: 0,
            document_size_soft_limit_bytes: 256 * 1024,
            document_size_hard_limit_bytes: 5 * 1024 * 1024,
            tombstone_ttl_enabled: true,
            tombstone_ttl_hours: 168,
            days_between_reaping: 1,
            tombstone_reap_batch_size: 10_000,
            enable_reaper_preferred_hour_scheduling: false,
            reaper_preferred_hour: None,
            user_collection_sync_scopes: BTreeMap::new(),
            live_query_system_collection_refresh_interval: 500,
            transaction_duration_before_logging_ms: 10_000,
            transaction_trace_interval_ms: 5_000,
            disable_replication_gc_on_evict: false,
            peer_certificate_revocation_check_enabled: true,
            attachment_gc_interval_seconds: 600,
            dql_spill_threshold_bytes: 8 << 20,
            directives: Directives::default(),
            example_parameter: 42,
        }
    }
}
