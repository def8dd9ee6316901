//! The receiving side: fetches of the app, and which chunk is asked of whom.

use std::collections::btree_map::Entry;

use super::api::{BlobAction, BlobName, FetchEnd, FetchId, LineId, LineKind};
use super::chunks::{ChunkSet, Held};
use super::exchange::BlobExchange;
use super::limits::{HAVE_MS, MAX_ACTIVE, TAKE_OVER_MS};
use super::store::{BlobChunk, BlobPut, BlobStore};
use super::transfer::{Active, Phase, Transfer, Wish};
use super::wire::Message;

impl<S: BlobStore> BlobExchange<S> {
    pub(super) fn on_fetch(
        &mut self,
        fetch: FetchId,
        name: BlobName,
        timeout: Option<u64>,
        unavailable_after: Option<u64>,
    ) {
        let wish = Wish { timeout_at: timeout.map(|t| self.now.saturating_add(t)), unavailable_after };
        self.fetches.insert(fetch, name);
        if !self.transfers.contains_key(&name) {
            self.waiting.push_back(name);
        }
        let transfer = self.transfers.entry(name).or_insert_with(Transfer::new);
        transfer.fetches.insert(fetch, wish);
        if let Some(active) = transfer.active() {
            let bytes = active.have.bytes(name.len);
            self.actions.push_back(BlobAction::Progress { fetch, bytes });
        }
        self.start_waiting();
        self.wake_at(self.now);
    }

    /// Lets blobs that wait have their turn.
    pub(super) fn start_waiting(&mut self) {
        let waits = |t: &&Transfer| !matches!(t.phase, Phase::Waiting);
        let mut running = self.transfers.values().filter(waits).count();
        while running < MAX_ACTIVE
            && let Some(name) = self.waiting.pop_front()
        {
            let Some(transfer) = self.transfers.get_mut(&name) else { continue };
            transfer.phase = Phase::Loading;
            running += 1;
            self.actions.push_back(BlobAction::Load { name });
        }
    }

