//! First sync and live updates between two processes, beside the least work that does the same.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ditto::types::{Object, Value};
use ditto::{Ditto, DittoConfig, MeshEvent, Query, SyncState};

use crate::Outcome;
use crate::engine::{documents, import, open};
use crate::measure::{Stopwatch, process_cpu, quantile};
use crate::plain;
use crate::row::{Report, note};

/// First argument of the process that receives.
pub(crate) const RECEIVER: &str = "--receiver";

const UPDATED: &str = "SELECT _id FROM docs WHERE _id = :id AND note = :note";

pub(crate) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let n = if quick { 10_000 } else { 100_000 };
    let small = first_sync(n / 10, 0).await?;
    let large = first_sync(n, if quick { 50 } else { 300 }).await?;

    let all = documents(n);
    let payload: usize = all.iter().map(|(_, text)| text.len()).sum();
    let directory = tempfile::tempdir()?;
    let from = directory.path().join("from.db");
    plain::insert(&mut plain::open(&from)?, &all, 10_000)?;
    let watch = Stopwatch::start()?;
    if plain::copy_database(&from, &directory.path().join("to.db"))? != n {
        return Err("the plain copy lost documents".into());
    }
    let copy = watch.stop()?;
    let bytes: Vec<u8> = all.iter().flat_map(|(_, text)| text.bytes()).collect();
    let watch = Stopwatch::start()?;
    plain::tcp_copy(&bytes)?;
    let tcp = watch.stop()?;
    note(&format!("payload {payload} bytes"));

    let workload = format!("first sync of {n} documents");
    let peer = ("libSQL -> TCP -> libSQL", copy.cpu_us(n));
    report.add(
        &format!("{workload}, CPU of both ends"),
        large.cpu * 1e6 / n as f64,
        peer,
        "us CPU/doc",
        None,
    );
    report.add(
        &format!("{workload}, until the query sees all"),
        large.wall,
        ("libSQL -> TCP -> libSQL", copy.wall),
        "s",
        None,
    );
    report.add(
        &format!("{workload}, until the query sees all"),
        large.wall,
        ("raw TCP copy", tcp.wall),
        "s",
        None,
    );
    let tenth = format!("{} documents", n / 10);
    report.add(&workload, large.cpu, (&tenth, small.cpu), "s CPU of both ends", Some(12.0));
    report.add(&workload, large.wall, (&tenth, small.wall), "s", Some(12.0));
    let mut updates = large.updates;
    let commit = plain_commit_us()?;
    let peer = ("plain libSQL commit", commit);
    report.add(
        "one-field update, commit on A to visible on B, p50",
        quantile(&mut updates, 0.5),
        peer,
        "us",
        None,
    );
    report.add(
        "one-field update, commit on A to visible on B, p99",
        quantile(&mut updates, 0.99),
        peer,
        "us",
        None,
    );
    Ok(())
}

struct FirstSync {
    wall: f64,
    cpu: f64,
    /// Microseconds of each live update.
    updates: Vec<f64>,
}

/// Fills one store, starts a second process that pulls everything, then makes `updates` single updates.
async fn first_sync(n: usize, updates: usize) -> Outcome<FirstSync> {
    let directory = tempfile::tempdir()?;
    let ditto = open(&directory.path().join("a")).await?;
    let documents = documents(n);
    import(&ditto, &documents).await?;
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer().enable_tcp_listen("127.0.0.1", 0);
        })
        .await?;
    ditto.sync().start().await?;
    let address = ditto.sync().listen_address().ok_or("no listener")?;
    let mut receiver = Receiver::spawn(&directory.path().join("b"), &address.to_string(), n)?;
    let before = process_cpu()?;
    receiver.expect("ready")?;
    let reached: (f64, f64) = {
        let line = receiver.expect("reached")?;
        let mut numbers = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok());
        (numbers.next().ok_or("no time")?, numbers.next().ok_or("no CPU time")?)
    };
    let cpu = process_cpu()? - before + reached.1;
    let mut taken = Vec::new();
    for i in 0..updates {
        let id = documents[(i * 7919) % n].0.clone();
        receiver.say(&format!("watch {id} {i}"))?;
        receiver.expect("watching")?;
        let start = Instant::now();
        let args = Object::from([("id".into(), Value::from(id)), ("note".into(), Value::from(i as i64))]);
        let text = "UPDATE docs SET note = :note WHERE _id = :id".to_owned();
        ditto.store().execute(Query { text, args }).await?;
        receiver.expect("seen")?;
        taken.push(start.elapsed().as_secs_f64() * 1e6);
    }
    receiver.say("end")?;
    receiver.wait()?;
    ditto.close().await?;
    Ok(FirstSync { wall: reached.0, cpu, updates: taken })
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
    let ditto = Ditto::open(DittoConfig::default().with_persistence_directory(directory)).await?;
    ditto
        .update_transport_config(|c| {
            c.disable_all_peer_to_peer().add_tcp_server(address);
        })
        .await?;
    say("ready")?;
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

/// Median time of one small transaction in a plain table, twice: both ends of an update commit.
fn plain_commit_us() -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let mut connection = plain::open(&directory.path().join("plain.db"))?;
    let mut taken = Vec::new();
    for document in documents(500) {
        let start = Instant::now();
        plain::insert(&mut connection, &[document], 1)?;
        taken.push(start.elapsed().as_secs_f64() * 2e6);
    }
    Ok(quantile(&mut taken, 0.5))
}
