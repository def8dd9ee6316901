//! `ditto mesh`: joins a mesh for a moment and shows who is there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use ditto::{PeerKey, PresenceGraph};

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::{keygen, output};

#[derive(Args)]
pub(crate) struct MeshArgs {
    /// The logical database of the mesh, a UUID.
    #[arg(long, value_name = "UUID")]
    database_id: Option<String>,
    /// File with the mesh's shared key.
    #[arg(long, value_name = "FILE")]
    shared_key: Option<PathBuf>,
    /// Address of a peer, where discovery does not reach.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Longest time to wait for the graph to settle, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10)]
    wait: u64,
    /// Also print what happens to connections meanwhile, on stderr.
    #[arg(long)]
    events: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A graph that did not change for this long is shown.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: MeshArgs) -> Result<(), Failure> {
    let shared_key = args.shared_key.as_deref().map(keygen::read).transpose()?;
    let database = DatabaseArgs { dir: ":temp:".into(), database_id: args.database_id, durable: false };
    let instance = Instance::open(&database, shared_key).await?;
    instance.ditto.set_device_name("ditto mesh");
    let connect = args.connect;
    instance
        .ditto
        .update_transport_config(|c| {
            for address in &connect {
                c.add_tcp_server(address);
            }
        })
        .await?;
    if args.events {
        let mut events = instance.ditto.connection_events();
        tokio::spawn(async move {
            while let Some(record) = events.next().await {
                output::note(format_args!("{}", record.event));
            }
        });
    }
    instance.ditto.sync().start().await?;
    let graph = settled(&instance, Duration::from_secs(args.wait)).await?;
    instance.close().await?;
    if args.json {
        output::text(&serde_json::to_string(&graph).map_err(|e| Failure::environment(e.to_string()))?);
    } else {
        output::text(&table(&graph));
    }
    if graph.remote_peers.is_empty() {
        output::note(format_args!("no other peer found; `ditto doctor` looks for reasons"));
    }
    Ok(())
}

async fn settled(instance: &Instance, longest: Duration) -> Result<PresenceGraph, Failure> {
    let (changed, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let _observer = instance.ditto.presence().observe(move |g| {
        let _ = changed.send(!g.remote_peers.is_empty());
    })?;
    let end = Instant::now() + longest;
    let mut found = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let patience = if found { left.min(SETTLED) } else { left };
        match tokio::time::timeout(patience, changes.recv()).await {
            Ok(Some(others)) => found = others,
            Ok(None) | Err(_) => return Ok(instance.ditto.presence().graph()),
        }
    }
}

/// One row a connection, then the peers without any.
pub(crate) fn table(graph: &PresenceGraph) -> String {
    let peers = || std::iter::once(&graph.local_peer).chain(&graph.remote_peers);
    let name = |key: PeerKey| {
        let found = peers().find(|p| p.peer_key == key);
        found.map_or_else(|| "?".to_owned(), |p| p.device_name.clone())
    };
    let rows: Vec<_> = peers()
        .map(|p| {
            let key = p.peer_key.to_string();
            let links: Vec<_> = p
                .connections
                .iter()
                .map(|c| {
                    let other = if c.peer1 == p.peer_key { c.peer2 } else { c.peer1 };
                    format!("{} ({})", name(other), c.connection_type)
                })
                .collect();
            let local = if p.peer_key == graph.local_peer.peer_key { "*" } else { "" };
            vec![
                format!("{}{local}", p.device_name),
                key.chars().take(14).collect::<String>(),
                p.os.clone().unwrap_or_default(),
                if links.is_empty() { "-".to_owned() } else { links.join(", ") },
            ]
        })
        .collect();
    output::table(&["PEER", "KEY", "OS", "CONNECTIONS"], &rows)
}
