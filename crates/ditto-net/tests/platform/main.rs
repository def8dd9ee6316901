//! The port for radios, proven without a radio.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod kit;
mod links;
mod meshes;
mod node;
