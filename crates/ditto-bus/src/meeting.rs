//! Streams that both ends ask for. One opens, the other waits for it, so there is one stream and never two.

use std::collections::BTreeMap;

use ditto_mesh::{CircuitId, PeerKey};

use crate::api::{Reliability, StreamId};

/// What both have to agree in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) peer: PeerKey,
    pub(crate) reliability: Reliability,
    pub(crate) label: String,
}

/// Who waits for the other end.
#[derive(Default)]
pub(crate) struct Meetings {
    /// Our app has asked and the other end has not, and until when.
    ours: BTreeMap<StreamId, (Meeting, u64)>,
    /// The other end has, and our app has not.
    theirs: BTreeMap<CircuitId, (Meeting, u64)>,
}

impl Meetings {
    /// Our app asks. The circuit of the other end, if that has asked before.
    pub(crate) fn ask(&mut self, stream: StreamId, meeting: Meeting, until: u64) -> Option<CircuitId> {
        let circuit = self.theirs.iter().find(|(_, (m, _))| *m == meeting).map(|(circuit, _)| *circuit);
        match circuit {
            Some(circuit) => drop(self.theirs.remove(&circuit)),
            None => drop(self.ours.insert(stream, (meeting, until))),
        }
        circuit
    }

    /// The other end asks. Our stream, if our app has asked before.
    pub(crate) fn asked(&mut self, circuit: CircuitId, meeting: Meeting, until: u64) -> Option<StreamId> {
        let stream = self.ours.iter().find(|(_, (m, _))| *m == meeting).map(|(stream, _)| *stream);
        match stream {
            Some(stream) => drop(self.ours.remove(&stream)),
            None => drop(self.theirs.insert(circuit, (meeting, until))),
        }
        stream
    }

    /// Our app asks no more. Whether it did.
    pub(crate) fn cancel(&mut self, stream: StreamId) -> bool {
        self.ours.remove(&stream).is_some()
    }

    /// The circuit of the other end is gone, or does what it may not.
    pub(crate) fn forget(&mut self, circuit: CircuitId) -> bool {
        self.theirs.remove(&circuit).is_some()
    }

    pub(crate) fn has(&self, stream: StreamId) -> bool {
        self.ours.contains_key(&stream)
    }

    pub(crate) fn owns(&self, circuit: CircuitId) -> bool {
        self.theirs.contains_key(&circuit)
    }

    pub(crate) fn len(&self) -> usize {
        self.ours.len() + self.theirs.len()
    }

    /// Takes out whoever has waited too long.
    pub(crate) fn expire(&mut self, now: u64) -> (Vec<StreamId>, Vec<CircuitId>) {
        let ours: Vec<StreamId> = self.ours.iter().filter(|(_, w)| w.1 <= now).map(|(id, _)| *id).collect();
        let theirs: Vec<CircuitId> =
            self.theirs.iter().filter(|(_, w)| w.1 <= now).map(|(id, _)| *id).collect();
        self.ours.retain(|_, w| w.1 > now);
        self.theirs.retain(|_, w| w.1 > now);
        (ours, theirs)
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.ours.values().map(|w| w.1).chain(self.theirs.values().map(|w| w.1)).min()
    }
}
