//! The frame codec.
//!
//! ```text
//! frame := len varint | kind:4 flags:4 | channel varint | payload      whole frame <= the receiver's max_frame
//! 1 OPEN   service u8, class u8, window varint       6 PING   u64
//! 2 DATA   bytes; flag 1 END_MSG, flag 2 FIN         7 PONG   u64, wall_ms varint
//! 3 CREDIT bytes varint                              8 FACK   frames varint
//! 4 RESET  code varint                               9 SWITCH session 8, frames varint
//! 5 DGRAM  bytes                                    10 GOAWAY code varint
//! ```
//!
//! OPEN, DATA, CREDIT and RESET belong to the session: they are numbered implicitly by their order, acknowledged by
//! FACK and sent again on another link after SWITCH. The others belong to a link; their channel is 0, except DGRAM's.

use ditto_types::wire::{Reader, WireError, put_varint, varint_len};

/// Largest frame that any side may announce.
pub(crate) const HARD_MAX_FRAME: usize = 64 << 10;

/// Smallest largest frame that any side may announce, so that every datagram fits one frame.
pub(crate) const MIN_MAX_FRAME: usize = 2 << 10;

/// Most bytes of a frame around its payload: length 3, kind 1, channel 2.
pub(crate) const FRAME_OVERHEAD: usize = 6;

/// Longest FACK frame.
pub(crate) const MAX_FACK: usize = 13;

/// Largest channel id; ids are small because a session has at most 256 channels.
pub(crate) const MAX_CHANNEL: u64 = 0x3fff;

const END_MSG: u8 = 1;
const FIN: u8 = 2;

/// One frame, its payload borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Open { channel: u64, service: u8, class: u8, window: u64 },
    Data { channel: u64, payload: &'a [u8], end: bool, fin: bool },
    Credit { channel: u64, bytes: u64 },
    Reset { channel: u64, code: u64 },
    Dgram { channel: u64, payload: &'a [u8] },
    Ping { nonce: u64 },
    Pong { nonce: u64, wall_ms: u64 },
    Fack { frames: u64 },
    Switch { session: [u8; 8], frames: u64 },
    GoAway { code: u64 },
}

impl Frame<'_> {
    /// Appends the frame.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, flags, channel) = match *self {
            Frame::Open { channel, .. } => (1, 0, channel),
            Frame::Data { channel, end, fin, .. } => {
                (2, if end { END_MSG } else { 0 } | if fin { FIN } else { 0 }, channel)
            }
            Frame::Credit { channel, .. } => (3, 0, channel),
            Frame::Reset { channel, .. } => (4, 0, channel),
            Frame::Dgram { channel, .. } => (5, 0, channel),
            Frame::Ping { .. } => (6, 0, 0),
            Frame::Pong { .. } => (7, 0, 0),
            Frame::Fack { .. } => (8, 0, 0),
            Frame::Switch { .. } => (9, 0, 0),
            Frame::GoAway { .. } => (10, 0, 0),
        };
        let mut small = Vec::new();
        let payload: &[u8] = match *self {
            Frame::Data { payload, .. } | Frame::Dgram { payload, .. } => payload,
            Frame::Open { service, class, window, .. } => {
                small.extend_from_slice(&[service, class]);
                put_varint(&mut small, window);
                &small
            }
            Frame::Credit { bytes: v, .. }
            | Frame::Reset { code: v, .. }
            | Frame::Fack { frames: v }
            | Frame::GoAway { code: v } => {
                put_varint(&mut small, v);
                &small
            }
            Frame::Ping { nonce } => {
                small.extend_from_slice(&nonce.to_le_bytes());
                &small
            }
            Frame::Pong { nonce, wall_ms } => {
                small.extend_from_slice(&nonce.to_le_bytes());
                put_varint(&mut small, wall_ms);
                &small
            }
            Frame::Switch { session, frames } => {
                small.extend_from_slice(&session);
                put_varint(&mut small, frames);
                &small
            }
        };
        put_varint(out, (1 + varint_len(channel) + payload.len()) as u64);
        out.push(kind << 4 | flags);
        put_varint(out, channel);
        out.extend_from_slice(payload);
    }

    /// Whether the frame is counted by FACK and survives a change of link.
    pub(crate) fn is_numbered(&self) -> bool {
        matches!(self, Frame::Open { .. } | Frame::Data { .. } | Frame::Credit { .. } | Frame::Reset { .. })
    }

    /// Whether the frame is for the session, not for the link that it comes over.
    pub(crate) fn is_for_session(&self) -> bool {
        self.is_numbered() || matches!(self, Frame::Dgram { .. } | Frame::Fack { .. })
    }
}

