//! One byte-stream link: its reader, its writer and its end.
//!
//! The reader and the writer of a link make progress independently inside one task, which is also the only place that
//! reports the link's events. That is why they are in order and why the last one, `LinkDown`, comes exactly once.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ditto_mesh::transport::{LinkId, LinkKind, NetEvent, Role};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::sink::{EventSink, Slot};
use crate::table::{LinkPort, LinkTable};

/// Largest piece that one `Bytes` event carries.
const READ_MAX: usize = 64 * 1024;
/// Bytes read without a pause after which the other tasks of the thread are let in.
const READ_TURN: usize = 4 * READ_MAX;
/// Size of the read buffer of a quiet link.
const READ_MIN: usize = 4 * 1024;
/// Most writes joined into one system call.
const GATHER: usize = 64;
/// Bytes written from which on the mesh is told at once, because it may wait for room.
const REPORT_NOW: usize = 8 * 1024;
/// How long it may take until it hears of less. On a busy session it hears of it with the bytes that come back, which saves
/// waking it for every small message.
const REPORT_WITHIN: Duration = Duration::from_millis(2);
/// How long a closed link may take to send what was written before, and then to hear the other side's end.
const LINGER: Duration = Duration::from_secs(1);

/// What a link is, besides its bytes.
pub(crate) struct LinkInfo {
    pub(crate) link: LinkId,
    pub(crate) kind: LinkKind,
    pub(crate) role: Role,
    pub(crate) remote: String,
}

/// Serves an open link until its end: `LinkUp`, then `Bytes` and `Written`, then `LinkDown`.
pub(crate) async fn run_link<R, W>(
    table: &Arc<LinkTable>,
    sink: &EventSink,
    info: LinkInfo,
    port: LinkPort,
    mut reader: R,
    mut writer: W,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let LinkInfo { link, kind, role, remote } = info;
    let LinkPort { outbox, mut closed, queued } = port;
    let unreported = AtomicUsize::new(0);
    let mut outgoing = Outgoing::new(link, outbox, queued, &unreported);
    tracing::debug!(%link, %kind, %remote, "link up");
    sink.emit(NetEvent::LinkUp { link, kind, role, remote }).await;

    let end = {
        let read = pin!(read_loop(&mut reader, link, sink, &unreported));
        let write = pin!(outgoing.run(&mut writer, sink));
        // Neither direction may starve the other while both are always ready, so their order is random.
        let traffic = async {
            tokio::select! {
                reason = read => End::Gone(reason),
                result = write => match result {
                    // The outbox ends only when the link is closed from this side.
                    Ok(()) => End::ClosedHere,
                    Err(e) => End::WriteFailed(e),
                },
            }
        };
        tokio::select! {
            biased;
            _ = &mut closed => End::ClosedHere,
            () = sink.stopped() => End::ClosedHere,
            end = traffic => end,
        }
    };

    let reason = match end {
        End::Gone(reason) => reason,
        End::WriteFailed(e) => {
            // The other side may have said why before it closed.
            let _ = timeout(LINGER, async {
                tokio::select! {
                    _ = read_loop(&mut reader, link, sink, &unreported) => {}
                    _ = &mut closed => {}
                }
            })
            .await;
            format!("write: {e}")
        }
        End::ClosedHere => {
            // Reading goes on so that a peer that is itself stuck in a write can get to read ours.
            let finish = timeout(LINGER, async {
                outgoing.run(&mut writer, sink).await?;
                writer.shutdown().await
            });
            tokio::select! {
                _ = finish => {}
                () = async { discard(&mut reader).await; pending().await } => {}
            }
            "closed here".to_owned()
        }
    };

    table.remove(link);
    tracing::debug!(%link, reason, "link down");
    sink.emit(NetEvent::LinkDown { link, reason }).await;
    // Dropping a socket with unread bytes resets it, and a reset can overtake our last bytes.
    let _ = timeout(LINGER, discard(&mut reader)).await;
}

enum End {
    /// The other side closed, or reading failed.
    Gone(String),
    WriteFailed(io::Error),
    ClosedHere,
}

