//! Programs that run the same workloads on what others have built.
//!
//! `scripts/bench` builds `benches/rivals` and installs the JavaScript, and says where in the environment; a rival that
//! is not there is left out, and only it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::measure::Taken;
use crate::row::note;

/// The program of `benches/rivals`.
const PROGRAM: &str = "DITTO_BENCH_RIVALS";

/// Directory with the scripts of `benches/js` and their packages.
const SCRIPTS: &str = "DITTO_BENCH_JS";

pub(crate) fn scripts() -> Option<PathBuf> {
    let found = std::env::var_os(SCRIPTS).map(PathBuf::from);
    if found.is_none() {
        note("without the databases in JavaScript: not installed");
    }
    found
}

fn program() -> Option<PathBuf> {
    let found = std::env::var_os(PROGRAM).map(PathBuf::from);
    if found.is_none() {
        note("without rivals in Rust: not built");
    }
    found
}

/// A rival's process that takes orders on stdin and answers each with a line.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &Path, args: &[&str]) -> Outcome<Self> {
        let mut child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a rival ended early".into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    fn ask(&mut self, order: &str) -> Outcome<Value> {
        writeln!(self.input.as_mut().ok_or("no stdin")?, "{order}")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input.
        self.input.take();
        let _ = self.child.wait();
    }
}

/// Messages between two processes of a rival.
pub(crate) struct Messages {
    near: Process,
    _far: Process,
}

impl Messages {
    /// `None` if the rivals are not there.
    pub(crate) fn start(kind: &str) -> Outcome<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let mut far = Process::start(&program, &["messages", kind])?;
        let ready = far.line()?;
        let address = ready.strip_prefix("ready ").ok_or("no address")?;
        let mut near = Process::start(&program, &["messages", kind, address])?;
        near.line()?;
        Ok(Some(Self { near, _far: far }))
    }

    /// Half of each round trip, in microseconds.
    pub(crate) fn ping(&mut self, size: usize, n: usize) -> Outcome<Vec<f64>> {
        let answer = self.near.ask(&format!("ping {size} {n}"))?;
        let times = answer["us"].as_array().ok_or("no times")?;
        Ok(times.iter().filter_map(Value::as_f64).collect())
    }

    /// Time until the last has arrived, and CPU of both processes.
    pub(crate) fn flood(&mut self, size: usize, n: u64) -> Outcome<Taken> {
        taken(&self.near.ask(&format!("flood {size} {n}"))?)
    }
}

/// What one piece of work of a rival took; `None` if the rivals are not there or this one cannot do it.
pub(crate) fn work(args: &[&OsStr]) -> Outcome<Option<Taken>> {
    let Some(program) = program() else { return Ok(None) };
    once(Command::new(program).args(args))
}

/// The same, in JavaScript.
pub(crate) fn script(args: &[&OsStr]) -> Outcome<Option<Taken>> {
    let Some(scripts) = scripts() else { return Ok(None) };
    once(Command::new("node").args(args).current_dir(scripts).env("NODE_ENV", "production"))
}

fn once(command: &mut Command) -> Outcome<Option<Taken>> {
    let output = command.stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        note(&format!("without {command:?}: {}", output.status));
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|l| l.starts_with('{')).ok_or("a rival printed no figures")?;
    Ok(Some(taken(&serde_json::from_str(line)?)?))
}

fn taken(figures: &Value) -> Outcome<Taken> {
    match (figures["wall"].as_f64(), figures["cpu"].as_f64()) {
        (Some(wall), Some(cpu)) => Ok(Taken { wall, cpu }),
        _ => Err(format!("no figures: {figures}").into()),
    }
}
