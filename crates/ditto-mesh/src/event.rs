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
    /// The app of the side that was dialled does not want the peer.
    #[error("the app of the other side denied the connection")]
    Denied,
    /// The app of the side that was dialled did not answer in time.
    #[error("the app of the other side did not answer in time")]
    NotAnswered,
    /// One side presents a proof that the other one does not check, as a permit to a peer without a server.
    #[error("the peer presents a kind of proof that is not checked here")]
    UnknownProof,
    /// The app has set the priority of the peer to "don't connect".
    #[error("the app does not want to connect to the peer")]
    NotWanted,
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
            Refusal::Denied => 11,
            Refusal::NotAnswered => 12,
            Refusal::UnknownProof => 13,
            Refusal::NotWanted => 14,
            Refusal::Other(code) => *code,
        }
    }

    /// A stable name, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Refusal::WrongDatabase => "wrong_database",
            Refusal::WrongSharedKey => "wrong_key",
            Refusal::ModeMismatch => "mode_mismatch",
            Refusal::SelfConnection => "self_connection",
            Refusal::ProtocolVersion { .. } => "incompatible_version",
            Refusal::Malformed(_) => "malformed",
            Refusal::Tls(_) => "tls",
            Refusal::Timeout => "timed_out",
            Refusal::Capacity => "at_capacity",
            Refusal::Duplicate => "duplicate",
            Refusal::Denied => "denied",
            Refusal::NotAnswered => "not_answered",
            Refusal::UnknownProof => "unknown_proof",
            Refusal::NotWanted => "not_wanted",
            Refusal::Other(_) => "other",
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
            11 => Refusal::Denied,
            12 => Refusal::NotAnswered,
            13 => Refusal::UnknownProof,
            14 => Refusal::NotWanted,
            code => Refusal::Other(code),
        }
    }
}

/// What happened to links, and why. None of them needs an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Discovery found an instance, or found other addresses of it.
    Discovered {
        /// Where it can be dialled.
        targets: Vec<DialTarget>,
        /// Who it is, if that is known from its presence record or an earlier connection.
        peer: Option<PeerKey>,
    },
    /// A discovered instance is no longer announced.
    Lost {
        /// Who it was, if that is known.
        peer: Option<PeerKey>,
    },
    /// A peer is connected: it has a session.
    Connected {
        /// Who.
        peer: PeerKey,
        /// Its name; not unique.
        device_name: String,
        /// What carries the session.
        kind: LinkKind,
        /// Address of the other side.
        remote: String,
        /// Our side of the link.
        role: Role,
    },
    /// The session of a peer has ended.
    Disconnected {
        /// Who.
        peer: PeerKey,
        /// Why.
        reason: String,
    },
    /// The number of links is at its limit, and another peer was worth more than this one, which others still reach.
    MadeRoom {
        /// Whose link was given up.
        peer: PeerKey,
        /// What carried it.
        kind: LinkKind,
    },
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

impl ConnectionEvent {
    /// A stable name of the kind of event, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Discovered { .. } => "discovered",
            Self::Lost { .. } => "lost",
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::MadeRoom { .. } => "made_room",
            Self::Dialing { .. } => "dialing",
            Self::DialFailed { .. } => "dial_failed",
            Self::Refused { .. } => "refused",
            Self::LinkReady { .. } => "link_ready",
            Self::LinkClosed { .. } => "link_closed",
            Self::DuplicateClosed { .. } => "duplicate_closed",
            Self::Switched { .. } => "moved_link",
            Self::Violation { .. } => "violation",
            Self::RecordRefused { .. } => "record_refused",
            Self::MetadataRejected(_) => "metadata_rejected",
            Self::ConfigRejected(_) => "config_rejected",
            Self::Listening { .. } => "listening",
            Self::Condition { .. } => "condition",
        }
    }

    /// The peer that it is about, if known.
    pub fn peer(&self) -> Option<PeerKey> {
        match self {
            Self::Discovered { peer, .. }
            | Self::Lost { peer }
            | Self::Refused { peer, .. }
            | Self::LinkClosed { peer, .. } => *peer,
            Self::Connected { peer, .. }
            | Self::Disconnected { peer, .. }
            | Self::MadeRoom { peer, .. }
            | Self::LinkReady { peer, .. }
            | Self::DuplicateClosed { peer, .. }
            | Self::Switched { peer, .. }
            | Self::Violation { peer, .. }
            | Self::RecordRefused { from: peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// The address that it is about: of the other side, of the dial or of the listener.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Connected { remote, .. }
            | Self::Refused { remote, .. }
            | Self::LinkReady { remote, .. }
            | Self::LinkClosed { remote, .. }
            | Self::DuplicateClosed { remote, .. }
            | Self::Switched { remote, .. } => Some(remote.clone()),
            Self::Dialing { target } | Self::DialFailed { target, .. } => Some(target.to_string()),
            Self::Discovered { targets, .. } => targets.first().map(ToString::to_string),
            Self::Listening { addr } => Some(addr.clone()),
            _ => None,
        }
    }

    /// What carries the link that it is about.
    pub fn connection_type(&self) -> Option<LinkKind> {
        match self {
            Self::Connected { kind, .. }
            | Self::MadeRoom { kind, .. }
            | Self::Refused { kind, .. }
            | Self::LinkReady { kind, .. }
            | Self::Switched { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Why a link was refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovered { targets, peer } => {
                f.write_str("discovered ")?;
                if let Some(peer) = peer {
                    write!(f, "{peer:?} ")?;
                }
                write!(f, "at")?;
                targets.iter().try_for_each(|t| write!(f, " {t}"))
            }
            Self::Lost { peer: Some(peer) } => write!(f, "{peer:?} is no longer announced"),
            Self::Lost { peer: None } => f.write_str("an instance is no longer announced"),
            Self::Connected { peer, device_name, kind, remote, .. } => {
                write!(f, "connected to {peer:?} \"{}\" at {remote} over {kind}", device_name.escape_debug())
            }
            Self::Disconnected { peer, reason } => write!(f, "disconnected from {peer:?}: {reason}"),
            Self::MadeRoom { peer, kind } => {
                write!(f, "gave up the {kind} link to {peer:?} for another peer")
            }
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
