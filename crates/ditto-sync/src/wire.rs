//! Messages of the sync service and their bytes.
//!
//! The first byte names the message. Integers are shortest-form varints, hashes little-endian and fixed.
//!
//! | byte | message | lane |
//! |---|---|---|
//! | 1 | SUBS | live |
//! | 2 | NEEDQ | live |
//! | 3 | SUBST | live |
//! | 4 | TXN | both |
//! | 5 | HAVE | live |
//! | 6 | HINT | both |
//! | 7 | WANT | live |
//! | 8 | ACK | live |
//! | 9 | ROOT | bulk |
//! | 10 | RECOK | live |
//! | 11 | RECGO | live |
//! | 12 | SYM | bulk |
//! | 13 | LIST | bulk |
//! | 14 | RECEND | live |
//! | 15 | GONE | bulk |
//! | 16 | REJ | live |
//! | 17 | TREE | live |
//! | 18 | any of them, packed | both |

pub(crate) mod dict;
pub(crate) mod message;
pub(crate) mod pack;
pub(crate) mod txn;

#[cfg(test)]
mod tests;

pub(crate) use message::{
    Ask, GoneReason, KeyDigest, Keys, List, Message, Place, Reject, Root, SubAdd, SubMode, SubText, Subs,
    Subst, Symbols, Want,
};
pub(crate) use txn::{Form, Txn, TxnItem};
