//! The announcement on the wire.
//!
//! ```text
//! magic "DTTA"   version u8   kind u8   seconds u16   port u16   length u8   token   (more)   mac 16
//! ```
//!
//! Integers are big-endian. The MAC is keyed BLAKE3 over all before it, with a key that only instances of the same
//! database and sync group know; it lets nobody else read who belongs together, and keeps strangers out of the table of
//! instances. It is no proof of identity: that is for TLS and HELLO, after the dial. What follows the token is for later
//! versions and ignored.

use std::fmt;

use crate::mdns::is_token;

/// Largest datagram that is looked at, in bytes.
pub const MAX_DATAGRAM: usize = 512;

const MAGIC: &[u8; 4] = b"DTTA";
const VERSION: u8 = 1;
const MAC: usize = 16;
const FIXED: usize = 11;
/// Longest life of an announcement, in seconds.
const MAX_SECONDS: u16 = 3600;

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnouncementKind {
    /// An instance can be dialled.
    Announce {
        /// TCP port of its listener, at the address that the datagram came from. Not 0.
        port: u16,
        /// How long this is true, in seconds: 1 to 3,600.
        seconds: u16,
    },
    /// Somebody asks for announcements.
    Query,
    /// An instance ends.
    Goodbye,
}

/// A datagram of multicast discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What it says.
    pub kind: AnnouncementKind,
    /// Who: 1 to 63 characters of `a-z`, `0-9` and `-`.
    pub token: String,
}

/// What only instances of one database and sync group know, and what their announcements are authenticated with.
#[derive(Clone, PartialEq, Eq)]
pub struct MulticastScope(pub [u8; 32]);

impl fmt::Debug for MulticastScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MulticastScope(..)")
    }
}

/// Why a datagram is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Shorter or longer than any announcement.
    #[error("{0} bytes are no announcement")]
    Size(usize),
    /// Another protocol.
    #[error("not an announcement")]
    Foreign,
    /// A version that this release does not read.
    #[error("version {0} is not known")]
    Version(u8),
    /// Of another database or sync group, or changed on the way.
    #[error("of another database or sync group")]
    OtherScope,
    /// A field that cannot be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Announcement {
    /// The datagram.
    pub fn encode(&self, scope: &MulticastScope) -> Vec<u8> {
        let (kind, seconds, port) = match self.kind {
            AnnouncementKind::Announce { port, seconds } => (0, seconds, port),
            AnnouncementKind::Query => (1, 0, 0),
            AnnouncementKind::Goodbye => (2, 0, 0),
        };
        let mut out = Vec::with_capacity(FIXED + self.token.len() + MAC);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, kind]);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&port.to_be_bytes());
        // The configuration is checked: a token has at most 63 bytes.
        out.push(u8::try_from(self.token.len()).unwrap_or(0));
        out.extend_from_slice(self.token.as_bytes());
        let mac = blake3::keyed_hash(&scope.0, &out);
        out.extend_from_slice(&mac.as_bytes()[..MAC]);
        out
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// When it is to be ignored.
    pub fn decode(datagram: &[u8], scope: &MulticastScope) -> Result<Self, AnnouncementError> {
        if datagram.len() < FIXED + 1 + MAC || datagram.len() > MAX_DATAGRAM {
            return Err(AnnouncementError::Size(datagram.len()));
        }
        if !datagram.starts_with(MAGIC) {
            return Err(AnnouncementError::Foreign);
        }
        if datagram[4] != VERSION {
            return Err(AnnouncementError::Version(datagram[4]));
        }
        let (signed, mac) = datagram.split_at(datagram.len() - MAC);
        let mut expected = [0; blake3::OUT_LEN];
        expected.copy_from_slice(blake3::keyed_hash(&scope.0, signed).as_bytes());
        // Hash values compare in constant time.
        let mut given = expected;
        given[..MAC].copy_from_slice(mac);
        if blake3::Hash::from_bytes(expected) != blake3::Hash::from_bytes(given) {
            return Err(AnnouncementError::OtherScope);
        }
        let seconds = u16::from_be_bytes([signed[6], signed[7]]);
        let port = u16::from_be_bytes([signed[8], signed[9]]);
        let kind = match signed[5] {
            0 if port == 0 => return Err(AnnouncementError::Malformed("port 0")),
            0 if !(1..=MAX_SECONDS).contains(&seconds) => return Err(AnnouncementError::Malformed("life")),
            0 => AnnouncementKind::Announce { port, seconds },
            1 => AnnouncementKind::Query,
            2 => AnnouncementKind::Goodbye,
            _ => return Err(AnnouncementError::Malformed("kind")),
        };
        let token = signed
            .get(FIXED..FIXED + usize::from(signed[10]))
            .and_then(|token| std::str::from_utf8(token).ok())
            .filter(|token| is_token(token))
            .ok_or(AnnouncementError::Malformed("token"))?;
        Ok(Self { kind, token: token.to_owned() })
    }
}

