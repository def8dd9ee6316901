//! Circuits that carry single messages to peers that are no neighbours. One per destination and direction, opened when
//! it is needed and kept for a while.

use std::collections::{BTreeMap, VecDeque};

use ditto_mesh::{CircuitId, PeerKey};

use crate::api::Reliability;
use crate::envelope::{CODE_CLOSED, PURPOSE_SINGLES, encode_message};
use crate::error::BusError;
use crate::pacer::{Done, Pacer};
use crate::streams::Context;

#[derive(Debug)]
struct Far {
    peer: PeerKey,
    open: bool,
    /// Reliable messages that are not answered, oldest first.
    waiting: VecDeque<u64>,
    pacer: Pacer,
    /// Unreliable messages that wait for the circuit to open, which is no queue that makes them old.
    early: Vec<(u64, Vec<u8>)>,
    used: u64,
}

#[derive(Default)]
pub(crate) struct FarSingles {
    circuits: BTreeMap<CircuitId, Far>,
    by_peer: BTreeMap<PeerKey, CircuitId>,
    /// Those that others have opened to us, and who.
    incoming: BTreeMap<CircuitId, PeerKey>,
}

impl FarSingles {
    pub(crate) fn owns(&self, circuit: CircuitId) -> bool {
        self.circuits.contains_key(&circuit) || self.incoming.contains_key(&circuit)
    }

    pub(crate) fn len(&self) -> usize {
        self.circuits.len() + self.incoming.len()
    }

    /// Sends a message, whose number is not 0.
    pub(crate) fn send(
        &mut self,
        to: PeerKey,
        number: u64,
        data: Vec<u8>,
        reliability: Reliability,
        cx: &mut Context<'_>,
    ) {
        let circuit = match self.by_peer.get(&to) {
            Some(circuit) => *circuit,
            None => {
                let circuit = cx.open(to, PURPOSE_SINGLES);
                self.by_peer.insert(to, circuit);
                let far = Far {
                    peer: to,
                    open: false,
                    waiting: VecDeque::new(),
                    pacer: Pacer::default(),
                    early: Vec::new(),
                    used: cx.now,
                };
                self.circuits.insert(circuit, far);
                circuit
            }
        };
        let Some(far) = self.circuits.get_mut(&circuit) else { return };
        far.used = cx.now;
        match reliability {
            Reliability::Reliable => {
                far.waiting.push_back(number);
                let bytes = encode_message(&data);
                cx.mesh(ditto_mesh::Input::CircuitSend { circuit, bytes, tag: number });
            }
            Reliability::Unreliable if far.open => {
                far.pacer.push(number, &data, cx.now);
                far.progress(circuit, cx);
            }
            Reliability::Unreliable => far.early.push((number, data)),
        }
    }

    pub(crate) fn on_incoming(&mut self, circuit: CircuitId, peer: PeerKey) {
        self.incoming.insert(circuit, peer);
    }

    /// Who sends on a circuit to us.
    pub(crate) fn sender(&self, circuit: CircuitId) -> Option<PeerKey> {
        self.incoming.get(&circuit).copied()
    }

    pub(crate) fn on_opened(&mut self, circuit: CircuitId, cx: &mut Context<'_>) {
        let Some(far) = self.circuits.get_mut(&circuit) else { return };
        far.open = true;
        for (number, data) in std::mem::take(&mut far.early) {
            far.pacer.push(number, &data, cx.now);
        }
        far.progress(circuit, cx);
    }

    /// The mesh has answered; the message that is done.
    pub(crate) fn on_answer(
        &mut self,
        circuit: CircuitId,
        tag: u64,
        sent: bool,
        cx: &mut Context<'_>,
    ) -> Option<Done> {
        let far = self.circuits.get_mut(&circuit)?;
        far.used = cx.now;
        if let Some(at) = far.waiting.iter().position(|n| *n == tag) {
            far.waiting.remove(at);
            return Some(Done { number: tag, size: 0, sent });
        }
        let done = far.pacer.answered(tag, sent);
        far.progress(circuit, cx);
        done
    }

    /// The circuit has ended; the messages that will not be answered, and why.
    pub(crate) fn on_closed(&mut self, circuit: CircuitId) -> (Vec<u64>, BusError) {
        self.incoming.remove(&circuit);
        let Some(far) = self.circuits.remove(&circuit) else { return (Vec::new(), BusError::Disconnected) };
        self.by_peer.remove(&far.peer);
        let mut left: Vec<u64> = far.waiting.into();
        left.extend(far.early.into_iter().map(|(number, _)| number));
        let mut pacer = far.pacer;
        left.extend(pacer.drain());
        (left, if far.open { BusError::Disconnected } else { BusError::PeerNotConnected })
    }

    /// Sheds what is too old, and closes circuits that nobody needs; the messages that were shed.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) -> Vec<Done> {
        let oldest = cx.now.saturating_sub(cx.config.datagram_age);
        let mut done = Vec::new();
        for (circuit, far) in &mut self.circuits {
            done.extend(far.pacer.expire(oldest));
            far.progress(*circuit, cx);
        }
        let unused = |f: &Far| f.is_idle() && f.used.saturating_add(cx.config.single_linger) <= cx.now;
        let over: Vec<CircuitId> =
            self.circuits.iter().filter(|(_, f)| unused(f)).map(|(id, _)| *id).collect();
        for circuit in over {
            self.on_closed(circuit);
            cx.mesh(ditto_mesh::Input::CircuitClose { circuit, code: CODE_CLOSED });
        }
        done
    }

    pub(crate) fn next_deadline(&self, age: u64, linger: u64) -> Option<u64> {
        let of = |f: &Far| match f.pacer.oldest() {
            Some(at) => Some(at + age + 1),
            None => f.is_idle().then_some(f.used.saturating_add(linger)),
        };
        self.circuits.values().filter_map(of).min()
    }
}

impl Far {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.early.is_empty() && self.pacer.len() == 0
    }

    fn progress(&mut self, circuit: CircuitId, cx: &mut Context<'_>) {
        while let Some((number, bytes)) = self.pacer.next() {
            cx.mesh(ditto_mesh::Input::CircuitDatagram { circuit, bytes, tag: number });
        }
    }
}
