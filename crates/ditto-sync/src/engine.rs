//! The engine: sessions with peers, the app's subscriptions, and what happens between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ditto_types::Object;
use smol_str::SmolStr;

use crate::config::SyncConfig;
use crate::event::{Action, Input, PeerSyncStatus, SyncProgress, SyncState};
use crate::peer::PeerId;
use crate::query::{QueryCache, query_hash};
use crate::store::{LocalCommit, SyncStore};
use crate::wire::pack::Packer;

mod answer;
mod apply;
mod bulk;
mod commit;
mod cursor;
mod fault;
mod lazy;
mod receive;
mod recent;
mod recon;
mod scope;
mod sender;
mod session;
mod tree;
mod views;
mod wants;

pub(crate) use fault::{Fault, Rule};
use session::Session;

/// Statuses of disconnected peers that are kept.
const MAX_PAST: usize = 1_024;

/// The replication state machine of one store.
///
/// Feed it with [`SyncEngine::handle`], then take actions with [`SyncEngine::poll`] until there are none, and
/// hand in [`Input::Tick`] when [`SyncEngine::next_deadline`] has passed.
pub struct SyncEngine<S: SyncStore> {
    pub(crate) core: Core<S>,
    sessions: BTreeMap<PeerId, Session<S>>,
    past: BTreeMap<PeerId, PeerSyncStatus>,
}

/// What all sessions share.
pub(crate) struct Core<S: SyncStore> {
    pub(crate) store: S,
    pub(crate) config: SyncConfig,
    pub(crate) actions: VecDeque<Action>,
    /// The app's subscriptions: their names and the query each stands for.
    pub(crate) subs: BTreeMap<u64, [u8; 16]>,
    /// Those among them whose documents are evicted when they leave.
    pub(crate) evicting: BTreeSet<u64>,
    /// The distinct queries of the app's subscriptions.
    pub(crate) queries: BTreeMap<[u8; 16], OwnQuery<S::Query>>,
    /// Queries that peers told us.
    pub(crate) cache: QueryCache<S::Query>,
    pub(crate) packer: Packer,
    /// Which links push documents.
    pub(crate) links: lazy::Links,
    /// Those among them that always do.
    pub(crate) tree: tree::Tree,
    /// Sums over views.
    pub(crate) views: views::Views<S::Query>,
    /// The last commit handed in.
    pub(crate) processed: u64,
    /// Internal time: never goes back. Begins with the wall clock and follows its forward steps.
    pub(crate) now: u64,
    /// The wall clock at the last input.
    pub(crate) wall: u64,
    #[cfg(test)]
    pub(crate) faults: BTreeSet<Rule>,
}

