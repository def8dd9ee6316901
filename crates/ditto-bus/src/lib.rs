//! Messages and streams between any two peers of the mesh.
//!
//! [`Bus`] is a pure state machine over the mesh. Single messages go to neighbours over the Bus lane and datagrams, to
//! others over a circuit that is kept for a while; a stream is a circuit of its own, so that none holds up another. The
//! machine bounds what waits, cuts large unreliable messages into datagrams, puts them together again, and says of
//! every message and stream what became of it.
//!
//! | module | owns |
//! |---|---|
//! | `api`, `error` | inputs, actions, limits, errors |
//! | `bus` | the machine, and single messages |
//! | `far` | circuits of single messages |
//! | `streams`, `stream` | streams |
//! | `meeting` | streams that both ends ask for |
//! | `batch` | messages of a stream that travel together |
//! | `window` | how much of a stream may be on its way |
//! | `pacer` | unreliable messages on their way out |
//! | `envelope` | the bytes of messages, fragments and the words of streams |
//! | `reassembly` | fragments that wait for the others |

mod api;
mod batch;
mod bus;
mod envelope;
mod error;
mod far;
#[doc(hidden)]
pub mod fuzz;
mod meeting;
mod pacer;
mod reassembly;
mod stream;
mod streams;
mod window;

pub use api::{
    Action, BusConfig, BusMessage, CIRCUIT_BIT, Delivery, Input, Reliability, StreamId, StreamStats, TAG_BIT,
};
pub use batch::{Batch, MAX_BATCHED};
pub use bus::Bus;
pub use envelope::{MAX_LABEL, MAX_RELIABLE, MAX_UNRELIABLE, is_bus_purpose};
pub use error::{BusError, OpenError, StreamEnd, StreamFailure};
pub use stream::check_size;
pub use window::SendWindow;
