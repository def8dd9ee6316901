//! `ditto bus listen`: the other end of the commands of the Bus.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ditto::{BusMessage, BusStream, Reliability};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::join::{JoinArgs, Joined};
use super::tunnel::{self, TunnelError};
use super::{LABEL_ECHO, LABEL_LOAD, LABEL_TCP, forward, load};
use crate::failure::Failure;
use crate::output;

#[derive(Args)]
pub(crate) struct ListenArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// Address that peers may reach through this one with `ditto bus forward`. Repeatable; none when absent.
    #[arg(long, value_name = "HOST:PORT")]
    allow: Vec<String>,
}

pub(crate) async fn run(args: ListenArgs) -> Result<(), Failure> {
    let json = args.join.json;
    let joined = Joined::start(args.join, "ditto bus listen").await?;
    let (messages, streams) = (joined.bus().incoming_messages(), joined.bus().incoming_streams());
    joined.announce(json, None);
    let mut interrupted = std::pin::pin!(interrupted());
    let mut served = JoinSet::new();
    let outcome = loop {
        tokio::select! {
            Some(message) = messages.next() => print_message(&message, json),
            Some(stream) = streams.next() => {
                served.spawn(serve(stream, args.allow.clone(), json));
            }
            Some(_) = served.join_next() => {}
            outcome = &mut interrupted => break outcome,
        }
    };
    joined.close().await?;
    outcome
}

/// Waits for Ctrl-C.
pub(super) async fn interrupted() -> Result<(), Failure> {
    tokio::signal::ctrl_c().await.map_err(|e| Failure::environment(e.to_string()))
}

async fn serve(stream: BusStream, allowed: Vec<String>, json: bool) {
    let from = stream.peer().to_string();
    event(json, &from, "stream", &json!({"label": stream.label()}));
    let label = stream.label().to_owned();
    if let Some(target) = label.strip_prefix(LABEL_TCP) {
        let outcome = if allowed.iter().any(|a| a == target) {
            tunnel::serve(&stream, target).await
        } else {
            let reason = "this peer does not allow that address";
            tunnel::refuse(&stream, reason).await;
            Err(TunnelError::Refused(reason.into()))
        };
        return forward::report(json, &from, &outcome);
    }
    match label.as_str() {
        LABEL_ECHO => {
            while let Some(message) = stream.recv().await {
                if stream.send(message).await.is_err() {
                    break;
                }
            }
        }
        LABEL_LOAD => {
            let (messages, bytes) = load::serve(&stream).await;
            event(json, &from, "load", &json!({"messages": messages, "bytes": bytes}));
        }
        _ => {
            while let Some(message) = stream.recv().await {
                event(json, &from, "streamMessage", &body(&message));
            }
        }
    }
    let reason = stream.closed().await.map(|r| r.to_string());
    event(json, &from, "closed", &json!({"label": label, "reason": reason}));
}

fn print_message(message: &BusMessage, json: bool) {
    let mut members = body(&message.data);
    members["reliability"] = match message.reliability {
        Reliability::Unreliable => json!("unreliable"),
        _ => json!("reliable"),
    };
    event(json, &message.sender.to_string(), "message", &members);
}

/// Text where it is text.
fn body(data: &[u8]) -> Value {
    match std::str::from_utf8(data) {
        Ok(text) => json!({"text": text}),
        Err(_) => json!({"base64": STANDARD.encode(data)}),
    }
}

/// One line about a peer. For a person, the members follow as JSON, without what a terminal would obey.
fn event(json: bool, from: &str, what: &str, members: &Value) {
    if !json {
        let members: String = members.to_string().chars().filter(|c| !c.is_control()).collect();
        return output::text(&format!("{what:13} {from} {members}"));
    }
    let mut line = json!({"event": what, "from": from});
    for (name, value) in members.as_object().into_iter().flatten() {
        line[name.as_str()] = value.clone();
    }
    output::text(&line.to_string());
}
