//! Our own discovery on the local network: UDP announcements to a multicast group, for networks that filter mDNS and
//! devices whose mDNS belongs to somebody else.
//!
//! An instance announces its listener's port three times at the start and whenever the network changes, then every
//! 20 s with jitter, and when somebody asks. Others dial the address that the datagram came from, which must be one of the
//! same link. A clean end says goodbye; else an announcement expires after about three intervals.
//!
//! | module | owns |
//! |---|---|
//! | `message` | the datagram: versioned, bounded, authenticated per database and sync group |
//! | `book` | who was heard and until when, rate limits, when to speak; pure |
//! | `sockets` | the groups on every interface |

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ditto_mesh::transport::NetEvent;
use if_addrs::Interface;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::error::NetError;
use crate::interfaces::{multicast_available, usable_interfaces};
use crate::mdns::is_token;
use crate::sink::EventSink;
use crate::tcp::canonical;

mod book;
pub(crate) mod message;
mod sockets;

use book::{Book, Say};
pub use message::{Announcement, AnnouncementError, AnnouncementKind, MAX_DATAGRAM, MulticastScope};
use sockets::Sockets;
pub use sockets::{GROUP_V4 as MULTICAST_GROUP_V4, GROUP_V6 as MULTICAST_GROUP_V6, PORT as MULTICAST_PORT};

/// Usual time between two announcements.
const INTERVAL: Duration = Duration::from_secs(20);
/// How often the interfaces are looked at.
const INTERFACE_CHECK: Duration = Duration::from_secs(5);
/// Datagrams handled in a row before others get their turn, and the pause after that: a flood costs no more than this.
const BATCH: u32 = 64;
const BREATH: Duration = Duration::from_millis(20);
/// A goodbye is said twice, because a datagram may be lost.
const GOODBYE_AGAIN: Duration = Duration::from_millis(60);
/// Name of this transport in `Condition` events.
const SOURCE: &str = "Multicast";

/// Discovery by multicast announcements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastConfig {
    /// Only instances of the same scope find each other.
    pub scope: MulticastScope,
    /// What this process calls itself: unique, random, the same as for mDNS, so that an instance found both ways is one.
    /// 1 to 63 characters of `a-z`, `0-9` and `-`.
    pub token: String,
    /// Usual time between two announcements, 1 s to 5 min.
    pub interval: Duration,
}

impl MulticastConfig {
    /// With the usual interval of 20 s.
    pub fn new(scope: MulticastScope, token: String) -> Self {
        Self { scope, token, interval: INTERVAL }
    }

    pub(crate) fn check(&self) -> Result<(), NetError> {
        if is_token(&self.token) { Ok(()) } else { Err(NetError::Token { token: self.token.clone() }) }
    }
}

/// Announces and listens until the transport stops.
pub(crate) async fn run(config: MulticastConfig, listen: Option<SocketAddr>, sink: EventSink) {
    let interval = config.interval.clamp(Duration::from_secs(1), Duration::from_secs(300));
    let began = Instant::now();
    let port = listen.map_or(0, |listen| listen.port());
    let book =
        Book::new(config.token.clone(), port != 0, interval.as_millis() as u64, seed(&config.token), 0);
    let mut discovery = Discovery {
        config,
        listen,
        sink,
        book,
        began,
        interfaces: Vec::new(),
        loopback: false,
        condition: None,
    };
    discovery.serve().await;
}

