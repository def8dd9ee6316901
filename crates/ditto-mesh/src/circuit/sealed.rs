//! Datagrams of a circuit: encrypted from end to end, numbered, each accepted at most once.
//!
//! Both keys come from the exporter of the circuit's TLS channel, so they are new on every route. On a circuit of one
//! hop the link's own TLS ends at the same two peers; there a datagram carries its number and no second encryption.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::tls::{SecureChannel, TlsError};
use crate::transport::Role;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-esync-dgram";

/// Bytes before the content.
const COUNTER: usize = 8;

/// Seals and opens the datagrams of one circuit on one route.
pub(super) struct Sealed {
    /// Keys of both directions, ours first; none on a circuit of one hop.
    keys: Option<(LessSafeKey, LessSafeKey)>,
    next: u64,
    seen: ReplayWindow,
}

impl Sealed {
    /// For a circuit of one hop.
    pub(super) fn plain() -> Self {
        Self { keys: None, next: 0, seen: ReplayWindow::default() }
    }

    /// With keys from `channel`, at the end with `role`.
    pub(super) fn new(channel: &SecureChannel, role: Role) -> Result<Self, TlsError> {
        let (ours, theirs) = match role {
            Role::Dialer => (&b"opener"[..], &b"target"[..]),
            Role::Acceptor => (&b"target"[..], &b"opener"[..]),
        };
        let keys = Some((key(channel, ours)?, key(channel, theirs)?));
        Ok(Self { keys, next: 0, seen: ReplayWindow::default() })
    }

    /// The datagram as it travels.
    pub(super) fn seal(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        let counter = self.next;
        self.next = counter.checked_add(1)?;
        let mut out = counter.to_le_bytes().to_vec();
        out.extend_from_slice(content);
        if let Some((key, _)) = &self.keys {
            let tag = key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), &mut out[COUNTER..]);
            out.extend_from_slice(tag.ok()?.as_ref());
        }
        Some(out)
    }

    /// The content, unless it was changed, is not from the other end, or has been here before.
    pub(super) fn open(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (counter, content) = datagram.split_first_chunk::<COUNTER>()?;
        let counter = u64::from_le_bytes(*counter);
        if !self.seen.is_new(counter) {
            return None;
        }
        let mut out = content.to_vec();
        if let Some((_, key)) = &self.keys {
            let len = key.open_in_place(nonce(counter), Aad::empty(), &mut out).ok()?.len();
            out.truncate(len);
        }
        self.seen.note(counter);
        Some(out)
    }
}

fn key(channel: &SecureChannel, context: &[u8]) -> Result<LessSafeKey, TlsError> {
    let mut secret = channel.export(EXPORTER_LABEL, context)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &secret);
    zeroize::Zeroize::zeroize(&mut secret);
    match key {
        Ok(key) => Ok(LessSafeKey::new(key)),
        // The secret has the length of the algorithm's key.
        Err(_) => unreachable!("32 bytes are a ChaCha20-Poly1305 key"),
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut n = [0; 12];
    n[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(n)
}

const WORDS: usize = 16;

/// Which of the last 1,024 numbers have been here.
#[derive(Debug, Default)]
struct ReplayWindow {
    /// One more than the largest number so far.
    end: u64,
    /// Bit `n % 1024` for each number in the window.
    bits: [u64; WORDS],
}

impl ReplayWindow {
    const SIZE: u64 = 64 * WORDS as u64;

    fn slot(n: u64) -> (usize, u64) {
        ((n / 64) as usize % WORDS, 1 << (n % 64))
    }

    fn is_new(&self, n: u64) -> bool {
        let (word, bit) = Self::slot(n);
        n != u64::MAX && (n >= self.end || (self.end - n <= Self::SIZE && self.bits[word] & bit == 0))
    }

    /// Marks a number for which [`ReplayWindow::is_new`] holds.
    fn note(&mut self, n: u64) {
        if n >= self.end {
            if n - self.end >= Self::SIZE {
                self.bits = [0; WORDS];
            } else {
                for skipped in self.end..=n {
                    let (word, bit) = Self::slot(skipped);
                    self.bits[word] &= !bit;
                }
            }
            self.end = n + 1;
        }
        let (word, bit) = Self::slot(n);
        self.bits[word] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::identity::Identity;
    use crate::tls::TlsFactory;

    fn pair() -> (Sealed, Sealed) {
        let make = |seed: u8| TlsFactory::new(&Identity::generate(&mut |out| out.fill(seed))).unwrap();
        let mut c = make(1).channel(Role::Dialer).unwrap();
        let mut s = make(2).channel(Role::Acceptor).unwrap();
        for _ in 0..4 {
            s.receive(&c.take_output(), &mut Vec::new()).unwrap();
            c.receive(&s.take_output(), &mut Vec::new()).unwrap();
        }
        (Sealed::new(&c, Role::Dialer).unwrap(), Sealed::new(&s, Role::Acceptor).unwrap())
    }

    #[test]
    fn changed_foreign_reflected_and_repeated_ones_are_dropped() {
        let (mut a, mut b) = pair();
        let d = a.seal(b"hello").unwrap();
        assert!(!d.windows(5).any(|w| w == b"hello"));
        for i in 0..d.len() {
            let mut bad = d.clone();
            bad[i] ^= 1;
            assert_eq!(b.open(&bad), None, "byte {i}");
        }
        assert_eq!(a.open(&d), None, "reflected");
        assert_eq!(pair().1.open(&d), None, "of another circuit");
        assert_eq!(b.open(&d).as_deref(), Some(&b"hello"[..]));
        assert_eq!(b.open(&d), None, "a second time");
        assert_eq!(b.open(&d[..7]), None);
        let answer = b.seal(b"").unwrap();
        assert_eq!(a.open(&answer).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn the_end_of_the_numbers_is_no_panic() {
        let mut w = ReplayWindow::default();
        assert!(!w.is_new(u64::MAX));
        assert!(w.is_new(u64::MAX - 1));
        w.note(u64::MAX - 1);
        assert!(!w.is_new(u64::MAX - 1) && !w.is_new(5) && w.is_new(u64::MAX - 1024));
    }

    proptest! {
        /// Against the plain definition: new, and not more than 1,024 behind the largest.
        #[test]
        fn the_window_is_a_set(steps in proptest::collection::vec((0u64..3000, 0u64..50), 1..400)) {
            let (mut w, mut seen, mut largest) = (ReplayWindow::default(), BTreeSet::new(), None::<u64>);
            let mut base = 0;
            for (n, jump) in steps {
                base += jump;
                let n = base + n;
                let wanted = !seen.contains(&n) && largest.is_none_or(|l| n > l || l - n < 1024);
                prop_assert_eq!(w.is_new(n), wanted, "{}", n);
                if wanted {
                    w.note(n);
                    seen.insert(n);
                    largest = largest.max(Some(n));
                }
            }
        }
    }
}