/// A peer's number in the tree. Ids of stores are random.
fn number(store_id: &[u8; 16]) -> u64 {
    store_id.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// A query that the app subscribes to.
pub(crate) struct OwnQuery<Q> {
    pub(crate) text: String,
    pub(crate) args: Object,
    pub(crate) query: Q,
    pub(crate) collection: SmolStr,
    /// Subscriptions that stand for it.
    pub(crate) refs: usize,
}

impl<S: SyncStore> Core<S> {
    /// Whether a rule is switched off, which only tests can do.
    pub(crate) fn broken(&self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.faults.contains(&rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            false
        }
    }

    /// The wall clock shows this. A clock that is set back must not stop timers until it is where it was.
    fn pass(&mut self, wall: u64) {
        self.now = if self.now == 0 { wall } else { self.now + wall.saturating_sub(self.wall) };
        self.wall = wall;
    }

    /// A query by hash, from the app's own or from those that peers told us.
    pub(crate) fn known_query(&mut self, hash: &[u8; 16]) -> Option<S::Query> {
        if let Some(own) = self.queries.get(hash) {
            return Some(own.query.clone());
        }
        self.cache.get(hash)
    }
}

impl<S: SyncStore> SyncEngine<S> {
    /// An engine without sessions and subscriptions. The feed of [`Input::Commit`] must contain every commit
    /// after the store's present head.
    pub fn new(store: S, config: SyncConfig) -> Self {
        let processed = store.head();
        let tree = tree::Tree::new(number(&store.identity().store_id));
        Self {
            core: Core {
                store,
                config,
                actions: VecDeque::new(),
                subs: BTreeMap::new(),
                evicting: BTreeSet::new(),
                queries: BTreeMap::new(),
                cache: QueryCache::new(),
                packer: Packer::default(),
                links: lazy::Links::default(),
                tree,
                views: views::Views::default(),
                processed,
                now: 0,
                wall: 0,
                #[cfg(test)]
                faults: BTreeSet::new(),
            },
            sessions: BTreeMap::new(),
            past: BTreeMap::new(),
        }
    }

    /// Takes in what happened. `now_ms` is unix time in milliseconds; it may step.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        self.core.pass(now_ms);
        match input {
            Input::PeerUp { peer, store_id, epoch } => {
                self.close(peer);
                self.sessions.insert(peer, Session::new(peer, store_id, epoch));
                self.with(peer, |s, core| {
                    s.link_up(core);
                    let all: Vec<_> = core.queries.keys().copied().collect();
                    s.ask(core, &all)
                });
            }
            Input::PeerDown { peer } => self.close(peer),
            Input::Message { peer, lane, bytes } => self.with(peer, |s, core| s.message(core, lane, &bytes)),
            Input::Queued { peer, lane, bytes } => self.with(peer, |s, core| s.queued(core, lane, bytes)),
            Input::Commit(commit) => self.commit(&commit),
            Input::Subscribe { sub, query, args } => self.subscribe(sub, query, args),
            Input::EvictOnLeave { sub } => {
                self.core.evicting.insert(sub);
            }
            Input::Unsubscribe { sub } => self.unsubscribe(sub),
            Input::Tick => {
                self.core.tree.tick(self.core.now);
                for peer in self.peers() {
                    self.with(peer, |s, core| s.tick(core));
                }
            }
        }
        self.follow_tree();
    }

    /// What a session found out about the links of others.
    fn follow_tree(&mut self) {
        while let Some(peer) = self.core.links.redundant.pop_first() {
            self.with(peer, |s, core| {
                s.give_up(core);
                Ok(())
            });
        }
        while self.core.tree.take_changed() {
            for peer in self.peers() {
                self.with(peer, |s, core| {
                    s.follow_tree(core);
                    Ok(())
                });
            }
        }
    }

    /// Takes the store's present head for the last commit that it was told of: for a feed that begins when the first
    /// peer comes, and for one that was full and left commits out.
    ///
    /// Whatever was missed is looked up in the store: peers are asked to ask again, which gets them a scan of what
    /// changed since their cursors, and our own subscriptions are made anew, with a list of what changed here.
    pub fn skip_to_head(&mut self) {
        let head = self.core.store.head();
        if head <= self.core.processed {
            return;
        }
        self.core.processed = head;
        self.core.views.clear();
        let own: Vec<_> = self.core.queries.keys().copied().collect();
        for peer in self.peers() {
            self.with(peer, |s, core| {
                s.restart(core, |_| true);
                s.ask(core, &own)?;
                s.compare_roots(core)
            });
        }
    }

    /// Whether there are no sessions, so that commits need not be told.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// When the next [`Input::Tick`] is due, in the time of `handle`.
    pub fn next_deadline(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(|s| s.deadline(self.core.now));
        let at = sessions.chain(self.core.tree.deadline()).min()?;
        Some(self.core.wall.saturating_add(at.saturating_sub(self.core.now)))
    }

    /// Counters and states of all peers: those with a session, and the last ones without.
    pub fn status(&self) -> Vec<PeerSyncStatus> {
        let mut all = self.past.clone();
        for (peer, s) in &self.sessions {
            all.insert(*peer, s.status(&self.core));
        }
        all.into_values().collect()
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.core.store
    }

    fn peers(&self) -> Vec<PeerId> {
        self.sessions.keys().copied().collect()
    }

    /// Runs a step of one session, then lets it send what it may; ends the session if the step fails.
    fn with(&mut self, peer: PeerId, step: impl FnOnce(&mut Session<S>, &mut Core<S>) -> Result<(), Fault>) {
        let Some(session) = self.sessions.get_mut(&peer) else { return };
        if session.broken {
            return;
        }
        if let Err(fault) = step(session, &mut self.core).and_then(|()| session.pump(&mut self.core)) {
            session.broken = true;
            session.link_down(&mut self.core);
            self.core.actions.push_back(Action::Disconnect { peer, reason: fault.to_string() });
        }
    }

    fn close(&mut self, peer: PeerId) {
        let Some(mut session) = self.sessions.remove(&peer) else { return };
        if session.link_down(&mut self.core) {
            // What it would have pushed may be known elsewhere.
            for other in self.peers() {
                self.with(other, |s, core| s.ask_for_offered(core, u64::MAX - 1));
            }
        }
        if !session.broken {
            // The row is an optimisation: without it the next session starts from an older token.
            let _ = session.write_cursors(&mut self.core);
        }
        let mut status = session.status(&self.core);
        status.connected = false;
        status.subscriptions.clear();
        if self.past.len() >= MAX_PAST && !self.past.contains_key(&peer) {
            self.past.pop_first();
        }
        let before = self.past.get(&peer).and_then(|p| p.synced_up_to_local_commit_id);
        status.synced_up_to_local_commit_id = status.synced_up_to_local_commit_id.max(before);
        self.past.insert(peer, status);
    }

    fn subscribe(&mut self, sub: u64, text: String, args: Object) {
        self.unsubscribe(sub);
        let hash = query_hash(&text, &args);
        if let Some(own) = self.core.queries.get_mut(&hash) {
            own.refs += 1;
            self.core.subs.insert(sub, hash);
            for session in self.sessions.values() {
                session.report_sub(&mut self.core, sub, &hash);
            }
            return;
        }
        let query = match self.core.store.compile(&text, &args) {
            Ok(query) => query,
            Err(e) => {
                for session in self.sessions.values() {
                    let state = SyncState::Failed { reason: e.to_string() };
                    self.core.actions.push_back(Action::Progress(SyncProgress {
                        peer: session.peer,
                        sub,
                        state,
                        documents_received: session.stats.documents_received,
                        bytes_received: session.stats.bytes_received,
                    }));
                }
                return;
            }
        };
        let collection = SmolStr::new(self.core.store.collection(&query));
        self.core.queries.insert(hash, OwnQuery { text, args, query, collection, refs: 1 });
        self.core.subs.insert(sub, hash);
        for peer in self.peers() {
            self.with(peer, |s, core| s.ask(core, &[hash]));
        }
    }

    fn unsubscribe(&mut self, sub: u64) {
        self.core.evicting.remove(&sub);
        let Some(hash) = self.core.subs.remove(&sub) else { return };
        let Some(own) = self.core.queries.get_mut(&hash) else { return };
        own.refs -= 1;
        if own.refs > 0 {
            return;
        }
        self.core.queries.remove(&hash);
        // A row that stays is stale, not wrong: nothing is lost if the store cannot delete it now.
        let _ = self.core.store.delete_cursors(hash);
        for peer in self.peers() {
            self.with(peer, |s, core| {
                s.forget(core, &[hash]);
                Ok(())
            });
        }
    }

    fn commit(&mut self, commit: &LocalCommit) {
        if commit.seq <= self.core.processed {
            // The feed started before the engine was made.
            return;
        }
        // Rule R6: leave LIVE before anything else happens.
        self.core.processed = commit.seq;
        let evicted = self.evicted_queries(commit);
        for hash in &evicted {
            // The store deleted the rows with the EVICT; this covers stores that cannot.
            if !self.core.broken(Rule::EvictDeletesCursors) {
                let _ = self.core.store.delete_cursors(*hash);
            }
        }
        let mut matches = commit::Matches::new(commit);
        self.core.update_views(commit, &mut matches);
        for peer in self.peers() {
            self.with(peer, |s, core| {
                if !evicted.is_empty() {
                    s.ask(core, &evicted)?;
                }
                s.commit(core, commit, &mut matches)
            });
        }
    }

    fn evicted_queries(&self, commit: &LocalCommit) -> Vec<[u8; 16]> {
        let collections: BTreeSet<_> = commit.evicted_collections.iter().collect();
        if self.core.broken(Rule::EvictLeavesLive) {
            return Vec::new();
        }
        let partial = self.core.broken(Rule::EvictAllQueries);
        let touched = |q: &OwnQuery<S::Query>| {
            commit.changes.iter().filter(|c| c.alive.is_none()).any(|c| {
                c.old.as_ref().is_some_and(|d| self.core.store.matches(&q.query, &c.collection, c.id(), d))
            })
        };
        self.core
            .queries
            .iter()
            .filter(|(_, q)| collections.contains(&q.collection) && (!partial || touched(q)))
            .map(|(hash, _)| *hash)
            .collect()
    }
}
