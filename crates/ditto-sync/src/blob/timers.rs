//! What happens with time: questions to the mesh, giving up, turns, and what is told late to be told once.

use super::api::{BlobAction, BlobName, FetchEnd, FetchId, LineId, LineKind};
use super::exchange::BlobExchange;
use super::find::Asker;
use super::limits::{ANSWER_MS, CIRCUIT_IDLE_MS, HAVE_MS, STALL_MS, TAKE_OVER_MS, TURN_MS};
use super::store::BlobStore;
use super::transfer::{Phase, Transfer};

impl<S: BlobStore> BlobExchange<S> {
    /// Looks at everything that time changes, and asks for the next look.
    pub(super) fn on_time(&mut self) {
        self.give_up();
        let active = self.transfers.iter().filter(|(_, t)| matches!(t.phase, Phase::Active(_)));
        for name in active.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.look_after(name);
        }
        self.make_turns();
        for line in self.lines.keys().copied().collect::<Vec<_>>() {
            self.take_over(line);
        }
        self.close_idle_circuits();
        self.end_lookups();
        self.forget_questions();
    }

    /// Ends fetches whose time is over.
    fn give_up(&mut self) {
        let now = self.now;
        let has_neighbours = self.lines.values().any(|l| l.is_direct());
        let mut over: Vec<(FetchId, FetchEnd<S::Error>)> = Vec::new();
        let mut wake = u64::MAX;
        for transfer in self.transfers.values_mut() {
            let mut lacking = None;
            if let Some(active) = transfer.active() {
                let lacks = has_neighbours && !active.has_source();
                active.lacking_since = lacks.then(|| active.lacking_since.unwrap_or(now));
                // A verdict needs a question and time for its answers, and nobody left who may have it.
                lacking = active.lacking_since.zip(active.asked_at).filter(|_| !active.has_holder());
            }
            for (fetch, wish) in &transfer.fetches {
                if let Some((since, after)) = lacking.zip(wish.unavailable_after) {
                    let (lacking_since, asked_at) = since;
                    let at = lacking_since.saturating_add(after).max(asked_at + ANSWER_MS);
                    if at <= now {
                        over.push((*fetch, FetchEnd::Unavailable));
                        continue;
                    }
                    wake = wake.min(at);
                }
                match wish.timeout_at {
                    Some(at) if at <= now => over.push((*fetch, FetchEnd::TimedOut)),
                    Some(at) => wake = wake.min(at),
                    None => {}
                }
            }
        }
        self.wake_at(wake);
        for (fetch, end) in over {
            self.end_fetch(fetch, end);
        }
    }

    /// One blob that arrives.
    fn look_after(&mut self, name: BlobName) {
        let now = self.now;
        if self.store.is_whole(name) {
            // It has come to be here by other means.
            return self.end_transfer(name, FetchEnd::Completed);
        }
        let Some(active) = self.transfers.get_mut(&name).and_then(Transfer::active) else { return };
        let (question, mut wake) = (active.question, u64::MAX);
        let tell = active.untold.is_some_and(|since| now >= since + HAVE_MS);
        if tell {
            active.untold = None;
        }
        wake = active.untold.map_or(wake, |since| wake.min(since + HAVE_MS));
        let helped = active.has_source() && !active.is_stalled(now);
        let mut flood = false;
        if active.find_at <= now {
            if helped {
                active.find_at = now + STALL_MS;
            } else if self.lines.values().any(|l| l.is_direct()) {
                active.asked(now);
                flood = true;
            } else {
                // A neighbour that comes changes it.
                active.find_at = u64::MAX;
            }
        }
        wake = wake.min(active.find_at);
        if !active.pending.is_empty() {
            wake = wake.min(now + TAKE_OVER_MS / 2);
        }
        self.wake_at(wake);
        if tell {
            self.tell_watchers(name);
        }
        if flood {
            self.questions.insert(question, Asker::Transfer(name));
            self.flood(question, name);
        }
        if !helped {
            self.reach(name);
        }
    }

    /// Blobs that nobody can give make room for those that wait.
    fn make_turns(&mut self) {
        let now = self.now;
        let mut wake = u64::MAX;
        while !self.waiting.is_empty() {
            let mut idle = None;
            for (name, transfer) in &mut self.transfers {
                let Some(active) = transfer.active() else { continue };
                let at = active.began.max(active.last_chunk) + TURN_MS;
                if at <= now && !active.has_source() {
                    idle = Some(*name);
                    break;
                }
                wake = wake.min(at.max(now + 1_000));
            }
            let Some(name) = idle else { break };
            self.stop(name);
            self.waiting.push_back(name);
            self.start_waiting();
        }
        self.wake_at(wake);
    }

    /// Closes the circuits of ours that no transfer needs.
    fn close_idle_circuits(&mut self) {
        let now = self.now;
        let mut needed: Vec<LineId> = Vec::new();
        for transfer in self.transfers.values_mut() {
            needed.extend(transfer.active().into_iter().flat_map(|a| a.sources.keys()));
        }
        let (mut wake, mut close) = (u64::MAX, Vec::new());
        for (id, line) in self.lines.iter_mut().filter(|(_, l)| l.kind == LineKind::Outgoing) {
            if needed.contains(id) {
                line.idle_since = None;
                continue;
            }
            let at = line.idle_since.get_or_insert(now).saturating_add(CIRCUIT_IDLE_MS);
            if at <= now {
                close.push(*id);
                // Not again before the answer.
                line.idle_since = Some(u64::MAX);
            } else {
                wake = wake.min(at);
            }
        }
        self.wake_at(wake);
        self.actions.extend(close.into_iter().map(|line| BlobAction::CloseLine { line }));
    }

    fn end_lookups(&mut self) {
        let now = self.now;
        let due: Vec<u64> = self.lookups.iter().filter(|(_, l)| l.until <= now).map(|(q, _)| *q).collect();
        for question in due {
            if let Some(lookup) = self.lookups.remove(&question) {
                self.questions.remove(&lookup.flood);
                self.actions.push_back(BlobAction::Located { question, holders: lookup.holders });
            }
        }
        let next = self.lookups.values().map(|l| l.until).min();
        self.wake_at(next.unwrap_or(u64::MAX));
    }

    fn forget_questions(&mut self) {
        while let Some(key) = self.seen_order.front() {
            match self.seen.get(key).map(|s| s.until) {
                Some(until) if until > self.now => return self.wake_at(until),
                _ => {
                    self.seen.remove(key);
                    self.seen_order.pop_front();
                }
            }
        }
    }
}
