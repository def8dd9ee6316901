//! Presence: signed records of every peer, flooded over the sessions, and the graph that follows from them.
//!
//! A peer publishes a record of itself when something changes. Newer records replace older ones and travel on to every
//! neighbour but the one they came from; on a new session both sides tell what they have and send what is missing.

mod graph;
mod record;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ditto_types::{Value, json};

pub(crate) use self::graph::empty;
pub use self::graph::{PresenceConnection, PresenceGraph, PresencePeer};
pub use self::record::MAX_METADATA;
use self::record::{
    Edge, Item, MAX_DIGEST, MAX_EDGES, MAX_ITEMS, Message, NO_METADATA, Record, SignedRecord,
};
use crate::api::PeerInfo;
use crate::config::{PresenceLimits, display_name};
use crate::identity::Identity;
use crate::peer_key::{PeerKey, ShortId};
use crate::transport::LinkKind;

/// Bytes of records in one message.
const BATCH: usize = 48 << 10;

/// Longest life of a record without a refresh, whatever it asks for.
const MAX_TTL_S: u64 = 3600;

/// Why metadata is not taken (API-139, API-140).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Metadata must be an object.
    #[error("peer metadata must be an object, not {0}")]
    NotAnObject(&'static str),
    /// The JSON form is too long.
    #[error("peer metadata has {0} bytes of JSON, the limit is {MAX_METADATA}")]
    TooLarge(usize),
    /// Nested deeper than [`ditto_types::MAX_DEPTH`].
    #[error("peer metadata is nested too deeply")]
    TooDeep,
}

/// Checks metadata and returns its JSON form.
pub fn check_metadata(value: &Value) -> Result<String, MetadataError> {
    if value.as_object().is_none() {
        return Err(MetadataError::NotAnObject(value.type_name()));
    }
    if value.depth() > ditto_types::MAX_DEPTH {
        return Err(MetadataError::TooDeep);
    }
    let text = json::to_string(value);
    if text.len() > MAX_METADATA { Err(MetadataError::TooLarge(text.len())) } else { Ok(text) }
}

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
}

#[derive(Debug)]
struct Stored {
    signed: SignedRecord,
    /// JSON text; `None` when the record names metadata that has not arrived.
    metadata: Option<Vec<u8>>,
    value: Value,
    /// When its origin made it, as far as the path told.
    born: u64,
    expires: u64,
    bucket: Bucket,
    /// A newer one that waits until the origin's bucket has refilled; verified.
    pending: Option<(PeerKey, Item)>,
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
    /// What it has: sequence number and metadata of each origin.
    known: BTreeMap<PeerKey, (u64, [u8; 16])>,
    /// Origins whose record it should get.
    outbox: BTreeSet<PeerKey>,
    digest_due: bool,
    /// Messages that wait for tokens. Bounded by the window of the channel, because they are not consumed yet.
    inbox: VecDeque<Vec<u8>>,
    bucket: Bucket,
}