/// Different for every instance, which is all that jitter needs.
fn seed(token: &str) -> u64 {
    let hash = blake3::hash(token.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

struct Discovery {
    config: MulticastConfig,
    listen: Option<SocketAddr>,
    sink: EventSink,
    book: Book,
    began: Instant,
    interfaces: Vec<Interface>,
    /// Whether there is nothing but loopback, so that processes of this machine must use that.
    loopback: bool,
    /// The last reported condition.
    condition: Option<String>,
}

impl Discovery {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn serve(&mut self) {
        self.look_at_interfaces();
        let mut sockets = self.open().await;
        let sink = self.sink.clone();
        let mut check = interval(INTERFACE_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.tick().await;
        let mut buf = [0; MAX_DATAGRAM + 1];
        let mut in_a_row = 0;
        loop {
            let now = self.now();
            while let Some(say) = self.book.say(now) {
                self.say(&sockets, say);
            }
            for event in self.book.changes(now) {
                sink.emit(event).await;
            }
            let deadline = self.book.deadline().map(|ms| self.began + Duration::from_millis(ms));
            tokio::select! {
                biased;
                () = sink.stopped() => break,
                () = async { match deadline { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {}
                _ = check.tick() => {
                    in_a_row = 0;
                    // What could not be opened may be possible now, as an IPv6 address that was being checked.
                    let changed = self.look_at_interfaces();
                    if changed || !sockets.is_complete() {
                        let before = sockets.count();
                        sockets = self.open().await;
                        if changed || sockets.count() > before {
                            self.book.begin(self.now());
                        }
                    }
                }
                (n, from) = sockets.receive(&mut buf) => {
                    self.hear(&sockets, &buf[..n], from);
                    in_a_row += 1;
                    if in_a_row == BATCH {
                        in_a_row = 0;
                        sleep(BREATH).await;
                    }
                }
            }
        }
        self.say_goodbye(&sockets).await;
    }

    fn hear(&mut self, sockets: &Sockets, datagram: &[u8], from: SocketAddr) {
        let now = self.now();
        let is_own_machine = self.loopback && from.ip().is_loopback();
        if !(is_own_machine || sockets.is_neighbour(from)) || !self.book.admits(from.ip(), now) {
            return;
        }
        match Announcement::decode(datagram, &self.config.scope) {
            Ok(message) => self.book.heard(message, from, now),
            Err(e) => tracing::trace!(%from, error = %e, "datagram ignored"),
        }
    }

    fn say(&self, sockets: &Sockets, say: Say) {
        let kind = match say {
            Say::Query => AnnouncementKind::Query,
            Say::Announce => AnnouncementKind::Announce {
                port: self.listen.map_or(0, |listen| listen.port()),
                seconds: self.book.seconds(),
            },
        };
        let datagram = Announcement { kind, token: self.config.token.clone() }.encode(&self.config.scope);
        // An announcement says where to dial by where it comes from.
        sockets.speak(&datagram, |ip| say == Say::Query || self.listens_at(ip));
    }

    /// Whether the listener takes connections to this address of ours.
    fn listens_at(&self, ip: IpAddr) -> bool {
        let Some(listen) = self.listen else {
            return false;
        };
        let bound = canonical(listen.ip());
        if bound.is_unspecified() { bound.is_ipv6() || ip.is_ipv4() } else { bound == ip }
    }

    async fn say_goodbye(&self, sockets: &Sockets) {
        if self.listen.is_none() {
            return;
        }
        let message = Announcement { kind: AnnouncementKind::Goodbye, token: self.config.token.clone() };
        let datagram = message.encode(&self.config.scope);
        sockets.speak(&datagram, |ip| self.listens_at(ip));
        sleep(GOODBYE_AGAIN).await;
        sockets.speak(&datagram, |ip| self.listens_at(ip));
    }

    /// Whether the usable interfaces have changed.
    fn look_at_interfaces(&mut self) -> bool {
        let mut now = usable_interfaces();
        self.loopback = now.is_empty();
        if self.loopback {
            now = if_addrs::get_if_addrs().unwrap_or_default();
            now.retain(Interface::is_loopback);
        }
        let changed = now != self.interfaces;
        self.interfaces = now;
        changed
    }

    async fn open(&mut self) -> Sockets {
        let (sockets, failure) = Sockets::open(&self.interfaces);
        let available = tokio::task::spawn_blocking(multicast_available).await;
        let text = match (available, failure) {
            (Ok(Err(reason)), _) => reason,
            (_, Some(failure)) if !sockets.is_usable() => failure,
            _ => "ok".to_owned(),
        };
        self.condition(text).await;
        sockets
    }

    /// Reports a condition that differs from the last one; "ok" is what everybody assumes at first.
    async fn condition(&mut self, text: String) {
        if self.condition.as_deref().unwrap_or("ok") == text {
            return;
        }
        self.condition = Some(text.clone());
        self.sink.emit(NetEvent::Condition { source: SOURCE.to_owned(), text }).await;
    }
}
