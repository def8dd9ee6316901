//! The events channel and the stop signal that every task of a transport shares.

use ditto_mesh::transport::NetEvent;
use tokio::sync::{mpsc, watch};

/// Where the tasks of one transport put their events, and how they learn that they must end.
///
/// While the transport runs, a full channel makes the task wait: that is the back-pressure on the sockets. Once it
/// stops, nothing waits any more, because the consumer may be the one who is waiting for the stop.
#[derive(Clone)]
pub(crate) struct EventSink {
    events: mpsc::Sender<NetEvent>,
    stop: watch::Receiver<bool>,
    /// Of the part of the transport that the sink belongs to, where that can be stopped by itself.
    part: Option<watch::Receiver<bool>>,
}

/// Room in the events channel for one event.
pub(crate) struct Slot<'a>(mpsc::Permit<'a, NetEvent>);

impl Slot<'_> {
    pub(crate) fn fill(self, event: NetEvent) {
        self.0.send(event);
    }
}

impl EventSink {
    /// A sink and the handle that stops it. Dropping the handle stops it too.
    pub(crate) fn new(events: mpsc::Sender<NetEvent>) -> (Self, watch::Sender<bool>) {
        let (stopper, stop) = watch::channel(false);
        (Self { events, stop, part: None }, stopper)
    }

    /// A sink for one part of the transport, and the handle that stops only that. It stops with the transport too.
    pub(crate) fn part(&self) -> (Self, watch::Sender<bool>) {
        let (stopper, part) = watch::channel(false);
        (Self { part: Some(part), ..self.clone() }, stopper)
    }

    /// A sink with another channel, which stops when this one does.
    pub(crate) fn with_events(&self, events: mpsc::Sender<NetEvent>) -> Self {
        Self { events, ..self.clone() }
    }

    /// Delivers `event`, waiting for room. False when nobody listens any more or the transport has stopped.
    pub(crate) async fn emit(&self, event: NetEvent) -> bool {
        match self.reserve().await {
            Some(slot) => {
                slot.fill(event);
                true
            }
            None => {
                // Best effort: the consumer may still be reading while it waits for the end.
                let _ = self.events.try_send(event);
                false
            }
        }
    }

    /// Waits for room. `None` when nobody listens any more or the transport has stopped.
    pub(crate) async fn reserve(&self) -> Option<Slot<'_>> {
        if !self.is_stopped()
            && let Some(slot) = self.try_reserve()
        {
            return Some(slot);
        }
        tokio::select! {
            biased;
            () = self.stopped() => None,
            permit = self.events.reserve() => permit.ok().map(Slot),
        }
    }

    /// Room without waiting.
    pub(crate) fn try_reserve(&self) -> Option<Slot<'_>> {
        self.events.try_reserve().ok().map(Slot)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.part.as_ref().is_some_and(|part| *part.borrow())
    }

    /// Returns once the transport or the part stops, or nobody listens to its events.
    pub(crate) async fn stopped(&self) {
        tokio::select! {
            () = set(self.stop.clone()) => {}
            () = async {
                match &self.part {
                    Some(part) => set(part.clone()).await,
                    None => std::future::pending().await,
                }
            } => {}
            () = self.events.closed() => {}
        }
    }
}

async fn set(mut signal: watch::Receiver<bool>) {
    // An error means that its owner was dropped, which is a stop as well.
    let _ = signal.wait_for(|stopped| *stopped).await;
}
