//! Who was heard and until when, whom to listen to, and when to speak. Pure: the time, in milliseconds, comes in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use ditto_mesh::transport::{DialTarget, NetEvent};

use super::message::{Announcement, AnnouncementKind};

/// Instances remembered at once.
const MAX_INSTANCES: usize = 1024;
/// Instances that one address may announce: the processes of one machine.
const MAX_PER_SOURCE: usize = 64;
/// Addresses of one instance.
const MAX_ADDRESSES: usize = 8;
/// Datagrams of one address that are looked at in a row, and how long one more takes.
const BURST: u64 = 40;
const REFILL_MS: u64 = 100;
/// Addresses whose datagrams are counted.
const MAX_SOURCES: usize = 512;
/// Announcements right after something has changed, in milliseconds after it: one may be lost.
const EAGER: [u64; 3] = [0, 1_000, 3_000];
/// An answer waits this long, so that not everybody answers at once and one answer serves several questions.
const ANSWER_MIN: u64 = 20;
const ANSWER_SPREAD: u64 = 100;
/// Shortest time between two announcements of one instance, except for the eager ones.
const ANSWER_PAUSE: u64 = 1_000;

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Announce,
    Query,
}

/// The state of multicast discovery.
pub(super) struct Book {
    token: String,
    /// Whether there is a listener to announce.
    announces: bool,
    interval: u64,
    random: u64,
    instances: BTreeMap<String, BTreeMap<SocketAddr, u64>>,
    sources: HashMap<IpAddr, Source>,
    /// What was told of each instance, and which may differ from that now.
    told: BTreeMap<String, Vec<DialTarget>>,
    dirty: BTreeSet<String>,
    /// Nothing expires before.
    expiry: u64,
    /// When to announce next, and which of the eager ones that is.
    announce_at: u64,
    eager: usize,
    query_at: Option<u64>,
    query_count: usize,
    began: u64,
    last_announced: Option<u64>,
}

/// A token bucket that is stored as the moment at which it is full.
#[derive(Clone, Copy)]
struct Source {
    full_at: u64,
}

impl Book {
    /// `interval` is the usual time between announcements in milliseconds; `random` seeds the jitter.
    pub(super) fn new(token: String, announces: bool, interval: u64, random: u64, now: u64) -> Self {
        let mut book = Self {
            token,
            announces,
            interval,
            random,
            instances: BTreeMap::new(),
            sources: HashMap::new(),
            told: BTreeMap::new(),
            dirty: BTreeSet::new(),
            expiry: u64::MAX,
            announce_at: now,
            eager: 0,
            query_at: None,
            query_count: 0,
            began: now,
            last_announced: None,
        };
        book.begin(now);
        book
    }

    /// The network has changed: announce and ask as at the start.
    pub(super) fn begin(&mut self, now: u64) {
        self.began = now;
        self.eager = 0;
        self.announce_at = now;
        self.query_count = 0;
        self.query_at = Some(now);
    }

    /// How long an announcement is true: it outlives two that are lost.
    pub(super) fn seconds(&self) -> u16 {
        u16::try_from(self.interval * 13 / 4 / 1000 + 1).unwrap_or(u16::MAX).min(3600)
    }