/// Reads until the end of the stream, which it explains. Waits while the consumer of the events is behind.
///
/// What was written and is not yet reported goes ahead of what was read.
async fn read_loop<R: AsyncRead + Unpin>(
    reader: &mut R,
    link: LinkId,
    sink: &EventSink,
    unreported: &AtomicUsize,
) -> String {
    // The buffer follows the traffic, so that idle links cost little.
    let mut size = READ_MIN;
    let mut buf = Vec::with_capacity(size);
    let mut turn = 0;
    loop {
        match reader.read_buf(&mut buf).await {
            Ok(0) => return "closed by the other side".to_owned(),
            Ok(n) => {
                let bytes = if n * 2 >= buf.capacity() {
                    size = (size * 2).min(READ_MAX);
                    std::mem::replace(&mut buf, Vec::with_capacity(size))
                } else {
                    let bytes = buf.as_slice().to_vec();
                    buf.clear();
                    if n * 8 < size && size > READ_MIN {
                        size /= 2;
                        buf = Vec::with_capacity(size);
                    }
                    bytes
                };
                if unreported.load(Ordering::Relaxed) > 0
                    && let Some(slot) = sink.try_reserve()
                {
                    report(link, unreported, slot);
                }
                if !sink.emit(NetEvent::Bytes { link, bytes }).await {
                    return "closed here".to_owned();
                }
                turn += n;
                if turn >= READ_TURN {
                    turn = 0;
                    tokio::task::yield_now().await;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return format!("read: {e}"),
        }
    }
}

/// What a link has to send. Everything that is not yet written is in here, so that its work can be interrupted at any
/// await and taken up again.
struct Outgoing<'a> {
    link: LinkId,
    outbox: mpsc::UnboundedReceiver<Vec<u8>>,
    total: Arc<AtomicUsize>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of the first waiting buffer that are written.
    offset: usize,
    /// Bytes written and not yet reported.
    unreported: &'a AtomicUsize,
    /// When they are, if it runs. It is not set anew for every write, which would cost more than the report.
    timer: Pin<Box<Sleep>>,
    is_armed: bool,
    ended: bool,
}

impl<'a> Outgoing<'a> {
    fn new(
        link: LinkId,
        outbox: mpsc::UnboundedReceiver<Vec<u8>>,
        total: Arc<AtomicUsize>,
        unreported: &'a AtomicUsize,
    ) -> Self {
        let timer = Box::pin(sleep(REPORT_WITHIN));
        let (waiting, offset, is_armed, ended) = (VecDeque::new(), 0, false, false);
        Self { link, outbox, total, waiting, offset, unreported, timer, is_armed, ended }
    }

    fn unreported(&self) -> usize {
        self.unreported.load(Ordering::Relaxed)
    }

    /// Writes what comes out of the outbox until the outbox ends and everything is written.
    ///
    /// A consumer that is slow in taking `Written` events gets fewer of them with higher counts; it never slows the
    /// writing down.
    async fn run<W: AsyncWrite + Unpin>(&mut self, writer: &mut W, sink: &EventSink) -> io::Result<()> {
        loop {
            self.gather();
            if self.waiting.is_empty() {
                if self.ended {
                    writer.flush().await?;
                    if let Some(slot) = sink.try_reserve() {
                        report(self.link, self.unreported, slot);
                    }
                    return Ok(());
                }
                let some = self.unreported();
                if some > 0 && some < REPORT_NOW && !self.is_armed {
                    self.is_armed = true;
                    self.timer.as_mut().reset(Instant::now() + REPORT_WITHIN);
                }
                tokio::select! {
                    biased;
                    slot = sink.reserve(), if some >= REPORT_NOW => match slot {
                        Some(slot) => report(self.link, self.unreported, slot),
                        // Nobody counts any more.
                        None => self.unreported.store(0, Ordering::Relaxed),
                    },
                    next = self.outbox.recv() => match next {
                        Some(bytes) => self.enqueue(bytes),
                        None => self.ended = true,
                    },
                    () = self.timer.as_mut(), if self.is_armed => {
                        self.is_armed = false;
                        if let Some(slot) = sink.try_reserve() {
                            report(self.link, self.unreported, slot);
                        }
                    }
                }
                continue;
            }
            match self.write_some(writer).await {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            // While something waits the report also tells how fast the link is.
            if (!self.waiting.is_empty() || self.unreported() >= REPORT_NOW)
                && let Some(slot) = sink.try_reserve()
            {
                report(self.link, self.unreported, slot);
            }
        }
    }

    fn gather(&mut self) {
        while self.waiting.len() < GATHER {
            match self.outbox.try_recv() {
                Ok(bytes) => self.enqueue(bytes),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    break;
                }
            }
        }
    }

    fn enqueue(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.waiting.push_back(bytes);
        }
    }

    async fn write_some<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); GATHER];
        let mut used = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.waiting) {
            let from = if used == 0 { self.offset } else { 0 };
            *slice = IoSlice::new(&bytes[from..]);
            used += 1;
        }
        writer.write_vectored(&slices[..used]).await
    }

    fn advance(&mut self, mut n: usize) {
        self.unreported.fetch_add(n, Ordering::Relaxed);
        // Whoever sees that nothing is left may write next.
        self.total.fetch_sub(n, Ordering::Release);
        while let Some(first) = self.waiting.front() {
            let left = first.len() - self.offset;
            if n < left {
                self.offset += n;
                return;
            }
            n -= left;
            self.offset = 0;
            self.waiting.pop_front();
        }
    }
}

fn report(link: LinkId, unreported: &AtomicUsize, slot: Slot<'_>) {
    let bytes = unreported.swap(0, Ordering::Relaxed);
    if bytes > 0 {
        slot.fill(NetEvent::Written { link, bytes });
    }
}

/// Reads to the end of the stream without looking at it.
async fn discard<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut buf = [0u8; 1024];
    while matches!(reader.read(&mut buf).await, Ok(n) if n > 0) {}
}
