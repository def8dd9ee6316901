//! Messages and streams between two peers.

use std::sync::{Arc, Mutex, PoisonError};

use ditto::{ErrorKind, PeerKey};
use tokio::sync::watch;

use crate::app::awaited;
use crate::error::DittoError;
use crate::once::Once;

pub mod delegate;
pub mod stream;

use self::delegate::{BusDelegate, BusExecutor};
use self::stream::BusStream;

/// Sends and receives opaque bytes between exactly two peers of the mesh, beside the database and without persistence; also
/// over several hops, then encrypted from end to end.
#[derive(uniffi::Object)]
pub struct Bus {
    pub(crate) inner: ditto::Bus,
}

/// Guarantee of a message or stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Reliability {
    /// It arrives at most once, in no order, or not at all. At most 131,072 bytes.
    Unreliable,
    /// It arrives in full, once and in order as long as the peer can be reached. At most 1,048,576 bytes.
    Reliable,
}

/// What is known of a message that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BusDelivery {
    /// It left this device. Unreliable messages are not acknowledged.
    Transmitted,
    /// The peer's device has it; its app may not have read it.
    Acknowledged,
}

#[uniffi::export]
impl Bus {
    /// Prepares one message of at most 1,048,576 bytes that is delivered whole if connectivity permits, to any peer of the
    /// mesh.
    ///
    /// Nothing is sent before the completion of the returned object is awaited.
    pub fn send_reliable(&self, peer_key: String, data: &[u8]) -> Result<Arc<BusSend>, DittoError> {
        self.send(&peer_key, data, Reliability::Reliable)
    }

    /// Prepares one message of at most 131,072 bytes with no guarantee.
    ///
    /// Nothing is sent before the completion of the returned object is awaited.
    pub fn send_unreliable(&self, peer_key: String, data: &[u8]) -> Result<Arc<BusSend>, DittoError> {
        self.send(&peer_key, data, Reliability::Unreliable)
    }

    /// Opens a stream of messages to a peer. Its app must take streams, or it is refused.
    ///
    /// The label, of at most 128 bytes, tells the peer's app what the stream is for. It fails within 10 s.
    pub async fn open_stream(
        &self,
        peer_key: String,
        reliability: Reliability,
        label: String,
    ) -> Result<Arc<BusStream>, DittoError> {
        awaited(async {
            let stream = self.inner.open_stream(&parse(&peer_key)?, reliability.into(), label).await?;
            Ok(Arc::new(BusStream { inner: stream }))
        })
        .await
    }

    /// Makes one stream with a peer whose app calls this for us with the same reliability and label, within 10 s: neither app has
    /// to know which of them opens it. Such streams do not appear among the incoming ones.
    pub async fn open_or_join(
        &self,
        peer_key: String,
        reliability: Reliability,
        label: String,
    ) -> Result<Arc<BusStream>, DittoError> {
        awaited(async {
            let stream = self.inner.open_or_join(&parse(&peer_key)?, reliability.into(), label).await?;
            Ok(Arc::new(BusStream { inner: stream }))
        })
        .await
    }

    /// The messages that arrive from now on, and those held since no receiver was there. Several receivers share the
    /// messages: each goes to one of them.
    pub fn incoming_messages(&self) -> Arc<BusMessages> {
        Arc::new(BusMessages { inner: self.inner.incoming_messages() })
    }

    /// The streams that others open from now on. While there is neither a receiver nor a delegate, streams are refused.
    pub fn incoming_streams(&self) -> Arc<BusIncomingStreams> {
        let inner = Mutex::new(Some(Arc::new(self.inner.incoming_streams())));
        Arc::new(BusIncomingStreams { inner, stopped: watch::Sender::new(false) })
    }

    /// Replaces who is told of single messages and streams; nothing for nobody. It is called on the executor, one call after
    /// the other. Receivers of messages and streams share with it.
    pub fn set_delegate(&self, delegate: Option<Arc<dyn BusDelegate>>) -> Result<(), DittoError> {
        Ok(self.inner.set_delegate(delegate.map(delegate::delegate))?)
    }

