//! A store in memory that keeps the contract of [`SyncStore`] and can be told to break rules of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ditto_crdt::{DictWriter, Doc, FieldKind, Op, VersionVector, encode};
use ditto_types::{
    DatabaseId, Digest, DocId, HashKey, Hlc, HlcClock, KeyHash, Object, Path, SiteId, SmolStr, Stamp, Value,
};

use crate::peer::PeerId;
use crate::store::*;

/// Rules of the store that tests switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreRule {
    /// R1: a crash that loses commits renews the epoch.
    Epoch,
    /// D3: a crash that loses commits starts a new incarnation of the site.
    Incarnation,
    /// R2: EVICT deletes the cursors of the collection.
    EvictDeletesCursors,
    /// R2: of the whole collection, not only those of queries that the evicted copies matched.
    EvictAllQueries,
    /// A cursor is not written if its collection was evicted after `seen_seq`.
    SeenSeq,
    /// D4: a delta is merged only onto its base.
    DeltaBase,
}

/// `SELECT * FROM c [WHERE v = n]`.
#[derive(Clone, Debug)]
pub(crate) struct MemQuery {
    collection: SmolStr,
    value: Option<i64>,
}

#[derive(Clone)]
struct State {
    identity: StoreIdentity,
    seq: u64,
    docs: BTreeMap<KeyHash, StoredDoc>,
    cursors: BTreeMap<CursorKey, (SmolStr, Cursor)>,
    /// Newest EVICT per collection.
    evicted: BTreeMap<SmolStr, u64>,
    site: SiteId,
    new_site: bool,
    clock: HlcClock,
}

struct Inner {
    key: HashKey,
    state: State,
    durable: State,
    commits: VecDeque<LocalCommit>,
    faults: BTreeSet<StoreRule>,
    queries: BTreeMap<[u8; 16], MemQuery>,
    now: u64,
    refuse_above: Option<Hlc>,
    fail: bool,
    applies: usize,
    /// Collections that are not shared.
    hidden: BTreeSet<String>,
}

/// The store; clones share it.
#[derive(Clone)]
pub(crate) struct MemStore(Rc<RefCell<Inner>>, Rc<HashKey>);

impl MemStore {
    pub(crate) fn new(n: u8) -> Self {
        let state = State {
            identity: StoreIdentity { store_id: [n; 16], epoch: [1; 8] },
            seq: 0,
            docs: BTreeMap::new(),
            cursors: BTreeMap::new(),
            evicted: BTreeMap::new(),
            site: SiteId { id: [n + 1; 16], incarnation: 0 },
            new_site: false,
            clock: HlcClock::default(),
        };
        let database: DatabaseId = "5c0ffee0-0000-4000-8000-000000000001".parse().unwrap();
        let key = HashKey::new(&database);
        let inner = Inner {
            key: key.clone(),
            durable: state.clone(),
            state,
            commits: VecDeque::new(),
            faults: BTreeSet::new(),
            queries: BTreeMap::new(),
            now: 0,
            refuse_above: None,
            fail: false,
            applies: 0,
            hidden: BTreeSet::new(),
        };
        MemStore(Rc::new(RefCell::new(inner)), Rc::new(key))
    }

    pub(crate) fn set_now(&self, now: u64) {
        self.0.borrow_mut().now = now;
    }

    pub(crate) fn set_faults(&self, faults: BTreeSet<StoreRule>) {
        self.0.borrow_mut().faults = faults;
    }

    /// Refuses stamps above this time, as of the future.
    pub(crate) fn refuse_above(&self, limit: Option<Hlc>) {
        self.0.borrow_mut().refuse_above = limit;
    }

    /// Keeps a collection to itself, or shares it again.
    pub(crate) fn hide(&self, collection: &str, hidden: bool) {
        let set = &mut self.0.borrow_mut().hidden;
        if hidden {
            set.insert(collection.to_owned())
        } else {
            set.remove(collection)
        };
    }

    /// Makes every later call fail.
    pub(crate) fn set_failing(&self, fail: bool) {
        self.0.borrow_mut().fail = fail;
    }

    pub(crate) fn applies(&self) -> usize {
        self.0.borrow().applies
    }

    pub(crate) fn commit_count(&self) -> u64 {
        self.0.borrow().state.seq
    }

    pub(crate) fn next_commit(&self) -> Option<LocalCommit> {
        self.0.borrow_mut().commits.pop_front()
    }

