//! What neighbours send: digests and records, within their rates.

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_types::wire::WireError;

use super::message::{Message, Packed};
use super::metadata::read_metadata;
use super::record::{self, NO_METADATA, SignedRecord};
use super::view::Facts;
use super::{Bucket, Fault, Item, MAX_TTL_S, Presence, Stored, empty};
use crate::peer_key::{PeerKey, ShortId, VerifyingKey};

/// A record that came in.
enum Read {
    /// We have it, or a newer one.
    Held {
        key: PeerKey,
        seq: u64,
        metadata: Option<Vec<u8>>,
    },
    New(Item),
}

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
            let read = match Message::decode(&bytes) {
                Ok(Message::Digest(entries)) => {
                    n.bucket.tokens = n.bucket.tokens.saturating_sub(1 + entries.len() as u64 / 64);
                    self.on_digest(from, entries);
                    Ok(())
                }
                Ok(Message::Records(items)) => {
                    n.bucket.tokens = n.bucket.tokens.saturating_sub(1 + items.len() as u64);
                    self.on_records(from, &items, now)
                }
                Err(e) => Err(e),
            };
            if let Err(e) = read {
                self.faults.push(Fault::Violation { from, reason: format!("presence: {e}") });
            }
        }
    }

    fn on_digest(&mut self, from: PeerKey, entries: Vec<(ShortId, u64)>) {
        let theirs: BTreeMap<ShortId, u64> = entries.into_iter().collect();
        let Some(n) = self.neighbours.get_mut(&from) else { return };
        for (key, s) in &self.records {
            let (seq, meta) = (s.signed.record.seq, s.signed.record.meta_hash);
            match theirs.get(&s.short) {
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

    /// Reads all records of a message before it takes any.
    fn on_records(&mut self, from: PeerKey, items: &[Packed<'_>], now: u64) -> Result<(), WireError> {
        let read: Vec<Read> = items.iter().map(|packed| self.read(packed)).collect::<Result<_, _>>()?;
        for item in read {
            match item {
                Read::Held { key, seq, metadata } => self.on_held(from, key, seq, metadata),
                Read::New(item) => self.on_record(from, item, now),
            }
        }
        Ok(())
    }

    fn read(&self, packed: &Packed<'_>) -> Result<Read, WireError> {
        let (raw, seq) = packed.head()?;
        let metadata = || packed.metadata.map(<[u8]>::to_vec);
        let held = self.records.get_key_value(&raw);
        let signed = match held {
            Some((key, s)) if s.newest() >= seq => {
                return Ok(Read::Held { key: *key, seq, metadata: metadata() });
            }
            Some((key, _)) => SignedRecord::parse_of(*key, packed.record)?,
            None => SignedRecord::parse(packed.record)?,
        };
        Ok(Read::New(Item { age_s: packed.age_s, signed, metadata: metadata() }))
    }

    /// A neighbour has told something that we know.
    fn on_held(&mut self, from: PeerKey, key: PeerKey, seq: u64, metadata: Option<Vec<u8>>) {
        let Some(s) = self.records.get(&key).filter(|_| key != self.local) else { return };
        let ours = s.signed.record.seq;
        if seq == ours {
            self.adopt_metadata(&from, key, metadata);
        } else if seq < ours
            && let Some(n) = self.neighbours.get_mut(&from)
        {
            n.outbox.insert(key);
        }
    }

    fn on_record(&mut self, from: PeerKey, item: Item, now: u64) {
        let record = &item.signed.record;
        let (key, seq) = (record.key, record.seq);
        if key == self.local {
            // An earlier life of ours, with a clock ahead of ours now: outdo it.
            if seq > self.seq && item.signed.verify(&self.verifying, &self.db_hash) {
                self.seq = seq;
                self.changed(now);
            }
            return;
        }
        if item.age_s >= record.ttl_s.min(MAX_TTL_S) {
            return;
        }
        let held = self.records.get(&key);
        if held.is_some_and(|s| s.newest() >= seq) {
            // It was in this message before.
            return self.on_held(from, key, seq, item.metadata);
        }
        let known = held.map(|s| s.verifying.clone());
        if known.is_none() && !self.make_room() {
            self.refuse(from, "too many peers".into());
            return;
        }
        let verifying = known.unwrap_or_else(|| key.verifying());
        if !item.signed.verify(&verifying, &self.db_hash) {
            self.refuse(from, format!("the record of {key:?} is not signed by its key"));
            return;
        }
        if let Some(s) = self.records.get_mut(&key) {
            s.bucket.refill(now, self.limits.origin_burst.into(), self.limits.origin_refill);
            if s.bucket.tokens == 0 {
                s.pending = Some((from, item));
                self.records_due = self.records_due.min(s.bucket.since + self.limits.origin_refill);
                return;
            }
        }
        self.accept(from, item, verifying, now);
    }

    fn refuse(&mut self, from: PeerKey, reason: String) {
        self.faults.push(Fault::Refused { from, reason });
    }

    /// Stores a verified record that is newer than what we have and passes it on.
    pub(super) fn accept(&mut self, from: PeerKey, item: Item, verifying: VerifyingKey, now: u64) {
        let Item { age_s, signed, metadata } = item;
        let (key, seq, hash) = (signed.record.key, signed.record.seq, signed.record.meta_hash);
        let old = self.records.remove(&key);
        let token = signed.record.token;
        if token != [0; 8] && old.as_ref().is_none_or(|s| s.signed.record.token != token) {
            self.tokens.push((token, key));
        }
        let same = old.as_ref().is_some_and(|s| s.signed.record.meta_hash == hash && s.metadata.is_some());
        let bucket = Bucket { tokens: self.limits.origin_burst.into(), since: now };
        let (short, mut bucket, kept) = match old {
            Some(s) => (s.short, s.bucket, Some((s.metadata, s.facts))),
            None => (key.short_id(), bucket, None),
        };
        bucket.tokens = bucket.tokens.saturating_sub(1);
        let (had, before) = kept.map_or((None, None), |(metadata, facts)| (metadata, Some(facts)));
        let (metadata, value) = match (metadata, &before) {
            _ if hash == NO_METADATA => (Some(Vec::new()), Arc::new(empty())),
            (_, Some(facts)) if same => (had, facts.metadata.clone()),
            (Some(m), _) if record::metadata_hash(&m) == hash => {
                let value = read_metadata(&m);
                (Some(m), Arc::new(value))
            }
            _ => (None, Arc::new(empty())),
        };
        let facts = Facts::of_record(&signed.record, value);
        let ttl = signed.record.ttl_s.min(MAX_TTL_S);
        let stored = Stored {
            short,
            verifying,
            metadata,
            // Most new records differ in their links only.
            facts: before.filter(|b| **b == facts).unwrap_or_else(|| Arc::new(facts)),
            born: now.saturating_sub(age_s * 1000),
            expires: now + (ttl - age_s.min(ttl)) * 1000,
            bucket,
            pending: None,
            signed,
        };
        let has_metadata = stored.metadata.is_some();
        self.records_due = self.records_due.min(stored.expires);
        self.records.insert(key, stored);
        for (peer, n) in &mut self.neighbours {
            if *peer == from {
                let meta = if has_metadata { hash } else { NO_METADATA };
                n.knows(key, seq, meta);
            } else if *peer != key {
                n.later.insert(key);
            }
        }
        self.pass_on_soon(seq, now);
        self.unseen.insert(key);
    }

    /// The record is known; its metadata may be what is missing.
    fn adopt_metadata(&mut self, from: &PeerKey, key: PeerKey, metadata: Option<Vec<u8>>) {
        let Some(s) = self.records.get_mut(&key) else { return };
        let (seq, hash) = (s.signed.record.seq, s.signed.record.meta_hash);
        if let Some(n) = self.neighbours.get_mut(from) {
            n.knows(key, seq, hash);
        }
        if let (None, Some(m)) = (&s.metadata, metadata)
            && record::metadata_hash(&m) == hash
        {
            s.facts = Arc::new(Facts::of_record(&s.signed.record, Arc::new(read_metadata(&m))));
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
        let shown = self.topology();
        let is_out = |k: &PeerKey| shown.place(k).is_none() && !self.unseen.contains(k) && *k != self.local;
        let out = self.records.iter().filter(|(k, _)| is_out(k));
        let Some(victim) = out.min_by_key(|(_, s)| s.expires).map(|(k, _)| *k) else { return false };
        self.records.remove(&victim);
        for n in self.neighbours.values_mut() {
            n.known.remove(&victim);
        }
        true
    }
}