pub(crate) struct Presence {
    identity: Arc<Identity>,
    db_hash: [u8; 16],
    about: About,
    limits: PresenceLimits,
    local: PeerKey,
    running: bool,
    seq: u64,
    metadata: (Vec<u8>, Value),
    records: BTreeMap<PeerKey, Stored>,
    neighbours: BTreeMap<PeerKey, Neighbour>,
    publish_at: Option<u64>,
    refresh_at: u64,
    /// When a peer of the shown graph was found to be out of reach.
    lost: BTreeMap<PeerKey, u64>,
    stale: bool,
    /// Something came in since the last [`Presence::advance`].
    touched: bool,
    /// When the next one is needed otherwise.
    wake: u64,
    graph: PresenceGraph,
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
        let mut out = Self {
            identity,
            db_hash,
            limits,
            local,
            running: false,
            seq: 0,
            metadata: (Vec::new(), empty()),
            records: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            publish_at: None,
            refresh_at: u64::MAX,
            lost: BTreeMap::new(),
            stale: false,
            touched: false,
            wake: u64::MAX,
            graph: PresenceGraph {
                local_peer: PresencePeer {
                    peer_key: local,
                    device_name: display_name(&about.name).to_owned(),
                    os: some(&about.os),
                    is_connected_to_ditto_server: false,
                    is_compatible: Some(true),
                    ditto_sdk_version: some(&about.sdk),
                    peer_metadata: empty(),
                    identity_service_metadata: empty(),
                    connections: Vec::new(),
                },
                remote_peers: Vec::new(),
            },
            about,
            faults: Vec::new(),
            consumed: Vec::new(),
        };
        out.rebuild(0);
        out
    }

    pub(crate) fn graph(&self) -> &PresenceGraph {
        &self.graph
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
        self.graph.remote_peers.clear();
        self.stale = true;
    }

    pub(crate) fn set_metadata(&mut self, value: Value, now: u64) -> Result<(), MetadataError> {
        let text = check_metadata(&value)?;
        let is_empty = value.as_object().is_some_and(|o| o.is_empty());
        self.metadata = (if is_empty { Vec::new() } else { text.into_bytes() }, value);
        self.changed(now);
        Ok(())
    }

    /// A session began, or its link or facts changed.
    pub(crate) fn neighbour_up(&mut self, info: PeerInfo, now: u64) {
        match self.neighbours.get_mut(&info.peer) {
            Some(n) => n.info = info,
            None => {
                let bucket = Bucket { tokens: self.limits.neighbour_burst.into(), since: now };
                let n = Neighbour {
                    known: BTreeMap::new(),
                    outbox: BTreeSet::new(),
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

    /// A message of the presence channel.
    pub(crate) fn on_message(&mut self, from: &PeerKey, bytes: Vec<u8>, now: u64) {
        if let Some(n) = self.neighbours.get_mut(from) {
            n.inbox.push_back(bytes);
            self.touched = true;
            self.read_inbox(*from, now);
        }
    }

    fn read_inbox(&mut self, from: PeerKey, now: u64) {
        let (burst, rate) =
            (u64::from(self.limits.neighbour_burst), u64::from(self.limits.neighbour_rate.max(1)));
        while let Some(n) = self.neighbours.get_mut(&from) {
            n.bucket.refill(now, burst, 1000_u64.div_ceil(rate));
            if n.bucket.tokens == 0 {
                return;
            }
            let Some(bytes) = n.inbox.pop_front() else { return };
            self.consumed.push((from, bytes.len()));
            match Message::decode(&bytes) {
                Ok(Message::Digest(entries)) => {
                    n.bucket.tokens = n.bucket.tokens.saturating_sub(1 + entries.len() as u64 / 64);
                    self.on_digest(from, entries);
                }
                Ok(Message::Records(items)) => {
                    n.bucket.tokens = n.bucket.tokens.saturating_sub(1 + items.len() as u64);
                    for item in items {
                        self.on_record(from, item, now);
                    }
                }
                Err(e) => self.faults.push(Fault::Violation { from, reason: format!("presence: {e}") }),
            }
        }
    }

    fn on_digest(&mut self, from: PeerKey, entries: Vec<(ShortId, u64)>) {
        let theirs: BTreeMap<ShortId, u64> = entries.into_iter().collect();
        let Some(n) = self.neighbours.get_mut(&from) else { return };
        for (key, s) in &self.records {
            let (seq, meta) = (s.signed.record.seq, s.signed.record.meta_hash);
            match theirs.get(&key.short_id()) {
                Some(have) if *have == seq => {
                    n.known.insert(*key, (seq, meta));
                }
                Some(have) if *have > seq => {}
                _ => {
                    n.outbox.insert(*key);
                }
            }
        }
    }

    fn on_record(&mut self, from: PeerKey, item: Item, now: u64) {
        let record = &item.signed.record;
        let (key, seq) = (record.key, record.seq);
        if key == self.local {
            // An earlier life of ours, with a clock ahead of ours now: outdo it.
            if seq > self.seq && item.signed.verify(&self.db_hash) {
                self.seq = seq;
                self.changed(now);
            }
            return;
        }
        if item.age_s >= record.ttl_s.min(MAX_TTL_S) {
            return;
        }
        let known = self.records.get(&key).map(|s| s.signed.record.seq);
        if known == Some(seq) {
            self.adopt_metadata(&from, item);
            return;
        }
        if known.is_some_and(|k| k > seq) {
            if let Some(n) = self.neighbours.get_mut(&from) {
                n.outbox.insert(key);
            }
            return;
        }
        if known.is_none() && !self.make_room() {
            self.refuse(from, "too many peers".into());
            return;
        }
        if !item.signed.verify(&self.db_hash) {
            self.refuse(from, format!("the record of {key:?} is not signed by its key"));
            return;
        }
        if let Some(s) = self.records.get_mut(&key) {
            s.bucket.refill(now, self.limits.origin_burst.into(), self.limits.origin_refill);
            if s.bucket.tokens == 0 {
                if s.pending.as_ref().is_none_or(|(_, p)| p.signed.record.seq < seq) {
                    s.pending = Some((from, item));
                }
                return;
            }
        }
        self.accept(from, item, now);
    }

    fn refuse(&mut self, from: PeerKey, reason: String) {
        self.faults.push(Fault::Refused { from, reason });
    }

    /// Stores a verified record that is newer than what we have and passes it on.
    fn accept(&mut self, from: PeerKey, item: Item, now: u64) {
        let Item { age_s, signed, metadata } = item;
        let (key, seq, hash) = (signed.record.key, signed.record.seq, signed.record.meta_hash);
        let old = self.records.remove(&key);
        let same = old.as_ref().is_some_and(|s| s.signed.record.meta_hash == hash && s.metadata.is_some());
        let bucket = Bucket { tokens: self.limits.origin_burst.into(), since: now };
        let (mut bucket, kept) = old.map_or((bucket, None), |s| (s.bucket, Some((s.metadata, s.value))));
        bucket.tokens = bucket.tokens.saturating_sub(1);
        let (metadata, value) = match (metadata, kept) {
            _ if hash == NO_METADATA => (Some(Vec::new()), empty()),
            (_, Some(kept)) if same => kept,
            (Some(m), _) if record::metadata_hash(&m) == hash => {
                let value = parse_metadata(&m);
                (Some(m), value)
            }
            _ => (None, empty()),
        };
        let ttl = signed.record.ttl_s.min(MAX_TTL_S);
        let stored = Stored {
            metadata,
            value,
            born: now.saturating_sub(age_s * 1000),
            expires: now + (ttl - age_s.min(ttl)) * 1000,
            bucket,
            pending: None,
            signed,
        };
        let has_metadata = stored.metadata.is_some();
        self.records.insert(key, stored);
        for (peer, n) in &mut self.neighbours {
            if *peer == from {
                let meta = if has_metadata { hash } else { NO_METADATA };
                n.known.insert(key, (seq, meta));
                n.outbox.remove(&key);
            } else if *peer != key {
                n.outbox.insert(key);
            }
        }
        self.stale = true;
    }

    /// The record is known; its metadata may be what is missing.
    fn adopt_metadata(&mut self, from: &PeerKey, item: Item) {
        let (key, seq) = (item.signed.record.key, item.signed.record.seq);
        let Some(s) = self.records.get_mut(&key) else { return };
        let hash = s.signed.record.meta_hash;
        if let Some(n) = self.neighbours.get_mut(from) {
            n.known.insert(key, (seq, hash));
            n.outbox.remove(&key);
        }
        if let (None, Some(m)) = (&s.metadata, item.metadata)
            && record::metadata_hash(&m) == hash
        {
            s.value = parse_metadata(&m);
            s.metadata = Some(m);
            for (peer, n) in &mut self.neighbours {
                if peer != from {
                    n.known.remove(&key);
                    n.outbox.insert(key);
                }
            }
            self.stale = true;
        }
    }

    /// Makes room for one more origin: unreachable ones go first. `false` if all are reachable.
    fn make_room(&mut self) -> bool {
        if self.records.len() < self.limits.max_records {
            return true;
        }
        let shown: BTreeSet<PeerKey> = self.graph.remote_peers.iter().map(|p| p.peer_key).collect();
        let out = self.records.iter().filter(|(k, _)| **k != self.local && !shown.contains(k));
        let Some(victim) = out.min_by_key(|(_, s)| s.expires).map(|(k, _)| *k) else { return false };
        self.records.remove(&victim);
        for n in self.neighbours.values_mut() {
            n.known.remove(&victim);
        }
        true
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
        let (burst, every) = (u64::from(self.limits.origin_burst), self.limits.origin_refill);
        let mut refilled = Vec::new();
        for s in self.records.values_mut().filter(|s| s.pending.is_some()) {
            s.bucket.refill(now, burst, every);
            if s.bucket.tokens > 0 {
                refilled.extend(s.pending.take());
            }
        }
        for (from, item) in refilled {
            self.accept(from, item, now);
        }
        let before = self.records.len();
        self.records.retain(|_, s| s.expires > now);
        if self.records.len() != before {
            for n in self.neighbours.values_mut() {
                n.known.retain(|k, _| self.records.contains_key(k));
            }
            self.stale = true;
        }
        if self.running && (self.publish_at.is_some_and(|at| at <= now) || self.refresh_at <= now) {
            self.publish(now);
        }
        if self.lost.values().any(|at| at + self.limits.grace <= now) {
            self.stale = true;
        }
        std::mem::take(&mut self.stale) && self.rebuild(now)
    }

    fn publish(&mut self, now: u64) {
        self.publish_at = None;
        self.refresh_at = now + self.limits.refresh;
        self.seq += 1;
        let hash = record::metadata_hash(&self.metadata.0);
        let edge = |(key, n): (&PeerKey, &Neighbour)| {
            let kind = n.info.link_kind;
            Edge { to: key.short_id(), kind: kind.code(), cost: kind.cost() }
        };
        let record = Record {
            key: self.local,
            seq: self.seq,
            ttl_s: self.limits.ttl / 1000,
            connected_to_server: self.neighbours.values().any(|n| n.info.is_server),
            is_server: self.about.is_server,
            name: display_name(&self.about.name).to_owned(),
            os: self.about.os.clone(),
            sdk: self.about.sdk.clone(),
            meta_hash: hash,
            edges: self.neighbours.iter().take(MAX_EDGES).map(edge).collect(),
        };
        let stored = Stored {
            signed: record.sign(&self.identity, &self.db_hash),
            metadata: Some(self.metadata.0.clone()),
            value: empty(),
            born: now,
            expires: u64::MAX,
            bucket: Bucket { tokens: 0, since: now },
            pending: None,
        };
        self.records.insert(self.local, stored);
        for n in self.neighbours.values_mut() {
            n.outbox.insert(self.local);
        }
    }

    /// Messages to send, to neighbours that `has_room` allows. What is not sent now stays noted by origin, so that a
    /// slow neighbour gets the newest state and costs no memory.
    pub(crate) fn flush(&mut self, now: u64, has_room: impl Fn(&PeerKey) -> bool) -> Vec<(PeerKey, Vec<u8>)> {
        let mut out = Vec::new();
        for (peer, n) in &mut self.neighbours {
            if (!n.digest_due && n.outbox.is_empty()) || !has_room(peer) {
                continue;
            }
            if std::mem::take(&mut n.digest_due) {
                let entries =
                    self.records.iter().take(MAX_DIGEST).map(|(k, s)| (k.short_id(), s.signed.record.seq));
                out.push((*peer, Message::Digest(entries.collect()).encode()));
            }
            let (mut items, mut size) = (Vec::new(), 0);
            while size < BATCH && items.len() < MAX_ITEMS {
                let Some(key) = n.outbox.pop_first() else { break };
                let Some(s) = self.records.get(&key) else { continue };
                let (seq, hash) = (s.signed.record.seq, s.signed.record.meta_hash);
                let (had_seq, had_meta) = n.known.get(&key).copied().unwrap_or((0, NO_METADATA));
                if had_seq >= seq {
                    continue;
                }
                let metadata = if had_meta == hash { None } else { s.metadata.clone() };
                let told = if had_meta == hash || metadata.is_some() { hash } else { had_meta };
                n.known.insert(key, (seq, told));
                size += s.signed.bytes.len() + metadata.as_ref().map_or(0, Vec::len) + 16;
                items.push(Item {
                    age_s: now.saturating_sub(s.born) / 1000,
                    signed: s.signed.clone(),
                    metadata,
                });
            }
            if !items.is_empty() {
                out.push((*peer, Message::Records(items).encode()));
            }
        }
        out
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
        let own = self.publish_at.into_iter().chain([self.refresh_at]);
        let records = self.records.values().flat_map(|s| {
            let pending = s.pending.is_some().then_some(s.bucket.since + self.limits.origin_refill);
            pending.into_iter().chain([s.expires])
        });
        let pause = 1000_u64.div_ceil(u64::from(self.limits.neighbour_rate.max(1)));
        let inboxes =
            self.neighbours.values().filter(|n| !n.inbox.is_empty()).map(|n| n.bucket.since + pause);
        let lost = self.lost.values().map(|at| at + self.limits.grace);
        own.chain(records).chain(inboxes).chain(lost).min()
    }
}

/// Metadata of another peer: its JSON object, or nothing if its app has sent something else.
fn parse_metadata(text: &[u8]) -> Value {
    let value = std::str::from_utf8(text).ok().and_then(|t| json::from_str(t).ok());
    value.filter(|v| v.as_object().is_some()).unwrap_or_else(empty)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
