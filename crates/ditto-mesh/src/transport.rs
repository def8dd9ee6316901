//! The boundary between the mesh machine and whatever moves bytes: sockets, radios, or memory in tests.
//!
//! The mesh decides, the transport obeys. Calls to a [`Transport`] never block and never fail: what became of them
//! comes back as a [`NetEvent`].

use std::fmt;

/// Bit that marks the id of an accepted link. Ids of dialled links, which the mesh chooses, have it clear.
pub const ACCEPTED_LINK_BIT: u64 = 1 << 63;

/// Name of one byte-stream link for as long as the process lives. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Whether the other side dialled, so that the transport chose the id.
    pub fn is_accepted(self) -> bool {
        self.0 & ACCEPTED_LINK_BIT != 0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_accepted() { 'a' } else { 'd' };
        write!(f, "{side}{}", self.0 & !ACCEPTED_LINK_BIT)
    }
}

/// What carries a link. The order is the order of preference: the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LinkKind {
    /// A pipe inside one process, for tests.
    Memory,
    /// TCP over a LAN, wired or Wi-Fi.
    AccessPoint,
    /// AWDL or Wi-Fi Aware.
    P2PWiFi,
    /// WebSocket, usually to a server.
    WebSocket,
    /// Bluetooth LE.
    Bluetooth,
}

impl LinkKind {
    /// The spelling of API-179 to API-182.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkKind::Memory => "Memory",
            LinkKind::AccessPoint => "AccessPoint",
            LinkKind::P2PWiFi => "P2PWiFi",
            LinkKind::WebSocket => "WebSocket",
            LinkKind::Bluetooth => "Bluetooth",
        }
    }

    /// The number that stands for the kind on the wire.
    pub fn code(self) -> u8 {
        match self {
            LinkKind::Memory => 0,
            LinkKind::AccessPoint => 1,
            LinkKind::P2PWiFi => 2,
            LinkKind::WebSocket => 3,
            LinkKind::Bluetooth => 4,
        }
    }

    /// The kind with this number; `None` for one that this release does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Memory, Self::AccessPoint, Self::P2PWiFi, Self::WebSocket, Self::Bluetooth]
            .into_iter()
            .find(|k| k.code() == code)
    }

    /// Cost of one hop in route and connection choices.
    pub fn cost(self) -> u8 {
        match self {
            LinkKind::Memory | LinkKind::AccessPoint => 1,
            LinkKind::P2PWiFi => 2,
            LinkKind::WebSocket => 4,
            LinkKind::Bluetooth => 16,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which side of a link this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It opened the link.
    Dialer,
    /// It accepted the link.
    Acceptor,
}

/// Where a link can be dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DialTarget {
    /// `host:port`; an IPv6 address stands in brackets.
    Tcp(String),
    /// A `ws://` or `wss://` URL.
    WebSocket(String),
    /// A name on the in-process hub.
    Memory(String),
    /// A device that a radio has discovered.
    Platform {
        /// Name of the radio.
        radio: String,
        /// The radio's name of the device.
        device: u64,
        /// What a link to it is carried by.
        kind: LinkKind,
    },
}

impl fmt::Display for DialTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialTarget::Tcp(addr) => write!(f, "tcp://{addr}"),
            // A query may hold a token, which is not for logs.
            DialTarget::WebSocket(url) => f.write_str(url.split(['?', '#']).next().unwrap_or_default()),
            DialTarget::Memory(name) => write!(f, "memory://{name}"),
            DialTarget::Platform { radio, device, .. } => write!(f, "platform://{radio}/{device}"),
        }
    }
}

/// What the mesh asks of the network. No call blocks; results arrive as [`NetEvent`]s.
pub trait Transport: Send + Sync {
    /// Opens a link. Answered by [`NetEvent::LinkUp`] or [`NetEvent::DialFailed`], unless closed before.
    fn dial(&self, link: LinkId, target: &DialTarget);

    /// Appends bytes to the link's outgoing stream. Every accepted byte is reported by [`NetEvent::Written`] once the
    /// operating system or radio has taken it; the mesh bounds what is outstanding.
    fn write(&self, link: LinkId, bytes: Vec<u8>);

    /// As [`Transport::write`], for whoever can take [`NetEvent::Written`] at once: returns how many of the bytes the
    /// operating system has taken already. Only of the others an event will tell.
    fn write_now(&self, link: LinkId, bytes: Vec<u8>) -> usize {
        self.write(link, bytes);
        0
    }

    /// Closes the link, after the bytes already written where that takes no longer than about a second. Also cancels a
    /// dial. Answered by [`NetEvent::LinkDown`] at most once; unknown links are ignored.
    fn close(&self, link: LinkId);
}

/// What the network tells the mesh. Events of one link arrive in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A dialled link is open, or a link was accepted.
    LinkUp {
        /// The dialled id, or a new one with [`ACCEPTED_LINK_BIT`] set.
        link: LinkId,
        /// What carries it.
        kind: LinkKind,
        /// Our side of it.
        role: Role,
        /// Address of the other end, for display.
        remote: String,
    },
    /// A dial did not lead to a link.
    DialFailed {
        /// The id given to [`Transport::dial`].
        link: LinkId,
        /// For the log.
        reason: String,
    },
    /// Bytes arrived.
    Bytes {
        /// Where from.
        link: LinkId,
        /// At most about 64 KiB at a time.
        bytes: Vec<u8>,
    },
    /// Bytes given to [`Transport::write`] have left.
    Written {
        /// Where to.
        link: LinkId,
        /// How many more than before.
        bytes: usize,
    },
    /// The link is gone. The last event of a link.
    LinkDown {
        /// Which one.
        link: LinkId,
        /// For the log.
        reason: String,
    },
    /// Discovery found another instance, or found more about it.
    Discovered {
        /// Its discovery token. Random, so that it names nobody.
        token: String,
        /// Every way to dial it that is known now, best first. Replaces what was known.
        targets: Vec<DialTarget>,
    },
    /// An instance is no longer announced.
    Lost {
        /// Its discovery token.
        token: String,
    },
    /// The device has other network addresses than before, and at least one: what could not be reached may be now.
    NetworkChanged,
    /// A listener has an address.
    Listening {
        /// `host:port` of the TCP listener, the URL of the HTTP listener.
        addr: String,
    },
    /// Something about a transport that a user may want to know, as a missing permission.
    Condition {
        /// The transport.
        source: String,
        /// What is the matter, or "ok".
        text: String,
    },
}
