//! What a session sends next: acknowledgements and credit, what has to be sent again, then the classes by their weights.

use super::{ANSWER_MS, DatagramFate, FACK_BYTES_COMING, Maker, Session};
use crate::frame::{FRAME_OVERHEAD, Frame, MAX_FACK, data_head};
use crate::rope::{Rope, SMALL};
use crate::sched::CLASSES;

/// Smallest piece of a message that is put behind other frames instead of into the next record, and that is sent at all
/// rather than to wait for more room.
const MIN_PIECE: usize = 256;
const MIN_FIRST: usize = 1024;

impl Session {
    /// Makes a numbered frame; it goes out with the next [`Session::fill`].
    pub(super) fn push_frame(&mut self, frame: Frame<'_>) {
        debug_assert!(frame.is_numbered());
        let mut bytes = Rope::default();
        bytes.write(|out| frame.encode(out));
        self.push_encoded(bytes);
    }

    fn push_encoded(&mut self, bytes: Rope) {
        self.made += 1;
        self.unacked_bytes += bytes.len();
        self.unacked.push_back(bytes);
    }

    /// Appends frames to `out` until it holds about `budget` bytes or nothing may be sent. `frame` is the size of frames
    /// that suits the link. A frame is made smaller rather than to go beyond the budget, so that it is not cut by the record
    /// that it is for.
    pub(crate) fn fill(
        &mut self,
        now: u64,
        budget: usize,
        frame: usize,
        out: &mut Rope,
        fates: &mut Vec<DatagramFate>,
    ) {
        self.expire(now, fates);
        for service in self.standing {
            let c = &mut self.channels[*service as usize];
            // What is granted before the channel is open would reach nobody.
            if let Some(channel) = c.id
                && let Some(bytes) = c.recv.grant()
            {
                self.push_frame(Frame::Credit { channel, bytes });
            }
        }
        let (start, mut data) = (out.len(), false);
        let payload = frame.min(self.peer_max_frame).saturating_sub(FRAME_OVERHEAD);
        // An acknowledgement costs nothing where something goes anyway.
        let budget = budget.saturating_sub(MAX_FACK);
        while out.len() < budget || out.len() == start {
            if let Some(bytes) = self.unacked.get(self.next) {
                if out.len() > start && out.len() + bytes.len() > budget {
                    break;
                }
                out.share(bytes);
                self.next += 1;
                continue;
            }
            let room = budget.saturating_sub(out.len() + FRAME_OVERHEAD);
            if out.len() > start && room < MIN_PIECE.min(payload) {
                break;
            }
            let least = if out.len() == start { MIN_FIRST } else { MIN_PIECE };
            if !self.make_frame(payload.min(room.max(least)), out, fates) {
                break;
            }
            data = true;
        }
        self.acknowledge(now, data, out.len() > start, out);
    }

    /// Acknowledges what has come, if it is due or something else goes. `data`: messages are on their way with it.
    fn acknowledge(&mut self, now: u64, data: bool, something: bool, out: &mut Rope) {
        if self.facked == self.received {
            if data && self.alone_at.is_some_and(|at| now <= at + ANSWER_MS) {
                self.answers = true;
            }
            return;
        }
        let late = self.fack_at.is_some_and(|at| at <= now);
        if self.fack_now
            && !something
            && !late
            && self.unfacked_bytes < FACK_BYTES_COMING
            && (self.is_more_coming || self.is_mid_message())
        {
            // What comes has to be acknowledged as well: one for both.
            self.fack_at = Some(self.fack_at.map_or(u64::MAX, |at| at).min(now + ANSWER_MS));
            return;
        }
        let due = self.fack_now || late;
        if data {
            self.answers = true;
        } else if due && !something {
            self.answers &= self.fack_now;
            self.alone_at = self.fack_now.then_some(now);
        }
        if due || something {
            self.put_fack(out);
        }
    }

    /// Makes the next frame in order of priority; datagrams go to `out` directly, others become unacknowledged ones.
    fn make_frame(&mut self, payload: usize, out: &mut Rope, fates: &mut Vec<DatagramFate>) -> bool {
        let paused = self.unacked_bytes >= self.limits.max_unacknowledged;
        let is_ready = |maker: Maker| match maker {
            Maker::Channel(service) => {
                let c = &self.channels[service as usize];
                !paused && c.id.is_some() && c.send.is_ready()
            }
            Maker::Datagrams => {
                let front = self.datagrams.front();
                front.is_some_and(|d| self.channels[d.service as usize].id.is_some())
            }
        };
        let mut ready = [false; CLASSES];
        for maker in &self.turns {
            ready[maker.class()] |= is_ready(*maker);
        }
        let Some(class) = self.sched.pick(|c| ready[c]) else { return false };
        let Some(turn) = self.turns.iter().position(|m| m.class() == class && is_ready(*m)) else {
            return false;
        };
        let maker = self.turns.remove(turn);
        self.turns.push(maker);
        let service = match maker {
            Maker::Channel(service) => service,
            Maker::Datagrams => {
                let Some(d) = self.pop_datagram() else { return false };
                let Some(channel) = self.channels[d.service as usize].id else { return false };
                let start = out.len();
                out.write(|out| Frame::Dgram { channel, payload: &d.bytes }.encode(out));
                self.sched.charge(class, out.len() - start);
                fates.push(DatagramFate { tag: d.tag, sent: true });
                return true;
            }
        };
        let c = &mut self.channels[service as usize];
        let Some(channel) = c.id else { return false };
        let made = c.send.next(payload, |len, end| {
            let shared = if len <= SMALL { len } else { 0 };
            let mut head = Vec::with_capacity(shared + FRAME_OVERHEAD);
            data_head(channel, len, end, &mut head);
            Rope::from(head)
        });
        let Some((bytes, tag)) = made else { return false };
        self.sched.charge(class, bytes.len());
        self.push_encoded(bytes);
        if let Some(tag) = tag {
            self.in_transit.push_back((self.made, service, tag));
        }
        true
    }

    fn put_fack(&mut self, out: &mut Rope) {
        self.fack_now = false;
        self.fack_at = None;
        self.unfacked_bytes = 0;
        if self.facked != self.received {
            self.facked = self.received;
            out.write(|out| Frame::Fack { frames: self.received }.encode(out));
        }
    }
}
