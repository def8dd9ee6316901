//! The receiving role: asking for subscriptions and following them until they are LIVE.

use ditto_types::{Digest, KeyHash};
use smol_str::SmolStr;

use super::recon::Recon;
use super::session::{Mark, Session};
use super::{Core, Fault, Rule};
use crate::event::{Action, SyncProgress, SyncState};
use crate::limits::MAX_KEYS;
use crate::peer::Lane;
use crate::store::{ApplyBatch, Cursor, SyncStore};
use crate::wire::{KeyDigest, Message, Root, SubAdd, SubMode, SubText, Subs, Subst};

/// Wishes in one SUBS message.
const ADDS: usize = 64;

/// A subscription of ours at one peer.
pub(crate) struct RecvSub<Q> {
    pub(crate) hash: [u8; 16],
    pub(crate) query: Q,
    pub(crate) collection: SmolStr,
    /// The last commit handed in when the wish was made: changes up to it are in the wish.
    pub(crate) own_base: u64,
    /// Whether SUBST came on the live lane, and whether the scan came to its end on the bulk lane.
    pub(crate) announced: bool,
    pub(crate) finished: bool,
    /// What the scan in progress is.
    pub(crate) mode: Option<SubMode>,
    /// Token of the last finished scan.
    pub(crate) token: u64,
    pub(crate) total: u64,
    pub(crate) loaded: u64,
    pub(crate) live: bool,
    /// Whether the cursor must stay: a document was refused that may be accepted another time.
    pub(crate) frozen: bool,
    pub(crate) failed: Option<String>,
    pub(crate) recon: Option<Recon>,
    /// A fingerprint to compare with ours when the feed of commits has reached this one.
    pub(crate) root: Option<(Root, u64)>,
    /// Fingerprints that have come.
    pub(crate) roots: u8,
    /// Whether the end of a comparison is to be said when nothing is missing any more.
    pub(crate) ending: bool,
    pub(crate) text_sent: bool,
    /// The row as it was last read or written.
    pub(crate) row: Option<Cursor>,
    /// The row before the last write of this session.
    pub(crate) row_before: Option<Cursor>,
}

impl<Q> RecvSub<Q> {
    /// Whether it is being compared, or may be soon.
    pub(crate) fn may_compare(&self) -> bool {
        !self.finished && self.failed.is_none() && matches!(self.mode, None | Some(SubMode::Recon))
    }

    /// Whether its first load is under way.
    pub(crate) fn is_loading(&self) -> bool {
        !self.finished && self.failed.is_none() && self.mode == Some(SubMode::Full)
    }

    /// How far it is, for the app.
    pub(crate) fn state(&self) -> SyncState {
        if let Some(reason) = &self.failed {
            return SyncState::Failed { reason: reason.clone() };
        }
        if self.live {
            return SyncState::Live;
        }
        match &self.mode {
            None => SyncState::Connecting,
            Some(SubMode::Recon) if self.loaded == 0 => SyncState::Reconciling,
            Some(_) => SyncState::Loading { loaded: self.loaded, total: self.total.max(self.loaded) },
        }
    }
}

impl<S: SyncStore> Session<S> {
    /// Asks the peer for queries, each under a new number, which replaces the one it has.
    pub(crate) fn ask(&mut self, core: &mut Core<S>, hashes: &[[u8; 16]]) -> Result<(), Fault> {
        // In one message, so that the sender serves the query without a gap.
        let mut drop = self.withdraw(hashes);
        for chunk in hashes.chunks(ADDS) {
            let mut add = Vec::with_capacity(chunk.len());
            for hash in chunk {
                let Some(own) = core.queries.get(hash) else { continue };
                let sid = self.recv.next_sid;
                self.recv.next_sid += 1;
                self.recv.collections.insert(own.collection.clone());
                self.recv.by_hash.insert(*hash, sid);
                let sub = RecvSub {
                    hash: *hash,
                    query: own.query.clone(),
                    collection: own.collection.clone(),
                    own_base: core.processed,
                    announced: false,
                    finished: false,
                    mode: None,
                    token: 0,
                    total: 0,
                    loaded: 0,
                    live: false,
                    frozen: false,
                    failed: None,
                    recon: None,
                    root: None,
                    roots: 0,
                    ending: false,
                    text_sent: false,
                    row: None,
                    row_before: None,
                };
                self.recv.sids.insert(sid, sub);
                add.push(self.wish(core, sid, false)?);
                self.report(core, sid);
            }
            self.send_subs(core, add, std::mem::take(&mut drop));
        }
        Ok(())
    }

