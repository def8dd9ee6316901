//! Whom to dial and when: static targets, discovered instances, backoff.
//!
//! The dialer learns which peer an origin leads to, from the links that it opened and from the tokens that peers name in
//! HELLO and in presence records, and leaves an origin alone while its peer is connected as well as this origin could.

use std::collections::{BTreeMap, BTreeSet};

use crate::chooser::{Candidate, ConnectionPriority, spread};
use crate::config::Limits;
use crate::peer_key::PeerKey;
use crate::presence::{TokenHash, token_hash};
use crate::transport::{DialTarget, LinkId, LinkKind};

/// A session shorter than this counts as a failed dial, so that a peer that is thrown out does not come back at once.
const STABLE_MS: u64 = 10_000;

/// Instances remembered from discovery.
const MAX_TOKENS: usize = 512;

/// Addresses remembered per instance.
const MAX_TARGETS: usize = 16;

/// Pause after a dial that led to a peer which is connected at least as well already.
const SUPERSEDED_MS: u64 = 30_000;

/// What the dialer has to know of the mesh.
pub(crate) trait Outlook {
    /// What carries the session of a peer.
    fn session(&self, peer: &PeerKey) -> Option<LinkKind>;
    /// What the app has said about a peer.
    fn priority(&self, peer: &PeerKey) -> ConnectionPriority;
    /// Whether a peer was last seen in our sync group, as one that we know nothing of is supposed to be.
    fn same_group(&self, peer: &PeerKey) -> bool;
    /// Cost of the route to a peer; `None` when nobody reaches it.
    fn cost(&self, peer: &PeerKey) -> Option<u32>;
    /// Links of a kind that may still be dialled.
    fn room(&self, kind: LinkKind) -> usize;
    /// When one more link of a kind may be dialled than there may be, because one of them can be given up for it; `None` if
    /// there is none to give up.
    fn churn_at(&self, kind: LinkKind) -> Option<u64>;
}

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
    /// When it was found.
    seen: u64,
    /// Place in the order among equals.
    spread: u64,
    /// Hash of the discovery token.
    token: TokenHash,
}

impl Entry {
    fn new(targets: Vec<DialTarget>, now: u64, wait: u64) -> Self {
        let due = now + wait;
        let (link, peer, is_self, seen) = (None, None, false, now);
        Self { targets, turn: 0, failures: 0, due, link, peer, is_self, seen, spread: 0, token: [0; 8] }
    }

    fn target(&self) -> Option<&DialTarget> {
        self.targets.get(self.turn)
    }

    /// Whether dialling it could be of use, room and time aside.
    fn is_wanted(&self, outlook: &impl Outlook) -> bool {
        if self.link.is_some() || self.is_self {
            return false;
        }
        let (Some(target), Some(peer)) = (self.target(), &self.peer) else { return self.target().is_some() };
        if outlook.priority(peer) == ConnectionPriority::DontConnect {
            return false;
        }
        match (outlook.session(peer), link_kind(target)) {
            (None, _) => true,
            (Some(present), Some(possible)) => possible < present,
            (Some(_), None) => false,
        }
    }

    fn candidate(&self, is_explicit: bool, kind: LinkKind, outlook: &impl Outlook) -> Candidate {
        let peer = self.peer.as_ref();
        Candidate {
            is_explicit,
            priority: peer.map(|p| outlook.priority(p)).unwrap_or_default(),
            same_group: peer.is_none_or(|p| outlook.same_group(p)),
            cost: peer.and_then(|p| outlook.cost(p)),
            kind,
            spread: self.spread,
        }
    }
}

/// What a link to this address is carried by, where that is certain.
fn link_kind(target: &DialTarget) -> Option<LinkKind> {
    match target {
        DialTarget::Tcp(_) => Some(LinkKind::AccessPoint),
        DialTarget::WebSocket(_) => Some(LinkKind::WebSocket),
        DialTarget::Platform { kind, .. } => Some(*kind),
        DialTarget::Memory(_) => None,
    }
}

