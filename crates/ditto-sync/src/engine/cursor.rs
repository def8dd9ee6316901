//! Cursors, acknowledgements, and the confirmation of announcements.

use super::session::{Mark, Session};
use super::{Core, Fault, Rule};
use crate::peer::Lane;
use crate::store::{ApplyBatch, Cursor, CursorWrite, SyncStore};
use crate::wire::{Keys, Message};

/// Subscriptions up to which cursors are written with every push; with more, they are written when it is quiet.
const EAGER_CURSORS: usize = 16;

impl<S: SyncStore> Session<S> {
    /// Rows that would change if `token` were the newest token of the live lane.
    pub(crate) fn cursor_rows(&self, core: &Core<S>, token: u64) -> Vec<CursorWrite> {
        if !self.recv.wants.is_empty() && !core.broken(Rule::WantsBlockCursor) {
            return Vec::new();
        }
        let announced = match self.recv.unconfirmed {
            Some((first, _)) if !core.broken(Rule::ConfirmOwn) => first - 1,
            _ => core.processed,
        };
        let mut rows = Vec::new();
        for sub in self.recv.sids.values().filter(|s| s.live && !s.frozen) {
            let cursor = Cursor { token: sub.token.max(token), own_seq: announced.max(sub.own_base) };
            if sub.row != Some(cursor) {
                let key = self.cursor_key(sub.hash);
                rows.push(CursorWrite { key, collection: sub.collection.clone(), cursor });
            }
        }
        rows
    }

    /// Rows to write together with the documents of a push.
    pub(crate) fn eager_rows(&self, core: &Core<S>, token: u64) -> Vec<CursorWrite> {
        if self.recv.sids.len() > EAGER_CURSORS { Vec::new() } else { self.cursor_rows(core, token) }
    }

    /// Notes rows as written.
    pub(crate) fn rows_written(&mut self, rows: &[CursorWrite]) {
        for row in rows {
            let sid = self.recv.by_hash.get(&row.key.query_hash);
            if let Some(sub) = sid.and_then(|sid| self.recv.sids.get_mut(sid)) {
                sub.row_before = sub.row.replace(row.cursor);
            }
        }
    }

    /// Writes the cursors of LIVE subscriptions that have moved.
    pub(crate) fn write_cursors(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let cursors = self.cursor_rows(core, self.recv.live_token);
        if cursors.is_empty() {
            return Ok(());
        }
        core.store.apply(ApplyBatch {
            source: self.peer,
            items: Vec::new(),
            cursors: cursors.clone(),
            delete_cursors: Vec::new(),
            seen_seq: core.processed,
        })?;
        self.rows_written(&cursors);
        Ok(())
    }

    /// Schedules [`Session::settle`].
    pub(crate) fn settle_soon(&mut self, core: &Core<S>, factor: u64) {
        let at = core.now + core.config.settle_ms * factor;
        self.recv.settle_at = Some(self.recv.settle_at.map_or(at, |t| t.min(at)));
    }

    /// Asks for the confirmation of announcements, or, if there is nothing to confirm, writes cursors.
    pub(crate) fn settle(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        let Some((_, last)) = self.recv.unconfirmed else { return self.write_cursors(core) };
        // The mark confirms what was said before it.
        self.send_offers(core, core.processed);
        if !self.recv.marks.values().any(|m| matches!(m, Mark::Gains(_))) {
            let mark = self.new_mark(Mark::Gains(last));
            self.put(core, Lane::Live, &Message::Have(Keys { mark: Some(mark), ..Keys::default() }));
        }
        Ok(())
    }

    /// Makes a mark to be echoed by the peer.
    pub(crate) fn new_mark(&mut self, purpose: Mark) -> u64 {
        let mark = self.recv.next_mark;
        self.recv.next_mark += 1;
        self.recv.marks.insert(mark, purpose);
        mark
    }

    /// Notes that the peer has looked at everything up to a mark.
    pub(crate) fn confirmed(&mut self, core: &mut Core<S>, mark: u64) -> Result<(), Fault> {
        match self.recv.marks.remove(&mark) {
            Some(Mark::Gains(seq)) => {
                if let Some((first, last)) = self.recv.unconfirmed {
                    self.recv.unconfirmed = (last > seq).then_some((first.max(seq + 1), last));
                }
                // Rows are written now, or by the next settlement if requests are open.
                self.settle_soon(core, 1);
                Ok(())
            }
            Some(Mark::Extras(sid)) => self.extras_confirmed(core, sid),
            // A mark of a withdrawn subscription.
            None if mark < self.recv.next_mark => Ok(()),
            None => Err(Fault::Unexpected("HINT")),
        }
    }

    /// Schedules [`Session::acknowledge`]: what comes in quick succession is confirmed together.
    pub(crate) fn acknowledge_soon(&mut self, core: &Core<S>) {
        self.recv.ack_at.get_or_insert(core.now + core.config.ack_ms);
    }

    /// Tells the peer how far we are, if that has changed.
    pub(crate) fn acknowledge(&mut self, core: &mut Core<S>) {
        self.recv.ack_at = None;
        if !self.recv.wants.is_empty() || self.recv.collecting.is_some() {
            return;
        }
        let mut token = None;
        for sub in self.recv.sids.values().filter(|s| s.failed.is_none()) {
            if !sub.live {
                return;
            }
            let at = sub.token.max(self.recv.live_token);
            token = Some(token.map_or(at, |t: u64| t.min(at)));
        }
        if let Some(token) = token.filter(|t| *t > self.recv.acked) {
            self.recv.acked = token;
            self.put(core, Lane::Live, &Message::Ack { token, dup: false });
        }
    }

    /// Notes what the peer confirmed.
    pub(crate) fn on_ack(&mut self, core: &mut Core<S>, token: u64, dup: bool) -> Result<(), Fault> {
        if token > core.processed {
            return Err(Fault::Token(token));
        }
        self.send.acked = self.send.acked.max(Some(token));
        if dup {
            self.given_up(core);
        }
        Ok(())
    }
}
