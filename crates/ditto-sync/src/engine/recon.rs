//! Reconciliation: comparing the sender's view with what the receiver holds.
//!
//! The sender states its view's fingerprint (ROOT). If ours is the same, nothing else is said. If not, we send the
//! counters of our view (RECGO), from which the sender estimates the difference and sends a first run of symbols. What
//! they tell is requested (WANT) or announced (HAVE); if they do not suffice we ask for more, and for a listing when
//! that does not help. A sender lists at once when that is shorter.
//!
//! What came last differs more often than the rest. Where the counters show that it does, the sender sends its last
//! commits at once, and a new fingerprint after them (`recent`).
//!
//! Where both peers ask for the same query and differ, one comparison serves both: requests carry what the requester
//! knows, so that the peer asks back for what it lacks. The peer with the higher number is asked; the other one answers
//! with a new fingerprint, when its own comparison is over, requests included. Mostly it is the same then. A peer that
//! still loads the documents does likewise. The other one also asks last, so that nothing is asked for that it could
//! have sent as its last commits.

use std::sync::Arc;

use ditto_types::KeyHash;

use super::bulk::Job;
use super::receive::{RecvSub, short};
use super::sender::SendSub;
use super::session::{Mark, Session};
use super::{Core, Fault, Rule, number};
use crate::limits::{MAX_KEYS, MAX_MISSING, MAX_SYMBOLS};
use crate::peer::Lane;
use crate::sketch::{Decoder, Entry, SYMBOL_BYTES, Sketch, Summary, Symbol};
use crate::store::SyncStore;
use crate::wire::{Ask, KeyDigest, Keys, List, Message, Root, Symbols};

/// Bytes of an entry of a listing.
const ENTRY_BYTES: u64 = 15;

/// Fingerprints in one comparison: the first, one after the last commits, one after the peer's own comparison, and one
/// more where both have sent their last commits. With more, what comes next are symbols.
const MAX_ROOTS: u8 = 4;

/// The receiver's side of a comparison.
pub(crate) struct Recon {
    token: u64,
    phase: Phase,
    /// Keys that only this store has, to be announced.
    extras: Vec<KeyDigest>,
}

enum Phase {
    /// Asked for symbols or a listing.
    Asked {
        symbols: bool,
    },
    Symbols {
        /// This store's symbols when the first ones came.
        ours: Arc<Vec<Symbol>>,
        decoder: Decoder,
        /// Whether more symbols were asked for than have come.
        waiting: bool,
    },
    Listing(Listing),
    /// Known what differs.
    Done,
}

#[derive(Default)]
struct Listing {
    /// What this store holds in the view, ascending, and how far the listing has come in it.
    view: Vec<KeyDigest>,
    at: usize,
    /// The last key listed.
    last: Option<KeyHash>,
    listed: u64,
}

/// The sender's side of a comparison.
pub(crate) enum SendRecon {
    /// ROOT waits for its answer.
    RootSent {
        count: u64,
        sum: u128,
    },
    /// Another ROOT is on its way, perhaps behind what came last.
    Recent,
    /// The symbols when the receiver asked first, and how many of them were handed out.
    Symbols {
        symbols: Arc<Vec<Symbol>>,
        sent: usize,
    },
    Listing,
}

