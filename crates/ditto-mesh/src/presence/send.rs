//! What neighbours get: our own record, and what they lack of others.

use super::record::{self, Edge, Item, MAX_DIGEST, MAX_EDGES, MAX_ITEMS, Message, NO_METADATA, Record};
use super::{Bucket, Neighbour, Presence, Stored, empty};
use crate::config::display_name;
use crate::hello::PROTOCOL;
use crate::peer_key::PeerKey;

/// Bytes of records in one message.
const BATCH: usize = 48 << 10;

/// Peers from which on records are refreshed and expire three times slower.
const LARGE_MESH: usize = 200;

impl Presence {
    pub(super) fn publish(&mut self, now: u64) {
        self.publish_at = None;
        // In a large mesh refreshes would be most of what is sent.
        let slower = if self.records.len() > LARGE_MESH { 3 } else { 1 };
        self.refresh_at = now + slower * self.limits.refresh;
        self.seq += 1;
        let hash = record::metadata_hash(&self.metadata.0);
        let edge = |(key, n): (&PeerKey, &Neighbour)| {
            let kind = n.info.link_kind;
            Edge { to: key.short_id(), kind: kind.code(), cost: kind.cost() }
        };
        let record = Record {
            key: self.local,
            seq: self.seq,
            ttl_s: slower * self.limits.ttl / 1000,
            connected_to_server: self.neighbours.values().any(|n| n.info.is_server),
            is_server: self.about.is_server,
            proto: PROTOCOL,
            overlap_group: self.about.overlap_group,
            token: record::token_hash(&self.about.token),
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
}
