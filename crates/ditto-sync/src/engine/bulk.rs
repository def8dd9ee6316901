//! The bulk lane: scans, loads, listings and answers, read from the store as fast as the lane drains.

use std::sync::Arc;

use ditto_crdt::DictWriter;

use super::receive::short;
use super::recon::SendRecon;
use super::sender::Shape;
use super::session::Session;
use super::{Core, Fault, Rule};
use crate::limits::{LIST_ENTRIES, MAX_ITEMS, MAX_KEYS};
use crate::peer::Lane;
use crate::sketch::{Summary, Symbol};
use crate::store::{StoredDoc, SyncStore};
use crate::wire::{Form, GoneReason, KeyDigest, Keys, List, Message, Root, Symbols, Txn, TxnItem, Want};

/// Pages that one call may read before others get their turn.
const PAGES_PER_CALL: usize = 16;

/// Work for the bulk lane, done in order.
pub(crate) enum Job {
    /// Changes after a token.
    Scan { sid: u32, after: u64, token: u64, own: Vec<KeyDigest> },
    /// Changes after a commit, then the view's fingerprint.
    Recent { sid: u32, after: u64, token: u64 },
    /// The whole view.
    Full { sid: u32, after: Option<u64>, token: u64 },
    /// The view's fingerprint.
    Root { sid: u32, token: u64 },
    /// Symbols of the view, a part of those handed out.
    Symbols { sid: u32, symbols: Arc<Vec<Symbol>>, at: usize, end: usize },
    /// The view's keys and digests.
    List { sid: u32, entries: Option<Vec<KeyDigest>>, at: usize },
}

impl Job {
    pub(crate) fn sid(&self) -> u32 {
        match self {
            Job::Scan { sid, .. }
            | Job::Recent { sid, .. }
            | Job::Full { sid, .. }
            | Job::Root { sid, .. }
            | Job::Symbols { sid, .. }
            | Job::List { sid, .. } => *sid,
        }
    }
}

impl<S: SyncStore> Session<S> {
    /// Sends what the bulk lane has room for.
    pub(crate) fn pump(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        self.pump_again = false;
        self.answer_waiting(core);
        for _ in 0..PAGES_PER_CALL {
            if self.bulk_queue >= core.config.bulk_queue_bytes {
                return Ok(());
            }
            if !self.send.answers.is_empty() {
                self.answer_page(core)?;
            } else if let Some(job) = self.send.jobs.pop_front() {
                if let Some(rest) = self.step(core, job)? {
                    self.send.jobs.push_front(rest);
                }
            } else {
                return Ok(());
            }
        }
        self.pump_again = !self.send.answers.is_empty() || !self.send.jobs.is_empty();
        Ok(())
    }

