//! The second process, and how the first starts it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{ours, streams};
use crate::Outcome;

/// First argument of a second process.
pub(crate) const PEER: &str = "--bus-peer";

/// A second process, which ends with this.
pub(super) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    /// The words after `ready`.
    pub(super) ready: Vec<String>,
}

impl Peer {
    pub(super) fn start(kind: &str, args: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(PEER).arg(kind).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        if words.next().as_deref() != Some("ready") {
            return Err(format!("the second process said `{}`", line.trim()).into());
        }
        Ok(Self { child, input, ready: words.collect() })
    }

    pub(super) fn word(&self, at: usize) -> Outcome<&str> {
        Ok(self.ready.get(at).ok_or("the second process said too little")?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        self.input.take();
        let _ = self.child.wait();
    }
}

/// The second process: `KIND ARGUMENTS`.
pub(crate) async fn serve(args: Vec<String>) -> Outcome<()> {
    let (kind, args) = args.split_first().ok_or("which kind?")?;
    let serving: tokio::task::JoinHandle<Outcome<()>> = match kind.as_str() {
        "tcp" => tokio::spawn(streams::serve_tcp()),
        "tls" => tokio::spawn(streams::serve_tls()),
        "quic" => tokio::spawn(streams::serve_quic()),
        "mesh" => tokio::spawn(ours::serve(args.to_vec())),
        _ => return Err(format!("there is no {kind}").into()),
    };
    let over = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    tokio::select! {
        outcome = serving => outcome?,
        _ = over => Ok(()),
    }
}

/// Tells the first process that it may begin.
pub(super) fn ready(words: &[&str]) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {}", words.join(" "))?;
    Ok(out.flush()?)
}
