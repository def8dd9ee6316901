//! One blob that arrives: what is here, what is asked for, and who may have the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{BlobName, FetchId, LineId};
use super::chunks::{ChunkSet, Held};
use super::limits::{
    FIND_FIRST_MS, FIND_MAX_MS, FIND_RETRY_MS, HOLDER_FAILURES, HOLDER_RETRY_MS, MAX_HOLDERS, STALL_MS,
};
use crate::peer::PeerId;

/// A blob that the app wants.
pub(super) struct Transfer {
    pub(super) fetches: BTreeMap<FetchId, Wish>,
    pub(super) phase: Phase,
    /// Peers whose chunk was wrong.
    pub(super) banned: BTreeSet<PeerId>,
}

/// When the app gives up, by time and by the time that nobody has the blob.
pub(super) struct Wish {
    pub(super) timeout_at: Option<u64>,
    pub(super) unavailable_after: Option<u64>,
}

pub(super) enum Phase {
    /// Others have their turn.
    Waiting,
    /// What is here is being read.
    Loading,
    Active(Box<Active>),
}

/// A blob whose chunks are asked for.
pub(super) struct Active {
    pub(super) have: ChunkSet,
    /// What is here or asked for.
    pub(super) taken: ChunkSet,
    /// Where the search for the next chunk begins. Every peer begins somewhere else, so that those who fetch the same have
    /// something for each other.
    cursor: u64,
    /// Chunks that are asked for, of whom and when.
    pub(super) pending: BTreeMap<u64, Vec<(LineId, u64)>>,
    /// Lines whose peers were asked what they have, and what they said.
    pub(super) sources: BTreeMap<LineId, Option<Held>>,
    /// Peers further off that may have it.
    pub(super) holders: BTreeMap<PeerId, Holder>,
    /// The present question to the mesh.
    pub(super) question: u64,
    /// When the mesh was first asked, and when it is asked next.
    pub(super) asked_at: Option<u64>,
    pub(super) find_at: u64,
    find_delay: u64,
    pub(super) began: u64,
    pub(super) last_chunk: u64,
    /// Since when there are neighbours and nobody has what is missing.
    pub(super) lacking_since: Option<u64>,
    /// There are chunks that watchers were not told of, since then.
    pub(super) untold: Option<u64>,
}

/// A peer that is no neighbour and may have the blob.
pub(super) struct Holder {
    pub(super) hops: u8,
    failures: u32,
    not_before: u64,
}

impl Holder {
    pub(super) fn is_alive(&self) -> bool {
        self.failures < HOLDER_FAILURES
    }

    pub(super) fn failed(&mut self, now: u64) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + HOLDER_RETRY_MS * u64::from(self.failures.min(12));
    }
}

impl Active {
    pub(super) fn new(have: ChunkSet, start: u64, question: u64, now: u64) -> Self {
        Self {
            taken: have.clone(),
            cursor: start % have.chunks(),
            have,
            pending: BTreeMap::new(),
            sources: BTreeMap::new(),
            holders: BTreeMap::new(),
            question,
            asked_at: None,
            find_at: now + FIND_FIRST_MS,
            find_delay: FIND_RETRY_MS,
            began: now,
            last_chunk: now,
            lacking_since: None,
            untold: None,
        }
    }

    /// The next chunk to ask this source for.
    pub(super) fn pick(&self, line: LineId) -> Option<u64> {
        self.sources.get(&line)?.as_ref()?.first_without(&self.taken, self.cursor)
    }

    pub(super) fn request(&mut self, index: u64, line: LineId, now: u64) {
        self.taken.insert(index);
        self.pending.entry(index).or_default().push((line, now));
        // Only with those who have everything: following what others have, all would end up at the same place.
        if matches!(self.sources.get(&line), Some(Some(Held::Whole))) {
            self.cursor = if index + 1 < self.have.chunks() { index + 1 } else { 0 };
        }
    }

    /// A chunk that another line has not brought since `before`, and that this source has.
    pub(super) fn overdue(&self, line: LineId, before: u64) -> Option<u64> {
        let held = self.sources.get(&line)?.as_ref()?;
        let late = self.pending.iter().filter(|(index, asked)| {
            held.contains(**index) && matches!(asked[..], [(other, at)] if other != line && at <= before)
        });
        late.min_by_key(|(_, asked)| asked.first().map(|a| a.1)).map(|(index, _)| *index)
    }

    /// Takes requests back from a line; gives their number.
    pub(super) fn withdraw(&mut self, line: LineId, which: impl Fn(u64) -> bool) -> usize {
        let mut withdrawn = 0;
        let taken = &mut self.taken;
        self.pending.retain(|index, asked| {
            let before = asked.len();
            asked.retain(|(l, _)| *l != line || !which(*index));
            withdrawn += before - asked.len();
            if asked.is_empty() {
                taken.remove(*index);
            }
            !asked.is_empty()
        });
        withdrawn
    }

    /// Whether somebody has said to have something that is missing.
    pub(super) fn has_source(&self) -> bool {
        self.sources.values().flatten().any(|held| held.first_without(&self.have, 0).is_some())
    }

    pub(super) fn is_stalled(&self, now: u64) -> bool {
        now >= self.last_chunk.max(self.began) + STALL_MS
    }

    /// Whether there is a holder that may still be reached.
    pub(super) fn has_holder(&self) -> bool {
        self.holders.values().any(Holder::is_alive)
    }

    pub(super) fn add_holder(&mut self, peer: PeerId, hops: u8) {
        if let Some(holder) = self.holders.get_mut(&peer) {
            holder.hops = hops;
            // It says so again: what has failed is worth another try, in its time.
            holder.failures = holder.failures.min(HOLDER_FAILURES - 1);
            return;
        }
        if self.holders.len() >= MAX_HOLDERS {
            // Names that lead nowhere do not keep others out.
            let worst = self.holders.iter().filter(|(_, h)| h.failures > 0).max_by_key(|(_, h)| h.failures);
            let Some(worst) = worst.map(|(peer, _)| *peer) else { return };
            self.holders.remove(&worst);
        }
        self.holders.insert(peer, Holder { hops, failures: 0, not_before: 0 });
    }

    /// The holder to try next, and when.
    pub(super) fn next_holder(&self, skip: impl Fn(&PeerId) -> bool) -> Option<(PeerId, u64)> {
        let alive = self.holders.iter().filter(|(peer, h)| h.is_alive() && !skip(peer));
        let next = alive.min_by_key(|(_, h)| (h.not_before, h.failures, h.hops));
        next.map(|(peer, h)| (*peer, h.not_before))
    }

    /// The mesh is asked now; when again.
    pub(super) fn asked(&mut self, now: u64) {
        self.asked_at.get_or_insert(now);
        self.find_at = now + self.find_delay;
        self.find_delay = (2 * self.find_delay).min(FIND_MAX_MS);
    }

    /// There is a new neighbour: others may be asked soon.
    pub(super) fn hurry(&mut self, now: u64) {
        self.find_delay = FIND_RETRY_MS;
        self.find_at = self.find_at.min(now + FIND_FIRST_MS);
    }
}

impl Transfer {
    pub(super) fn new() -> Self {
        Self { fetches: BTreeMap::new(), phase: Phase::Waiting, banned: BTreeSet::new() }
    }

    pub(super) fn active(&mut self) -> Option<&mut Active> {
        match &mut self.phase {
            Phase::Active(active) => Some(active),
            _ => None,
        }
    }
}

/// All blobs that the app wants.
pub(super) type Transfers = BTreeMap<BlobName, Transfer>;
