//! The store as the sync machine sees it, for the simulator, which must run the very code that this crate runs. Not part of
//! the API.

pub use crate::sync_store::{StoreAdapter, local_commit};
