//! TCP: the listener, and dialling with name resolution and timeouts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ditto_mesh::transport::{LinkId, LinkKind, NetEvent, Role};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::error::NetError;
use crate::link::{LinkInfo, run_link};
use crate::sink::EventSink;
use crate::table::{AcceptRefusal, DialRefusal, LinkPort, LinkTable};

/// Accepted links that may be open at once. A guard for memory and descriptors; the mesh has its own, lower limit.
pub(crate) const MAX_ACCEPTED: usize = 512;
/// How long a dial may take, with the resolution of the name and all addresses.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address may be silent before the next one is tried beside it.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
const BACKLOG: i32 = 256;
const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(50);
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(2);
/// Shortest time between two notices about refused connections.
const FULL_NOTICE: Duration = Duration::from_secs(30);
/// Name of this transport in `Condition` events.
const SOURCE: &str = "Tcp";

/// Binds the first usable address of `address`.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, NetError> {
    let listen_address = |reason: String| NetError::ListenAddress { address: address.to_owned(), reason };
    let mut candidates: Vec<SocketAddr> =
        lookup_host(address).await.map_err(|e| listen_address(e.to_string()))?.take(MAX_ADDRESSES).collect();
    if let [only] = candidates[..]
        && only.is_ipv6()
        && only.ip().is_unspecified()
    {
        // A machine without IPv6 still has "every address".
        candidates.push((Ipv4Addr::UNSPECIFIED, only.port()).into());
    }
    let mut failure = listen_address("the host has no address".to_owned());
    for candidate in candidates {
        match bind_one(candidate) {
            Ok(listener) => return Ok(listener),
            Err(source) => failure = NetError::Listen { address: candidate.to_string(), source },
        }
    }
    Err(failure)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option would let another process take the port away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Where connections come from.
pub(crate) trait Accept {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

/// Accepts until the transport stops, as long as fewer than `limit` accepted links are open. No error ends it:
/// descriptors may run out and come back.
pub(crate) async fn accept_loop(
    mut listener: impl Accept,
    limit: usize,
    table: Arc<LinkTable>,
    sink: EventSink,
) {
    let mut retry = ACCEPT_RETRY_MIN;
    let mut failing = false;
    let mut full_notice: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = sink.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(e) if is_about_one_connection(&e) => continue,
            Err(e) => {
                tracing::warn!(error = %e, "accepting connections fails");
                if !failing {
                    failing = true;
                    condition(&sink, format!("accepting connections fails: {e}")).await;
                }
                tokio::select! {
                    () = sink.stopped() => return,
                    () = sleep(retry) => {}
                }
                retry = (retry * 2).min(ACCEPT_RETRY_MAX);
                continue;
            }
        };
        retry = ACCEPT_RETRY_MIN;
        if failing {
            failing = false;
            condition(&sink, "ok".to_owned()).await;
        }
        match table.accepted(limit) {
            Ok((link, port)) => {
                let (spawner, table, sink) = (table.clone(), table.clone(), sink.clone());
                spawner.spawn(async move {
                    serve(&table, &sink, link, port, Role::Acceptor, stream, remote).await;
                });
            }
            Err(AcceptRefusal::Shut) => return,
            Err(AcceptRefusal::Full) => {
                drop(stream);
                if full_notice.is_none_or(|at| at.elapsed() >= FULL_NOTICE) {
                    full_notice = Some(Instant::now());
                    tracing::warn!(%remote, limit, "connection refused: at capacity");
                    condition(&sink, format!("at capacity: {limit} accepted connections")).await;
                }
            }
        }
    }
}

async fn condition(sink: &EventSink, text: String) {
    sink.emit(NetEvent::Condition { source: SOURCE.to_owned(), text }).await;
}

