//! Owns the state of a document: a lattice of stamped leaves, its merge, its deltas and its two encodings.
//!
//! A document is a set of *leaves*, each at a field path and in a *slot* (register, map mark, counter, attachment),
//! plus *tombstones* of removed paths and the two stamps of its life, `born` and `dead`. Every part merges by
//! maximum, so replicas that have exchanged the same writes are equal, in whatever order they got them.
//! This crate is pure: stamps and dictionaries come in as arguments.
//!
//! | module | owns |
//! |---|---|
//! | [`slot`] | [`Slot`], [`LeafValue`], [`FieldKind`]: the kinds of values that can live at one path |
//! | [`attachment`] | [`AttachmentToken`] |
//! | [`doc`] | [`Doc`], the state in memory |
//! | [`op`] | [`Op`], local writes |
//! | `merge`, `delta`, `read` | joining two states, what a peer lacks, what a query sees |
//! | [`vv`] | [`VersionVector`] |
//! | [`dict`] | numbering of field names and sites for the encoding |
//! | [`encode`](mod@encode), [`decode`](mod@decode) | the two byte forms, specified in `docs/formats/document.md` |
//! | [`view`] | [`DocView`], reading fields in place without decoding a document |
//! | [`error`] | typed errors |
//!
//! Two peers write concurrently, exchange deltas and agree:
//!
//! ```
//! use ditto_crdt::{Dictionary, Doc, FieldKind, Op, decode, encode};
//! use ditto_types::{Hlc, Path, SiteId, Stamp, Value};
//!
//! let site = |n| SiteId { id: [n; 16], incarnation: 0 };
//! let set = |field: &str, v: i64| Op::Set { path: Path::new([field]), value: Value::Int(v), kind: FieldKind::Inferred };
//!
//! let mut a = Doc::default();
//! let born = Stamp::new(Hlc::from_ms(1_000), site(1));
//! a.apply(&Op::Create, born).unwrap();
//! a.apply(&set("x", 1), born).unwrap();
//!
//! // B gets everything, as its version vector is empty.
//! let mut b = Doc::default();
//! let mut dict = Dictionary::default();
//! let bytes = encode(&a.delta(&b.vv()), &mut dict);
//! b.merge(&decode(&bytes, &dict).unwrap());
//!
//! // Concurrent writes to different fields.
//! a.apply(&set("y", 2), Stamp::new(Hlc::from_ms(2_000), site(1))).unwrap();
//! b.apply(&set("z", 3), Stamp::new(Hlc::from_ms(2_000), site(2))).unwrap();
//! let (to_a, to_b) = (b.delta(&a.vv()), a.delta(&b.vv()));
//! a.merge(&to_a);
//! b.merge(&to_b);
//! assert_eq!(a, b);
//! assert_eq!(a.canonical(), b.canonical());
//! ```

pub mod attachment;
pub mod decode;
pub mod delta;
pub mod dict;
pub mod doc;
pub mod encode;
pub mod error;
pub mod merge;
pub mod op;
pub mod read;
pub mod slot;
mod tree;
mod value_bytes;
pub mod view;
pub mod vv;

pub use attachment::AttachmentToken;
pub use decode::decode;
pub use dict::{DictReader, DictWriter, Dictionary};
pub use doc::Doc;
pub use encode::encode;
pub use error::{DecodeError, OpError};
pub use op::Op;
pub use slot::{FieldKind, LeafValue, Slot};
pub use view::DocView;
pub use vv::VersionVector;
