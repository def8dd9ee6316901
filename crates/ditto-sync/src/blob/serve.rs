//! The sending side: what a peer is told and sent of the blobs that are here.

use super::api::{BlobName, LineId};
use super::chunks::Held;
use super::exchange::BlobExchange;
use super::limits::{MAX_REQUESTS, MAX_WATCHED};
use super::store::{BlobHolding, BlobStore};
use super::wire::Message;

impl<S: BlobStore> BlobExchange<S> {
    pub(super) fn on_ask(&mut self, line: LineId, name: BlobName) {
        let Some(l) = self.lines.get_mut(&line) else { return };
        if l.watched.len() >= MAX_WATCHED && !l.watched.contains(&name) {
            return self.violation(line, "wants to hear of too many blobs".into());
        }
        l.watched.insert(name);
        self.tell(line, name);
    }

    pub(super) fn on_drop(&mut self, line: LineId, name: BlobName) {
        if let Some(l) = self.lines.get_mut(&line) {
            l.watched.remove(&name);
            l.requests.retain(|(n, _)| *n != name);
        }
    }

    pub(super) fn on_get(&mut self, line: LineId, name: BlobName, index: u64) {
        let Some(l) = self.lines.get_mut(&line) else { return };
        if l.requests.len() >= MAX_REQUESTS {
            return self.violation(line, "asks for too many chunks at once".into());
        }
        l.requests.push_back((name, index));
        self.serve(line);
    }

    pub(super) fn on_cancel(&mut self, line: LineId, name: BlobName, index: u64) {
        if let Some(l) = self.lines.get_mut(&line) {
            l.requests.retain(|request| *request != (name, index));
        }
    }

    /// Sends chunks as far as the line has room.
    pub(super) fn serve(&mut self, line: LineId) {
        while let Some(l) = self.lines.get_mut(&line).filter(|l| l.has_room()) {
            let Some((name, index)) = l.requests.pop_front() else { return };
            match self.store.chunk(name, index) {
                Ok(Some(chunk)) => self.send(line, &Message::Data(name, index, chunk)),
                // It has gone since the peer was told of it.
                Ok(None) => self.tell(line, name),
                // What cannot be read is not here; the store has logged why.
                Err(_) => {
                    l.requests.retain(|(n, _)| *n != name);
                    self.send(line, &Message::Have(name, Held::Nothing));
                }
            }
        }
    }

    /// Tells a peer what is here.
    fn tell(&mut self, line: LineId, name: BlobName) {
        let held = self.held(name);
        self.send(line, &Message::Have(name, held));
    }

    /// Tells everybody who wants to hear it.
    pub(super) fn tell_watchers(&mut self, name: BlobName) {
        let watching = self.lines.iter().filter(|(_, l)| l.watched.contains(&name));
        let watching: Vec<LineId> = watching.map(|(id, _)| *id).collect();
        if watching.is_empty() {
            return;
        }
        let message = Message::Have(name, self.held(name));
        for line in watching {
            self.send(line, &message);
        }
    }

    /// What is here, in the words of a message. What cannot be read is not here.
    pub(super) fn held(&mut self, name: BlobName) -> Held {
        match self.store.holding(name) {
            Ok(BlobHolding::Whole) => Held::Whole,
            Ok(BlobHolding::Some(chunks)) => Held::Runs(chunks.runs()),
            Ok(BlobHolding::Nothing) | Err(_) => Held::Nothing,
        }
    }
}
