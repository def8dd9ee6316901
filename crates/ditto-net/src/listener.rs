//! A TCP listener: binding it, and taking connections from it whatever happens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ditto_mesh::transport::NetEvent;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, sleep};

use crate::error::NetError;
use crate::sink::EventSink;

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
const BACKLOG: i32 = 256;
const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(50);
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(2);
/// Failures in a row after which the socket is made anew. Some systems take sockets away from an app that was suspended,
/// or with the interface they are bound to.
const RENEW_AFTER: u32 = 6;
/// Shortest time between two notices about refused connections.
const FULL_NOTICE: Duration = Duration::from_secs(30);

/// A bound listener.
pub(crate) struct Listener {
    /// Absent only when it could not be made anew.
    socket: Option<TcpListener>,
    address: SocketAddr,
}

impl Listener {
    /// Binds the first usable address of `address`; `what` is the listener's name in errors.
    pub(crate) async fn bind(what: &'static str, address: &str) -> Result<Self, NetError> {
        let listen_address = |reason: String| NetError::ListenAddress { address: address.to_owned(), reason };
        let mut candidates: Vec<SocketAddr> = lookup_host(address)
            .await
            .map_err(|e| listen_address(e.to_string()))?
            .take(MAX_ADDRESSES)
            .collect();
        if let [only] = candidates[..]
            && only.is_ipv6()
            && only.ip().is_unspecified()
        {
            // A machine without IPv6 still has "every address".
            candidates.push((Ipv4Addr::UNSPECIFIED, only.port()).into());
        }
        let mut failure = listen_address("the host has no address".to_owned());
        for candidate in candidates {
            match Self::bind_to(candidate) {
                Ok(listener) => return Ok(listener),
                Err(source) => {
                    failure = NetError::Listen { listener: what, address: candidate.to_string(), source };
                    // Falling back to another family would hide that the port is taken.
                    if in_use(&failure) {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    fn bind_to(address: SocketAddr) -> io::Result<Self> {
        let socket = open(address)?;
        let address = socket.local_addr()?;
        Ok(Self { socket: Some(socket), address })
    }

    /// Where it listens, with the port it got.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Whether the failure is that something else listens there.
pub(crate) fn in_use(e: &NetError) -> bool {
    matches!(e, NetError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
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
pub(crate) trait Accept: Send {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;

    /// Makes the socket anew at the same address.
    fn renew(&mut self) -> io::Result<()>;
}

impl Accept for Listener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.socket {
            Some(socket) => socket.accept().await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn renew(&mut self) -> io::Result<()> {
        // The old one holds the port.
        self.socket = None;
        self.socket = Some(open(self.address)?);
        Ok(())
    }
}

/// What became of an accepted connection.
pub(crate) enum Taken {
    /// It is served.
    Yes,
    /// There is no room: as many as this says are open. It is closed.
    Full(String),
    /// The transport is shut down.
    Shut,
}

/// Gives every connection to `take` until the sink stops. No error ends it: descriptors may run out and come back, and a
/// socket that goes on failing is made anew. `source` is its name in conditions.
pub(crate) async fn accept_loop(
    mut listener: impl Accept,
    source: &'static str,
    sink: EventSink,
    mut take: impl FnMut(TcpStream, SocketAddr) -> Taken + Send,
) {
    let mut retry = ACCEPT_RETRY_MIN;
    let mut failures = 0;
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
                tracing::warn!(error = %e, source, "accepting connections fails");
                failures += 1;
                if failures == 1 {
                    condition(&sink, source, format!("accepting connections fails: {e}")).await;
                }
                tokio::select! {
                    () = sink.stopped() => return,
                    () = sleep(retry) => {}
                }
                retry = (retry * 2).min(ACCEPT_RETRY_MAX);
                if failures >= RENEW_AFTER && !out_of_descriptors(&e) {
                    match listener.renew() {
                        Ok(()) => tracing::info!(source, "the listener was made anew"),
                        Err(e) => tracing::warn!(error = %e, source, "make the listener anew"),
                    }
                }
                continue;
            }
        };
        retry = ACCEPT_RETRY_MIN;
        if failures > 0 {
            failures = 0;
            condition(&sink, source, "ok".to_owned()).await;
        }
        match take(stream, remote) {
            Taken::Yes => {}
            Taken::Shut => return,
            Taken::Full(limit) => {
                if full_notice.is_none_or(|at| at.elapsed() >= FULL_NOTICE) {
                    full_notice = Some(Instant::now());
                    tracing::warn!(%remote, limit, source, "connection refused: at capacity");
                    condition(&sink, source, format!("at capacity: {limit}")).await;
                }
            }
        }
    }
}

async fn condition(sink: &EventSink, source: &str, text: String) {
    sink.emit(NetEvent::Condition { source: source.to_owned(), text }).await;
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

/// Whether the process or the system has no descriptor left; a socket given back now may not come back.
fn out_of_descriptors(e: &io::Error) -> bool {
    // ENFILE and EMFILE, the same on Linux, Android and the Apple systems.
    cfg!(unix) && matches!(e.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;
    use crate::table::LinkTable;
    use crate::tcp;

    const SOURCE: &str = "Tcp";

    /// Fails some times before it lets the listener do its work.
    struct Flaky {
        failures: Vec<io::ErrorKind>,
        renewals: usize,
        listener: Listener,
    }

    impl Accept for Flaky {
        async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
            match self.failures.pop() {
                Some(kind) => Err(kind.into()),
                None => self.listener.accept().await,
            }
        }

        fn renew(&mut self) -> io::Result<()> {
            if self.renewals == 0 {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            self.renewals -= 1;
            self.failures.clear();
            self.listener.renew()
        }
    }

    async fn event(events: &mut mpsc::Receiver<NetEvent>) -> NetEvent {
        timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
    }

    fn is_condition(event: &NetEvent, expected: &str) -> bool {
        matches!(event, NetEvent::Condition { source, text } if source == SOURCE && text.contains(expected))
    }

    /// Accepts links in a task of its own.
    fn accept(listener: impl Accept + 'static, limit: usize, sink: EventSink) {
        let table = LinkTable::new();
        tokio::spawn(async move {
            let links = sink.clone();
            accept_loop(listener, SOURCE, sink, |s, r| tcp::take(&table, &links, limit, s, r)).await;
        });
    }

    #[tokio::test]
    async fn failures_to_accept_are_told_once_and_outlived() {
        let listener = Listener::bind("TCP", "127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let failures = vec![
            io::ErrorKind::Other,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::Other,
            io::ErrorKind::ConnectionAborted,
        ];
        let (sender, mut events) = mpsc::channel(8);
        let (sink, _stopper) = EventSink::new(sender);
        accept(Flaky { failures, renewals: 0, listener }, 8, sink);
        assert!(is_condition(&event(&mut events).await, "accepting connections fails"));
        let _stream = TcpStream::connect(address).await.unwrap();
        assert!(is_condition(&event(&mut events).await, "ok"));
        assert!(matches!(event(&mut events).await, NetEvent::LinkUp { .. }));
    }

    #[tokio::test]
    async fn a_socket_that_goes_on_failing_is_made_anew_at_the_same_address() {
        let listener = Listener::bind("TCP", "127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (sender, mut events) = mpsc::channel(8);
        let (sink, _stopper) = EventSink::new(sender);
        let failures = vec![io::ErrorKind::NetworkDown; 10_000];
        accept(Flaky { failures, renewals: 1, listener }, 8, sink);
        assert!(is_condition(&event(&mut events).await, "accepting connections fails"));
        // Before the renewal it waits in the old backlog, which the renewal closes.
        let connected = async {
            loop {
                let stream = TcpStream::connect(address).await;
                match timeout(Duration::from_millis(500), event(&mut events)).await {
                    Ok(e) if is_condition(&e, "ok") => return (stream, event(&mut events).await),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => {}
                }
            }
        };
        let (stream, up) = timeout(Duration::from_secs(30), connected).await.unwrap();
        assert!(stream.is_ok() && matches!(up, NetEvent::LinkUp { .. }));
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_closed_until_there_is_room() {
        let listener = Listener::bind("TCP", "127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (sender, mut events) = mpsc::channel(8);
        let (sink, _stopper) = EventSink::new(sender);
        accept(listener, 1, sink);
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
