//! `ditto bus`: messages, streams and TCP ports over the mesh.

mod forward;
pub(crate) mod join;
mod listen;
mod load;
mod ping;
mod tunnel;

use clap::{Args, Subcommand};
use ditto::{Delivery, Reliability};
use serde_json::json;
use tokio::io::AsyncReadExt;

use self::join::{JoinArgs, Joined};
use crate::failure::Failure;
use crate::output;

/// Labels of streams by which the two ends of these commands know each other. Apps may use others, or these.
const LABEL_ECHO: &str = "echo";
const LABEL_LOAD: &str = "load";
const LABEL_TCP: &str = "tcp ";

#[derive(Subcommand)]
pub(crate) enum BusCommand {
    /// Measure round trips to a peer that runs `ditto bus listen`.
    Ping(ping::PingArgs),
    /// Send one message.
    Send(SendArgs),
    /// Print messages, answer `ping`, `bench` and `forward`, until Ctrl-C.
    Listen(listen::ListenArgs),
    /// Load a stream to a peer that runs `ditto bus listen`.
    Bench(load::LoadArgs),
    /// Carry connections to a local TCP port to an address that a peer reaches.
    Forward(forward::ForwardArgs),
}

pub(crate) async fn run(command: BusCommand) -> Result<(), Failure> {
    match command {
        BusCommand::Ping(args) => ping::run(args).await,
        BusCommand::Send(args) => send(args).await,
        BusCommand::Listen(args) => listen::run(args).await,
        BusCommand::Bench(args) => load::run(args).await,
        BusCommand::Forward(args) => forward::run(args).await,
    }
}

#[derive(Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Key of the peer, the beginning of it, or its name.
    peer: String,
    /// What to send; without it, stdin.
    text: Option<String>,
    /// At most once, at most 128 KiB.
    #[arg(long)]
    unreliable: bool,
}

async fn send(args: SendArgs) -> Result<(), Failure> {
    let data = match args.text {
        Some(text) => text.into_bytes(),
        None => {
            let mut data = Vec::new();
            let read = tokio::io::stdin().read_to_end(&mut data).await;
            read.map_err(|e| Failure::environment(format!("stdin: {e}")))?;
            data
        }
    };
    let (bytes, json) = (data.len(), args.join.json);
    let joined = Joined::start(args.join, "ditto bus send").await?;
    let to = joined.find(&args.peer).await?;
    let sent = joined.bus().send_single_message(&to, data, reliability(args.unreliable)).await;
    joined.close().await?;
    let delivery = match sent.map_err(Failure::from)? {
        Delivery::Acknowledged => "acknowledged",
        _ => "transmitted",
    };
    if json {
        output::text(&json!({"peer": to.to_string(), "bytes": bytes, "delivery": delivery}).to_string());
    } else {
        output::text(&format!("{delivery}: {bytes} bytes to {to}"));
    }
    Ok(())
}

fn reliability(unreliable: bool) -> Reliability {
    if unreliable { Reliability::Unreliable } else { Reliability::Reliable }
}
