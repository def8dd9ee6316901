//! Configuration of the mesh machine, and its limits.

use std::fmt;
use std::sync::Arc;

use ditto_types::DatabaseId;
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::transport::{DialTarget, LinkKind, Role};

/// Longest device name that is shown and sent, in bytes of UTF-8. Longer names are cut at a character.
pub const MAX_DEVICE_NAME: usize = 24;

/// Who may connect.
#[derive(Clone)]
#[non_exhaustive]
pub enum Admission {
    /// Every peer of the database. For development: nobody is kept out.
    Open,
    /// Peers that hold this secret. At least [`Admission::MIN_SECRET`] bytes of a generated key, because a hostile
    /// acceptor gets material to test guesses against.
    SharedKey(Zeroizing<Vec<u8>>),
}

impl Admission {
    /// Fewest bytes of a shared secret.
    pub const MIN_SECRET: usize = 16;
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Admission::Open => "Open",
            Admission::SharedKey(_) => "SharedKey(..)",
        })
    }
}

/// Everything that [`crate::Mesh::new`] needs.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Our key.
    pub identity: Arc<Identity>,
    /// The database. Only peers with the same id are admitted.
    pub database: DatabaseId,
    /// Who may connect.
    pub admission: Admission,
    /// Name of our store, told to peers.
    pub store_id: [u8; 16],
    /// Epoch of our store, told to peers.
    pub store_epoch: [u8; 8],
    /// Shown to users of other peers; cut to [`MAX_DEVICE_NAME`] bytes.
    pub device_name: String,
    /// One of the operating system names of API-164, at most 32 bytes.
    pub os: String,
    /// Version of the SDK, at most 32 bytes.
    pub sdk_version: String,
    /// Sync group, told to peers.
    pub sync_group: u32,
    /// The random text under which this instance is announced, at most 64 bytes. Empty when it is not announced.
    pub discovery_token: String,
    /// Addresses that are always dialled.
    pub static_targets: Vec<DialTarget>,
    /// Query overlap group that peers see; see [`crate::Input::SetQueryOverlapGroup`].
    pub query_overlap_group: u8,
    /// Whether this instance is a server, for the "connected to server" mark of its neighbours.
    pub is_server: bool,
    /// Whether circuits of other peers may pass through this instance. Without, others route around it.
    pub relay: bool,
    /// Sizes, counts and times.
    pub limits: Limits,
    /// Signatures, key agreement and randomness of TLS; `None` for ring with X25519. For platforms that bring their own, and
    /// for simulations, which need the same bytes in every run.
    pub crypto: Option<Arc<rustls::crypto::CryptoProvider>>,
}

impl MeshConfig {
    /// A configuration with no name, no static targets, open admission and default limits.
    pub fn new(
        identity: Arc<Identity>,
        database: DatabaseId,
        store_id: [u8; 16],
        store_epoch: [u8; 8],
    ) -> Self {
        Self {
            identity,
            database,
            admission: Admission::Open,
            store_id,
            store_epoch,
            device_name: String::new(),
            os: String::new(),
            sdk_version: String::new(),
            sync_group: 0,
            discovery_token: String::new(),
            static_targets: Vec::new(),
            query_overlap_group: 0,
            is_server: false,
            relay: true,
            limits: Limits::default(),
            crypto: None,
        }
    }

    /// Checks what the type system does not. A machine with an invalid configuration refuses to start.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Admission::SharedKey(secret) = &self.admission
            && secret.len() < Admission::MIN_SECRET
        {
            return Err(ConfigError::WeakSecret(secret.len()));
        }
        let texts = [("os", &self.os, 32), ("sdk version", &self.sdk_version, 32)];
        let texts = texts.into_iter().chain([("discovery token", &self.discovery_token, 64)]);
        for (what, text, limit) in texts {
            if text.len() > limit {
                return Err(ConfigError::TooLong { what, len: text.len(), limit });
            }
        }
        Ok(())
    }
}

