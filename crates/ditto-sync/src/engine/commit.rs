//! What a commit means for a peer: pushes of documents, hints, announcements.

use std::collections::BTreeMap;
use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_types::{Digest, DocId};
use smol_str::SmolStr;

use super::sender::Shape;
use super::session::Session;
use super::{Core, Fault, Rule};
use crate::event::Action;
use crate::limits::MAX_KEYS;
use crate::peer::Lane;
use crate::store::{LocalChange, LocalCommit, SyncStore};
use crate::wire::{Keys, Message, Txn};

/// Which queries the changes of a commit match, computed once for all peers.
pub(crate) struct Matches<'a> {
    commit: &'a LocalCommit,
    /// For each change the queries that it can concern.
    lists: Vec<Option<Vec<u64>>>,
    known: BTreeMap<([u8; 16], usize), (bool, bool)>,
}

impl<'a> Matches<'a> {
    pub(crate) fn new(commit: &'a LocalCommit) -> Self {
        Self { commit, lists: vec![None; commit.changes.len()], known: BTreeMap::new() }
    }

    /// Whether a change's document matched before the commit, and whether it does now.
    pub(crate) fn get<S: SyncStore>(
        &mut self,
        core: &Core<S>,
        hash: &[u8; 16],
        query: &S::Query,
        index: usize,
    ) -> (bool, bool) {
        let c = &self.commit.changes[index];
        if core.store.is_whole_collection(query) {
            let here = c.collection == core.store.collection(query);
            let before = c.old.as_ref().is_some_and(|d| d.is_alive());
            return (here && before, here && c.alive == Some(true));
        }
        let list = self.lists[index].get_or_insert_with(|| core.store.shortlist(c));
        if !core.store.is_listed(query, list) {
            return (false, false);
        }
        *self.known.entry((*hash, index)).or_insert_with(|| {
            let matches = |doc: Option<&Arc<Doc>>| {
                doc.is_some_and(|d| core.store.matches(query, &c.collection, c.id(), d))
            };
            (matches(c.old.as_ref()), matches(c.new_state()))
        })
    }
}

/// What the peer gets of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Push {
    Full,
    Delta,
    Tomb,
    Hint,
    Nothing,
}

impl<S: SyncStore> Core<S> {
    /// Whether a living document has left a query whose documents are evicted then, and is in no other.
    fn leaves(&self, change: &LocalChange, index: usize, matches: &mut Matches<'_>) -> bool {
        if self.evicting.is_empty() || change.alive != Some(true) {
            return false;
        }
        let mut left = false;
        for (hash, own) in self.queries.iter().filter(|(_, q)| q.collection == change.collection) {
            let (before, after) = matches.get(self, hash, &own.query, index);
            if after {
                return false;
            }
            let mut subs = self.subs.iter().filter(|(_, h)| *h == hash).map(|(sub, _)| sub);
            left |= before && subs.all(|sub| self.evicting.contains(sub));
        }
        left
    }
}

impl<S: SyncStore> Session<S> {
    /// Serves a commit to the peer.
    pub(crate) fn commit(
        &mut self,
        core: &mut Core<S>,
        commit: &LocalCommit,
        matches: &mut Matches<'_>,
    ) -> Result<(), Fault> {
        let echo = self.known.take_echo(commit.seq);
        let from_peer = commit.source == Some(self.peer);
        let early = self.recv.early.remove(&commit.seq);
        self.recv.early = self.recv.early.split_off(&commit.seq);
        if self.live_queue > core.config.live_queue_bytes && !self.send.subs.is_empty() {
            self.restart(core, |_| true);
        }
        if !commit.evicted_collections.is_empty() && !core.broken(Rule::EvictRestarts) {
            // A copy from before the EVICT may be under way on the bulk lane. If the document comes back in
            // another state, nothing would tell that it had been in the view, and a hint could come too early.
            self.restart(core, |s| commit.evicted_collections.contains(&s.collection));
        }
        self.follow_scopes(core, commit);
        self.spare_link(core);
        let pushing = !self.send.subs.is_empty();
        let (mut pushes, mut hints, mut haves) = (Vec::new(), Vec::new(), Vec::new());
        let mut gained = false;
        let mut left: BTreeMap<SmolStr, Vec<(DocId, Digest)>> = BTreeMap::new();
        // What a peer that is not served sent itself, as when it brings a first load, is no news for it.
        let news = pushing || !from_peer || early || !core.evicting.is_empty() || self.known.serves();
        let changes = if news { &commit.changes[..] } else { &[] };
        for (i, change) in changes.iter().enumerate() {
            if change.alive.is_none() {
                continue;
            }
            let echoed = from_peer && echo.has(change.key, change.digest);
            // What the peer has told is safe there.
            let (key, short) = (change.key, change.digest.short());
            let told = echoed || self.known.has(key, short) || self.hinted.has(key, short);
            if from_peer && told && core.leaves(change, i, matches) {
                let gone = left.entry(change.collection.clone()).or_default();
                gone.push((change.id().clone(), change.digest));
            }
            let has = echoed || self.known.has(key, short);
            let push = if !pushing || has { Push::Nothing } else { self.push_of(core, change, i, matches) };
            // What was merged into a state that the peer gets anyway came from the peer: it need not go back.
            let returns = from_peer && !core.broken(Rule::NothingReturns);
            let gets = returns && push == Push::Delta && self.known.is_served(key);
            let mut served = has || gets;
            match push {
                Push::Nothing => {}
                Push::Hint => hints.push((key, short)),
                Push::Full | Push::Delta if self.lazy.offering => {
                    self.offer(core, key, short);
                    served = false;
                }
                Push::Full | Push::Delta if gets => {}
                push => {
                    served = push != Push::Tomb;
                    pushes.push((change, push));
                }
            }
            self.known.serve(key, pushing && served);
            if (!from_peer || early && !core.broken(Rule::Early))
                && !core.broken(Rule::Announce)
                && self.gains(core, change, i, matches)
            {
                gained = true;
                // Who gets the document whole replies if it knows more.
                if push != Push::Full || self.lazy.offering {
                    haves.push((key, short));
                }
            }
        }
        // Hints go before the token: once it is stored, they would not be repeated.
        for keys in hints.chunks(MAX_KEYS) {
            self.put(core, Lane::Live, &Message::Hint(Keys { mark: None, token: None, keys: keys.to_vec() }));
        }
        if !pushes.is_empty() {
            self.send_offers(core, commit.seq);
            self.push_commit(core, commit.seq, &pushes);
        }
        for keys in haves.chunks(MAX_KEYS) {
            self.put(core, Lane::Live, &Message::Have(Keys { mark: None, token: None, keys: keys.to_vec() }));
        }
        if gained {
            let first = self.recv.unconfirmed.map_or(commit.seq, |(first, _)| first);
            self.recv.unconfirmed = Some((first, commit.seq));
            self.settle_soon(core, 1);
        } else if !self.recv.sids.is_empty() {
            self.settle_soon(core, 4);
        }
        if !self.send.subs.is_empty() && self.send.pushed < core.processed && self.send.settle_at.is_none() {
            self.send.settle_at = Some(core.now + core.config.settle_ms);
        }
        for (collection, documents) in left {
            core.actions.push_back(Action::Evict { collection, documents });
        }
        self.satisfied_by(core, commit)?;
        self.compare_roots(core)
    }

