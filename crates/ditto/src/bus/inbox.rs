//! What waits for the app: single messages, and streams of others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ditto_bus::BusMessage;
use tokio::sync::Notify;

use super::stream::BusStream;

const MAX_HELD_MESSAGES: usize = 1024;
const MAX_HELD_BYTES: usize = 8 << 20;

/// Bounded hold. Streams are bounded by the limits of circuits.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    message_arrived: Notify,
    stream_arrived: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<BusMessage>,
    bytes: usize,
    dropped: u64,
    streams: VecDeque<BusStream>,
    /// How many receivers of streams there are.
    takers: usize,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: BusMessage) {
        let mut queue = self.lock();
        if queue.messages.len() >= MAX_HELD_MESSAGES || queue.bytes + message.data.len() > MAX_HELD_BYTES {
            queue.dropped += 1;
            tracing::warn!(sender = %message.sender, dropped = queue.dropped, "bus message dropped: nobody takes them");
            return;
        }
        queue.bytes += message.data.len();
        queue.messages.push_back(message);
        drop(queue);
        self.message_arrived.notify_one();
    }

    /// Whether anybody takes streams.
    pub(super) fn takes_streams(&self) -> bool {
        let queue = self.lock();
        queue.takers > 0 && !queue.closed
    }

    /// Gives a stream to the app; one that nobody takes any more is closed by its drop.
    pub(super) fn push_stream(&self, stream: BusStream) {
        let mut queue = self.lock();
        if queue.takers == 0 || queue.closed {
            return;
        }
        queue.streams.push_back(stream);
        drop(queue);
        self.stream_arrived.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.message_arrived.notify_one();
        self.stream_arrived.notify_one();
    }
}

/// Receiver of single messages.
#[derive(Clone)]
pub struct BusMessages {
    inbox: Arc<Inbox>,
}

impl BusMessages {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// The next message; `None` once the instance is closed.
    pub async fn next(&self) -> Option<BusMessage> {
        loop {
            let arrived = self.inbox.message_arrived.notified();
            {
                let mut queue = self.inbox.lock();
                if let Some(m) = queue.messages.pop_front() {
                    queue.bytes -= m.data.len();
                    if !queue.messages.is_empty() {
                        // Another receiver may be waiting.
                        self.inbox.message_arrived.notify_one();
                    }
                    return Some(m);
                }
                if queue.closed {
                    // Others may be waiting for the same news.
                    self.inbox.message_arrived.notify_one();
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

/// Receiver of streams that others open. Once the last receiver is dropped, streams are refused.
pub struct IncomingStreams {
    inbox: Arc<Inbox>,
}

impl IncomingStreams {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        inbox.lock().takers += 1;
        Self { inbox }
    }

    /// The next stream; `None` once the instance is closed.
    pub async fn next(&self) -> Option<BusStream> {
        loop {
            let arrived = self.inbox.stream_arrived.notified();
            {
                let mut queue = self.inbox.lock();
                if let Some(stream) = queue.streams.pop_front() {
                    if !queue.streams.is_empty() {
                        self.inbox.stream_arrived.notify_one();
                    }
                    return Some(stream);
                }
                if queue.closed {
                    self.inbox.stream_arrived.notify_one();
                    return None;
                }
            }
            arrived.await;
        }
    }
}

impl Drop for IncomingStreams {
    fn drop(&mut self) {
        let mut queue = self.inbox.lock();
        queue.takers -= 1;
        if queue.takers > 0 {
            return;
        }
        let nobodys = std::mem::take(&mut queue.streams);
        drop(queue);
        drop(nobodys);
    }
}
