//! Parts of the wiring for the simulator, which must run the very code that this crate runs. Not part of the API.

pub use crate::sessions::Sessions;
pub use crate::sync_store::{StoreAdapter, local_commit};
