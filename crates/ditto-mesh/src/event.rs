//! What happens to links and why, for logs, diagnostics and tests.

use std::fmt;

use crate::config::ConfigError;
use crate::peer_key::PeerKey;
use crate::presence::MetadataError;
use crate::transport::{DialTarget, LinkKind, Role};

/// Why a link was refused before it carried anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The other side belongs to another database.
    #[error("the peer belongs to another database")]
    WrongDatabase,
    /// The proof of the shared key does not verify on this very link: another key, or somebody in the middle.
    #[error("the peer's proof of the shared key is not valid")]
    WrongSharedKey,
    /// One side is open, the other asks for a shared key.
    #[error("one side uses a shared key and the other is open")]
    ModeMismatch,
    /// The other side is this instance, or another instance on a copy of its store.
    #[error("the peer is this instance or runs on a copy of its store")]
    SelfConnection,
    /// No protocol version in common. The range is the other side's.
    #[error("the peer speaks protocol versions {min} to {max}")]
    ProtocolVersion {
        /// Oldest version that the other side speaks.
        min: u32,
        /// Newest version that the other side speaks.
        max: u32,
    },
    /// The bytes are not this protocol.
    #[error("malformed handshake: {0}")]
    Malformed(String),
    /// TLS failed: another protocol, a broken key, or bytes changed on the way.
    #[error("secure channel failed: {0}")]
    Tls(String),
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// Too many links or peers.
    #[error("too many connections")]
    Capacity,
    /// The other side has a better link to us already.
    #[error("there is another link already")]
    Duplicate,
    /// The other side refused with a code that this release does not know.
    #[error("refused with code {0}")]
    Other(u64),
}

impl Refusal {
    /// The number that tells the other side why.
    pub(crate) fn code(&self) -> u64 {
        match self {
            Refusal::WrongDatabase => 1,
            Refusal::WrongSharedKey => 2,
            Refusal::ModeMismatch => 3,
            Refusal::SelfConnection => 4,
            Refusal::ProtocolVersion { .. } => 5,
            Refusal::Malformed(_) => 6,
            Refusal::Tls(_) => 7,
            Refusal::Timeout => 8,
            Refusal::Capacity => 9,
            Refusal::Duplicate => 10,
            Refusal::Other(code) => *code,
        }
    }

    pub(crate) fn from_code(code: u64) -> Self {
        match code {
            1 => Refusal::WrongDatabase,
            2 => Refusal::WrongSharedKey,
            3 => Refusal::ModeMismatch,
            4 => Refusal::SelfConnection,
            5 => Refusal::ProtocolVersion { min: 0, max: 0 },
            6 => Refusal::Malformed("so says the peer".into()),
            8 => Refusal::Timeout,
            9 => Refusal::Capacity,
            10 => Refusal::Duplicate,
            code => Refusal::Other(code),
        }
    }
}

/// Something worth a log line. None of them needs an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A dial began.
    Dialing {
        /// Where to.
        target: DialTarget,
    },
    /// A dial failed before there was a link.
    DialFailed {
        /// Where to.
        target: DialTarget,
        /// Why.
        reason: String,
        /// Until the next try; `None` when there will be none.
        retry_in_ms: Option<u64>,
    },
    /// A link was closed before it carried anything.
    Refused {
        /// Address of the other side.
        remote: String,
        /// What carried the link.
        kind: LinkKind,
        /// Our side of it.
        role: Role,
        /// Who the other side is, once TLS has told.
        peer: Option<PeerKey>,
        /// Whether we refused; otherwise the other side did.
        by_us: bool,
        /// Why.
        reason: Refusal,
    },
    /// A link of a peer is open and authenticated.
    LinkReady {
        /// Who.
        peer: PeerKey,
        /// Address of the other side.
        remote: String,
        /// What carries it.
        kind: LinkKind,
    },
    /// A link was lost or closed.
    LinkClosed {
        /// Who, if known.
        peer: Option<PeerKey>,
        /// Address of the other side.
        remote: String,
        /// Why.
        reason: String,
    },
    /// Two links led to one peer; this one was closed.
    DuplicateClosed {
        /// Who.
        peer: PeerKey,
        /// Address of the closed link.
        remote: String,
    },
    /// The session of a peer went on over another link.
    Switched {
        /// Who.
        peer: PeerKey,
        /// What carries it now.
        kind: LinkKind,
        /// Address of the other side.
        remote: String,
    },
    /// A peer broke the protocol and was disconnected.
    Violation {
        /// Who.
        peer: PeerKey,
        /// What it did.
        reason: String,
    },
    /// A presence record was not accepted.
    RecordRefused {
        /// The neighbour that sent it.
        from: PeerKey,
        /// Why.
        reason: String,
    },
    /// The metadata given to [`crate::Input::SetPeerMetadata`] was not taken.
    MetadataRejected(MetadataError),
    /// The machine did not start.
    ConfigRejected(ConfigError),
    /// The listener has an address.
    Listening {
        /// `host:port`.
        addr: String,
    },
    /// A condition of a transport.
    Condition {
        /// The transport.
        source: String,
        /// What is the matter.
        text: String,
    },
}

impl fmt::Display for ConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialing { target } => write!(f, "dialling {target}"),
            Self::DialFailed { target, reason, retry_in_ms: Some(ms) } => {
                write!(f, "could not reach {target}: {reason}; next try in {ms} ms")
            }
            Self::DialFailed { target, reason, retry_in_ms: None } => {
                write!(f, "could not reach {target}: {reason}")
            }
            Self::Refused { remote, kind, by_us, reason, peer, .. } => {
                let who = if *by_us { "refused" } else { "was refused by" };
                write!(f, "{who} {remote} ({kind}")?;
                if let Some(peer) = peer {
                    write!(f, ", {peer:?}")?;
                }
                write!(f, "): {reason}")
            }
            Self::LinkReady { peer, remote, kind } => {
                write!(f, "link to {peer:?} at {remote} over {kind} is ready")
            }
            Self::LinkClosed { peer: Some(p), remote, reason } => {
                write!(f, "link to {p:?} at {remote} closed: {reason}")
            }
            Self::LinkClosed { peer: None, remote, reason } => write!(f, "link to {remote} closed: {reason}"),
            Self::DuplicateClosed { peer, remote } => {
                write!(f, "closed a second link to {peer:?} at {remote}")
            }
            Self::Switched { peer, kind, remote } => write!(f, "{peer:?} now over {kind} at {remote}"),
            Self::Violation { peer, reason } => write!(f, "{peer:?} broke the protocol: {reason}"),
            Self::RecordRefused { from, reason } => {
                write!(f, "refused a presence record from {from:?}: {reason}")
            }
            Self::MetadataRejected(e) => write!(f, "peer metadata not taken: {e}"),
            Self::ConfigRejected(e) => write!(f, "mesh not started: {e}"),
            Self::Listening { addr } => write!(f, "listening on {addr}"),
            Self::Condition { source, text } => write!(f, "{source}: {text}"),
        }
    }
}
