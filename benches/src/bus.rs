//! Messages between two processes on loopback (W10): ours beside TLS over TCP, which is the least that encrypts, raw TCP
//! QUIC, zenoh and ZeroMQ.
//!
//! Each pair of figures is taken in turn, several times; the row is the median of the ratios. One-way latency is half a
//! round trip. CPU is that of both processes. All of TLS, TCP and QUIC use the same code above the
//! transport. Neither zenoh nor ZeroMQ encrypts here.

mod frames;
mod ours;
mod peer;
mod streams;

use std::time::Duration;

use self::ours::Mesh;
pub(crate) use self::peer::{PEER, serve};
use self::streams::Rival;
use crate::Outcome;
use crate::measure::quantile;
use crate::row::{Report, note};

/// How a part of the group is named on the command line.
pub(crate) const PART: &str = "bus:";

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("64 KiB", 64 << 10)];

/// How much of everything.
struct Amount {
    repeats: usize,
    /// Round trips of a sample, by size.
    pings: [usize; 2],
    /// Messages of a flood, by size.
    flood: [u64; 2],
    /// Messages of a call, 50 a second.
    voice: u64,
    /// Documents of the sync that runs beside.
    documents: usize,
}

impl Amount {
    fn new(quick: bool) -> Self {
        if quick {
            Self { repeats: 3, pings: [1_000, 300], flood: [50_000, 1_000], voice: 250, documents: 20_000 }
        } else {
            Self {
                repeats: 7,
                pings: [3_000, 1_000],
                flood: [300_000, 4_000],
                voice: 3_000,
                documents: 100_000,
            }
        }
    }
}

const PARTS: [&str; 6] = ["latency", "flood", "unreliable", "hops", "voice", "sync"];

/// Runs one part, or all.
pub(crate) async fn run(report: &mut Report, part: &str, quick: bool) -> Outcome<()> {
    let amount = Amount::new(quick);
    let wanted = part.strip_prefix(PART).unwrap_or_default();
    if !wanted.is_empty() && !PARTS.contains(&wanted) {
        return Err(format!("there is no part {wanted}").into());
    }
    for name in PARTS.into_iter().filter(|name| wanted.is_empty() || *name == wanted) {
        note(name);
        match name {
            "latency" => latency(report, &amount).await?,
            "flood" => flood(report, &amount).await?,
            "unreliable" => unreliable(report, &amount).await?,
            "hops" => hops(report, &amount).await?,
            "voice" => voice(report, &amount).await?,
            _ => beside_sync(report, &amount).await?,
        }
    }
    Ok(())
}

/// Both figures of every repeat.
type Pairs = Vec<(f64, f64)>;

/// TLS, TCP, QUIC, and as far as they were built zenoh and ZeroMQ.
async fn rivals() -> Outcome<Vec<Rival>> {
    let mut all = vec![Rival::tls().await?, Rival::tcp().await?, Rival::quic().await?];
    for (name, kind) in [("zenoh", "zenoh"), ("ZeroMQ", "zmq")] {
        all.extend(Rival::elsewhere(name, kind)?);
    }
    Ok(all)
}

async fn latency(report: &mut Report, amount: &Amount) -> Outcome<()> {
    let mesh = Mesh::start(0).await?;
    let ours = mesh.echo(ditto::Reliability::Reliable).await?;
    let mut rivals = rivals().await?;
    for (at, (size_name, size)) in SIZES.into_iter().enumerate() {
        let n = amount.pings[at];
        // The first samples of each warm caches and connections.
        ours.ping(size, n / 4).await?;
        let mut p50 = vec![Pairs::new(); rivals.len()];
        let mut p99 = p50.clone();
        for _ in 0..amount.repeats {
            let mut mine = ours.ping(size, n).await?;
            for (i, rival) in rivals.iter_mut().enumerate() {
                let mut theirs = rival.ping(size, n).await?;
                p50[i].push((quantile(&mut mine, 0.5), quantile(&mut theirs, 0.5)));
                p99[i].push((quantile(&mut mine, 0.99), quantile(&mut theirs, 0.99)));
            }
        }
        let target = if at == 0 { 1.5 } else { 1.3 };
        let targets = [Some(target), None, Some(1.0), Some(1.0), None];
        for (i, rival) in rivals.iter().enumerate() {
            let row = format!("reliable one-way latency, {size_name}");
            report.median(&format!("{row}, p50"), p50[i].clone(), rival.name, "us", targets[i]);
            report.median(&format!("{row}, p99"), p99[i].clone(), rival.name, "us", targets[i]);
        }
    }
    ours.close().await;
    mesh.stop().await
}

