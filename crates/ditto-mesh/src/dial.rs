//! Whom to dial and when: static targets, discovered instances, backoff.
//!
//! The dialer learns which peer an origin leads to, from the links that it opened and from the tokens that peers name in
//! HELLO, and leaves an origin alone while its peer is connected.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Limits;
use crate::peer_key::PeerKey;
use crate::transport::{DialTarget, LinkId};

/// A session shorter than this counts as a failed dial, so that a peer that is thrown out does not come back at once.
const STABLE_MS: u64 = 10_000;

/// Instances remembered from discovery.
const MAX_TOKENS: usize = 512;

/// Addresses remembered per instance.
const MAX_TARGETS: usize = 16;

/// Why we know where to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Static(DialTarget),
    Token(String),
}

#[derive(Debug)]
struct Entry {
    targets: Vec<DialTarget>,
    /// Index of the target that is dialled next.
    turn: usize,
    /// Failures in a row.
    failures: u32,
    /// Not dialled before this moment.
    due: u64,
    /// The link that is being opened or is open.
    link: Option<LinkId>,
    /// Whom it leads to.
    peer: Option<PeerKey>,
    /// It leads to ourselves.
    is_self: bool,
}

impl Entry {
    fn new(targets: Vec<DialTarget>, due: u64) -> Self {
        Self { targets, turn: 0, failures: 0, due, link: None, peer: None, is_self: false }
    }
}

/// A dial to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) origin: Origin,
    pub(crate) target: DialTarget,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    own_token: String,
    limits: Limits,
    entries: BTreeMap<Origin, Entry>,
    /// Peers by the token that they named, also before discovery finds them.
    tokens: BTreeMap<String, PeerKey>,
}

impl Dialer {
    pub(crate) fn new(own_token: String, limits: Limits) -> Self {
        Self { own_token, limits, entries: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Replaces the static targets. Links of targets that stay are kept; those of others are returned.
    pub(crate) fn set_static(&mut self, targets: &[DialTarget], now: u64) -> Vec<LinkId> {
        let wanted: BTreeSet<&DialTarget> = targets.iter().collect();
        let mut orphans = Vec::new();
        self.entries.retain(|origin, e| {
            let keep = !matches!(origin, Origin::Static(t) if !wanted.contains(t));
            if !keep {
                orphans.extend(e.link);
            }
            keep
        });
        for t in wanted {
            let entry = || Entry::new(vec![t.clone()], now);
            self.entries.entry(Origin::Static(t.clone())).or_insert_with(entry);
        }
        orphans
    }

    /// Discovery found an instance. A new one, or one with new addresses, is dialled without backoff: at once if its
    /// token is the larger one, else after giving it time to dial us.
    pub(crate) fn discovered(&mut self, token: &str, mut targets: Vec<DialTarget>, now: u64) {
        if token == self.own_token || token.len() > 256 {
            return;
        }
        targets.truncate(MAX_TARGETS);
        let origin = Origin::Token(token.to_owned());
        let wait = if self.own_token.as_str() < token { 0 } else { self.limits.second_dialer_delay };
        if let Some(e) = self.entries.get_mut(&origin) {
            if e.targets != targets {
                e.targets = targets;
                e.turn = 0;
                e.failures = 0;
                e.due = e.due.min(now + wait);
            }
        } else if self.entries.len() < MAX_TOKENS {
            let peer = self.tokens.get(token).copied();
            self.entries.insert(origin, Entry { peer, ..Entry::new(targets, now + wait) });
        }
    }

    /// An instance is no longer announced.
    pub(crate) fn lost(&mut self, token: &str) {
        self.entries.remove(&Origin::Token(token.to_owned()));
    }

    /// The dials that are due. Each must be followed by [`Dialer::started`].
    pub(crate) fn due(
        &mut self,
        now: u64,
        room: usize,
        is_connected: impl Fn(&PeerKey) -> bool,
    ) -> Vec<Dial> {
        let is_due = |e: &Entry| e.due <= now && e.is_idle() && !e.peer.as_ref().is_some_and(&is_connected);
        if !self.entries.values().any(is_due) {
            return Vec::new();
        }
        let mut busy: BTreeSet<DialTarget> = self
            .entries
            .values()
            .filter(|e| e.link.is_some())
            .filter_map(|e| e.targets.get(e.turn).cloned())
            .collect();
        let mut out = Vec::new();
        for (origin, e) in &self.entries {
            if out.len() >= room {
                break;
            }
            if !is_due(e) {
                continue;
            }
            let Some(target) = e.targets.get(e.turn) else { continue };
            // An address that is both static and discovered is dialled once.
            if busy.insert(target.clone()) {
                out.push(Dial { origin: origin.clone(), target: target.clone() });
            }
        }
        out
    }

    /// The dial has this link.
    pub(crate) fn started(&mut self, origin: &Origin, link: LinkId) {
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = Some(link);
        }
    }

    /// The link of an origin has shown whom it leads to.
    pub(crate) fn learned(&mut self, origin: &Origin, peer: PeerKey) {
        if let Some(e) = self.entries.get_mut(origin) {
            e.peer = Some(peer);
        }
    }

    /// A peer has named its discovery token.
    pub(crate) fn learned_token(&mut self, token: &str, peer: PeerKey) {
        if !token.is_empty() {
            // A peer has one token at a time.
            self.tokens.retain(|t, p| *p != peer || t == token);
            if self.tokens.len() < MAX_TOKENS {
                self.tokens.insert(token.to_owned(), peer);
            }
            self.learned(&Origin::Token(token.to_owned()), peer);
        }
    }

    /// The origin leads to ourselves: never dial it again.
    pub(crate) fn is_self(&mut self, origin: &Origin) {
        if let Some(e) = self.entries.get_mut(origin) {
            e.is_self = true;
            e.link = None;
        }
    }

    /// The dial, or the link before it was of use, failed. Returns the delay before the next try.
    pub(crate) fn failed(&mut self, origin: &Origin, now: u64, random: u64) -> Option<u64> {
        let e = self.entries.get_mut(origin)?;
        e.link = None;
        if e.is_self {
            return None;
        }
        // The other addresses of the same instance come first.
        e.turn += 1;
        if e.turn < e.targets.len() {
            e.due = now;
            return Some(0);
        }
        e.turn = 0;
        e.failures = e.failures.saturating_add(1);
        let max = match origin {
            Origin::Static(_) => self.limits.retry_interval,
            Origin::Token(_) => self.limits.backoff_max,
        };
        let delay = backoff(e.failures, self.limits.backoff_first, max, random);
        e.due = now + delay;
        Some(delay)
    }

    /// The link of an origin is gone, and its peer is still connected by another one.
    pub(crate) fn superseded(&mut self, origin: &Origin) {
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = None;
            e.failures = 0;
        }
    }

