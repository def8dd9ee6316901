//! The sending role: serving subscriptions, and falling back to scans when a peer is slow.

use ditto_crdt::{DictWriter, Doc, VersionVector, encode};
use ditto_types::DocId;
use smol_str::SmolStr;

use super::bulk::Job;
use super::recon::SendRecon;
use super::session::Session;
use super::{Core, Fault};
use crate::limits::MAX_REASON_BYTES;
use crate::peer::Lane;
use crate::query::query_hash;
use crate::store::{StoredDoc, SyncStore};
use crate::wire::dict::LaneWriter;
use crate::wire::{Form, Message, SubAdd, SubMode, Subs, Subst, Txn, TxnItem};

/// Code of SUBST BAD: the query does not compile here.
const BAD_QUERY: u8 = 1;

/// A subscription of the peer.
pub(crate) struct SendSub<Q> {
    pub(crate) hash: [u8; 16],
    pub(crate) query: Q,
    pub(crate) collection: SmolStr,
    pub(crate) whole: bool,
    /// Commits after this one are pushed.
    pub(crate) token: u64,
    /// The comparison in progress, the fingerprints that were sent in it, and whether it was guessed what differs.
    pub(crate) recon: Option<SendRecon>,
    pub(crate) roots: u8,
    pub(crate) guessed: bool,
}

