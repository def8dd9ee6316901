//! Names of queries, and the queries that peers have told us.

use std::collections::BTreeMap;

use ditto_types::wire::{put_bytes, put_str};
use ditto_types::{Object, Value, codec};

use crate::limits::MAX_CACHED_QUERIES;

/// Name of a subscription query: a hash of its text and arguments, the same on every peer.
pub fn query_hash(text: &str, args: &Object) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(text.len() + 64);
    put_str(&mut bytes, text);
    put_bytes(&mut bytes, &codec::to_vec(&Value::Object(args.clone())));
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::derive_key("ditto 2026-11 subscription query v1", &bytes)[..16]);
    hash
}

/// Compiled queries by hash, so that a peer sends its text only once per process.
#[derive(Debug)]
pub(crate) struct QueryCache<Q> {
    entries: BTreeMap<[u8; 16], (u64, Q)>,
    clock: u64,
}

impl<Q: Clone> QueryCache<Q> {
    pub(crate) fn new() -> Self {
        Self { entries: BTreeMap::new(), clock: 0 }
    }

    pub(crate) fn get(&mut self, hash: &[u8; 16]) -> Option<Q> {
        self.clock += 1;
        let entry = self.entries.get_mut(hash)?;
        entry.0 = self.clock;
        Some(entry.1.clone())
    }

    pub(crate) fn insert(&mut self, hash: [u8; 16], query: Q) {
        self.clock += 1;
        if self.entries.len() >= MAX_CACHED_QUERIES && !self.entries.contains_key(&hash) {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.0).map(|(h, _)| *h);
            if let Some(h) = oldest {
                self.entries.remove(&h);
            }
        }
        self.entries.insert(hash, (self.clock, query));
    }
}
