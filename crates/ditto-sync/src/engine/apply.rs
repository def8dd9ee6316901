//! Taking in documents: from TXN to one commit of the store.

use ditto_crdt::{CanonicalDoc, DecodeError, DictReader, Doc, VersionVector, decode};
use ditto_types::{Digest, KeyHash, SiteId, Stamp};

use super::session::{Session, Staged};
use super::{Core, Fault, Rule};
use crate::peer::Lane;
use crate::store::{ApplyBatch, ApplyItem, CursorWrite, ItemBody, ItemOutcome, RefusalCode, SyncStore};
use crate::wire::dict::LaneReader;
use crate::wire::{Form, Message, Reject, SubMode, Txn, TxnItem};

/// Where a batch came from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    lane: Lane,
    /// Whether the items answer WANT.
    answer: bool,
    /// Of answers, whether the peer knows the base of each.
    known: &'a [bool],
    /// Whether the peer still holds what it sent.
    held: bool,
    /// Token of the live lane that comes with the batch.
    token: Option<u64>,
}

/// What is needed of an item after the store has taken it.
struct Sent {
    key: KeyHash,
    /// Whether the peer knows every write that the merge gives, unless the outcome says otherwise.
    covers: bool,
    /// Whether its state is then the same for certain; of a whole document, if the digest is this one.
    exact: bool,
    whole: Option<Digest>,
}

impl Sent {
    /// Whether the peer holds the state with this digest, which a merge gave here.
    fn is(&self, digest: Digest) -> bool {
        self.exact && self.whole.is_none_or(|whole| whole == digest)
    }
}

impl<S: SyncStore> Session<S> {
    /// Takes in a TXN.
    pub(crate) fn on_txn(
        &mut self,
        core: &mut Core<S>,
        lane: Lane,
        mut txn: Txn,
        size: usize,
    ) -> Result<(), Fault> {
        if txn.staged {
            return Err(Fault::Staged);
        }
        let dict = match lane {
            Lane::Live => &mut self.live_in,
            Lane::Bulk => &mut self.bulk_in,
        };
        dict.define(&mut txn)?;
        let known: Vec<_> = match txn.answer {
            true => txn.items.iter().map(|i| matches!(i.form, Form::Newer(_))).collect(),
            false => Vec::new(),
        };
        let mut memory = Vec::new();
        let items = txn.items.drain(..).map(|i| read_item(i, dict, &mut memory));
        let mut items = items.collect::<Result<Vec<_>, _>>()?;
        if items.iter().any(|i| !self.recv.collections.contains(&i.collection)) {
            return Err(Fault::Unasked);
        }
        self.stats.documents_received += items.len() as u64;
        if !items.is_empty() {
            self.stats.last_update_ms = Some(core.wall);
        }
        match lane {
            Lane::Live => {
                if txn.first == self.recv.collecting.is_some() {
                    return Err(Fault::Framing);
                }
                if let Some((mut before, bytes)) = self.recv.collecting.take() {
                    before.append(&mut items);
                    items = before;
                    let total = bytes + size;
                    if total > core.config.max_commit_bytes {
                        return Err(Fault::CommitTooLarge(core.config.max_commit_bytes));
                    }
                    if !txn.last {
                        self.recv.collecting = Some((items, total));
                        return Ok(());
                    }
                } else if !txn.last {
                    self.recv.collecting = Some((items, size));
                    return Ok(());
                }
                let token = txn.token;
                self.apply(core, items, Origin { lane, answer: false, known: &[], held: true, token })
            }
            Lane::Bulk => {
                let n = items.len() as u64;
                let gathered = txn.sid.filter(|sid| self.recv.sids.contains_key(sid));
                if self.recv.staged.as_ref().is_some_and(|staged| Some(staged.sid) != gathered) {
                    self.merge_staged(core)?;
                }
                if !items.is_empty() {
                    // A page from before an EVICT at the peer comes after the wish that followed the EVICT.
                    let held = core.broken(Rule::EchoGeneration)
                        || txn.generation.is_some_and(|g| g >= self.send.generation);
                    match gathered {
                        Some(sid) => self.stage(core, sid, items, size, held)?,
                        None => {
                            let (answer, known) = (txn.answer, &known[..]);
                            self.apply(core, items, Origin { lane, answer, known, held, token: None })?
                        }
                    }
                }
                if txn.last {
                    self.merge_staged(core)?;
                }
                if let Some(sid) = txn.sid {
                    if txn.last {
                        let token = txn.token.ok_or(Fault::Framing)?;
                        self.finish_scan(sid, token);
                    }
                    if let Some(sub) = self.recv.sids.get_mut(&sid) {
                        sub.loaded += n;
                        self.report(core, sid);
                    }
                } else if txn.answer {
                    self.count_answers(core, n);
                }
                self.try_live(core)
            }
        }
    }