    pub(crate) fn has_commits(&self) -> bool {
        !self.0.borrow().commits.is_empty()
    }

    pub(crate) fn docs(&self) -> Vec<StoredDoc> {
        self.0.borrow().state.docs.values().cloned().collect()
    }

    pub(crate) fn cursor_count(&self) -> usize {
        self.0.borrow().state.cursors.len()
    }

    pub(crate) fn forget_cursors(&self) {
        self.0.borrow_mut().state.cursors.clear();
    }

    pub(crate) fn get(&self, collection: &str, id: &str) -> Option<Doc> {
        let inner = self.0.borrow();
        inner.state.docs.get(&inner.key.key_hash(collection, &doc_id(id))).map(|d| d.doc.clone())
    }

    /// The visible fields as text, for comparisons.
    pub(crate) fn json(&self, collection: &str, id: &str) -> Option<String> {
        self.get(collection, id)
            .filter(Doc::is_alive)
            .map(|d| ditto_types::json::to_string(&Value::Object(d.to_object())))
    }

    /// Makes everything so far survive a crash.
    pub(crate) fn checkpoint(&self) {
        let mut inner = self.0.borrow_mut();
        inner.durable = inner.state.clone();
    }

    /// Loses what came after the last checkpoint.
    pub(crate) fn crash(&self) {
        let inner = &mut *self.0.borrow_mut();
        let mut epoch = inner.state.identity.epoch;
        let incarnation = inner.state.site.incarnation + 1;
        inner.state = inner.durable.clone();
        if !inner.faults.contains(&StoreRule::Incarnation) {
            inner.state.site.incarnation = incarnation;
        }
        inner.commits.clear();
        if !inner.faults.contains(&StoreRule::Epoch) {
            epoch[0] = epoch[0].wrapping_add(1);
        }
        inner.state.identity.epoch = epoch;
        inner.durable = inner.state.clone();
    }

    /// A local transaction on some documents.
    pub(crate) fn write(&self, collection: &str, writes: &[(&str, Vec<Op>)]) {
        let inner = &mut *self.0.borrow_mut();
        if std::mem::take(&mut inner.state.new_site) {
            inner.state.site.incarnation += 1;
        }
        let stamp = Stamp::new(inner.state.clock.now(inner.now), inner.state.site);
        self.write_at(inner, collection, writes, stamp);
    }

    /// Writes INITIAL documents.
    pub(crate) fn seed(&self, collection: &str, writes: &[(&str, Vec<Op>)]) {
        let inner = &mut *self.0.borrow_mut();
        self.write_at(inner, collection, writes, Stamp::ZERO);
    }

    fn write_at(&self, inner: &mut Inner, collection: &str, writes: &[(&str, Vec<Op>)], stamp: Stamp) {
        let mut changes = Vec::new();
        for (id, ops) in writes {
            let id = doc_id(id);
            let old = inner.state.docs.get(&inner.key.key_hash(collection, &id)).map(|d| d.doc.clone());
            let mut new = Doc::default();
            for op in ops {
                new.clone_from(&{
                    let mut d = if new.is_empty() { old.clone().unwrap_or_default() } else { new.clone() };
                    d.apply(op, stamp).unwrap();
                    d
                });
            }
            if old.as_ref() == Some(&new) || new.is_empty() {
                continue;
            }
            changes.push((collection.into(), id, old, Some(new)));
        }
        inner.commit(None, changes, Vec::new());
    }

    /// Sets fields and makes the document alive.
    pub(crate) fn put(&self, collection: &str, id: &str, fields: &[(&str, i64)]) {
        let mut ops = vec![Op::Create];
        ops.extend(fields.iter().map(|(name, v)| set(name, *v)));
        self.write(collection, &[(id, ops)]);
    }

    /// Sets a field of a document that is alive.
    pub(crate) fn update(&self, collection: &str, id: &str, name: &str, v: i64) {
        if self.get(collection, id).is_some_and(|d| d.is_alive()) {
            self.write(collection, &[(id, vec![set(name, v)])]);
        }
    }

    pub(crate) fn unset(&self, collection: &str, id: &str, name: &str) {
        if self.get(collection, id).is_some_and(|d| d.is_alive()) {
            self.write(collection, &[(id, vec![Op::Unset { path: Path::new([name]) }])]);
        }
    }

    pub(crate) fn delete(&self, collection: &str, id: &str) {
        if self.get(collection, id).is_some_and(|d| d.is_alive()) {
            self.write(collection, &[(id, vec![Op::Delete])]);
        }
    }

