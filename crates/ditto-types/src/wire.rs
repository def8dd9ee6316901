//! Bounded reading and writing of bytes: the one place where lengths from peers and files are checked.
//!
//! Every reader method fails on truncated input and never allocates more than the input holds.

/// Why bytes could not be read. Carries the offset, so that a log line can say where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ended inside a field.
    #[error("input ends inside a field at byte {0}")]
    Truncated(usize),
    /// A variable-length integer is longer than its type or not in shortest form.
    #[error("malformed integer at byte {0}")]
    Varint(usize),
    /// A length or count exceeds its limit.
    #[error("length {len} exceeds the limit {limit} at byte {at}")]
    TooLong { at: usize, len: u64, limit: u64 },
    /// Text is not UTF-8.
    #[error("text is not UTF-8 at byte {0}")]
    Utf8(usize),
    /// Nesting is deeper than [`crate::MAX_DEPTH`].
    #[error("nesting too deep at byte {0}")]
    Depth(usize),
    /// A tag, flag or order that the format does not know or allow.
    #[error("invalid {what} at byte {at}")]
    Invalid { at: usize, what: &'static str },
    /// Bytes left over after the last field.
    #[error("{0} bytes left over")]
    Trailing(usize),
}

/// Appends `v` as a little-endian base-128 integer in its shortest form.
pub fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Bytes that [`put_varint`] needs for `v`.
pub fn varint_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a signed integer in zigzag form.
pub fn put_zigzag(out: &mut Vec<u8>, v: i64) {
    put_varint(out, ((v << 1) ^ (v >> 63)) as u64);
}

/// Appends a length followed by the bytes.
pub fn put_bytes(out: &mut Vec<u8>, v: &[u8]) {
    put_varint(out, v.len() as u64);
    out.extend_from_slice(v);
}

/// Appends a length followed by UTF-8 text.
pub fn put_str(out: &mut Vec<u8>, v: &str) {
    put_bytes(out, v.as_bytes());
}

/// A cursor over untrusted bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[inline]
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.at
    }

    /// Whether everything was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Fails unless everything was read.
    #[inline]
    pub fn finish(&self) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.remaining())) }
    }

    /// The next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let end =
            self.at.checked_add(n).filter(|e| *e <= self.buf.len()).ok_or(WireError::Truncated(self.at))?;
        let out = &self.buf[self.at..end];
        self.at = end;
        Ok(out)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian 64-bit integer.
    #[inline]
    pub fn u64_le(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A shortest-form base-128 integer.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.buf.get(self.at) {
            // Most are small.
            Some(b) if *b < 0x80 => {
                self.at += 1;
                Ok(u64::from(*b))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut out = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            let part = u64::from(b & 0x7f);
            if shift == 63 && part > 1 {
                return Err(WireError::Varint(start));
            }
            out |= part << shift;
            if b & 0x80 == 0 {
                return if b == 0 && shift > 0 { Err(WireError::Varint(start)) } else { Ok(out) };
            }
        }
        Err(WireError::Varint(start))
    }

    /// A zigzag signed integer.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, WireError> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A length or count that must not exceed `limit`.
    #[inline]
    pub fn len(&mut self, limit: usize) -> Result<usize, WireError> {
        let at = self.at;
        let len = self.varint()?;
        if len > limit as u64 {
            return Err(WireError::TooLong { at, len, limit: limit as u64 });
        }
        Ok(len as usize)
    }

    /// A count of items that take at least `min_size` bytes each, so that it can be used as a capacity.
    #[inline]
    pub fn count(&mut self, min_size: usize) -> Result<usize, WireError> {
        let at = self.at;
        let n = self.varint()?;
        let limit = (self.remaining() / min_size.max(1)) as u64;
        if n > limit {
            return Err(WireError::TooLong { at, len: n, limit });
        }
        Ok(n as usize)
    }

    /// Length-prefixed bytes of at most `limit`.
    #[inline]
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], WireError> {
        let n = self.len(limit)?;
        self.take(n)
    }

    /// Length-prefixed UTF-8 text of at most `limit` bytes.
    #[inline]
    pub fn str(&mut self, limit: usize) -> Result<&'a str, WireError> {
        let at = self.at;
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| WireError::Utf8(at))
    }

    /// A [`WireError::Invalid`] at the current offset.
    pub fn invalid(&self, what: &'static str) -> WireError {
        WireError::Invalid { at: self.at, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varint_round_trip(v: u64) {
            let mut b = Vec::new();
            put_varint(&mut b, v);
            prop_assert_eq!(b.len(), varint_len(v));
            let mut r = Reader::new(&b);
            prop_assert_eq!(r.varint().unwrap(), v);
            prop_assert!(r.finish().is_ok());
        }

        #[test]
        fn zigzag_round_trip(v: i64) {
            let mut b = Vec::new();
            put_zigzag(&mut b, v);
            prop_assert_eq!(Reader::new(&b).zigzag().unwrap(), v);
        }
    }

    #[test]
    fn long_forms_and_overflow_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0]).varint(), Err(WireError::Varint(0)));
        assert_eq!(Reader::new(&[0xff; 10]).varint(), Err(WireError::Varint(0)));
        assert_eq!(Reader::new(&[0xff; 3]).varint(), Err(WireError::Truncated(3)));
        assert!(matches!(Reader::new(&[0xff, 0x7f]).count(1), Err(WireError::TooLong { .. })));
    }
}