/// What to make of a document on the wire.
pub(crate) enum Shape<'a> {
    Full(&'a Doc),
    Delta(&'a VersionVector, &'a Doc),
    Tomb(&'a Doc),
}

impl<'a> Shape<'a> {
    /// The whole state.
    pub(crate) fn whole(doc: &'a Doc) -> Self {
        if doc.is_alive() { Shape::Full(doc) } else { Shape::Tomb(doc) }
    }

    pub(crate) fn item(self, dict: &mut LaneWriter, collection: &str, id: &DocId) -> TxnItem {
        let collection = dict.key_ref(collection);
        let (form, body) = match self {
            Shape::Full(doc) => (Form::Full, encode(doc, dict)),
            Shape::Tomb(doc) => (Form::Tomb, encode(doc, dict)),
            Shape::Delta(base, doc) => {
                let base = base.iter().map(|(site, hlc)| (dict.site_ref(site), hlc)).collect();
                (Form::Delta(base), encode(doc, dict))
            }
        };
        TxnItem { collection, id: id.clone(), form, body }
    }
}

impl<S: SyncStore> Session<S> {
    /// The peer changes its wishes.
    pub(crate) fn on_subs(&mut self, core: &mut Core<S>, m: Subs) -> Result<(), Fault> {
        if m.generation <= self.send.generation {
            return Err(Fault::Unexpected("SUBS"));
        }
        self.send.generation = m.generation;
        if let Some(staged) = &mut self.recv.staged {
            // The peer may have evicted since it sent the pages that are kept.
            staged.held = false;
        }
        for sid in m.drop {
            self.send.subs.remove(&sid);
            self.send.denied.remove(&sid);
            self.send.jobs.retain(|job| job.sid() != sid);
        }
        self.compare_roots(core)?;
        let mut unknown = Vec::new();
        for add in m.add {
            if let Some(sub) = self.send.subs.get(&add.sid) {
                // The text of a query that became known by another way in between.
                if sub.hash == add.hash {
                    continue;
                }
                return Err(Fault::DuplicateSid(add.sid));
            }
            if self.send.subs.len() + self.send.denied.len() >= core.config.max_subscriptions {
                return Err(Fault::TooManySubs(core.config.max_subscriptions));
            }
            if let Some(text) = &add.text
                && query_hash(&text.query, &text.args) != add.hash
            {
                return Err(Fault::QueryHash);
            }
            let query = match (core.known_query(&add.hash), &add.text) {
                (Some(query), _) => query,
                (None, None) => {
                    unknown.push(add.hash);
                    continue;
                }
                (None, Some(text)) => match core.store.compile(&text.query, &text.args) {
                    Ok(query) => {
                        core.cache.insert(add.hash, query.clone());
                        query
                    }
                    Err(e) => {
                        let text = shortened(e.to_string());
                        let mode = SubMode::Bad { code: BAD_QUERY, text };
                        let subst = Subst { sid: add.sid, mode, count: 0 };
                        self.put(core, Lane::Live, &Message::Subst(subst));
                        continue;
                    }
                },
            };
            let collection = core.store.collection(&query);
            if core.store.shares(collection) {
                self.serve(core, add, query)?;
            } else {
                let collection = SmolStr::new(collection);
                self.deny(core, add.sid, &collection);
            }
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            unknown.dedup();
            self.put(core, Lane::Live, &Message::NeedQ(unknown));
        }
        Ok(())
    }

    /// Starts to serve a subscription: from now on its commits are pushed, and a scan brings what is older.
    fn serve(&mut self, core: &mut Core<S>, add: SubAdd, query: S::Query) -> Result<(), Fault> {
        self.known.clear();
        if self.send.subs.is_empty() {
            self.send.pushed = core.processed;
        }
        let (sid, token) = (add.sid, core.processed);
        let (mode, count, job) = match add.cursor {
            Some(after) if after <= token => {
                let job = Job::Scan { sid, after, token, own: add.own };
                (SubMode::Resume, token - after, job)
            }
            _ if add.held == 0 => {
                // Only for the app's progress.
                let count = core.count(add.hash, &query)?;
                (SubMode::Full, count, Job::Full { sid, after: None, token })
            }
            _ => (SubMode::Recon, 0, Job::Root { sid, token }),
        };
        let sub = SendSub {
            hash: add.hash,
            collection: SmolStr::new(core.store.collection(&query)),
            whole: core.store.is_whole_collection(&query),
            query,
            token,
            recon: None,
            roots: 0,
            guessed: false,
        };
        self.send.collections.insert(sub.collection.clone());
        self.send.subs.insert(sid, sub);
        self.send.jobs.push_back(job);
        self.put(core, Lane::Live, &Message::Subst(Subst { sid, mode, count }));
        Ok(())
    }

    /// Drops subscriptions that pushes cannot serve: of a slow peer, or for a commit that is too large. The
    /// peer asks again when it comes to this message, behind all pushes, and gets a scan.
    pub(crate) fn restart(&mut self, core: &mut Core<S>, concerns: impl Fn(&SendSub<S::Query>) -> bool) {
        let sids: Vec<_> = self.send.subs.iter().filter(|(_, s)| concerns(s)).map(|(sid, _)| *sid).collect();
        self.send.jobs.retain(|job| !sids.contains(&job.sid()));
        for sid in sids {
            self.send.subs.remove(&sid);
            let subst = Subst { sid, mode: SubMode::Again, count: 0 };
            self.put(core, Lane::Live, &Message::Subst(subst));
        }
    }

    /// Sends whole documents on the live lane, outside of any commit.
    pub(crate) fn push_docs(&mut self, core: &mut Core<S>, docs: &[StoredDoc]) {
        let mut rest = docs.iter().peekable();
        while rest.peek().is_some() {
            self.live_out.begin();
            let mut size = 0;
            let mut items = Vec::new();
            while let Some(doc) = rest.next_if(|_| size < core.config.page_bytes) {
                let item = Shape::whole(&doc.doc).item(&mut self.live_out, &doc.collection, &doc.id);
                size += item.size();
                items.push(item);
                if doc.doc.is_alive() {
                    self.known.insert(doc.key, doc.digest.short());
                }
            }
            self.stats.documents_sent += items.len() as u64;
            let mut txn = Txn { first: true, last: true, items, ..Txn::default() };
            self.live_out.finish(&mut txn);
            self.put(core, Lane::Live, &Message::Txn(txn));
        }
    }

    /// Sends a token without documents, so that the peer's cursor follows commits that do not concern it.
    pub(crate) fn push_token(&mut self, core: &mut Core<S>) {
        if self.send.subs.is_empty() || self.send.pushed >= core.processed {
            return;
        }
        self.send.pushed = core.processed;
        let txn = Txn { first: true, last: true, token: Some(core.processed), ..Txn::default() };
        self.put(core, Lane::Live, &Message::Txn(txn));
    }
}

fn shortened(mut text: String) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
