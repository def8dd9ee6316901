//! Our Bus between two processes, with relays between them if wanted.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ditto::{BusStream, Ditto, MeshEvent, PeerKey, Reliability, SyncState};
use tempfile::TempDir;

use super::peer::{Peer, ready};
use crate::Outcome;
use crate::engine::{documents, import, open};
use crate::measure::{Stopwatch, Taken, quantile};

/// Labels of streams.
const ECHO: &str = "echo";
const FLOOD: &str = "flood";
/// Asks for what an unreliable flood has led to.
const COUNT: &str = "count";
/// Notes when messages come; an empty one asks for the figures.
const VOICE: &str = "voice";
/// Takes what comes.
const SINK: &str = "sink";
/// Syncs all documents, and says when they are there.
const PULL: &str = "pull";

/// This process, another, and so many relays in a line between them.
pub(super) struct Mesh {
    ditto: Ditto,
    far: PeerKey,
    // Relays go after the peers.
    _far: Peer,
    _relays: Vec<Peer>,
    _directory: TempDir,
}

/// What became of an unreliable flood.
#[derive(Debug)]
pub(super) struct Shed {
    pub(super) arrived: u64,
    pub(super) shed_here: u64,
    pub(super) shed_there: u64,
    pub(super) queued_p99_ms: f64,
    pub(super) last_ms: f64,
}

/// How a steady stream of small messages arrived.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) arrived: u64,
    /// Milliseconds on the way.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) longest: f64,
    /// Mean difference between the times of one message and the next.
    pub(super) jitter: f64,
    /// MiB that went beside it.
    pub(super) beside: f64,
}

async fn start(directory: &Path, connect: Option<&str>) -> Outcome<Ditto> {
    let ditto = open(directory).await?;
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer().enable_tcp_listen("127.0.0.1", 0);
            if let Some(address) = connect {
                c.add_tcp_server(address);
            }
        })
        .await?;
    ditto.sync().start().await?;
    Ok(ditto)
}

fn address(ditto: &Ditto) -> Outcome<String> {
    Ok(ditto.sync().listen_address().ok_or("no listener")?.to_string())
}

impl Mesh {
    pub(super) async fn start(relays: usize) -> Outcome<Self> {
        Self::start_with(relays, 0).await
    }

