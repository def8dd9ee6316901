//! Messages between two peers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use ditto::{ErrorKind, PeerKey};

use crate::error::DittoError;

/// Sends and receives opaque bytes between exactly two peers, beside the database and without persistence.
#[derive(uniffi::Object)]
pub struct Bus {
    pub(crate) inner: ditto::Bus,
}

#[uniffi::export]
impl Bus {
    /// Prepares one message of at most 1,048,576 bytes that is delivered whole if connectivity permits.
    ///
    /// Nothing is sent before the completion of the returned object is awaited.
    pub fn send_reliable(&self, peer_key: String, data: &[u8]) -> Result<Arc<BusSend>, DittoError> {
        let (bus, to, data) = (self.inner.clone(), parse(&peer_key)?, data.to_vec());
        Ok(BusSend::new(async move { bus.send_reliable(&to, data).await }))
    }

    /// Prepares one message of at most 131,072 bytes with no guarantee.
    ///
    /// Nothing is sent before the completion of the returned object is awaited.
    pub fn send_unreliable(&self, peer_key: String, data: &[u8]) -> Result<Arc<BusSend>, DittoError> {
        let (bus, to, data) = (self.inner.clone(), parse(&peer_key)?, data.to_vec());
        Ok(BusSend::new(async move { bus.send_unreliable(&to, data).await }))
    }

    /// The messages that arrive from now on, and those held since no receiver was there. Several receivers share the
    /// messages: each goes to one of them.
    pub fn incoming_messages(&self) -> Arc<BusMessages> {
        Arc::new(BusMessages { inner: self.inner.incoming_messages() })
    }
}

/// One message on its way.
///
/// It exists because bytes cross the boundary without a copy per byte only in calls that are not async.
#[derive(uniffi::Object)]
pub struct BusSend {
    sending: Mutex<Option<Sending>>,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), ditto::DittoError>> + Send>>;

impl BusSend {
    fn new(sending: impl Future<Output = Result<(), ditto::DittoError>> + Send + 'static) -> Arc<Self> {
        Arc::new(Self { sending: Mutex::new(Some(Box::pin(sending))) })
    }
}

#[uniffi::export]
impl BusSend {
    /// Sends, and returns when the message was transmitted: reliable ones are on the peer's device, others on the link.
    /// May be called once.
    pub async fn completion(&self) -> Result<(), DittoError> {
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        match sending {
            Some(sending) => Ok(sending.await?),
            None => Err(DittoError::new(ErrorKind::BusSendFailed, "the message was sent before")),
        }
    }
}

/// A message that arrived.
#[derive(Clone, Debug, uniffi::Record)]
pub struct BusMessage {
    /// Key of the peer that sent it.
    pub sender: String,
    /// Content.
    pub data: Vec<u8>,
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
        let message = self.inner.next().await?;
        Some(BusMessage { sender: message.sender.to_string(), data: message.data })
    }

    /// How many messages were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.inner.dropped()
    }
}

fn parse(peer_key: &str) -> Result<PeerKey, DittoError> {
    peer_key.parse().map_err(|e| DittoError::new(ErrorKind::PeerNotFound, format!("not a peer key: {e}")))
}
