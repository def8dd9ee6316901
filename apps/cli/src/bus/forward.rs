//! `ditto bus forward`: a local TCP port that leads to an address near a peer.

use clap::Args;
use ditto::{Bus, PeerKey, Reliability};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::join::{JoinArgs, Joined};
use super::tunnel::{self, Carried, TunnelError};
use super::{LABEL_TCP, listen};
use crate::failure::Failure;
use crate::output;

#[derive(Args)]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Where to listen for connections, for example 127.0.0.1:8080; port 0 takes a free one.
    #[arg(value_name = "LOCAL")]
    local: String,
    /// Key of the peer, the beginning of it, or its name. It runs `ditto bus listen --allow TARGET`.
    peer: String,
    /// Where the peer connects to, HOST:PORT.
    target: String,
}

pub(crate) async fn run(args: ForwardArgs) -> Result<(), Failure> {
    let json = args.join.json;
    let label = format!("{LABEL_TCP}{}", args.target);
    if label.len() > 128 {
        return Err(Failure::usage("TARGET has more than 124 bytes"));
    }
    let listener = TcpListener::bind(&args.local)
        .await
        .map_err(|e| Failure::environment(format!("listen on {}: {e}", args.local)))?;
    let local = listener.local_addr().map_err(|e| Failure::environment(e.to_string()))?.to_string();
    let joined = Joined::start(args.join, "ditto bus forward").await?;
    let peer = joined.find(&args.peer).await?;
    joined.announce(json, Some(("forward", "forwarding", &local)));
    let outcome = tokio::select! {
        outcome = accept(listener, joined.bus(), peer, label, json) => outcome,
        outcome = listen::interrupted() => outcome,
    };
    joined.close().await?;
    outcome
}

async fn accept(
    listener: TcpListener,
    bus: Bus,
    peer: PeerKey,
    label: String,
    json: bool,
) -> Result<(), Failure> {
    loop {
        // An error of accept is about one connection, or about descriptors, which come back.
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                output::note(format_args!("accept: {e}"));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (bus, label) = (bus.clone(), label.clone());
        tokio::spawn(async move {
            let outcome = carry(tcp, &bus, peer, label).await;
            report(json, &from.to_string(), &outcome);
        });
    }
}

async fn carry(tcp: TcpStream, bus: &Bus, peer: PeerKey, label: String) -> Result<Carried, TunnelError> {
    match bus.open_stream(&peer, Reliability::Reliable, label).await {
        Ok(stream) => tunnel::open(tcp, &stream).await,
        Err(e) => {
            let _ = tcp.set_zero_linger();
            Err(TunnelError::Refused(e.to_string()))
        }
    }
}

/// Says how a tunnel ended.
pub(super) fn report(json: bool, from: &str, outcome: &Result<Carried, TunnelError>) {
    match (outcome, json) {
        (Ok(c), true) => output::text(
            &json!({"event": "tunnel", "from": from, "sent": c.sent, "received": c.received}).to_string(),
        ),
        (Err(e), true) => {
            output::text(&json!({"event": "tunnel", "from": from, "error": e.to_string()}).to_string())
        }
        (Ok(c), false) => {
            output::text(&format!("tunnel {from}: {} bytes sent, {} received", c.sent, c.received));
        }
        (Err(e), false) => output::text(&format!("tunnel {from}: {e}")),
    }
}