    /// Drops the local copies of some documents.
    pub(crate) fn evict(&self, collection: &str, ids: &[&str]) {
        let inner = &mut *self.0.borrow_mut();
        let mut changes = Vec::new();
        for id in ids {
            let id = doc_id(id);
            let Some(old) = inner.state.docs.get(&inner.key.key_hash(collection, &id)) else { continue };
            changes.push((SmolStr::new(collection), id, Some(old.doc.clone()), None));
        }
        if changes.is_empty() {
            return;
        }
        inner.state.new_site = true;
        inner.state.evicted.insert(collection.into(), inner.state.seq + 1);
        if !inner.faults.contains(&StoreRule::EvictDeletesCursors) {
            let partial = inner.faults.contains(&StoreRule::EvictAllQueries);
            let queries = &inner.queries;
            inner.state.cursors.retain(|key, (c, _)| {
                let hit = queries.get(&key.query_hash).is_none_or(|q| {
                    changes.iter().any(|(c, _, old, _)| old.as_ref().is_some_and(|d| q.matches(c, d)))
                });
                c != collection || (partial && !hit)
            });
        }
        inner.commit(None, changes, vec![collection.into()]);
    }
}

pub(crate) fn doc_id(id: &str) -> DocId {
    DocId::new(&Value::from(id)).unwrap()
}

pub(crate) fn set(name: &str, v: i64) -> Op {
    Op::Set { path: Path::new([name]), value: Value::from(v), kind: FieldKind::Inferred }
}

impl MemQuery {
    fn matches(&self, collection: &str, doc: &Doc) -> bool {
        collection == self.collection
            && doc.is_alive()
            && self.value.is_none_or(|v| doc.get(&["v".into()]) == Some(Value::from(v)))
    }
}

#[derive(Debug)]
struct Changed {
    id: DocId,
    new: Option<Arc<Doc>>,
    delta: Arc<Doc>,
    base: Arc<VersionVector>,
}

#[derive(Debug)]
struct States(Vec<Changed>);

impl ChangedStates for States {
    fn id(&self, index: usize) -> &DocId {
        &self.0[index].id
    }

    fn new_state(&self, index: usize) -> Option<&Arc<Doc>> {
        self.0[index].new.as_ref()
    }

    fn delta(&self, index: usize) -> &Arc<Doc> {
        &self.0[index].delta
    }

    fn base(&self, index: usize) -> &Arc<VersionVector> {
        &self.0[index].base
    }
}

type Pending = (SmolStr, DocId, Option<Doc>, Option<Doc>);

impl Inner {
    fn commit(&mut self, source: Option<PeerId>, pending: Vec<Pending>, evicted: Vec<SmolStr>) {
        if pending.is_empty() {
            return;
        }
        self.state.seq += 1;
        let seq = self.state.seq;
        let (mut changes, mut states) = (Vec::new(), Vec::new());
        for (collection, id, old, new) in pending {
            let key = self.key.key_hash(&collection, &id);
            let base = old.as_ref().map(Doc::vv).unwrap_or_default();
            let digest = new.as_ref().map_or(Digest([0; 16]), |d| d.digest(&self.key));
            let delta = new.as_ref().map(|d| d.delta(&base)).unwrap_or_default();
            match &new {
                Some(doc) => {
                    let (collection, id, doc) = (collection.clone(), id.clone(), doc.clone());
                    self.state.docs.insert(key, StoredDoc { collection, id, key, digest, seq, doc });
                }
                None => {
                    self.state.docs.remove(&key);
                }
            }
            changes.push((collection, key, digest, old.map(Arc::new), new.as_ref().map(Doc::is_alive)));
            let new = new.map(Arc::new);
            states.push(Changed { id, new, delta: Arc::new(delta), base: Arc::new(base) });
        }
        let states = Arc::new(States(states));
        let changes = changes.into_iter().enumerate();
        let changes = changes
            .map(|(index, (collection, key, digest, old, alive))| {
                let states = states.clone();
                LocalChange { collection, key, digest, old, alive, states, index }
            })
            .collect();
        self.commits.push_back(LocalCommit { seq, source, changes, evicted_collections: evicted });
    }

    fn check(&self) -> Result<(), SyncStoreError> {
        if self.fail { Err(SyncStoreError("disk full".into())) } else { Ok(()) }
    }

