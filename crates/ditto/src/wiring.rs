//! The wiring of machines that instances and simulated peers have in common, so that the simulation tests the very code
//! that this crate runs. Not part of the API.

mod route;
mod sessions;
mod sync_port;

pub use self::route::{ForApp, ForBlobs, ForNetwork, ForSync, Parts, route};
pub use self::sessions::Sessions;
pub use self::sync_port::{FromSync, SyncPort};
pub use crate::sync_store::{StoreAdapter, local_commit};
