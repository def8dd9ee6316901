//! Document state: a lattice of stamped leaves that merges without conflicts.
//!
//! A [`Doc`] is what one replica knows of one document. Local writes are [`Op`]s; replicas exchange whole documents or
//! [deltas](Doc::delta), and [`Doc::merge`] them in any order. `design.md` 1 has the reasons and rules D1 to D4.
//!
//! ```
//! use ditto_crdt::{Doc, FieldKind, Op};
//! use ditto_types::{Hlc, Object, Path, SiteId, Stamp, Value};
//!
//! let site = |n| SiteId { id: [n; 16], incarnation: 0 };
//! let at = |ms, n| Stamp::new(Hlc::from_ms(ms), site(n));
//! let set = |name: &str, value: i64| Op::Set {
//!     path: Path::new([name]),
//!     value: value.into(),
//!     kind: FieldKind::Inferred,
//! };
//!
//! // One replica inserts, another gets a copy; both change it while apart.
//! let mut a = Doc::fresh(&Object::from([("n".into(), Value::Int(1))]), at(1, 1));
//! let mut b = a.clone();
//! a.apply(&set("x", 10), at(2, 1)).unwrap();
//! b.apply(&set("n", 2), at(3, 2)).unwrap();
//!
//! // They exchange what the other lacks and are equal.
//! let (to_a, to_b) = (b.delta(&a.vv()), a.delta(&b.vv()));
//! a.merge(&to_a);
//! b.merge(&to_b);
//! assert_eq!(a, b);
//! assert_eq!(a.get(&["n".into()]), Some(Value::Int(2)));
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`doc`](Doc), `node` | state, merge, version vector, delta |
//! | `write`, `read`, `typed` | local writes; what queries see, also under declared kinds |
//! | `leaf`, `token`, `version` | slots and values; attachment tokens as values; version vectors |
//! | `encode`, `fresh`, `decode`, `view` | the canonical encoding, also of a new document's fields; its strict reader, reading in place |
//! | `recode`, `canonical` | other numbers for names and sites without building the document; checked documents that stay encoded |

mod canonical;
mod decode;
mod doc;
mod encode;
mod fresh;
mod kinds;
mod leaf;
mod node;
mod read;
mod recode;
mod token;
mod typed;
mod version;
mod view;
mod write;

pub use canonical::CanonicalDoc;
pub use decode::{DecodeError, DictReader, decode};
pub use doc::Doc;
pub use encode::{DictWriter, encode};
pub use fresh::encode_fresh;
pub use leaf::{AttachmentToken, FieldKind, Leaf, LeafValue, Slot, Tomb};
pub use recode::{Numbers, recode};
pub use typed::KindOf;
pub use version::VersionVector;
pub use view::{DocView, FieldRef, Trail};
pub use write::{Op, OpError};