    fn changed(&self, q: &MemQuery, after: u64) -> Vec<&StoredDoc> {
        let mut docs: Vec<_> =
            self.state.docs.values().filter(|d| d.collection == q.collection && d.seq > after).collect();
        docs.sort_by_key(|d| (d.seq, d.key));
        docs
    }
}

fn join(a: &VersionVector, b: &VersionVector) -> VersionVector {
    let mut out = a.clone();
    b.iter().for_each(|(site, hlc)| out.insert(Stamp::new(hlc, *site)));
    out
}

impl SyncStore for MemStore {
    type Query = MemQuery;

    fn identity(&self) -> StoreIdentity {
        self.0.borrow().state.identity
    }

    fn head(&self) -> u64 {
        self.0.borrow().state.seq
    }

    fn hash_key(&self) -> &HashKey {
        &self.1
    }

    fn compile(&self, text: &str, args: &Object) -> Result<MemQuery, SyncStoreError> {
        let bad = || SyncStoreError(format!("no such query: {text}"));
        let rest = text.strip_prefix("SELECT * FROM ").ok_or_else(bad)?;
        let query = match rest.split_once(" WHERE v = ") {
            None => MemQuery { collection: rest.into(), value: None },
            Some((c, ":v")) => MemQuery {
                collection: c.into(),
                value: Some(args.get("v").and_then(Value::as_i64).ok_or_else(bad)?),
            },
            Some((c, v)) => MemQuery { collection: c.into(), value: Some(v.parse().map_err(|_| bad())?) },
        };
        self.0.borrow_mut().queries.insert(crate::query_hash(text, args), query.clone());
        Ok(query)
    }