    /// With so many documents here.
    pub(super) async fn start_with(relays: usize, n: usize) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        if n > 0 {
            let ditto = open(directory.path()).await?;
            import(&ditto, &documents(n)).await?;
            ditto.close().await?;
        }
        let far = Peer::start("mesh", &[])?;
        let mut line = Vec::new();
        let mut next = far.word(0)?.to_owned();
        for _ in 0..relays {
            let relay = Peer::start("mesh", &[&next])?;
            next = relay.word(0)?.to_owned();
            line.push(relay);
        }
        let ditto = start(directory.path(), Some(&next)).await?;
        let key: PeerKey = far.word(1)?.parse()?;
        let end = Instant::now() + Duration::from_secs(30);
        while !ditto.presence().graph().remote_peers.iter().any(|p| p.peer_key == key) {
            if Instant::now() > end {
                return Err("the peers do not see each other".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { ditto, far: key, _far: far, _relays: line, _directory: directory })
    }

    async fn stream(&self, reliability: Reliability, label: &str) -> Outcome<BusStream> {
        Ok(self.ditto.bus().open_stream(&self.far, reliability, label).await?)
    }

    pub(super) async fn echo(&self, reliability: Reliability) -> Outcome<Echo> {
        Ok(Echo { stream: self.stream(reliability, ECHO).await? })
    }

    pub(super) async fn flood(&self, size: usize, n: u64) -> Outcome<Taken> {
        let stream = self.stream(Reliability::Reliable, FLOOD).await?;
        let watch = Stopwatch::start()?;
        stream.send(n.to_le_bytes()).await?;
        for _ in 0..n {
            stream.send(vec![7; size]).await?;
        }
        let theirs = stream.recv().await.and_then(|m| m.try_into().ok()).map(f64::from_le_bytes);
        let mut taken = watch.stop()?;
        taken.cpu += theirs.ok_or("no report")?;
        stream.close().await;
        Ok(taken)
    }

    /// Sends as fast as messages are accepted; each carries the time at which it was sent.
    pub(super) async fn flood_unreliable(&self, size: usize, n: u64) -> Outcome<Shed> {
        let stream = self.stream(Reliability::Unreliable, FLOOD).await?;
        for _ in 0..n {
            let mut message = now_us().to_le_bytes().to_vec();
            message.resize(size, 7);
            stream.send(message).await?;
        }
        let ask = self.stream(Reliability::Reliable, COUNT).await?;
        let mut last = 0;
        // Until all that waited was sent or shed, and nothing more arrives.
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            ask.send("").await?;
            let answer = ask.recv().await.ok_or("no answer")?;
            let numbers: Vec<u64> = answer
                .chunks_exact(8)
                .map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default()))
                .collect();
            let [arrived, shed_there, p99, longest] = numbers[..] else {
                return Err("a wrong answer".into());
            };
            let here = stream.stats().await.ok_or("the stream has ended")?;
            if here.messages_in_flight == 0 && arrived == last {
                stream.close().await;
                ask.close().await;
                let (queued_p99_ms, last_ms) = (p99 as f64 / 1e3, longest as f64 / 1e3);
                let shed_here = here.dropped_outgoing;
                return Ok(Shed { arrived, shed_here, shed_there, queued_p99_ms, last_ms });
            }
            last = arrived;
        }
    }

    /// So many messages of 160 B, one every 20 ms, unreliable, as a call would send them; beside as much bulk on another
    /// stream as the way takes, if wanted.
    pub(super) async fn voice(&self, n: u64, bulk: bool) -> Outcome<Voice> {
        let voice = self.stream(Reliability::Unreliable, VOICE).await?;
        let sink = self.stream(Reliability::Reliable, SINK).await?;
        let filling = bulk.then(|| {
            let sink = sink.clone();
            tokio::spawn(async move { while sink.send(vec![7; 64 << 10]).await.is_ok() {} })
        });
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..n {
            clock.tick().await;
            let mut message = now_us().to_le_bytes().to_vec();
            message.resize(160, 7);
            voice.send(message).await?;
        }
        let beside = sink.stats().await.map_or(0, |s| s.bytes_sent) as f64 / f64::from(1 << 20);
        if let Some(filling) = filling {
            filling.abort();
        }
        // What is late has arrived or was shed by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let end = Instant::now() + Duration::from_secs(10);
        let answer = loop {
            // The question may be lost as well.
            voice.send("").await?;
            match tokio::time::timeout(Duration::from_secs(1), voice.recv()).await {
                Ok(answer) => break answer.ok_or("the stream has ended")?,
                Err(_) if Instant::now() < end => {}
                Err(_) => return Err("no figures".into()),
            }
        };
        voice.close().await;
        sink.abort();
        let figures: Vec<f64> =
            answer.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default())).collect();
        let [arrived, p50, p99, longest, jitter] = figures[..] else { return Err("wrong figures".into()) };
        Ok(Voice { arrived: arrived as u64, p50, p99, longest, jitter, beside })
    }

    /// Lets the other process pull all documents.
    pub(super) async fn pull(&self) -> Outcome<()> {
        let stream = self.stream(Reliability::Reliable, PULL).await?;
        stream.recv().await.ok_or("the documents did not arrive")?;
        Ok(())
    }

    pub(super) async fn stop(self) -> Outcome<()> {
        Ok(self.ditto.close().await?)
    }
}

/// A stream whose other end sends everything back.
pub(super) struct Echo {
    stream: BusStream,
}

