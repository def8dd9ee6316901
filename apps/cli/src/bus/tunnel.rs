//! A TCP connection inside a stream, with its half-closes.
//!
//! Each message begins with a byte: DATA, END of what this side sends, CONNECTED or REFUSED (with the reason as text),
//! one of which is the first word of the side that connects.

use std::fmt;
use std::time::Duration;

use ditto::{BusStream, DittoError, StreamEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

const DATA: u8 = 0;
const END: u8 = 1;
const CONNECTED: u8 = 2;
const REFUSED: u8 = 3;

/// Most bytes of one message.
const CHUNK: usize = 64 << 10;

/// How long a connection to the target may take; less than the opener of the stream waits for its first word.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_WORD: Duration = Duration::from_secs(20);

/// What was carried, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// From the TCP connection into the stream.
    pub(super) sent: u64,
    /// From the stream into the TCP connection.
    pub(super) received: u64,
}

/// Why a tunnel broke.
#[derive(Debug)]
pub(super) enum TunnelError {
    /// The other side could not or would not connect.
    Refused(String),
    /// The TCP connection here.
    Socket(std::io::Error),
    /// The stream, which ended before both sides had said END.
    Stream(String),
    /// The other end says what nobody says.
    Protocol,
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TunnelError::Refused(reason) => write!(f, "refused: {}", reason.escape_debug()),
            TunnelError::Socket(e) => write!(f, "connection: {e}"),
            TunnelError::Stream(reason) => write!(f, "{reason}"),
            TunnelError::Protocol => write!(f, "the other end does not speak the protocol of tunnels"),
        }
    }
}

impl From<std::io::Error> for TunnelError {
    fn from(e: std::io::Error) -> Self {
        TunnelError::Socket(e)
    }
}

impl From<DittoError> for TunnelError {
    fn from(e: DittoError) -> Self {
        TunnelError::Stream(e.to_string())
    }
}

/// The side that has the client: waits until the other has connected, then carries bytes.
pub(super) async fn open(tcp: TcpStream, stream: &BusStream) -> Result<Carried, TunnelError> {
    let first = tokio::time::timeout(FIRST_WORD, stream.recv()).await;
    let outcome = match first {
        Ok(Some(word)) => match word.split_first() {
            Some((&CONNECTED, [])) => Ok(()),
            Some((&REFUSED, reason)) => {
                Err(TunnelError::Refused(String::from_utf8_lossy(reason).into_owned()))
            }
            _ => Err(TunnelError::Protocol),
        },
        Ok(None) => Err(broken(stream)),
        Err(_) => Err(TunnelError::Refused("no answer".into())),
    };
    match outcome {
        Ok(()) => carry(tcp, stream).await,
        Err(e) => {
            // The client learns by a reset that this was no answer of the target.
            let _ = tcp.set_zero_linger();
            stream.abort();
            Err(e)
        }
    }
}

/// The side that connects to the target.
pub(super) async fn serve(stream: &BusStream, target: &str) -> Result<Carried, TunnelError> {
    let reason = match tokio::time::timeout(CONNECT, TcpStream::connect(target)).await {
        Ok(Ok(tcp)) => {
            stream.send([CONNECTED]).await?;
            return carry(tcp, stream).await;
        }
        Ok(Err(e)) => e.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT.as_secs()),
    };
    refuse(stream, &reason).await;
    Err(TunnelError::Refused(reason))
}

/// Says why there is no connection, and closes the stream.
pub(super) async fn refuse(stream: &BusStream, reason: &str) {
    let mut word = vec![REFUSED];
    word.extend_from_slice(reason.as_bytes());
    // Who does not hear it learns it from the end of the stream.
    let _ = stream.send(word).await;
    stream.close().await;
}

/// Carries both directions until both have ended. If either breaks, both do: with a reset, not as a regular end.
async fn carry(mut tcp: TcpStream, stream: &BusStream) -> Result<Carried, TunnelError> {
    let _ = tcp.set_nodelay(true);
    let outcome = {
        let (reader, writer) = tcp.split();
        tokio::try_join!(upload(reader, stream), download(writer, stream))
    };
    match outcome {
        Ok((sent, received)) => {
            stream.close().await;
            Ok(Carried { sent, received })
        }
        Err(e) => {
            let _ = tcp.set_zero_linger();
            stream.abort();
            Err(e)
        }
    }
}

async fn upload(mut reader: ReadHalf<'_>, stream: &BusStream) -> Result<u64, TunnelError> {
    let mut total = 0;
    loop {
        let mut word = Vec::with_capacity(CHUNK);
        word.push(DATA);
        let read = tokio::select! {
            biased;
            read = reader.read_buf(&mut word) => read?,
            // The other end closes only after our END, so this is a break.
            _ = stream.closed() => return Err(broken(stream)),
        };
        if read == 0 {
            let last = stream.send([END]).await?;
            // Closing would not wait for a reader that takes long.
            return match stream.wait_acked(last).await {
                Ok(()) => Ok(total),
                // It may close as soon as it has our END.
                Err(_) if stream.close_reason() == Some(StreamEnd::ClosedByRemote) => Ok(total),
                Err(_) => Err(broken(stream)),
            };
        }
        total += read as u64;
        stream.send(word).await?;
    }
}

async fn download(mut writer: WriteHalf<'_>, stream: &BusStream) -> Result<u64, TunnelError> {
    let mut total = 0;
    loop {
        let word = stream.recv().await.ok_or_else(|| broken(stream))?;
        match word.split_first() {
            Some((&DATA, data)) => {
                writer.write_all(data).await?;
                total += data.len() as u64;
            }
            Some((&END, [])) => {
                writer.shutdown().await?;
                return Ok(total);
            }
            _ => return Err(TunnelError::Protocol),
        }
    }
}

fn broken(stream: &BusStream) -> TunnelError {
    TunnelError::Stream(stream.close_reason().map_or_else(|| "closed".to_owned(), |r| r.to_string()))
}
