//! Presence: signed records of every peer, flooded over the sessions, and the graph that follows from them.
//!
//! A peer publishes a record of itself when something changes. Newer records replace older ones and travel on to every
//! neighbour but the one they came from; on a new session both sides tell what they have and send what is missing.

mod graph;
mod message;
mod metadata;
mod receive;
mod record;
mod send;
mod topology;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ditto_types::Value;

pub(crate) use self::graph::empty;
pub use self::graph::{PresenceConnection, PresenceGraph, PresencePeer};
pub(crate) use self::message::Message;
pub(crate) use self::metadata::read_metadata;
pub use self::metadata::{MetadataError, check_metadata};
pub use self::record::MAX_METADATA;
pub(crate) use self::record::{SignedRecord, TokenHash, token_hash};
pub(crate) use self::topology::Topology;
use self::view::Facts;
pub use self::view::PresenceView;
use crate::api::PeerInfo;
use crate::config::PresenceLimits;
use crate::identity::Identity;
use crate::peer_key::{PeerKey, ShortId, VerifyingKey};
use crate::transport::LinkKind;

/// Longest life of a record without a refresh, whatever it asks for.
const MAX_TTL_S: u64 = 3600;

/// The graph follows what others say at most once in this time for each peer that is known: every 200 ms in a mesh of 200.
const FOLLOW_MS_PER_PEER: u64 = 1;

/// Something that a neighbour did wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A record was refused; the neighbour may be innocent.
    Refused { from: PeerKey, reason: String },
    /// A message was malformed; the neighbour is not.
    Violation { from: PeerKey, reason: String },
}

/// What this instance says about itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) os: String,
    pub(crate) sdk: String,
    pub(crate) is_server: bool,
    pub(crate) overlap_group: u8,
    /// The discovery token.
    pub(crate) token: String,
}

/// A record that came in, with what came beside it.
#[derive(Debug)]
struct Item {
    age_s: u64,
    signed: SignedRecord,
    metadata: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Stored {
    short: ShortId,
    verifying: VerifyingKey,
    signed: SignedRecord,
    /// JSON text; `None` when the record names metadata that has not arrived.
    metadata: Option<Vec<u8>>,
    facts: Arc<Facts>,
    /// When its origin made it, as far as the path told.
    born: u64,
    expires: u64,
    bucket: Bucket,
    /// A newer one that waits until the origin's bucket has refilled; verified.
    pending: Option<(PeerKey, Item)>,
}

impl Stored {
    /// Number of the newest verified record.
    fn newest(&self) -> u64 {
        self.pending.as_ref().map_or(self.signed.record.seq, |(_, item)| item.signed.record.seq)
    }
}

/// Tokens for accepting something.
#[derive(Debug)]
struct Bucket {
    tokens: u64,
    since: u64,
}

impl Bucket {
    fn refill(&mut self, now: u64, max: u64, every: u64) {
        let every = every.max(1);
        let more = now.saturating_sub(self.since) / every;
        self.since += more * every;
        self.tokens = (self.tokens + more).min(max);
    }
}

#[derive(Debug)]
struct Neighbour {
    info: PeerInfo,
    short: ShortId,
    /// What HELLO said.
    facts: Arc<Facts>,
    /// What it has: sequence number and metadata of each origin.
    known: BTreeMap<PeerKey, (u64, [u8; 16])>,
    /// Origins whose record it should get.
    outbox: BTreeSet<PeerKey>,
    /// The same, when it is time to pass on what others said.
    later: BTreeSet<PeerKey>,
    digest_due: bool,
    /// Messages that wait for tokens. Bounded by the window of the channel, because they are not consumed yet.
    inbox: VecDeque<Vec<u8>>,
    bucket: Bucket,
}

impl Neighbour {
    /// It has this record already.
    fn knows(&mut self, key: PeerKey, seq: u64, meta: [u8; 16]) {
        self.known.insert(key, (seq, meta));
        self.outbox.remove(&key);
        self.later.remove(&key);
    }
}

pub(crate) struct Presence {
    identity: Arc<Identity>,
    db_hash: [u8; 16],
    about: About,
    limits: PresenceLimits,
    local: PeerKey,
    verifying: VerifyingKey,
    /// Differs from peer to peer.
    spread: u64,
    running: bool,
    seq: u64,
    metadata: (Vec<u8>, Arc<Value>),
    records: BTreeMap<PeerKey, Stored>,
    /// No record expires, and none that waits is due, before this.
    records_due: u64,
    /// When to pass on what others said.
    pass_on_at: Option<u64>,
    neighbours: BTreeMap<PeerKey, Neighbour>,
    publish_at: Option<u64>,
    refresh_at: u64,
    /// When a peer of the shown graph was found to be out of reach.
    lost: BTreeMap<PeerKey, u64>,
    stale: bool,
    /// Peers whose records the graph does not follow yet.
    unseen: BTreeSet<PeerKey>,
    /// When it was worked out last.
    rebuilt: u64,
    /// Something came in since the last [`Presence::advance`].
    touched: bool,
    /// When the next one is needed otherwise.
    wake: u64,
    shown: PresenceView,
    /// Discovery tokens that records have told, for [`Presence::take_tokens`].
    tokens: Vec<(TokenHash, PeerKey)>,
    faults: Vec<Fault>,
    consumed: Vec<(PeerKey, usize)>,
}

impl Presence {
    pub(crate) fn new(
        identity: Arc<Identity>,
        db_hash: [u8; 16],
        about: About,
        limits: PresenceLimits,
    ) -> Self {
        let local = identity.peer_key();
        let facts = Facts::of_own(&about, false, Arc::new(empty()));
        Self {
            identity,
            db_hash,
            limits,
            local,
            verifying: local.verifying(),
            spread: u64::from_le_bytes(local.short_id()),
            running: false,
            seq: 0,
            metadata: (Vec::new(), Arc::new(empty())),
            records: BTreeMap::new(),
            records_due: u64::MAX,
            pass_on_at: None,
            neighbours: BTreeMap::new(),
            publish_at: None,
            refresh_at: u64::MAX,
            lost: BTreeMap::new(),
            stale: false,
            unseen: BTreeSet::new(),
            rebuilt: 0,
            touched: false,
            wake: u64::MAX,
            shown: PresenceView::alone(local, facts),
            tokens: Vec::new(),
            about,
            faults: Vec::new(),
            consumed: Vec::new(),
        }
    }

