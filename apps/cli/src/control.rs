//! `ditto peer --control`: the batch protocol plus what a running peer can do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ditto::types::{Object, SmolStr, Value, json};
use ditto::{BusMessage, Ditto, DittoError, ErrorKind, MeshEvents, PeerKey, Reliability};

use crate::failure::Failure;
use crate::output;
use crate::peer::event_line;
use crate::progress;
use crate::protocol::{self, Fault, Lines, Refusal, Request, done, respond};

/// How long `wait` waits when the request does not say.
const DEFAULT_WAIT_MS: u64 = 30_000;

/// Serves requests until `close` or the end of stdin.
pub(crate) async fn run(ditto: &Ditto, mut events: MeshEvents) -> Result<(), Failure> {
    let listen = ditto.sync().listen_address().map_or(Value::Null, |a| Value::from(reachable(a).to_string()));
    output::line(&Value::Object(Object::from([
        (SmolStr::new_static("ready"), Value::Bool(true)),
        (SmolStr::new_static("peerKey"), Value::from(ditto.peer_key().to_string())),
        (SmolStr::new_static("listen"), listen),
    ])));
    let messages = ditto.bus().incoming_messages();
    let reporter = tokio::spawn(async move {
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => output::line(&event_line(&event)),
                    None => return,
                },
                message = messages.next() => match message {
                    Some(message) => output::line(&message_line(&message)),
                    None => return,
                },
            }
        }
    });
    let mut lines = Lines::stdin();
    let outcome = loop {
        match lines.next().await {
            Ok(None) => break Ok(()),
            Err(e) => break Err(Failure::environment(e.to_string())),
            Ok(Some(line)) => match Request::parse(&line) {
                Err(answer) => output::line(&answer),
                Ok(request) if request.kind == "close" => {
                    ditto.sync().stop().await?;
                    output::line(&respond(request.id, Ok(done())));
                    break Ok(());
                }
                Ok(request) => serve(ditto, request).await,
            },
        }
    };
    reporter.abort();
    outcome
}

/// "Every interface" is no address to connect to; on this machine loopback is.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, address.port()).into() } else { address }
}

/// Statements run in the order of their lines; what waits for others runs beside them.
async fn serve(ditto: &Ditto, request: Request) {
    match request.kind.as_str() {
        "wait" | "send" => {
            let ditto = ditto.clone();
            tokio::spawn(async move {
                let outcome = if request.kind == "wait" {
                    wait(&ditto, &request).await
                } else {
                    send(&ditto, &request).await
                };
                output::line(&respond(request.id, outcome));
            });
        }
        kind => {
            let outcome = match kind {
                "graph" => graph(ditto),
                "sync" => sync(ditto, &request).await,
                "status" => status(ditto).await,
                _ => protocol::local(ditto, &request)
                    .await
                    .unwrap_or_else(|| Err(Fault::Refused(Refusal(format!("unknown kind `{kind}`"))))),
            };
            output::line(&respond(request.id, outcome));
        }
    }
}

fn graph(ditto: &Ditto) -> Result<Object, Fault> {
    let graph = json::from_str(&ditto.presence().graph_json());
    let graph = graph.map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))?;
    Ok(Object::from([(SmolStr::new_static("graph"), graph)]))
}

async fn sync(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    match request.text("action")? {
        "start" => ditto.sync().start().await?,
        "stop" => ditto.sync().stop().await?,
        other => return Err(Refusal(format!("unknown action `{other}`: start or stop")).into()),
    }
    Ok(done())
}

/// One object per connected peer.
async fn status(ditto: &Ditto) -> Result<Object, Fault> {
    let peers = ditto.sync().status().await?;
    let peers = peers.iter().map(progress::status_value).collect();
    Ok(Object::from([(SmolStr::new_static("status"), Value::Array(peers))]))
}

async fn send(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    let to: PeerKey =
        request.text("to")?.parse().map_err(|e| Refusal(format!("`to` is not a peer key: {e}")))?;
    let data = request.text("text")?.as_bytes().to_vec();
    let bus = ditto.bus();
    match request.text("reliability").unwrap_or("reliable") {
        "reliable" => bus.send_reliable(&to, data).await?,
        "unreliable" => bus.send_unreliable(&to, data).await?,
        other => return Err(Refusal(format!("unknown reliability `{other}`: reliable or unreliable")).into()),
    }
    Ok(done())
}

/// Answers when the statement returns `count` rows.
async fn wait(ditto: &Ditto, request: &Request) -> Result<Object, Fault> {
    let count = request.number("count")?.ok_or_else(|| Refusal("`count` is missing".into()))?;
    let timeout = Duration::from_millis(request.number("timeoutMs")?.unwrap_or(DEFAULT_WAIT_MS));
    let query = request.query()?;
    let found =
        protocol::first(ditto, query.clone(), timeout, move |r| r.item_count() as u64 == count).await?;
    if found.is_some() {
        let mut members = done();
        members.insert(SmolStr::new_static("count"), Value::from(count));
        return Ok(members);
    }
    let now = ditto.store().execute(query).await?.item_count();
    Err(Fault::TimedOut(format!("{now} rows instead of {count} after {} ms", timeout.as_millis())))
}

fn message_line(message: &BusMessage) -> Value {
    let reliability = if message.reliability == Reliability::Reliable { "reliable" } else { "unreliable" };
    let (name, body) = match std::str::from_utf8(&message.data) {
        Ok(text) => ("text", Value::from(text)),
        Err(_) => ("base64", Value::from(STANDARD.encode(&message.data))),
    };
    Value::Object(Object::from([
        (SmolStr::new_static("event"), Value::from("message")),
        (SmolStr::new_static("from"), Value::from(message.sender.to_string())),
        (SmolStr::new_static("reliability"), Value::from(reliability)),
        (SmolStr::new(name), body),
    ]))
}
