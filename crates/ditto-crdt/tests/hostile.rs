//! Bytes that only a hostile peer or a broken disk writes.

#![allow(clippy::unwrap_used, reason = "tests")]

use ditto_crdt::{DecodeError, DictReader, DictWriter, DocView, decode};
use ditto_types::wire::{WireError, put_bytes, put_varint};
use ditto_types::{SiteId, SmolStr};

/// Names are `f000000`, `f000001`, …; sites are `[n; 16]`.
struct Dict(Vec<SmolStr>);

impl Dict {
    fn new() -> Self {
        Self((0..40_000).map(|i| format!("f{i:06}").into()).collect())
    }
}

impl DictReader for Dict {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        (number < 200).then_some(SiteId { id: [number as u8; 16], incarnation: 0 })
    }
}

impl DictWriter for Dict {
    fn key_ref(&mut self, name: &str) -> u32 {
        self.0.binary_search_by(|n| n.as_str().cmp(name)).unwrap() as u32
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        site.id[0].into()
    }
}

/// Format, no flags, site 1, base time 0, which is `born`.
const HEAD: [u8; 12] = [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// A node of these entries, each complete.
fn node(entries: &[Vec<u8>]) -> Vec<u8> {
    let wide = entries.iter().map(Vec::len).sum::<usize>() > usize::from(u16::MAX);
    let mut out = Vec::new();
    put_varint(&mut out, (entries.len() as u64) << 1 | u64::from(wide));
    let mut offset = 0;
    for entry in entries {
        let bytes = (offset as u32).to_le_bytes();
        out.extend_from_slice(if wide { &bytes } else { &bytes[..2] });
        offset += entry.len();
    }
    entries.iter().for_each(|e| out.extend_from_slice(e));
    out
}

/// An entry with the base stamp.
fn entry(kind: u8, name: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    put_varint(&mut out, name.into());
    out.extend_from_slice(payload);
    out
}

/// The node below `levels` more of them, each with one name.
fn nested(inner: Vec<u8>, levels: usize) -> Vec<u8> {
    let mut node = inner;
    for _ in 0..levels {
        let mut outer = vec![2, 0, 0, 7, 0];
        put_bytes(&mut outer, &node);
        node = outer;
    }
    node
}

fn document(root: Vec<u8>) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    out.extend(root);
    out
}

#[test]
fn reading_in_place_does_not_follow_any_depth() {
    // Outermost first, as building from inside would be quadratic.
    let (mut heads, mut len) = (Vec::new(), 6);
    for _ in 0..100_000 {
        let mut head = vec![2, 0, 0, 7, 0];
        put_varint(&mut head, len as u64);
        len += head.len();
        heads.push(head);
    }
    let mut bytes = HEAD.to_vec();
    heads.iter().rev().for_each(|h| bytes.extend_from_slice(h));
    bytes.extend([2, 0, 0, 0, 0, 1]);
    let dict = Dict::new();
    let view = DocView::new(&bytes, &dict).unwrap();
    assert!(matches!(view.to_object(), Err(DecodeError::Wire(WireError::Depth(_)))));
    assert!(matches!(view.get(&[]), Err(DecodeError::Wire(WireError::Depth(_)))));
    let deep = vec![SmolStr::new_static("f000000"); 200];
    assert!(matches!(view.get(&deep), Err(DecodeError::Wire(WireError::Depth(_)))));
    assert!(matches!(decode(&bytes, &dict), Err(DecodeError::Wire(WireError::Depth(_)))));
    let shallow = document(nested(node(&[entry(0, 1, &[1])]), 5));
    assert_eq!(DocView::new(&shallow, &dict).unwrap().to_object().unwrap().len(), 1);
}
