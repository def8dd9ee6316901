//! Mesh machines over the links of this crate.
#![allow(clippy::unwrap_used, reason = "tests")]

mod crowd;
mod machine;