    /// Withdraws queries. Documents under way may still arrive and are merged.
    pub(crate) fn forget(&mut self, core: &mut Core<S>, hashes: &[[u8; 16]]) {
        for chunk in self.withdraw(hashes).chunks(MAX_KEYS) {
            self.send_subs(core, Vec::new(), chunk.to_vec());
        }
    }

    fn withdraw(&mut self, hashes: &[[u8; 16]]) -> Vec<u32> {
        let drop: Vec<_> = hashes.iter().filter_map(|h| self.recv.by_hash.remove(h)).collect();
        for sid in &drop {
            let live = self.recv.sids.remove(sid).is_some_and(|s| s.live);
            if !live || !self.recv.wants.is_empty() {
                self.recv.stale_bulk = Some(self.recv.next_sid);
            }
            self.recv.marks.retain(|_, m| *m != Mark::Extras(*sid));
        }
        drop
    }

    fn send_subs(&mut self, core: &mut Core<S>, add: Vec<SubAdd>, drop: Vec<u32>) {
        if add.is_empty() && drop.is_empty() {
            return;
        }
        self.recv.generation += 1;
        let generation = self.recv.generation;
        self.put(core, Lane::Live, &Message::Subs(Subs { generation, add, drop }));
    }

    /// A wish, computed from what the store holds now.
    fn wish(&mut self, core: &mut Core<S>, sid: u32, with_text: bool) -> Result<SubAdd, Fault> {
        let bulk_busy = self.recv.stale_bulk.is_some();
        let Some(sub) = self.recv.sids.get(&sid) else { return Err(Fault::Unexpected("NEEDQ")) };
        let key = self.cursor_key(sub.hash);
        let mut cursor = core.store.cursor(&key)?;
        let mut own = Vec::new();
        if let Some(c) = cursor.filter(|_| !core.broken(Rule::Own)) {
            match core.store.own_changes(&sub.query, c.own_seq, core.config.max_own)? {
                Some(keys) => own = keys.iter().map(short).collect(),
                None => {
                    cursor = None;
                    let delete_cursors = vec![key];
                    let seen_seq = core.processed;
                    let source = self.peer;
                    let (items, cursors) = (Vec::new(), Vec::new());
                    core.store.apply(ApplyBatch { source, items, cursors, delete_cursors, seen_seq })?;
                }
            }
        }
        let held = match cursor {
            Some(_) => 0,
            // After an EVICT, an older copy still on the bulk lane would slip in beside a FULL load.
            None => core.summary(sub.hash, &sub.query)?.count.max(bulk_busy.into()),
        };
        let text = match core.queries.get(&sub.hash) {
            Some(q) if with_text => Some(SubText { query: q.text.clone(), args: q.args.clone() }),
            _ => None,
        };
        let hash = sub.hash;
        if let Some(sub) = self.recv.sids.get_mut(&sid) {
            sub.own_base = core.processed;
            sub.text_sent |= with_text;
            sub.row = cursor;
        }
        Ok(SubAdd { sid, hash, text, prio: 1, cursor: cursor.map(|c| c.token), own, held })
    }

