//! What neighbours get: our own record, and what they lack of others.

use std::sync::Arc;

use super::message::{Batch, digest};
use super::record::{self, Edge, MAX_EDGES, NO_METADATA, Record};
use super::{Bucket, Neighbour, Presence, Stored};
use crate::config::display_name;
use crate::hello::PROTOCOL;
use crate::peer_key::PeerKey;

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
            short: self.local.short_id(),
            verifying: self.verifying.clone(),
            signed: record.sign(&self.identity, &self.db_hash),
            metadata: Some(self.metadata.0.clone()),
            facts: Arc::new(self.own_facts()),
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

    /// What others said goes on a moment after it came. In a dense mesh the same record comes from several sides, and records
    /// of several peers come at once when a link has changed: so it costs fewer messages, and goes to fewer who have it. The
    /// pause differs from peer to peer and from record to record, so that not everybody waits for the same moment.
    pub(super) fn pass_on_soon(&mut self, seq: u64, now: u64) {
        let pause = (self.spread ^ seq) % (self.limits.gather + 1);
        self.pass_on_at = Some(self.pass_on_at.map_or(now + pause, |at| at.min(now + pause)));
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
                let entries = self.records.values().map(|s| (s.short, s.signed.record.seq));
                out.push((*peer, digest(entries)));
            }
            let mut batch = Batch::default();
            while batch.has_room() {
                let Some(key) = n.outbox.pop_first() else { break };
                let Some(s) = self.records.get(&key) else { continue };
                let (seq, hash) = (s.signed.record.seq, s.signed.record.meta_hash);
                let (had_seq, had_meta) = n.known.get(&key).copied().unwrap_or((0, NO_METADATA));
                if had_seq >= seq {
                    continue;
                }
                let metadata = if had_meta == hash { None } else { s.metadata.as_deref() };
                let told = if had_meta == hash || metadata.is_some() { hash } else { had_meta };
                n.known.insert(key, (seq, told));
                batch.push(now.saturating_sub(s.born) / 1000, &s.signed, metadata);
            }
            out.extend(batch.finish().map(|bytes| (*peer, bytes)));
        }
        out
    }
}
