//! Bytes that only a hostile peer or a broken disk writes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use cpu_time::ThreadTime;
use ditto_crdt::{DecodeError, DictReader, DictWriter, Doc, DocView, FieldKind, Op, OpError, decode, encode};
use ditto_types::wire::{WireError, put_bytes, put_varint, put_zigzag};
use ditto_types::{Hlc, MAX_DEPTH, Path, SiteId, SmolStr, Stamp, Value, codec};

/// Names are `f000000`, `f000001`, …; sites are `[n; 16]`.
struct Dict(Vec<SmolStr>);

/// The number of `_id`.
const ID: u32 = 40_000;

impl Dict {
    fn new() -> Self {
        Self((0..ID).map(|i| format!("f{i:06}").into()).chain(["_id".into()]).collect())
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
        name[1..].parse().unwrap()
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
fn nested(mut inner: Vec<u8>, levels: usize) -> Vec<u8> {
    for _ in 0..levels {
        let mut below = entry(7, 0, &[]);
        put_bytes(&mut below, &inner);
        inner = node(&[below]);
    }
    inner
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

/// `levels` names, and at the last of them an array nested so deep that its depth is `depth`.
fn deep_value(levels: usize, depth: usize) -> Vec<u8> {
    let value = (1..depth).fold(Value::Null, |v, _| Value::Array(vec![v]));
    document(nested(node(&[entry(0, 0, &codec::to_vec(&value))]), levels - 1))
}

#[test]
fn paths_and_values_are_bounded_together() {
    let dict = Dict::new();
    for levels in [1, 2, 30, 62, 63] {
        let fits = deep_value(levels, MAX_DEPTH - levels);
        let doc = decode(&fits, &dict).unwrap();
        assert_eq!(Value::Object(doc.to_object()).depth(), MAX_DEPTH);
        assert_eq!(DocView::new(&fits, &dict).unwrap().to_object().unwrap(), doc.to_object());
        let deeper = deep_value(levels, MAX_DEPTH - levels + 1);
        assert!(matches!(decode(&deeper, &dict), Err(DecodeError::Wire(WireError::Depth(_)))), "{levels}");
    }
    let marks = |levels| document(nested(node(&[entry(2, 0, &[])]), levels - 1));
    assert!(decode(&marks(MAX_DEPTH - 1), &dict).is_ok());
    assert!(decode(&marks(MAX_DEPTH), &dict).is_err());
    // The same bound on writing: what is written can be read.
    let at = |t| Stamp::new(Hlc(t), SiteId { id: [1; 16], incarnation: 0 });
    let path = |n: usize| Path::new(vec!["f000000"; n]);
    let ops: [fn(Path) -> Op; 4] = [
        |path| Op::Set { path, value: 1.into(), kind: FieldKind::Inferred },
        |path| Op::Increment { path, by: 1 },
        |path| Op::Restart { path, to: 1 },
        |path| Op::PnIncrement { path, by: 1.0 },
    ];
    for op in ops {
        let mut doc = Doc::fresh(&Default::default(), at(1));
        doc.apply(&op(path(MAX_DEPTH - 1)), at(2)).unwrap();
        assert_eq!(decode(&encode(&doc, &mut Dict::new()), &dict), Ok(doc.clone()));
        assert!(matches!(doc.apply(&op(path(MAX_DEPTH)), at(2)), Err(OpError::TooDeep(_))));
    }
    let unset = Op::Unset { path: path(MAX_DEPTH) };
    assert!(Doc::default().apply(&unset, at(1)).is_err());
}

#[test]
fn the_id_is_refused() {
    let at_root = document(node(&[entry(0, ID, &[1])]));
    assert!(matches!(decode(&at_root, &Dict::new()), Err(DecodeError::Wire(WireError::Invalid { .. }))));
    let below = document(nested(node(&[entry(0, ID, &[1])]), 1));
    assert!(decode(&below, &Dict::new()).is_ok());
    let mut inline = vec![1, 1, 1];
    SiteId { id: [1; 16], incarnation: 0 }.encode(&mut inline);
    inline.extend([0; 8]);
    inline.extend([2, 0, 0, 0, 3, b'_', b'i', b'd', 1]);
    assert!(matches!(Doc::from_canonical(&inline), Err(DecodeError::Wire(WireError::Invalid { .. }))));
    let name = inline.len() - 4;
    inline[name] = b'a';
    assert!(Doc::from_canonical(&inline).is_ok());
}

#[test]
fn other_bytes_for_the_same_state_are_refused() {
    let dict = Dict::new();
    assert!(decode(&document(vec![0]), &dict).is_ok());
    // A site that nothing names.
    let unused = [&[1, 0, 2, 1, 2][..], &[0; 8], &[0]].concat();
    assert_eq!(decode(&unused, &dict), Err(DecodeError::NotCanonical));
    // A `born` of its own, which some other format might have.
    let mut born = [&HEAD[..], &[0, 0, 0], &[0]].concat();
    born[1] = 2;
    assert!(decode(&born, &dict).is_err());
    assert!(DocView::new(&born, &dict).is_err());
    // Entries of one key and keys of one node out of order, or twice.
    let (a, b) = (entry(0, 1, &[0]), entry(0, 2, &[0]));
    let mark = entry(2, 1, &[]);
    assert!(decode(&document(node(&[a.clone(), mark.clone(), b.clone()])), &dict).is_ok());
    for entries in [[b, a.clone()], [mark, a.clone()], [a.clone(), a]] {
        assert_eq!(decode(&document(node(&entries)), &dict), Err(DecodeError::NotCanonical));
    }
    // A node without entries.
    assert_eq!(decode(&document(nested(vec![0], 1)), &dict), Err(DecodeError::NotCanonical));
    // Not a number as a PN counter's total.
    let pn =
        |total: f64| document(node(&[entry(5, 1, &[&[0][..], &total.to_bits().to_le_bytes()].concat())]));
    assert!(decode(&pn(1.5), &dict).is_ok());
    for total in [f64::NAN, f64::INFINITY] {
        assert!(decode(&pn(total), &dict).is_err());
    }
}

/// A removal of name `name` at time 5 that saw time `obs`.
fn tomb(name: u32, obs: i64, first: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    if first {
        payload.extend([0, 5, 0]);
    }
    put_zigzag(&mut payload, 0);
    put_varint(&mut payload, obs as u64);
    payload.push(0);
    entry(6 | if first { 2 } else { 1 } << 3, name, &payload)
}

#[test]
fn covered_leaves_are_refused_at_every_depth() {
    let dict = Dict::new();
    let leaf = || entry(0, 3, &[0]);
    let below = |levels| nested(node(&[leaf()]), levels);
    let with_tomb = |levels: usize, obs| {
        let mut inner = vec![7, 0];
        put_bytes(&mut inner, &below(levels));
        document(node(&[tomb(0, obs, true), inner]))
    };
    for levels in [0, 1, 5] {
        // The leaf has time 0.
        assert_eq!(decode(&with_tomb(levels, 1), &dict), Err(DecodeError::NotCanonical));
        assert_eq!(decode(&with_tomb(levels, 0), &dict), Err(DecodeError::NotCanonical));
    }
    let same_key = document(node(&[entry(0, 0, &[0]), tomb(0, 1, true)]));
    assert_eq!(decode(&same_key, &dict), Err(DecodeError::NotCanonical));
    assert!(decode(&document(node(&[tomb(0, 1, true), leaf()])), &dict).is_ok());
}

/// Time grows with the input, not with leaves times removals.
#[test]
fn many_leaves_and_removals_take_linear_time() {
    let time = |n: u32| {
        let removals = (0..n).map(|i| tomb(i, 4, i == 0));
        let leaves = (n..2 * n).map(|i| entry(0, i, &[1]));
        let bytes = document(node(&removals.chain(leaves).collect::<Vec<_>>()));
        let dict = Dict::new();
        // Processor time, the least of several runs: the machine does other things too.
        let run = || {
            let start = ThreadTime::now();
            let doc = decode(&bytes, &dict).unwrap();
            let mut merged = doc.clone();
            merged.merge(&doc);
            assert_eq!(merged, doc);
            assert_eq!(doc.tombs().count(), n as usize);
            start.elapsed()
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    let (few, many) = (time(1_000), time(20_000));
    // Twenty times the input; the product of both would be four hundred times the time.
    assert!(many < few * 100 + Duration::from_millis(5), "{few:?}, then {many:?}");
}

/// T1.4: memory is bounded by the input, at every depth.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_depth() {
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
    // Alone in its process, so that other tests do not count.
    const CHILD: &str = "DITTO_MEMORY_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let me = std::env::current_exe().unwrap();
        let test = ["memory_does_not_grow_with_depth", "--exact", "--nocapture"];
        let out = std::process::Command::new(me).args(test).env(CHILD, "1").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let dict = Dict::new();
    let wide = node(&(0..ID - 1).map(|i| entry(0, i, &[0])).collect::<Vec<_>>());
    let small = |i: u32| {
        let mut out = entry(7, i, &[]);
        put_bytes(&mut out, &nested(node(&[entry(0, 0, &[0])]), 3));
        out
    };
    let many_small = node(&(0..ID - 1).map(small).collect::<Vec<_>>());
    for (what, node, limit) in [("wide", wide, 32), ("many small maps", many_small, 40)] {
        for levels in [0, 58] {
            let bytes = document(nested(node.clone(), levels));
            let before = resident();
            let doc = decode(&bytes, &dict).unwrap();
            let grown = resident().saturating_sub(before);
            assert!(grown <= limit * bytes.len(), "{what}: {} bytes took {grown}", bytes.len());
            // Kept, so that freed memory is not used again.
            std::mem::forget(doc);
        }
    }
}
