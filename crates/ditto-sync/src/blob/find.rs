//! Floods and their answers, circuits to holders, and the app's questions about them.

use super::api::{BlobAction, BlobHolder, BlobName, LineId, LineKind};
use super::chunks::Held;
use super::exchange::BlobExchange;
use super::limits::{
    MAX_ANSWERS, MAX_CIRCUITS, MAX_CIRCUITS_PER_BLOB, MAX_HOLDERS, MAX_HOPS, MAX_SEEN, SEEN_MS,
};
use super::store::BlobStore;
use super::transfer::Transfer;
use super::wire::{Find, Found, Message};
use crate::peer::PeerId;

/// Who has asked a question of ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    Transfer(BlobName),
    App(u64),
}

/// A question of the app.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) until: u64,
    pub(super) flood: u64,
    pub(super) holders: Vec<BlobHolder>,
}

/// A question of another peer that passed here.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where it came from, and where answers go.
    line: LineId,
    pub(super) until: u64,
    answers: u32,
}

impl<S: BlobStore> BlobExchange<S> {
    /// Asks the mesh.
    pub(super) fn flood(&mut self, question: u64, name: BlobName) {
        let find = Find { question, origin: self.me, name, hops: MAX_HOPS };
        self.pass_on(None, find);
    }

    fn pass_on(&mut self, from: Option<LineId>, find: Find) {
        let others = self.lines.iter().filter(|(id, l)| l.is_direct() && Some(**id) != from);
        for line in others.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.send(line, &Message::Find(find));
        }
    }

    pub(super) fn on_find(&mut self, line: LineId, find: Find) {
        let now = self.now;
        let Some(l) = self.lines.get_mut(&line) else { return };
        if !l.is_direct() {
            return self.violation(line, "asks for holders inside a circuit".into());
        }
        let key = (find.origin, find.question);
        // Who asks too much gets no answer. The question comes again.
        if find.origin == self.me || self.seen.contains_key(&key) || !l.may_find(now) {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            return;
        }
        self.seen.insert(key, Seen { line, until: now + SEEN_MS, answers: MAX_ANSWERS });
        self.seen_order.push_back(key);
        self.wake_at(now + SEEN_MS);
        let whole = match self.held(find.name) {
            Held::Whole => Some(true),
            Held::Runs(runs) if !runs.0.is_empty() => Some(false),
            Held::Runs(_) | Held::Nothing => None,
        };
        if let Some(whole) = whole {
            let Find { question, origin, .. } = find;
            let found = Found { question, origin, holder: self.me, whole, hops: 1 };
            self.send(line, &Message::Found(found));
        }
        // Also if it is here: a holder may be unable to give it.
        if find.hops > 1 {
            self.pass_on(Some(line), Find { hops: find.hops - 1, ..find });
        }
    }

    pub(super) fn on_found(&mut self, line: LineId, found: Found) {
        let Some(l) = self.lines.get(&line) else { return };
        if !l.is_direct() {
            return self.violation(line, "names holders inside a circuit".into());
        }
        if found.origin != self.me {
            let Some(seen) = self.seen.get_mut(&(found.origin, found.question)) else { return };
            if seen.answers == 0 || found.hops >= MAX_HOPS || seen.line == line {
                return;
            }
            seen.answers -= 1;
            let back = seen.line;
            return self.send(back, &Message::Found(Found { hops: found.hops + 1, ..found }));
        }
        if found.holder == self.me {
            return;
        }
        match self.questions.get(&found.question) {
            Some(Asker::Transfer(name)) => self.holder_found(*name, found.holder, found.hops),
            Some(Asker::App(question)) => {
                let Some(lookup) = self.lookups.get_mut(question) else { return };
                let holder = BlobHolder { peer: found.holder, whole: found.whole, hops: found.hops };
                match lookup.holders.iter().position(|h| h.peer == holder.peer) {
                    Some(at) => lookup.holders[at].hops = lookup.holders[at].hops.min(holder.hops),
                    None if lookup.holders.len() < MAX_HOLDERS => lookup.holders.push(holder),
                    None => {}
                }
            }
            None => {}
        }
    }

    fn holder_found(&mut self, name: BlobName, peer: PeerId, hops: u8) {
        // A neighbour was asked already, and says itself what it has.
        if self.lines.values().any(|l| l.peer == peer && l.is_direct()) {
            return;
        }
        let Some(transfer) = self.transfers.get_mut(&name).filter(|t| !t.banned.contains(&peer)) else {
            return;
        };
        if let Some(active) = transfer.active() {
            active.add_holder(peer, hops);
        }
        self.wake_at(self.now);
    }

    /// Reaches for holders that are no neighbours, as long as no neighbour helps.
    pub(super) fn reach(&mut self, name: BlobName) {
        let now = self.now;
        loop {
            let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) else { return };
            let ours = |id: &LineId| self.lines.get(id).is_some_and(|l| l.kind == LineKind::Outgoing);
            let open = active.sources.keys().filter(|id| ours(id)).count();
            let opening = active.holders.keys().filter(|p| self.opening.contains(p)).count();
            if open + opening >= MAX_CIRCUITS_PER_BLOB {
                return;
            }
            let asked: Vec<PeerId> =
                active.sources.keys().filter_map(|id| self.lines.get(id)).map(|l| l.peer).collect();
            let skip = |peer: &PeerId| asked.contains(peer) || self.opening.contains(peer);
            let Some((peer, not_before)) = active.next_holder(skip) else { return };
            if not_before > now {
                return self.wake_at(not_before);
            }
            let known = self.lines.iter().find(|(_, l)| l.peer == peer && l.kind != LineKind::Incoming);
            if let Some(line) = known.map(|(id, _)| *id) {
                self.ask(line, name);
                let active = self.transfers.get_mut(&name).and_then(Transfer::active);
                if active.is_some_and(|a| a.sources.contains_key(&line)) {
                    continue;
                }
                return;
            }
            let circuits = self.lines.values().filter(|l| l.kind == LineKind::Outgoing).count();
            if circuits + self.opening.len() >= MAX_CIRCUITS {
                return;
            }
            self.opening.insert(peer);
            self.actions.push_back(BlobAction::OpenCircuit { peer });
        }
    }

    pub(super) fn on_circuit_failed(&mut self, peer: PeerId) {
        if !self.opening.remove(&peer) {
            return;
        }
        let now = self.now;
        for transfer in self.transfers.values_mut() {
            if let Some(holder) = transfer.active().and_then(|a| a.holders.get_mut(&peer)) {
                holder.failed(now);
            }
        }
        self.wake_at(now);
    }

    pub(super) fn on_locate(&mut self, question: u64, name: BlobName, patience: u64) {
        if !self.lines.values().any(|l| l.is_direct()) {
            return self.actions.push_back(BlobAction::Located { question, holders: Vec::new() });
        }
        let flood = self.draw();
        let until = self.now.saturating_add(patience);
        self.questions.insert(flood, Asker::App(question));
        self.lookups.insert(question, Lookup { until, flood, holders: Vec::new() });
        self.flood(flood, name);
        self.wake_at(until);
    }
}
