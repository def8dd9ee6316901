//! The ping-pong and the flood, on any line.

use std::io::Write;
use std::time::Instant;

use serde_json::json;

use crate::Outcome;
use crate::line::Line;
use crate::stopwatch::Stopwatch;
use crate::zenoh_line::ZenohLine;
use crate::zmq_line::ZmqLine;

const ECHO: u8 = 1;
const FLOOD: u8 = 2;

/// The second process: carries out orders until it is killed.
pub(crate) fn serve(kind: &str) -> Outcome<()> {
    let mut line: Box<dyn Line> = match kind {
        "zenoh" => Box::new(ZenohLine::listen()?),
        "zmq" => Box::new(ZmqLine::listen()?),
        _ => return Err(format!("there is no {kind}").into()),
    };
    std::thread::spawn(|| {
        // It ends with its input.
        std::io::stdin().lines().for_each(drop);
        std::process::exit(0);
    });
    loop {
        let order = line.receive()?;
        let (what, n) = order.split_first().ok_or("an empty order")?;
        let (what, n) = (*what, u64::from_le_bytes(n.try_into()?));
        let watch = Stopwatch::start()?;
        for _ in 0..n {
            let message = line.receive()?;
            if what == ECHO {
                line.send(&message, true)?;
            }
        }
        if what == FLOOD {
            line.send(&watch.stop()?.1.to_le_bytes(), true)?;
        }
    }
}

/// The first process: `ping SIZE N` and `flood SIZE N` on stdin, a line of JSON each on stdout.
pub(crate) fn drive(kind: &str, address: &str) -> Outcome<()> {
    let mut line: Box<dyn Line> = match kind {
        "zenoh" => Box::new(ZenohLine::connect(address)?),
        "zmq" => Box::new(ZmqLine::connect(address)?),
        _ => return Err(format!("there is no {kind}").into()),
    };
    say("ready")?;
    for order in std::io::stdin().lines() {
        let order = order?;
        let words: Vec<&str> = order.split_whitespace().collect();
        let [what, size, n] = words[..] else { return Err(format!("not an order: {order}").into()) };
        let (message, n) = (vec![7; size.parse()?], n.parse()?);
        let answer = match what {
            "ping" => ping(&mut *line, &message, n)?,
            "flood" => flood(&mut *line, &message, n)?,
            _ => return Err(format!("not an order: {order}").into()),
        };
        say(&answer.to_string())?;
    }
    Ok(())
}

fn order(line: &mut dyn Line, what: u8, n: u64) -> Outcome<()> {
    line.send(&[&[what][..], &n.to_le_bytes()].concat(), true)
}

/// Half of each round trip, in microseconds.
fn ping(line: &mut dyn Line, message: &[u8], n: u64) -> Outcome<serde_json::Value> {
    order(line, ECHO, n)?;
    let mut taken = Vec::new();
    for _ in 0..n {
        let start = Instant::now();
        line.send(message, true)?;
        if line.receive()?.len() != message.len() {
            return Err("a wrong answer".into());
        }
        taken.push(start.elapsed().as_secs_f64() * 1e6 / 2.0);
    }
    Ok(json!({ "us": taken }))
}

/// Time until the last has arrived, and CPU of both processes.
fn flood(line: &mut dyn Line, message: &[u8], n: u64) -> Outcome<serde_json::Value> {
    let watch = Stopwatch::start()?;
    order(line, FLOOD, n)?;
    for _ in 0..n {
        line.send(message, false)?;
    }
    let theirs = f64::from_le_bytes(line.receive()?.try_into().map_err(|_| "no report")?);
    let (wall, cpu) = watch.stop()?;
    Ok(json!({ "wall": wall, "cpu": cpu + theirs }))
}

/// A line on stdout.
pub(crate) fn say(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