    fn push_of(&self, core: &Core<S>, change: &LocalChange, index: usize, matches: &mut Matches<'_>) -> Push {
        let (mut before, mut after, mut any, mut whole) = (false, false, false, true);
        for sub in self.send.subs.values().filter(|s| s.collection == change.collection) {
            let (old, new) = matches.get(core, &sub.hash, &sub.query, index);
            before |= old;
            after |= new;
            whole &= sub.whole;
            any = true;
        }
        let alive = change.alive == Some(true);
        if !any {
            Push::Nothing
        } else if before && !change.base().is_empty() && (after || !core.broken(Rule::MoveOutDelta)) {
            Push::Delta
        } else if after {
            Push::Full
        } else if !alive {
            if core.broken(Rule::Tombs) { Push::Nothing } else { Push::Tomb }
        } else if whole || core.broken(Rule::Hints) {
            Push::Nothing
        } else {
            Push::Hint
        }
    }

    /// Whether the change makes a document match one of our subscriptions at the peer.
    fn gains(&self, core: &Core<S>, change: &LocalChange, index: usize, matches: &mut Matches<'_>) -> bool {
        self.recv.sids.values().filter(|s| s.collection == change.collection && s.failed.is_none()).any(|s| {
            let (old, new) = matches.get(core, &s.hash, &s.query, index);
            new && !old
        })
    }

    /// Sends the documents of a commit as one TXN, in several messages if it is large.
    fn push_commit(&mut self, core: &mut Core<S>, seq: u64, pushes: &[(&LocalChange, Push)]) {
        if pushes.len() > core.config.max_commit_docs {
            return self.restart(core, |_| true);
        }
        let mut txns = Vec::new();
        let mut txn = Txn { first: true, ..Txn::default() };
        let (mut size, mut total) = (0, 0);
        self.live_out.begin();
        for (change, push) in pushes {
            let Some(new) = change.new_state() else { continue };
            let shape = match push {
                Push::Delta => Shape::Delta(change.base(), change.delta()),
                _ => Shape::whole(new),
            };
            let item = shape.item(&mut self.live_out, &change.collection, change.id());
            size += item.size();
            total += item.size();
            txn.items.push(item);
            if total > core.config.max_commit_bytes / 4 * 3 {
                self.live_out.restart();
                return self.restart(core, |_| true);
            }
            if size > core.config.txn_bytes {
                self.live_out.finish(&mut txn);
                txns.push(std::mem::take(&mut txn));
                self.live_out.begin();
                size = 0;
            }
        }
        txn.last = true;
        txn.token = Some(seq);
        self.live_out.finish(&mut txn);
        txns.push(txn);
        for txn in txns {
            self.stats.documents_sent += txn.items.len() as u64;
            self.put(core, Lane::Live, &Message::Txn(txn));
        }
        // A delta may lack its base there, and a tombstone is dropped if the document is not held.
        for (change, _) in pushes.iter().filter(|(_, push)| *push == Push::Full) {
            self.known.insert(change.key, change.digest.short());
        }
        self.send.pushed = seq;
    }
}
