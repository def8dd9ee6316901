//! Messages between two peers, beside the database and without persistence.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

pub use ditto_bus::BusMessage;
use ditto_bus::{BusError, Reliability};
use ditto_mesh::PeerKey;
use ditto_types::ErrorKind;
use tokio::sync::{Notify, oneshot};

use crate::DittoError;
use crate::instance::Inner;
use crate::node::Command;

/// Sends and receives opaque bytes between exactly two peers (API-423).
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

impl Bus {
    /// Sends one message of at most 1,048,576 bytes, delivered whole if connectivity permits (API-428).
    ///
    /// Returns when the message was transmitted: the peer's device has it, its app may not have read it yet. Fails with
    /// [`ErrorKind::PeerNotFound`], [`ErrorKind::BusPayloadTooLarge`], [`ErrorKind::BusQueueFull`],
    /// [`ErrorKind::BusSendFailed`] or [`ErrorKind::SyncNotActive`].
    pub async fn send_reliable(&self, to: &PeerKey, data: impl Into<Vec<u8>>) -> Result<(), DittoError> {
        self.send(to, data.into(), Reliability::Reliable).await
    }

    /// Sends one message of at most 131,072 bytes with no guarantee (API-427).
    ///
    /// Returns when it was put on the link. Fails as [`Bus::send_reliable`] does, also when the message had to wait so
    /// long that it was dropped.
    pub async fn send_unreliable(&self, to: &PeerKey, data: impl Into<Vec<u8>>) -> Result<(), DittoError> {
        self.send(to, data.into(), Reliability::Unreliable).await
    }

    async fn send(&self, to: &PeerKey, data: Vec<u8>, reliability: Reliability) -> Result<(), DittoError> {
        let (done, outcome) = oneshot::channel();
        self.inner.node.command(Command::BusSend { to: *to, data, reliability, done })?;
        outcome.await.map_err(|_| DittoError::closed())?.map_err(into_error)
    }

    /// The messages that arrive from now on, and those held since no receiver was there (up to 1,024 messages or
    /// 8 MiB). Several receivers share the messages: each goes to one of them.
    pub fn incoming_messages(&self) -> BusMessages {
        BusMessages { inbox: self.inner.node.inbox.clone() }
    }
}

fn into_error(e: BusError) -> DittoError {
    let kind = match &e {
        BusError::PeerNotConnected => ErrorKind::PeerNotFound,
        BusError::PayloadTooLarge { .. } => ErrorKind::BusPayloadTooLarge,
        BusError::QueueFull => ErrorKind::BusQueueFull,
        _ => ErrorKind::BusSendFailed,
    };
    DittoError::new(kind, e.to_string())
}

/// Receiver of Bus messages.
#[derive(Clone)]
pub struct BusMessages {
    inbox: Arc<Inbox>,
}

impl BusMessages {
    /// The next message; `None` once the instance is closed.
    pub async fn next(&self) -> Option<BusMessage> {
        loop {
            let arrived = self.inbox.arrived.notified();
            {
                let mut queue = self.inbox.lock();
                if let Some(m) = queue.messages.pop_front() {
                    queue.bytes -= m.data.len();
                    return Some(m);
                }
                if queue.closed {
                    // Others may be waiting for the same news.
                    self.inbox.arrived.notify_one();
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// How many messages were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.inbox.lock().dropped
    }
}

/// Bounded hold of messages that wait for the app.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<BusMessage>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

const MAX_HELD_MESSAGES: usize = 1024;
const MAX_HELD_BYTES: usize = 8 << 20;

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, message: BusMessage) {
        let mut queue = self.lock();
        if queue.messages.len() >= MAX_HELD_MESSAGES || queue.bytes + message.data.len() > MAX_HELD_BYTES {
            queue.dropped += 1;
            tracing::warn!(sender = %message.sender, dropped = queue.dropped, "bus message dropped: nobody takes them");
            return;
        }
        queue.bytes += message.data.len();
        queue.messages.push_back(message);
        drop(queue);
        self.arrived.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }
}
