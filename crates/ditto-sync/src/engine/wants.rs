//! Requests for documents: what is missing, what was asked for, what came.

use std::collections::{BTreeMap, BTreeSet};

use ditto_types::KeyHash;

use super::session::Session;
use super::{Core, Fault};
use crate::limits::{MAX_KEYS, MAX_MISSING};
use crate::peer::Lane;
use crate::store::SyncStore;
use crate::wire::{Message, Want};

/// Bytes of one WANT above which the next keys go into another.
const WANT_BYTES: usize = 256 << 10;

/// Documents to request from one peer.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    queued: BTreeSet<KeyHash>,
    /// Requested, and whether to request it again when the answer comes: the answer under way may be too old.
    inflight: BTreeMap<KeyHash, bool>,
    /// Queued ones that answer a request of the peer: it knows everything that is here, and more.
    back: BTreeSet<KeyHash>,
    /// When the requests in flight are repeated.
    pub(crate) deadline: Option<u64>,
    retries: u32,
}

impl Wants {
    /// Whether everything that was missing has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.inflight.is_empty()
    }

    pub(crate) fn is_inflight(&self, key: KeyHash) -> bool {
        self.inflight.contains_key(&key)
    }

    /// Adds a document, also if it was requested already.
    pub(crate) fn add(&mut self, key: KeyHash) -> Result<(), Fault> {
        if let Some(again) = self.inflight.get_mut(&key) {
            *again = true;
            return Ok(());
        }
        self.queued.insert(key);
        if self.queued.len() > MAX_MISSING {
            return Err(Fault::TooManyWants(MAX_MISSING));
        }
        Ok(())
    }

    /// Adds a document that the peer has asked for; `false` if it was requested already, so that asking answers nothing.
    pub(crate) fn add_back(&mut self, key: KeyHash) -> Result<bool, Fault> {
        let back = !self.is_inflight(key);
        self.add(key)?;
        if back {
            self.back.insert(key);
        }
        Ok(back)
    }

    /// Notes an answer.
    fn answered(&mut self, key: KeyHash, now: u64, timeout: u64) {
        let Some(again) = self.inflight.remove(&key) else { return };
        if again {
            self.queued.insert(key);
        }
        self.progress(now, timeout);
    }

    /// Notes that the bulk lane moves, so that answers may still be behind what comes.
    pub(crate) fn progress(&mut self, now: u64, timeout: u64) {
        self.retries = 0;
        self.deadline = (!self.inflight.is_empty()).then_some(now + timeout);
    }
}

impl<S: SyncStore> Session<S> {
    pub(crate) fn answered(&mut self, core: &Core<S>, key: KeyHash) {
        self.recv.wants.answered(key, core.now, core.config.want_timeout_ms);
    }

    /// Requests what is missing, if few enough requests are unanswered.
    pub(crate) fn send_wants(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let max = core.config.max_wants.max(1);
        while !self.recv.wants.queued.is_empty() && self.recv.wants.inflight.len() <= max / 2 {
            let room = (max - self.recv.wants.inflight.len()).min(MAX_KEYS);
            let mut keys = Vec::new();
            let mut size = 0;
            let (mut wants, mut back) = (Vec::new(), Vec::new());
            for key in self.recv.wants.queued.iter().take(room).copied() {
                let want = want(core, key)?;
                size += 9 + want.vv.as_ref().map_or(0, |vv| vv.len() * 26);
                if self.recv.wants.back.contains(&key) {
                    back.push(want)
                } else {
                    wants.push(want)
                }
                keys.push(key);
                if size > WANT_BYTES {
                    break;
                }
            }
            for key in keys {
                self.recv.wants.queued.remove(&key);
                self.recv.wants.back.remove(&key);
                self.recv.wants.inflight.insert(key, false);
            }
            self.recv.wants.deadline = Some(core.now + core.config.want_timeout_ms);
            for (wants, message) in [(wants, Message::Want as fn(_) -> _), (back, Message::WantBack)] {
                if !wants.is_empty() {
                    self.put(core, Lane::Live, &message(wants));
                }
            }
        }
        Ok(())
    }

    /// Repeats requests that nobody answers.
    pub(crate) fn retry_wants(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        if self.recv.wants.deadline.is_none_or(|t| t > core.now) {
            return Ok(());
        }
        if self.recv.wants.retries >= core.config.want_retries {
            return Err(Fault::WantTimeout);
        }
        self.recv.wants.retries += 1;
        // The second answer may come when nobody waits for it any more.
        self.recv.stale_bulk = Some(self.recv.next_sid);
        self.recv.wants.deadline = Some(core.now + core.config.want_timeout_ms);
        let keys: Vec<_> = self.recv.wants.inflight.keys().copied().collect();
        for chunk in keys.chunks(MAX_KEYS) {
            let wants = chunk.iter().map(|k| want(core, *k)).collect::<Result<_, _>>()?;
            self.put(core, Lane::Live, &Message::Want(wants));
        }
        Ok(())
    }
}

fn want<S: SyncStore>(core: &Core<S>, key: KeyHash) -> Result<Want, Fault> {
    let held = core.store.load(key)?;
    Ok(Want { key, vv: held.map(|d| d.doc.vv()).filter(|vv| !vv.is_empty()) })
}
