//! What passes over the links of a session: frames that arrive and what they lead to, and what is put on the link.

use std::ops::Bound;

use bytes::Bytes;

use super::sessions::Peer;
use super::{BYE_REFUSED, MAX_DATAGRAM, Mesh};
use crate::api::{Action, Lane, SendFailure};
use crate::event::Refusal;
use crate::frame::Frame;
use crate::link::{Link, Phase};
use crate::peer_key::PeerKey;
use crate::rope::Rope;
use crate::session::{DatagramFate, DatagramTag, Delivery, Service, Violation};
use crate::tls::{RECORD, SecureChannel, TlsError};
use crate::transport::LinkId;

/// What is encrypted before it is handed to the transport: four records, and the one that they leave the rest of a message
/// for. Their memory serves again for the next.
const WRITE: usize = 4 * RECORD + 1;

/// The same for the first write of a burst, one record: the other side can begin with it while the others are encrypted.
const FIRST: usize = RECORD / 2;

impl Mesh {
    /// Takes bytes of a ready link. Frames of the session that are whole in one record are read where they were decrypted.
    pub(super) fn receive(&mut self, id: LinkId, mut bytes: &[u8]) -> Result<(), TlsError> {
        loop {
            let Some(link) = self.links.get_mut(&id).filter(|l| l.phase == Phase::Ready) else {
                return Ok(());
            };
            let Some(channel) = link.channel.as_mut() else { return Ok(()) };
            let outcome = channel.take(&mut bytes);
            while self.read_record(id) {}
            if !outcome? {
                return Ok(());
            }
        }
    }

