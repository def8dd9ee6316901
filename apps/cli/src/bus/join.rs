//! Joins a mesh for a command of the Bus, and finds peers in it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ditto::{Bus, Ditto, PeerKey, PresenceGraph};
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::DatabaseArgs;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::{keygen, output, peer};

/// How to join, and how to print.
#[derive(Args)]
pub(crate) struct JoinArgs {
    /// Directory of a database, whose key is this peer's; a throw-away one when absent.
    #[arg(long, value_name = "DIR", default_value = ":temp:")]
    dir: PathBuf,
    /// The logical database of the mesh, a UUID.
    #[arg(long, value_name = "UUID")]
    database_id: Option<String>,
    /// File with the mesh's shared key.
    #[arg(long, value_name = "FILE")]
    shared_key: Option<PathBuf>,
    /// Name that other peers see.
    #[arg(long)]
    name: Option<String>,
    /// Peer to connect to, where discovery does not reach. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Address to listen on for peers; any free port of every interface when absent.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Do not announce or look for peers by mDNS.
    #[arg(long)]
    no_mdns: bool,
    /// Longest time to wait for the peer to appear, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10)]
    wait: u64,
    /// Print JSON, an object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// This process as a peer.
pub(crate) struct Joined {
    instance: Instance,
    wait: Duration,
}

impl Joined {
    pub(crate) async fn start(args: JoinArgs, default_name: &str) -> Result<Self, Failure> {
        let shared_key = args.shared_key.as_deref().map(keygen::read).transpose()?;
        let listen = args.listen.as_deref().map(|text| peer::parse_listen("--listen", text)).transpose()?;
        let database = DatabaseArgs { dir: args.dir, database_id: args.database_id, durable: false };
        let instance = Instance::open(&database, shared_key).await?;
        let ditto = &instance.ditto;
        ditto.set_device_name(args.name.unwrap_or_else(|| default_name.to_owned()));
        let connect = args.connect;
        ditto
            .update_transport_config(|c| {
                c.peer_to_peer.lan.mdns_enabled = !args.no_mdns;
                for address in &connect {
                    c.add_tcp_server(address);
                }
                if let Some((ip, port)) = listen {
                    c.enable_tcp_listen(ip, port);
                }
            })
            .await?;
        ditto.sync().start().await?;
        Ok(Self { instance, wait: Duration::from_secs(args.wait) })
    }

    pub(crate) fn ditto(&self) -> &Ditto {
        &self.instance.ditto
    }

    pub(crate) fn bus(&self) -> Bus {
        self.instance.ditto.bus()
    }

    /// Says who we are and where we listen, for commands that go on until Ctrl-C. `more` is one member of JSON and its
    /// words for a person.
    pub(crate) fn announce(&self, json: bool, more: Option<(&str, &str, &str)>) {
        let ditto = self.ditto();
        let address = ditto.sync().listen_address().map(|a| a.to_string());
        if json {
            let mut line = json!({"ready": true, "peerKey": ditto.peer_key().to_string(), "listen": address});
            if let Some((name, _, value)) = more {
                line[name] = json!(value);
            }
            return output::text(&line.to_string());
        }
        output::note(format_args!("peer {}", ditto.peer_key()));
        if let Some(address) = address {
            output::note(format_args!("listening on {address}; Ctrl-C ends"));
        }
        if let Some((_, words, value)) = more {
            output::note(format_args!("{words} {value}"));
        }
        if !ditto.is_authenticated_mesh() {
            output::note(format_args!("open mesh: encrypted, but anybody with the database id may join"));
        }
    }

    /// Waits for a peer by its key, the beginning of it, or its name.
    pub(crate) async fn find(&self, wanted: &str) -> Result<PeerKey, Failure> {
        let (changed, mut changes) = mpsc::unbounded_channel();
        let _observer = self.ditto().presence().observe(move |graph| {
            // The wait may be over.
            let _ = changed.send(graph.clone());
        })?;
        let search = async {
            while let Some(graph) = changes.recv().await {
                if let Some(found) = look(&graph, wanted)? {
                    return Ok(found);
                }
            }
            Err(Failure::environment("the instance was closed"))
        };
        let late = || Failure::environment(format!("no peer `{wanted}` within {} s", self.wait.as_secs()));
        tokio::time::timeout(self.wait, search).await.map_err(|_| late())?
    }

    /// Waits until there is a connection.
    pub(crate) async fn wait_for_a_peer(&self) -> Result<(), Failure> {
        let (changed, mut changes) = mpsc::unbounded_channel();
        let _observer = self.ditto().presence().observe(move |graph| {
            // The wait may be over.
            let _ = changed.send(graph.remote_peers.is_empty());
        })?;
        let search = async {
            while let Some(alone) = changes.recv().await {
                if !alone {
                    return;
                }
            }
        };
        let late = || Failure::environment(format!("no peer within {} s", self.wait.as_secs()));
        tokio::time::timeout(self.wait, search).await.map_err(|_| late())
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.instance.close().await
    }
}

/// The only peer that is meant, if it is there.
fn look(graph: &PresenceGraph, wanted: &str) -> Result<Option<PeerKey>, Failure> {
    let is_meant = |key: PeerKey, name: &str| name == wanted || key.to_string().starts_with(wanted);
    let mut found = graph.remote_peers.iter().filter(|p| is_meant(p.peer_key, &p.device_name));
    let first = found.next();
    if found.next().is_some() {
        return Err(Failure::usage(format!("`{wanted}` means several peers; use more of the key")));
    }
    Ok(first.map(|p| p.peer_key))
}
