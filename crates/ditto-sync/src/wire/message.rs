//! The messages other than TXN.

mod decode;
mod encode;

use ditto_crdt::VersionVector;
use ditto_types::{DocId, KeyHash, Object, Stamp};
use smol_str::SmolStr;

use super::txn::Txn;
use crate::peer::Lane;
use crate::sketch::{COUNTERS, Sketch, Symbol};
use crate::store::RefusalCode;

/// A key hash and the low 8 bytes of a digest.
pub(crate) type KeyDigest = (KeyHash, u64);

/// Query text and arguments, sent when the other side does not know the hash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubText {
    pub(crate) query: String,
    pub(crate) args: Object,
}

/// One wish in SUBS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubAdd {
    pub(crate) sid: u32,
    pub(crate) hash: [u8; 16],
    pub(crate) text: Option<SubText>,
    pub(crate) prio: u8,
    /// Token of the cursor, if the receiver has one for the sender's epoch.
    pub(crate) cursor: Option<u64>,
    /// Documents changed at the receiver since the cursor was written.
    pub(crate) own: Vec<KeyDigest>,
    /// Documents that the receiver holds in the view; counted only without a cursor.
    pub(crate) held: u64,
}

/// Wishes of a receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subs {
    pub(crate) generation: u64,
    pub(crate) add: Vec<SubAdd>,
    pub(crate) drop: Vec<u32>,
}

/// How a sender serves a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SubMode {
    Resume,
    Recon,
    Full,
    Bad {
        code: u8,
        text: String,
    },
    Denied,
    /// The sender fell behind and dropped the subscription: ask again.
    Again,
}

/// A sender's decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subst {
    pub(crate) sid: u32,
    pub(crate) mode: SubMode,
    /// Documents to expect; an estimate.
    pub(crate) count: u64,
}

/// Body of HAVE and HINT. A HAVE with a mark is answered by a HINT with the same mark. A HAVE with a token is an offer of
/// a lazy link: the token counts when the receiver has all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub(crate) mark: Option<u64>,
    pub(crate) token: Option<u64>,
    pub(crate) keys: Vec<KeyDigest>,
}

/// A request for one document; without a version vector for all of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Want {
    pub(crate) key: KeyHash,
    pub(crate) vv: Option<VersionVector>,
}

/// Fingerprint of a sender's view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    pub(crate) sid: u32,
    pub(crate) token: u64,
    pub(crate) count: u64,
    pub(crate) sum: u128,
}

/// What the receiver wants to compare views by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// A listing.
    List,
    /// Symbols, or a listing if that is shorter: the sketch of the receiver's view tells how many it takes.
    Sketch(Sketch),
    /// More symbols than have come.
    More { symbols: u64 },
}

/// Part of the symbols of a sender's view, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Symbols {
    pub(crate) sid: u32,
    /// Place of the first one.
    pub(crate) index: u64,
    /// Symbols that follow without being asked for.
    pub(crate) more: u64,
    pub(crate) symbols: Vec<Symbol>,
}

/// Part of a sender's view, ascending by key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    pub(crate) sid: u32,
    pub(crate) last: bool,
    pub(crate) keys: Vec<KeyDigest>,
}

/// Why a requested document does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoneReason {
    /// The requester knows everything that the sender knows about it.
    Covered,
    /// The sender does not hold it.
    NotHeld,
    /// The requester may not read it.
    NotReadable,
}

/// A place in the spanning tree of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The number of the root.
    pub(crate) root: u64,
    /// Links from there.
    pub(crate) distance: u8,
}

/// An item that was refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reject {
    pub(crate) collection: SmolStr,
    pub(crate) id: DocId,
    pub(crate) dot: Stamp,
    pub(crate) code: RefusalCode,
}

/// Everything that peers say to each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Subs(Subs),
    NeedQ(Vec<[u8; 16]>),
    Subst(Subst),
    Txn(Txn),
    Have(Keys),
    Hint(Keys),
    Want(Vec<Want>),
    /// Requests that answer the receiver's: it knows everything that the sender knows of these, and more.
    WantBack(Vec<Want>),
    Ack {
        token: u64,
        dup: bool,
    },
    Root(Root),
    RecOk {
        sid: u32,
    },
    RecGo {
        sid: u32,
        ask: Ask,
    },
    Sym(Symbols),
    List(List),
    RecEnd {
        sid: u32,
        ok: bool,
    },
    Gone {
        reason: GoneReason,
        keys: Vec<KeyHash>,
    },
    Rej(Reject),
    /// Where the sender is in the tree, and whether the receiver is its parent.
    Tree {
        place: Place,
        child: bool,
    },
}

impl Message {
    /// The message's name, for logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Message::Subs(_) => "SUBS",
            Message::NeedQ(_) => "NEEDQ",
            Message::Subst(_) => "SUBST",
            Message::Txn(_) => "TXN",
            Message::Have(_) => "HAVE",
            Message::Hint(_) => "HINT",
            Message::Want(_) => "WANT",
            Message::WantBack(_) => "WANTBACK",
            Message::Ack { .. } => "ACK",
            Message::Root(_) => "ROOT",
            Message::RecOk { .. } => "RECOK",
            Message::RecGo { .. } => "RECGO",
            Message::Sym(_) => "SYM",
            Message::List(_) => "LIST",
            Message::RecEnd { .. } => "RECEND",
            Message::Gone { .. } => "GONE",
            Message::Rej(_) => "REJ",
            Message::Tree { .. } => "TREE",
        }
    }

    /// Whether the message may come on `lane`.
    pub(crate) fn allowed_on(&self, lane: Lane) -> bool {
        match self {
            Message::Hint(_) => true,
            Message::Txn(t) => (lane == Lane::Bulk) == (t.sid.is_some() || t.answer),
            Message::Root(_) | Message::Sym(_) | Message::List(_) | Message::Gone { .. } => {
                lane == Lane::Bulk
            }
            _ => lane == Lane::Live,
        }
    }
}
