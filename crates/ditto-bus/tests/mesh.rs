//! The Bus over whole meshes: machines, links and time are simulated, everything above them is real.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "mesh/chaos.rs"]
mod chaos;
#[path = "../../ditto-mesh/tests/mesh/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the mesh")]
mod harness;
#[path = "mesh/singles.rs"]
mod singles;
#[path = "mesh/streams.rs"]
mod streams;
#[path = "mesh/world.rs"]
mod world;
