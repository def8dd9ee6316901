//! The app's end of a stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_bus::{
    Batch, BusConfig, BusError, MAX_BATCHED, Reliability, SendWindow, StreamEnd, StreamId, StreamStats,
    check_size,
};
use ditto_mesh::{Limits, PeerKey, ReadWindow};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::delegate::{BusExecutor, BusStreamDelegate, pump_stream};
use super::port::BusCommand;
use super::send_error;
use crate::node::{Command, Driver};
use crate::{Bus, DittoError, runtime};

/// Messages of an unreliable stream that the app has taken when the machine has to know. Of a reliable stream their cost counts.
const TELL_UNRELIABLE: usize = 64;

/// What the network task and the handles share.
pub(crate) struct Shared {
    incoming: Mutex<Incoming>,
    arrived: Notify,
    outgoing: Mutex<Outgoing>,
    /// There may be room for whoever waits to send.
    freed: Notify,
    acknowledged: watch::Sender<u64>,
    ended: watch::Sender<Option<StreamEnd>>,
}

struct Incoming {
    /// None of them is empty.
    batches: VecDeque<Batch>,
    taken: Taken,
    /// What the other end may have on its way and here.
    window: ReadWindow,
    ended: bool,
}

/// What the app has taken and the machine does not know of.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// How many of them ended a message of the circuit.
    batches: usize,
}

impl Taken {
    fn cost(&self) -> u64 {
        self.bytes as u64 + self.batches as u64 * ReadWindow::MESSAGE_COST
    }
}

impl Incoming {
    /// What the machine is told now.
    fn tell(&mut self) -> Taken {
        self.window.taken(self.taken.bytes as u64);
        std::mem::take(&mut self.taken)
    }
}

struct Outgoing {
    /// Accepted, and not yet with the machine.
    queue: Vec<Batch>,
    window: SendWindow,
    next_sequence: u64,
    /// Sends that wait for room.
    waiting: usize,
    /// It has ended, or the app has closed it.
    shut: bool,
}

/// What became of a message that was offered.
enum Offer {
    /// Its number, and whether the network task has to be told.
    Accepted(u64, bool),
    /// There is no room, or others wait for it.
    Full(Vec<u8>),
    Closed,
}

impl Shared {
    pub(super) fn new(config: &BusConfig) -> Self {
        let outgoing = Outgoing {
            queue: Vec::new(),
            window: SendWindow::new(config),
            next_sequence: 1,
            waiting: 0,
            shut: false,
        };
        let incoming = Incoming {
            batches: VecDeque::new(),
            taken: Taken::default(),
            window: ReadWindow::of_circuit(&Limits::default()),
            ended: false,
        };
        Self {
            incoming: Mutex::new(incoming),
            arrived: Notify::new(),
            outgoing: Mutex::new(outgoing),
            freed: Notify::new(),
            acknowledged: watch::Sender::new(0),
            ended: watch::Sender::new(None),
        }
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a message, either at once, behind those that wait already, or when it is its turn.
    fn offer(&self, data: Vec<u8>, in_turn: bool) -> Offer {
        let mut out = self.outgoing();
        if out.shut {
            return Offer::Closed;
        }
        if !in_turn && out.waiting > 0 || !out.window.has_room(1, data.len()) {
            return Offer::Full(data);
        }
        out.window.take(1, data.len());
        let (sequence, first) = (out.next_sequence, out.queue.is_empty());
        out.next_sequence += 1;
        // What waits together travels together.
        let alone = match out.queue.last_mut() {
            Some(last) => last.push(data).err(),
            None => Some(data),
        };
        out.queue.extend(alone.map(Batch::from));
        Offer::Accepted(sequence, first)
    }

    /// Counts a send that waits for room, until the drop; `None` if it must be the only one and is not.
    fn wait(&self, alone: bool) -> Option<Waiting<'_>> {
        let mut out = self.outgoing();
        if alone && out.waiting > 0 {
            return None;
        }
        out.waiting += 1;
        Some(Waiting(self))
    }

    /// No message is accepted any more.
    fn shut(&self) {
        self.outgoing().shut = true;
        self.freed.notify_one();
    }

    pub(super) fn take_queue(&self) -> Vec<Batch> {
        std::mem::take(&mut self.outgoing().queue)
    }

    /// Whether somebody has to be woken: for many messages at once, not for each.
    pub(super) fn settle(&self, messages: usize, bytes: usize) -> bool {
        let mut out = self.outgoing();
        out.window.give(messages, bytes);
        out.waiting > 0 && out.window.is_roomy()
    }

    /// Somebody has to be woken for it. Says what the app has taken meanwhile, so that it has no need to.
    pub(super) fn push(&self, batch: Batch) -> Taken {
        let mut incoming = self.incoming();
        incoming.batches.push_back(batch);
        incoming.tell()
    }

    fn is_acknowledged(&self, sequence: u64) -> bool {
        *self.acknowledged.borrow() >= sequence
    }

    pub(super) fn acknowledge(&self, sequence: u64) {
        self.acknowledged.send_replace(sequence);
    }

