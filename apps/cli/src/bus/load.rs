//! `ditto bus bench`: as many messages as the way takes, or so many a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use ditto::{BusStream, StreamStats};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::join::{JoinArgs, Joined};
use super::ping::ended;
use super::{LABEL_LOAD, reliability};
use crate::failure::Failure;
use crate::output;

#[derive(Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Key of the peer, the beginning of it, or its name.
    peer: String,
    /// Bytes of a message.
    #[arg(long, short, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    size: u32,
    /// For how long, in seconds.
    #[arg(long, short = 't', default_value_t = 5.0)]
    seconds: f64,
    /// Messages a second; as many as possible when absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// At most once, at most 128 KiB.
    #[arg(long)]
    unreliable: bool,
}

/// How often the other end reports what has arrived.
const REPORT: Duration = Duration::from_millis(100);

/// How long the sender waits for reports that bring nothing new.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: LoadArgs) -> Result<(), Failure> {
    let json = args.join.json;
    let limit =
        Duration::try_from_secs_f64(args.seconds).map_err(|e| Failure::usage(format!("--seconds: {e}")))?;
    let joined = Joined::start(args.join, "ditto bus bench").await?;
    let to = joined.find(&args.peer).await?;
    let stream = joined.bus().open_stream(&to, reliability(args.unreliable), LABEL_LOAD).await?;
    let arrived = Arc::new(AtomicU64::new(0));
    let reports = tokio::spawn(read_reports(stream.clone(), arrived.clone()));
    let start = Instant::now();
    let sent = offer(&stream, args.size as usize, limit, args.rate).await?;
    let stats = settle(&stream, sent, &arrived).await?;
    let took = start.elapsed().as_secs_f64();
    reports.abort();
    stream.close().await;
    joined.close().await?;
    let arrived = arrived.load(Ordering::Relaxed);
    let rate = arrived as f64 / took;
    let mbit = rate * f64::from(args.size) * 8.0 / 1e6;
    if json {
        let line = json!({
            "peer": to.to_string(), "seconds": took, "sent": sent, "arrived": arrived,
            "dropped": stats.dropped_outgoing, "messagesPerSecond": rate, "megabitsPerSecond": mbit,
            "roundTripMs": stats.round_trip,
        });
        output::text(&line.to_string());
    } else {
        output::text(&format!(
            "{sent} messages of {} bytes in {took:.2} s: {arrived} arrived, {} shed before they left; {rate:.0} a second, {mbit:.1} Mbit/s",
            args.size, stats.dropped_outgoing
        ));
    }
    Ok(())
}

async fn offer(stream: &BusStream, size: usize, limit: Duration, rate: Option<u32>) -> Result<u64, Failure> {
    let mut clock = rate.map(|rate| {
        let mut clock = tokio::time::interval(Duration::from_secs(1) / rate);
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        clock
    });
    let end = Instant::now() + limit;
    let mut sent = 0;
    while Instant::now() < end {
        if let Some(clock) = &mut clock {
            clock.tick().await;
        }
        sent = stream.send(vec![0; size]).await?;
    }
    Ok(sent)
}

/// Waits until everything has arrived, or nothing more does.
async fn settle(stream: &BusStream, sent: u64, arrived: &AtomicU64) -> Result<StreamStats, Failure> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let stats = stream.stats().await.ok_or_else(|| ended(stream))?;
        let now = arrived.load(Ordering::Relaxed);
        if now + stats.dropped_outgoing >= sent {
            return Ok(stats);
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        // What is lost on an unreliable stream never arrives.
        let lossy = stream.reliability() == ditto::Reliability::Unreliable;
        if since.elapsed() > if lossy { 5 * REPORT } else { PATIENCE } {
            return Ok(stats);
        }
        tokio::time::sleep(REPORT / 10).await;
    }
}

async fn read_reports(stream: BusStream, arrived: Arc<AtomicU64>) {
    while let Some(report) = stream.recv().await {
        if let Ok(count) = <[u8; 8]>::try_from(report) {
            arrived.fetch_max(u64::from_le_bytes(count), Ordering::Relaxed);
        }
    }
}

/// The other end: counts, and reports the count. Says how much there was.
pub(super) async fn serve(stream: &BusStream) -> (u64, u64) {
    let (mut messages, mut bytes, mut reported) = (0, 0, 0);
    let mut clock = tokio::time::interval(REPORT);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = stream.recv() => match message {
                Some(message) => {
                    messages += 1;
                    bytes += message.len() as u64;
                }
                None => return (messages, bytes),
            },
            // A report that waits must not stop the reading, which is what the sender waits for.
            _ = clock.tick(), if stream.is_ready() && messages > reported => {
                reported = messages;
                let (stream, report) = (stream.clone(), messages.to_le_bytes());
                tokio::spawn(async move { stream.send(report.to_vec()).await });
            }
        }
    }
}
