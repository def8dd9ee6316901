//! The hash tree of a blob: BLAKE3's own, from the chunks up.
//!
//! Level 0 holds the chaining value of each chunk, level `k + 1` one value for each two of level `k`; a value without
//! a partner goes up as it is. That is BLAKE3's shape. The values of all levels but the root, which is the blob's id, are
//! kept in a file, level by level. The proof of a chunk is the partners on its way up, from the bottom.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use ditto_types::{BLOB_CHUNK_BYTES, BlobId, blob_chunk_len, blob_chunks};

/// Bytes of a value.
pub(super) const NODE: usize = 32;

/// Where the values of a blob's tree stand.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    len: u64,
    /// First value and number of values of each level that is kept.
    levels: Vec<(u64, u64)>,
}

/// A value and its place in the file.
pub(super) type Placed = (u64, ChainingValue);

impl Shape {
    pub(super) fn new(len: u64) -> Self {
        let (mut levels, mut start, mut size) = (Vec::new(), 0, blob_chunks(len));
        while size > 1 {
            levels.push((start, size));
            start += size;
            size = size.div_ceil(2);
        }
        Self { len, levels }
    }

    pub(super) fn chunks(&self) -> u64 {
        blob_chunks(self.len)
    }

    /// Values that are kept.
    pub(super) fn nodes(&self) -> u64 {
        self.levels.last().map_or(0, |(start, size)| start + size)
    }

    /// Places of the proof of a chunk, from the bottom.
    pub(super) fn proof(&self, chunk: u64) -> Vec<u64> {
        let partners = self.levels.iter().enumerate().filter_map(|(k, (start, size))| {
            let partner = (chunk >> k) ^ 1;
            (partner < *size).then_some(start + partner)
        });
        partners.collect()
    }

    /// Verifies a chunk. Gives the values that are proven with it, or `None`.
    pub(super) fn verify(
        &self,
        id: &BlobId,
        chunk: u64,
        bytes: &[u8],
        proof: &[ChainingValue],
    ) -> Option<Vec<Placed>> {
        let places = self.proof(chunk);
        if blob_chunk_len(self.len, chunk) != Some(bytes.len()) || places.len() != proof.len() {
            return None;
        }
        if self.levels.is_empty() {
            return (blake3::hash(bytes).as_bytes() == &id.0).then(Vec::new);
        }
        let mut value = chunk_value(chunk, bytes);
        let mut root = None;
        let mut proven = Vec::with_capacity(2 * proof.len() + 1);
        let mut rest = proof.iter();
        for (k, (start, size)) in self.levels.iter().enumerate() {
            let at = chunk >> k;
            proven.push((start + at, value));
            if at ^ 1 < *size {
                let partner = *rest.next()?;
                proven.push((start + (at ^ 1), partner));
                let (left, right) = if at & 1 == 0 { (&value, &partner) } else { (&partner, &value) };
                if *size == 2 {
                    root = Some(merge_subtrees_root(left, right, Mode::Hash));
                    break;
                }
                value = merge_subtrees_non_root(left, right, Mode::Hash);
            }
        }
        (root?.as_bytes() == &id.0).then_some(proven)
    }
}

/// The value of a chunk of a blob that has several.
pub(super) fn chunk_value(chunk: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(chunk * BLOB_CHUNK_BYTES as u64).update(bytes).finalize_non_root()
}

/// Puts the levels above the values of at least two chunks: all values in the order of the file, and the blob's id.
pub(super) fn grow(chunks: Vec<ChainingValue>) -> (Vec<ChainingValue>, BlobId) {
    let (mut all, mut from) = (chunks, 0);
    loop {
        let level = from..all.len();
        if level.len() == 2 {
            let root = merge_subtrees_root(&all[from], &all[from + 1], Mode::Hash);
            return (all, BlobId(*root.as_bytes()));
        }
        from = level.end;
        for left in level.clone().step_by(2) {
            let up = match left + 1 < level.end {
                true => merge_subtrees_non_root(&all[left], &all[left + 1], Mode::Hash),
                false => all[left],
            };
            all.push(up);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    /// Expected: what BLAKE3 itself says of the bytes as a whole.
    #[test]
    fn the_id_is_blake3_and_every_chunk_proves_itself_and_nothing_else() {
        for len in [1, 2, 3, 4, 5, 7, 8, 9, 13].map(|n| n * BLOB_CHUNK_BYTES - 5) {
            let bytes = content(len);
            let shape = Shape::new(len as u64);
            let values: Vec<_> =
                bytes.chunks(BLOB_CHUNK_BYTES).enumerate().map(|(i, b)| chunk_value(i as u64, b)).collect();
            let id = BlobId(*blake3::hash(&bytes).as_bytes());
            if values.len() == 1 {
                assert_eq!(shape.verify(&id, 0, &bytes, &[]), Some(vec![]));
                assert_eq!(shape.verify(&id, 0, &bytes[1..], &[]), None);
                continue;
            }
            let (nodes, root) = grow(values);
            assert_eq!(root, id, "{len}");
            assert_eq!(nodes.len() as u64, shape.nodes());
            for (i, b) in bytes.chunks(BLOB_CHUNK_BYTES).enumerate() {
                let i = i as u64;
                let mut proof: Vec<_> = shape.proof(i).into_iter().map(|at| nodes[at as usize]).collect();
                for (at, value) in shape.verify(&id, i, b, &proof).unwrap() {
                    assert_eq!(nodes[at as usize], value);
                }
                assert_eq!(shape.verify(&id, i + 1, b, &proof), None);
                assert_eq!(shape.verify(&id, u64::MAX, b, &proof), None);
                assert_eq!(shape.verify(&id, i, &b[1..], &proof), None);
                assert_eq!(shape.verify(&BlobId([7; 32]), i, b, &proof), None);
                assert_eq!(shape.verify(&id, i, b, &proof[1..]), None);
                proof[0][0] ^= 1;
                assert_eq!(shape.verify(&id, i, b, &proof), None);
            }
        }
    }
}
