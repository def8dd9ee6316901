//! What the instance around a store adds to the system collections.

use ditto_types::{Object, Value};

/// Facts that the store does not know: about peers, transports and the process. Asked whenever a statement reads the
/// collection, on the thread of the statement; must not call the store.
pub trait SystemProvider: Send + Sync {
    /// Rows of `system:data_sync_info`: one per peer, `_id` is the peer's id. Other fields: `is_ditto_server`, and
    /// `documents` with `sync_session_status`, `synced_up_to_local_commit_id`, `last_update_received_time`.
    fn data_sync_info(&self) -> Vec<Object> {
        Vec::new()
    }

    /// Rows of `system:transports_info`, each with its `_id`.
    fn transports_info(&self) -> Vec<Object> {
        Vec::new()
    }

    /// Rows of `system:connection_events`, oldest first, each with its `_id`.
    fn connection_events(&self) -> Vec<Object> {
        Vec::new()
    }

    /// Further facts of `system:system_info`: namespace, key, value.
    fn system_info(&self) -> Vec<(String, String, Value)> {
        Vec::new()
    }
}
