//! What stands at a path: slots, their values and their kinds.

use std::collections::BTreeMap;

use ditto_types::wire::{put_bytes, put_str, put_varint};
use ditto_types::{SiteId, SmolStr, Stamp, Value, codec};

/// The kinds of value that can stand at one path, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A value that is replaced as a whole.
    Reg,
    /// An attachment token.
    Att,
    /// Marks a map, so that an empty one exists.
    MapMark,
    /// Where a counter starts, or was restarted.
    CtrBase,
    /// What one site has added to a counter.
    Ctr(SiteId),
    /// What one site has added to a legacy PN counter.
    Pn(SiteId),
}

impl Slot {
    /// The kind of field that it is a part of.
    pub fn kind(self) -> FieldKind {
        match self {
            Slot::Reg => FieldKind::Register,
            Slot::Att => FieldKind::Attachment,
            Slot::MapMark => FieldKind::Map,
            Slot::CtrBase | Slot::Ctr(_) => FieldKind::Counter,
            Slot::Pn(_) => FieldKind::PnCounter,
        }
    }
}

/// The document's id is a field of results only; no document holds a field of this name.
pub(crate) const ID: &str = "_id";

/// Content of a leaf. Values are equal when their canonical bytes are: 0.0 differs from -0.0, and NaN equals NaN.
#[derive(Clone, Debug)]
pub enum LeafValue {
    /// In [`Slot::Reg`].
    Value(Value),
    /// In [`Slot::Att`].
    Attachment(AttachmentToken),
    /// In [`Slot::MapMark`].
    MapMark,
    /// In [`Slot::CtrBase`]: the value that the counter starts from.
    CtrBase(i64),
    /// In [`Slot::Ctr`]: a running total on top of one base.
    Ctr {
        /// Stamp of the base it counts on; `None` before there was any.
        base: Option<Stamp>,
        /// Sum of the site's increments since that base.
        total: i128,
    },
    /// In [`Slot::Pn`]: the sum of the site's increments.
    Pn(f64),
}

/// A stamped leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// What was written.
    pub value: LeafValue,
}

/// Removal of everything at or below a path, or of one kind of value there, up to what the remover had seen (rule D1 of
/// `design.md` 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tomb {
    /// Newest stamp that the remover saw there; leaves up to it are gone.
    pub obs: Stamp,
    /// Stamp of the removal itself.
    pub dot: Stamp,
}

/// Names an immutable blob that is kept beside the documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachmentToken {
    /// BLAKE3 of the bytes.
    pub hash: [u8; 32],
    /// Number of bytes.
    pub len: u64,
    /// Texts of the app.
    pub metadata: BTreeMap<SmolStr, SmolStr>,
}

/// How a statement declares a field (`dql.md` 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldKind {
    /// Not declared: objects are maps, everything else is a register.
    #[default]
    Inferred,
    /// Replaced as a whole.
    Register,
    /// Merged key by key.
    Map,
    /// 64-bit counter with restart.
    Counter,
    /// Legacy counter of floats.
    PnCounter,
    /// Attachment token.
    Attachment,
}

impl PartialEq for LeafValue {
    fn eq(&self, other: &Self) -> bool {
        use LeafValue::{Attachment, Ctr, CtrBase, MapMark, Pn, Value};
        match (self, other) {
            (Value(a), Value(b)) => same_value(a, b),
            (Attachment(a), Attachment(b)) => a == b,
            (MapMark, MapMark) => true,
            (CtrBase(a), CtrBase(b)) => a == b,
            (Ctr { base: a, total: x }, Ctr { base: b, total: y }) => (a, x) == (b, y),
            (Pn(a), Pn(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

/// Whether two values have the same canonical bytes.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::Int(i), Value::UInt(u)) | (Value::UInt(u), Value::Int(i)) => i64::try_from(*u) == Ok(*i),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len() && pairs.all(|((k, a), (l, b))| k == l && same_value(a, b))
        }
        _ => a == b,
    }
}

impl Leaf {
    /// The write that a counter's total counts on.
    pub(crate) fn base(&self) -> Option<Stamp> {
        match self.value {
            LeafValue::Ctr { base, .. } => base,
            _ => None,
        }
    }

    /// Canonical bytes of the value, the tie break between equal stamps.
    pub(crate) fn tie_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.value {
            LeafValue::Value(v) => codec::encode(v, &mut out),
            LeafValue::Attachment(a) => encode_token(a, &mut out),
            LeafValue::MapMark => {}
            LeafValue::CtrBase(n) => out.extend_from_slice(&n.to_be_bytes()),
            LeafValue::Ctr { base, total } => {
                out.extend_from_slice(&total.to_be_bytes());
                if let Some(base) = base {
                    out.extend_from_slice(&base.hlc.0.to_be_bytes());
                    base.site.encode(&mut out);
                }
            }
            LeafValue::Pn(total) => out.extend_from_slice(&total.to_bits().to_be_bytes()),
        }
        out
    }

    /// Whether this leaf wins over `other` at the same path and slot.
    pub(crate) fn beats(&self, other: &Leaf) -> bool {
        match self.stamp.cmp(&other.stamp) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            // INITIAL seeds, cloned stores and hostile peers; only then is the cost of encoding paid.
            std::cmp::Ordering::Equal => self.value != other.value && self.tie_bytes() > other.tie_bytes(),
        }
    }
}

/// Appends a token: hash, length, count of metadata, and the sorted texts.
pub(crate) fn encode_token(token: &AttachmentToken, out: &mut Vec<u8>) {
    out.extend_from_slice(&token.hash);
    put_varint(out, token.len);
    put_varint(out, token.metadata.len() as u64);
    for (k, v) in &token.metadata {
        put_str(out, k);
        put_bytes(out, v.as_bytes());
    }
}