/// Appends what stands before the payload of a DATA frame of `len` bytes.
pub(crate) fn data_head(channel: u64, len: usize, end: bool, out: &mut Vec<u8>) {
    put_varint(out, (1 + varint_len(channel) + len) as u64);
    out.push(2 << 4 | if end { END_MSG } else { 0 });
    put_varint(out, channel);
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `buf` and says how many bytes it took; `Ok(None)` while it is incomplete.
    pub(crate) fn decode(buf: &'a [u8], max_frame: usize) -> Result<Option<(Self, usize)>, WireError> {
        let mut r = Reader::new(buf);
        let len = match r.varint() {
            Ok(len) => len,
            // Three bytes hold every length that is allowed.
            Err(WireError::Truncated(_)) if buf.len() < 3 => return Ok(None),
            Err(e) => return Err(e),
        };
        let head = r.offset();
        if len < 2 {
            return Err(r.invalid("frame length"));
        }
        if len > (max_frame - head.min(max_frame)) as u64 {
            return Err(WireError::TooLong { at: 0, len, limit: max_frame as u64 });
        }
        let len = len as usize;
        let Some(body) = buf.get(head..head + len) else { return Ok(None) };
        Ok(Some((Self::decode_body(body)?, head + len)))
    }

    fn decode_body(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let first = r.u8()?;
        let (kind, flags) = (first >> 4, first & 0x0f);
        let allowed = if kind == 2 { END_MSG | FIN } else { 0 };
        if flags & !allowed != 0 {
            return Err(r.invalid("frame flags"));
        }
        let channel = r.varint()?;
        if channel > MAX_CHANNEL || (channel == 0) != (kind > 5) {
            return Err(r.invalid("channel"));
        }
        let frame = match kind {
            1 => Frame::Open { channel, service: r.u8()?, class: r.u8()?, window: r.varint()? },
            2 => Frame::Data {
                channel,
                payload: rest(&mut r)?,
                end: flags & END_MSG != 0,
                fin: flags & FIN != 0,
            },
            3 => Frame::Credit { channel, bytes: r.varint()? },
            4 => Frame::Reset { channel, code: r.varint()? },
            5 => Frame::Dgram { channel, payload: rest(&mut r)? },
            6 => Frame::Ping { nonce: r.u64_le()? },
            7 => Frame::Pong { nonce: r.u64_le()?, wall_ms: r.varint()? },
            8 => Frame::Fack { frames: r.varint()? },
            9 => Frame::Switch { session: r.array()?, frames: r.varint()? },
            10 => Frame::GoAway { code: r.varint()? },
            _ => return Err(r.invalid("frame kind")),
        };
        r.finish()?;
        Ok(frame)
    }
}

fn rest<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    r.take(r.remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arb<'a>(payload: &'a [u8], kind: u8, n: u64, a: u8, b: u8) -> Frame<'a> {
        let channel = 1 + n % MAX_CHANNEL;
        match kind % 10 {
            0 => Frame::Open { channel, service: a, class: b, window: n },
            1 => Frame::Data { channel, payload, end: a & 1 == 1, fin: b & 1 == 1 },
            2 => Frame::Credit { channel, bytes: n },
            3 => Frame::Reset { channel, code: n },
            4 => Frame::Dgram { channel, payload },
            5 => Frame::Ping { nonce: n },
            6 => Frame::Pong { nonce: n, wall_ms: n / 3 },
            7 => Frame::Fack { frames: n },
            8 => Frame::Switch { session: [a; 8], frames: n },
            _ => Frame::GoAway { code: n },
        }
    }

    proptest! {
        #[test]
        fn round_trip(kind: u8, n: u64, a: u8, b: u8, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let frame = arb(&payload, kind, n, a, b);
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            prop_assert!(bytes.len() <= payload.len().max(24) + FRAME_OVERHEAD);
            for cut in 0..bytes.len() {
                prop_assert_eq!(Frame::decode(&bytes[..cut], 16 << 10), Ok(None));
            }
            let whole = bytes.len();
            bytes.push(0xaa);
            prop_assert_eq!(Frame::decode(&bytes, 16 << 10), Ok(Some((frame, whole))));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), max in 0usize..200) {
            if let Ok(Some((_, used))) = Frame::decode(&bytes, max) {
                prop_assert!(used <= bytes.len() && used <= max);
            }
        }
    }

    #[test]
    fn limits_and_forms_are_checked() {
        let mut bytes = Vec::new();
        Frame::Data { channel: 1, payload: &[0; 2040], end: true, fin: false }.encode(&mut bytes);
        assert!(matches!(Frame::decode(&bytes, 2048), Ok(Some(_))));
        assert!(matches!(Frame::decode(&bytes[..2], bytes.len() - 1), Err(WireError::TooLong { .. })));
        // Overlong length, empty frame, unknown kind, flags where none belong, channel 0 for data, channel for PING.
        for bad in [
            &[0xff, 0xff, 0xff, 0xff][..],
            &[0],
            &[2, 0xf0, 0],
            &[3, 0x31, 1, 5],
            &[3, 0x20, 0, 5],
            &[10, 0x60, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[4, 0x30, 1, 5, 5],
        ] {
            assert!(Frame::decode(bad, 16 << 10).is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn a_head_and_its_payload_are_a_frame() {
        for (payload, end) in [(&[7; 3][..], true), (&[8; 5000], false)] {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            Frame::Data { channel: 300, payload, end, fin: false }.encode(&mut whole);
            data_head(300, payload.len(), end, &mut parts);
            parts.extend_from_slice(payload);
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn the_header_of_a_small_frame_takes_three_bytes() {
        let mut bytes = Vec::new();
        Frame::Data { channel: 1, payload: b"abc", end: true, fin: false }.encode(&mut bytes);
        assert_eq!(bytes, [5, 0x21, 1, b'a', b'b', b'c']);
    }
}