/// `bytes` as far as an announcement goes, with a MAC that fits: for fuzzing what is behind it.
pub(crate) fn sealed(bytes: &[u8], scope: &MulticastScope) -> Vec<u8> {
    let mut out = bytes[..bytes.len().min(MAX_DATAGRAM - MAC)].to_vec();
    let mac = blake3::keyed_hash(&scope.0, &out);
    out.extend_from_slice(&mac.as_bytes()[..MAC]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> MulticastScope {
        MulticastScope([7; 32])
    }

    fn announce(token: &str) -> Announcement {
        Announcement { kind: AnnouncementKind::Announce { port: 4040, seconds: 65 }, token: token.to_owned() }
    }

    #[test]
    fn announcements_survive_the_wire() {
        for kind in [announce("a").kind, AnnouncementKind::Query, AnnouncementKind::Goodbye] {
            for token in ["a", "0-9", &"z".repeat(63)] {
                let message = Announcement { kind, token: token.to_owned() };
                assert_eq!(Announcement::decode(&message.encode(&scope()), &scope()), Ok(message));
            }
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let bytes = announce("ab").encode(&scope());
        assert_eq!(&bytes[..13], b"DTTA\x01\x00\x00\x41\x0f\xc8\x02ab");
        assert_eq!(bytes.len(), 29);
    }

    #[test]
    fn changed_and_foreign_datagrams_are_ignored() {
        let bytes = announce("peer").encode(&scope());
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            assert!(Announcement::decode(&changed, &scope()).is_err(), "byte {i}");
        }
        for len in 0..bytes.len() {
            assert!(Announcement::decode(&bytes[..len], &scope()).is_err(), "{len} bytes");
        }
        let other = MulticastScope([8; 32]);
        assert_eq!(Announcement::decode(&bytes, &other), Err(AnnouncementError::OtherScope));
        assert_eq!(
            Announcement::decode(&[0; MAX_DATAGRAM + 1], &scope()),
            Err(AnnouncementError::Size(MAX_DATAGRAM + 1))
        );
        assert_eq!(format!("{:?}", scope()), "MulticastScope(..)");
    }

    #[test]
    fn fields_are_checked_and_the_rest_is_for_later_versions() {
        let body = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = announce("peer").encode(&scope());
            bytes.truncate(bytes.len() - MAC);
            edit(&mut bytes);
            Announcement::decode(&sealed(&bytes, &scope()), &scope())
        };
        assert_eq!(body(&|b| b.extend([1; 300])), Ok(announce("peer")));
        assert_eq!(body(&|b| b[4] = 2), Err(AnnouncementError::Version(2)));
        assert_eq!(body(&|b| b[5] = 9), Err(AnnouncementError::Malformed("kind")));
        assert_eq!(body(&|b| b[8..10].fill(0)), Err(AnnouncementError::Malformed("port 0")));
        assert_eq!(body(&|b| b[6..8].fill(0)), Err(AnnouncementError::Malformed("life")));
        assert_eq!(body(&|b| b[6..8].fill(255)), Err(AnnouncementError::Malformed("life")));
        for bad in [0, 5, 200] {
            assert_eq!(body(&|b| b[10] = bad), Err(AnnouncementError::Malformed("token")), "{bad}");
        }
        assert_eq!(body(&|b| b[11] = b'P'), Err(AnnouncementError::Malformed("token")));
    }
}
