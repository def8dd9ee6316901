//! A small message on an idle session, there and back; half of that is one way.

use std::time::Instant;

use ditto_mesh::{Action, Input, Lane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::bare::{Bare, BoxStream};
use super::end::{App, End};
use super::{Three, repeats};
use crate::Outcome;
use crate::measure::{Stopwatch, quantile};
use crate::row::Report;

const SIZE: usize = 64;

/// Rounds before measuring.
const WARM: usize = 500;

/// Microseconds of each message one way, and the CPU of both ends for one.
struct Times {
    each: Vec<f64>,
    cpu: f64,
}

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let rounds = if quick { 4_000 } else { 20_000 };
    let (tls, tcp) = (Bare::tls().await?, Bare::tcp().await?);
    let (mut p50, mut p99, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats(quick) {
        let mut ours = ours(rounds).await?;
        let mut tls = bare(&tls, rounds).await?;
        let mut tcp = bare(&tcp, rounds).await?;
        let mut of = |q: f64| Three {
            ours: quantile(&mut ours.each, q),
            tls: quantile(&mut tls.each, q),
            tcp: quantile(&mut tcp.each, q),
        };
        p50.push(of(0.5));
        p99.push(of(0.99));
        cpu.push(Three { ours: ours.cpu, tls: tls.cpu, tcp: tcp.cpu });
    }
    let what = "64 B in an idle session, one way";
    let pairs = |rows: &[Three]| rows.iter().map(|t| t.pair()).collect();
    report.median(&format!("{what}, p50"), pairs(&p50), "tokio-rustls", "us", Some(1.4));
    report.median(&format!("{what}, p99"), pairs(&p99), "tokio-rustls", "us", Some(3.0));
    report.median(&format!("{what}, CPU of both ends"), pairs(&cpu), "tokio-rustls", "us", None);
    report.median(&format!("{what}, p50"), p50.iter().map(|t| (t.ours, t.tcp)).collect(), "TCP", "us", None);
    Ok(())
}

/// Sends a message, waits for its echo, and so on.
struct Ping {
    left: usize,
    sent: Instant,
    taken: Vec<f64>,
    done: mpsc::UnboundedSender<Vec<f64>>,
}

struct Echo;

fn answer(action: Action, inputs: &mut Vec<Input>) -> bool {
    let Action::Message { peer, lane, bytes } = action else { return false };
    inputs.push(Input::Consumed { peer, lane, bytes: bytes.len() });
    inputs.push(Input::Send { peer, lane, bytes: bytes.into(), tag: 1 });
    true
}

impl App for Ping {
    fn on(&mut self, action: Action, inputs: &mut Vec<Input>) {
        if let Action::PeerConnected(info) = action {
            self.sent = Instant::now();
            inputs.push(Input::Send {
                peer: info.peer,
                lane: Lane::Bus,
                bytes: vec![7; SIZE].into(),
                tag: 1,
            });
        } else if self.left > 0 && answer(action, inputs) {
            self.left -= 1;
            self.taken.push(self.sent.elapsed().as_secs_f64() * 1e6 / 2.0);
            self.sent = Instant::now();
            if self.left == 0 {
                // Nobody waits any more when the measurement has failed.
                let _ = self.done.send(std::mem::take(&mut self.taken));
            }
        }
    }
}

impl App for Echo {
    fn on(&mut self, action: Action, inputs: &mut Vec<Input>) {
        answer(action, inputs);
    }
}

async fn ours(rounds: usize) -> Outcome<Times> {
    let (done, mut finished) = mpsc::unbounded_channel();
    let left = rounds + WARM;
    let b = End::tcp(2, true, Echo).await?;
    let a = End::tcp(1, false, Ping { left, sent: Instant::now(), taken: Vec::new(), done }).await?;
    let address = b.address.clone().ok_or("no address")?;
    let watch = Stopwatch::start()?;
    a.dial(&[&address]);
    let mut each = finished.recv().await.ok_or("the sender is gone")?;
    let cpu = watch.stop()?.cpu_us(2 * left);
    each.drain(..WARM);
    Ok(Times { each, cpu })
}

async fn bare(bare: &Bare, rounds: usize) -> Outcome<Times> {
    let left = rounds + WARM;
    let watch = Stopwatch::start()?;
    let (mut from, mut to) = bare.connect().await?;
    let echo = tokio::spawn(async move {
        let mut buffer = [0; SIZE];
        for _ in 0..left {
            to.read_exact(&mut buffer).await?;
            put(&mut to, &buffer).await?;
        }
        Ok::<_, std::io::Error>(to)
    });
    let ping = tokio::spawn(async move {
        let (mut buffer, mut each) = ([7; SIZE], Vec::new());
        for _ in 0..left {
            let sent = Instant::now();
            put(&mut from, &buffer).await?;
            from.read_exact(&mut buffer).await?;
            each.push(sent.elapsed().as_secs_f64() * 1e6 / 2.0);
        }
        Ok::<_, std::io::Error>((from, each))
    });
    let ((_from, mut each), _to) = (ping.await??, echo.await??);
    let cpu = watch.stop()?.cpu_us(2 * left);
    each.drain(..WARM);
    Ok(Times { each, cpu })
}

async fn put(stream: &mut BoxStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