    /// SplitMix64: a number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Whether a datagram of this address may be looked at now.
    pub(super) fn admits(&mut self, from: IpAddr, now: u64) -> bool {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&from) {
            self.sources.retain(|_, source| source.full_at > now);
            if self.sources.len() >= MAX_SOURCES {
                return false;
            }
        }
        let source = self.sources.entry(from).or_insert(Source { full_at: now });
        let full_at = source.full_at.max(now) + REFILL_MS;
        if full_at > now + BURST * REFILL_MS {
            return false;
        }
        source.full_at = full_at;
        true
    }

    /// An authentic datagram has arrived.
    pub(super) fn heard(&mut self, message: Announcement, from: SocketAddr, now: u64) {
        if message.token == self.token {
            return;
        }
        match message.kind {
            AnnouncementKind::Announce { port, seconds } => {
                let mut address = from;
                address.set_port(port);
                self.remember(message.token, address, now + u64::from(seconds) * 1000);
            }
            AnnouncementKind::Query => {
                if self.announces {
                    let wait = ANSWER_MIN + self.below(ANSWER_SPREAD);
                    let earliest = self.last_announced.map_or(0, |at| at + ANSWER_PAUSE);
                    self.announce_at = self.announce_at.min((now + wait).max(earliest));
                }
            }
            AnnouncementKind::Goodbye => {
                // It is said from every address that was announced.
                let Some(addresses) = self.instances.get_mut(&message.token) else {
                    return;
                };
                addresses.retain(|address, _| address.ip() != from.ip());
                if addresses.is_empty() {
                    self.instances.remove(&message.token);
                }
                self.dirty.insert(message.token);
            }
        }
    }

    fn remember(&mut self, token: String, address: SocketAddr, until: u64) {
        if !self.instances.contains_key(&token) {
            let of_source = |a: &BTreeMap<SocketAddr, u64>| a.keys().any(|a| a.ip() == address.ip());
            if self.instances.len() >= MAX_INSTANCES
                || self.instances.values().filter(|a| of_source(a)).count() >= MAX_PER_SOURCE
            {
                tracing::debug!(token, %address, "announced instance ignored: too many");
                return;
            }
        }
        let addresses = self.instances.entry(token.clone()).or_default();
        // A new port means a new listener at the same place.
        addresses.retain(|known, _| known.ip() != address.ip() || known.port() == address.port());
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&address) {
            return;
        }
        self.expiry = self.expiry.min(until);
        if addresses.insert(address, until).is_none() {
            self.dirty.insert(token);
        }
    }

    /// What is to be sent now, if anything. Sent once; asked again until `None`.
    pub(super) fn say(&mut self, now: u64) -> Option<Say> {
        if self.query_at.is_some_and(|at| now >= at) {
            self.query_count += 1;
            self.query_at = EAGER.get(self.query_count).map(|after| self.began + after);
            return Some(Say::Query);
        }
        if self.announces && now >= self.announce_at {
            self.eager += 1;
            self.announce_at = match EAGER.get(self.eager) {
                Some(after) => (self.began + after).max(now + 1),
                // Four fifths to six fifths of the interval.
                None => now + self.interval * 4 / 5 + self.below(self.interval * 2 / 5),
            };
            self.last_announced = Some(now);
            return Some(Say::Announce);
        }
        None
    }

    /// Forgets what has expired and returns what has changed since the last call.
    pub(super) fn changes(&mut self, now: u64) -> Vec<NetEvent> {
        if now >= self.expiry {
            self.expire(now);
        }
        let mut events = Vec::new();
        while let Some(token) = self.dirty.pop_first() {
            match self.instances.get(&token) {
                Some(addresses) => {
                    // IPv4 first: it is of a subnet that we share, while an IPv6 address is link-local.
                    let targets: Vec<DialTarget> =
                        addresses.keys().map(|address| DialTarget::Tcp(address.to_string())).collect();
                    if self.told.get(&token) != Some(&targets) {
                        self.told.insert(token.clone(), targets.clone());
                        events.push(NetEvent::Discovered { token, targets });
                    }
                }
                None if self.told.remove(&token).is_some() => events.push(NetEvent::Lost { token }),
                None => {}
            }
        }
        events
    }

    fn expire(&mut self, now: u64) {
        let dirty = &mut self.dirty;
        let mut next = u64::MAX;
        self.instances.retain(|token, addresses| {
            let before = addresses.len();
            addresses.retain(|_, until| *until > now);
            if addresses.len() != before {
                dirty.insert(token.clone());
            }
            next = addresses.values().copied().min().unwrap_or(u64::MAX).min(next);
            !addresses.is_empty()
        });
        self.expiry = next;
    }

    /// When something is to be said or forgotten.
    pub(super) fn deadline(&self) -> Option<u64> {
        let expiry = (self.expiry != u64::MAX).then_some(self.expiry);
        let announce = self.announces.then_some(self.announce_at);
        [expiry, announce, self.query_at].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 20_000;

    fn book(announces: bool) -> Book {
        Book::new("me".to_owned(), announces, INTERVAL, 1, 0)
    }

    fn announce(token: &str, port: u16) -> Announcement {
        Announcement { kind: AnnouncementKind::Announce { port, seconds: 65 }, token: token.to_owned() }
    }

    fn of(kind: AnnouncementKind, token: &str) -> Announcement {
        Announcement { kind, token: token.to_owned() }
    }

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn discovered(token: &str, targets: &[&str]) -> NetEvent {
        let targets = targets.iter().map(|t| DialTarget::Tcp((*t).to_owned())).collect();
        NetEvent::Discovered { token: token.to_owned(), targets }
    }

    fn lost(token: &str) -> NetEvent {
        NetEvent::Lost { token: token.to_owned() }
    }

    #[test]
    fn addresses_are_those_of_the_datagram_and_expire() {
        let mut b = book(true);
        b.heard(announce("a", 4040), from("192.0.2.9:5555"), 0);
        b.heard(announce("a", 4040), from("[fe80::1%3]:5555"), 1_000);
        b.heard(announce("me", 4040), from("192.0.2.1:5555"), 0);
        assert_eq!(b.changes(0), [discovered("a", &["192.0.2.9:4040", "[fe80::1%3]:4040"])]);
        b.heard(announce("a", 4040), from("192.0.2.9:6666"), 30_000);
        assert_eq!(b.changes(30_000), [], "a repetition is no news");
        assert_eq!(b.changes(66_000), [discovered("a", &["192.0.2.9:4040"])]);
        b.heard(announce("a", 5050), from("192.0.2.9:6666"), 67_000);
        assert_eq!(b.changes(67_000), [discovered("a", &["192.0.2.9:5050"])], "a new listener");
        assert_eq!(b.changes(131_999), []);
        assert_eq!(b.changes(132_000), [lost("a")]);
    }

    #[test]
    fn a_goodbye_counts_from_where_the_instance_was() {
        let mut b = book(true);
        b.heard(announce("a", 1), from("192.0.2.9:5555"), 0);
        b.heard(announce("a", 1), from("192.0.2.8:5555"), 0);
        b.changes(0);
        b.heard(of(AnnouncementKind::Goodbye, "a"), from("192.0.2.66:5555"), 1);
        assert_eq!(b.changes(1), []);
        b.heard(of(AnnouncementKind::Goodbye, "a"), from("192.0.2.9:777"), 2);
        assert_eq!(b.changes(2), [discovered("a", &["192.0.2.8:1"])]);
        b.heard(of(AnnouncementKind::Goodbye, "a"), from("192.0.2.8:777"), 3);
        b.heard(of(AnnouncementKind::Goodbye, "a"), from("192.0.2.8:777"), 3);
        assert_eq!(b.changes(3), [lost("a")]);
    }

    /// Everything said up to `end`, and when.
    fn said(b: &mut Book, end: u64) -> Vec<(u64, Say)> {
        let mut all = Vec::new();
        loop {
            let Some(at) = b.deadline().filter(|at| *at <= end) else {
                return all;
            };
            while let Some(say) = b.say(at) {
                all.push((at, say));
            }
            b.changes(at);
        }
    }

    #[test]
    fn it_speaks_eagerly_at_first_and_then_with_jitter() {
        let mut b = book(true);
        let all = said(&mut b, 300_000);
        let queries: Vec<u64> = all.iter().filter(|(_, s)| *s == Say::Query).map(|(at, _)| *at).collect();
        assert_eq!(queries, EAGER);
        let times: Vec<u64> = all.iter().filter(|(_, s)| *s == Say::Announce).map(|(at, _)| *at).collect();
        assert_eq!(times[..3], EAGER);
        let gaps: Vec<u64> = times[2..].windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.iter().all(|gap| (INTERVAL * 4 / 5..=INTERVAL * 6 / 5).contains(gap)), "{gaps:?}");
        assert!(gaps.windows(2).any(|w| w[0] != w[1]));
        assert!(u64::from(b.seconds()) * 1000 > 2 * INTERVAL * 6 / 5, "two may be lost");
        b.begin(300_000);
        assert_eq!(said(&mut b, 300_000).len(), 2, "a change of the network begins anew");
        assert_eq!(said(&mut book(false), 300_000).len(), 3, "without a listener it only asks");
    }

    #[test]
    fn questions_are_answered_soon_but_not_each() {
        let mut b = book(true);
        let quiet = said(&mut b, 10_000).len();
        assert_eq!(quiet, 6);
        let mut answers = Vec::new();
        for at in 10_000..15_000 {
            if at < 14_000 {
                b.heard(of(AnnouncementKind::Query, "x"), from("192.0.2.9:1"), at);
            }
            if b.say(at).is_some() {
                answers.push(at);
            }
        }
        assert!(answers[0] <= 10_000 + ANSWER_MIN + ANSWER_SPREAD, "{answers:?}");
        assert!(answers.windows(2).all(|w| w[1] - w[0] >= ANSWER_PAUSE), "{answers:?}");
        assert!((3..=6).contains(&answers.len()), "{answers:?}");
    }

    #[test]
    fn invented_instances_and_floods_are_bounded() {
        let mut b = book(true);
        for i in 0..5_000_u32 {
            let source = SocketAddr::from(([10, 0, (i / 250) as u8, 1], 9));
            b.heard(announce(&format!("t{i}"), 1), source, 0);
        }
        assert_eq!(b.instances.len(), MAX_INSTANCES);
        let mut one = book(true);
        for i in 0..500 {
            one.heard(announce(&format!("t{i}"), 1), from("192.0.2.9:9"), 0);
        }
        assert_eq!(one.instances.len(), MAX_PER_SOURCE);
        for i in 0..50_u8 {
            one.heard(announce("t1", 1), SocketAddr::from(([192, 0, 3, i], 9)), 0);
        }
        assert_eq!(one.instances["t1"].len(), MAX_ADDRESSES);

        let noisy: IpAddr = "192.0.2.66".parse().unwrap();
        let admitted = (0..10_000).filter(|_| b.admits(noisy, 1_000)).count() as u64;
        assert_eq!(admitted, BURST);
        assert!(b.admits("192.0.2.67".parse().unwrap(), 1_000), "others are not affected");
        assert!(b.admits(noisy, 1_000 + REFILL_MS));
        for i in 0..5_000_u32 {
            b.admits(IpAddr::from((0x0a00_0000 + i).to_be_bytes()), 1_000);
        }
        assert_eq!(b.sources.len(), MAX_SOURCES);
        assert!(b.admits("192.0.2.99".parse().unwrap(), 60_000), "old sources make room");
    }
}
