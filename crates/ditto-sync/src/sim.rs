//! Simulation: the real engine over an in-memory store and a network with virtual time.

mod net;
mod rng;
mod schedules;
mod store;
