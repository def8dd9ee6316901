//! Helpers that tests and benchmarks of several crates share. Development only: no product crate depends on it.
//!
//! | module | owns |
//! |---|---|
//! | `rng` | [`Rng`], reproducible randomness |
//! | `workload` | [`workload_document`], the one document of every benchmark |
//! | `wait` | [`wait_for`] |
//! | `temp` | [`temp_dir`] |
//! | `namespaces` | [`Namespaces`], two machines as far as IP can tell |
//! | `reference` | [`mod@reference`], a slow evaluator of DQL to compare the engine with |
//!
//! `tests/architecture.rs` checks the rules about who may depend on whom, over the whole workspace.

mod namespaces;
pub mod reference;
mod rng;
mod temp;
mod wait;
mod workload;

pub use namespaces::{Namespaces, ip};
pub use rng::Rng;
pub use temp::temp_dir;
pub use tempfile::TempDir;
pub use wait::wait_for;
pub use workload::{WORKLOAD_BYTES, WORKLOAD_STATUSES, workload_document};
