//! TCP links: taking them from the listener, and dialling with name resolution and timeouts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ditto_mesh::transport::{LinkId, LinkKind, NetEvent, Role};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::link::{LinkInfo, run_link};
use crate::listener::Taken;
use crate::sink::EventSink;
use crate::table::{AcceptRefusal, DialRefusal, LinkPort, LinkTable};

/// Accepted links that may be open at once. A guard for memory and descriptors; the mesh has its own, lower limit.
pub(crate) const MAX_ACCEPTED: usize = 512;
/// How many of them may come from one address, so that a single machine cannot keep all others out. Loopback is not
/// counted.
pub(crate) const MAX_PER_ADDRESS: usize = 32;
/// How long a dial may take, with the resolution of the name and all addresses.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address may be silent before the next one is tried beside it.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Makes a link of an accepted connection, if fewer than `limit` are open.
pub(crate) fn take(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    limit: usize,
    stream: TcpStream,
    remote: SocketAddr,
) -> Taken {
    match table.accepted(limit, Some(remote.ip())) {
        Ok((link, port)) => {
            let (owner, sink) = (table.clone(), sink.clone());
            table.spawn(async move { serve(&owner, &sink, link, port, stream, remote).await });
            Taken::Yes
        }
        Err(AcceptRefusal::Full) => Taken::Full(format!("{limit} accepted connections")),
        Err(AcceptRefusal::FullForAddress) => {
            Taken::Full(format!("{MAX_PER_ADDRESS} accepted connections from {}", canonical(remote.ip())))
        }
        Err(AcceptRefusal::Shut) => Taken::Shut,
    }
}

/// Starts dialling `target`, a `host:port`.
pub(crate) fn dial(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, target: &str) {
    let target = target.to_owned();
    let owner = table.clone();
    dial_with(table, sink, link, LinkKind::AccessPoint, async move {
        let (stream, remote) = connect(&target).await?;
        if let Err(e) = stream.set_nodelay(true) {
            // The link works without it, only with more delay.
            tracing::debug!(%link, error = %e, "set nodelay");
        }
        let (reader, writer) = split(&owner, link, stream);
        Ok((reader, writer, shown(remote)))
    });
}

/// Opens a link by `connect`, which gives the reader, the writer and the address of the other end for display. It is
/// given up after ten seconds.
pub(crate) fn dial_with<R, W>(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    link: LinkId,
    kind: LinkKind,
    connect: impl Future<Output = Result<(R, W, String), String>> + Send + 'static,
) where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    match table.dialled(link) {
        Ok(port) => {
            let (owner, sink) = (table.clone(), sink.clone());
            table.spawn(async move { run_dial(&owner, &sink, link, kind, port, connect).await });
        }
        Err(refusal) => refuse_dial(table, sink, link, refusal),
    }
}

/// Answers a dial that cannot even start.
pub(crate) fn refuse_dial(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, refusal: DialRefusal) {
    match refusal {
        DialRefusal::Reserved => {
            fail_dial(table, sink, link, "the id of the link is reserved for accepted links".to_owned());
        }
        DialRefusal::Duplicate => tracing::error!(%link, "dial ignored: the id of the link is in use"),
        DialRefusal::Shut => tracing::debug!(%link, "dial ignored: the transport is shut down"),
    }
}

/// Reports a failed dial from outside of any task.
pub(crate) fn fail_dial(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, reason: String) {
    let sink = sink.clone();
    table.spawn(async move {
        sink.emit(NetEvent::DialFailed { link, reason }).await;
    });
}

async fn run_dial<R, W>(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    link: LinkId,
    kind: LinkKind,
    mut port: LinkPort,
    connect: impl Future<Output = Result<(R, W, String), String>>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let outcome = tokio::select! {
        biased;
        () = sink.stopped() => Err("closed here".to_owned()),
        _ = &mut port.closed => Err("closed here".to_owned()),
        outcome = timeout(DIAL_TIMEOUT, connect) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", DIAL_TIMEOUT.as_secs())),
        },
    };
    match outcome {
        Ok((reader, writer, remote)) => {
            let info = LinkInfo { link, kind, role: Role::Dialer, remote };
            run_link(table, sink, info, port, reader, writer).await;
        }
        Err(reason) => {
            table.remove(link);
            tracing::debug!(%link, reason, "dial failed");
            sink.emit(NetEvent::DialFailed { link, reason }).await;
        }
    }
}

/// Tries every address of `target`, each beside the earlier ones, and takes the first that answers.
pub(crate) async fn connect(target: &str) -> Result<(TcpStream, SocketAddr), String> {
    let addresses: Vec<SocketAddr> = lookup_host(target)
        .await
        .map_err(|e| format!("resolve {target:?}: {e}"))?
        .take(MAX_ADDRESSES)
        .collect();
    let mut remaining = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = format!("resolve {target:?}: the host has no address");
    loop {
        let next = remaining.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(async move {
                TcpStream::connect(address)
                    .await
                    .map(|s| (s, address))
                    .map_err(|e| format!("connect {address}: {e}"))
            });
        }
        // Waits for an answer, but not longer than the next address should wait for its turn.
        loop {
            let finished = if more {
                match timeout(NEXT_ADDRESS, attempts.join_next()).await {
                    Ok(finished) => finished,
                    Err(_) => break,
                }
            } else {
                attempts.join_next().await
            };
            match finished {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(reason))) => failure = reason,
                Some(Err(e)) => failure = format!("connect: {e}"),
                None if more => break,
                None => return Err(failure),
            }
        }
    }
}

/// Serves an accepted link.
async fn serve(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    link: LinkId,
    port: LinkPort,
    stream: TcpStream,
    remote: SocketAddr,
) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(%link, error = %e, "set nodelay");
    }
    let (reader, writer) = split(table, link, stream);
    let info = LinkInfo { link, kind: LinkKind::AccessPoint, role: Role::Acceptor, remote: shown(remote) };
    run_link(table, sink, info, port, reader, writer).await;
}

/// The two halves of a link. The table gets to write as well.
fn split(table: &LinkTable, link: LinkId, stream: TcpStream) -> (OwnedReadHalf, Writer) {
    let (reader, writer) = stream.into_split();
    let writer = Arc::new(writer);
    table.set_direct(link, writer.clone());
    (reader, Writer(writer))
}

/// The half that the task of the link writes, when the table does not.
struct Writer(Arc<OwnedWriteHalf>);

impl Writer {
    fn stream(&self) -> &TcpStream {
        (*self.0).as_ref()
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream().poll_write_ready(cx))?;
            match write(self.stream()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.stream()).shutdown(std::net::Shutdown::Write))
    }
}

/// An address for display.
pub(crate) fn shown(remote: SocketAddr) -> String {
    SocketAddr::new(canonical(remote.ip()), remote.port()).to_string()
}

/// The IPv4 address inside an IPv4-mapped one, as a dual-stack listener reports it.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
