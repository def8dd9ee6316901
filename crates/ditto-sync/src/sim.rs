//! Simulation: the real engine over an in-memory store and a network with virtual time.

mod budget;
mod conflicts;
mod fixtures;
mod garbage;
mod links;
mod net;
mod races;
pub(crate) mod rng;
mod scenarios;
mod schedules;
mod store;
mod topologies;