/// What is wrong with a [`MeshConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The shared secret is too short to withstand guessing.
    #[error("the shared key has {0} bytes, at least 16 are needed")]
    WeakSecret(usize),
    /// A text is too long.
    #[error("{what} has {len} bytes, the limit is {limit}")]
    TooLong {
        /// Which field.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

/// Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Receive window of each channel; the lanes of bulk have four times as much.
    pub window: u32,
    /// Largest frame that we accept, header included. 2,048 to 65,536.
    pub max_frame: usize,
    /// Bytes given to a link and not yet written, except over Bluetooth.
    pub in_flight: usize,
    /// The same over Bluetooth.
    pub in_flight_bluetooth: usize,
    /// Largest message of a sync lane.
    pub max_sync_message: usize,
    /// Largest message of the Bus lane: one Bus message and its envelope.
    pub max_bus_message: usize,
    /// Bytes waiting in one lane to one peer before [`crate::SendFailure::QueueFull`].
    pub max_queued: usize,
    /// Bytes sent and not yet acknowledged to one peer before sending pauses.
    pub max_unacknowledged: usize,
    /// Age at which a queued datagram is dropped.
    pub datagram_age: u64,
    /// Links that are not yet authenticated.
    pub max_pending_links: usize,
    /// Connected peers.
    pub max_sessions: usize,
    /// Dials under way.
    pub max_dials: usize,
    /// Links of each kind.
    pub connections: ConnectionLimits,
    /// How long an instance that was discovered and that nobody reaches is left to others before a link is given up for
    /// it.
    pub join_patience: u64,
    /// Time between two links that are given up for others; up to as much again is added at random.
    pub churn_interval: u64,
    /// Time for TLS and HELLO.
    pub handshake_timeout: u64,
    /// Time that the app of the other side may take to decide about us, after the handshake.
    pub request_timeout: u64,
    /// Time for the transport to open a link.
    pub dial_timeout: u64,
    /// Silence before a PING; a link is dead after three times this.
    pub ping_interval: u64,
    /// First delay after a failed dial; doubles up to `backoff_max`.
    pub backoff_first: u64,
    /// Longest delay between dials of a discovered peer.
    pub backoff_max: u64,
    /// Longest delay between dials of a static target.
    pub retry_interval: u64,
    /// How long the instance with the larger discovery token waits for the other to dial.
    pub second_dialer_delay: u64,
    /// Whether a Bluetooth link to a peer stays open, idle, beside a better one, to go on at once when that is lost. Links
    /// of other kinds do. Costs battery.
    pub bluetooth_standby: bool,
    /// Bytes of one passing circuit and direction that a relay holds at most, except over Bluetooth.
    pub circuit_window: u32,
    /// The same for circuits that open while `max_wide_circuits` pass already.
    pub circuit_window_many: u32,
    /// Passing circuits that get the larger window.
    pub max_wide_circuits: usize,
    /// The same where the bytes come over Bluetooth.
    pub circuit_window_bluetooth: u32,
    /// Bytes of one circuit that its end holds for the app at first.
    pub circuit_stream_window: u32,
    /// The same for an app that reads: the window doubles, up to this, whenever it has read as much. At most 1 MiB.
    pub circuit_stream_window_max: u32,
    /// Bytes waiting in one circuit before [`crate::SendFailure::QueueFull`].
    pub max_circuit_queued: usize,
    /// Circuits over the session with one peer.
    pub max_circuits_per_peer: usize,
    /// Circuits that begin, end or pass here.
    pub max_circuits: usize,
    /// How long a circuit may take to open, or to find another route, before it is given up.
    pub circuit_patience: u64,
    /// Silence on a circuit of ours before its other end is asked for a sign of life.
    pub circuit_ping_interval: u64,
    /// Time without a byte after which a relay closes a passing circuit. Ends that are alive ask each other well before.
    pub circuit_idle: u64,
    /// Presence timing and sizes.
    pub presence: PresenceLimits,
}

/// How many links of each kind there may be: those that we dial and those that we accept. Addresses that the app has
/// named are dialled in any case, and count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Over a LAN, or in memory.
    pub lan: (usize, usize),
    /// AWDL and Wi-Fi Aware.
    pub p2p_wifi: (usize, usize),
    /// WebSocket.
    pub websocket: (usize, usize),
    /// Bluetooth LE. Phones manage about seven links, and their users have headsets.
    pub bluetooth: (usize, usize),
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { lan: (6, 24), p2p_wifi: (3, 3), websocket: (1, 24), bluetooth: (2, 2) }
    }
}

impl ConnectionLimits {
    fn of(&self, kind: LinkKind) -> (usize, usize) {
        match kind {
            LinkKind::Memory | LinkKind::AccessPoint => self.lan,
            LinkKind::P2PWiFi => self.p2p_wifi,
            LinkKind::WebSocket => self.websocket,
            LinkKind::Bluetooth => self.bluetooth,
        }
    }

    /// Links of a kind on this side.
    pub(crate) fn most(&self, kind: LinkKind, role: Role) -> usize {
        let (dialled, accepted) = self.of(kind);
        if role == Role::Dialer { dialled } else { accepted }
    }
}