    /// A session ended after `lasted`; whatever leads to the peer may be dialled again.
    pub(crate) fn disconnected(
        &mut self,
        peer: &PeerKey,
        lasted: u64,
        now: u64,
        mut random: impl FnMut() -> u64,
    ) {
        for (origin, e) in self.entries.iter_mut().filter(|(_, e)| e.peer.as_ref() == Some(peer)) {
            e.failures = if lasted >= STABLE_MS { 1 } else { e.failures.saturating_add(1) };
            let max = match origin {
                Origin::Static(_) => self.limits.retry_interval,
                Origin::Token(_) => self.limits.backoff_max,
            };
            e.due = now + backoff(e.failures, self.limits.backoff_first, max, random());
        }
    }

    /// The link of an origin is closed; the caller has set when to dial next.
    pub(crate) fn released(&mut self, origin: &Origin) {
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = None;
        }
    }

    /// Forgets links and backoff, keeps what is known, as at a stop.
    pub(crate) fn reset(&mut self, now: u64) {
        for (origin, e) in &mut self.entries {
            let wait = match origin {
                Origin::Token(t) if *t <= self.own_token => self.limits.second_dialer_delay,
                _ => 0,
            };
            *e = Entry::new(std::mem::take(&mut e.targets), now + wait);
        }
    }

    /// When the next dial is due.
    pub(crate) fn next_deadline(&self, is_connected: impl Fn(&PeerKey) -> bool) -> Option<u64> {
        let busy: BTreeSet<&DialTarget> = self
            .entries
            .values()
            .filter(|e| e.link.is_some())
            .filter_map(|e| e.targets.get(e.turn))
            .collect();
        self.entries
            .values()
            .filter(|e| e.is_idle() && !e.peer.as_ref().is_some_and(&is_connected))
            .filter(|e| e.targets.get(e.turn).is_some_and(|t| !busy.contains(t)))
            .map(|e| e.due)
            .min()
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.link.is_none() && !self.is_self
    }
}

