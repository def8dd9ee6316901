//! The promises: what must hold whenever everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use ditto_store::{CompiledQuery, Store, StoredDoc};
use ditto_sync::SyncState;
use ditto_types::{KeyHash, Object};

use crate::schedule::{COLLECTIONS, QUERIES, WHOLE};
use crate::world::{Broken, Node, World};

/// A stamp further ahead than this of somebody's wall clock is refused there: 400 days, as in `ditto_types::hlc`.
const TOO_FAR_MS: i64 = 400 * 24 * 3600 * 1000;

/// Replication is at rest when nothing was sent or committed for this long, in milliseconds.
const QUIET_MS: u64 = 4_000;

/// It must get there within this time.
const REST_LIMIT_MS: u64 = 900_000;

fn all_docs(store: &Store) -> Result<BTreeMap<KeyHash, StoredDoc>, Broken> {
    let failed = |e: ditto_store::StoreError| format!("reading all documents: {e}");
    let mut docs = BTreeMap::new();
    for query in &QUERIES[WHOLE..] {
        let query = store.compile_subscription(query, &Object::new()).map_err(failed)?;
        let mut after = 0;
        loop {
            let page = store.changes(&query, after, 1_000, 1 << 20).map_err(failed)?;
            docs.extend(page.docs.into_iter().map(|d| (d.key, d)));
            if page.done {
                break;
            }
            after = page.scanned_to;
        }
    }
    Ok(docs)
}

/// Whether the state `mine` has everything that is in `theirs`.
fn covers(mine: &StoredDoc, theirs: &StoredDoc) -> bool {
    if mine.digest == theirs.digest {
        return true;
    }
    let mut merged = mine.doc.clone();
    merged.merge(&theirs.doc);
    merged == mine.doc
}

fn matches(queries: &[std::sync::Arc<CompiledQuery>], doc: &StoredDoc) -> bool {
    queries.iter().any(|q| q.collection() == doc.collection && q.matches(&doc.id, &doc.doc))
}

impl World {
    pub(crate) fn store(&self, node: usize) -> Option<&Store> {
        Some(&self.nodes[node].process.as_ref()?.data.as_ref()?.store)
    }

    /// Lets replication come to rest, and checks I1 and I2.
    pub(crate) fn rest(&mut self) -> Result<(), Broken> {
        self.settle()?;
        self.check_pairs()
    }

    /// Lets time pass until replication has been quiet for a while.
    pub(crate) fn settle(&mut self) -> Result<(), Broken> {
        self.run_for(1_000)?;
        let idle = |n: &Node| n.process.as_ref().is_none_or(|p| !p.has_work());
        let quiet = |w: &World| w.now >= w.last_sync + QUIET_MS * 1000 && w.nodes.iter().all(idle);
        // On a slow link there may be nothing for long while one message is on its way.
        if self.run_until(REST_LIMIT_MS, 500, |w| quiet(w) && w.check_all_live().is_ok())? {
            return Ok(());
        }
        self.check_all_live()?;
        Err(format!("replication does not come to rest within {REST_LIMIT_MS} ms"))
    }

    /// Every two connected peers are live with each other.
    fn check_all_live(&self) -> Result<(), Broken> {
        for (a, b) in self.network.pairs() {
            if self.connected(a, b) {
                self.check_live(a, b)?;
                self.check_live(b, a)?;
            }
        }
        Ok(())
    }

    fn clocks_agree(&self, a: usize, b: usize) -> bool {
        (self.nodes[a].clock.skew() - self.nodes[b].clock.skew()).abs() < TOO_FAR_MS
    }

    /// I1 and I2 for every two peers that are connected.
    pub(crate) fn check_pairs(&mut self) -> Result<(), Broken> {
        let mut docs = Vec::new();
        for node in 0..self.nodes.len() {
            docs.push(self.store(node).map(all_docs).transpose()?.unwrap_or_default());
        }
        for (a, b) in self.network.pairs() {
            for (sender, receiver) in [(a, b), (b, a)] {
                if self.connected(sender, receiver) && self.clocks_agree(sender, receiver) {
                    self.check_pair(sender, receiver, &docs[sender], &docs[receiver])?;
                }
            }
        }
        Ok(())
    }