impl Echo {
    /// Half of a round trip, in microseconds.
    async fn once(&self, size: usize) -> Outcome<f64> {
        let start = Instant::now();
        loop {
            self.stream.send(vec![7; size]).await?;
            let patience = Duration::from_secs(1);
            match tokio::time::timeout(patience, self.stream.recv()).await {
                Ok(Some(answer)) if answer.len() == size => break,
                Ok(Some(_)) => return Err("a wrong answer".into()),
                Ok(None) => return Err("the stream has ended".into()),
                // Lost: an unreliable one may be.
                Err(_) if self.stream.reliability() == Reliability::Unreliable => {}
                Err(_) => return Err("no answer".into()),
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / 2.0)
    }

    pub(super) async fn ping(&self, size: usize, n: usize) -> Outcome<Vec<f64>> {
        let mut taken = Vec::with_capacity(n);
        for _ in 0..n {
            taken.push(self.once(size).await?);
        }
        Ok(taken)
    }

    /// With a pause after each, until something else is over.
    pub(super) async fn ping_every(
        &self,
        size: usize,
        pause: Duration,
        over: impl Future<Output = ()>,
    ) -> Outcome<Vec<f64>> {
        let mut over = std::pin::pin!(over);
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                biased;
                one = self.once(size) => taken.push(one?),
                () = &mut over => return Ok(taken),
            }
            tokio::select! {
                biased;
                () = &mut over => return Ok(taken),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    pub(super) async fn close(&self) {
        self.stream.close().await;
    }
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// What has arrived of an unreliable flood.
#[derive(Default)]
struct Arrived {
    count: AtomicU64,
    /// The stream, which counts what it has shed.
    stream: Mutex<Option<BusStream>>,
    /// Microseconds on the way.
    times: Mutex<Vec<f64>>,
}

/// The second process: `[CONNECT]`.
pub(super) async fn serve(args: Vec<String>) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let ditto = start(directory.path(), args.first().map(String::as_str)).await?;
    let streams = ditto.bus().incoming_streams();
    ready(&[&address(&ditto)?, &ditto.peer_key().to_string()])?;
    let arrived = Arc::new(Arrived::default());
    while let Some(stream) = streams.next().await {
        let (ditto, arrived) = (ditto.clone(), arrived.clone());
        tokio::spawn(async move { serve_stream(&ditto, &stream, &arrived).await });
    }
    Ok(())
}

async fn serve_stream(ditto: &Ditto, stream: &BusStream, arrived: &Arrived) -> Outcome<()> {
    match (stream.label(), stream.reliability()) {
        (ECHO, _) => {
            while let Some(message) = stream.recv().await {
                stream.send(message).await?;
            }
        }
        (FLOOD, Reliability::Unreliable) => {
            *arrived.stream.lock().map_err(|_| "poisoned")? = Some(stream.clone());
            while let Some(message) = stream.recv().await {
                let sent = message.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
                arrived.times.lock().map_err(|_| "poisoned")?.push(now_us().saturating_sub(sent) as f64);
                arrived.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        (FLOOD, _) => {
            let n = stream.recv().await.and_then(|m| m.try_into().ok()).map(u64::from_le_bytes);
            let watch = Stopwatch::start()?;
            for _ in 0..n.ok_or("how many?")? {
                stream.recv().await.ok_or("the flood has ended")?;
            }
            stream.send(watch.stop()?.cpu.to_le_bytes()).await?;
            // The first process closes it.
            stream.closed().await;
        }
        (COUNT, _) => {
            while stream.recv().await.is_some() {
                let mut times = arrived.times.lock().map_err(|_| "poisoned")?.clone();
                let (p99, longest) = (quantile(&mut times, 0.99), quantile(&mut times, 1.0));
                let flood = arrived.stream.lock().map_err(|_| "poisoned")?.clone();
                let stats = flood.ok_or("there was no flood")?.stats().await.unwrap_or_default();
                let count = arrived.count.load(Ordering::Relaxed);
                let numbers = [count, stats.dropped_incoming, p99 as u64, longest as u64];
                stream.send(numbers.map(u64::to_le_bytes).concat()).await?;
            }
        }
        (VOICE, _) => {
            let mut ms: Vec<f64> = Vec::new();
            while let Some(message) = stream.recv().await {
                if let Some(sent) = message.first_chunk::<8>() {
                    ms.push(now_us().saturating_sub(u64::from_le_bytes(*sent)) as f64 / 1e3);
                    continue;
                }
                let steps: f64 = ms.windows(2).map(|pair| (pair[0] - pair[1]).abs()).sum();
                let jitter = steps / ms.len().saturating_sub(1).max(1) as f64;
                let mut sorted = ms.clone();
                let mut at = |q| quantile(&mut sorted, q);
                let figures = [ms.len() as f64, at(0.5), at(0.99), at(1.0), jitter];
                stream.send(figures.map(f64::to_le_bytes).concat()).await?;
            }
        }
        (SINK, _) => while stream.recv().await.is_some() {},
        (PULL, _) => {
            let mut events = ditto.sync().events();
            ditto.sync().register_subscription("SELECT * FROM docs")?;
            while let Some(event) = events.next().await {
                if matches!(&event, MeshEvent::Progress(p) if p.state == SyncState::Live) {
                    break;
                }
            }
            stream.send("done").await?;
            stream.closed().await;
        }
        _ => {}
    }
    Ok(())
}
