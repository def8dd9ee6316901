//! Where the events of a transport go, and the stop signal that its tasks share.

use std::sync::Arc;

use ditto_mesh::transport::NetEvent;
use tokio::sync::{mpsc, watch};

/// Takes events in the task that has them.
pub trait TakeEvents: Send + Sync + 'static {
    /// Takes one event. The link it is about is read again only after the return, so this should be quick; it may call
    /// the transport.
    fn take(&self, event: NetEvent);
}

/// Where the events of a transport go: into a channel, or straight to their consumer, which saves a change of task for each.
///
/// The events of one link come one after the other and in order; those of several links may come at the same time.
#[derive(Clone)]
pub struct Events(Way);

#[derive(Clone)]
enum Way {
    Channel(mpsc::Sender<NetEvent>),
    Direct {
        to: Arc<dyn TakeEvents>,
        /// True once the consumer takes them. Its sender is the [`Gate`].
        open: watch::Receiver<bool>,
    },
}

impl From<mpsc::Sender<NetEvent>> for Events {
    fn from(events: mpsc::Sender<NetEvent>) -> Self {
        Self(Way::Channel(events))
    }
}

impl Events {
    /// Straight to a consumer, once the gate is open. Until then events wait where they happen.
    pub fn direct(to: Arc<dyn TakeEvents>) -> (Self, Gate) {
        let (gate, open) = watch::channel(false);
        (Self(Way::Direct { to, open }), Gate(gate))
    }

    /// Waits for room; `None` when nobody listens any more.
    async fn reserve(&self) -> Option<Slot<'_>> {
        match &self.0 {
            Way::Channel(events) => events.reserve().await.ok().map(Slot::Channel),
            Way::Direct { to, open } => {
                open.clone().wait_for(|open| *open).await.ok()?;
                Some(Slot::Direct(to.as_ref()))
            }
        }
    }

    /// Room without waiting.
    fn try_reserve(&self) -> Option<Slot<'_>> {
        match &self.0 {
            Way::Channel(events) => events.try_reserve().ok().map(Slot::Channel),
            Way::Direct { to, open } => {
                (*open.borrow() && open.has_changed().is_ok()).then(|| Slot::Direct(to.as_ref()))
            }
        }
    }

    /// Returns once nobody listens any more.
    async fn closed(&self) {
        match &self.0 {
            Way::Channel(events) => events.closed().await,
            Way::Direct { open, .. } => {
                let mut open = open.clone();
                while open.changed().await.is_ok() {}
            }
        }
    }
}

/// Lets the events of a transport through to their consumer. Once it is dropped, nobody takes them any more.
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// From now on events are taken.
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

/// Where the tasks of one transport put their events, and how they learn that they must end.
///
/// While the transport runs, a consumer that is behind makes the task wait: that is the back-pressure on the sockets.
/// Once it stops, nothing waits any more, because the consumer may be the one who is waiting for the stop.
#[derive(Clone)]
pub(crate) struct EventSink {
    events: Events,
    stop: watch::Receiver<bool>,
    /// Of the part of the transport that the sink belongs to, where that can be stopped by itself.
    part: Option<watch::Receiver<bool>>,
}

/// Room for one event.
pub(crate) enum Slot<'a> {
    Channel(mpsc::Permit<'a, NetEvent>),
    Direct(&'a dyn TakeEvents),
}

impl Slot<'_> {
    pub(crate) fn fill(self, event: NetEvent) {
        match self {
            Slot::Channel(permit) => {
                permit.send(event);
            }
            Slot::Direct(to) => to.take(event),
        }
    }
}

impl EventSink {
    /// A sink and the handle that stops it. Dropping the handle stops it too.
    pub(crate) fn new(events: impl Into<Events>) -> (Self, watch::Sender<bool>) {
        let (stopper, stop) = watch::channel(false);
        (Self { events: events.into(), stop, part: None }, stopper)
    }

    /// A sink for one part of the transport, and the handle that stops only that. It stops with the transport too.
    pub(crate) fn part(&self) -> (Self, watch::Sender<bool>) {
        let (stopper, part) = watch::channel(false);
        (Self { part: Some(part), ..self.clone() }, stopper)
    }

    /// A sink with another channel, which stops when this one does.
    pub(crate) fn with_events(&self, events: mpsc::Sender<NetEvent>) -> Self {
        Self { events: events.into(), ..self.clone() }
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
                if let Some(slot) = self.events.try_reserve() {
                    slot.fill(event);
                }
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
            slot = self.events.reserve() => slot,
        }
    }

    /// Room without waiting.
    pub(crate) fn try_reserve(&self) -> Option<Slot<'_>> {
        self.events.try_reserve()
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Taken(Mutex<Vec<NetEvent>>);

    impl TakeEvents for Taken {
        fn take(&self, event: NetEvent) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[tokio::test]
    async fn events_wait_at_the_gate_and_nobody_takes_them_once_it_is_gone() {
        let taken = Arc::new(Taken::default());
        let (events, gate) = Events::direct(taken.clone());
        let (sink, _stopper) = EventSink::new(events);
        let mut early = Box::pin(sink.emit(NetEvent::NetworkChanged));
        assert!(poll_once(&mut early).is_none(), "it waits");
        assert!(sink.try_reserve().is_none());
        assert!(taken.0.lock().unwrap().is_empty());
        gate.open();
        assert!(early.await);
        assert!(sink.emit(NetEvent::NetworkChanged).await, "straight through");
        assert_eq!(taken.0.lock().unwrap().len(), 2);
        drop(gate);
        sink.stopped().await;
        assert!(sink.try_reserve().is_none());
        assert!(!sink.emit(NetEvent::NetworkChanged).await);
        assert_eq!(taken.0.lock().unwrap().len(), 2);
    }

    /// Polls once.
    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut cx) {
            std::task::Poll::Ready(out) => Some(out),
            std::task::Poll::Pending => None,
        }
    }
}
