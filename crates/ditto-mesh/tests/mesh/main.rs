//! Machines connected by in-memory pipes under a virtual clock: no sockets, no waiting.
#![allow(clippy::unwrap_used, reason = "tests")]

mod chaos;
mod circuits;
mod connect;
mod events;
mod flow;
mod harness;
mod islands;
mod links;
mod presence;
mod requests;
mod standby;
