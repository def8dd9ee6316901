//! Circuits: end-to-end encrypted channels between any two peers of the mesh, over up to eight hops.
//!
//! | module | owns |
//! |---|---|
//! | `wire` | the messages between neighbours, and the first words of the two ends |
//! | `route` | the cheapest way through the presence graph |
//! | `switch`, `fair` | hops: labels, credit, what waits, whose turn it is |
//! | `conn`, `sealed` | one route of a stream: TLS from end to end, datagrams |
//! | `stream`, `streams` | what survives a change of route, and the search for one |
//!
//! The opener picks the whole route. A hop knows the neighbours before and after it, and a label for each; it carries
//! bytes that it cannot read. Inside runs a session of its own ([`crate::session`]), so that messages are numbered,
//! acknowledged and, after the route has changed, sent again from where the other end has stopped.

mod conn;
mod fair;
pub(crate) mod route;
mod sealed;
mod stream;
mod streams;
mod switch;
pub(crate) mod wire;

use std::fmt;

use bytes::Bytes;

use self::streams::Streams;
pub use self::switch::CircuitStats;
use self::switch::{LegEvent, Switch};
use crate::api::Action;
use crate::config::Limits;
use crate::mesh::{Greeter, RandomBytes};
use crate::peer_key::PeerKey;
use crate::presence::Topology;
use crate::session::{DatagramFate, DatagramTag, Session, Violation};
use crate::tls::TlsFactory;
use crate::transport::LinkKind;

/// Bit that marks the id of a circuit that another peer has opened. Ids that the app chooses have it clear.
pub const INCOMING_CIRCUIT_BIT: u64 = 1 << 63;

/// Name of a circuit on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(pub u64);

impl CircuitId {
    /// Whether the other end opened it.
    pub fn is_incoming(self) -> bool {
        self.0 & INCOMING_CIRCUIT_BIT != 0
    }
}

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_incoming() { 'i' } else { 'o' };
        write!(f, "{side}{}", self.0 & !INCOMING_CIRCUIT_BIT)
    }
}

/// Why a circuit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitEnd {
    /// We closed it, and everything sent before was acknowledged.
    #[error("closed")]
    Local,
    /// The other end closed it.
    #[error("the other end closed the circuit with code {0}")]
    Remote(u32),
    /// No route of at most eight hops leads to the target.
    #[error("there is no route to the peer")]
    NoRoute,
    /// The peers on every route do not relay.
    #[error("no peer on the way relays")]
    Refused,
    /// Too many circuits, here or on every route.
    #[error("too many circuits")]
    Capacity,
    /// The route was lost, and none was found in time. Messages without [`Action::CircuitTransmitted`] may have
    /// arrived.
    #[error("the connection to the peer was lost")]
    Lost,
    /// Whoever answered did not prove the target's key and membership.
    #[error("the other end did not prove that it is the peer")]
    Untrusted,
    /// The other end broke the rules.
    #[error("the other end broke the protocol")]
    Violation,
    /// The id was not allowed: used before, or with [`INCOMING_CIRCUIT_BIT`].
    #[error("the circuit id is not allowed")]
    BadId,
    /// The mesh was stopped.
    #[error("the mesh was stopped")]
    Stopped,
}

/// What circuits need of the machine around them.
pub(crate) struct Context<'a> {
    pub(crate) now: u64,
    pub(crate) topology: &'a Topology,
    pub(crate) greeter: &'a Greeter,
    pub(crate) tls: Option<&'a TlsFactory>,
    pub(crate) random: &'a mut RandomBytes,
}

/// The circuits of one machine.
pub(crate) struct Circuits {
    switch: Switch,
    streams: Streams,
}

impl Circuits {
    pub(crate) fn new(local: PeerKey, relay: bool, limits: Limits) -> Self {
        Self { switch: Switch::new(local, relay, limits.clone()), streams: Streams::new(limits) }
    }

    pub(crate) fn stats(&self) -> CircuitStats {
        self.switch.stats()
    }

    pub(crate) fn peer_up(&mut self, peer: PeerKey, kind: LinkKind) {
        self.switch.peer_up(peer, kind);
    }

    pub(crate) fn peer_down(&mut self, peer: &PeerKey) {
        self.switch.peer_down(peer);
    }

