//! Streams of messages.

use std::sync::Arc;

use ditto::{ErrorKind, StreamFailure};

use super::delegate::{self, BusStreamDelegate};
use super::{Bus, Reliability};
use crate::app::awaited;
use crate::error::DittoError;
use crate::once::Once;

/// A bidirectional channel of messages to one peer. Both ends have the same type. Freeing the last one that refers to a stream
/// closes it.
#[derive(uniffi::Object)]
pub struct BusStream {
    pub(crate) inner: ditto::BusStream,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BusStreamEnd {
    /// This device closed it.
    ClosedByLocal,
    /// The other device closed it.
    ClosedByRemote,
    /// It failed: the route was lost, and none was found in time.
    Lost,
    /// It failed: sync was stopped, or the instance shut down.
    Stopped,
    /// It failed: the other end broke the protocol, or could not prove who it is on a new route.
    Violation,
}

/// What a stream has done. Counts include its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct BusStreamStatistics {
    /// Messages that were accepted for sending.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages that arrived.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Accepted messages that are not acknowledged, or not on the link if unreliable.
    pub messages_in_flight: u64,
    /// Their bytes.
    pub bytes_in_flight: u64,
    /// Unreliable messages that were shed before they left.
    pub dropped_outgoing: u64,
    /// Unreliable messages that arrived while too many waited for the app.
    pub dropped_incoming: u64,
    /// Milliseconds from sending to acknowledgement, smoothed; nothing before the first. Of an unreliable stream, the time that
    /// it took to open.
    pub round_trip_ms: Option<u64>,
}

#[uniffi::export]
impl BusStream {
    /// Name of the stream on this device only.
    pub fn id(&self) -> u64 {
        self.inner.id()
    }

    /// The peer at the other end, proven from end to end.
    pub fn peer_key(&self) -> String {
        self.inner.peer().to_string()
    }

    /// Fixed when the stream was opened.
    pub fn reliability(&self) -> Reliability {
        self.inner.reliability().into()
    }

    /// What the opener says that the stream is for.
    pub fn label(&self) -> String {
        self.inner.label().to_owned()
    }

    /// Whether a send would not have to wait for the one before.
    pub fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    /// Prepares a message of at most 1,048,576 bytes, or 131,072 if unreliable. Nothing is sent before the completion of the
    /// returned object is awaited.
    ///
    /// At most 512 KiB are on their way, so a reader that does not read holds its sender up.
    pub fn send(&self, data: &[u8]) -> Arc<BusStreamSend> {
        let (stream, data) = (self.inner.clone(), data.to_vec());
        Arc::new(BusStreamSend { sending: Once::new(async move { stream.send(data).await }) })
    }

    /// As send, but the completion fails while another send is waiting.
    pub fn try_send(&self, data: &[u8]) -> Arc<BusStreamSend> {
        let (stream, data) = (self.inner.clone(), data.to_vec());
        Arc::new(BusStreamSend { sending: Once::new(async move { stream.try_send(data).await }) })
    }

    /// The next message; nothing once the stream has ended and everything that arrived before was taken. Several callers share
    /// the messages.
    pub async fn recv(&self) -> Option<Vec<u8>> {
        awaited(async { self.inner.recv().await }).await
    }

    /// The last message that the other device has, and all before it; 0 for none. Of reliable streams.
    pub fn acked(&self) -> u64 {
        self.inner.acked()
    }

    /// Waits until the other device has this message. Fails if the stream ends before.
    pub async fn wait_acked(&self, sequence: u64) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.wait_acked(sequence).await?) }).await
    }

    /// Closes both directions and returns how the stream ended: once everything accepted has been acknowledged, but after 5 s in
    /// any case. What arrived before can still be taken.
    ///
    /// Not called close, which in some languages frees the object.
    pub async fn shutdown(&self) -> Option<BusStreamEnd> {
        awaited(async { self.inner.close().await.map(Into::into) }).await
    }

    /// Closes both directions without waiting for anything.
    pub fn abort(&self) {
        self.inner.abort();
    }

    /// Waits for the end of the stream; nothing if the instance went away without one.
    pub async fn closed(&self) -> Option<BusStreamEnd> {
        awaited(async { self.inner.closed().await.map(Into::into) }).await
    }

    /// How the stream ended; nothing while it is open.
    pub fn close_reason(&self) -> Option<BusStreamEnd> {
        self.inner.close_reason().map(Into::into)
    }

    /// What the stream has done; nothing once it has ended.
    pub async fn statistics(&self) -> Option<BusStreamStatistics> {
        awaited(async {
            let s = self.inner.stats().await?;
            Some(BusStreamStatistics {
                messages_sent: s.messages_sent,
                bytes_sent: s.bytes_sent,
                messages_received: s.messages_received,
                bytes_received: s.bytes_received,
                messages_in_flight: s.messages_in_flight as u64,
                bytes_in_flight: s.bytes_in_flight as u64,
                dropped_outgoing: s.dropped_outgoing,
                dropped_incoming: s.dropped_incoming,
                round_trip_ms: s.round_trip,
            })
        })
        .await
    }

    /// Tells a delegate of messages, acknowledgements and the end, on the executor of the Bus, one call after the other. Messages
    /// that have arrived before are not lost. It holds the stream open until it ends.
    pub fn set_delegate(
        &self,
        bus: Arc<Bus>,
        delegate: Arc<dyn BusStreamDelegate>,
    ) -> Result<(), DittoError> {
        Ok(self.inner.set_delegate(&bus.inner, delegate::stream_delegate(delegate))?)
    }
}

/// One message of a stream on its way.
#[derive(uniffi::Object)]
pub struct BusStreamSend {
    sending: Once<u64>,
}

#[uniffi::export]
impl BusStreamSend {
    /// Sends, and returns the number of the message when the next may be sent: the first is 1. May be called once.
    pub async fn completion(&self) -> Result<u64, DittoError> {
        awaited(async { self.sending.run(ErrorKind::BusSendFailed).await }).await
    }
}

impl From<ditto::StreamEnd> for BusStreamEnd {
    fn from(e: ditto::StreamEnd) -> Self {
        match e {
            ditto::StreamEnd::ClosedByLocal => Self::ClosedByLocal,
            ditto::StreamEnd::ClosedByRemote => Self::ClosedByRemote,
            ditto::StreamEnd::Failed(StreamFailure::Stopped) => Self::Stopped,
            ditto::StreamEnd::Failed(StreamFailure::Violation) => Self::Violation,
            _ => Self::Lost,
        }
    }
}