    /// Keeps a page of missed changes until the scan is complete: together they are one step from one consistent state
    /// to another. A backlog above the limits is merged in several steps. Those of a first load are gathered for a
    /// moment.
    fn stage(
        &mut self,
        core: &mut Core<S>,
        sid: u32,
        items: Vec<ApplyItem>,
        size: usize,
        held: bool,
    ) -> Result<(), Fault> {
        let loading = self.recv.sids.get(&sid).is_some_and(|s| s.mode == Some(SubMode::Full));
        // What was missed is bounded as a commit on the live lane is.
        let (most, most_bytes) = if loading {
            (core.config.gather_docs, core.config.txn_bytes)
        } else {
            (usize::MAX, core.config.max_commit_bytes)
        };
        let new = || Staged { sid, items: Vec::new(), bytes: 0, held: true, due: None };
        let staged = self.recv.staged.get_or_insert_with(new);
        if loading {
            staged.due.get_or_insert(core.now + core.config.gather_ms);
        }
        staged.items.extend(items);
        staged.bytes += size;
        staged.held &= held;
        if staged.items.len() >= most || staged.bytes >= most_bytes {
            self.merge_staged(core)?;
        }
        Ok(())
    }

    /// Merges the pages that were kept.
    pub(crate) fn merge_staged(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let Some(Staged { items, held, .. }) = self.recv.staged.take() else { return Ok(()) };
        self.apply(core, items, Origin { lane: Lane::Bulk, answer: false, known: &[], held, token: None })
    }

    /// Counts documents that reconciliation asked for towards the subscriptions that wait for them.
    fn count_answers(&mut self, core: &mut Core<S>, n: u64) {
        let waiting: Vec<_> = self.recv.sids.iter().filter(|(_, s)| !s.live).map(|(sid, _)| *sid).collect();
        for sid in waiting {
            if let Some(sub) = self.recv.sids.get_mut(&sid) {
                sub.loaded += n;
            }
            self.report(core, sid);
        }
    }

    fn apply(&mut self, core: &mut Core<S>, items: Vec<ApplyItem>, origin: Origin<'_>) -> Result<(), Fault> {
        let mut sent = Vec::with_capacity(items.len());
        let mut based = true;
        for (i, item) in items.iter().enumerate() {
            let key = core.store.hash_key().key_hash(&item.collection, &item.id);
            let (mut covers, mut exact) = (true, true);
            let mut whole = None;
            match &item.body {
                ItemBody::Full(doc) => whole = Some(doc.digest(core.store.hash_key())),
                ItemBody::Tomb(doc) => whole = Some(doc.digest(core.store.hash_key())),
                ItemBody::Delta { .. } => {}
            }
            if let ItemBody::Delta { base, doc } = &item.body {
                let local = core.store.load(key)?.map(|d| d.doc.vv()).unwrap_or_default();
                based &= local.covers_all(base);
                let mut theirs = base.clone();
                doc.vv().iter().for_each(|(site, hlc)| theirs.insert(Stamp::new(hlc, *site)));
                // The base of an answer is what we said we know, and the peer says whether it knows that.
                let ours = origin.answer && !origin.known.get(i).is_some_and(|known| *known);
                covers = ours || theirs.covers_all(&local);
                // Stamps at the beginning of time say nothing about values, so only digests could tell.
                exact = covers && !ours && local.get(&SiteId::ZERO).is_none();
            }
            sent.push(Sent { key, covers, exact: exact && origin.held, whole });
        }
        // The row goes into the commit only if nothing in it can turn out to be missing.
        let cursors = match origin.token {
            Some(token) if based && !self.lazy.is_waiting() => {
                self.eager_rows(core, token.max(self.recv.live_token))
            }
            _ => Vec::new(),
        };
        if items.is_empty() && cursors.is_empty() {
            return self.applied(core, origin);
        }
        let names: Vec<_> =
            items.iter().map(|i| (i.collection.clone(), i.id.clone(), dot(&i.body))).collect();
        let outcome = core.store.apply(ApplyBatch {
            source: self.peer,
            items,
            cursors: cursors.clone(),
            delete_cursors: Vec::new(),
            seen_seq: core.processed,
        })?;
        self.rows_written(&cursors);
        if origin.lane == Lane::Live && self.recv.sids.values().any(|s| !s.announced && s.failed.is_none()) {
            self.recv.early.insert(outcome.seq);
        }
        let mut dup = !sent.is_empty();
        let mut newer = Vec::new();
        for ((sent, outcome_of), (collection, id, dot)) in sent.iter().zip(outcome.items).zip(names) {
            let key = sent.key;
            if origin.answer {
                self.answered(core, key);
            }
            dup &= matches!(outcome_of, ItemOutcome::Unchanged { .. } | ItemOutcome::LocalNewer { .. });
            if matches!(outcome_of, ItemOutcome::Changed { .. }) {
                // What a scan brings was not pushed.
                if origin.lane == Lane::Live || origin.answer {
                    core.links.came_from(key, self.peer);
                }
                if origin.answer && self.lazy.offering {
                    self.make_eager(core);
                }
            }
            match outcome_of {
                ItemOutcome::Changed { digest } => self.note_exact(sent, origin, outcome.seq, digest),
                ItemOutcome::Unchanged { digest } if sent.is(digest) => {
                    self.known.insert(key, digest.short())
                }
                ItemOutcome::Unchanged { .. } if sent.covers => {}
                ItemOutcome::Unchanged { .. } | ItemOutcome::LocalNewer { .. } => newer.push(key),
                ItemOutcome::NeedsBase { .. } => self.recv.wants.add(key)?,
                ItemOutcome::NotHeld => {
                    if self.recv.wants.is_inflight(key) {
                        self.recv.wants.add(key)?;
                    }
                }
                ItemOutcome::Refused(code) => {
                    if code == RefusalCode::Future {
                        self.freeze(core, &collection, !cursors.is_empty())?;
                    }
                    self.put(core, Lane::Live, &Message::Rej(Reject { collection, id, dot, code }));
                }
            }
        }
        if origin.lane == Lane::Live && dup {
            self.prune(core, sent.iter().map(|s| s.key));
        }
        self.reply_newer(core, &newer)?;
        self.applied(core, origin)
    }

