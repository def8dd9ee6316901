//! One line: what waits on it, what is asked for on it, and how fast it is.

use std::collections::{BTreeSet, VecDeque};

use super::api::{BlobName, LineKind};
use super::limits::{FAST_MS, FIND_BURST, FIND_REFILL_MS, FIRST_WINDOW, LOW_WATER, MAX_WINDOW, WINDOW_MS};
use crate::peer::PeerId;

#[derive(Debug)]
pub(super) struct Line {
    pub(super) peer: PeerId,
    pub(super) kind: LineKind,
    /// Bytes that wait to leave, as far as we know.
    pub(super) queued: usize,
    /// When a chunk was given to it whose way is measured, and how long the last such took to leave.
    measured: Option<u64>,
    took: u64,
    /// What the peer has asked for and not got.
    pub(super) requests: VecDeque<(BlobName, u64)>,
    /// Of what the peer wants to hear.
    pub(super) watched: BTreeSet<BlobName>,
    /// Chunks that we have asked for.
    pub(super) outstanding: usize,
    /// Time that a chunk takes, once one has come.
    pub(super) pace: Option<u64>,
    last_chunk: u64,
    /// The blob that was asked for last: the others have their turn.
    pub(super) turn: Option<BlobName>,
    /// A circuit of ours that no transfer needs, since then.
    pub(super) idle_since: Option<u64>,
    finds: u32,
    finds_at: u64,
}

impl Line {
    pub(super) fn new(peer: PeerId, kind: LineKind, now: u64) -> Self {
        Self {
            peer,
            kind,
            queued: 0,
            measured: None,
            took: 0,
            requests: VecDeque::new(),
            watched: BTreeSet::new(),
            outstanding: 0,
            pace: None,
            last_chunk: now,
            turn: None,
            idle_since: Some(now),
            finds: FIND_BURST,
            finds_at: now,
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.kind == LineKind::Direct
    }

    /// How many chunks may be under way to us.
    pub(super) fn window(&self) -> usize {
        match self.pace {
            None => FIRST_WINDOW,
            Some(pace) => usize::try_from(WINDOW_MS / pace.max(1)).unwrap_or(MAX_WINDOW).clamp(1, MAX_WINDOW),
        }
    }

    /// A chunk that was asked for at `asked` has come.
    pub(super) fn came(&mut self, asked: u64, now: u64) {
        let took = now.saturating_sub(asked.max(self.last_chunk));
        self.last_chunk = now;
        self.pace = Some(self.pace.map_or(took, |pace| (3 * pace + took) / 4));
    }

    /// Whether the next chunk may be read for it.
    pub(super) fn has_room(&self) -> bool {
        self.queued == 0 || (self.queued <= LOW_WATER && self.took <= FAST_MS)
    }

    pub(super) fn sent(&mut self, bytes: usize, now: u64) {
        self.queued += bytes;
        self.measured.get_or_insert(now);
    }

    /// What the mesh says about the queue.
    pub(super) fn set_queued(&mut self, bytes: usize, now: u64) {
        self.queued = bytes;
        if bytes <= LOW_WATER / 2
            && let Some(since) = self.measured.take()
        {
            self.took = now.saturating_sub(since);
        }
    }

    /// Whether the neighbour may ask one more question.
    pub(super) fn may_find(&mut self, now: u64) -> bool {
        let refill = now.saturating_sub(self.finds_at) / FIND_REFILL_MS;
        if refill > 0 {
            self.finds_at += refill * FIND_REFILL_MS;
            self.finds = FIND_BURST.min(self.finds.saturating_add(u32::try_from(refill).unwrap_or(u32::MAX)));
        }
        let may = self.finds > 0;
        self.finds -= u32::from(may);
        may
    }
}
