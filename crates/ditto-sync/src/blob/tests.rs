//! The exchange on a virtual network: peers with stores in memory, lines with latency and rate, circuits over relays.

mod faults;
mod fetches;
mod hostile;
mod schedules;
mod sources;
mod world;
