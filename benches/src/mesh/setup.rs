//! From the dial until both ends have verified each other.

use std::time::Instant;

use ditto_mesh::Action;
use tokio::sync::mpsc;

use super::bare::Bare;
use super::end::{End, Tell};
use super::{Three, repeats};
use crate::Outcome;
use crate::measure::{Stopwatch, quantile};
use crate::row::Report;

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let links = if quick { 50 } else { 200 };
    let (tls, tcp) = (Bare::tls().await?, Bare::tcp().await?);
    let (mut times, mut work) = (Vec::new(), Vec::new());
    for _ in 0..repeats(quick) {
        let ours = ours(links).await?;
        let tls = bare(&tls, links).await?;
        let tcp = bare(&tcp, links).await?;
        times.push(Three { ours: ours.0, tls: tls.0, tcp: tcp.0 });
        work.push(Three { ours: ours.1, tls: tls.1, tcp: tcp.1 });
    }
    let what = "link set-up, dial to both HELLOs verified";
    let ours_tls = |rows: &[Three]| rows.iter().map(|t| t.pair()).collect();
    report.median(
        &format!("{what}, p50"),
        ours_tls(&times),
        "mutual TLS 1.3 handshake, raw keys",
        "us",
        Some(3.0),
    );
    report.median(
        &format!("{what}, CPU of both ends"),
        ours_tls(&work),
        "mutual TLS 1.3 handshake, raw keys",
        "us",
        None,
    );
    let raw = times.iter().map(|t| (t.ours, t.tcp)).collect();
    report.median(&format!("{what}, p50"), raw, "TCP connect", "us", None);
    Ok(())
}

/// Median time and mean CPU of one link, in microseconds.
async fn ours(links: usize) -> Outcome<(f64, f64)> {
    let (to_a, mut at_a) = mpsc::unbounded_channel();
    let (to_b, mut at_b) = mpsc::unbounded_channel();
    let a = End::tcp(1, false, Tell(to_a)).await?;
    let b = End::tcp(2, true, Tell(to_b)).await?;
    let address = b.address.clone().ok_or("no address")?;
    let mut taken = Vec::new();
    let mut cpu = 0.0;
    for _ in 0..links {
        let watch = Stopwatch::start()?;
        let start = Instant::now();
        a.dial(&[&address]);
        wait(&mut at_a, |e| matches!(e, Action::PeerConnected(_))).await?;
        wait(&mut at_b, |e| matches!(e, Action::PeerConnected(_))).await?;
        taken.push(start.elapsed().as_secs_f64() * 1e6);
        cpu += watch.stop()?.cpu;
        a.dial(&[]);
        wait(&mut at_a, |e| matches!(e, Action::PeerDisconnected { .. })).await?;
        wait(&mut at_b, |e| matches!(e, Action::PeerDisconnected { .. })).await?;
    }
    Ok((quantile(&mut taken, 0.5), cpu * 1e6 / links as f64))
}

async fn wait(from: &mut mpsc::UnboundedReceiver<Action>, is: impl Fn(&Action) -> bool) -> Outcome<()> {
    loop {
        match from.recv().await {
            Some(action) if is(&action) => return Ok(()),
            Some(_) => {}
            None => return Err("an end is gone".into()),
        }
    }
}

async fn bare(bare: &Bare, links: usize) -> Outcome<(f64, f64)> {
    let mut taken = Vec::new();
    let mut cpu = 0.0;
    for _ in 0..links {
        let watch = Stopwatch::start()?;
        let start = Instant::now();
        let both = bare.connect().await?;
        taken.push(start.elapsed().as_secs_f64() * 1e6);
        cpu += watch.stop()?.cpu;
        drop(both);
    }
    Ok((quantile(&mut taken, 0.5), cpu * 1e6 / links as f64))
}
