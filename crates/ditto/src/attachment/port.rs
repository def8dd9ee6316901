//! The lines of the exchange inside the network task: sessions with neighbours, and circuits to others.

use std::collections::HashMap;

use crossbeam_channel::Sender;
use ditto_mesh::{Action, CircuitId, Input, Lane, PeerKey};
use ditto_sync::PeerId;
use ditto_sync::blob::{BlobInput, LineId, LineKind};

use super::exchange::ToBlobs;
use crate::wiring::ForBlobs;

/// What circuits for blobs say that they are for. 1 to 15 belong to the Bus.
pub(crate) const PURPOSE: u8 = 16;

/// Marks the circuits that are opened here.
const CIRCUIT_BIT: u64 = 1 << 57;

/// Codes of closed circuits, for the other end's log.
const CODE_DONE: u32 = 0;
const CODE_VIOLATION: u32 = 2;

/// What the exchange asks of the network.
pub(crate) enum BlobCommand {
    Send {
        line: LineId,
        bytes: Vec<u8>,
    },
    /// So much of what arrived is processed.
    Consumed {
        line: LineId,
        bytes: usize,
    },
    OpenCircuit {
        peer: PeerKey,
    },
    CloseLine {
        line: LineId,
    },
    Violation {
        line: LineId,
        reason: String,
    },
}

#[derive(Clone, Copy)]
enum Way {
    Session(PeerKey),
    Circuit(CircuitId),
}

/// Which line is which session or circuit. Lines have numbers of their own: what the exchange says about one that is
/// gone must not reach the next session of the peer, nor a circuit of the same name.
pub(crate) struct BlobPort {
    exchange: Sender<ToBlobs>,
    ways: HashMap<LineId, Way>,
    sessions: HashMap<PeerKey, LineId>,
    circuits: HashMap<CircuitId, LineId>,
    opening: HashMap<CircuitId, PeerKey>,
    next_line: u64,
    next_circuit: u64,
}

impl BlobPort {
    pub(crate) fn new(exchange: Sender<ToBlobs>) -> Self {
        Self {
            exchange,
            ways: HashMap::new(),
            sessions: HashMap::new(),
            circuits: HashMap::new(),
            opening: HashMap::new(),
            next_line: 1,
            next_circuit: 1,
        }
    }

    fn tell(&self, input: BlobInput<crate::DittoError>) {
        // The thread ends only after this task was told to.
        let _ = self.exchange.send(ToBlobs::Exchange(input));
    }

    fn line_up(&mut self, way: Way, peer: &PeerKey, kind: LineKind) -> LineId {
        let line = LineId(self.next_line);
        self.next_line += 1;
        self.ways.insert(line, way);
        self.tell(BlobInput::LineUp { line, peer: peer_id(peer), kind });
        line
    }

    /// Something of the mesh.
    pub(crate) fn handle(&mut self, message: ForBlobs) {
        match message {
            ForBlobs::PeerUp(peer) => {
                let line = self.line_up(Way::Session(peer), &peer, LineKind::Direct);
                self.sessions.insert(peer, line);
            }
            ForBlobs::PeerDown(peer) => {
                if let Some(line) = self.sessions.remove(&peer) {
                    self.line_down(line);
                }
            }
            ForBlobs::Message { peer, bytes } => {
                if let Some(line) = self.sessions.get(&peer) {
                    self.tell(BlobInput::Message { line: *line, bytes });
                }
            }
            ForBlobs::Queued { peer, bytes } => {
                if let Some(line) = self.sessions.get(&peer) {
                    self.tell(BlobInput::Queued { line: *line, bytes });
                }
            }
            ForBlobs::Circuit(action) => self.circuit(action),
        }
    }

    fn line_down(&mut self, line: LineId) {
        self.ways.remove(&line);
        self.tell(BlobInput::LineDown { line });
    }

    /// Whether this action of the mesh is about a circuit for blobs.
    pub(crate) fn is_mine(&self, action: &Action) -> bool {
        match action {
            Action::CircuitIncoming { purpose, .. } => *purpose == PURPOSE,
            Action::CircuitOpened { circuit }
            | Action::CircuitMessage { circuit, .. }
            | Action::CircuitDatagram { circuit, .. }
            | Action::CircuitTransmitted { circuit, .. }
            | Action::CircuitSendFailed { circuit, .. }
            | Action::CircuitQueued { circuit, .. }
            | Action::CircuitClosed { circuit, .. } => {
                self.circuits.contains_key(circuit) || self.opening.contains_key(circuit)
            }
            _ => false,
        }
    }

    fn circuit(&mut self, action: Action) {
        match action {
            Action::CircuitIncoming { circuit, peer, .. } => {
                let line = self.line_up(Way::Circuit(circuit), &peer, LineKind::Incoming);
                self.circuits.insert(circuit, line);
            }
            Action::CircuitOpened { circuit } => {
                if let Some(peer) = self.opening.remove(&circuit) {
                    let line = self.line_up(Way::Circuit(circuit), &peer, LineKind::Outgoing);
                    self.circuits.insert(circuit, line);
                }
            }
            Action::CircuitMessage { circuit, bytes } => {
                if let Some(line) = self.circuits.get(&circuit) {
                    self.tell(BlobInput::Message { line: *line, bytes });
                }
            }
            Action::CircuitQueued { circuit, bytes } => {
                if let Some(line) = self.circuits.get(&circuit) {
                    self.tell(BlobInput::Queued { line: *line, bytes });
                }
            }
            Action::CircuitClosed { circuit, reason } => {
                tracing::debug!(%circuit, %reason, "circuit for attachments closed");
                if let Some(peer) = self.opening.remove(&circuit) {
                    self.tell(BlobInput::CircuitFailed { peer: peer_id(&peer) });
                } else if let Some(line) = self.circuits.remove(&circuit) {
                    self.line_down(line);
                }
            }
            // A message that failed is followed by the end of its circuit.
            _ => {}
        }
    }

    /// What the mesh is to do for a command; nothing when the line is gone.
    pub(crate) fn command(&mut self, command: BlobCommand) -> Option<Input> {
        match command {
            BlobCommand::Send { line, bytes } => Some(match *self.ways.get(&line)? {
                Way::Session(peer) => Input::Send { peer, lane: Lane::Blobs, bytes: bytes.into(), tag: 0 },
                Way::Circuit(circuit) => Input::CircuitSend { circuit, bytes, tag: 0 },
            }),
            BlobCommand::Consumed { line, bytes } => Some(match *self.ways.get(&line)? {
                Way::Session(peer) => Input::Consumed { peer, lane: Lane::Blobs, bytes },
                Way::Circuit(circuit) => Input::CircuitConsumed { circuit, bytes },
            }),
            BlobCommand::OpenCircuit { peer } => {
                let circuit = CircuitId(CIRCUIT_BIT | self.next_circuit);
                self.next_circuit += 1;
                self.opening.insert(circuit, peer);
                Some(Input::CircuitOpen { circuit, target: peer, purpose: PURPOSE })
            }
            BlobCommand::CloseLine { line } => match *self.ways.get(&line)? {
                Way::Session(_) => None,
                Way::Circuit(circuit) => Some(Input::CircuitClose { circuit, code: CODE_DONE }),
            },
            BlobCommand::Violation { line, reason } => Some(match *self.ways.get(&line)? {
                Way::Session(peer) => Input::Disconnect { peer, reason },
                Way::Circuit(circuit) => Input::CircuitClose { circuit, code: CODE_VIOLATION },
            }),
        }
    }
}

pub(crate) fn peer_id(key: &PeerKey) -> PeerId {
    PeerId(*key.as_bytes())
}
