//! `ditto peer`: runs one peer until Ctrl-C, printing what happens or taking control lines.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ditto::types::{Object, SmolStr, Value};
use ditto::{Ditto, MeshEvent};

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::{control, keygen, output, progress};

#[derive(Args)]
pub(crate) struct PeerArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Name that other peers see.
    #[arg(long)]
    name: Option<String>,
    /// File with the mesh's shared key; without one the mesh is open.
    #[arg(long, value_name = "FILE")]
    shared_key: Option<PathBuf>,
    /// Peer to connect to, where discovery does not reach. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Address to listen on; any free port of every interface when absent.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// WebSocket URL of a peer to connect to, ws:// or wss://. Repeatable.
    #[arg(long, value_name = "URL")]
    connect_ws: Vec<String>,
    /// Address to listen on for HTTP: WebSockets of peers, and files with --static.
    #[arg(long, value_name = "HOST:PORT")]
    listen_http: Option<String>,
    /// Folder whose files the HTTP listener serves.
    #[arg(long, value_name = "DIR", requires = "listen_http")]
    r#static: Option<PathBuf>,
    /// PEM file of the certificate of the HTTP listener.
    #[arg(long, value_name = "FILE", requires_all = ["listen_http", "tls_key"])]
    tls_certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Only peers of the same group find each other.
    #[arg(long, value_name = "N")]
    sync_group: Option<u32>,
    /// Longest time between attempts to connect, in milliseconds.
    #[arg(long, value_name = "MS")]
    retry_interval: Option<u64>,
    /// Do not announce or look for peers by mDNS.
    #[arg(long)]
    no_mdns: bool,
    /// Query whose documents to pull from others. Repeatable.
    #[arg(long, value_name = "SELECT …")]
    subscribe: Vec<String>,
    /// Take requests as JSON lines on stdin and answer on stdout.
    #[arg(long)]
    control: bool,
}

pub(crate) async fn run(args: PeerArgs) -> Result<(), Failure> {
    let shared_key = args.shared_key.as_deref().map(keygen::read).transpose()?;
    let listen = Addresses {
        tcp: args.listen.as_deref().map(|text| parse_listen("--listen", text)).transpose()?,
        http: args.listen_http.as_deref().map(|text| parse_listen("--listen-http", text)).transpose()?,
    };
    let instance = Instance::open(&args.database, shared_key).await?;
    let outcome = serve(&instance.ditto, args, listen).await;
    instance.close().await?;
    outcome
}

/// Where to listen.
struct Addresses {
    tcp: Option<(String, u16)>,
    http: Option<(String, u16)>,
}

async fn serve(ditto: &Ditto, args: PeerArgs, listen: Addresses) -> Result<(), Failure> {
    if let Some(name) = args.name {
        ditto.set_device_name(name);
    }
    ditto
        .update_transport_config(|c| {
            c.peer_to_peer.lan.mdns_enabled = !args.no_mdns;
            for address in &args.connect {
                c.add_tcp_server(address);
            }
            for url in &args.connect_ws {
                c.add_websocket_url(url);
            }
            if let Some((ip, port)) = listen.tcp {
                c.enable_tcp_listen(ip, port);
            }
            if let Some((ip, port)) = listen.http {
                c.enable_http_listen(ip, port, true);
            }
            if let Some(folder) = &args.r#static {
                c.set_static_content_path(folder);
            }
            if let (Some(certificate), Some(key)) = (&args.tls_certificate, &args.tls_key) {
                c.set_http_tls(certificate, key);
            }
            if let Some(group) = args.sync_group {
                c.set_sync_group(group);
            }
            if let Some(interval) = args.retry_interval {
                c.connect.retry_interval = Duration::from_millis(interval);
            }
        })
        .await?;
    for query in &args.subscribe {
        ditto.sync().register_subscription(query.as_str())?;
    }
    let events = ditto.sync().events();
    ditto.sync().start().await?;
    if args.control {
        tokio::select! {
            outcome = control::run(ditto, events) => outcome,
            stopped = tokio::signal::ctrl_c() => stopped.map_err(|e| Failure::environment(e.to_string())),
        }
    } else {
        watch(ditto, events).await
    }
}

/// Address and port to listen on; a host name stands for its first address.
pub(crate) fn parse_listen(option: &str, text: &str) -> Result<(String, u16), Failure> {
    let invalid = |e: std::io::Error| Failure::usage(format!("{option}: `{text}` is not HOST:PORT: {e}"));
    let none = || Failure::usage(format!("{option}: `{text}` has no address"));
    let address = text.to_socket_addrs().map_err(invalid)?.next().ok_or_else(none)?;
    Ok((address.ip().to_string(), address.port()))
}

/// Prints events for a person until Ctrl-C.
async fn watch(ditto: &Ditto, mut events: ditto::MeshEvents) -> Result<(), Failure> {
    output::note(format_args!("peer {}", ditto.peer_key()));
    if let Some(address) = ditto.sync().listen_address() {
        output::note(format_args!("listening on {address}; Ctrl-C ends"));
    }
    if let Some(address) = ditto.sync().http_listen_address() {
        output::note(format_args!("HTTP on {address}"));
    }
    if !ditto.is_authenticated_mesh() {
        output::note(format_args!("open mesh: encrypted, but anybody with the database id may join"));
    }
    let messages = ditto.bus().incoming_messages();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => output::text(&describe(&event)),
                None => return Ok(()),
            },
            message = messages.next() => match message {
                Some(m) => output::text(&format!("message from {}: {}", m.sender, String::from_utf8_lossy(&m.data).escape_debug())),
                None => return Ok(()),
            },
            stopped = tokio::signal::ctrl_c() => return stopped.map_err(|e| Failure::environment(e.to_string())),
        }
    }
}

fn describe(event: &MeshEvent) -> String {
    match event {
        MeshEvent::PeerConnected { peer, device_name, connection_type, remote } => {
            format!("connected  {} ({connection_type}, {remote}) {peer}", device_name.escape_debug())
        }
        MeshEvent::PeerDisconnected { peer, reason } => {
            format!("gone       {peer}: {}", reason.escape_debug())
        }
        MeshEvent::Connection(event) => format!("connection {event}"),
        MeshEvent::Progress(p) => format!("sync       {}", progress::describe(p)),
        MeshEvent::Rejected { reason } => format!("rejected   {reason}"),
        other => format!("{other:?}"),
    }
}

/// The event line of the control protocol.
pub(crate) fn event_line(event: &MeshEvent) -> Value {
    if let MeshEvent::Progress(p) = event {
        return progress::event_line(p);
    }
    let (name, members): (&str, Vec<(&'static str, String)>) = match event {
        MeshEvent::PeerConnected { peer, device_name, connection_type, remote } => (
            "connected",
            vec![
                ("peer", peer.to_string()),
                ("deviceName", device_name.clone()),
                ("connectionType", connection_type.clone()),
                ("remote", remote.clone()),
            ],
        ),
        MeshEvent::PeerDisconnected { peer, reason } => {
            ("disconnected", vec![("peer", peer.to_string()), ("reason", reason.clone())])
        }
        MeshEvent::Connection(event) => ("connection", vec![("text", event.to_string())]),
        MeshEvent::Rejected { reason } => ("rejected", vec![("reason", reason.clone())]),
        other => ("other", vec![("text", format!("{other:?}"))]),
    };
    let mut out = Object::from([(SmolStr::new_static("event"), Value::from(name))]);
    out.extend(members.into_iter().map(|(k, v)| (SmolStr::new_static(k), Value::from(v))));
    Value::Object(out)
}