async fn flood(report: &mut Report, amount: &Amount) -> Outcome<()> {
    let mesh = Mesh::start(0).await?;
    let mut rivals = rivals().await?;
    for (at, (size_name, size)) in SIZES.into_iter().enumerate() {
        let n = amount.flood[at];
        let mut cpu = vec![Pairs::new(); rivals.len()];
        let mut rate = cpu.clone();
        for _ in 0..amount.repeats {
            let mine = mesh.flood(size, n).await?;
            for (i, rival) in rivals.iter_mut().enumerate() {
                let theirs = rival.flood(size, n).await?;
                cpu[i].push((mine.cpu_us(n as usize), theirs.cpu_us(n as usize)));
                rate[i].push((mine.wall * 1e6 / n as f64, theirs.wall * 1e6 / n as f64));
            }
        }
        let targets = [Some(if at == 0 { 2.0 } else { 1.3 }), None, None, Some(1.0), None];
        for (i, rival) in rivals.iter().enumerate() {
            let row = format!("reliable flood, {size_name}");
            report.median(&row, cpu[i].clone(), rival.name, "us CPU of both/message", targets[i]);
            report.median(&row, rate[i].clone(), rival.name, "us/message", None);
        }
    }
    mesh.stop().await
}

async fn unreliable(report: &mut Report, amount: &Amount) -> Outcome<()> {
    let mesh = Mesh::start(0).await?;
    let reliable = mesh.echo(ditto::Reliability::Reliable).await?;
    let unreliable = mesh.echo(ditto::Reliability::Unreliable).await?;
    let mut rival = Rival::quic_datagrams().await?;
    let n = amount.pings[0];
    unreliable.ping(64, n / 4).await?;
    let (mut beside, mut quic): (Pairs, Pairs) = Default::default();
    for _ in 0..amount.repeats {
        let mine = quantile(&mut unreliable.ping(64, n).await?, 0.5);
        beside.push((mine, quantile(&mut reliable.ping(64, n).await?, 0.5)));
        quic.push((mine, quantile(&mut rival.ping(64, n).await?, 0.5)));
    }
    let row = "unreliable one-way latency, 64 B, p50";
    report.median(row, beside, "our reliable", "us", Some(1.2));
    report.median(row, quic, rival.name, "us", None);
    reliable.close().await;
    unreliable.close().await;

    // Faster than anything takes them: what does not arrive was shed, and is counted.
    let n = amount.flood[0];
    let f = mesh.flood_unreliable(64, n).await?;
    note(&format!(
        "unreliable flood, 64 B: {n} sent, {} arrived, {} shed here, {} shed there; the last came {:.1} ms after it was sent",
        f.arrived, f.shed_here, f.shed_there, f.last_ms
    ));
    let row = "unreliable flood, 64 B";
    report.add(
        &format!("{row}, messages of which nobody says what became of them"),
        n.abs_diff(f.arrived + f.shed_here + f.shed_there) as f64,
        ("all", n as f64),
        "messages",
        Some(0.0),
    );
    report.add(&format!("{row}, arrived"), f.arrived as f64, ("all", n as f64), "messages", None);
    report.limit(&format!("{row}, time in queues, p99"), f.queued_p99_ms, 200.0, "ms");
    mesh.stop().await
}