    pub(super) fn end(&self, reason: StreamEnd) {
        self.incoming().ended = true;
        self.shut();
        self.ended.send_replace(Some(reason));
        self.arrived.notify_one();
    }
}

/// Somebody to wake once the lock on the machines is free: he may want it at once.
pub(crate) enum Wake {
    /// Who waits for a message.
    Arrived(Arc<Shared>),
    /// Who waits for room.
    Freed(Arc<Shared>),
}

impl Wake {
    pub(crate) fn wake(self) {
        match self {
            Wake::Arrived(shared) => shared.arrived.notify_one(),
            Wake::Freed(shared) => shared.freed.notify_one(),
        }
    }
}

/// A send that waits for room.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.outgoing().waiting -= 1;
    }
}

/// A bidirectional channel of messages to one peer (API-442). Both ends have the same type.
///
/// Clones share one stream; dropping the last one closes it.
#[derive(Clone)]
pub struct BusStream {
    handle: Arc<Handle>,
}

struct Handle {
    id: StreamId,
    peer: PeerKey,
    reliability: Reliability,
    label: String,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    driver: Driver,
    /// Whose turn it is among sends that wait for room.
    turn: tokio::sync::Mutex<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A task that is gone has ended every stream.
        let _ = self.commands.send(Command::Bus(BusCommand::Close(self.id)));
    }
}

impl BusStream {
    pub(super) fn new(
        id: StreamId,
        peer: PeerKey,
        reliability: Reliability,
        label: String,
        shared: Arc<Shared>,
        (commands, driver): (mpsc::UnboundedSender<Command>, Driver),
    ) -> Self {
        let turn = tokio::sync::Mutex::new(());
        Self { handle: Arc::new(Handle { id, peer, reliability, label, shared, commands, driver, turn }) }
    }

    /// Name of the stream on this device only (API-443).
    pub fn id(&self) -> u64 {
        self.handle.id.0
    }

    /// The peer at the other end, proven from end to end.
    pub fn peer(&self) -> PeerKey {
        self.handle.peer
    }

    /// Fixed when the stream was opened (API-444).
    pub fn reliability(&self) -> Reliability {
        self.handle.reliability
    }

    /// What the opener says that the stream is for.
    pub fn label(&self) -> &str {
        &self.handle.label
    }

    /// Whether a send would not have to wait for the one before (API-445).
    pub fn is_ready(&self) -> bool {
        self.handle.shared.outgoing().waiting == 0 && self.close_reason().is_none()
    }

    /// Sends a message of at most 1,048,576 bytes (131,072 if unreliable) and returns its number when the next may be sent
    /// (API-447): the first is 1. At most 512 KiB are on their way, so a reader that does not read holds its sender up.
    /// Calls that overlap wait for each other.
    ///
    /// A call that is cancelled while it waits has sent nothing. Fails with [`ErrorKind::BusPayloadTooLarge`](crate::ErrorKind::BusPayloadTooLarge) or
    /// [`ErrorKind::BusStreamClosed`](crate::ErrorKind::BusStreamClosed).
    pub async fn send(&self, data: impl Into<Vec<u8>>) -> Result<u64, DittoError> {
        let data = data.into();
        self.send_or_wait(data, false).await
    }

    /// As [`BusStream::send`], but fails with [`ErrorKind::BusSendBeforeCompletion`](crate::ErrorKind::BusSendBeforeCompletion) while another send is waiting.
    pub async fn try_send(&self, data: impl Into<Vec<u8>>) -> Result<u64, DittoError> {
        let data = data.into();
        self.send_or_wait(data, true).await
    }

    async fn send_or_wait(&self, data: Vec<u8>, alone: bool) -> Result<u64, DittoError> {
        check_size(data.len(), self.handle.reliability).map_err(send_error)?;
        let shared = &self.handle.shared;
        let size = data.len();
        let mut data = match self.accepted(shared.offer(data, false), size)? {
            Ok(sequence) => return Ok(sequence),
            Err(data) => data,
        };
        let _waiting = shared.wait(alone).ok_or_else(|| send_error(BusError::SendBeforeCompletion))?;
        let _turn = self.handle.turn.lock().await;
        loop {
            let freed = shared.freed.notified();
            match self.accepted(shared.offer(data, true), size)? {
                Ok(sequence) => return Ok(sequence),
                Err(back) => data = back,
            }
            freed.await;
        }
    }

    /// The number of a message that was accepted, or the message when it has to wait.
    fn accepted(&self, offer: Offer, size: usize) -> Result<Result<u64, Vec<u8>>, DittoError> {
        match offer {
            Offer::Accepted(sequence, tell) => {
                if tell {
                    self.flush(sequence, size)?;
                }
                Ok(Ok(sequence))
            }
            Offer::Full(back) => Ok(Err(back)),
            Offer::Closed => Err(send_error(BusError::StreamClosed)),
        }
    }

