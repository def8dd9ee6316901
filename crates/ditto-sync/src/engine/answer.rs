//! Single documents: HAVE, HINT, WANT, GONE, and replies to peers that know less.

use ditto_types::KeyHash;

use super::session::Session;
use super::{Core, Fault};
use crate::limits::{MAX_KEYS, MAX_QUEUED_WANTS};
use crate::peer::Lane;
use crate::store::{StoredDoc, SyncStore};
use crate::wire::{KeyDigest, Keys, Message, Want};

impl<S: SyncStore> Session<S> {
    /// The receiver announces documents: tell it where we know something else.
    pub(crate) fn on_have(&mut self, core: &mut Core<S>, m: Keys) -> Result<(), Fault> {
        if let Some(token) = m.token {
            return self.on_offer(core, token, &m.keys);
        }
        // What only the peer has of views that both compare.
        if m.mark.is_some() && self.compares_the_same() {
            for (key, _) in &m.keys {
                if core.store.load(*key)?.is_none() {
                    self.recv.wants.add(*key)?;
                }
            }
            self.send_wants(core)?;
        }
        let (tombs, hints) = self.compare(core, &m.keys, |_| false)?;
        self.push_docs(core, &tombs);
        if m.mark.is_some() || !hints.is_empty() {
            self.put(core, Lane::Live, &Message::Hint(Keys { mark: m.mark, token: None, keys: hints }));
        }
        Ok(())
    }

    /// Of the documents that the receiver holds, the dead ones, and those that are in another state here, which it has
    /// not `got`.
    pub(crate) fn compare(
        &self,
        core: &Core<S>,
        keys: &[KeyDigest],
        got: impl Fn(&StoredDoc) -> bool,
    ) -> Result<(Vec<StoredDoc>, Vec<KeyDigest>), Fault> {
        let (mut tombs, mut hints) = (Vec::new(), Vec::new());
        for (key, digest) in keys {
            let Some(doc) = core.store.load(*key)? else { continue };
            if doc.digest.short() == *digest || !self.serves(core, &doc.collection) {
                continue;
            }
            if got(&doc) {
                continue;
            }
            if doc.doc.is_alive() {
                hints.push((*key, doc.digest.short()));
            } else {
                tombs.push(doc);
            }
        }
        Ok((tombs, hints))
    }

    /// Whether the peer subscribed to anything in the collection, and it is shared. Requests under way when subscriptions are
    /// dropped must still be answered: the receiver counts on what it gets.
    pub(crate) fn serves(&self, core: &Core<S>, collection: &str) -> bool {
        self.send.collections.contains(collection) && core.store.shares(collection)
    }

    /// Whether documents of the collection are being compared with the peer's.
    pub(crate) fn compares(&self, collection: &str) -> bool {
        self.recv.sids.values().any(|s| s.collection == collection && s.may_compare())
    }

    /// The sender has other states of documents that are out of its view: ask where it matters.
    pub(crate) fn on_hint(&mut self, core: &mut Core<S>, m: Keys) -> Result<(), Fault> {
        for (key, digest) in &m.keys {
            if self.recv.wants.is_inflight(*key) {
                self.recv.wants.add(*key)?;
                continue;
            }
            let Some(local) = core.store.load(*key)? else { continue };
            if local.digest.short() == *digest || !local.doc.is_alive() {
                continue;
            }
            let subs = self.recv.sids.values().filter(|s| s.collection == local.collection);
            let cares = subs
                .into_iter()
                .any(|s| core.store.matches(&s.query, &local.collection, &local.id, &local.doc));
            if cares {
                self.hinted.insert(*key, *digest);
                self.recv.wants.add(*key)?;
            }
        }
        self.send_wants(core)?;
        if let Some(mark) = m.mark {
            self.confirmed(core, mark)?;
        }
        Ok(())
    }

    /// The receiver requests documents.
    pub(crate) fn on_want(&mut self, wants: Vec<Want>) -> Result<(), Fault> {
        for want in wants {
            // A repeated request; the one in the queue is as good.
            if self.send.answering.insert(want.key) {
                self.send.answers.push_back(want);
            }
        }
        if self.send.answers.len() > MAX_QUEUED_WANTS {
            return Err(Fault::TooManyWants(MAX_QUEUED_WANTS));
        }
        Ok(())
    }

    /// Asked for documents, the peer asks for the same: it has nothing that is not here.
    pub(crate) fn on_want_back(&mut self, core: &mut Core<S>, wants: Vec<Want>) -> Result<(), Fault> {
        for want in &wants {
            self.answered(core, want.key);
        }
        self.on_want(wants)?;
        self.send_wants(core)?;
        self.settle_soon(core, 1);
        self.try_live(core)
    }

    /// The sender has no answer for these.
    pub(crate) fn on_gone(&mut self, core: &mut Core<S>, keys: &[KeyHash]) -> Result<(), Fault> {
        for key in keys {
            self.answered(core, *key);
        }
        self.send_wants(core)?;
        self.settle_soon(core, 1);
        self.try_live(core)
    }

    /// The peer sent documents of which this store knows more. If it subscribes to them it gets our state; if
    /// it only subscribes to the collection it is told that there is one.
    pub(crate) fn reply_newer(&mut self, core: &mut Core<S>, keys: &[KeyHash]) -> Result<(), Fault> {
        let (mut docs, mut hints) = (Vec::new(), Vec::new());
        let mut size = 0;
        for key in keys {
            let Some(local) = core.store.load(*key)? else { continue };
            let subs: Vec<_> = self.send.subs.values().filter(|s| s.collection == local.collection).collect();
            if subs.is_empty() || !core.store.shares(&local.collection) {
                continue;
            }
            let matches =
                subs.iter().any(|s| core.store.matches(&s.query, &local.collection, &local.id, &local.doc));
            if matches || !local.doc.is_alive() {
                size += 512;
                docs.push(local);
            } else {
                hints.push((*key, local.digest.short()));
            }
            if size > core.config.page_bytes {
                self.push_docs(core, &docs);
                docs.clear();
                size = 0;
            }
        }
        self.push_docs(core, &docs);
        for chunk in hints.chunks(MAX_KEYS) {
            self.put(
                core,
                Lane::Live,
                &Message::Hint(Keys { mark: None, token: None, keys: chunk.to_vec() }),
            );
        }
        Ok(())
    }
}