/// Whether the failure concerns a connection that was already gone, so that the next one can be accepted at once.
fn is_about_one_connection(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Starts dialling `target`, a `host:port`.
pub(crate) fn dial(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, target: &str) {
    let (sink, target) = (sink.clone(), target.to_owned());
    match table.dialled(link) {
        Ok(port) => {
            let dialler = table.clone();
            table.spawn(async move { run_dial(&dialler, &sink, link, port, &target).await });
        }
        Err(refusal) => refuse_dial(table, &sink, link, refusal),
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

async fn run_dial(table: &Arc<LinkTable>, sink: &EventSink, link: LinkId, mut port: LinkPort, target: &str) {
    let outcome = tokio::select! {
        biased;
        () = sink.stopped() => Err("closed here".to_owned()),
        _ = &mut port.closed => Err("closed here".to_owned()),
        outcome = timeout(DIAL_TIMEOUT, connect(target)) => match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} s", DIAL_TIMEOUT.as_secs())),
        },
    };
    match outcome {
        Ok((stream, remote)) => serve(table, sink, link, port, Role::Dialer, stream, remote).await,
        Err(reason) => {
            table.remove(link);
            tracing::debug!(%link, target, reason, "dial failed");
            sink.emit(NetEvent::DialFailed { link, reason }).await;
        }
    }
}

/// Tries every address of `target`, each beside the earlier ones, and takes the first that answers.
async fn connect(target: &str) -> Result<(TcpStream, SocketAddr), String> {
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

async fn serve(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    link: LinkId,
    port: LinkPort,
    role: Role,
    stream: TcpStream,
    remote: SocketAddr,
) {
    if let Err(e) = stream.set_nodelay(true) {
        // The link works without it, only with more delay.
        tracing::debug!(%link, error = %e, "set nodelay");
    }
    let remote = SocketAddr::new(canonical(remote.ip()), remote.port()).to_string();
    let (reader, writer) = stream.into_split();
    let info = LinkInfo { link, kind: LinkKind::AccessPoint, role, remote };
    run_link(table, sink, info, port, reader, writer).await;
}

/// The IPv4 address inside an IPv4-mapped one, as a dual-stack listener reports it.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;

    use super::*;

    /// Fails some times before it lets the listener do its work.
    struct Flaky {
        failures: Vec<io::ErrorKind>,
        listener: TcpListener,
    }

    impl Accept for Flaky {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            match self.failures.pop() {
                Some(kind) => Err(kind.into()),
                None => self.listener.accept().await,
            }
        }
    }

    async fn event(events: &mut mpsc::Receiver<NetEvent>) -> NetEvent {
        timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
    }

    fn is_condition(event: &NetEvent, expected: &str) -> bool {
        matches!(event, NetEvent::Condition { source, text } if source == SOURCE && text.contains(expected))
    }

    #[tokio::test]
    async fn failures_to_accept_are_told_once_and_outlived() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let failures = vec![
            io::ErrorKind::Other,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::Other,
            io::ErrorKind::ConnectionAborted,
        ];
        let (sender, mut events) = mpsc::channel(8);
        let (sink, _stopper) = EventSink::new(sender);
        tokio::spawn(accept_loop(Flaky { failures, listener }, 8, LinkTable::new(), sink));
        assert!(is_condition(&event(&mut events).await, "accepting connections fails"));
        let _stream = TcpStream::connect(address).await.unwrap();
        assert!(is_condition(&event(&mut events).await, "ok"));
        assert!(matches!(event(&mut events).await, NetEvent::LinkUp { .. }));
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_closed_until_there_is_room() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut events) = mpsc::channel(8);
        let (sink, _stopper) = EventSink::new(sender);
        tokio::spawn(accept_loop(listener, 1, LinkTable::new(), sink));
        let first = TcpStream::connect(address).await.unwrap();
        assert!(matches!(event(&mut events).await, NetEvent::LinkUp { .. }));
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(is_condition(&event(&mut events).await, "at capacity"));
        assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
        drop(first);
        assert!(matches!(event(&mut events).await, NetEvent::LinkDown { .. }));
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(matches!(event(&mut events).await, NetEvent::LinkUp { .. }));
    }
}