    /// A message of the circuits channel. The session's credit for it comes back with [`Circuits::feed`].
    pub(crate) fn on_message(
        &mut self,
        peer: &PeerKey,
        bytes: Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), Violation> {
        self.switch.on_message(*peer, bytes, cx.now)?;
        self.settle(cx);
        Ok(())
    }

    pub(crate) fn on_datagram(&mut self, peer: &PeerKey, bytes: &[u8], cx: &mut Context<'_>) {
        self.switch.on_datagram(peer, bytes, cx.now);
        self.settle(cx);
    }

    pub(crate) fn open(&mut self, id: CircuitId, target: PeerKey, purpose: u8, cx: &mut Context<'_>) {
        self.streams.open(id, target, purpose, &mut self.switch, cx);
        self.settle(cx);
    }

    pub(crate) fn send(&mut self, id: CircuitId, bytes: Vec<u8>, tag: u64) {
        self.streams.send(id, bytes, tag, &mut self.switch);
    }

    pub(crate) fn send_datagram(&mut self, id: CircuitId, bytes: &[u8], tag: u64, now: u64) {
        self.streams.send_datagram(id, bytes, tag, &mut self.switch, now);
        self.report_dropped();
    }

    pub(crate) fn consumed(&mut self, id: CircuitId, bytes: usize) {
        self.streams.consumed(id, bytes, &mut self.switch);
    }

    pub(crate) fn close(&mut self, id: CircuitId, code: u32, cx: &mut Context<'_>) {
        self.streams.close(id, code, &mut self.switch, cx.now);
        self.settle(cx);
    }

    pub(crate) fn abort(&mut self, id: CircuitId, code: u32, cx: &mut Context<'_>) {
        self.streams.abort(id, code, &mut self.switch, cx.now);
        self.settle(cx);
    }

    /// The graph has changed: there may be a route where there was none.
    pub(crate) fn graph_changed(&mut self, now: u64) {
        self.streams.retry_now(now);
    }

    /// What became of datagrams that [`Circuits::feed`] put into a session.
    pub(crate) fn on_fate(&mut self, fate: DatagramFate) {
        if let DatagramTag::Circuit(id, tag) = fate.tag {
            self.streams.datagram_answered(id, tag, fate.sent);
        }
    }

    /// Gives the session with a neighbour what goes to it next, until about `room` bytes wait, in pieces of `frame`.
    pub(crate) fn feed(
        &mut self,
        peer: &PeerKey,
        session: &mut Session,
        room: usize,
        frame: usize,
        now: u64,
    ) {
        // What the neighbour sends is for circuits as likely as not.
        self.streams.expect_more(session.is_more_coming());
        self.switch.feed(peer, session, room, frame, now, &mut self.streams);
        self.report_dropped();
    }

    /// Does what time asks for.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) {
        self.switch.advance(cx.now);
        self.settle(cx);
        self.streams.advance(&mut self.switch, cx);
        self.settle(cx);
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.switch.next_deadline().into_iter().chain(self.streams.next_deadline()).min()
    }

    /// Ends everything.
    pub(crate) fn stop(&mut self) {
        self.streams.stop();
        self.switch.clear();
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.streams.poll()
    }

    /// Neighbours whose sessions have something to send.
    pub(crate) fn take_touched(&mut self) -> impl Iterator<Item = PeerKey> {
        self.switch.take_touched().into_iter()
    }

    /// Carries events from the hops to the streams until there are none.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Some(event) = self.switch.poll_event() {
            let (streams, switch) = (&mut self.streams, &mut self.switch);
            match event {
                LegEvent::Incoming { leg, peer, source, direct } => {
                    streams.on_incoming(leg, peer, source, direct, switch, cx);
                }
                LegEvent::Opened { leg } => streams.on_opened(leg, switch, cx),
                LegEvent::Data { leg, bytes } => streams.on_data(leg, bytes, switch, cx),
                LegEvent::Datagram { leg, bytes } => streams.on_datagram(leg, &bytes),
                LegEvent::Closed { leg, code, at } => streams.on_closed(leg, code, at, switch, cx),
            }
        }
        self.report_dropped();
    }

    fn report_dropped(&mut self) {
        for tag in self.switch.take_dropped() {
            self.on_fate(DatagramFate { tag, sent: false });
        }
    }
}

#[cfg(test)]
mod tests;