    /// Replaces where callbacks of delegates run: of those that are set from now on. By default one thread of the instance, so
    /// that callbacks never overlap.
    pub fn set_executor(&self, executor: Arc<dyn BusExecutor>) {
        self.inner.set_executor(delegate::executor(executor));
    }

    /// Whether a second send to the same peer with the same reliability fails while the first is not completed, instead of
    /// waiting in line. Off at first.
    pub fn set_strict(&self, strict: bool) -> Result<(), DittoError> {
        Ok(self.inner.set_strict(strict)?)
    }
}

impl Bus {
    fn send(
        &self,
        peer_key: &str,
        data: &[u8],
        reliability: Reliability,
    ) -> Result<Arc<BusSend>, DittoError> {
        let (bus, to, data) = (self.inner.clone(), parse(peer_key)?, data.to_vec());
        let send = async move { bus.send_single_message(&to, data, reliability.into()).await };
        Ok(Arc::new(BusSend { sending: Once::new(send) }))
    }
}

/// One message on its way.
///
/// It exists because bytes cross the boundary without a copy per byte only in calls that are not async.
#[derive(uniffi::Object)]
pub struct BusSend {
    sending: Once<ditto::Delivery>,
}

#[uniffi::export]
impl BusSend {
    /// Sends, and returns when the message was transmitted: reliable ones are on the peer's device, others have left this one.
    /// May be called once.
    pub async fn completion(&self) -> Result<BusDelivery, DittoError> {
        awaited(async {
            Ok(match self.sending.run(ErrorKind::BusSendFailed).await? {
                ditto::Delivery::Acknowledged => BusDelivery::Acknowledged,
                _ => BusDelivery::Transmitted,
            })
        })
        .await
    }
}

/// A message that arrived.
#[derive(Clone, Debug, uniffi::Record)]
pub struct BusMessage {
    /// Key of the peer that sent it.
    pub sender: String,
    /// Content.
    pub data: Vec<u8>,
    /// How it was sent.
    pub reliability: Reliability,
}

impl From<ditto::BusMessage> for BusMessage {
    fn from(m: ditto::BusMessage) -> Self {
        Self { sender: m.sender.to_string(), data: m.data, reliability: m.reliability.into() }
    }
}

/// Receiver of Bus messages.
#[derive(uniffi::Object)]
pub struct BusMessages {
    inner: ditto::BusMessages,
}

#[uniffi::export]
impl BusMessages {
    /// The next message; nothing once the instance is shut down.
    pub async fn next(&self) -> Option<BusMessage> {
        awaited(async { self.inner.next().await.map(Into::into) }).await
    }

    /// How many messages were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped()
    }
}

/// Receiver of streams that others open. Once the last receiver is stopped or freed, streams are refused.
#[derive(uniffi::Object)]
pub struct BusIncomingStreams {
    inner: Mutex<Option<Arc<ditto::IncomingStreams>>>,
    stopped: watch::Sender<bool>,
}

#[uniffi::export]
impl BusIncomingStreams {
    /// The next stream; nothing once it is stopped or the instance is shut down.
    pub async fn next(&self) -> Option<Arc<BusStream>> {
        awaited(async {
            let streams = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
            let mut stopped = self.stopped.subscribe();
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                stream = streams.next() => Some(Arc::new(BusStream { inner: stream? })),
            }
        })
        .await
    }

    /// Takes no more streams. Repeating is harmless.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn parse(peer_key: &str) -> Result<PeerKey, DittoError> {
    peer_key.parse().map_err(|e| DittoError::new(ErrorKind::PeerNotFound, format!("not a peer key: {e}")))
}

impl From<Reliability> for ditto::Reliability {
    fn from(r: Reliability) -> Self {
        match r {
            Reliability::Unreliable => Self::Unreliable,
            Reliability::Reliable => Self::Reliable,
        }
    }
}

impl From<ditto::Reliability> for Reliability {
    fn from(r: ditto::Reliability) -> Self {
        match r {
            ditto::Reliability::Reliable => Self::Reliable,
            // The least promise, for levels of later releases.
            _ => Self::Unreliable,
        }
    }
}
