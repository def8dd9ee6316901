//! Messages between two directly connected peers: reliable ones over the Bus lane, unreliable ones over datagrams.
//!
//! [`Bus`] is a pure state machine over the mesh: it bounds what waits, cuts large unreliable messages into datagrams,
//! puts them together again, and says of every message whether it was transmitted.
//!
//! | module | owns |
//! |---|---|
//! | `api` | inputs, actions, errors, limits |
//! | `bus` | the machine |
//! | `envelope` | the bytes of a message and of a fragment |
//! | `reassembly` | fragments that wait for the others |

mod api;
mod bus;
mod envelope;
mod reassembly;

pub use api::{Action, BusConfig, BusError, BusMessage, Input, Reliability, TAG_BIT};
pub use bus::Bus;
pub use envelope::{MAX_RELIABLE, MAX_UNRELIABLE};