    /// Reads the next plaintext of a ready link; `false` if there is none.
    fn read_record(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&id).filter(|l| l.phase == Phase::Ready) else { return false };
        let (Some(peer), Some(channel)) = (link.peer, link.channel.as_mut()) else { return false };
        let Some(record) = channel.plaintext() else { return false };
        let (mut at, mut out, mut outcome) = (0, Vec::new(), Ok(()));
        if link.plain.is_empty()
            && let Some(p) = self.peers.get_mut(&peer).filter(|p| p.rx == Some(id))
        {
            while let Ok(Some((frame, used))) = Frame::decode(&record[at..], self.limits.max_frame)
                && frame.is_for_session()
                && outcome.is_ok()
            {
                at += used;
                outcome = p.session.on_frame(frame, self.now, &mut out);
            }
            self.dirty.insert(peer);
        }
        link.plain.extend_from_slice(&record[at..]);
        let read = record.len();
        channel.consume(read);
        if let Err(Violation(reason)) = self.deliver(&peer, out).and(outcome) {
            self.violation(&peer, reason);
        }
        let Some(link) = self.links.get_mut(&id).filter(|l| !l.plain.is_empty()) else { return true };
        let mut plain = std::mem::take(&mut link.plain);
        self.read_frames(id, &mut plain);
        if let Some(link) = self.links.get_mut(&id) {
            link.plain = plain;
        }
        true
    }

    /// Parses the frames at the front of `plain`, which belongs to a ready link, and leaves the incomplete rest.
    pub(super) fn read_frames(&mut self, id: LinkId, plain: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(link) = self.links.get_mut(&id).filter(|l| l.phase == Phase::Ready) {
            let Some(peer) = link.peer else { break };
            match Frame::decode(&plain[at..], self.limits.max_frame) {
                Ok(None) => break,
                Ok(Some((frame, used))) => {
                    at += used;
                    if let Err(Violation(reason)) = self.on_frame(id, &peer, frame) {
                        self.violation(&peer, reason);
                    }
                }
                Err(e) => self.violation(&peer, format!("frame: {e}")),
            }
        }
        plain.drain(..at);
    }

    fn on_frame(&mut self, id: LinkId, peer: &PeerKey, frame: Frame<'_>) -> Result<(), Violation> {
        match frame {
            Frame::Ping { nonce } => {
                let wall_ms = self.wall;
                if let Some(link) = self.links.get_mut(&id) {
                    link.push_control(Frame::Pong { nonce, wall_ms });
                }
            }
            // Every byte counts as a sign of life; this one measures.
            Frame::Pong { nonce, wall_ms } => {
                let (now, wall) = (self.now, self.wall);
                if let Some(link) = self.links.get_mut(&id) {
                    link.pong(nonce, wall_ms, now, wall);
                }
            }
            Frame::GoAway { code } if code >= BYE_REFUSED => {
                let reason = Refusal::from_code(code - BYE_REFUSED);
                if self.peers.get(peer).is_some_and(|p| p.rx == Some(id)) {
                    self.drop_link(id, None, &reason.to_string());
                } else {
                    self.on_refused(id, reason);
                }
            }
            Frame::GoAway { code } => self.drop_link(id, None, goodbye(code)),
            Frame::Switch { session, frames } => self.on_switch(id, peer, session, frames),
            frame => {
                // Frames of a link that does not carry the session any more will be sent again where it goes on.
                let Some(p) = self.peers.get_mut(peer).filter(|p| p.rx == Some(id)) else { return Ok(()) };
                let mut out = Vec::new();
                let outcome = p.session.on_frame(frame, self.now, &mut out);
                self.dirty.insert(*peer);
                self.deliver(peer, out)?;
                outcome?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, peer: &PeerKey, deliveries: Vec<Delivery>) -> Result<(), Violation> {
        for d in deliveries {
            match d {
                Delivery::Message { service: Service::Presence, bytes } => {
                    self.presence.on_message(peer, bytes, self.now);
                }
                Delivery::Message { service: Service::Circuits, bytes } => {
                    self.on_circuit_message(peer, bytes.into())?;
                }
                Delivery::Message { service, bytes } => {
                    if let Some(lane) = service.lane() {
                        self.actions.push_back(Action::Message { peer: *peer, lane, bytes });
                    }
                }
                Delivery::Datagram { service: Service::Circuits, bytes } => {
                    self.circuits(|c, cx| c.on_datagram(peer, &bytes, cx));
                }
                Delivery::Datagram { bytes, .. } => {
                    self.actions.push_back(Action::Datagram { peer: *peer, bytes })
                }
                transmitted @ Delivery::Transmitted { .. } => {
                    self.deliver_transmitted(peer, vec![transmitted]);
                }
                Delivery::Failed { tag } => self.send_failed(*peer, tag, SendFailure::NotConnected),
                // Only inside circuits.
                Delivery::Closed { .. } => {}
            }
        }
        Ok(())
    }

    /// What an acknowledgement says.
    pub(super) fn deliver_transmitted(&mut self, peer: &PeerKey, deliveries: Vec<Delivery>) {
        for d in deliveries {
            if let Delivery::Transmitted { service, tag } = d {
                self.actions.push_back(Action::Transmitted { peer: *peer, lane: service.lane(), tag });
            }
        }
    }

    pub(super) fn on_send(&mut self, peer: PeerKey, lane: Lane, bytes: Bytes, tag: u64) {
        let service = Service::from(lane);
        let Some(p) = self.peers.get_mut(&peer).filter(|p| p.announced) else {
            return self.send_failed(peer, tag, SendFailure::NotConnected);
        };
        let failure = if p.session.is_refused(service) {
            SendFailure::NotConnected
        } else if bytes.is_empty() {
            SendFailure::Empty
        } else if bytes.len() > p.session.max_message(service) {
            SendFailure::TooLarge
        } else if p.session.queued(service) + bytes.len() > self.limits.max_queued {
            SendFailure::QueueFull
        } else {
            p.session.send(service, bytes, Some(tag));
            self.dirty.insert(peer);
            return;
        };
        self.send_failed(peer, tag, failure);
    }

    pub(super) fn on_send_datagram(&mut self, peer: PeerKey, bytes: Vec<u8>, tag: u64) {
        let Some(p) = self.peers.get_mut(&peer).filter(|p| p.announced) else {
            return self.send_failed(peer, tag, SendFailure::NotConnected);
        };
        if bytes.len() > MAX_DATAGRAM {
            return self.send_failed(peer, tag, SendFailure::TooLarge);
        }
        let dropped = p.session.send_datagram(Service::Bus, bytes, DatagramTag::App(tag), self.now);
        self.dirty.insert(peer);
        let fates = dropped.into_iter().map(|tag| DatagramFate { tag, sent: false }).collect();
        self.report_datagrams(&peer, fates);
    }

    pub(super) fn on_consumed(&mut self, peer: PeerKey, service: Service, bytes: usize) {
        if let Some(p) = self.peers.get_mut(&peer) {
            p.session.consume(service, bytes);
            self.dirty.insert(peer);
        }
    }

    /// Sends what the sessions that were touched have to send, until there is something to write: the memory of one write is
    /// used again for the next.
    pub(super) fn pump_dirty(&mut self) {
        while self.actions.is_empty()
            && let Some(peer) = self.next_dirty()
        {
            self.pump(&peer);
            // What has left one neighbour's queue may be credit for another.
            self.take_circuit_output();
        }
    }

    /// They take turns.
    fn next_dirty(&mut self) -> Option<PeerKey> {
        let after = |last| self.dirty.range((Bound::Excluded(last), Bound::Unbounded)).next();
        let next = self.pumped.and_then(after).or_else(|| self.dirty.first()).copied()?;
        self.dirty.remove(&next);
        self.pumped = Some(next);
        Some(next)
    }

    /// Puts what a session has to send on its link, as much as goes in one write.
    fn pump(&mut self, peer: &PeerKey) {
        let Some(p) = self.peers.get_mut(peer) else { return };
        let mut fates = Vec::new();
        let mut failed = None;
        if let Some(link) = p.tx.and_then(|id| self.links.get_mut(&id)) {
            let frame = link.frame(&self.limits);
            p.session.expect_more(link.channel.as_ref().is_some_and(SecureChannel::is_mid_record));
            // While this much is on its way the other side has enough to do.
            let busy = p.in_burst || p.session.unacknowledged() >= RECORD;
            let (mut pending, most) = (0, if busy { WRITE } else { FIRST });
            p.in_burst = false;
            loop {
                let room = link.room(&self.limits).saturating_sub(pending);
                let mut batch = Rope::from(std::mem::take(&mut link.control));
                if room > 0 {
                    self.circuits.feed(peer, &mut p.session, room.min(RECORD), frame, self.now);
                    p.session.fill(self.now, room.min(RECORD), frame, &mut batch, &mut fates);
                }
                if let Err(e) = link.send_rope(&batch) {
                    failed = Some((link.id, e.to_string()));
                    break;
                }
                pending += batch.len();
                if pending < most && !batch.is_empty() {
                    continue;
                }
                let bytes = link.take_output();
                if !bytes.is_empty() {
                    self.actions.push_back(Action::Write { link: link.id, bytes });
                }
                if !batch.is_empty() {
                    p.in_burst = true;
                    self.dirty.insert(*peer);
                }
                break;
            }
        }
        for lane in [Lane::SyncLive, Lane::SyncBulk, Lane::Bus, Lane::Blobs] {
            if let Some(bytes) = p.session.level_change(lane.into()) {
                self.actions.push_back(Action::Queued { peer: *peer, lane, bytes });
            }
        }
        self.report_datagrams(peer, fates);
        if let Some((id, reason)) = failed {
            self.drop_link(id, None, &reason);
        }
    }

    /// Whether the transport keeps up with the link that carries a session.
    pub(super) fn has_room(&self, p: &Peer) -> bool {
        p.tx.and_then(|id| self.links.get(&id)).is_some_and(|l: &Link| l.room(&self.limits) > 0)
    }
}

fn goodbye(code: u64) -> &'static str {
    match code {
        super::BYE_STOP => "the peer has stopped",
        super::BYE_DUPLICATE => "the peer prefers another link",
        super::BYE_VIOLATION => "the peer accuses us of breaking the protocol",
        super::BYE_APP => "the peer has disconnected us",
        super::BYE_ROOM => "the peer has made room for another one",
        _ => "the peer has said goodbye",
    }
}
