//! Moving the bytes of one link between its pipe and the shim.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ditto_mesh::transport::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::packet::{MAX_PACKET, MIN_PACKET, PacketLink};
use super::radio::{Core, Inbound, Inbox, MAX_INBOX};
use super::{Profile, SendResult};

/// How long a link that was closed here may take to send what was written before.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes taken from the pipe at once.
const PIECE: usize = 16 << 10;

/// A handle of the shim. Dropping it closes the link, unless the shim has ended it.
pub(super) struct Wire {
    core: Arc<Core>,
    handle: u64,
    inbox: Inbox,
    ended: bool,
}

impl Wire {
    pub(super) fn new(core: Arc<Core>, handle: u64, inbox: Inbox) -> Self {
        Self { core, handle, inbox, ended: false }
    }

    /// The next report. `None` only when the shim has ended the link and that was told.
    pub(super) async fn next(&mut self) -> Option<Inbound> {
        let event = self.inbox.events.recv().await;
        match &event {
            Some(Inbound::Data(bytes)) => {
                self.inbox.queued.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            Some(Inbound::Failed(_) | Inbound::Down(_)) | None => self.ended = true,
            Some(Inbound::Up { .. }) => {}
        }
        event
    }

    /// Gives bytes to the radio and returns how many it took; 0 means that it is busy.
    fn send(&self, bytes: Vec<u8>) -> usize {
        let len = bytes.len();
        match self.core.shim.send(self.handle, bytes) {
            SendResult::Accepted { bytes } => usize::try_from(bytes).unwrap_or(len).min(len),
            SendResult::Busy => 0,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.ended {
            self.core.shim.close(self.handle);
        }
        self.core.release(self.handle);
    }
}

/// Serves a link until its end, which it explains in `end`. Says on `ready` that the stream can begin.
pub(super) async fn pump(
    mut wire: Wire,
    role: Role,
    profile: Profile,
    max_write: usize,
    far: DuplexStream,
    ready: oneshot::Sender<()>,
    end: Arc<OnceLock<String>>,
) {
    let (from_pipe, to_pipe) = split(far);
    let reason = match profile {
        Profile::Stream => {
            let mut stream = Stream { max_write: max_write.clamp(1, PIECE), from_pipe, to_pipe };
            if ready.send(()).is_err() { "closed here".to_owned() } else { stream.run(&mut wire).await }
        }
        Profile::Packet if max_write < MIN_PACKET => {
            format!("the radio takes packets of {max_write} bytes only, at least {MIN_PACKET} are needed")
        }
        Profile::Packet => {
            let began = Instant::now();
            let mut packets = Packets {
                link: PacketLink::new(role, max_write, 0),
                began,
                pending: None,
                incoming: VecDeque::new(),
                from_pipe,
                to_pipe,
            };
            packets.run(&mut wire, ready).await
        }
    };
    // Before the pipe is dropped, which is what the other end of it sees.
    let _ = end.set(reason);
    drop(wire);
}

/// Why a link ends whose bytes nobody takes.
const OVERRUN: &str = "more arrived than could be taken";

fn explain(event: Option<Inbound>) -> String {
    match event {
        Some(Inbound::Failed(code) | Inbound::Down(code)) => code.to_string(),
        Some(Inbound::Up { .. } | Inbound::Data(_)) | None => "the radio broke its contract".to_owned(),
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The stream profile: bytes go straight through.
struct Stream {
    max_write: usize,
    from_pipe: ReadHalf<DuplexStream>,
    to_pipe: WriteHalf<DuplexStream>,
}

impl Stream {
    async fn run(&mut self, wire: &mut Wire) -> String {
        let (writable, overrun) = (wire.inbox.writable.clone(), wire.inbox.overrun.clone());
        let mut outgoing: Vec<u8> = Vec::with_capacity(PIECE);
        let mut sent = 0;
        let mut incoming: Vec<u8> = Vec::new();
        let mut delivered = 0;
        let mut busy = false;
        let mut linger: Option<Instant> = None;
        loop {
            while !busy && sent < outgoing.len() {
                let until = outgoing.len().min(sent + self.max_write);
                let taken = wire.send(outgoing[sent..until].to_vec());
                sent += taken;
                busy = taken == 0;
            }
            if sent == outgoing.len() {
                outgoing.clear();
                sent = 0;
                if linger.is_some() {
                    return "closed here".to_owned();
                }
            }
            tokio::select! {
                event = wire.next(), if delivered == incoming.len() => match event {
                    Some(Inbound::Data(bytes)) => (incoming, delivered) = (bytes, 0),
                    other => return explain(other),
                },
                written = self.to_pipe.write(&incoming[delivered..]), if delivered < incoming.len() => match written {
                    Ok(n) if n > 0 => delivered += n,
                    // The link has ended here and nobody reads any more.
                    _ => return "closed here".to_owned(),
                },
                read = self.from_pipe.read_buf(&mut outgoing), if outgoing.is_empty() && linger.is_none() => {
                    if !matches!(read, Ok(n) if n > 0) {
                        linger = Some(Instant::now() + LINGER);
                    }
                }
                () = writable.notified(), if busy => busy = false,
                () = overrun.notified() => return OVERRUN.to_owned(),
                () = at(linger) => return "closed here".to_owned(),
            }
        }
    }
}

/// The packet profile: the packet layer between the pipe and the radio.
struct Packets {
    link: PacketLink,
    began: Instant,
    /// A packet that the radio was too busy for.
    pending: Option<Vec<u8>>,
    /// What arrived and the pipe has not taken.
    incoming: VecDeque<u8>,
    from_pipe: ReadHalf<DuplexStream>,
    to_pipe: WriteHalf<DuplexStream>,
}

impl Packets {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn run(&mut self, wire: &mut Wire, ready: oneshot::Sender<()>) -> String {
        let (writable, overrun) = (wire.inbox.writable.clone(), wire.inbox.overrun.clone());
        let mut ready = Some(ready);
        let mut linger: Option<Instant> = None;
        let mut buf = vec![0; MAX_PACKET];
        loop {
            if let Err(e) = self.flush(wire) {
                // Best effort: the other side finds out anyhow.
                wire.send(PacketLink::reset(e));
                return e.to_string();
            }
            if self.link.is_open()
                && let Some(ready) = ready.take()
                && ready.send(()).is_err()
            {
                return "closed here".to_owned();
            }
            if linger.is_some() && self.link.is_flushed() && self.pending.is_none() {
                return "closed here".to_owned();
            }
            let deadline = self.link.deadline().filter(|_| self.pending.is_none());
            let deadline = deadline.map(|ms| self.began + Duration::from_millis(ms));
            let room = self.link.room().min(buf.len());
            let arrived = self.incoming.as_slices().0;
            tokio::select! {
                event = wire.next() => match event {
                    Some(Inbound::Data(packet)) => {
                        let now = self.now();
                        match self.link.receive(&packet, now) {
                            Ok(bytes) => self.incoming.extend(bytes),
                            Err(e) => {
                                wire.send(PacketLink::reset(e));
                                return e.to_string();
                            }
                        }
                        if self.incoming.len() > MAX_INBOX {
                            return OVERRUN.to_owned();
                        }
                    }
                    other => return self.ended(explain(other)).await,
                },
                written = self.to_pipe.write(arrived), if !arrived.is_empty() => match written {
                    Ok(n) if n > 0 => drop(self.incoming.drain(..n)),
                    // The link has ended here and nobody reads any more.
                    _ => return "closed here".to_owned(),
                },
                read = self.from_pipe.read(&mut buf[..room]), if room > 0 && linger.is_none() => match read {
                    Ok(n) if n > 0 => self.link.push(buf[..n].to_vec()),
                    _ => linger = Some(Instant::now() + LINGER),
                },
                () = writable.notified(), if self.pending.is_some() => {}
                () = at(deadline) => {}
                () = overrun.notified() => return OVERRUN.to_owned(),
                () = at(linger) => return "closed here".to_owned(),
            }
        }
    }

    /// Gives packets to the radio until it is busy or there are none.
    fn flush(&mut self, wire: &Wire) -> Result<(), super::packet::PacketError> {
        loop {
            let waited = self.pending.is_some();
            let packet = match self.pending.take() {
                Some(packet) => packet,
                None => match self.link.poll(self.now())? {
                    Some(packet) => packet,
                    None => return Ok(()),
                },
            };
            if wire.send(packet.clone()) == 0 {
                self.pending = Some(packet);
                return Ok(());
            }
            if waited {
                let now = self.now();
                self.link.delayed(now);
            }
        }
    }

    /// Delivers what arrived before the end.
    async fn ended(&mut self, reason: String) -> String {
        let rest: Vec<u8> = self.incoming.drain(..).collect();
        // The reader may be gone; then nobody misses it. A reader that is not gone takes it or is stopped.
        let _ = self.to_pipe.write_all(&rest).await;
        reason
    }
}