/// `first` x 2^(failures - 1), at most `max`, of which the upper half is random.
fn backoff(failures: u32, first: u64, max: u64, random: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(32);
    let full = first.saturating_mul(1 << doublings).min(max);
    let half = full / 2;
    half + random % (full - half + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn t(s: &str) -> DialTarget {
        DialTarget::Memory(s.into())
    }

    fn never(_: &PeerKey) -> bool {
        false
    }

    fn dialer(token: &str) -> Dialer {
        Dialer::new(token.into(), Limits::default())
    }

    #[test]
    fn the_smaller_token_dials_first() {
        let (mut a, mut b) = (dialer("a"), dialer("b"));
        a.discovered("b", vec![t("b")], 1000);
        b.discovered("a", vec![t("a")], 1000);
        a.discovered("a", vec![t("a")], 1000);
        assert_eq!(a.due(1000, 9, never).len(), 1);
        assert_eq!(b.due(2999, 9, never), []);
        assert_eq!(b.next_deadline(never), Some(3000));
        assert_eq!(b.due(3000, 9, never).len(), 1);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit_and_is_jittered() {
        for (failures, max) in [(1, 1000), (2, 2000), (5, 16_000), (9, 256_000), (10, 300_000), (99, 300_000)]
        {
            for random in [0, 7, u64::MAX / 3] {
                let d = backoff(failures, 1000, 300_000, random);
                assert!(d >= max / 2 && d <= max, "{failures}: {d}");
            }
        }
        let mut d = dialer("a");
        d.set_static(&[t("x")], 0);
        d.discovered("b", vec![t("b1"), t("b2")], 0);
        let (fixed, found) = (Origin::Static(t("x")), Origin::Token("b".into()));
        for _ in 0..20 {
            assert!(d.failed(&fixed, 0, 5).unwrap() <= 5000);
        }
        // Both addresses of an instance are tried before waiting.
        assert_eq!(d.failed(&found, 0, 0), Some(0));
        assert_eq!(d.due(0, 9, never)[0].target, t("b2"));
        assert_eq!(d.failed(&found, 0, 0), Some(500));
    }

    #[test]
    fn rediscovery_resets_backoff_and_mere_repetition_does_not() {
        let mut d = dialer("a");
        let o = Origin::Token("b".into());
        d.discovered("b", vec![t("b")], 0);
        for _ in 0..8 {
            d.failed(&o, 0, 0);
        }
        let late = d.next_deadline(never).unwrap();
        assert!(late > 50_000);
        d.discovered("b", vec![t("b")], 10);
        assert_eq!(d.next_deadline(never), Some(late));
        d.discovered("b", vec![t("b"), t("c")], 20);
        assert_eq!(d.next_deadline(never), Some(20));
        d.lost("b");
        assert_eq!(d.next_deadline(never), None);
    }

    #[test]
    fn connected_peers_and_ourselves_are_left_alone() {
        let mut d = dialer("z");
        let peer = Identity::generate(&mut |out| out.fill(1)).peer_key();
        d.set_static(&[t("x"), t("y")], 0);
        d.learned(&Origin::Static(t("x")), peer);
        d.is_self(&Origin::Static(t("y")));
        assert_eq!(d.due(0, 9, |p| *p == peer), []);
        assert_eq!(d.next_deadline(|p| *p == peer), None);
        d.disconnected(&peer, 60_000, 100, || 0);
        assert_eq!(d.due(600, 9, never).len(), 1);
        // Static targets that stay keep what is known; the others are dropped.
        d.started(&Origin::Static(t("x")), LinkId(5));
        assert_eq!(d.set_static(&[t("y")], 700), [LinkId(5)]);
        assert_eq!(d.due(800, 9, never), []);
    }

    #[test]
    fn one_address_is_dialled_once() {
        let mut d = dialer("a");
        d.set_static(&[t("x")], 0);
        d.discovered("b", vec![t("x")], 0);
        let due = d.due(0, 9, never);
        assert_eq!(due.len(), 1);
        d.started(&due[0].origin, LinkId(1));
        assert_eq!(d.due(0, 9, never), []);
    }
}