async fn hops(report: &mut Report, amount: &Amount) -> Outcome<()> {
    let (near, far) = (Mesh::start(0).await?, Mesh::start(2).await?);
    let direct = near.echo(ditto::Reliability::Reliable).await?;
    let relayed = far.echo(ditto::Reliability::Reliable).await?;
    relayed.ping(64, amount.pings[0] / 4).await?;
    let mut pairs = Pairs::new();
    for _ in 0..amount.repeats {
        let mut three = relayed.ping(64, amount.pings[0]).await?;
        let mut one = direct.ping(64, amount.pings[0]).await?;
        pairs.push((quantile(&mut three, 0.5), quantile(&mut one, 0.5)));
    }
    report.median("3 hops, one-way latency, 64 B, p50", pairs, "1 hop", "us", Some(3.5));
    let (size, n) = (SIZES[1].1, amount.flood[1] / 2);
    let mut pairs = Pairs::new();
    for _ in 0..amount.repeats.div_ceil(2) {
        let per_mib = |wall: f64| wall * 1e3 / (size as f64 * n as f64 / f64::from(1 << 20));
        let three = far.flood(size, n).await?;
        pairs.push((per_mib(three.wall), per_mib(near.flood(size, n).await?.wall)));
    }
    // A quarter of the throughput is four times the time.
    report.median("3 hops, flood, 64 KiB", pairs, "1 hop", "ms/MiB", Some(4.0));
    direct.close().await;
    relayed.close().await;
    near.stop().await?;
    far.stop().await
}

/// A call beside a bulk transfer, direct and over two relays.
async fn voice(report: &mut Report, amount: &Amount) -> Outcome<()> {
    for (relays, way) in [(0, "direct"), (2, "3 hops")] {
        let mesh = Mesh::start(relays).await?;
        let quiet = mesh.voice(amount.voice / 10, false).await?;
        let call = mesh.voice(amount.voice, true).await?;
        for (what, v) in [("alone", &quiet), ("beside a bulk transfer", &call)] {
            note(&format!(
                "{way}, {what}: {} arrived; p50 {:.2}, p99 {:.2}, longest {:.2}, jitter {:.2} ms; {:.0} MiB beside",
                v.arrived, v.p50, v.p99, v.longest, v.jitter, v.beside
            ));
        }
        let row =
            format!("call of {} s, 50 messages/s of 160 B, beside a bulk transfer, {way}", amount.voice / 50);
        report.add(&format!("{row}, p99"), call.p99, ("alone", quiet.p99), "ms", None);
        report.limit(&format!("{row}, p99"), call.p99, 100.0, "ms");
        report.add(&format!("{row}, jitter"), call.jitter, ("alone", quiet.jitter), "ms", None);
        // The time between two messages.
        report.limit(&format!("{row}, jitter"), call.jitter, 20.0, "ms");
        let lost = amount.voice.saturating_sub(call.arrived);
        report.add(
            &format!("{row}, lost"),
            lost as f64,
            ("all", amount.voice as f64),
            "messages",
            Some(0.01),
        );
        mesh.stop().await?;
    }
    Ok(())
}

async fn beside_sync(report: &mut Report, amount: &Amount) -> Outcome<()> {
    let mesh = Mesh::start_with(0, amount.documents).await?;
    let stream = mesh.echo(ditto::Reliability::Reliable).await?;
    stream.ping(64, 500).await?;
    let pause = Duration::from_millis(1);
    let mut idle =
        stream.ping_every(64, pause, async { tokio::time::sleep(Duration::from_secs(2)).await }).await?;
    let pulled = mesh.pull();
    let mut busy = stream.ping_every(64, pause, async { drop(pulled.await) }).await?;
    note(&format!("{} round trips while {} documents were synced", busy.len(), amount.documents));
    let (busy, idle) = (quantile(&mut busy, 0.99), quantile(&mut idle, 0.99));
    let row = format!("one-way latency, 64 B, p99, while {} documents are synced", amount.documents);
    report.add(&row, busy, ("idle", idle), "us", Some(5.0));
    report.limit(&row, busy / 1e3, 20.0, "ms");
    stream.close().await;
    mesh.stop().await
}
