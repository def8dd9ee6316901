//! The exchange of blobs, which are the content of attachments: who has one, and how its chunks come here.
//!
//! [`BlobExchange`] is pure, as the rest of the crate: [`BlobInput`]s go in, [`BlobAction`]s come out, and bytes are read and
//! kept through a [`BlobStore`], which verifies them.
//!
//! # How it works
//!
//! A *line* leads to a peer: the blobs lane of the session with a neighbour, or a circuit to a peer further off. Over a line
//! a receiver says ASK and hears with HAVE which chunks the peer has, now and whenever that changes. It says GET for single
//! chunks, so that several peers can send one blob at once, and what is kept is never asked for again. Each chunk comes with
//! its proof and is verified before it is kept; a peer whose chunk is wrong is not asked for that blob any more.
//!
//! While no neighbour can help, FIND is flooded to the neighbours of neighbours, over up to eight hops. Holders answer with
//! FOUND, which goes back the way that FIND has come; then a circuit leads to the nearest. So peers on the way carry what
//! they neither hold nor can read.
//!
//! # Bounds
//!
//! A sender reads the next chunk when what it has given to a line before has mostly left. A receiver has at most
//! [`limits::MAX_WINDOW`] chunks under way on a line, fewer where it is slow. Everything that a peer can make this side
//! remember is counted, see [`limits`]; who exceeds what the other side's own limits allow has broken the protocol.
//!
//! | module | owns |
//! |---|---|
//! | `api` | inputs, actions, names |
//! | `store` | [`BlobStore`], what is needed of the store |
//! | `chunks` | sets of chunks, as we keep them and as peers tell them |
//! | `wire` | messages |
//! | `exchange` | the machine: lines, and what arrives on them |
//! | `line` | one line: what waits on it, how fast it is |
//! | `serve` | the sending side |
//! | `fetch` | the receiving side: which chunk is asked of whom |
//! | `transfer` | one blob that arrives |
//! | `find` | floods, circuits and questions about holders |
//! | `timers` | what happens with time |
//! | `limits` | sizes, counts and times |

mod api;
mod chunks;
mod exchange;
mod fetch;
mod find;
pub mod limits;
mod line;
mod serve;
mod store;
mod timers;
mod transfer;
mod wire;

#[cfg(test)]
mod tests;

pub use api::{BlobAction, BlobHolder, BlobInput, BlobName, FetchEnd, FetchId, LineId, LineKind};
pub use chunks::ChunkSet;
pub use exchange::BlobExchange;
pub use store::{BlobChunk, BlobHolding, BlobPut, BlobStore};

/// Decodes a message and, if it is sound, checks that it has no other bytes. For the fuzz target.
#[doc(hidden)]
pub fn fuzz_message(bytes: &[u8]) {
    if let Ok(message) = wire::Message::decode(bytes.to_vec()) {
        assert_eq!(message.encode(), bytes, "{}", message.name());
    }
}
