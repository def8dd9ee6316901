//! What a session sends next: acknowledgements and credit, what has to be sent again, then the classes by their weights.

use super::{DatagramFate, Maker, Session};
use crate::frame::{FRAME_OVERHEAD, Frame};
use crate::sched::CLASSES;

impl Session {
    /// Makes a numbered frame; it goes out with the next [`Session::fill`].
    pub(super) fn push_frame(&mut self, frame: Frame<'_>) {
        debug_assert!(frame.is_numbered());
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.push_encoded(bytes);
    }

    fn push_encoded(&mut self, bytes: Vec<u8>) {
        self.made += 1;
        self.unacked_bytes += bytes.len();
        self.unacked.push_back(bytes);
    }

    /// Appends frames to `out` until it holds `budget` bytes or nothing may be sent. `frame` is the size of frames
    /// that suits the link.
    pub(crate) fn fill(
        &mut self,
        now: u64,
        budget: usize,
        frame: usize,
        out: &mut Vec<u8>,
        fates: &mut Vec<DatagramFate>,
    ) {
        self.expire(now, fates);
        if self.fack_now || self.fack_at.is_some_and(|at| at <= now) {
            self.put_fack(out);
        }
        for service in self.standing {
            let c = &mut self.channels[*service as usize];
            if let (Some(channel), Some(bytes)) = (c.id, c.recv.grant()) {
                self.push_frame(Frame::Credit { channel, bytes });
            }
        }
        let payload = frame.min(self.peer_max_frame).saturating_sub(FRAME_OVERHEAD);
        while out.len() < budget {
            if let Some(bytes) = self.unacked.get(self.next) {
                out.extend_from_slice(bytes);
                self.next += 1;
            } else if !self.make_frame(payload, out, fates) {
                break;
            }
        }
    }

    /// Makes the next frame in order of priority; datagrams go to `out` directly, others become unacknowledged ones.
    fn make_frame(&mut self, payload: usize, out: &mut Vec<u8>, fates: &mut Vec<DatagramFate>) -> bool {
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
                Frame::Dgram { channel, payload: &d.bytes }.encode(out);
                self.sched.charge(class, out.len() - start);
                fates.push(DatagramFate { tag: d.tag, sent: true });
                return true;
            }
        };
        let c = &mut self.channels[service as usize];
        let Some(channel) = c.id else { return false };
        let made = c.send.next(payload, |p| {
            let mut bytes = Vec::with_capacity(p.payload.len() + FRAME_OVERHEAD);
            Frame::Data { channel, payload: p.payload, end: p.end, fin: false }.encode(&mut bytes);
            (bytes, p.end.then_some(p.tag).flatten())
        });
        let Some((bytes, tag)) = made else { return false };
        self.sched.charge(class, bytes.len());
        self.push_encoded(bytes);
        if let Some(tag) = tag {
            self.in_transit.push_back((self.made, service, tag));
        }
        true
    }

    fn put_fack(&mut self, out: &mut Vec<u8>) {
        self.fack_now = false;
        self.fack_at = None;
        self.unfacked_bytes = 0;
        if self.facked != self.received {
            self.facked = self.received;
            Frame::Fack { frames: self.received }.encode(out);
        }
    }
}
