//! First load and live updates between two processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ditto::types::{Object, Value};
use ditto::{Ditto, Durability, MeshEvent, Query, SyncState};

use super::limit;
use crate::Outcome;
use crate::engine::{documents, import, indexed};
use crate::measure::{Stopwatch, process_cpu, quantile};
use crate::row::Report;

/// First argument of the process that receives.
pub(crate) const RECEIVER: &str = "--receiver";

const UPDATED: &str = "SELECT _id FROM docs WHERE _id = :id AND note = :note";

/// The name of the limit in the tables.
const LIMIT: &str = "libSQL -> TCP -> libSQL, 2 indexes";

/// Single updates after each load.
const UPDATES: usize = 1_000;

pub(super) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let (n, repeats, updates) = if quick { (10_000, 1, 200) } else { (100_000, 3, UPDATES) };
    let all = documents(n);
    let payload: usize = all.iter().map(|(_, text)| text.len()).sum();
    let small = load(&all[..n / 10], 0).await?;
    let (mut cpu, mut wall, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut wire, mut update_bytes, mut tenth) = (0, 0, (0.0, 0.0));
    for _ in 0..repeats {
        let mut ours = load(&all, updates).await?;
        let directory = tempfile::tempdir()?;
        let paths = limit::fill(directory.path(), &all)?;
        let watch = Stopwatch::start()?;
        limit::copy(&paths, n)?;
        let theirs = watch.stop()?;
        cpu.push((ours.cpu * 1e6 / n as f64, theirs.cpu_us(n)));
        wall.push((ours.wall, theirs.wall));
        let ids: Vec<_> = (0..updates).map(|i| updated(&all, i).to_owned()).collect();
        let mut theirs = limit::updates(&paths, &ids)?;
        for (q, rows) in [(0.5, &mut p50), (0.99, &mut p99)] {
            rows.push((quantile(&mut ours.updates, q), quantile(&mut theirs, q)));
        }
        (wire, update_bytes, tenth) = (ours.wire, ours.update_bytes, (ours.cpu, ours.wall));
    }
    let workload = format!("W6 first sync of {n} documents");
    report.median(&format!("{workload}, CPU of both ends"), cpu, LIMIT, "us CPU/doc", Some(1.6));
    report.median(&format!("{workload}, until the query sees all"), wall, LIMIT, "s", Some(2.0));
    report.add(
        &format!("{workload}, bytes on the wire"),
        wire as f64 / n as f64,
        ("JSON payload", payload as f64 / n as f64),
        "bytes/doc",
        Some(0.45),
    );
    let name = format!("{} documents", n / 10);
    report.add(&workload, tenth.0, (&name, small.cpu), "s CPU of both ends", Some(12.0));
    report.add(&workload, tenth.1, (&name, small.wall), "s", Some(12.0));
    let update = "W7 one-field update, commit on A to visible on B";
    let peer = "commit -> TCP -> commit -> ack";
    report.median(&format!("{update}, p50"), p50, peer, "us", Some(2.5));
    report.median(&format!("{update}, p99"), p99, peer, "us", Some(10.0));
    report.limit(&format!("{update}, both ways"), update_bytes as f64 / updates as f64, 110.0, "bytes");
    Ok(())
}

pub(super) struct Load {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    /// Bytes of the messages that the load took, both ways.
    wire: u64,
    /// Microseconds of each update.
    updates: Vec<f64>,
    update_bytes: u64,
}

/// The document that update `i` changes.
fn updated(documents: &[(String, String)], i: usize) -> &str {
    &documents[(i * 7919) % documents.len()].0
}

/// Message bytes that were exchanged with the other side.
async fn traffic(ditto: &Ditto) -> Outcome<u64> {
    let peers = ditto.sync().status().await?;
    Ok(peers.iter().map(|p| p.bytes_sent + p.bytes_received).sum())
}

