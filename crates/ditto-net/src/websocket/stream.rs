//! A WebSocket as a byte stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, error::ProtocolError};

/// Largest message that we send.
const MAX_SEND: usize = 64 * 1024;
/// Largest message, in any number of frames, that we take. What is bigger ends the link.
pub(super) const MAX_MESSAGE: usize = 128 * 1024;
const READ_BUFFER: usize = 16 * 1024;

/// Sizes of every WebSocket here. A message is written at once, so that `Written` means what it says.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// The binary messages of a WebSocket, joined. Pings are answered; anything else is refused with a close code.
///
/// A write that was given up must be repeated with the same bytes, as [`crate::link`] does: they may be under way.
pub(crate) struct ByteStream<S> {
    socket: WebSocketStream<S>,
    /// Read and not yet taken.
    rest: Bytes,
    /// Bytes of the message that the socket has and the operating system may not have.
    unflushed: usize,
    /// The other side has said goodbye, or broke the rules and was told so. Nothing of it is looked at any more.
    over: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    pub(super) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, rest: Bytes::new(), unflushed: 0, over: false }
    }

    /// Tells the other side why, as far as that goes without waiting.
    fn refuse(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) -> io::Error {
        self.over = true;
        let frame = CloseFrame { code, reason: reason.into() };
        // The link ends whether or not it hears us.
        if self.socket.start_send_unpin(Message::Close(Some(frame))).is_ok() {
            let _ = Pin::new(&mut self.socket).poll_flush(cx);
        }
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }

    /// Reads to the end of the connection, so that its reset does not overtake our last message.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(self.socket.get_mut()).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: impl FnOnce() -> Bytes,
    ) -> Poll<io::Result<usize>> {
        if self.unflushed == 0 {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
            let message = message();
            self.unflushed = message.len();
            self.socket.start_send_unpin(Message::Binary(message)).map_err(io_error)?;
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(io_error)?;
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed)))
    }
}

fn io_error(e: Error) -> io::Error {
    match e {
        Error::Io(e) => e,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        e => io::Error::other(e),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.over {
                return this.poll_discard(cx);
            }
            if !this.rest.is_empty() {
                let n = this.rest.len().min(buf.remaining());
                buf.put_slice(&this.rest.split_to(n));
                return Poll::Ready(Ok(()));
            }
            let error = match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    this.rest = bytes;
                    continue;
                }
                // The library answers it.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_))) => {
                    // The library has prepared the answer; a failure means that nobody waits for it.
                    this.over = true;
                    let _ = Pin::new(&mut this.socket).poll_flush(cx);
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    this.refuse(cx, CloseCode::Unsupported, "only binary messages are understood")
                }
                Some(Err(Error::Capacity(_))) => this.refuse(cx, CloseCode::Size, "the message is too long"),
                Some(Err(Error::Utf8(_))) => this.refuse(cx, CloseCode::Invalid, "the text is not UTF-8"),
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                    io::ErrorKind::ConnectionReset.into()
                }
                Some(Err(Error::Protocol(_))) => {
                    this.refuse(cx, CloseCode::Protocol, "a frame is not as WebSocket has it")
                }
                Some(Err(e)) => io_error(e),
            };
            return Poll::Ready(Err(error));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, || Bytes::copy_from_slice(&buf[..buf.len().min(MAX_SEND)]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, || {
            let total: usize = slices.iter().map(|s| s.len()).sum();
            let mut message = Vec::with_capacity(total.min(MAX_SEND));
            for slice in slices {
                let room = MAX_SEND - message.len();
                message.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            message.into()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io_error)
    }
}
