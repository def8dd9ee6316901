//! What every transport promises to the mesh, on real sockets, real multicast and in memory.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod certificates;
mod http;
mod mdns;
mod memory;
mod probe;
mod reconfigure;
mod tcp;
mod websocket;