impl<S: SyncStore> Session<S> {
    /// Compares the sender's fingerprint with ours.
    pub(crate) fn on_root(&mut self, core: &mut Core<S>, m: Root) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        // Another one may come instead of symbols.
        let again = matches!(sub.recon, Some(Recon { phase: Phase::Asked { .. }, .. }));
        sub.roots += 1;
        if sub.finished || (sub.recon.is_some() && !again) || sub.root.is_some() || sub.roots > MAX_ROOTS {
            return Err(Fault::Unexpected("ROOT"));
        }
        sub.recon = None;
        let head = if core.broken(Rule::RootWaits) { 0 } else { core.store.head() };
        sub.root = Some((m, head));
        self.compare_roots(core)
    }

    /// Compares the fingerprints that came, as soon as the feed of commits has reached what the store held then:
    /// documents from this peer that arrived before the fingerprint must be in our sums. One that comes after comparing
    /// waits for what was requested meanwhile, too.
    pub(crate) fn compare_roots(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let missing = !self.recv.wants.is_empty();
        let due = |s: &RecvSub<S::Query>| {
            s.root.as_ref().is_some_and(|(_, head)| *head <= core.processed) && (s.roots < 2 || !missing)
        };
        let list_docs = core.config.list_docs;
        let lower = number(&core.store.identity().store_id) < number(&self.store_id);
        let sids: Vec<_> = self.recv.sids.iter().filter(|(_, s)| due(s)).map(|(sid, _)| *sid).collect();
        for sid in sids {
            let Some(sub) = self.recv.sids.get_mut(&sid) else { continue };
            let Some((root, head)) = sub.root.take() else { continue };
            let ours = core.summary(sub.hash, &sub.query)?;
            if (root.count, root.sum) == (ours.count, ours.sum) {
                self.put(core, Lane::Live, &Message::RecOk { sid });
                self.finish_scan(sid, root.token);
                self.try_live(core)?;
                continue;
            }
            // What the peer says of our fingerprint may lead to sending it what came last, and then to none of this.
            let asked = |s: &SendSub<S::Query>| {
                s.hash == sub.hash && matches!(s.recon, Some(SendRecon::RootSent { .. } | SendRecon::Recent))
            };
            if lower && self.send.subs.values().any(asked) {
                sub.root = Some((root, head));
                continue;
            }
            // The counters cost as much as a listing of a few documents.
            let symbols = root.count > list_docs;
            let ask = if symbols { Ask::Sketch(ours.sketch()) } else { Ask::List };
            sub.total = root.count;
            let phase = Phase::Asked { symbols };
            sub.recon = Some(Recon { token: root.token, phase, extras: Vec::new() });
            self.put(core, Lane::Live, &Message::RecGo { sid, ask });
            self.report(core, sid);
        }
        Ok(())
    }

    /// Takes in symbols of the sender.
    pub(crate) fn on_symbols(&mut self, core: &mut Core<S>, m: Symbols) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        let Some(recon) = &mut sub.recon else { return Err(Fault::Unexpected("SYM")) };
        if let Phase::Asked { symbols: true } = recon.phase {
            // The first run and as many again; if that is not enough, the estimate was far off.
            let run = m.more.saturating_add(m.symbols.len() as u64).saturating_mul(2);
            let n = usize::try_from(run).unwrap_or(MAX_SYMBOLS).min(MAX_SYMBOLS);
            let ours = core.symbols(sub.hash, &sub.query, n)?;
            recon.phase = Phase::Symbols { ours, decoder: Decoder::default(), waiting: true };
        }
        let Phase::Symbols { ours, decoder, waiting } = &mut recon.phase else {
            return Err(Fault::Unexpected("SYM"));
        };
        let at = decoder.len();
        let mine = ours.get(at..at + m.symbols.len()).filter(|_| *waiting && m.index == at as u64);
        let Some(mine) = mine else { return Err(Fault::Unexpected("SYM")) };
        decoder.extend(&m.symbols, mine);
        *waiting = m.more > 0;
        if let Some(found) = decoder.differences() {
            recon.phase = Phase::Done;
            for difference in found {
                let held = core.store.load(difference.key)?.filter(|d| d.doc.is_alive());
                match held {
                    Some(doc) if difference.is_ours_alone(Entry::new(doc.key, &doc.digest).weight) => {
                        recon.extras.push((doc.key, doc.digest.short()));
                    }
                    _ => self.recv.wants.add(difference.key)?,
                }
            }
            self.next_extras(core, m.sid)?;
            return self.send_wants(core);
        }
        if m.more > 0 {
            return Ok(());
        }
        let needed = decoder.needed().filter(|n| *n <= ours.len());
        let ask = match needed {
            Some(n) => {
                *waiting = true;
                Ask::More { symbols: (n - decoder.len()) as u64 }
            }
            None => {
                recon.phase = Phase::Asked { symbols: false };
                Ask::List
            }
        };
        self.put(core, Lane::Live, &Message::RecGo { sid: m.sid, ask });
        Ok(())
    }

    /// Takes in a part of the sender's listing.
    pub(crate) fn on_list(&mut self, core: &mut Core<S>, m: List) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&m.sid) else { return Ok(()) };
        let Some(recon) = &mut sub.recon else { return Err(Fault::Unexpected("LIST")) };
        let asked = match &recon.phase {
            Phase::Asked { .. } => true,
            // The sender has no more symbols.
            Phase::Symbols { waiting, .. } => *waiting,
            Phase::Listing(_) | Phase::Done => false,
        };
        if asked {
            let view = core.sorted_view(&sub.query)?;
            recon.phase = Phase::Listing(Listing { view, ..Listing::default() });
        }
        let Phase::Listing(list) = &mut recon.phase else { return Err(Fault::Unexpected("LIST")) };
        list.listed += m.keys.len() as u64;
        if list.listed > MAX_MISSING as u64 {
            return Err(Fault::TooManyWants(MAX_MISSING));
        }
        for (key, digest) in m.keys {
            if list.last.is_some_and(|last| key <= last) {
                return Err(Fault::ListOrder);
            }
            list.last = Some(key);
            while let Some(mine) = list.view.get(list.at).filter(|mine| mine.0 < key) {
                recon.extras.push(*mine);
                list.at += 1;
            }
            let same = match list.view.get(list.at).filter(|mine| mine.0 == key) {
                Some(mine) => {
                    list.at += 1;
                    mine.1 == digest
                }
                None => false,
            };
            if !same {
                self.recv.wants.add(key)?;
            }
        }
        if m.last {
            recon.extras.extend_from_slice(&list.view[list.at..]);
            recon.phase = Phase::Done;
            self.next_extras(core, m.sid)?;
        }
        self.send_wants(core)
    }

    /// Announces what only this store has, one message at a time; then the comparison is over.
    fn next_extras(&mut self, core: &mut Core<S>, sid: u32) -> Result<(), Fault> {
        let Some(sub) = self.recv.sids.get_mut(&sid) else { return Ok(()) };
        let Some(recon) = &mut sub.recon else { return Ok(()) };
        let n = recon.extras.len().min(MAX_KEYS);
        if n > 0 {
            let keys = recon.extras.split_off(recon.extras.len() - n);
            let mark = self.new_mark(Mark::Extras(sid));
            self.put(core, Lane::Live, &Message::Have(Keys { mark: Some(mark), token: None, keys }));
            return Ok(());
        }
        let token = recon.token;
        sub.recon = None;
        sub.ending = true;
        self.finish_scan(sid, token);
        self.try_live(core)
    }

    /// Says that comparisons are over whose requests are answered: the peer may wait for that to compare.
    pub(crate) fn end_comparisons(&mut self, core: &mut Core<S>) {
        let ended = |(sid, s): (&u32, &mut RecvSub<S::Query>)| std::mem::take(&mut s.ending).then_some(*sid);
        let sids: Vec<_> = self.recv.sids.iter_mut().filter_map(ended).collect();
        for sid in sids {
            self.put(core, Lane::Live, &Message::RecEnd { sid, ok: true });
        }
    }

    /// The sender has looked at a part of what only this store has.
    pub(crate) fn extras_confirmed(&mut self, core: &mut Core<S>, sid: u32) -> Result<(), Fault> {
        self.next_extras(core, sid)
    }

    /// The receiver's view differs: send what came last, symbols of ours, or list it.
    pub(crate) fn on_recgo(&mut self, core: &mut Core<S>, sid: u32, ask: &Ask) -> Result<(), Fault> {
        let Some(sub) = self.send.subs.get_mut(&sid) else { return Ok(()) };
        // What a first load brings is nobody's view that symbols are kept of.
        let listed = core.store.is_bounded(&sub.query);
        let more_roots = sub.roots < MAX_ROOTS && !listed;
        match (sub.recon.take(), ask) {
            (Some(SendRecon::RootSent { count, sum }), Ask::Sketch(_) | Ask::List) if more_roots => {
                let (hash, token) = (sub.hash, sub.token);
                let ours = core.summary(hash, &sub.query)?;
                if (ours.count, ours.sum) != (count, sum) {
                    // Something has come meanwhile, perhaps what made the difference.
                    sub.recon = Some(SendRecon::Recent);
                    self.send.jobs.push_back(Job::Root { sid, token });
                    return Ok(());
                }
                let ours = ours.clone();
                match ask {
                    Ask::Sketch(theirs) => return self.on_sketch(core, sid, &ours, theirs),
                    _ if self.goes_first(core, &hash) => drop(self.send.waiting.insert(sid)),
                    _ => self.send_symbols(sid, Arc::default(), 0, 0),
                }
            }
            (Some(SendRecon::RootSent { .. }), Ask::Sketch(theirs)) if !listed => {
                let ours = core.summary(sub.hash, &sub.query)?.clone();
                self.first_symbols(core, sid, &ours, theirs)?;
            }
            (Some(SendRecon::Symbols { symbols, sent }), Ask::More { symbols: n }) => {
                let rest = symbols.len() - sent;
                let n = usize::try_from(*n).unwrap_or(usize::MAX).min(rest);
                self.send_symbols(sid, symbols, sent, n);
            }
            (Some(SendRecon::RootSent { .. }), Ask::Sketch(_) | Ask::List)
            | (Some(SendRecon::Symbols { .. }), Ask::List) => self.send_symbols(sid, Arc::default(), 0, 0),
            _ => return Err(Fault::Unexpected("RECGO")),
        }
        Ok(())
    }

    /// Answers with what is shortest.
    fn on_sketch(
        &mut self,
        core: &mut Core<S>,
        sid: u32,
        ours: &Summary,
        theirs: &Sketch,
    ) -> Result<(), Fault> {
        let Some(sub) = self.send.subs.get_mut(&sid) else { return Ok(()) };
        if !std::mem::replace(&mut sub.guessed, true) {
            let last = core.recent_difference(&sub.query, ours, theirs)?;
            if let Some(after) = last {
                let token = sub.token;
                sub.recon = Some(SendRecon::Recent);
                self.send.jobs.push_back(Job::Recent { sid, after, token });
                return Ok(());
            }
        }
        let hash = sub.hash;
        if self.goes_first(core, &hash) {
            self.send.waiting.insert(sid);
            return Ok(());
        }
        self.first_symbols(core, sid, ours, theirs)
    }

    fn first_symbols(
        &mut self,
        core: &mut Core<S>,
        sid: u32,
        ours: &Summary,
        theirs: &Sketch,
    ) -> Result<(), Fault> {
        let Some(sub) = self.send.subs.get_mut(&sid) else { return Ok(()) };
        match first_run(ours, theirs) {
            Some(n) => {
                let symbols = core.symbols(sub.hash, &sub.query, (n * 2).min(MAX_SYMBOLS))?;
                self.send_symbols(sid, symbols, 0, n);
            }
            None => self.send_symbols(sid, Arc::default(), 0, 0),
        }
        Ok(())
    }

    /// Sends the next `n` symbols; a listing if there are none.
    fn send_symbols(&mut self, sid: u32, symbols: Arc<Vec<Symbol>>, sent: usize, n: usize) {
        let Some(sub) = self.send.subs.get_mut(&sid) else { return };
        self.send.jobs.push_back(if n == 0 {
            sub.recon = Some(SendRecon::Listing);
            Job::List { sid, entries: None, at: 0 }
        } else {
            sub.recon = Some(SendRecon::Symbols { symbols: symbols.clone(), sent: sent + n });
            Job::Symbols { sid, symbols, at: sent, end: sent + n }
        });
    }

    /// Whether the peer is to wait until this store has loaded the query's documents from it, or has compared its view
    /// with the peer's. Of two peers that compare only the one with the lower number says so.
    fn goes_first(&self, core: &Core<S>, hash: &[u8; 16]) -> bool {
        let Some(sub) = self.recv.by_hash.get(hash).and_then(|sid| self.recv.sids.get(sid)) else {
            return false;
        };
        let lower = number(&core.store.identity().store_id) < number(&self.store_id);
        sub.is_loading() || (lower && sub.may_compare())
    }

    /// Gives a new fingerprint to those who waited for the end of our own comparison.
    pub(crate) fn answer_waiting(&mut self, core: &Core<S>) {
        if self.send.waiting.is_empty() || !self.recv.wants.is_empty() {
            return;
        }
        for sid in std::mem::take(&mut self.send.waiting) {
            let Some(sub) = self.send.subs.get(&sid) else { continue };
            if self.goes_first(core, &sub.hash) {
                self.send.waiting.insert(sid);
            } else {
                // With the token of the first one: what was pushed since may be under way.
                let token = sub.token;
                self.send.jobs.push_back(Job::Root { sid, token });
            }
        }
    }

    /// Whether everything that the peer compares as receiver now is compared by this store, too, so that documents of
    /// the peer that are not here belong here.
    pub(crate) fn compares_the_same(&self) -> bool {
        let compares = |hash| {
            let sub = self.recv.by_hash.get(hash).and_then(|sid| self.recv.sids.get(sid));
            sub.is_some_and(RecvSub::may_compare)
        };
        let mut compared = self.send.subs.values().filter(|s| s.recon.is_some()).peekable();
        compared.peek().is_some() && compared.all(|s| compares(&s.hash))
    }

    /// The receiver is done with a comparison.
    pub(crate) fn on_reconciled(&mut self, core: &mut Core<S>, sid: u32) -> Result<(), Fault> {
        if let Some(sub) = self.send.subs.get_mut(&sid) {
            sub.recon = None;
        }
        self.compare_roots(core)
    }
}

