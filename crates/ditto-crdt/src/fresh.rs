//! The encodings of a new document straight from its fields, without building the document in between.

use ditto_types::wire::{put_str, put_varint};
use ditto_types::{Object, SmolStr, Stamp, Value, codec};

use crate::encode::{DictWriter, FORMAT, INLINE, kind};
use crate::leaf::ID;

/// Appends the encodings of [`Doc::fresh`](crate::Doc::fresh) of these fields: to `stored` that of
/// [`encode`](crate::encode), to `canonical` that of [`Doc::canonical`](crate::Doc::canonical).
///
/// As there, `_id` is left out and values must not be nested as deep as [`MAX_DEPTH`](ditto_types::MAX_DEPTH).
pub fn encode_fresh(
    fields: &Object,
    stamp: Stamp,
    dict: &mut dyn DictWriter,
    stored: &mut Vec<u8>,
    canonical: &mut Vec<u8>,
) {
    Fresh { dict: Some(dict), offsets: Vec::new() }.document(fields, stamp, stored);
    Fresh { dict: None, offsets: Vec::new() }.document(fields, stamp, canonical);
}

struct Fresh<'d> {
    dict: Option<&'d mut dyn DictWriter>,
    /// Offsets of the entries of the nodes that are being written, outer ones first.
    offsets: Vec<u32>,
}

impl Fresh<'_> {
    fn document(mut self, fields: &Object, stamp: Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&[FORMAT, if self.dict.is_none() { INLINE } else { 0 }]);
        put_varint(out, 1);
        match &mut self.dict {
            Some(dict) => put_varint(out, dict.site_ref(&stamp.site).into()),
            None => stamp.site.encode(out),
        }
        out.extend_from_slice(&stamp.hlc.0.to_le_bytes());
        self.node(fields.iter().filter(|(name, _)| *name != ID), out);
    }

    /// Every entry has the base stamp: mode 0, and no stamp is written.
    fn node<'f>(
        &mut self,
        fields: impl Iterator<Item = (&'f SmolStr, &'f Value)> + Clone,
        out: &mut Vec<u8>,
    ) {
        let count: usize = fields.clone().map(|(_, value)| entries(value)).sum();
        let start = out.len();
        put_varint(out, (count as u64) << 1);
        let table = out.len();
        out.resize(table + 2 * count, 0);
        let body = out.len();
        let first = self.offsets.len();
        for (name, value) in fields {
            self.offsets.push((out.len() - body) as u32);
            match value {
                Value::Object(below) => {
                    self.head(kind::MAP_MARK, name, out);
                    if !below.is_empty() {
                        self.offsets.push((out.len() - body) as u32);
                        self.head(kind::NODE, name, out);
                        self.below(below, out);
                    }
                }
                value => {
                    self.head(kind::REG, name, out);
                    codec::encode(value, out);
                }
            }
        }
        if out.len() - body > usize::from(u16::MAX) {
            // The lowest bit of the count says that offsets take four bytes.
            out[start] |= 1;
            let wide = self.offsets.drain(first..).flat_map(u32::to_le_bytes);
            out.splice(table..body, wide);
        } else {
            for (at, offset) in out[table..body].chunks_exact_mut(2).zip(self.offsets.drain(first..)) {
                at.copy_from_slice(&(offset as u16).to_le_bytes());
            }
        }
    }

    /// A node with its length in front.
    fn below(&mut self, fields: &Object, out: &mut Vec<u8>) {
        let start = out.len();
        // Most lengths take one byte.
        out.push(0);
        self.node(fields.iter(), out);
        let len = out.len() - start - 1;
        if let Ok(len @ ..0x80) = u8::try_from(len) {
            out[start] = len;
        } else {
            let mut varint = Vec::with_capacity(10);
            put_varint(&mut varint, len as u64);
            out.splice(start..=start, varint);
        }
    }

    fn head(&mut self, kind: u8, name: &str, out: &mut Vec<u8>) {
        out.push(kind);
        match &mut self.dict {
            Some(dict) => put_varint(out, dict.key_ref(name).into()),
            None => put_str(out, name),
        }
    }
}

/// Entries of a field: a map that is not empty has one for itself and one for what is in it.
fn entries(value: &Value) -> usize {
    match value {
        Value::Object(below) if !below.is_empty() => 2,
        _ => 1,
    }
}
