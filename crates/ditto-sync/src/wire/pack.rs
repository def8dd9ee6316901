//! Compression of messages full of documents.
//!
//! ```text
//! packed := 18 u8 | length of the message | zstd frame
//! ```
//!
//! Sessions are authenticated before they carry messages, and nothing is unpacked beyond the length that it declares,
//! which is capped like that of any message. Small messages are sent as they are: one update of one field would grow.

use std::borrow::Cow;

use ditto_types::wire::{Reader, WireError, put_varint};
use zstd::bulk::{Compressor, Decompressor};

use crate::limits::MAX_MESSAGE_BYTES;

/// First byte of a packed message.
const PACKED: u8 = 18;

/// Messages below this size are not worth the call.
const MIN_BYTES: usize = 512;

/// Higher levels save a few percent and cost several times as much.
const LEVEL: i32 = 1;

/// Working memory of both directions, made when first used.
#[derive(Default)]
pub(crate) struct Packer {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
}

impl Packer {
    /// Compresses a message, if that makes it smaller.
    pub(crate) fn pack(&mut self, message: Vec<u8>) -> Vec<u8> {
        if message.len() < MIN_BYTES {
            return message;
        }
        match self.packed(&message) {
            Some(packed) if packed.len() < message.len() => packed,
            _ => message,
        }
    }

    fn packed(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if self.compressor.is_none() {
            self.compressor = Compressor::new(LEVEL).ok();
        }
        let frame = self.compressor.as_mut()?.compress(message).ok()?;
        let mut out = Vec::with_capacity(frame.len() + 6);
        out.push(PACKED);
        put_varint(&mut out, message.len() as u64);
        out.extend_from_slice(&frame);
        Some(out)
    }

    /// The message in what was received.
    pub(crate) fn unpack<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, WireError> {
        if bytes.first() != Some(&PACKED) {
            return Ok(Cow::Borrowed(bytes));
        }
        let r = &mut Reader::new(&bytes[1..]);
        let length = r.len(MAX_MESSAGE_BYTES)?;
        let frame = r.take(r.remaining())?;
        // A frame states its length too, so that nothing is set aside for one that lies.
        let stated = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
        if stated != Some(length as u64) {
            return Err(r.invalid("length of a packed message"));
        }
        if self.decompressor.is_none() {
            self.decompressor = Decompressor::new().ok();
        }
        let message = self.decompressor.as_mut().and_then(|d| d.decompress(frame, length).ok());
        match message {
            Some(message) if message.len() == length && message.first() != Some(&PACKED) => {
                Ok(Cow::Owned(message))
            }
            _ => Err(r.invalid("packed message")),
        }
    }
}

#[cfg(test)]
mod tests {
    use ditto_types::wire::put_varint;
    use proptest::prelude::*;

    use super::*;

    fn packed(length: u64, frame: &[u8]) -> Vec<u8> {
        let mut out = vec![PACKED];
        put_varint(&mut out, length);
        out.extend_from_slice(frame);
        out
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(seed in proptest::collection::vec(any::<u8>(), 1..40), n in 1..200usize) {
            prop_assume!(seed[0] != PACKED);
            let mut packer = Packer::default();
            let message = seed.repeat(n);
            let packed = packer.pack(message.clone());
            prop_assert!(packed.len() <= message.len());
            prop_assert_eq!(&*packer.unpack(&packed).unwrap(), &message[..]);
        }

        #[test]
        fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..100), length in 0..1_000_000u64) {
            let mut packer = Packer::default();
            let _ = packer.unpack(&packed(length, &noise));
        }
    }

    #[test]
    fn bombs_and_lies_are_refused() {
        let mut packer = Packer::default();
        let zeros = vec![0; 64 << 20];
        let bomb = zstd::bulk::compress(&zeros, 1).unwrap();
        assert!(bomb.len() < 16 << 10);
        // The true length is too much, and a smaller one is a lie.
        assert!(matches!(packer.unpack(&packed(zeros.len() as u64, &bomb)), Err(WireError::TooLong { .. })));
        assert!(packer.unpack(&packed(1_000, &bomb)).is_err());
        let small = zstd::bulk::compress(&[7; 5_000], 1).unwrap();
        assert!(packer.unpack(&packed(4_999, &small)).is_err());
        assert!(packer.unpack(&packed(5_001, &small)).is_err());
        assert!(packer.unpack(&packed(5_000, &small[..small.len() - 1])).is_err());
        assert!(packer.unpack(&packed(5_000, &small)).is_ok());
        // Nothing is packed twice.
        let mut again = packer.pack(vec![PACKED; 5_000]);
        assert!(packer.unpack(&again).is_err());
        again.truncate(1);
        assert!(packer.unpack(&again).is_err());
    }
}
