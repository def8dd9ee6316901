//! Messages and streams between two peers, beside the database and without persistence.

mod delegate;
mod inbox;
mod port;
mod stream;

use std::sync::{Arc, Mutex, PoisonError};

use ditto_bus::{BusError, OpenError, Reliability};
pub use ditto_bus::{BusMessage, Delivery, StreamEnd, StreamFailure, StreamStats};
use ditto_mesh::PeerKey;
use ditto_types::ErrorKind;
use tokio::sync::oneshot;

pub use self::delegate::{BusDelegate, BusExecutor, BusStreamDelegate};
use self::delegate::{Delegation, SerialExecutor};
use self::inbox::Inbox;
pub use self::inbox::{BusMessages, IncomingStreams};
use self::port::Meet;
pub(crate) use self::port::{BusCommand, BusPort};
pub use self::stream::BusStream;
pub(crate) use self::stream::Wake;
use crate::DittoError;
use crate::instance::Inner;
use crate::node::Command;

/// Sends and receives opaque bytes between exactly two peers of the mesh (API-423), also over several hops; then
/// encrypted from end to end.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

/// What the Bus of one instance keeps for its handles.
#[derive(Default)]
pub(crate) struct BusState {
    pub(crate) inbox: Arc<Inbox>,
    executor: Mutex<Option<Arc<dyn BusExecutor>>>,
    delegation: Mutex<Option<Delegation>>,
}

impl BusState {
    /// Where callbacks run: what the app has set, or a thread of our own.
    fn executor(&self) -> Arc<dyn BusExecutor> {
        let mut executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        executor.get_or_insert_with(|| Arc::new(SerialExecutor::spawn())).clone()
    }