    pub(super) fn on_loaded(&mut self, name: BlobName, have: Result<ChunkSet, S::Error>) {
        let (start, question) = (self.draw(), self.draw());
        let now = self.now;
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        if !matches!(transfer.phase, Phase::Loading) {
            return;
        }
        let have = match have {
            Ok(have) => have,
            Err(e) => return self.end_transfer(name, FetchEnd::Failed(e)),
        };
        if transfer.fetches.is_empty() {
            // Cancelled meanwhile.
            return self.end_transfer(name, FetchEnd::Cancelled);
        }
        if have.is_full() {
            return self.end_transfer(name, FetchEnd::Completed);
        }
        let bytes = have.bytes(name.len);
        for fetch in transfer.fetches.keys() {
            self.actions.push_back(BlobAction::Progress { fetch: *fetch, bytes });
        }
        transfer.phase = Phase::Active(Box::new(Active::new(have, start, question, now)));
        let direct = self.lines.iter().filter(|(_, l)| l.is_direct());
        for line in direct.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.ask(line, name);
        }
        self.wake_at(now);
    }

    /// Asks a peer what it has of a blob.
    pub(super) fn ask(&mut self, line: LineId, name: BlobName) {
        let Some(peer) = self.lines.get(&line).map(|l| l.peer) else { return };
        let Some(transfer) = self.transfers.get_mut(&name).filter(|t| !t.banned.contains(&peer)) else {
            return;
        };
        let Some(active) = transfer.active() else { return };
        if let Entry::Vacant(source) = active.sources.entry(line) {
            source.insert(None);
            self.send(line, &Message::Ask(name));
        }
    }

    pub(super) fn on_have(&mut self, line: LineId, name: BlobName, held: Held) {
        let now = self.now;
        let Some(l) = self.lines.get_mut(&line) else { return };
        let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) else { return };
        // What nobody asked for says nothing.
        let Some(known) = active.sources.get_mut(&line) else { return };
        let nothing = held == Held::Nothing;
        *known = Some(held);
        let lost = match known {
            Some(held) => {
                let held = held.clone();
                active.withdraw(line, |index| !held.contains(index))
            }
            None => 0,
        };
        l.outstanding = l.outstanding.saturating_sub(lost);
        if nothing && l.kind == LineKind::Outgoing {
            active.sources.remove(&line);
            if let Some(holder) = active.holders.get_mut(&l.peer) {
                holder.failed(now);
            }
            self.send(line, &Message::Drop(name));
        }
        if lost > 0 {
            self.pump_all()
        } else {
            self.pump(line)
        }
        self.wake_at(now);
    }

    /// Asks a peer for chunks, as many as its line may have under way.
    pub(super) fn pump(&mut self, line: LineId) {
        let now = self.now;
        while let Some(l) = self.lines.get_mut(&line).filter(|l| l.outstanding < l.window()) {
            // Blobs take turns.
            let after = |name: &BlobName| l.turn.is_some_and(|turn| *name <= turn);
            let wanted = |(name, t): (&BlobName, &mut Transfer)| {
                let index = t.active()?.pick(line)?;
                Some((after(name), *name, index))
            };
            let Some((_, name, index)) = self.transfers.iter_mut().filter_map(wanted).min() else { break };
            (l.turn, l.outstanding) = (Some(name), l.outstanding + 1);
            if let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) {
                active.request(index, line, now);
            }
            self.send(line, &Message::Get(name, index));
            self.wake_at(now + TAKE_OVER_MS);
        }
    }

    pub(super) fn pump_all(&mut self) {
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.pump(line);
        }
    }

    /// Lets an idle source send what another one is late with, so that the slowest does not decide when a blob is here.
    pub(super) fn take_over(&mut self, line: LineId) {
        let now = self.now;
        let Some(l) = self.lines.get_mut(&line).filter(|l| l.outstanding == 0) else { return };
        let Some(before) = now.checked_sub(TAKE_OVER_MS.max(3 * l.pace.unwrap_or(0))) else { return };
        let late = |(name, t): (&BlobName, &mut Transfer)| Some((*name, t.active()?.overdue(line, before)?));
        let Some((name, index)) = self.transfers.iter_mut().find_map(late) else { return };
        l.outstanding += 1;
        if let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) {
            active.request(index, line, now);
        }
        self.send(line, &Message::Get(name, index));
    }

    pub(super) fn on_data(&mut self, line: LineId, name: BlobName, index: u64, chunk: BlobChunk) {
        let now = self.now;
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        let Some(active) = transfer.active() else { return };
        // One that comes although it was taken back is as good as others, if it is of somebody who was asked at all.
        if !active.sources.contains_key(&line) || active.have.contains(index) {
            return;
        }
        let asked = active.pending.remove(&index).unwrap_or_default();
        // Until it is kept it is neither here nor asked for.
        active.taken.remove(index);
        for (other, at) in asked {
            if let Some(l) = self.lines.get_mut(&other) {
                l.outstanding = l.outstanding.saturating_sub(1);
                if other == line {
                    l.came(at, now);
                }
            }
            if other != line {
                self.send(other, &Message::Cancel(name, index));
            }
        }
        match self.store.put(name, index, chunk) {
            Ok(BlobPut::Kept) => self.kept(name, index),
            Ok(BlobPut::Complete) => self.end_transfer(name, FetchEnd::Completed),
            Ok(BlobPut::Refused) => self.distrust(line, name),
            Err(e) => self.end_transfer(name, FetchEnd::Failed(e)),
        }
        self.pump(line);
    }

    fn kept(&mut self, name: BlobName, index: u64) {
        let now = self.now;
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        let Some(active) = transfer.active() else { return };
        active.taken.insert(index);
        active.have.insert(index);
        active.last_chunk = now;
        active.untold.get_or_insert(now);
        let bytes = active.have.bytes(name.len);
        for fetch in transfer.fetches.keys() {
            self.actions.push_back(BlobAction::Progress { fetch: *fetch, bytes });
        }
        self.wake_at(now + HAVE_MS);
    }

    /// A chunk of this peer was wrong: it is not asked for the blob any more.
    fn distrust(&mut self, line: LineId, name: BlobName) {
        let Some(peer) = self.lines.get(&line).map(|l| l.peer) else { return };
        if let Some(transfer) = self.transfers.get_mut(&name) {
            transfer.banned.insert(peer);
            if let Some(active) = transfer.active() {
                active.holders.remove(&peer);
            }
        }
        let of_peer = self.lines.iter().filter(|(_, l)| l.peer == peer);
        for line in of_peer.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.leave(line, name);
        }
        self.actions.push_back(BlobAction::Distrusted { peer, name });
        self.pump_all();
        self.wake_at(self.now);
    }

    /// Wants nothing of a blob from a peer any more.
    fn leave(&mut self, line: LineId, name: BlobName) {
        let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) else { return };
        if active.sources.remove(&line).is_none() {
            return;
        }
        let withdrawn = active.withdraw(line, |_| true);
        if let Some(l) = self.lines.get_mut(&line) {
            l.outstanding = l.outstanding.saturating_sub(withdrawn);
        }
        self.send(line, &Message::Drop(name));
    }

    /// Ends one fetch, and the transfer if it was the last.
    pub(super) fn end_fetch(&mut self, fetch: FetchId, end: FetchEnd<S::Error>) {
        let Some(name) = self.fetches.remove(&fetch) else { return };
        self.actions.push_back(BlobAction::Ended { fetch, end });
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        transfer.fetches.remove(&fetch);
        // What is being read comes back first.
        if transfer.fetches.is_empty() && !matches!(transfer.phase, Phase::Loading) {
            self.end_transfer(name, FetchEnd::Cancelled);
        }
    }

    /// Ends a transfer and its fetches.
    pub(super) fn end_transfer(&mut self, name: BlobName, end: FetchEnd<S::Error>) {
        self.stop(name);
        let Some(transfer) = self.transfers.remove(&name) else { return };
        self.waiting.retain(|n| *n != name);
        for fetch in transfer.fetches.into_keys() {
            self.fetches.remove(&fetch);
            self.actions.push_back(BlobAction::Ended { fetch, end: end.clone() });
        }
        if matches!(end, FetchEnd::Completed) {
            self.tell_watchers(name);
        }
        self.start_waiting();
        self.pump_all();
        self.wake_at(self.now);
    }

    /// Takes back what was asked for, and lets the store close what it has open.
    pub(super) fn stop(&mut self, name: BlobName) {
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        if let Some(active) = transfer.active() {
            let question = active.question;
            let sources: Vec<LineId> = active.sources.keys().copied().collect();
            self.questions.remove(&question);
            for line in sources {
                self.leave(line, name);
            }
        }
        let Some(transfer) = self.transfers.get_mut(&name) else { return };
        if !matches!(transfer.phase, Phase::Waiting) {
            transfer.phase = Phase::Waiting;
            self.actions.push_back(BlobAction::Unload { name });
        }
    }
}