    /// Begins to publish. `wall_ms` makes sequence numbers grow across restarts.
    pub(crate) fn start(&mut self, now: u64, wall_ms: u64) {
        self.touched = true;
        self.running = true;
        self.seq = self.seq.max(wall_ms << 16);
        self.publish_at = Some(now);
    }

    /// Forgets everybody.
    pub(crate) fn stop(&mut self) {
        self.touched = true;
        self.running = false;
        self.publish_at = None;
        self.refresh_at = u64::MAX;
        self.records.clear();
        self.neighbours.clear();
        self.lost.clear();
        self.consumed.clear();
        (self.records_due, self.pass_on_at) = (u64::MAX, None);
        self.stale = true;
    }

    pub(crate) fn set_metadata(&mut self, value: Value, now: u64) -> Result<(), MetadataError> {
        let text = check_metadata(&value)?;
        let is_empty = value.as_object().is_some_and(|o| o.is_empty());
        self.metadata = (if is_empty { Vec::new() } else { text.into_bytes() }, Arc::new(value));
        self.changed(now);
        Ok(())
    }

    /// Our metadata as JSON; nothing when it is empty.
    pub(crate) fn metadata_json(&self) -> &[u8] {
        &self.metadata.0
    }

    /// Puts this peer into another query overlap group.
    pub(crate) fn set_overlap_group(&mut self, group: u8, now: u64) {
        self.about.overlap_group = group;
        self.changed(now);
    }

    /// Discovery tokens that have come to be known from records.
    pub(crate) fn take_tokens(&mut self) -> Vec<(TokenHash, PeerKey)> {
        std::mem::take(&mut self.tokens)
    }

    /// A session began, or its link or facts changed.
    pub(crate) fn neighbour_up(&mut self, info: PeerInfo, now: u64) {
        match self.neighbours.get_mut(&info.peer) {
            Some(n) => (n.facts, n.info) = (Arc::new(Facts::of_hello(&info)), info),
            None => {
                let bucket = Bucket { tokens: self.limits.neighbour_burst.into(), since: now };
                let n = Neighbour {
                    short: info.peer.short_id(),
                    facts: Arc::new(Facts::of_hello(&info)),
                    known: BTreeMap::new(),
                    outbox: BTreeSet::new(),
                    later: BTreeSet::new(),
                    digest_due: true,
                    inbox: VecDeque::new(),
                    bucket,
                    info,
                };
                self.neighbours.insert(n.info.peer, n);
            }
        }
        self.changed(now);
    }

    pub(crate) fn neighbour_down(&mut self, peer: &PeerKey, now: u64) {
        if self.neighbours.remove(peer).is_some() {
            self.changed(now);
        }
    }