    /// Does one page of a job and gives back what is left of it.
    fn step(&mut self, core: &mut Core<S>, job: Job) -> Result<Option<Job>, Fault> {
        let Some(sub) = self.send.subs.get_mut(&job.sid()) else { return Ok(None) };
        let (max_docs, max_bytes) = (core.config.page_docs, core.config.page_bytes);
        match job {
            Job::Scan { sid, after, token, own } => {
                if !own.is_empty() {
                    // What was in the view when the cursor was written has not changed since.
                    let query = sub.query.clone();
                    let all = !core.store.is_bounded(&query);
                    let got = |d: &StoredDoc| {
                        all && d.seq <= after && core.store.matches(&query, &d.collection, &d.id, &d.doc)
                    };
                    let (mut docs, hints) = self.compare(core, &own, got)?;
                    docs.sort_by_key(|d| d.key);
                    self.hint_bulk(core, &hints);
                    self.send_page(core, sid, &docs, None);
                    return Ok(Some(Job::Scan { sid, after, token, own: Vec::new() }));
                }
                let to = self.changes_page(core, sid, after, token, Some(token))?;
                Ok(to.map(|after| Job::Scan { sid, after, token, own: Vec::new() }))
            }
            Job::Recent { sid, after, token } => {
                let to = self.changes_page(core, sid, after, token, None)?;
                Ok(Some(match to {
                    Some(after) => Job::Recent { sid, after, token },
                    None => Job::Root { sid, token },
                }))
            }
            Job::Full { sid, after, token } => {
                self.bulk_out.begin();
                let limits = (max_docs, max_bytes);
                let mut page = core.store.view_page(&sub.query, after, limits, &mut self.bulk_out)?;
                page.docs.retain(|d| !self.known.has(d.key, d.digest.short()));
                let done = page.next.is_none();
                let collection = self.bulk_out.key_ref(&sub.collection);
                let items = page.docs.into_iter();
                let items =
                    items.map(|d| TxnItem { collection, id: d.id, form: Form::Full, body: d.body }).collect();
                self.send_items(core, sid, items, done.then_some(token));
                Ok((!done).then_some(Job::Full { sid, after: page.next, token }))
            }
            Job::Root { sid, token } => {
                sub.roots = sub.roots.saturating_add(1);
                let Summary { count, sum, .. } = match core.store.is_bounded(&sub.query) {
                    true => &core.first_summary(&sub.query)?,
                    false => core.summary(sub.hash, &sub.query)?,
                };
                let (count, sum) = (*count, *sum);
                sub.recon = Some(SendRecon::RootSent { count, sum });
                self.put(core, Lane::Bulk, &Message::Root(Root { sid, token, count, sum }));
                Ok(None)
            }
            Job::Symbols { sid, symbols, at, end } => {
                let to = end.min(at + LIST_ENTRIES);
                let more = (end - to) as u64;
                let part = Symbols { sid, index: at as u64, more, symbols: symbols[at..to].to_vec() };
                self.put(core, Lane::Bulk, &Message::Sym(part));
                Ok((more > 0).then_some(Job::Symbols { sid, symbols, at: to, end }))
            }
            Job::List { sid, entries, at } => {
                let entries = match entries {
                    Some(entries) => entries,
                    None => core.first_view(&sub.query)?,
                };
                let end = entries.len().min(at + LIST_ENTRIES);
                let last = end == entries.len();
                let keys = entries[at..end].to_vec();
                self.put(core, Lane::Bulk, &Message::List(List { sid, last, keys }));
                Ok((!last).then_some(Job::List { sid, entries: Some(entries), at: end }))
            }
        }
    }

    /// Sends a page of what changed after a commit; with a token of the last one if the scan ends the subscription's. Gives
    /// where the next page starts.
    fn changes_page(
        &mut self,
        core: &mut Core<S>,
        sid: u32,
        after: u64,
        token: u64,
        last: Option<u64>,
    ) -> Result<Option<u64>, Fault> {
        let Some(sub) = self.send.subs.get(&sid) else { return Ok(None) };
        let mut page =
            core.store.changes(&sub.query, after, core.config.page_docs, core.config.page_bytes)?;
        if core.broken(Rule::Tombs) {
            page.docs.retain(|d| d.doc.is_alive());
        }
        page.docs.retain(|d| !self.known.has(d.key, d.digest.short()));
        if !sub.whole && !core.broken(Rule::Hints) {
            let hints: Vec<_> = page.others.iter().map(short).collect();
            self.hint_bulk(core, &hints);
        }
        let done = page.done || page.scanned_to >= token;
        if done || !page.docs.is_empty() {
            self.send_page(core, sid, &page.docs, last.filter(|_| done));
        }
        if !done && page.scanned_to <= after {
            return Err(Fault::StuckScan);
        }
        Ok((!done).then_some(page.scanned_to))
    }

    fn hint_bulk(&mut self, core: &mut Core<S>, hints: &[KeyDigest]) {
        for keys in hints.chunks(MAX_KEYS) {
            self.put(core, Lane::Bulk, &Message::Hint(Keys { mark: None, token: None, keys: keys.to_vec() }));
        }
    }

