//! Dialling and accepting over a radio, one task per link.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ditto_mesh::transport::{LinkId, NetEvent, Role};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex, split};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::pump::{Wire, pump};
use super::radio::{Core, Inbound, Inbox};
use super::{Profile, RadioKind};
use crate::link::{LinkInfo, run_link};
use crate::table::LinkPort;
use crate::tcp::MAX_ACCEPTED;

/// How long a connect may take: what the contract gives the shim, and a little more.
const CONNECT_LIMIT: Duration = Duration::from_secs(22);
/// What a pipe holds between the link and its radio. Little on a slow radio, so that `Written` means that it is sent.
const PIPE_PACKET: usize = 512;
const PIPE_STREAM: usize = 16 << 10;

pub(super) async fn run_dial(core: Arc<Core>, link: LinkId, mut port: LinkPort, device: u64) {
    let outcome = match core.open() {
        Ok((handle, inbox)) => {
            let mut wire = Wire::new(core.clone(), handle, inbox);
            core.shim.connect(handle, device);
            let connected = tokio::select! {
                biased;
                () = core.events.stopped() => Err("closed here".to_owned()),
                _ = &mut port.closed => Err("closed here".to_owned()),
                answer = timeout(CONNECT_LIMIT, connected(&mut wire)) => {
                    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs())))
                }
            };
            match connected {
                Ok((kind, max_write)) => {
                    let greeted = greet(&core, wire, Role::Dialer, kind, max_write);
                    tokio::select! {
                        biased;
                        () = core.events.stopped() => Err("closed here".to_owned()),
                        _ = &mut port.closed => Err("closed here".to_owned()),
                        pipe = greeted => pipe.map(|pipe| (kind, pipe)),
                    }
                }
                Err(reason) => Err(reason),
            }
        }
        Err(reason) => Err(reason),
    };
    match outcome {
        Ok((kind, pipe)) => {
            let remote = format!("{}/{device}", core.name);
            let info = LinkInfo { link, kind: kind.link_kind(), role: Role::Dialer, remote };
            serve(&core, info, port, pipe).await;
        }
        Err(reason) => {
            core.table.remove(link);
            tracing::debug!(%link, radio = core.name, device, reason, "dial failed");
            core.events.emit(NetEvent::DialFailed { link, reason }).await;
        }
    }
}

pub(super) async fn run_incoming(
    core: Arc<Core>,
    handle: u64,
    inbox: Inbox,
    kind: RadioKind,
    max_write: u32,
) {
    let wire = Wire::new(core.clone(), handle, inbox);
    let pipe = tokio::select! {
        biased;
        () = core.events.stopped() => return,
        pipe = greet(&core, wire, Role::Acceptor, kind, max_write) => pipe,
    };
    let pipe = match pipe {
        Ok(pipe) => pipe,
        Err(reason) => {
            tracing::debug!(radio = core.name, handle, reason, "incoming link refused");
            return;
        }
    };
    // Where that fails, the transport is shut or full, and dropping the pipe closes the link.
    if let Ok((link, port)) = core.table.accepted(MAX_ACCEPTED, None) {
        let remote = format!("{}/incoming-{handle}", core.name);
        let info = LinkInfo { link, kind: kind.link_kind(), role: Role::Acceptor, remote };
        serve(&core, info, port, pipe).await;
    }
}

async fn connected(wire: &mut Wire) -> Result<(RadioKind, u32), String> {
    loop {
        match wire.next().await {
            Some(Inbound::Up { kind, max_write }) => return Ok((kind, max_write)),
            Some(Inbound::Failed(code) | Inbound::Down(code)) => return Err(code.to_string()),
            // Nothing can arrive before the link is up.
            Some(Inbound::Data(_)) => {}
            None => return Err("the radio broke its contract".to_owned()),
        }
    }
}

/// The near end of a link's pipe, and why the far end ended.
struct Near {
    pipe: DuplexStream,
    end: Arc<OnceLock<String>>,
}

/// Starts moving bytes, and waits until both sides are ready for the stream.
async fn greet(
    core: &Arc<Core>,
    wire: Wire,
    role: Role,
    kind: RadioKind,
    max_write: u32,
) -> Result<Near, String> {
    let size = match kind.profile() {
        Profile::Packet => PIPE_PACKET,
        Profile::Stream => PIPE_STREAM,
    };
    let (near, far) = duplex(size);
    let end = Arc::new(OnceLock::new());
    let (ready, is_ready) = oneshot::channel();
    let max_write = usize::try_from(max_write).unwrap_or(usize::MAX);
    core.table.spawn(pump(wire, role, kind.profile(), max_write, far, ready, end.clone()));
    match is_ready.await {
        Ok(()) => Ok(Near { pipe: near, end }),
        Err(_) => Err(end.get().cloned().unwrap_or_else(|| "closed".to_owned())),
    }
}

async fn serve(core: &Arc<Core>, info: LinkInfo, port: LinkPort, near: Near) {
    let (reader, writer) = split(near.pipe);
    let reader = Explained { reader, end: near.end };
    run_link(&core.table, &core.events, info, port, reader, writer).await;
}

/// A reader that says why it ended.
struct Explained<R> {
    reader: R,
    end: Arc<OnceLock<String>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Explained<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buf))?;
        if buf.filled().len() == before
            && let Some(reason) = self.end.get()
        {
            return Poll::Ready(Err(io::Error::other(reason.clone())));
        }
        Poll::Ready(Ok(()))
    }
}