    /// What follows every batch: the token counts, requests go out, progress is confirmed.
    fn applied(&mut self, core: &mut Core<S>, origin: Origin<'_>) -> Result<(), Fault> {
        if let Some(token) = origin.token {
            self.token_arrived(token);
        }
        self.settle_soon(core, 1);
        self.send_wants(core)?;
        if origin.lane == Lane::Live {
            self.acknowledge_soon(core);
            self.try_live(core)?;
        }
        Ok(())
    }

    fn note_exact(&mut self, sent: &Sent, origin: Origin<'_>, seq: u64, digest: Digest) {
        if !sent.is(digest) {
            return;
        }
        match origin.lane {
            Lane::Live => self.known.insert(sent.key, digest.short()),
            Lane::Bulk => self.known.add_echo(seq, sent.key, digest),
        }
    }

    /// Keeps the cursors of a collection where they are, so that a refused document is offered again.
    /// `written` says that the commit with the refusal moved them already.
    fn freeze(&mut self, core: &mut Core<S>, collection: &str, written: bool) -> Result<(), Fault> {
        let (mut cursors, mut delete_cursors) = (Vec::new(), Vec::new());
        let thawed: Vec<_> = self
            .recv
            .sids
            .values_mut()
            .filter(|s| s.collection == collection && !s.frozen)
            .map(|s| {
                s.frozen = true;
                (s.hash, s.row_before)
            })
            .collect();
        for (hash, before) in thawed {
            let key = self.cursor_key(hash);
            match before {
                Some(cursor) => cursors.push(CursorWrite { key, collection: collection.into(), cursor }),
                None => delete_cursors.push(key),
            }
        }
        if written {
            let (source, items, seen_seq) = (self.peer, Vec::new(), core.processed);
            core.store.apply(ApplyBatch { source, items, cursors, delete_cursors, seen_seq })?;
        }
        Ok(())
    }
}

/// The newest stamp's time in what was sent, for REJ.
fn dot(body: &ItemBody) -> Stamp {
    let doc = match body {
        ItemBody::Full(doc) => return doc.dot(),
        ItemBody::Tomb(doc) | ItemBody::Delta { doc, .. } => doc,
    };
    doc.vv().iter().map(|(site, hlc)| Stamp::new(hlc, *site)).max().unwrap_or_default()
}

fn read_item(item: TxnItem, dict: &LaneReader, memory: &mut Vec<u8>) -> Result<ApplyItem, Fault> {
    let collection = dict.key(item.collection).ok_or(Fault::Reference(item.collection))?.clone();
    let doc = || -> Result<Doc, DecodeError> { decode(&item.body, dict) };
    let body = match item.form {
        Form::Full => ItemBody::Full(CanonicalDoc::read_with(&item.body, dict, memory)?),
        Form::Tomb => ItemBody::Tomb(doc()?),
        Form::Delta(sites) | Form::Newer(sites) => {
            let mut base = VersionVector::default();
            for (site, hlc) in sites {
                let site = dict.site(site).ok_or(Fault::Reference(site))?;
                base.insert(Stamp::new(hlc, site));
            }
            ItemBody::Delta { base, doc: doc()? }
        }
    };
    Ok(ApplyItem { collection, id: item.id, body })
}