    /// Sends a page of a scan; with a token if it is the last one. A page has whole commits, and a commit may be larger than
    /// what a message may hold.
    fn send_page(&mut self, core: &mut Core<S>, sid: u32, docs: &[StoredDoc], token: Option<u64>) {
        self.bulk_out.begin();
        let (mut items, mut size) = (Vec::new(), 0);
        for d in docs {
            if items.len() >= core.config.page_docs.min(MAX_ITEMS) || size >= core.config.page_bytes {
                self.send_items(core, sid, std::mem::take(&mut items), None);
                self.bulk_out.begin();
                size = 0;
            }
            let item = Shape::whole(&d.doc).item(&mut self.bulk_out, &d.collection, &d.id);
            size += item.size();
            items.push(item);
        }
        self.send_items(core, sid, items, token);
    }

    /// As [`Session::send_page`], for items made with the dictionary of the lane since its `begin`.
    fn send_items(&mut self, core: &mut Core<S>, sid: u32, items: Vec<TxnItem>, token: Option<u64>) {
        if items.is_empty() && token.is_none() {
            return;
        }
        self.stats.documents_sent += items.len() as u64;
        let generation = Some(self.recv.generation);
        let last = token.is_some();
        let mut txn = Txn { last, token, sid: Some(sid), generation, items, ..Txn::default() };
        self.bulk_out.finish(&mut txn);
        self.put(core, Lane::Bulk, &Message::Txn(txn));
    }

    /// Answers the first requests in the queue.
    fn answer_page(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        self.bulk_out.begin();
        let (mut items, mut covered, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        let mut size = 0;
        while size < core.config.page_bytes && items.len() < core.config.page_docs {
            let Some(want) = self.send.answers.pop_front() else { break };
            self.send.answering.remove(&want.key);
            match core.store.load(want.key)? {
                Some(doc) if self.serves(core, &doc.collection) => {
                    // Who asks may know more: while views are compared, what is asked for is what differs.
                    let more = want.vv.as_ref().is_some_and(|vv| !doc.doc.vv().covers_all(vv));
                    let lacks = more && self.compares(&doc.collection);
                    match self.answer(&doc, &want) {
                        Some(item) => {
                            size += item.size();
                            items.push(item);
                            if lacks {
                                self.recv.wants.add(want.key)?;
                            }
                        }
                        // Asking back says it, too.
                        None if lacks && self.recv.wants.add_back(want.key)? => {}
                        None => covered.push(want.key),
                    }
                }
                _ => missing.push(want.key),
            }
        }
        self.stats.documents_sent += items.len() as u64;
        if !items.is_empty() {
            if self.lazy.offering {
                self.make_eager(core);
            }
            let generation = Some(self.recv.generation);
            let mut txn = Txn { answer: true, generation, items, ..Txn::default() };
            self.bulk_out.finish(&mut txn);
            self.put(core, Lane::Bulk, &Message::Txn(txn));
        }
        for (reason, keys) in [(GoneReason::Covered, covered), (GoneReason::NotHeld, missing)] {
            for keys in keys.chunks(MAX_KEYS) {
                self.put(core, Lane::Bulk, &Message::Gone { reason, keys: keys.to_vec() });
            }
        }
        self.send_wants(core)
    }

    /// The part of a document that the requester does not know; `None` if it knows everything.
    fn answer(&mut self, doc: &StoredDoc, want: &Want) -> Option<TxnItem> {
        let dict = &mut self.bulk_out;
        let whole = |dict| Some(Shape::whole(&doc.doc).item(dict, &doc.collection, &doc.id));
        let Some(vv) = want.vv.as_ref().filter(|_| doc.doc.is_alive()) else { return whole(dict) };
        let local = doc.doc.vv();
        // Equal stamps may hide different values: from the beginning of time, or from a cloned store.
        if local.get(&ditto_types::SiteId::ZERO).is_some() || (vv.covers_all(&local) && local.covers_all(vv))
        {
            return whole(dict);
        }
        if vv.covers_all(&local) {
            return None;
        }
        let delta = doc.doc.delta(vv);
        let mut item = Shape::Delta(vv, &delta).item(dict, &doc.collection, &doc.id);
        if let Form::Delta(base) = &mut item.form
            && local.covers_all(vv)
        {
            item.form = Form::Newer(std::mem::take(base));
        }
        Some(item)
    }
}