    /// Lets the machines take what is queued.
    fn flush(&self, sequence: u64, size: usize) -> Result<(), DittoError> {
        let flush = Command::Bus(BusCommand::Flush(self.handle.id));
        // A message that has none before it on its way, or that travels alone anyway, goes out on this thread. One of many
        // small ones is better taken with the others.
        if size > MAX_BATCHED || self.handle.shared.is_acknowledged(sequence - 1) {
            self.handle.driver.post([flush]);
            return Ok(());
        }
        // A task that is gone has ended the stream, which the next call learns.
        self.handle.commands.send(flush).map_err(|_| DittoError::closed())
    }

    /// The next message; `None` once the stream has ended and everything that arrived before was taken. Several callers
    /// share the messages.
    pub async fn recv(&self) -> Option<Vec<u8>> {
        let mut woken = false;
        loop {
            if let Some(next) = self.try_recv(woken) {
                return next;
            }
            // What has come since has left a permit.
            self.handle.shared.arrived.notified().await;
            woken = true;
        }
    }

    /// The next message or the end of the stream, if either is there. Whoever was woken for it wakes the next.
    fn try_recv(&self, woken: bool) -> Option<Option<Vec<u8>>> {
        let shared = &self.handle.shared;
        let mut state = shared.incoming();
        let Some((data, bytes)) = state.batches.front_mut().and_then(Batch::pop) else {
            if state.ended {
                shared.arrived.notify_one();
                return Some(None);
            }
            return None;
        };
        if state.batches.front().is_some_and(Batch::is_empty) {
            state.batches.pop_front();
            state.taken.batches += 1;
        }
        state.taken.messages += 1;
        state.taken.bytes += bytes;
        let enough = match self.handle.reliability {
            Reliability::Unreliable => state.taken.messages >= TELL_UNRELIABLE,
            _ => state.taken.cost() >= state.window.report_at(),
        };
        let mut credit = None;
        if enough {
            let Taken { messages, bytes, .. } = state.tell();
            let taken = BusCommand::Taken { stream: self.handle.id, messages, bytes };
            credit = Some(Command::Bus(taken));
        }
        let more = !state.batches.is_empty() || state.ended;
        drop(state);
        if credit.is_some() {
            // An answer that the app gives now takes it along.
            self.handle.driver.post_for_later(credit);
        }
        if woken && more {
            shared.arrived.notify_one();
        }
        Some(Some(data))
    }

    /// The last message that the other device has, and all before it (API-452); 0 for none. Of reliable streams.
    pub fn acked(&self) -> u64 {
        *self.handle.shared.acknowledged.borrow()
    }

    /// Waits until the other device has this message. Fails with [`ErrorKind::BusStreamClosed`](crate::ErrorKind::BusStreamClosed) if the stream ends before.
    pub async fn wait_acked(&self, sequence: u64) -> Result<(), DittoError> {
        let mut acknowledged = self.handle.shared.acknowledged.subscribe();
        let mut ended = self.handle.shared.ended.subscribe();
        tokio::select! {
            biased;
            Ok(_) = acknowledged.wait_for(|acked| *acked >= sequence) => Ok(()),
            _ = ended.wait_for(Option::is_some) => Err(send_error(BusError::StreamClosed)),
        }
    }

    /// Closes both directions and returns how the stream ended (API-448): once everything accepted has been acknowledged,
    /// but after 5 s in any case. What arrived before can still be taken.
    pub async fn close(&self) -> Option<StreamEnd> {
        self.handle.shared.shut();
        let _ = self.handle.commands.send(Command::Bus(BusCommand::Close(self.handle.id)));
        self.closed().await
    }

    /// Closes both directions without waiting for anything.
    pub fn abort(&self) {
        self.handle.shared.shut();
        let _ = self.handle.commands.send(Command::Bus(BusCommand::Abort(self.handle.id)));
    }

    /// Waits for the end of the stream; `None` if the instance went away without one.
    pub async fn closed(&self) -> Option<StreamEnd> {
        let mut ended = self.handle.shared.ended.subscribe();
        ended.wait_for(Option::is_some).await.ok().and_then(|reason| *reason)
    }

    /// How the stream ended (API-453); `None` while it is open.
    pub fn close_reason(&self) -> Option<StreamEnd> {
        *self.handle.shared.ended.borrow()
    }

    /// What the stream has done; `None` once it has ended.
    pub async fn stats(&self) -> Option<StreamStats> {
        let (done, outcome) = oneshot::channel();
        let stream = self.handle.id;
        self.handle.commands.send(Command::Bus(BusCommand::Stats { stream, done })).ok()?;
        outcome.await.ok().flatten()
    }

    /// Tells a delegate of messages, acknowledgements and the end, on the executor of the Bus, one call after the other
    /// (API-446). Messages that have arrived before are not lost. It holds the stream open until it ends.
    pub fn set_delegate(&self, bus: &Bus, delegate: Arc<dyn BusStreamDelegate>) -> Result<(), DittoError> {
        let executor: Arc<dyn BusExecutor> = bus.state().executor();
        let acknowledged = self.handle.shared.acknowledged.subscribe();
        runtime::handle()?.spawn(pump_stream(self.clone(), delegate, executor, acknowledged));
        Ok(())
    }
}
