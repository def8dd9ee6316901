//! A large amount of data one way.

use std::time::Instant;

use bytes::Bytes;
use ditto_mesh::{Action, Input, Lane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::bare::Bare;
use super::end::{App, End};
use super::{Three, repeats};
use crate::Outcome;
use crate::measure::{Stopwatch, Taken};
use crate::row::Report;

/// Size of one message and of one write.
const PIECE: usize = 64 << 10;

/// Messages that wait in the session.
const AHEAD: usize = 16;

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let mib = if quick { 64 } else { 256 };
    let (tls, tcp) = (Bare::tls().await?, Bare::tcp().await?);
    let (mut times, mut work) = (Vec::new(), Vec::new());
    for _ in 0..repeats(quick) {
        let ours = ours(mib).await?;
        let tls = bare(&tls, mib).await?;
        let tcp = bare(&tcp, mib).await?;
        let per_mib = |v: f64| v * 1e6 / mib as f64;
        times.push(Three { ours: per_mib(ours.wall), tls: per_mib(tls.wall), tcp: per_mib(tcp.wall) });
        work.push(Three { ours: per_mib(ours.cpu), tls: per_mib(tls.cpu), tcp: per_mib(tcp.cpu) });
    }
    let what = format!("{mib} MiB through a session");
    let pairs = |rows: &[Three]| rows.iter().map(|t| t.pair()).collect();
    // At least 0.75 of its rate.
    report.median(&what, pairs(&times), "tokio-rustls", "us/MiB", Some(1.0 / 0.75));
    report.median(&format!("{what}, CPU of both ends"), pairs(&work), "tokio-rustls", "us/MiB", None);
    report.median(&what, times.iter().map(|t| (t.ours, t.tcp)).collect(), "TCP", "us/MiB", None);
    Ok(())
}

/// Keeps the lane full until everything is sent.
struct Source {
    /// The same bytes again and again, as the peers send them.
    piece: Bytes,
    left: usize,
    waiting: usize,
}

impl App for Source {
    fn on(&mut self, action: Action, inputs: &mut Vec<Input>) {
        let peer = match action {
            Action::PeerConnected(info) => info.peer,
            Action::Transmitted { peer, .. } => {
                self.waiting -= 1;
                peer
            }
            _ => return,
        };
        while self.waiting < AHEAD && self.left > 0 {
            self.left -= 1;
            self.waiting += 1;
            inputs.push(Input::Send { peer, lane: Lane::SyncBulk, bytes: self.piece.clone(), tag: 1 });
        }
    }
}

/// Takes everything and says when the last byte is here.
struct Target {
    left: usize,
    begun: Option<Instant>,
    done: mpsc::UnboundedSender<()>,
}

impl App for Target {
    fn on(&mut self, action: Action, inputs: &mut Vec<Input>) {
        let Action::Message { peer, lane, bytes } = action else { return };
        self.begun.get_or_insert_with(Instant::now);
        self.left -= bytes.len();
        inputs.push(Input::Consumed { peer, lane, bytes: bytes.len() });
        if self.left == 0 {
            let _ = self.done.send(());
        }
    }
}

async fn ours(mib: usize) -> Outcome<Taken> {
    let (done, mut finished) = mpsc::unbounded_channel();
    let b = End::tcp(2, true, Target { left: mib << 20, begun: None, done }).await?;
    let source = Source { piece: vec![7; PIECE].into(), left: (mib << 20) / PIECE, waiting: 0 };
    let a = End::tcp(1, false, source).await?;
    let address = b.address.clone().ok_or("no address")?;
    let watch = Stopwatch::start()?;
    a.dial(&[&address]);
    finished.recv().await.ok_or("the receiver is gone")?;
    watch.stop()
}

async fn bare(bare: &Bare, mib: usize) -> Outcome<Taken> {
    let watch = Stopwatch::start()?;
    let (mut from, mut to) = bare.connect().await?;
    let send = tokio::spawn(async move {
        let piece = vec![7; PIECE];
        for _ in 0..(mib << 20) / PIECE {
            from.write_all(&piece).await?;
        }
        from.flush().await?;
        Ok::<_, std::io::Error>(from)
    });
    let receive = tokio::spawn(async move {
        let (mut left, mut buffer) = (mib << 20, vec![0; PIECE]);
        while left > 0 {
            match to.read(&mut buffer).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => left -= n,
            }
        }
        Ok::<_, std::io::Error>(to)
    });
    let (_from, _to) = (send.await??, receive.await??);
    watch.stop()
}
