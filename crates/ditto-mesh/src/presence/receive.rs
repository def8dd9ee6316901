//! What neighbours send: digests and records, within their rates.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::read_metadata;
use super::record::{self, Item, Message, NO_METADATA};
use super::{Bucket, Fault, MAX_TTL_S, Presence, Stored, empty};
use crate::peer_key::{PeerKey, ShortId};

impl Presence {
    /// A message of the presence channel.
    pub(crate) fn on_message(&mut self, from: &PeerKey, bytes: Vec<u8>, now: u64) {
        if let Some(n) = self.neighbours.get_mut(from) {
            n.inbox.push_back(bytes);
            self.touched = true;
            self.read_inbox(*from, now);
        }
    }

    pub(super) fn read_inbox(&mut self, from: PeerKey, now: u64) {
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
    pub(super) fn accept(&mut self, from: PeerKey, item: Item, now: u64) {
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
                let value = read_metadata(&m);
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
        self.unseen.insert(key);
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
            s.value = read_metadata(&m);
            s.metadata = Some(m);
            for (peer, n) in &mut self.neighbours {
                if peer != from {
                    n.known.remove(&key);
                    n.outbox.insert(key);
                }
            }
            self.unseen.insert(key);
        }
    }

    /// Makes room for one more origin: unreachable ones go first. `false` if all are reachable.
    fn make_room(&mut self) -> bool {
        if self.records.len() < self.limits.max_records {
            return true;
        }
        let shown: BTreeSet<PeerKey> = self.graph.remote_peers.iter().map(|p| p.peer_key).collect();
        let is_out = |k: &PeerKey| *k != self.local && !shown.contains(k) && !self.unseen.contains(k);
        let out = self.records.iter().filter(|(k, _)| is_out(k));
        let Some(victim) = out.min_by_key(|(_, s)| s.expires).map(|(k, _)| *k) else { return false };
        self.records.remove(&victim);
        for n in self.neighbours.values_mut() {
            n.known.remove(&victim);
        }
        true
    }
}
