//! `ditto bus ping`: round trips of messages.

use std::time::{Duration, Instant};

use clap::Args;
use ditto::BusStream;
use serde_json::json;

use super::join::{JoinArgs, Joined};
use super::{LABEL_ECHO, reliability};
use crate::failure::Failure;
use crate::output;

#[derive(Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Key of the peer, the beginning of it, or its name.
    peer: String,
    /// How many messages.
    #[arg(long, short, default_value_t = 10)]
    count: u64,
    /// Bytes of a message.
    #[arg(long, short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    size: u32,
    /// Milliseconds between messages.
    #[arg(long, short, default_value_t = 200)]
    interval: u64,
    /// At most once, at most 128 KiB.
    #[arg(long)]
    unreliable: bool,
    /// How long to wait for an answer, in milliseconds.
    #[arg(long, default_value_t = 5_000)]
    timeout: u64,
}

pub(crate) async fn run(args: PingArgs) -> Result<(), Failure> {
    let json = args.join.json;
    let joined = Joined::start(args.join, "ditto bus ping").await?;
    let to = joined.find(&args.peer).await?;
    let stream = joined.bus().open_stream(&to, reliability(args.unreliable), LABEL_ECHO).await?;
    let mut times = Vec::new();
    for number in 1..=args.count {
        let start = Instant::now();
        let answer = tokio::time::timeout(
            Duration::from_millis(args.timeout),
            round_trip(&stream, number, args.size as usize),
        );
        match answer.await {
            Ok(answered) => {
                answered?;
                let took = start.elapsed();
                times.push(took);
                if !json {
                    let ms = took.as_secs_f64() * 1e3;
                    output::text(&format!("{} bytes from {to}: seq={number} time={ms:.3} ms", args.size));
                }
            }
            Err(_) if !json => output::text(&format!("no answer: seq={number}")),
            Err(_) => {}
        }
        if number < args.count {
            tokio::time::sleep(Duration::from_millis(args.interval).saturating_sub(start.elapsed())).await;
        }
    }
    stream.close().await;
    joined.close().await?;
    let summary = Summary::of(&times);
    if json {
        let line = json!({
            "peer": to.to_string(), "sent": args.count, "received": times.len(),
            "minMs": summary.min, "medianMs": summary.median, "maxMs": summary.max, "jitterMs": summary.jitter,
        });
        output::text(&line.to_string());
    } else {
        output::text(&format!("{} sent, {} answered; {summary}", args.count, times.len()));
    }
    if times.is_empty() && args.count > 0 {
        return Err(Failure::environment("no answer"));
    }
    Ok(())
}

/// Sends a numbered message and waits until it is back; what is late from an earlier round is skipped.
async fn round_trip(stream: &BusStream, number: u64, size: usize) -> Result<(), Failure> {
    let mut message = number.to_le_bytes().to_vec();
    message.resize(size, 0);
    stream.send(message).await?;
    loop {
        match stream.recv().await {
            Some(answer) if answer.starts_with(&number.to_le_bytes()) => return Ok(()),
            Some(_) => {}
            None => return Err(ended(stream)),
        }
    }
}

/// The failure of a stream that has ended too early.
pub(super) fn ended(stream: &BusStream) -> Failure {
    let reason = stream.close_reason();
    Failure::environment(reason.map_or_else(|| "the instance was closed".to_owned(), |r| r.to_string()))
}

/// Milliseconds; 0 without samples.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// Mean difference between one and the next.
    pub(super) jitter: f64,
}

impl Summary {
    pub(super) fn of(times: &[Duration]) -> Self {
        let ms: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1e3).collect();
        let mut sorted = ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
        };
        let steps: f64 = ms.iter().zip(ms.iter().skip(1)).map(|(a, b)| (a - b).abs()).sum();
        let jitter = steps / ms.len().saturating_sub(1).max(1) as f64;
        Self { min: at(0.0), median: at(0.5), p99: at(0.99), max: at(1.0), jitter }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, median, p99, max, jitter } = self;
        write!(f, "min {min:.3}, median {median:.3}, p99 {p99:.3}, max {max:.3}, jitter {jitter:.3} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_orders_times_and_measures_jitter_in_their_order() {
        let s = Summary::of(&[3, 1, 2].map(Duration::from_millis));
        assert_eq!((s.min, s.median, s.max, s.jitter), (1.0, 2.0, 3.0, 1.5));
        let none = Summary::of(&[]);
        assert_eq!((none.min, none.p99, none.jitter), (0.0, 0.0, 0.0));
    }
}
