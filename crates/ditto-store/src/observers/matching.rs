//! From commits to the observers that they concern.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use ditto_crdt::Doc;
use ditto_dql::Matcher;
use ditto_types::DocId;

use super::Observers;
use super::pool::{Observer, State};
use super::task::Query;
use crate::commit::{Change, Commit};
use crate::row::DocRow;

/// Commits that wait to be matched at most; beyond that every observer of their collections runs again.
const MAX_BACKLOG: usize = 256;

/// Changes of a commit that the writer looks at itself, so that only an observer that it concerns is woken.
const AT_ONCE: usize = 8;

/// Conditions that the writer looks at for that, at most; before and after a change count each.
const FEW: usize = 32;

/// The conditions of all observers.
#[derive(Default)]
pub(super) struct Index {
    matcher: Matcher,
    queries: HashMap<u64, Arc<Query>>,
}

/// A document that changed, as an observer sees it: its states with their positions, where they match.
pub(super) struct Moved {
    pub(super) seq: u64,
    pub(super) id: DocId,
    pub(super) old: Option<(i64, Arc<Doc>)>,
    pub(super) new: Option<(i64, Arc<Doc>)>,
}

/// What a commit means for an observer.
enum Hit {
    Changes(Vec<Moved>),
    /// Its query has to run again.
    Stale,
}

impl Index {
    pub(super) fn insert(&mut self, id: u64, query: &Arc<Query>) {
        self.matcher.insert(id, query.plan.watches());
        self.queries.insert(id, query.clone());
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.matcher.remove(id);
        self.queries.remove(&id);
    }

    /// The observers that a small commit concerns; `None` for one that is not small, or that may concern many.
    fn hits_at_once(&self, commit: &Commit) -> Option<BTreeMap<u64, Hit>> {
        if commit.changes.len() > AT_ONCE || !commit.unlisted_collections.is_empty() {
            return None;
        }
        let mut found = Vec::new();
        for change in commit.changes.iter().filter(|c| self.matcher.watches(&c.collection)) {
            for doc in states(change) {
                self.matcher.candidates(&change.collection, &DocRow::new(&change.id, doc), &mut found);
            }
        }
        if found.is_empty() {
            return Some(BTreeMap::new());
        }
        (found.len() <= FEW).then(|| self.hits(commit))
    }

    /// The observers that the commit concerns.
    fn hits(&self, commit: &Commit) -> BTreeMap<u64, Hit> {
        let unlisted = &commit.unlisted_collections;
        let stale = |query: &Query| query.collections.iter().any(|c| unlisted.contains(c));
        let mut hits = BTreeMap::new();
        if !unlisted.is_empty() {
            let found = self.queries.iter().filter(|(_, query)| stale(query));
            hits.extend(found.map(|(id, _)| (*id, Hit::Stale)));
        }
        let mut found = Vec::new();
        for change in &commit.changes {
            if !self.matcher.watches(&change.collection) {
                continue;
            }
            found.clear();
            for doc in states(change) {
                self.matcher.candidates(&change.collection, &DocRow::new(&change.id, doc), &mut found);
            }
            Matcher::in_order(&mut found);
            for id in &found {
                let Some(query) = self.queries.get(id) else { continue };
                if let Some(Hit::Stale) = hits.get(id) {
                    continue;
                }
                match moved(query, change, commit.seq) {
                    Ok(None) => {}
                    Ok(Some(moved)) => match hits.entry(*id).or_insert_with(|| Hit::Changes(Vec::new())) {
                        Hit::Changes(changes) => changes.push(moved),
                        Hit::Stale => {}
                    },
                    Err(Again) => drop(hits.insert(*id, Hit::Stale)),
                }
            }
        }
        hits
    }
}

/// The query has to run again.
struct Again;

/// What a change means for a query; `None` for nothing.
fn moved(query: &Query, change: &Change, seq: u64) -> Result<Option<Moved>, Again> {
    let matching = |state: Option<&Arc<Doc>>, position: i64| match state {
        Some(doc) if doc.is_alive() => match query.plan.matches(&query.row(&change.id, doc, position)) {
            Ok(true) => Ok(Some((position, doc.clone()))),
            Ok(false) => Ok(None),
            // The run will say what is wrong.
            Err(_) => Err(Again),
        },
        _ => Ok(None),
    };
    let (from, to) = change.positions;
    let (old, new) = (matching(change.old.as_ref(), from)?, matching(change.new_state(), to)?);
    match (&old, &new) {
        (None, None) => Ok(None),
        _ if query.incremental => Ok(Some(Moved { seq, id: change.id.clone(), old, new })),
        _ => Err(Again),
    }
}

/// The states of a changed document, before and after, in which it is not deleted.
fn states(change: &Change) -> impl Iterator<Item = &Doc> {
    let both = [change.old.as_ref(), change.new_state()];
    both.into_iter().flatten().map(|doc| &**doc).filter(|doc| doc.is_alive())
}

impl Observers {
    /// Whether there are observers.
    pub(crate) fn any(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0
    }

    /// Takes note of a durable commit. Called by the writer, one commit after the other.
    pub(crate) fn on_commit(&self, commit: &Arc<Commit>) {
        if !self.any() {
            return;
        }
        // Whoever registers meanwhile runs on a snapshot that has the commit.
        let hits = self.0.index.try_read().ok().and_then(|index| index.hits_at_once(commit));
        if hits.as_ref().is_some_and(BTreeMap::is_empty) {
            return;
        }
        let mut state = self.0.lock();
        match hits {
            // Changes reach an observer in the order of their commits.
            Some(hits) if state.commits.is_empty() && !state.matching => self.hand_out(&mut state, hits),
            _ if state.commits.len() < MAX_BACKLOG => {
                state.commits.push_back(commit.clone());
                state.queued += 1;
            }
            _ => self.set_all_stale(&mut state, commit),
        }
        self.release(state);
    }

    /// Has all observers of the commit's collections run again.
    fn set_all_stale(&self, state: &mut State, commit: &Commit) {
        let hit = |o: &Observer| {
            let changed = commit.changes.iter().map(|c| &c.collection);
            changed.chain(&commit.unlisted_collections).any(|c| o.query().collections.contains(c))
        };
        let ids: Vec<u64> = state.observers.iter().filter(|(_, o)| hit(o)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(o) = state.observers.get_mut(&id) {
                o.set_stale();
                self.queue_if_due(state, id);
            }
        }
    }

    /// Gives what a commit means to the observers that it concerns.
    fn hand_out(&self, state: &mut State, hits: BTreeMap<u64, Hit>) {
        for (id, hit) in hits {
            let Some(o) = state.observers.get_mut(&id) else { continue };
            match hit {
                Hit::Changes(changes) => o.add(changes),
                Hit::Stale => o.set_stale(),
            }
            self.queue_if_due(state, id);
        }
    }

    /// Gives the waiting commits to the observers that they concern, without the lock while they are looked at.
    pub(super) fn match_commits<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.matching = true;
        while let Some(commit) = state.commits.pop_front() {
            drop(state);
            let hits = {
                let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
                index.hits(&commit)
            };
            state = self.0.lock();
            self.hand_out(&mut state, hits);
            state.matched += 1;
            while let Some((at, id)) = state.asked.front().copied()
                && at <= state.matched
            {
                state.asked.pop_front();
                self.make_ready(&mut state, id);
            }
        }
        state.matching = false;
        if state.runnable.len() > 1 {
            self.wake(&mut state);
        }
        state
    }
}
