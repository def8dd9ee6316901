//! Bytes in pieces that are shared instead of copied.
//!
//! A message of the app is kept by its queue, by the frames that are not acknowledged and by the link that they wait for, all
//! at the same time. They share its bytes. What is small is copied, because sharing it would cost more.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Pieces up to this size are copied.
pub(crate) const SMALL: usize = 512;

/// A sequence of bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Bytes>,
    /// What was copied last; it comes after the pieces.
    tail: Vec<u8>,
    len: usize,
}

impl From<Vec<u8>> for Rope {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        if len <= SMALL {
            return Self { pieces: VecDeque::new(), tail: bytes, len };
        }
        Self { pieces: VecDeque::from([Bytes::from(bytes)]), tail: Vec::new(), len }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        let mut out = Self::default();
        out.push(bytes);
        out
    }
}

impl Rope {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `write` append to the bytes.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends a copy.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends, by sharing what is not small.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= SMALL {
            return self.copy(&bytes);
        }
        self.len += bytes.len();
        self.close_tail();
        self.pieces.push_back(bytes);
    }

    /// Appends all of another one, which keeps it.
    pub(crate) fn share(&mut self, other: &Rope) {
        for piece in &other.pieces {
            if piece.len() <= SMALL {
                self.copy(piece);
            } else {
                self.push(piece.clone());
            }
        }
        self.copy(&other.tail);
    }

    /// Takes all of another one.
    pub(crate) fn append(&mut self, mut other: Rope) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let all = other.len;
        other.move_to(all, self);
    }

    /// Moves the first `n` bytes to the end of another one; all, if there are fewer.
    pub(crate) fn move_to(&mut self, n: usize, to: &mut Rope) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else {
                if left == self.tail.len() {
                    to.copy(&self.tail);
                    self.tail.clear();
                    return;
                }
                self.close_tail();
                continue;
            };
            if front.len() > left {
                to.push(front.split_to(left));
                return;
            }
            left -= front.len();
            if let Some(piece) = self.pieces.pop_front() {
                to.push(piece);
            }
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// The bytes, piece by piece.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let tail = (!self.tail.is_empty()).then_some(self.tail.as_slice());
        self.pieces.iter().map(|p| p.as_ref()).chain(tail)
    }

    /// The same for a vectored write.
    pub(crate) fn io_slices(&self) -> Vec<IoSlice<'_>> {
        self.slices().map(IoSlice::new).collect()
    }

    /// A copy in one piece.
    #[cfg(test)]
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.slices().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is appended how, and taken in whatever pieces, comes out as it went in.
        #[test]
        fn bytes_keep_their_order(
            parts in proptest::collection::vec((0usize..3000, 0u8..4), 1..20),
            takes in proptest::collection::vec(0usize..4000, 1..30),
        ) {
            let (mut rope, mut plain) = (Rope::default(), Vec::new());
            for (i, (size, how)) in parts.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..size).map(|n| (n + 7 * i) as u8).collect();
                plain.extend_from_slice(&bytes);
                match how {
                    0 => rope.copy(&bytes),
                    1 => rope.push(Bytes::from(bytes)),
                    2 => rope.share(&Rope::from(bytes)),
                    _ => rope.append(Rope::from(bytes)),
                }
                prop_assert_eq!(rope.len(), plain.len());
            }
            prop_assert_eq!(rope.to_vec(), plain.clone());
            let mut taken = Rope::default();
            for n in takes {
                let before = rope.len();
                rope.move_to(n, &mut taken);
                prop_assert_eq!(rope.len(), before - n.min(before));
                prop_assert_eq!(taken.len() + rope.len(), plain.len());
                prop_assert_eq!([taken.to_vec(), rope.to_vec()].concat(), plain.clone());
            }
        }
    }

    #[test]
    fn large_pieces_are_shared_and_small_ones_copied() {
        let message = Bytes::from(vec![7; 4096]);
        let mut frame = Rope::default();
        frame.copy(b"head");
        frame.push(message.clone());
        frame.push(Bytes::from_static(b"end"));
        let mut out = Rope::default();
        out.share(&frame);
        let slices: Vec<&[u8]> = out.slices().collect();
        assert_eq!(slices.len(), 3);
        assert_eq!(slices[1].as_ptr(), message.as_ptr());
    }
}
