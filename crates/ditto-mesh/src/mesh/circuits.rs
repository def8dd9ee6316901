//! Circuits between the app and the sessions.

use bytes::Bytes;

use super::Mesh;
use crate::api::{Action, SendFailure};
use crate::circuit::{Circuits, Context};
use crate::peer_key::PeerKey;
use crate::session::{DatagramFate, DatagramTag, Violation};

impl Mesh {
    /// Calls the circuits with what they need of this machine.
    pub(super) fn circuits<R>(&mut self, call: impl FnOnce(&mut Circuits, &mut Context<'_>) -> R) -> R {
        let mut cx = Context {
            now: self.now,
            topology: self.presence.topology(),
            greeter: &self.greeter,
            tls: self.tls.as_ref(),
            random: &mut self.random,
        };
        let out = call(&mut self.circuits, &mut cx);
        self.take_circuit_output();
        out
    }

    /// Takes what the circuits report, and notes the peers that they have something for.
    pub(super) fn take_circuit_output(&mut self) {
        while let Some(action) = self.circuits.poll() {
            self.actions.push_back(action);
        }
        let peers = &self.peers;
        self.dirty.extend(self.circuits.take_touched().filter(|p| peers.contains_key(p)));
    }

    pub(super) fn on_circuit_message(&mut self, peer: &PeerKey, bytes: Bytes) -> Result<(), Violation> {
        self.circuits(|c, cx| c.on_message(peer, bytes, cx))
    }

    pub(super) fn report_datagrams(&mut self, peer: &PeerKey, fates: Vec<DatagramFate>) {
        for f in fates {
            match f.tag {
                DatagramTag::App(tag) if f.sent => {
                    self.actions.push_back(Action::Transmitted { peer: *peer, lane: None, tag });
                }
                DatagramTag::App(tag) => self.send_failed(*peer, tag, SendFailure::Dropped),
                DatagramTag::Circuit(..) => self.circuits.on_fate(f),
                DatagramTag::Relayed => {}
            }
        }
    }
}
