//! The app's end of a stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_bus::{BusError, Reliability, StreamEnd, StreamId, StreamStats};
use ditto_mesh::PeerKey;
use ditto_types::ErrorKind;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::delegate::{BusExecutor, BusStreamDelegate, pump_stream};
use super::port::BusCommand;
use super::send_error;
use crate::node::Command;
use crate::{Bus, DittoError, runtime};

/// The other end may send more once this much was taken: a quarter of what it may send.
const TELL_BYTES: usize = 32 << 10;
const TELL_MESSAGES: usize = 16;

/// What the network task and the handles share.
pub(crate) struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    acknowledged: watch::Sender<u64>,
    ended: watch::Sender<Option<StreamEnd>>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Vec<u8>>,
    taken_messages: usize,
    taken_bytes: usize,
    ended: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            acknowledged: watch::Sender::new(0),
            ended: watch::Sender::new(None),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, data: Vec<u8>) {
        self.lock().messages.push_back(data);
        self.arrived.notify_one();
    }

    pub(super) fn acknowledge(&self, sequence: u64) {
        self.acknowledged.send_replace(sequence);
    }

    pub(super) fn end(&self, reason: StreamEnd) {
        self.lock().ended = true;
        self.ended.send_replace(Some(reason));
        self.arrived.notify_one();
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
    /// Whose turn it is to send.
    turn: tokio::sync::Mutex<()>,
    sending: AtomicBool,
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
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let (turn, sending) = (tokio::sync::Mutex::new(()), AtomicBool::new(false));
        Self { handle: Arc::new(Handle { id, peer, reliability, label, shared, commands, turn, sending }) }
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
        !self.handle.sending.load(Ordering::Acquire) && self.close_reason().is_none()
    }

    /// Sends a message of at most 1,048,576 bytes (131,072 if unreliable) and returns its number when the next may be sent
    /// (API-447): the first is 1. At most 256 KiB are on their way, so a reader that does not read holds its sender up.
    /// Calls that overlap wait for each other.
    ///
    /// A call that is cancelled may have sent its message. Fails with [`ErrorKind::BusPayloadTooLarge`] or
    /// [`ErrorKind::BusStreamClosed`].
    pub async fn send(&self, data: impl Into<Vec<u8>>) -> Result<u64, DittoError> {
        let data = data.into();
        let handle = self.handle.clone();
        // The turn ends with the machine's answer, also when the caller stops waiting.
        let turn = async move {
            let _turn = handle.turn.lock().await;
            handle.sending.store(true, Ordering::Release);
            let (done, outcome) = oneshot::channel();
            let stream = handle.id;
            let sent = handle.commands.send(Command::Bus(BusCommand::Enqueue { stream, data, done }));
            let result = match sent {
                Ok(()) => outcome.await.map_err(|_| DittoError::closed()),
                Err(_) => Err(DittoError::closed()),
            };
            handle.sending.store(false, Ordering::Release);
            result?.map_err(send_error)
        };
        match runtime::handle()?.spawn(turn).await {
            Ok(result) => result,
            Err(e) => Err(DittoError::new(ErrorKind::Internal, format!("sending failed: {e}"))),
        }
    }

    /// As [`BusStream::send`], but fails with [`ErrorKind::BusSendBeforeCompletion`] while another send is waiting.
    pub async fn try_send(&self, data: impl Into<Vec<u8>>) -> Result<u64, DittoError> {
        if self.handle.sending.load(Ordering::Acquire) {
            return Err(send_error(BusError::SendBeforeCompletion));
        }
        self.send(data).await
    }

    /// The next message; `None` once the stream has ended and everything that arrived before was taken. Several callers
    /// share the messages.
    pub async fn recv(&self) -> Option<Vec<u8>> {
        let shared = &self.handle.shared;
        loop {
            let arrived = shared.arrived.notified();
            {
                let mut state = shared.lock();
                if let Some(data) = state.messages.pop_front() {
                    state.taken_messages += 1;
                    state.taken_bytes += data.len();
                    let more = !state.messages.is_empty();
                    if state.taken_messages >= TELL_MESSAGES || state.taken_bytes >= TELL_BYTES {
                        let messages = std::mem::take(&mut state.taken_messages);
                        let bytes = std::mem::take(&mut state.taken_bytes);
                        let stream = self.handle.id;
                        let taken = BusCommand::Taken { stream, messages, bytes };
                        // A stream that is gone needs no credit.
                        let _ = self.handle.commands.send(Command::Bus(taken));
                    }
                    drop(state);
                    if more {
                        // Another receiver may be waiting.
                        shared.arrived.notify_one();
                    }
                    return Some(data);
                }
                if state.ended {
                    shared.arrived.notify_one();
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// The last message that the other device has, and all before it (API-452); 0 for none. Of reliable streams.
    pub fn acked(&self) -> u64 {
        *self.handle.shared.acknowledged.borrow()
    }

    /// Waits until the other device has this message. Fails with [`ErrorKind::BusStreamClosed`] if the stream ends before.
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
        let _ = self.handle.commands.send(Command::Bus(BusCommand::Close(self.handle.id)));
        self.closed().await
    }

    /// Closes both directions without waiting for anything.
    pub fn abort(&self) {
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