    fn check_pair(
        &self,
        sender: usize,
        receiver: usize,
        theirs: &BTreeMap<KeyHash, StoredDoc>,
        mine: &BTreeMap<KeyHash, StoredDoc>,
    ) -> Result<(), Broken> {
        let Some(store) = self.store(sender) else { return Ok(()) };
        let compile = |q: &usize| store.compile_subscription(QUERIES[*q], &Object::new());
        let queries: Result<Vec<_>, _> = self.nodes[receiver].subs.iter().map(compile).collect();
        let queries = queries.map_err(|e| e.to_string())?;
        for doc in theirs.values() {
            let held = mine.get(&doc.key);
            if held.is_some_and(|held| covers(held, doc)) {
                continue;
            }
            let what = if held.is_some() { "older" } else { "missing" };
            let at = format!("{} {:?} of {sender} at {receiver}", doc.collection, doc.id);
            if matches(&queries, doc) {
                return Err(format!("I1 {what}: {at}"));
            }
            if held.is_some_and(|held| matches(&queries, held)) {
                return Err(format!("I2 stale: {at}"));
            }
        }
        Ok(())
    }

    /// Every subscription at a connected peer is live.
    fn check_live(&self, receiver: usize, sender: usize) -> Result<(), Broken> {
        let Some(data) = self.nodes[receiver].process.as_ref().and_then(|p| p.data.as_ref()) else {
            return Ok(());
        };
        let key = self.nodes[sender].key;
        let status = data.engine.status();
        let Some(peer) = status.iter().find(|s| s.peer.0 == *key.as_bytes()) else { return Ok(()) };
        match peer.subscriptions.iter().find(|(_, state)| *state != SyncState::Live) {
            Some((sub, state)) if peer.connected => {
                Err(format!("not live at rest: subscription {sub} of {receiver} at {sender} is {state:?}"))
            }
            _ => Ok(()),
        }
    }

    /// All peers hold equal documents, state by state. Gravestones and tombstones may be missing where the document never was.
    pub(crate) fn check_equal(&self) -> Result<(), Broken> {
        let mut first: Option<(usize, BTreeMap<KeyHash, StoredDoc>)> = None;
        for node in 0..self.nodes.len() {
            let Some(store) = self.store(node) else { continue };
            let mut docs = all_docs(store)?;
            docs.retain(|_, d| d.doc.is_alive());
            let Some((other, expected)) = &first else {
                first = Some((node, docs));
                continue;
            };
            let keys: BTreeSet<_> = docs.keys().chain(expected.keys()).collect();
            for key in keys {
                let (mine, theirs) = (docs.get(key), expected.get(key));
                if mine.map(|d| d.digest) != theirs.map(|d| d.digest) {
                    let doc =
                        mine.or(theirs).map(|d| format!("{} {:?}", d.collection, d.id)).unwrap_or_default();
                    let alive = (theirs.is_some(), mine.is_some());
                    return Err(format!("{doc} differs between peers {other} and {node}, there: {alive:?}"));
                }
            }
        }
        Ok(())
    }

    /// The files are in order.
    pub(crate) fn check_stores(&self) -> Result<(), Broken> {
        for node in 0..self.nodes.len() {
            let Some(store) = self.store(node) else { continue };
            let report = store.check().map_err(|e| format!("check of {node}: {e}"))?;
            if !report.is_clean() {
                return Err(format!("store of {node}: {:?}", report.problems));
            }
        }
        Ok(())
    }

    /// Nothing is sent by replication while nobody does anything, and links carry little more than pings and presence.
    pub(crate) fn check_silence(&mut self) -> Result<(), Broken> {
        const SECONDS: u64 = 130;
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let before = self.stats;
            self.run_for(SECONDS * 1000)?;
            if self.stats.sessions != before.sessions {
                // Two have found each other only now, and compare what they have.
                self.settle()?;
                continue;
            }
            let messages = self.stats.sync_messages - before.sync_messages;
            if messages > 0 {
                return Err(format!("{messages} messages of replication at rest"));
            }
            let links = self.network.pairs().len() as u64;
            let (bytes, allowed) = (self.stats.link_bytes - before.link_bytes, links * SECONDS * 200);
            if bytes > allowed {
                return Err(format!("{bytes} bytes on links at rest, allowed are {allowed}"));
            }
            return Ok(());
        }
        Err("sessions come and go at rest".to_owned())
    }

    /// No observer has seen half of a transaction.
    pub(crate) fn check_observers(&self) -> Result<(), Broken> {
        for (node, n) in self.nodes.iter().enumerate() {
            let Some(data) = n.process.as_ref().and_then(|p| p.data.as_ref()) else { continue };
            let seen = data.half_seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(wrong) = seen.first() {
                return Err(format!("observer of {node}: {wrong}"));
            }
        }
        Ok(())
    }

    /// Names of the collections that peers may ask for as a whole, as numbers of queries.
    pub(crate) fn whole_queries() -> impl Iterator<Item = usize> {
        WHOLE..WHOLE + COLLECTIONS.len()
    }
}