/// The kind whose limit a dial counts against.
pub(crate) fn counted_kind(target: &DialTarget) -> LinkKind {
    link_kind(target).unwrap_or(LinkKind::Memory)
}

/// A dial to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) origin: Origin,
    pub(crate) target: DialTarget,
    pub(crate) kind: LinkKind,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    own_token: String,
    limits: Limits,
    entries: BTreeMap<Origin, Entry>,
    /// Peers by the token that they named, also before discovery finds them.
    tokens: BTreeMap<TokenHash, PeerKey>,
    /// Something here has changed since it was last asked whom to dial.
    touched: bool,
}

impl Dialer {
    pub(crate) fn new(own_token: String, limits: Limits) -> Self {
        Self { own_token, limits, entries: BTreeMap::new(), tokens: BTreeMap::new(), touched: true }
    }

    /// Something outside has changed on which dials depend.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether anything has changed since this was last asked.
    pub(crate) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// The same without taking notice.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched
    }

    /// Counts for delays that begin from now on.
    pub(crate) fn set_retry_interval(&mut self, interval: u64) {
        self.touched = true;
        self.limits.retry_interval = interval;
    }

    /// Replaces the static targets. Links of targets that stay are kept; those of others are returned.
    pub(crate) fn set_static(&mut self, targets: &[DialTarget], now: u64) -> Vec<LinkId> {
        self.touched = true;
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
            let own = &self.own_token;
            let entry = || Entry {
                spread: spread(own.as_bytes(), t.to_string().as_bytes()),
                ..Entry::new(vec![t.clone()], now, 0)
            };
            self.entries.entry(Origin::Static(t.clone())).or_insert_with(entry);
        }
        orphans
    }

    /// Discovery found an instance. A new one, or one with new addresses, is dialled without backoff: at once if its
    /// token is the larger one, else after giving it time to dial us.
    ///
    /// Says whether that is news, and whose token it is, if that is known.
    pub(crate) fn discovered(
        &mut self,
        token: &str,
        mut targets: Vec<DialTarget>,
        now: u64,
    ) -> Option<Option<PeerKey>> {
        self.touched = true;
        if token == self.own_token || token.len() > 256 {
            return None;
        }
        targets.truncate(MAX_TARGETS);
        let origin = Origin::Token(token.to_owned());
        let wait = if self.own_token.as_str() < token { 0 } else { self.limits.second_dialer_delay };
        if let Some(e) = self.entries.get_mut(&origin) {
            if e.targets == targets {
                return None;
            }
            e.targets = targets;
            e.turn = 0;
            e.failures = 0;
            e.due = e.due.min(now + wait);
            return Some(e.peer);
        }
        if self.entries.len() >= MAX_TOKENS {
            return None;
        }
        let hash = token_hash(token);
        let peer = self.tokens.get(&hash).copied();
        let spread = spread(self.own_token.as_bytes(), token.as_bytes());
        self.entries.insert(origin, Entry { peer, spread, token: hash, ..Entry::new(targets, now, wait) });
        Some(peer)
    }

    /// An instance is no longer announced. Says whether it was known, and whose token it was.
    pub(crate) fn lost(&mut self, token: &str) -> Option<Option<PeerKey>> {
        self.touched = true;
        self.entries.remove(&Origin::Token(token.to_owned())).map(|e| e.peer)
    }

    /// The device is on another network: nothing that failed before says anything now.
    pub(crate) fn network_changed(&mut self, now: u64) {
        self.touched = true;
        for e in self.entries.values_mut() {
            (e.turn, e.failures, e.due) = (0, 0, e.due.min(now));
        }
    }

    /// The dials to make now, the most useful first. Each must be followed by [`Dialer::started`].
    ///
    /// Where no room is left, who is worth more than a link that can be given up is dialled all the same, one at a time. That
    /// link is given up when the new one stands, not before: an announcement may outlive its device.
    pub(crate) fn due(&self, now: u64, most: usize, outlook: &impl Outlook) -> Vec<Dial> {
        let mut rooms = Rooms::new(outlook);
        let mut candidates = Vec::new();
        for (origin, e) in self.entries.iter().filter(|(_, e)| e.due <= now && e.is_wanted(outlook)) {
            let Some(target) = e.target() else { continue };
            let (kind, is_explicit) = (counted_kind(target), origin.is_explicit());
            let candidate = e.candidate(is_explicit, kind, outlook);
            let in_place = self.in_place(e, &candidate).is_some_and(|at| at <= now);
            if is_explicit || in_place || rooms.left(kind) > 0 {
                candidates.push((candidate.rank(), origin, target, kind, in_place));
            }
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        candidates.sort_by_key(|c| c.0);
        let mut busy = self.busy();
        let mut out = Vec::new();
        for (_, origin, target, kind, in_place) in candidates {
            if out.len() >= most {
                break;
            }
            let has_room = origin.is_explicit() || rooms.left(kind) > 0;
            // An address that is both static and discovered is dialled once.
            if !busy.contains(target) && (has_room || (in_place && rooms.exceed(kind, now))) {
                busy.insert(target);
                rooms.take(kind);
                out.push(Dial { origin: origin.clone(), target: target.clone(), kind });
            }
        }
        out
    }

    /// From when on somebody is worth a link in place of another: nobody reaches them, or the app prefers them.
    fn in_place(&self, e: &Entry, candidate: &Candidate) -> Option<u64> {
        if candidate.priority == ConnectionPriority::High {
            Some(e.due)
        } else if candidate.cost.is_none() {
            // Its presence may arrive by way of others meanwhile.
            Some(e.due.max(e.seen + self.limits.join_patience))
        } else {
            None
        }
    }

    /// Kinds of links of which one could be given up for somebody, now or later.
    pub(crate) fn crowded(&self, outlook: &impl Outlook) -> BTreeSet<LinkKind> {
        self.without_room(outlook).map(|(_, kind)| kind).collect()
    }

    /// From when on who waits for room is worth a link in place of another, and what kind of link.
    fn without_room<'a>(&'a self, outlook: &'a impl Outlook) -> impl Iterator<Item = (u64, LinkKind)> + 'a {
        self.entries.iter().filter(|(o, e)| !o.is_explicit() && e.is_wanted(outlook)).filter_map(|(_, e)| {
            let kind = counted_kind(e.target()?);
            if outlook.room(kind) > 0 {
                return None;
            }
            Some((self.in_place(e, &e.candidate(false, kind, outlook))?, kind))
        })
    }

    /// Addresses that are being dialled or connected.
    fn busy(&self) -> BTreeSet<&DialTarget> {
        self.entries.values().filter(|e| e.link.is_some()).filter_map(Entry::target).collect()
    }

    /// The dial has this link.
    pub(crate) fn started(&mut self, origin: &Origin, link: LinkId) {
        self.touched = true;
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = Some(link);
        }
    }

    /// The link of an origin has shown whom it leads to.
    pub(crate) fn learned(&mut self, origin: &Origin, peer: PeerKey) {
        self.touched = true;
        if let Some(e) = self.entries.get_mut(origin) {
            e.peer = Some(peer);
        }
    }

    /// A peer has named its discovery token, in HELLO.
    pub(crate) fn learned_token(&mut self, token: &str, peer: PeerKey) {
        if !token.is_empty() {
            self.learned_token_hash(token_hash(token), peer);
        }
    }

    /// A peer has named its discovery token, in HELLO or in its presence record.
    pub(crate) fn learned_token_hash(&mut self, hash: TokenHash, peer: PeerKey) {
        if self.tokens.get(&hash) == Some(&peer) {
            return;
        }
        self.touched = true;
        // A peer has one token at a time.
        self.tokens.retain(|_, p| *p != peer);
        if self.tokens.len() < MAX_TOKENS {
            self.tokens.insert(hash, peer);
        }
        let named = |o: &Origin, e: &Entry| !o.is_explicit() && e.token == hash;
        for (_, e) in self.entries.iter_mut().filter(|(o, e)| named(o, e)) {
            e.peer = Some(peer);
        }
    }

    /// The origin leads to ourselves: never dial it again.
    pub(crate) fn is_self(&mut self, origin: &Origin) {
        self.touched = true;
        if let Some(e) = self.entries.get_mut(origin) {
            e.is_self = true;
            e.link = None;
        }
    }

    /// The dial, or the link before it was of use, failed. Returns the delay before the next try.
    pub(crate) fn failed(&mut self, origin: &Origin, now: u64, random: u64) -> Option<u64> {
        self.touched = true;
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
    pub(crate) fn superseded(&mut self, origin: &Origin, now: u64) {
        self.touched = true;
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = None;
            e.failures = 0;
            e.due = now + SUPERSEDED_MS;
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
        self.touched = true;
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
        self.touched = true;
        if let Some(e) = self.entries.get_mut(origin) {
            e.link = None;
        }
    }

    /// Forgets links and backoff, keeps what is known, as at a stop.
    pub(crate) fn reset(&mut self, now: u64) {
        self.touched = true;
        for (origin, e) in &mut self.entries {
            let wait = match origin {
                Origin::Token(t) if *t <= self.own_token => self.limits.second_dialer_delay,
                _ => 0,
            };
            // Whose token it is stays true; where an address leads may not.
            let peer = e.peer.filter(|_| !origin.is_explicit());
            let (spread, token) = (e.spread, e.token);
            *e = Entry { peer, spread, token, ..Entry::new(std::mem::take(&mut e.targets), now, wait) };
        }
    }

    /// When there is something to dial.
    pub(crate) fn next_deadline(&self, outlook: &impl Outlook) -> Option<u64> {
        let mut rooms = Rooms::new(outlook);
        let busy = self.busy();
        let dials = self.entries.iter().filter_map(|(origin, e)| {
            let target = e.target().filter(|t| !busy.contains(t))?;
            let is_open = origin.is_explicit() || rooms.left(counted_kind(target)) > 0;
            (is_open && e.is_wanted(outlook)).then_some(e.due)
        });
        let in_place = self.without_room(outlook);
        let in_place = in_place.filter_map(|(at, kind)| Some(at.max(outlook.churn_at(kind)?)));
        dials.min().into_iter().chain(in_place).min()
    }
}

/// Links that may still be dialled, asked for once per kind.
struct Rooms<'a, O> {
    outlook: &'a O,
    left: BTreeMap<LinkKind, usize>,
    exceeded: BTreeSet<LinkKind>,
}

impl<'a, O: Outlook> Rooms<'a, O> {
    fn new(outlook: &'a O) -> Self {
        Self { outlook, left: BTreeMap::new(), exceeded: BTreeSet::new() }
    }

    fn left(&mut self, kind: LinkKind) -> usize {
        *self.left.entry(kind).or_insert_with(|| self.outlook.room(kind))
    }

    /// Whether one may be dialled though no room is left. Counts as done.
    fn exceed(&mut self, kind: LinkKind, now: u64) -> bool {
        self.outlook.churn_at(kind).is_some_and(|at| at <= now) && self.exceeded.insert(kind)
    }

    fn take(&mut self, kind: LinkKind) {
        let left = self.left(kind);
        self.left.insert(kind, left.saturating_sub(1));
    }
}

impl Origin {
    /// The app has named the address.
    pub(crate) fn is_explicit(&self) -> bool {
        matches!(self, Origin::Static(_))
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
mod tests;