    fn collection<'q>(&self, query: &'q MemQuery) -> &'q str {
        &query.collection
    }

    fn is_whole_collection(&self, query: &MemQuery) -> bool {
        query.value.is_none()
    }

    fn shares(&self, collection: &str) -> bool {
        !self.0.borrow().hidden.contains(collection)
    }

    fn matches(&self, query: &MemQuery, collection: &str, _id: &DocId, doc: &Doc) -> bool {
        query.matches(collection, doc)
    }

    fn changes(
        &self,
        q: &MemQuery,
        after: u64,
        max_docs: usize,
        max_bytes: usize,
    ) -> Result<ChangePage, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        let mut page = ChangePage { scanned_to: inner.state.seq, done: true, ..ChangePage::default() };
        let mut bytes = 0;
        let mut last = after;
        for d in inner.changed(q, after) {
            // A page ends between commits only.
            let full = page.docs.len() + page.others.len() >= max_docs.max(1) || bytes >= max_bytes.max(1);
            if full && d.seq != last {
                page.scanned_to = last;
                page.done = false;
                break;
            }
            last = d.seq;
            bytes += d.doc.canonical().len();
            if !d.doc.is_alive() || q.matches(&d.collection, &d.doc) {
                page.docs.push(d.clone());
            } else {
                page.others.push((d.key, d.digest));
            }
        }
        Ok(page)
    }

    fn scan_view(&self, q: &MemQuery, each: &mut dyn FnMut(KeyHash, Digest)) -> Result<u64, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        let all = inner.state.docs.values().filter(|d| q.matches(&d.collection, &d.doc));
        all.for_each(|d| each(d.key, d.digest));
        Ok(inner.state.seq)
    }

    fn count(&self, q: &MemQuery) -> Result<Option<u64>, SyncStoreError> {
        let inner = self.0.borrow();
        let n = || inner.state.docs.values().filter(|d| q.matches(&d.collection, &d.doc)).count();
        Ok(q.value.is_none().then(|| n() as u64))
    }

    fn view_page(
        &self,
        q: &MemQuery,
        after: Option<u64>,
        (max_docs, max_bytes): (usize, usize),
        dict: &mut dyn DictWriter,
    ) -> Result<ViewPage, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        let mut page = ViewPage::default();
        let mut bytes = 0;
        for d in inner.state.docs.values() {
            if after.is_some_and(|a| d.key.0 <= a) || !q.matches(&d.collection, &d.doc) {
                continue;
            }
            if page.docs.len() >= max_docs.max(1) || bytes >= max_bytes.max(1) {
                page.next = page.docs.last().map(|d| d.key.0);
                break;
            }
            let body = encode(&d.doc, dict);
            bytes += body.len();
            page.docs.push(ViewDoc { id: d.id.clone(), key: d.key, digest: d.digest, body });
        }
        Ok(page)
    }

    fn load(&self, key: KeyHash) -> Result<Option<StoredDoc>, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        Ok(inner.state.docs.get(&key).cloned())
    }

    fn own_changes(
        &self,
        q: &MemQuery,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<(KeyHash, Digest)>>, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        let all = inner.changed(q, after);
        let own: Vec<_> =
            all.into_iter().filter(|d| q.matches(&d.collection, &d.doc)).map(|d| (d.key, d.digest)).collect();
        Ok((own.len() <= limit).then_some(own))
    }

    fn newest(&self, q: &MemQuery, limit: usize) -> Result<Vec<Newest>, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        let all = inner.changed(q, 0).into_iter().rev().filter(|d| q.matches(&d.collection, &d.doc));
        let newest = |d: &StoredDoc| Newest {
            seq: d.seq,
            key: d.key,
            digest: d.digest,
            bytes: d.doc.canonical().len(),
        };
        Ok(all.take(limit).map(newest).collect())
    }

    fn cursor(&self, key: &CursorKey) -> Result<Option<Cursor>, SyncStoreError> {
        let inner = self.0.borrow();
        inner.check()?;
        Ok(inner.state.cursors.get(key).map(|(_, c)| *c))
    }

    fn delete_cursors(&self, query_hash: [u8; 16]) -> Result<(), SyncStoreError> {
        let mut inner = self.0.borrow_mut();
        inner.check()?;
        inner.state.cursors.retain(|k, _| k.query_hash != query_hash);
        Ok(())
    }

    fn apply(&self, batch: ApplyBatch) -> Result<ApplyOutcome, SyncStoreError> {
        let inner = &mut *self.0.borrow_mut();
        inner.check()?;
        inner.applies += 1;
        let mut items = Vec::new();
        let mut pending: BTreeMap<KeyHash, Pending> = BTreeMap::new();
        for item in batch.items {
            let key = inner.key.key_hash(&item.collection, &item.id);
            let stored = inner.state.docs.get(&key).map(|d| d.doc.clone());
            let local = pending.get(&key).map_or(stored.clone(), |p| p.3.clone());
            let doc = match &item.body {
                ItemBody::Full(doc) => &doc.to_doc().unwrap(),
                ItemBody::Tomb(doc) | ItemBody::Delta { doc, .. } => doc,
            };
            if inner.refuse_above.is_some_and(|limit| doc.max_hlc() > limit) {
                items.push(ItemOutcome::Refused(RefusalCode::Future));
                continue;
            }
            if local.is_none() && matches!(item.body, ItemBody::Tomb(_)) {
                items.push(ItemOutcome::NotHeld);
                continue;
            }
            let local_vv = local.as_ref().map(Doc::vv).unwrap_or_default();
            if let ItemBody::Delta { base, .. } = &item.body
                && !local_vv.covers_all(base)
                && !inner.faults.contains(&StoreRule::DeltaBase)
            {
                items.push(ItemOutcome::NeedsBase { vv: local_vv });
                continue;
            }
            let mut new = local.clone().unwrap_or_default();
            new.merge(doc);
            let digest = new.digest(&inner.key);
            inner.state.clock.see(doc.max_hlc());
            let same = match &item.body {
                ItemBody::Delta { base, doc } => join(base, &doc.vv()).covers_all(&new.vv()),
                _ => doc.digest(&inner.key) == digest,
            };
            let changed = local.as_ref() != Some(&new);
            // A merge that changes something says nothing about who knows more: the weakest contract.
            items.push(match (same, changed) {
                (_, true) => ItemOutcome::Changed { digest },
                (false, false) => ItemOutcome::LocalNewer { digest },
                (true, false) => ItemOutcome::Unchanged { digest },
            });
            if changed {
                pending.insert(key, (item.collection, item.id, stored, Some(new)));
            }
        }
        inner.commit(Some(batch.source), pending.into_values().collect(), Vec::new());
        for w in batch.cursors {
            let evicted = inner.state.evicted.get(&w.collection).copied().unwrap_or(0);
            if evicted <= batch.seen_seq || inner.faults.contains(&StoreRule::SeenSeq) {
                inner.state.cursors.insert(w.key, (w.collection, w.cursor));
            }
        }
        for key in batch.delete_cursors {
            inner.state.cursors.remove(&key);
        }
        Ok(ApplyOutcome { seq: inner.state.seq, items })
    }
}
