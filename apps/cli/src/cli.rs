//! Arguments of the command line and where each command leads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::failure::Failure;
use crate::{attach, bus, check, doctor, exec, import, keygen, mesh, peer, shell};

/// Query, fill and connect local databases.
#[derive(Parser)]
#[command(name = "ditto", version, propagate_version = true)]
pub(crate) struct Cli {
    /// More log lines on stderr; repeat for more. The environment variable RUST_LOG overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run one statement, or with --batch the JSON lines of stdin.
    Exec(exec::ExecArgs),
    /// Type statements, or run a script of them.
    Shell(shell::ShellArgs),
    /// Insert the documents of a JSON-lines file.
    Import(import::ImportArgs),
    /// Write the documents of a collection as JSON lines.
    Export(import::ExportArgs),
    /// Run one peer until Ctrl-C.
    Peer(Box<peer::PeerArgs>),
    /// Join a mesh for a moment and show its presence graph.
    Mesh(mesh::MeshArgs),
    /// Messages, streams and TCP ports between two peers of the mesh.
    #[command(subcommand)]
    Bus(bus::BusCommand),
    /// Attachments: keep a file, fetch one, look who has it.
    #[command(subcommand)]
    Attach(attach::AttachCommand),
    /// Look for what keeps devices from connecting, with advice.
    Doctor(doctor::DoctorArgs),
    /// Verify digests, keys and sequence numbers of a database.
    Check(check::CheckArgs),
    /// Make a shared key, which admits the peers that hold it.
    Keygen(keygen::KeygenArgs),
}

/// Which database to open.
#[derive(Args, Clone)]
pub(crate) struct DatabaseArgs {
    /// Directory of the database; `:temp:` uses a throw-away one.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The logical database, a UUID. Only peers with the same id meet. When absent, the one that the
    /// directory was made for, and the all-zero id for a new directory.
    #[arg(long, value_name = "UUID")]
    pub(crate) database_id: Option<String>,
    /// Wait for the disk at every commit, so that a power cut loses nothing.
    #[arg(long)]
    pub(crate) durable: bool,
}

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Exec(args) => exec::run(args).await,
        Command::Shell(args) => shell::run(args).await,
        Command::Import(args) => import::import(args).await,
        Command::Export(args) => import::export(args).await,
        Command::Peer(args) => peer::run(*args).await,
        Command::Mesh(args) => mesh::run(args).await,
        Command::Bus(command) => bus::run(command).await,
        Command::Attach(command) => attach::run(command).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Keygen(args) => keygen::run(&args),
    }
}
