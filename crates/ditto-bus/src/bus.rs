//! The Bus machine.

use std::collections::{BTreeMap, VecDeque};

use ditto_mesh::PeerKey;

use crate::api::{Action, BusConfig, BusError, BusMessage, Input, Reliability, TAG_BIT};
use crate::envelope::{
    Fragment, MAX_RELIABLE, MAX_UNRELIABLE, decode_message, encode_fragments, encode_message,
};
use crate::reassembly::Reassembly;

/// Sends and receives single messages. See the crate documentation.
pub struct Bus {
    config: BusConfig,
    peers: BTreeMap<PeerKey, Outgoing>,
    /// Messages that the mesh has not answered completely, by our own number.
    pending: BTreeMap<u64, Pending>,
    /// Which message a tag belongs to.
    tags: BTreeMap<u64, u64>,
    next_tag: u64,
    /// Number of the next message; also the id of unreliable ones.
    next_message: u64,
    incoming: Reassembly,
    actions: VecDeque<Action>,
}

/// What waits for a connected peer.
#[derive(Debug, Default)]
struct Outgoing {
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    id: u64,
    to: PeerKey,
    size: usize,
    /// Parts that the mesh has not answered.
    parts: usize,
    error: Option<BusError>,
}

impl Bus {
    /// A machine that knows no peer.
    pub fn new(config: BusConfig) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            pending: BTreeMap::new(),
            tags: BTreeMap::new(),
            next_tag: TAG_BIT,
            next_message: 0,
            incoming: Reassembly::default(),
            actions: VecDeque::new(),
        }
    }

    /// Takes an input. `now_ms` must not go back.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        match input {
            Input::Send { id, to, data, reliability } => {
                if let Err(e) = self.send(id, to, &data, reliability) {
                    self.actions.push_back(Action::Completed { id, result: Err(e) });
                }
            }
            Input::PeerConnected(peer) => {
                self.peers.entry(peer).or_default();
            }
            Input::PeerDisconnected(peer) => self.disconnected(&peer),
            Input::Message { peer, bytes } => match decode_message(bytes) {
                Ok(None) => {}
                Ok(Some(data)) => self.deliver(peer, data, Reliability::Reliable),
                Err(e) => self.violation(peer, format!("Bus message: {e}")),
            },
            Input::Datagram { peer, bytes } => self.on_datagram(peer, &bytes, now_ms),
            Input::Transmitted { tag } => self.answered(tag, None),
            Input::SendFailed { tag, reason } => self.answered(tag, Some(BusError::from_reason(&reason))),
            Input::Tick => {}
        }
        self.incoming.expire(now_ms, &self.config);
    }

    /// The next thing to do. Call until `None` after every input.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time at which [`Input::Tick`] is needed at the latest.
    pub fn next_deadline(&self) -> Option<u64> {
        self.incoming.next_deadline(&self.config)
    }

    fn send(&mut self, id: u64, to: PeerKey, data: &[u8], reliability: Reliability) -> Result<(), BusError> {
        let limit = match reliability {
            Reliability::Reliable => MAX_RELIABLE,
            Reliability::Unreliable => MAX_UNRELIABLE,
        };
        if data.len() > limit {
            return Err(BusError::PayloadTooLarge { size: data.len(), limit });
        }
        let queue = self.peers.get_mut(&to).ok_or(BusError::PeerNotConnected)?;
        if queue.messages >= self.config.max_queued_messages
            || queue.bytes + data.len() > self.config.max_queued_bytes
        {
            return Err(BusError::QueueFull);
        }
        queue.messages += 1;
        queue.bytes += data.len();

        let number = self.next_message;
        self.next_message += 1;
        let parts = match reliability {
            Reliability::Reliable => {
                let (bytes, tag) = (encode_message(data), self.tag(number));
                self.actions.push_back(Action::SendReliable { peer: to, bytes, tag });
                1
            }
            Reliability::Unreliable => {
                let parts = encode_fragments(number, data);
                let count = parts.len();
                for bytes in parts {
                    let tag = self.tag(number);
                    self.actions.push_back(Action::SendDatagram { peer: to, bytes, tag });
                }
                count
            }
        };
        self.pending.insert(number, Pending { id, to, size: data.len(), parts, error: None });
        Ok(())
    }

    fn tag(&mut self, number: u64) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.tags.insert(tag, number);
        tag
    }

    /// The mesh has answered for one part; the last answer completes the message.
    fn answered(&mut self, tag: u64, error: Option<BusError>) {
        let Some(number) = self.tags.remove(&tag) else { return };
        let Some(p) = self.pending.get_mut(&number) else { return };
        p.parts -= 1;
        p.error = p.error.or(error);
        if p.parts == 0 {
            self.complete(number);
        }
    }

    fn complete(&mut self, number: u64) {
        let Some(p) = self.pending.remove(&number) else { return };
        if let Some(queue) = self.peers.get_mut(&p.to) {
            queue.messages -= 1;
            queue.bytes -= p.size;
        }
        let result = p.error.map_or(Ok(()), Err);
        self.actions.push_back(Action::Completed { id: p.id, result });
    }

    fn disconnected(&mut self, peer: &PeerKey) {
        self.incoming.forget(peer);
        let open: Vec<u64> = self.pending.iter().filter(|(_, p)| p.to == *peer).map(|(n, _)| *n).collect();
        for number in open {
            if let Some(p) = self.pending.get_mut(&number) {
                p.error = p.error.or(Some(BusError::Disconnected));
            }
            self.tags.retain(|_, n| *n != number);
            self.complete(number);
        }
        self.peers.remove(peer);
    }

    fn on_datagram(&mut self, peer: PeerKey, bytes: &[u8], now: u64) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        match Fragment::decode(bytes) {
            Ok(None) => {}
            Ok(Some(f)) => match self.incoming.add(peer, f, now, &self.config) {
                Ok(None) => {}
                Ok(Some(data)) => self.deliver(peer, data, Reliability::Unreliable),
                Err(e) => self.violation(peer, e.to_string()),
            },
            Err(e) => self.violation(peer, format!("Bus datagram: {e}")),
        }
    }

    fn deliver(&mut self, sender: PeerKey, data: Vec<u8>, reliability: Reliability) {
        self.actions.push_back(Action::Deliver(BusMessage { sender, data, reliability }));
    }

    fn violation(&mut self, peer: PeerKey, reason: String) {
        self.actions.push_back(Action::Violation { peer, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ditto_mesh::{Identity, SendFailure};

    fn key(i: u8) -> PeerKey {
        Identity::generate(&mut |out| out.fill(i)).peer_key()
    }

    fn drain(bus: &mut Bus) -> Vec<Action> {
        std::iter::from_fn(|| bus.poll()).collect()
    }

    fn bus_with(peer: PeerKey) -> Bus {
        let mut bus = Bus::new(BusConfig::default());
        bus.handle(Input::PeerConnected(peer), 0);
        bus
    }

    fn send(bus: &mut Bus, id: u64, to: PeerKey, data: Vec<u8>, reliability: Reliability) -> Vec<Action> {
        bus.handle(Input::Send { id, to, data, reliability }, 0);
        drain(bus)
    }

    fn tags(actions: &[Action]) -> Vec<u64> {
        let tag = |a: &Action| match a {
            Action::SendReliable { tag, .. } | Action::SendDatagram { tag, .. } => Some(*tag),
            _ => None,
        };
        actions.iter().filter_map(tag).collect()
    }

    fn failure(id: u64, e: BusError) -> Vec<Action> {
        vec![Action::Completed { id, result: Err(e) }]
    }

    #[test]
    fn messages_cross_in_both_kinds_at_their_limits() {
        let (a, b) = (key(1), key(2));
        let (mut at_a, mut at_b) = (bus_with(b), bus_with(a));
        let cases = [
            (Reliability::Reliable, 0),
            (Reliability::Reliable, MAX_RELIABLE),
            (Reliability::Unreliable, 0),
            (Reliability::Unreliable, 5000),
            (Reliability::Unreliable, MAX_UNRELIABLE),
        ];
        for (id, (reliability, len)) in cases.into_iter().enumerate() {
            let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let out = send(&mut at_a, id as u64, b, data.clone(), reliability);
            for action in out.clone() {
                match action {
                    Action::SendReliable { bytes, .. } => at_b.handle(Input::Message { peer: a, bytes }, 0),
                    Action::SendDatagram { bytes, .. } => at_b.handle(Input::Datagram { peer: a, bytes }, 0),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(drain(&mut at_b), [Action::Deliver(BusMessage { sender: a, data, reliability })]);
            for tag in tags(&out) {
                assert_eq!(drain(&mut at_a), []);
                assert!(tag & TAG_BIT != 0);
                at_a.handle(Input::Transmitted { tag }, 0);
            }
            assert_eq!(drain(&mut at_a), [Action::Completed { id: id as u64, result: Ok(()) }]);
        }
        assert!(at_a.tags.is_empty() && at_a.pending.is_empty());
    }

    #[test]
    fn limits_are_checked_before_anything_is_sent() {
        let b = key(2);
        let mut bus = bus_with(b);
        let e = BusError::PayloadTooLarge { size: MAX_RELIABLE + 1, limit: MAX_RELIABLE };
        assert_eq!(send(&mut bus, 1, b, vec![0; MAX_RELIABLE + 1], Reliability::Reliable), failure(1, e));
        let e = BusError::PayloadTooLarge { size: MAX_UNRELIABLE + 1, limit: MAX_UNRELIABLE };
        assert_eq!(send(&mut bus, 2, b, vec![0; MAX_UNRELIABLE + 1], Reliability::Unreliable), failure(2, e));
        let e = BusError::PeerNotConnected;
        assert_eq!(send(&mut bus, 3, key(3), vec![0], Reliability::Reliable), failure(3, e));
        for id in 10..14 {
            assert_eq!(send(&mut bus, id, b, vec![0; MAX_RELIABLE], Reliability::Reliable).len(), 1);
        }
        assert_eq!(send(&mut bus, 14, b, vec![0], Reliability::Reliable), failure(14, BusError::QueueFull));
        let mut bus = bus_with(b);
        let mut first = 0;
        for id in 0..64 {
            first = *tags(&send(&mut bus, id, b, vec![0], Reliability::Reliable)).first().unwrap();
        }
        assert_eq!(send(&mut bus, 64, b, vec![0], Reliability::Reliable), failure(64, BusError::QueueFull));
        bus.handle(Input::Transmitted { tag: first }, 0);
        drain(&mut bus);
        assert_eq!(tags(&send(&mut bus, 65, b, vec![0], Reliability::Reliable)).len(), 1);
    }

    #[test]
    fn every_send_is_answered_once() {
        let b = key(2);
        let mut bus = bus_with(b);
        let out = tags(&send(&mut bus, 1, b, vec![0; 3000], Reliability::Unreliable));
        assert_eq!(out.len(), 3);
        bus.handle(Input::Transmitted { tag: out[0] }, 0);
        bus.handle(Input::SendFailed { tag: out[1], reason: SendFailure::Dropped.to_string() }, 0);
        bus.handle(Input::Transmitted { tag: out[2] }, 0);
        assert_eq!(drain(&mut bus), failure(1, BusError::Dropped));

        let out = tags(&send(&mut bus, 2, b, vec![0], Reliability::Reliable));
        send(&mut bus, 3, b, vec![0; 3000], Reliability::Unreliable);
        bus.handle(Input::SendFailed { tag: out[0], reason: SendFailure::Disconnected.to_string() }, 0);
        bus.handle(Input::PeerDisconnected(b), 0);
        let both = [failure(2, BusError::Disconnected), failure(3, BusError::Disconnected)].concat();
        assert_eq!(drain(&mut bus), both);
        // Late answers and answers to others change nothing.
        bus.handle(Input::Transmitted { tag: out[0] }, 0);
        bus.handle(Input::Transmitted { tag: 5 }, 0);
        assert_eq!(drain(&mut bus), []);
        assert!(bus.tags.is_empty() && bus.pending.is_empty() && bus.peers.is_empty());
    }

    #[test]
    fn a_lost_fragment_loses_the_message_and_its_memory_after_a_while() {
        let (a, b) = (key(1), key(2));
        let (mut at_a, mut at_b) = (bus_with(b), bus_with(a));
        let out = send(&mut at_a, 1, b, vec![5; 4000], Reliability::Unreliable);
        for action in out.into_iter().skip(1) {
            if let Action::SendDatagram { bytes, .. } = action {
                at_b.handle(Input::Datagram { peer: a, bytes }, 100);
            }
        }
        assert_eq!(at_b.next_deadline(), Some(5100));
        at_b.handle(Input::Tick, 5100);
        assert_eq!(drain(&mut at_b), []);
        assert_eq!(at_b.next_deadline(), None);
        assert_eq!(at_b.incoming.cost(), 0);
    }

    #[test]
    fn malformed_bytes_are_a_violation() {
        let a = key(1);
        let mut bus = bus_with(a);
        bus.handle(Input::Message { peer: a, bytes: vec![9, 1] }, 0);
        bus.handle(Input::Datagram { peer: a, bytes: vec![1, 2, 0xff] }, 0);
        let out = drain(&mut bus);
        assert_eq!(out.len(), 2);
        assert!(out.iter().all(|v| matches!(v, Action::Violation { peer, .. } if *peer == a)));
        // A later release's stream frames are skipped.
        bus.handle(Input::Message { peer: a, bytes: vec![1, 3, 1, 2, 3] }, 0);
        assert_eq!(drain(&mut bus), []);
    }
}