    /// Sends the text of queries that the peer does not know.
    pub(crate) fn on_needq(&mut self, core: &mut Core<S>, hashes: &[[u8; 16]]) -> Result<(), Fault> {
        let mut add = Vec::new();
        for hash in hashes {
            let Some(sid) = self.recv.by_hash.get(hash).copied() else { continue };
            let Some(sub) = self.recv.sids.get(&sid) else { continue };
            // A wish that was withdrawn and made again is asked about twice.
            if sub.announced {
                return Err(Fault::QueryAskedTwice);
            }
            if sub.text_sent {
                continue;
            }
            add.push(self.wish(core, sid, true)?);
        }
        let mut add = add.into_iter().peekable();
        while add.peek().is_some() {
            let chunk = add.by_ref().take(ADDS).collect();
            self.send_subs(core, chunk, Vec::new());
        }
        Ok(())
    }

    /// Notes how the peer serves a subscription.
    pub(crate) fn on_subst(&mut self, core: &mut Core<S>, m: Subst) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        match m.mode {
            SubMode::Bad { code, text } => sub.failed = Some(format!("refused with code {code}: {text}")),
            SubMode::Denied => sub.failed = Some("the peer does not share it".to_owned()),
            SubMode::Again => {
                let hash = sub.hash;
                return self.ask(core, &[hash]);
            }
            mode => {
                if sub.announced {
                    return Err(Fault::Unexpected("SUBST"));
                }
                sub.announced = true;
                sub.mode = Some(mode);
                sub.total = m.count;
            }
        }
        self.report(core, m.sid);
        self.try_live(core)
    }

    /// Notes that a scan came to its end on the bulk lane.
    pub(crate) fn finish_scan(&mut self, sid: u32, token: u64) {
        let Some(sub) = self.recv.sids.get_mut(&sid) else { return };
        sub.finished = true;
        sub.token = sub.token.max(token);
        if self.recv.stale_bulk.is_some_and(|from| sid >= from) {
            self.recv.stale_bulk = None;
        }
    }

    /// Lets subscriptions become LIVE for which everything has come, and writes their cursors.
    pub(crate) fn try_live(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        if !self.recv.wants.is_empty() && !core.broken(Rule::WantsBlockCursor) {
            return Ok(());
        }
        self.compare_roots(core)?;
        self.end_comparisons(core);
        let mut became = Vec::new();
        for (sid, sub) in &mut self.recv.sids {
            let ready = sub.finished && sub.announced && sub.recon.is_none();
            let confirmed = !self.recv.marks.values().any(|m| *m == Mark::Extras(*sid));
            if !sub.live && sub.failed.is_none() && ready && confirmed {
                sub.live = true;
                became.push(*sid);
            }
        }
        for sid in &became {
            self.report(core, *sid);
        }
        if !became.is_empty() {
            self.write_cursors(core)?;
        }
        self.acknowledge_soon(core);
        Ok(())
    }

    /// Reports the state of a subscription to the app.
    pub(crate) fn report(&self, core: &mut Core<S>, sid: u32) {
        let Some(sub) = self.recv.sids.get(&sid) else { return };
        let subs: Vec<_> = core.subs.iter().filter(|(_, h)| **h == sub.hash).map(|(s, _)| *s).collect();
        for s in subs {
            self.report_sub(core, s, &sub.hash);
        }
    }

    /// Reports the state of a query under one of the app's names for it.
    pub(crate) fn report_sub(&self, core: &mut Core<S>, sub: u64, hash: &[u8; 16]) {
        let Some(state) = self.recv.by_hash.get(hash).and_then(|sid| self.recv.sids.get(sid)) else { return };
        core.actions.push_back(Action::Progress(SyncProgress {
            peer: self.peer,
            sub,
            state: state.state(),
            documents_received: self.stats.documents_received,
            bytes_received: self.stats.bytes_received,
        }));
    }
}

/// A key with the low 8 bytes of its digest.
pub(crate) fn short(entry: &(KeyHash, Digest)) -> KeyDigest {
    (entry.0, entry.1.short())
}
