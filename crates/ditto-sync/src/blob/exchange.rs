//! The machine: lines, and what arrives on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::api::{BlobAction, BlobInput, BlobName, FetchEnd, FetchId, LineId, LineKind};
use super::find::{Asker, Lookup, Seen};
use super::limits::MAX_INCOMING;
use super::line::Line;
use super::store::BlobStore;
use super::transfer::Transfers;
use super::wire::Message;
use crate::peer::PeerId;

/// The exchange of blobs of one store.
///
/// Feed it with [`BlobExchange::handle`], then take actions with [`BlobExchange::poll`] until there are none, and hand in
/// [`BlobInput::Tick`] when [`BlobExchange::next_deadline`] has passed. Times are milliseconds of a clock that does not go
/// back.
pub struct BlobExchange<S: BlobStore> {
    pub(super) store: S,
    pub(super) me: PeerId,
    /// Draws numbers of questions and where a transfer begins.
    seed: u64,
    pub(super) lines: BTreeMap<LineId, Line>,
    pub(super) transfers: Transfers,
    /// Fetches that have not ended, by blob.
    pub(super) fetches: BTreeMap<FetchId, BlobName>,
    /// Blobs whose turn has not come.
    pub(super) waiting: VecDeque<BlobName>,
    /// Peers to which a circuit is being opened.
    pub(super) opening: BTreeSet<PeerId>,
    /// Our questions to the mesh.
    pub(super) questions: BTreeMap<u64, Asker>,
    pub(super) lookups: BTreeMap<u64, Lookup>,
    /// Questions of others.
    pub(super) seen: BTreeMap<(PeerId, u64), Seen>,
    pub(super) seen_order: VecDeque<(PeerId, u64)>,
    pub(super) actions: VecDeque<BlobAction<S::Error>>,
    pub(super) now: u64,
    wake: u64,
}

impl<S: BlobStore> BlobExchange<S> {
    /// An exchange over a store. `seed` is random.
    pub fn new(store: S, me: PeerId, seed: u64) -> Self {
        Self {
            store,
            me,
            seed,
            lines: BTreeMap::new(),
            transfers: BTreeMap::new(),
            fetches: BTreeMap::new(),
            waiting: VecDeque::new(),
            opening: BTreeSet::new(),
            questions: BTreeMap::new(),
            lookups: BTreeMap::new(),
            seen: BTreeMap::new(),
            seen_order: VecDeque::new(),
            actions: VecDeque::new(),
            now: 0,
            wake: u64::MAX,
        }
    }

    /// The store that it works on.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<BlobAction<S::Error>> {
        self.actions.pop_front()
    }

    /// When the next [`BlobInput::Tick`] is due; `None` while only other inputs can change anything.
    pub fn next_deadline(&self) -> Option<u64> {
        (self.wake != u64::MAX).then_some(self.wake)
    }

    /// Takes an input.
    pub fn handle(&mut self, input: BlobInput<S::Error>, now: u64) {
        self.now = self.now.max(now);
        match input {
            BlobInput::LineUp { line, peer, kind } => self.on_line_up(line, peer, kind),
            BlobInput::LineDown { line } => self.on_line_down(line),
            BlobInput::CircuitFailed { peer } => self.on_circuit_failed(peer),
            BlobInput::Message { line, bytes } => self.on_bytes(line, bytes),
            BlobInput::Queued { line, bytes } => {
                let now = self.now;
                if let Some(l) = self.lines.get_mut(&line) {
                    l.set_queued(bytes, now);
                }
                self.serve(line);
            }
            BlobInput::Fetch { fetch, name, timeout, unavailable_after } => {
                self.on_fetch(fetch, name, timeout, unavailable_after);
            }
            BlobInput::Cancel { fetch } => self.end_fetch(fetch, FetchEnd::Cancelled),
            BlobInput::Loaded { name, have } => self.on_loaded(name, have),
            BlobInput::Appeared { name } => self.tell_watchers(name),
            BlobInput::Locate { question, name, patience } => self.on_locate(question, name, patience),
            BlobInput::Tick => {}
        }
        if self.now >= self.wake {
            self.wake = u64::MAX;
            self.on_time();
        }
    }

    /// Asks for a tick at that time; now means at the end of this input.
    pub(super) fn wake_at(&mut self, at: u64) {
        self.wake = self.wake.min(at);
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn on_line_up(&mut self, line: LineId, peer: PeerId, kind: LineKind) {
        if kind == LineKind::Outgoing {
            self.opening.remove(&peer);
        }
        let incoming = |l: &&Line| l.kind == LineKind::Incoming;
        if kind == LineKind::Incoming && self.lines.values().filter(incoming).count() >= MAX_INCOMING {
            return self.actions.push_back(BlobAction::CloseLine { line });
        }
        self.lines.insert(line, Line::new(peer, kind, self.now));
        let now = self.now;
        let mut ask = Vec::new();
        for (name, transfer) in &mut self.transfers {
            let banned = transfer.banned.contains(&peer);
            let Some(active) = transfer.active() else { continue };
            match kind {
                LineKind::Direct => active.hurry(now),
                LineKind::Outgoing if active.holders.contains_key(&peer) => {}
                LineKind::Outgoing | LineKind::Incoming => continue,
            }
            if !banned {
                ask.push(*name);
            }
        }
        for name in ask {
            self.ask(line, name);
        }
        self.wake_at(now);
    }

    fn on_line_down(&mut self, line: LineId) {
        let Some(gone) = self.lines.remove(&line) else { return };
        let now = self.now;
        for transfer in self.transfers.values_mut() {
            let Some(active) = transfer.active() else { continue };
            if active.sources.remove(&line).is_none() {
                continue;
            }
            active.withdraw(line, |_| true);
            if let Some(holder) = active.holders.get_mut(&gone.peer) {
                holder.failed(now);
            }
        }
        self.pump_all();
        self.wake_at(now);
    }

    fn on_bytes(&mut self, line: LineId, bytes: Vec<u8>) {
        if !self.lines.contains_key(&line) {
            return;
        }
        let message = match Message::decode(bytes) {
            Ok(message) => message,
            Err(e) => return self.violation(line, format!("blobs: {e}")),
        };
        match message {
            Message::Ask(name) => self.on_ask(line, name),
            Message::Drop(name) => self.on_drop(line, name),
            Message::Get(name, index) => self.on_get(line, name, index),
            Message::Cancel(name, index) => self.on_cancel(line, name, index),
            Message::Have(name, held) => self.on_have(line, name, held),
            Message::Data(name, index, chunk) => self.on_data(line, name, index, chunk),
            Message::Find(find) => self.on_find(line, find),
            Message::Found(found) => self.on_found(line, found),
        }
    }

    /// The peer broke the protocol; nothing of the line counts any more.
    pub(super) fn violation(&mut self, line: LineId, reason: String) {
        self.on_line_down(line);
        self.actions.push_back(BlobAction::Violation { line, reason });
    }

    pub(super) fn send(&mut self, line: LineId, message: &Message) {
        let Some(l) = self.lines.get_mut(&line) else { return };
        let bytes = message.encode();
        l.sent(bytes.len(), self.now);
        self.actions.push_back(BlobAction::Send { line, bytes });
    }
}