/// Limits of presence. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceLimits {
    /// Changes of our own record within this time are published as one.
    pub coalesce: u64,
    /// The same when every link is Bluetooth.
    pub coalesce_bluetooth: u64,
    /// Our record is published again after this time without a change.
    pub refresh: u64,
    /// Life of our record at other peers without a refresh.
    pub ttl: u64,
    /// Records of other peers wait for up to this time before they go on, together with those that come meanwhile.
    pub gather: u64,
    /// A peer that cannot be reached is shown this much longer.
    pub grace: u64,
    /// Peers whose records are kept.
    pub max_records: usize,
    /// Records of one origin accepted at once; more wait.
    pub origin_burst: u32,
    /// Time after which one more record of an origin is accepted.
    pub origin_refill: u64,
    /// Records from one neighbour examined at once; more wait, which also stops the neighbour.
    pub neighbour_burst: u32,
    /// Records per second from one neighbour examined after that.
    pub neighbour_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 256 << 10,
            max_frame: 16 << 10,
            in_flight: 256 << 10,
            in_flight_bluetooth: 1 << 10,
            max_sync_message: 16 << 20,
            max_bus_message: (1 << 20) + 1024,
            max_queued: 64 << 20,
            max_unacknowledged: 2 << 20,
            datagram_age: 100,
            max_pending_links: 64,
            max_sessions: 64,
            max_dials: 8,
            connections: ConnectionLimits::default(),
            join_patience: 3_000,
            churn_interval: 2_000,
            handshake_timeout: 10_000,
            request_timeout: 10_000,
            dial_timeout: 15_000,
            ping_interval: 15_000,
            backoff_first: 1_000,
            backoff_max: 300_000,
            retry_interval: 5_000,
            second_dialer_delay: 2_000,
            bluetooth_standby: false,
            circuit_window: 128 << 10,
            circuit_window_many: 32 << 10,
            max_wide_circuits: 64,
            circuit_window_bluetooth: 4 << 10,
            circuit_stream_window: 128 << 10,
            circuit_stream_window_max: 512 << 10,
            max_circuit_queued: 4 << 20,
            max_circuits_per_peer: 256,
            max_circuits: 512,
            circuit_patience: 30_000,
            circuit_ping_interval: 15_000,
            circuit_idle: 60_000,
            presence: PresenceLimits::default(),
        }
    }
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self {
            coalesce: 300,
            coalesce_bluetooth: 3_000,
            refresh: 60_000,
            ttl: 180_000,
            gather: 20,
            grace: 2_000,
            max_records: 1_024,
            origin_burst: 20,
            origin_refill: 300,
            neighbour_burst: 2_048,
            neighbour_rate: 500,
        }
    }
}

impl Limits {
    /// Bytes given to a link of this kind and not yet written.
    pub(crate) fn in_flight_for(&self, kind: LinkKind) -> usize {
        if kind == LinkKind::Bluetooth { self.in_flight_bluetooth } else { self.in_flight }
    }

    /// Size of the frames that we make for a link of this kind: about 20 ms of a slow link.
    pub(crate) fn frame_for(&self, kind: LinkKind) -> usize {
        if kind == LinkKind::Bluetooth { self.max_frame.min(512) } else { self.max_frame }
    }
}

/// Cuts `name` to [`MAX_DEVICE_NAME`] bytes at a character boundary.
pub(crate) fn display_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_DEVICE_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(display_name("short"), "short");
        assert_eq!(display_name(&"a".repeat(30)), "a".repeat(24));
        // Eleven two-byte characters after one byte: 23 bytes fit, the twelfth would end at 25.
        let name = format!("x{}", "é".repeat(20));
        assert_eq!(display_name(&name).len(), 23);
        assert_eq!(display_name("🦀🦀🦀🦀🦀🦀🦀").chars().count(), 6);
    }

    #[test]
    fn weak_secrets_are_refused() {
        let identity = Arc::new(Identity::generate(&mut |out| out.fill(1)));
        let mut c = MeshConfig::new(identity, DatabaseId::DEFAULT, [0; 16], [0; 8]);
        assert_eq!(c.validate(), Ok(()));
        c.admission = Admission::SharedKey(Zeroizing::new(vec![1; 15]));
        assert_eq!(c.validate(), Err(ConfigError::WeakSecret(15)));
        assert_eq!(format!("{:?}", c.admission), "SharedKey(..)");
        c.admission = Admission::SharedKey(Zeroizing::new(vec![1; 16]));
        assert_eq!(c.validate(), Ok(()));
        c.os = "x".repeat(33);
        assert!(matches!(c.validate(), Err(ConfigError::TooLong { what: "os", .. })));
    }
}