    /// Our own record has to change.
    fn changed(&mut self, now: u64) {
        self.stale = true;
        self.touched = true;
        if self.running {
            let slow = self.neighbours.values().all(|n| n.info.link_kind == LinkKind::Bluetooth);
            let slow = slow && !self.neighbours.is_empty();
            let delay = if slow { self.limits.coalesce_bluetooth } else { self.limits.coalesce };
            self.publish_at = Some(self.publish_at.map_or(now + delay, |at| at.min(now + delay)));
        }
    }

    /// Does what time asks for: publishes, expires, reads what had to wait, follows the graph.
    /// Says whether the shown graph has changed.
    pub(crate) fn advance(&mut self, now: u64) -> bool {
        if !self.touched && now < self.wake {
            return false;
        }
        let changed = self.catch_up(now);
        self.touched = false;
        self.wake = self.scan_deadlines().unwrap_or(u64::MAX);
        changed
    }

    fn catch_up(&mut self, now: u64) -> bool {
        let waiting: Vec<PeerKey> =
            self.neighbours.iter().filter(|(_, n)| !n.inbox.is_empty()).map(|(k, _)| *k).collect();
        for peer in waiting {
            self.read_inbox(peer, now);
        }
        if self.records_due <= now {
            self.tend_records(now);
        }
        if self.pass_on_at.is_some_and(|at| at <= now) {
            self.pass_on_at = None;
            self.neighbours.values_mut().for_each(|n| n.outbox.append(&mut n.later));
        }
        if self.running && (self.publish_at.is_some_and(|at| at <= now) || self.refresh_at <= now) {
            self.publish(now);
        }
        if self.lost.values().any(|at| at + self.limits.grace <= now) {
            self.stale = true;
        }
        if !self.stale && (self.unseen.is_empty() || self.rebuild_at() > now) {
            return false;
        }
        (self.stale, self.rebuilt) = (false, now);
        self.unseen.clear();
        self.rebuild(now)
    }

    /// Takes what had to wait for its origin's bucket, and forgets what has expired.
    fn tend_records(&mut self, now: u64) {
        let (burst, every) = (u64::from(self.limits.origin_burst), self.limits.origin_refill);
        let mut refilled = Vec::new();
        for s in self.records.values_mut().filter(|s| s.pending.is_some()) {
            s.bucket.refill(now, burst, every);
            if s.bucket.tokens > 0 {
                refilled.extend(s.pending.take().map(|(from, item)| (from, item, s.verifying.clone())));
            }
        }
        for (from, item, verifying) in refilled {
            self.accept(from, item, verifying, now);
        }
        let before = self.records.len();
        self.records.retain(|_, s| s.expires > now);
        if self.records.len() != before {
            for n in self.neighbours.values_mut() {
                n.known.retain(|k, _| self.records.contains_key(k));
            }
            self.stale = true;
        }
        let due = |s: &Stored| {
            if s.pending.is_some() { (s.bucket.since + every).min(s.expires) } else { s.expires }
        };
        self.records_due = self.records.values().map(due).min().unwrap_or(u64::MAX);
    }

    /// When the graph may follow others again. Working it out costs time for every peer of the mesh; if each of them changed
    /// something, and each change was followed at once, a mesh of twice the size would have eight times the work.
    fn rebuild_at(&self) -> u64 {
        self.rebuilt + self.records.len() as u64 * FOLLOW_MS_PER_PEER
    }

    /// What was read, to be granted to the senders again.
    pub(crate) fn take_consumed(&mut self) -> Vec<(PeerKey, usize)> {
        std::mem::take(&mut self.consumed)
    }

    pub(crate) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// When [`Presence::advance`] has something to do without new input.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.touched { self.scan_deadlines() } else { Some(self.wake).filter(|at| *at != u64::MAX) }
    }

    fn scan_deadlines(&self) -> Option<u64> {
        if !self.running {
            return None;
        }
        let own =
            self.publish_at.into_iter().chain(self.pass_on_at).chain([self.refresh_at, self.records_due]);
        let pause = 1000_u64.div_ceil(u64::from(self.limits.neighbour_rate.max(1)));
        let inboxes =
            self.neighbours.values().filter(|n| !n.inbox.is_empty()).map(|n| n.bucket.since + pause);
        let lost = self.lost.values().map(|at| at + self.limits.grace);
        let graph = (!self.unseen.is_empty()).then(|| self.rebuild_at());
        own.chain(inboxes).chain(lost).chain(graph).min()
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