/// Fills one store, starts a second process that pulls everything, then makes `updates` single updates.
pub(super) async fn load(documents: &[(String, String)], updates: usize) -> Outcome<Load> {
    let n = documents.len();
    let directory = tempfile::tempdir()?;
    let ditto = indexed(&directory.path().join("a"), Durability::Normal)?;
    import(&ditto, documents).await?;
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer().enable_tcp_listen("127.0.0.1", 0);
        })
        .await?;
    ditto.sync().start().await?;
    let address = ditto.sync().listen_address().ok_or("no listener")?;
    let mut receiver = Receiver::spawn(&directory.path().join("b"), &address.to_string(), n)?;
    receiver.expect("ready")?;
    let before = process_cpu()?;
    receiver.say("go")?;
    let reached: (f64, f64) = {
        let line = receiver.expect("reached")?;
        let mut numbers = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok());
        (numbers.next().ok_or("no time")?, numbers.next().ok_or("no CPU time")?)
    };
    let cpu = process_cpu()? - before + reached.1;
    let wire = traffic(&ditto).await?;
    let mut taken = Vec::new();
    for i in 0..updates {
        let id = updated(documents, i);
        receiver.say(&format!("watch {id} {i}"))?;
        receiver.expect("watching")?;
        let start = Instant::now();
        let args = Object::from([("id".into(), Value::from(id)), ("note".into(), Value::from(i as i64))]);
        let text = "UPDATE docs SET note = :note WHERE _id = :id".to_owned();
        ditto.store().execute(Query { text, args }).await?;
        receiver.expect("seen")?;
        taken.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let update_bytes = traffic(&ditto).await? - wire;
    receiver.say("end")?;
    receiver.wait()?;
    ditto.close().await?;
    Ok(Load { wall: reached.0, cpu, wire, updates: taken, update_bytes })
}

struct Receiver {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Receiver {
    fn spawn(directory: &std::path::Path, address: &str, n: usize) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(RECEIVER)
            .arg(directory)
            .args([address, &n.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, input, output })
    }

    fn say(&mut self, line: &str) -> Outcome<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    fn expect(&mut self, word: &str) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.split_whitespace().next() == Some(word) {
            Ok(line)
        } else {
            Err(format!("the receiver said `{}` instead of `{word}`", line.trim()).into())
        }
    }

    fn wait(mut self) -> Outcome<()> {
        drop(self.input);
        if self.child.wait()?.success() { Ok(()) } else { Err("the receiver failed".into()) }
    }
}

/// The process that receives: `DIRECTORY ADDRESS COUNT`.
pub(crate) async fn receiver(args: Vec<String>) -> Outcome<()> {
    let [directory, address, count] = args.as_slice() else { return Err("receiver: wrong arguments".into()) };
    let count: usize = count.parse()?;
    let ditto = indexed(directory.as_ref(), Durability::Normal)?;
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer().add_tcp_server(address);
        })
        .await?;
    say("ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    let watch = Stopwatch::start()?;
    let mut events = ditto.sync().events();
    ditto.sync().register_subscription("SELECT * FROM docs")?;
    ditto.sync().start().await?;
    // Asking for the count all the time would be most of the work.
    let live = async {
        while let Some(event) = events.next().await {
            if matches!(&event, MeshEvent::Progress(p) if p.state == SyncState::Live) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(600), live).await?;
    let rows = ditto.store().execute("SELECT COUNT(*) AS n FROM docs").await?;
    if rows.values().first().and_then(|r| r.get("n")) != Some(&Value::from(count as u64)) {
        return Err("the subscription is live but documents are missing".into());
    }
    let taken = watch.stop()?;
    say(&format!("reached {} {}", taken.wall, taken.cpu))?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let ["watch", id, note] = words.as_slice() else { break };
        let (seen, wait_seen) = std::sync::mpsc::channel();
        let args = Object::from([
            ("id".into(), Value::from(*id)),
            ("note".into(), Value::from(note.parse::<i64>()?)),
        ]);
        let first = std::sync::atomic::AtomicBool::new(true);
        let observer = ditto.store().register_observer(Query { text: UPDATED.into(), args }, move |r| {
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) || r.item_count() > 0 {
                let _ = seen.send(r.item_count());
            }
        })?;
        // The first call says that the observer stands.
        let mut found = wait_seen.recv()?;
        say("watching")?;
        while found == 0 {
            found = wait_seen.recv()?;
        }
        say("seen")?;
        observer.cancel();
    }
    Ok(ditto.close().await?)
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