impl<S: SyncStore> Core<S> {
    /// Keys and versions of a view, ascending.
    pub(crate) fn sorted_view(&self, query: &S::Query) -> Result<Vec<KeyDigest>, Fault> {
        let mut view = Vec::new();
        self.store.scan_view(query, &mut |key, digest| view.push(short(&(key, digest))))?;
        Ok(sorted(view))
    }

    /// As [`Core::sorted_view`], of what a first load brings.
    pub(crate) fn first_view(&self, query: &S::Query) -> Result<Vec<KeyDigest>, Fault> {
        let mut view = Vec::new();
        self.store.first_view(query, &mut |key, digest| view.push(short(&(key, digest))))?;
        Ok(sorted(view))
    }

    /// Number and fingerprint of what a first load brings.
    pub(crate) fn first_summary(&self, query: &S::Query) -> Result<Summary, Fault> {
        let mut summary = Summary::default();
        self.store.first_view(query, &mut |key, digest| summary.add(&Entry::new(key, &digest)))?;
        Ok(summary)
    }
}

fn sorted(mut view: Vec<KeyDigest>) -> Vec<KeyDigest> {
    view.sort_unstable();
    view.dedup_by_key(|entry| entry.0);
    view
}

/// Symbols to begin with; `None` if a listing is shorter.
fn first_run(ours: &Summary, theirs: &Sketch) -> Option<usize> {
    let differences = ours.difference(theirs);
    // Few symbols more than needed cost less than asking once more, many do not.
    let first = differences.saturating_mul(9) / 8 + 12 + differences.min(64) / 4;
    let likely = differences.saturating_mul(3) / 2;
    let worth = likely.saturating_mul(SYMBOL_BYTES as u64) < ours.count.saturating_mul(ENTRY_BYTES);
    usize::try_from(first).ok().filter(|n| worth && *n <= MAX_SYMBOLS / 2)
}