    pub(crate) fn close(&self) {
        self.inbox.close();
        self.delegation.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Bus {
    /// Sends one message of at most 1,048,576 bytes, delivered whole if connectivity permits (API-428).
    ///
    /// Returns when the peer's device has it; its app may not have read it yet. Several sends to one peer wait in line,
    /// 64 messages or 4 MiB of them, unless [`Bus::set_strict`] is on. Fails with [`ErrorKind::PeerNotFound`],
    /// [`ErrorKind::BusPayloadTooLarge`], [`ErrorKind::BusQueueFull`], [`ErrorKind::BusSendBeforeCompletion`],
    /// [`ErrorKind::SyncNotActive`], or with [`ErrorKind::BusSendFailed`] when nothing is acknowledged within 30 s.
    pub async fn send_reliable(&self, to: &PeerKey, data: impl Into<Vec<u8>>) -> Result<(), DittoError> {
        self.send_single_message(to, data, Reliability::Reliable).await.map(drop)
    }

    /// Sends one message of at most 131,072 bytes with no guarantee (API-427).
    ///
    /// Returns when it has left this device. Fails as [`Bus::send_reliable`] does, also when the message had to wait so
    /// long (100 ms) that it was dropped.
    pub async fn send_unreliable(&self, to: &PeerKey, data: impl Into<Vec<u8>>) -> Result<(), DittoError> {
        self.send_single_message(to, data, Reliability::Unreliable).await.map(drop)
    }

    /// Sends one message and tells how far it got; see [`Bus::send_reliable`] and [`Bus::send_unreliable`]. The message is
    /// queued until then.
    pub async fn send_single_message(
        &self,
        to: &PeerKey,
        data: impl Into<Vec<u8>>,
        reliability: Reliability,
    ) -> Result<Delivery, DittoError> {
        let (data, to) = (data.into(), *to);
        self.check_active()?;
        let (done, outcome) = oneshot::channel();
        self.inner.node.bus_command(BusCommand::Send { to, data, reliability, done });
        outcome.await.map_err(|_| DittoError::closed())?.map_err(send_error)
    }

    /// Opens a stream of messages to a peer (API-430). Its app must take streams, or it is refused.
    ///
    /// The label, of at most 128 bytes, tells the peer's app what the stream is for. Fails within 10 s with
    /// [`ErrorKind::PeerNotFound`], [`ErrorKind::SyncNotActive`] or [`ErrorKind::BusOpenStreamFailed`].
    pub async fn open_stream(
        &self,
        to: &PeerKey,
        reliability: Reliability,
        label: impl Into<String>,
    ) -> Result<BusStream, DittoError> {
        self.open(to, reliability, label.into(), None).await
    }

    /// Makes one stream with a peer whose app calls this for us with the same reliability and label, within 10 s: neither
    /// app has to know which of them opens it. Such streams do not appear among [`Bus::incoming_streams`].
    ///
    /// Fails as [`Bus::open_stream`] does, with [`ErrorKind::BusOpenStreamFailed`] also when the other app did not ask.
    pub async fn open_or_join(
        &self,
        with: &PeerKey,
        reliability: Reliability,
        label: impl Into<String>,
    ) -> Result<BusStream, DittoError> {
        let own = self.inner.identity.peer_key();
        // Of two equal ones, the opening fails as it should.
        let meet = if own <= *with { Meet::Open } else { Meet::Wait };
        self.open(with, reliability, label.into(), Some(meet)).await
    }

    async fn open(
        &self,
        to: &PeerKey,
        reliability: Reliability,
        label: String,
        meet: Option<Meet>,
    ) -> Result<BusStream, DittoError> {
        let to = *to;
        self.check_active()?;
        // Whoever opens is told by the mesh. Whoever waits would wait for a peer that cannot come.
        if matches!(meet, Some(Meet::Wait)) && !self.is_in_mesh(&to) {
            return Err(open_error(OpenError::NoRoute));
        }
        let (done, outcome) = oneshot::channel();
        self.command(BusCommand::Open { to, reliability, label, meet, done })?;
        outcome.await.map_err(|_| DittoError::closed())?.map_err(open_error)
    }

    /// The single messages that arrive from now on, and those held since no receiver was there (up to 1,024 messages or
    /// 8 MiB). Several receivers share the messages: each goes to one of them.
    pub fn incoming_messages(&self) -> BusMessages {
        BusMessages::new(self.state().inbox.clone())
    }

    /// The streams that others open from now on. While there is neither a receiver nor a delegate, streams are refused.
    pub fn incoming_streams(&self) -> IncomingStreams {
        IncomingStreams::new(self.state().inbox.clone())
    }

    /// Replaces who is told of single messages and streams (API-425); `None` for nobody. It is called on the executor, one
    /// call after the other. Receivers of [`Bus::incoming_messages`] and [`Bus::incoming_streams`] share with it.
    pub fn set_delegate(&self, delegate: Option<Arc<dyn BusDelegate>>) -> Result<(), DittoError> {
        let fresh = delegate.map(|d| Delegation::begin(self, d)).transpose()?;
        *self.state().delegation.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Replaces where callbacks of delegates run (API-426): of those that are set from now on. By default one thread of
    /// the instance, so that callbacks never overlap.
    pub fn set_executor(&self, executor: Arc<dyn BusExecutor>) {
        *self.state().executor.lock().unwrap_or_else(PoisonError::into_inner) = Some(executor);
    }

    /// Whether a second send to the same peer with the same reliability fails with
    /// [`ErrorKind::BusSendBeforeCompletion`] while the first is not completed (API-429), instead of waiting in line. Off at
    /// first.
    pub fn set_strict(&self, strict: bool) -> Result<(), DittoError> {
        self.command(BusCommand::Strict(strict))
    }

    pub(crate) fn state(&self) -> &BusState {
        &self.inner.node.bus
    }

    fn command(&self, command: BusCommand) -> Result<(), DittoError> {
        self.inner.node.command(Command::Bus(command))
    }

    fn is_in_mesh(&self, peer: &PeerKey) -> bool {
        self.inner.node.graph.borrow().has_remote(peer)
    }

    fn check_active(&self) -> Result<(), DittoError> {
        if self.inner.is_closed() {
            return Err(DittoError::closed());
        }
        if self.inner.node.is_active() {
            return Ok(());
        }
        Err(DittoError::new(
            ErrorKind::SyncNotActive,
            "sync is not running, and the Bus uses its connections",
        ))
    }
}

fn send_error(e: BusError) -> DittoError {
    let kind = match &e {
        BusError::PeerNotConnected => ErrorKind::PeerNotFound,
        BusError::PayloadTooLarge { .. } => ErrorKind::BusPayloadTooLarge,
        BusError::QueueFull => ErrorKind::BusQueueFull,
        BusError::SendBeforeCompletion => ErrorKind::BusSendBeforeCompletion,
        BusError::StreamClosed => ErrorKind::BusStreamClosed,
        _ => ErrorKind::BusSendFailed,
    };
    DittoError::new(kind, e.to_string())
}

fn open_error(e: OpenError) -> DittoError {
    let kind = match e {
        OpenError::NoRoute => ErrorKind::PeerNotFound,
        OpenError::Stopped => ErrorKind::SyncNotActive,
        _ => ErrorKind::BusOpenStreamFailed,
    };
    DittoError::new(kind, e.to_string())
}
